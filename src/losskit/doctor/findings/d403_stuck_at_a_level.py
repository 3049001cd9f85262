"""D403: the loss stands at a number that has a name."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.calls import Level
from ..finding import RULES, Hit, finding, reflowed
from ..levels_standing import hit_of, stuck

__all__ = ["stuck_at_a_level"]

MEANING = {
    "chance": "the model predicts nothing, whatever it is shown",
    "constant": "the model has learned the mean answer and ignores its input",
    "plateau": "every answer may be right, and this loss cannot say so",
}
MAY = "this may be so, or a healthy loss ends here by chance, which a log alone does not tell"


@finding("D403", severity="warning", phases=("during", "after"), explains=("D504", "D505", "D604"))
def stuck_at_a_level(evidence: Evidence) -> Iterator[Hit]:
    """The loss stands at a number that has a name: chance, the best constant answer, or where a known mistake stops.

    Cause:       A loss at ln C has learned nothing about C classes; one at the entropy of the class frequencies, or at the
                 variance of the targets, has learned the mean answer alone; one at ln(e + C - 1) - 1 goes through a softmax
                 twice. Labels that are shuffled against the inputs, an input that never reaches the output, a learning rate of 0
                 or one so large that every unit is dead all end there.
    Rule:        The median of the last max(40 points, 25 %) after warm-up is within max(2 %, 3 standard errors) of the level,
                 and the window is flat (doctor/statistics/level.py). In a log with parts of a loss, that of classes (cls, ce,
                 xent) is the one that is compared, never their sum. In a live run whose whole loss is one plain call over
                 targets of the batch, what the best constant so far would have cost each batch is taken from the loss first.
                 Error where the loss stands at chance for half of the run; in a live run only after 1000 steps, and nothing is
                 said before 200 steps, nor, before its end, while 3 standard errors are more than 2 % of the level. Info for
                 the plateau of a known mistake in a log, where nobody saw the mistake: healthy runs may stop there as well.
    Silent when: the objective is adversarial, or the loss is called that of a generator or discriminator (ln 2 is their
                 equilibrium); the loss still falls by more than 1 % within the window; it has been below a plateau before; the
                 level is at a finding with a name of its own (tokens, candidates, triplets, one class).
    Fix:         Run losskit.doctor.check on one batch: it overfits the batch and names what is not wired. If the batch can be
                 learned, compare labels with inputs by hand for 10 samples, then try a learning rate 10 times smaller and 10
                 times larger.
    Confirm:     After the fix the loss leaves the level by more than 2 % within the number of points that the window had.
    Reference:   Karpathy 2019, "A Recipe for Training Neural Networks" (verify the loss at initialisation); losskit.reference.
    Example:
        loss = F.cross_entropy(model(x), y[torch.randperm(len(y))])   # sick: 2.3026 with 10 classes, for ever
        loss = F.cross_entropy(model(x), y)                           # healthy
    """
    found = stuck(evidence)
    if found is None or found.owner != "D403":
        return
    level = found.level
    seen = evidence.run is not None and evidence.run.reading.format == "live"
    guessed = level.kind == "plateau" and not seen
    meaning = MAY if guessed else MEANING.get(level.kind, "it does not move")
    yield hit_of(found, evidence, meaning, severity="info" if guessed else None, fix=_fix(level))


def _fix(level: Level) -> str:
    """At the plateau of a known mistake, what the finding of that mistake says."""
    known = RULES.get(level.code) if level.kind == "plateau" else None
    return "" if known is None else reflowed(known.sections["Fix"])
