"""D703: a triplet loss stands at its margin."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels_standing import hit_of, stuck

__all__ = ["triplet_loss_at_the_margin"]

COSINE = 0.99  # mean over different rows: above, all embeddings point one way


@finding("D703", severity="warning", phases=("during", "after"), explains=("D403", "D504", "D505"))
def triplet_loss_at_the_margin(evidence: Evidence) -> Iterator[Hit]:
    """A triplet loss stands at its margin (a soft one at ln 2): positives are as far away as negatives.

    Cause:       Embeddings that are all the same have distances of 0, and max(0, 0 - 0 + m) is m. Mining the hardest negatives
                 from the start draws every embedding together, which is the quickest way for the hardest triplets to cost only m.
    Rule:        The median of the last max(40 points, 25 %) after warm-up is within max(2 %, 3 standard errors) of the margin,
                 and the window is flat. Error if the embeddings of the last look have a mean cosine above 0.99.
    Silent when: objective="mining" and the embeddings are apart, or nobody looked at them: the mean over triplets that are still
                 wrong need not fall.
    Fix:         Start with semi-hard or all triplets (losskit.batch_triplet_loss(mining="all")), take the hard ones later, with a
                 learning rate 10 times smaller; normalise the embeddings.
    Confirm:     The mean cosine of different rows falls below 0.99, and the loss leaves the margin by more than 2 %.
    Reference:   Schroff et al. 2015, arXiv:1503.03832, section 3.2 (collapse with the hardest negatives);
                 omoindrot/tensorflow-triplet-loss issue 6.
    Example:
        losskit.batch_triplet_loss(x, y, mining="hard", margin=0.2)   # sick where it stays at 0.2000
        losskit.batch_triplet_loss(x, y, mining="all", margin=0.2)    # healthy: it falls
    """
    found = stuck(evidence)
    if found is None or found.owner != "D703":
        return
    cosine = _cosine(evidence)
    if cosine is not None and cosine > COSINE:
        meaning = f"the embeddings have collapsed, different rows have a mean cosine of {cosine:.4f}"
        yield hit_of(found, evidence, meaning, severity="error")
    elif evidence.settings.objective != "mining":
        yield hit_of(found, evidence, "positives are as far away as negatives", severity="warning")


def _cosine(evidence: Evidence) -> float | None:
    """Of different rows at the last look that had embeddings."""
    looks = evidence.probes.looks if evidence.probes is not None else ()
    seen = [look.embeddings for look in looks if look.embeddings]
    return min(cosine for _, _, cosine in seen[-1]) if seen else None
