"""Targets of a sequence: the next token, without crossing documents, and how many of them count."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.call import verify, whole_number
from ..core.domain import Domain

__all__ = ["count_valid", "shift_targets"]

_LABELS = Domain("* T", "integer", "token ids, one for each position")
_DOCUMENT = Domain("* T", "integer", "the number of the document that each position belongs to", optional=True)
_TARGET = Domain("*", "integer", "class indices")


def shift_targets(labels: Tensor, *, document: Tensor | None = None, ignore_index: int = -100) -> Tensor:
    r"""Targets of a causal language model: at each position the next token, so that scores need not be cut.

    Formula:    \mathrm{target}_t = \mathrm{labels}_{t + 1}; ``ignore_index`` at the last position, of all or of each document
    Use when:   scores (*, T, V) of a causal model meet labels (*, T) that are its own inputs, with a prompt or padding set to
                ``ignore_index`` or not. The model of another library that shifts inside must be given the labels as they are.
    Shape:      labels (*, T) integers -> (*, T) int64
    Args:
        document: (*, T) integers, for several documents packed into one row: a position whose successor is of another document
            gets ``ignore_index``, so that no document has to predict the beginning of the next. Positions that start from 0 in
            each document make it by ``(position == 0).cumsum(-1)``.
        ignore_index: what stands where there is nothing to predict.
    Returns:    (*, T) int64, a new tensor; labels that are ``ignore_index`` stay so.
    Raises:     ShapeError; TypeError for labels that are not integers.
    Example:
        >>> losskit.shift_targets(torch.tensor([5, 6, 7, 8, 9]), document=torch.tensor([0, 0, 0, 1, 1]))
        tensor([   6,    7, -100,    9, -100])
        >>> scores, labels = torch.zeros(2, 5, 10), torch.arange(10).reshape(2, 5)
        >>> losskit.cross_entropy(scores, losskit.shift_targets(labels))  # 8 of 10 positions count, ln 10 each
        tensor(2.3026)
    """
    whole_number("ignore_index", ignore_index)
    verify({"labels": _LABELS, "document": _DOCUMENT}, {"labels": labels, "document": document}, None, -1)
    target = _next(labels.long(), ignore_index)
    if document is None:
        return target
    # the last position holds ignore_index already, whatever it is compared with
    return torch.where(document == _next(document, 0), target, ignore_index)


def _next(value: Tensor, last: int) -> Tensor:
    """Each position's successor, and ``last`` at the end."""
    return torch.cat([value[..., 1:], torch.full_like(value[..., :1], last)], -1)  # F.pad takes ``last`` through a float


def count_valid(target: Tensor, *, ignore_index: int = -100) -> Tensor:
    r"""How many targets count: the ``normalizer`` of a batch that is worked on in pieces.

    Formula:    \sum_t [\mathrm{target}_t \ne \mathrm{ignore\_index}]
    Use when:   gradients are accumulated over micro-batches or averaged over ranks. A mean of the means of pieces with
                different numbers of targets is not the mean of the batch; the sum over pieces, each divided by the count of
                all, is. Count after ``shift_targets``: it takes a target from every row.
    Shape:      target (*) integers -> () int64
    Args:
        ignore_index: the target that does not count, the same as the loss's.
    Returns:    0-d int64 on the device of ``target``; nothing waits for it. Over ranks: ``torch.distributed.all_reduce`` it, and
                divide by the number of ranks if gradients are averaged over them afterwards, as DDP does.
    Raises:     TypeError for a target that is not of integers.
    Example:
        >>> scores = torch.zeros(2, 3, 10, requires_grad=True)
        >>> target = torch.tensor([[1, 2, 3], [4, -100, -100]])
        >>> total = losskit.count_valid(target)
        >>> total
        tensor(4)
        >>> for piece, wanted in zip(scores, target):  # two micro-batches, of 3 targets and of 1
        ...     losskit.cross_entropy(piece, wanted, normalizer=total).backward()
        >>> whole = torch.autograd.grad(losskit.cross_entropy(scores, target), scores)[0]
        >>> torch.allclose(scores.grad, whole)
        True
    """
    whole_number("ignore_index", ignore_index)
    verify({"target": _TARGET}, {"target": target}, None, -1)
    return (target.long() != ignore_index).sum()  # -100 is 156 in uint8
