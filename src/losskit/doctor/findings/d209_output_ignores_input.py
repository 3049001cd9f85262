"""D209: the output is the same whatever goes in."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.starved import starved
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["output_ignores_input"]

NOTHING = 1e-6  # of the output's spread: rounding of float32


@finding(
    "D209",
    severity="error",
    phases=("before",),
    explains=("D217", "D218", "D310", "D403", "D505", "D606", "D202"),
)
def output_ignores_input(evidence: Evidence) -> Iterator[Hit]:
    """The samples change places, and the output stays as it was: the model cannot know one from another.

    Cause:       A dead layer (all units zero), an input multiplied by zero or overwritten, or the wrong tensor passed on.
                 The best that can be learned is the constant that suits all: the class frequencies, or the mean of the
                 targets.
    Rule:        The batch rolled by one sample changes no output of the model, in eval mode with the same random numbers,
                 by more than 1e-6 of the output's standard deviation. Weights that are zero throughout count as small
                 random ones.
    Silent when: every weight has a gradient, if a vanishing one (another finding); what the model is given is the same for
                 all samples, or drawn inside (a generator); a last layer that starts at zero.
    Fix:         print the mean over samples of each layer's standard deviation, and find the first layer at which it
                 becomes 0.
    Confirm:     model(x) and model(x.roll(1, 0)) differ after the repair.
    Reference:   Karpathy, A Recipe for Training Neural Networks, 2019: input-independent baseline.
    Example:
        def forward(self, x): h = torch.zeros_like(x); return self.head(h)  # sick
        def forward(self, x): h = self.body(x); return self.head(h)         # healthy
    """
    seen = evidence.dependence
    parameters = evidence.wiring.parameters if evidence.wiring is not None else ()
    if all(p.grad == "finite" for p in parameters if p.fan_in > 1) and starved(parameters) is not None:
        return  # it depends on the input, by less than the format shows: that is the other finding
    if seen is not None and seen.shuffled is not None and seen.shuffled <= NOTHING:
        said = f"the output of a place in the batch changes by {seen.shuffled:.1e} of its spread when the samples change places"
        yield Hit(f"{said}: it does not depend on the input", {"change": seen.shuffled})
