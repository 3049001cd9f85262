"""D702: a contrastive loss stands at the logarithm of its candidates."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels_standing import hit_of, stuck

__all__ = ["contrastive_loss_at_chance"]


@finding("D702", severity="warning", phases=("during", "after"), explains=("D403", "D504", "D505"))
def contrastive_loss_at_chance(evidence: Evidence) -> Iterator[Hit]:
    """A loss over N candidates (InfoNCE, CLIP, multiple negatives) stands at ln N: every candidate looks the same.

    Cause:       Where all embeddings are the same, or the temperature is so high that scores do not differ, each of N candidates
                 gets 1/N, and the loss is ln N: 5.5452 for a batch of 256. A learning rate that is too high collapses the towers
                 within a few steps; pairs that are shuffled against each other leave nothing else to learn.
    Rule:        The median of the last max(40 points, 25 %) after warm-up is within max(2 %, 3 standard errors) of ln N (N counts
                 hard negatives; ln(2N - 1) for NT-Xent), and the window is flat. Error where it stands there for half of the run.
    Silent when: the loss still falls by more than 1 % within the window, or N is not known: give refs={"loss": "info_nce_loss",
                 "N": 256}.
    Fix:         Print the mean cosine of different rows. Near 1: the towers have collapsed, divide the learning rate by 10 and
                 warm it up over 500 steps. Near 0: compare query i with key i by hand for 10 pairs, and check that the
                 temperature is about 0.05 to 0.1 and not its inverse.
    Confirm:     losskit.contrastive_stats on one batch: top1 above top1_chance, and a loss more than 2 % below ln N.
    Reference:   van den Oord et al. 2018, arXiv:1807.03748; mlfoundations/open_clip issue 17.
    Example:
        losskit.info_nce_loss(query, key[torch.randperm(256)])   # sick: 5.5452
        losskit.info_nce_loss(query, key)                        # healthy
    """
    found = stuck(evidence)
    if found is not None and found.owner == "D702":
        yield hit_of(found, evidence, "no query can tell its own key from the others")
