"""reduce and parts: the only place that reduces, one rule for means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .check import ShapeError, at_least, choice, peek

__all__ = ["Parts", "Reduction", "parts", "reduce", "reduce_total", "valid_weight"]

Reduction = Literal["none", "mean", "sum"]


class Parts(NamedTuple):
    """Numerator and denominator of a mean: add the parts of any split of the data, divide once."""

    total: Tensor
    weight: Tensor


class Ledger:
    """Stands in for ``normalizer`` while ``parts`` runs: takes the denominator down instead of dividing by it."""

    weight: Tensor | None = None


def valid_weight(weight: Tensor | None, mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What each element counts: its weight, zero where ``mask`` is False; None if every element counts one.

    In float32 for a ``dtype`` of half precision, whose numbers do not reach to count a batch.
    """
    dtype = torch.float64 if dtype == torch.float64 else torch.float32
    if mask is None:
        return None if weight is None else weight.to(dtype)
    if weight is None:
        return mask.to(dtype)
    return torch.where(mask, weight.to(dtype), 0)


def reduce(
    value: Tensor,
    weight: Tensor | None,
    reduction: Reduction,
    normalizer: Tensor | float | Ledger | None = None,
    *,
    counts: Tensor | None = None,
) -> Tensor:
    """Weigh the values and reduce them: mean = sum(weight * value) / sum(weight) over what has weight.

    ``weight`` has the shape of ``value``; where it is 0 the value may be NaN and does not matter, in value or gradient.
    ``counts`` is what a value counts for in the denominator where that is not its weight.
    ``normalizer`` replaces the denominator of the mean. Nothing to average is 0, connected to the graph; a sum that is
    not 0, over a ``normalizer`` of 0, is inf.
    """
    choice("reduction", reduction, ("none", "mean", "sum"))
    if weight is not None:
        value = torch.where(weight != 0, value, 0) * weight
    counted = weight if counts is None else counts
    if reduction == "none" and not isinstance(normalizer, Ledger):
        return value
    if reduction == "mean" and normalizer is None and counted is None:
        return _plain_mean(value)
    return _finish(
        value.sum(), lambda: value.new_full((), value.numel()) if counted is None else counted.sum(), reduction, normalizer
    )


def reduce_total(
    total: Tensor,
    weight: Tensor,
    reduction: Literal["mean", "sum"],
    normalizer: Tensor | float | Ledger | None = None,
) -> Tensor:
    """``reduce`` for a sum that a fused op has already taken: ``total`` = sum(weight * value), ``weight`` = sum(weight).

    Shape:      total (), weight () -> ()
    """
    choice("reduction", reduction, ("mean", "sum"))
    return _finish(total, lambda: weight, reduction, normalizer)


def _finish(
    total: Tensor, weight: Callable[[], Tensor], reduction: Reduction, normalizer: Tensor | float | Ledger | None
) -> Tensor:
    """The last step of every reduction: take the denominator down for ``parts``, leave the sum, or divide it."""
    if isinstance(normalizer, Ledger):
        normalizer.weight = weight()
        return total
    if reduction == "sum":
        return total
    if normalizer is not None:
        return _divide(total, _checked(normalizer))
    by = weight()
    return total / torch.where(by == 0, 1, by)  # where nothing has weight the total is zero already


def _plain_mean(value: Tensor) -> Tensor:
    # the gradient of mean() is a full tensor of 1 / n, that of sum() / n one number; the first has a step less
    return value.mean() if 0 < value.numel() < 65536 else value.sum() / max(value.numel(), 1)


def _checked(normalizer: Tensor | float) -> Tensor | float:
    if isinstance(normalizer, Tensor):
        if normalizer.ndim:
            raise ShapeError(f'"normalizer" has shape {tuple(normalizer.shape)}, expected (), a 0-d tensor, or a number')
        if normalizer.dtype == torch.bool or normalizer.dtype.is_complex:
            raise TypeError(f'"normalizer" has dtype {normalizer.dtype}, expected a real number')
        if peek(normalizer < 0):
            raise ValueError(f'"normalizer" must be >= 0, got {float(normalizer)!r}')
        return normalizer
    at_least("normalizer", normalizer, 0)
    return normalizer


def _divide(total: Tensor, by: Tensor | float) -> Tensor:
    """total / by, where 0 / 0 is 0; a total that is not 0 is inf over 0, since no number of tokens makes it right."""
    if not isinstance(by, Tensor):
        return total / by if by else total / (total == 0)
    return total / torch.where((by == 0) & (total == 0), 1, by).to(total.dtype)


def parts(loss: Callable[..., Tensor], /, *tensors: Tensor, **options: object) -> Parts:
    """Numerator and denominator of ``loss(..., reduction="mean")``, so that means of any split can be joined exactly.

    Micro-batches, ranks and whole data sets are "add the parts, divide once": a mean of means is wrong as soon as
    the pieces do not weigh the same. ``total`` carries the gradient, ``weight`` is a 0-d tensor. ``loss`` is a
    function or a module of losskit; tensors and options are passed on.

    Raises:     TypeError if ``options`` hold ``reduction`` or ``normalizer``, or ``loss`` is not losskit's.
    Example:
        >>> scores, labels = torch.zeros(3, 2), torch.tensor([0, 1, -100])
        >>> losskit.parts(losskit.cross_entropy, scores, labels)  # two rows count, ln 2 each
        Parts(total=tensor(1.3863), weight=tensor(2.))
    """
    taken = {"reduction", "normalizer"} & options.keys()
    if taken:
        raise TypeError(f"parts() sets {' and '.join(sorted(taken))} itself: leave it out")
    ledger = Ledger()
    try:
        total = loss(*tensors, **options, normalizer=ledger)
    except TypeError as problem:
        if "normalizer" not in str(problem):
            raise
        total = None
    if total is None or ledger.weight is None:
        raise TypeError(
            f"parts() takes a loss of losskit, got {getattr(loss, '__name__', loss)!r}: it has no numerator and denominator"
        )
    return Parts(total, ledger.weight.detach())
