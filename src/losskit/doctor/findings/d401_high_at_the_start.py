"""D401: a fresh model's loss is far above chance."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels_start import start_of, starts_high

__all__ = ["high_at_the_start"]


@finding("D401", severity="warning", phases=("before",), explains=())
def high_at_the_start(evidence: Evidence) -> Iterator[Hit]:
    """The loss of a fresh model is far above that of guessing: it is sure of wrong answers before it has seen any.

    Cause:       Scores are too large at the start: inputs that are not scaled (pixels of 0 to 255), weights or embeddings drawn
                 too wide, a last layer without normalisation before it. The first steps are spent on unlearning, and with
                 saturated units some never recover.
    Rule:        The mean of the batch's losses, one a sample, is above chance (ln C for C classes, ln 2 for binary answers) by
                 more than half of it and by more than 6 standard errors, from_scratch=True. Where from_scratch was not said: by
                 more than twice chance.
    Silent when: from_scratch=False; the loss has no known chance; the classes are the other samples of the batch (a contrastive
                 loss with a small temperature begins where it likes).
    Fix:         Scale each input feature to mean 0 and standard deviation 1, draw embeddings with std=0.02, and start the last
                 layer small: nn.init.normal_(model.head.weight, std=0.01).
    Confirm:     The first loss is within half of chance of it, e.g. 2.30 to 3.45 for 10 classes.
    Reference:   Karpathy 2019, "A Recipe for Training Neural Networks" (verify the loss at initialisation).
    Example:
        model(images)                    # sick: uint8 pixels as floats, loss 30
        model(images / 127.5 - 1)        # healthy: 2.3
    """
    settings = evidence.settings
    if settings.from_scratch is False or settings.objective == "adversarial":
        return
    for call in evidence.calls:
        start = start_of(call)
        if start is None or not starts_high(start, settings.from_scratch):
            continue
        said = (
            f"{call.name} begins at {start.mean:.4f} +- {start.error:.4f} over {start.samples} samples, "
            f"{start.mean / start.chance:.1f} times the {start.chance:.4f} of a model that knows nothing"
        )
        numbers = {"loss": start.mean, "standard error": start.error, "chance": start.chance, "samples": start.samples}
        yield Hit(said, numbers, where=call.where)
        return
