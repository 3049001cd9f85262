"""D210: the output of one sample changes with another sample."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["samples_mix"]

CHANGE = 1e-2  # of the output's spread: above the rounding of half precision (2^-8), below what any mixing makes


@finding("D210", severity="warning", phases=("before",))
def samples_mix(evidence: Evidence) -> Iterator[Hit]:
    """Sample j changes, and the output of sample i moves: the batch is read along a wrong axis.

    Cause:       A view or reshape where a transpose was meant, a softmax or norm over the batch, or a recurrent net without
                 batch_first=True that takes samples for time steps. The model then predicts from its neighbours in the
                 batch.
    Rule:        In eval mode, the first or the last sample replaced by a copy of another one changes the output of a third
                 sample by more than 1 % of the output's standard deviation.
    Silent when: only batch norm in train mode mixes; step() mixes samples by random numbers before the model sees them (mixup);
                 entries or outputs relate samples with samples (N, N); (time, samples, ...) layouts, where the second
                 axis is apart; graphs and sets whose entries have not all one row a sample.
    Fix:         x.transpose(1, 2) instead of x.view(...); nn.LSTM(..., batch_first=True); softmax(dim=-1).
    Confirm:     model(x)[:1] equals model(x[:1]) in eval mode.
    Reference:   Karpathy, A Recipe for Training Neural Networks, 2019: use backprop to chart dependencies.
    Example:
        nn.LSTM(8, 32)(x)                    # sick for x of (samples, time, 8)
        nn.LSTM(8, 32, batch_first=True)(x)  # healthy
    """
    seen = evidence.dependence
    if seen is not None and seen.others is not None and seen.others > CHANGE and seen.pair is not None:
        i, j = seen.pair
        said = f"the output of sample {i} changes by {seen.others:.1%} of its spread when sample {j} is changed"
        yield Hit(said, {"change": seen.others, "sample": i, "changed": j}, confidence=0.8)
