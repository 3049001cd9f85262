"""Labels of a language model laid over the tokens that went in: by how many places they are ahead."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..evidence.calls import Batch, LossCall
from .labels import Classes, classes_of

__all__ = ["Laid", "grid", "laid_over"]

_AHEAD = (0, 1, 2)
# entries that a model is shown; any other may be the labels themselves, which agree with themselves
_SHOWN = ("0", "batch", "input_ids", "decoder_input_ids", "inputs", "input", "ids", "tokens", "text", "x")
_SHORT = 4  # tokens; shorter sequences agree by chance


@dataclass(frozen=True)
class Laid:
    """Labels (N, T') beside the tokens (N, T) of one entry of the batch."""

    path: str
    ids: Tensor
    labels: Tensor
    counted: Tensor
    shares: tuple[float, ...]
    """For 0, 1 and 2 places ahead, the share of counted labels that are the token so many places after their own."""

    @property
    def ahead(self) -> int | None:
        """The places that nearly all labels agree on, None if they agree on none or on several (a text of one word)."""
        best = max(_AHEAD, key=lambda k: self.shares[k])
        others = [s for k, s in enumerate(self.shares) if k != best]
        return best if self.shares[best] >= 0.99 and max(others) < 0.9 else None


def laid_over(call: LossCall, batch: Batch | None) -> Laid | None:
    """The labels of a call over the entry of token ids that they agree with best; None where there is none."""
    found = classes_of(call)
    if found is None or batch is None:
        return None
    whole = len(batch.tensors) == 1
    seen = {path: ids for path, ids in batch.tensors.items() if whole or path.rpartition(".")[2].lower() in _SHOWN}
    laid = [one for path, ids in seen.items() if (one := _over(found, path, ids)) is not None]
    return max(laid, key=lambda one: max(one.shares), default=None)


def _over(found: Classes, path: str, ids: Tensor) -> Laid | None:
    if ids.dim() != 2 or ids.is_floating_point() or ids.dtype == torch.bool or ids.shape[1] < _SHORT:
        return None
    labels = grid(found.labels, ids)
    if labels is None or labels.device != ids.device:
        return None
    counted = labels != found.ignore_index
    if int(counted.sum()) < _SHORT:
        return None
    return Laid(path, ids, labels, counted, tuple(_agree(labels, counted, ids, k) for k in _AHEAD))


def grid(labels: Tensor, ids: Tensor) -> Tensor | None:
    """(rows,) as (N, T'), with T' at most the T of the ids, and no more than 2 tokens cut off; None if it does not go."""
    samples, tokens = ids.shape
    wide = len(labels) // max(samples, 1)
    if wide * samples != len(labels) or not max(tokens - 2, 1) <= wide <= tokens:
        return None
    return labels.reshape(samples, wide)


def _agree(labels: Tensor, counted: Tensor, ids: Tensor, ahead: int) -> float:
    """Of the counted labels that have such a token: how many are it."""
    wide = min(labels.shape[1], ids.shape[1] - ahead)
    inside = counted[:, :wide]
    same = (labels[:, :wide] == ids[:, ahead : ahead + wide]) & inside
    total = int(inside.sum())
    # labels past the last token have nothing to agree with; if most of them are there the shift means nothing
    return int(same.sum()) / total if total * 2 >= int(counted.sum()) else 0.0
