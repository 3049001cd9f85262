"""D308: a softmax over a row in which everything is masked."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["masked_attention_row"]


@finding("D308", severity="error", phases=("before", "during"), explains=("D301", "D302", "D303", "D304", "D401", "D901", "D904"))
def masked_attention_row(evidence: Evidence) -> Iterator[Hit]:
    """Every score of an attention row is -inf: its softmax is 0 / 0, which is NaN.

    Cause:       A sequence without a single valid key (an empty text, padding on the left under a causal mask) leaves
                 nothing to attend to. NaN times a weight of zero is NaN, so that one such row spreads over the whole batch.
    Rule:        A softmax was given rows of -inf only, and the loss of the batch is not finite (warning if it still is), or
                 the replay of the bad batch ends at such a row.
    Silent when: F.scaled_dot_product_attention runs, which returns 0 for such rows; masks that are large and finite.
    Fix:         scores.masked_fill(mask, torch.finfo(scores.dtype).min) instead of -inf; or keep one key of every row
                 visible: mask[mask.all(-1)] = False.
    Confirm:     (~mask).any(-1).all() is True for the attention mask of the batch.
    Reference:   pytorch/pytorch #41508; torch.nn.functional.scaled_dot_product_attention.
    Example:
        scores.masked_fill(mask, float("-inf")).softmax(-1)                  # sick where mask.all(-1)
        scores.masked_fill(mask, torch.finfo(scores.dtype).min).softmax(-1)  # healthy
    """
    replay, seen = evidence.replay, evidence.precision
    if replay is not None and replay.masked_row:
        place = replay.where or replay.module
        said = f"{replay.bad} values are NaN after {replay.op or 'a softmax'} at {place}: everything in a row is masked"
        yield Hit(said, {"bad": replay.bad}, where=place, step=replay.step)
    elif seen is not None and seen.masked_rows:
        broken = seen.loss is None or not math.isfinite(seen.loss)
        end = f"the loss is {seen.loss}" if broken else f"the loss is {seen.loss:.4g} all the same"
        said = f"{seen.masked_rows} rows of a softmax at {seen.masked_where} have only masked scores: {end}"
        numbers = {"rows": seen.masked_rows, "loss": math.nan if seen.loss is None else seen.loss}
        yield Hit(said, numbers, where=seen.masked_where, severity=None if broken else "warning")
