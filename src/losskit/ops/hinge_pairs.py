"""Hinge and squared hinge over all pairs of a list in O(n log n), for any number of grades, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .autograd import apply, define
from .first_order import Found, by_list, first_order, lean
from .hinge_dense import Table, dense_total, dense_total_and_slope, graded_table, tied_table
from .hinge_moments import Piece, bent, total_and_slope
from .hinge_pieces import Items, graded_pieces, in_grades, tied_pieces, with_itself
from .lambda_pairs import Lambda

__all__ = ["hinge_pairs", "tied_hinge"]

_SHORT = 128  # items of a list up to which a table of its pairs is faster than sorting


def hinge_pairs(
    scores: Tensor,
    relevance: Tensor,
    valid: Tensor,
    weight: Tensor | None,
    *,
    margin: float,
    power: int,
    lam: Lambda | None,
) -> Tensor:
    """The sum of w_i lambda_ij max(0, margin - (s_i - s_j))^power over the pairs with y_i > y_j of each list.

    Differentiable in the scores, twice if the power is 2; lambda and weights are constants. Refuses a lambda with ``rank``,
    which depends on the distance of two places.

    Shape:      scores (B, L), relevance (B, L), valid (B, L) bool, weight (B, L), margin >= 0, power 1 or 2 -> (B,) in the dtype
                of the relevance
    """
    if lam is not None and lam.rank is not None:
        raise ValueError('"lam" depends on how far apart two places are, expected a product of vectors: take tiles of pairs')
    given = (None,) * 4 if lam is None else (lam.gain, lam.ordered, lam.swapped, lam.tied)
    return _total(False, margin, power, scores, relevance, valid, weight, *given)


def tied_hinge(scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None, *, margin: float, power: int) -> Tensor:
    """The sum of (w_i + w_j) / 2 (l(d) + l(-d)) / 2, l(d) = max(0, margin - d)^power, over the unordered pairs of one grade.

    Shape:      as :func:`hinge_pairs`
    """
    return _total(True, margin, power, scores, relevance, valid, weight)


def _total(ties: bool, margin: float, power: int, scores: Tensor, *others: Tensor | None) -> Tensor:
    constants = [None if t is None else t.detach() for t in others]
    if scores.shape[-1] <= _SHORT:
        dense = partial(_dense_formula, ties, margin, power), partial(_dense_kernel, ties, margin, power)
        return lean(*dense, scores, *constants)
    return first_order(partial(_formula, ties, margin, power), partial(_kernel, ties, margin, power), scores, *constants)


def _table(ties: bool) -> Table:
    return tied_table if ties else graded_table


def _dense_formula(ties: bool, margin: float, power: int, scores: Tensor, relevance: Tensor, *others: Tensor | None) -> Tensor:
    return dense_total(_table(ties), margin, power, scores, relevance, *others).to(relevance.dtype)


def _dense_kernel(ties: bool, margin: float, power: int, scores: Tensor, relevance: Tensor, *others: Tensor | None) -> Found:
    total, slope = dense_total_and_slope(_table(ties), margin, power, scores, relevance, *others)
    return total.to(relevance.dtype), (slope,), by_list


def _kernel(ties: bool, margin: float, power: int, scores: Tensor, *others: Tensor) -> Found:
    total, slope = _sorted_sum(ties, margin, power, scores, *others)
    return total, (slope.to(scores.dtype),), by_list


def _pieces(ties: bool, margin: float, power: int, items: Items) -> Iterator[Piece]:
    return tied_pieces(items, margin, power) if ties else graded_pieces(items, margin, power)


def _sorted_sum(ties: bool, margin: float, power: int, scores: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    """The sum (B,), and its derivative (B, L)."""
    items = in_grades(scores, *others)
    total, slope = torch.zeros_like(items.score[..., 0]), torch.zeros_like(items.score)
    for piece in _pieces(ties, margin, power, items):
        more, by_entry = total_and_slope(piece)
        total = total + more
        for part in by_entry.split(slope.shape[-1], -1):
            slope = slope + part
    if ties:
        total = total - with_itself(items, margin, power)
    return total, torch.empty_like(slope).scatter(-1, items.at, slope)


def _sorted_bend(ties: bool, margin: float, power: int, moved: Tensor, scores: Tensor, *others: Tensor) -> Tensor:
    """The second derivative applied to ``moved`` (B, L)."""
    if moved.device.type == "cpu" and not moved.any():  # of a first derivative in a compiled graph nothing else is asked
        return torch.zeros_like(moved)
    items = in_grades(scores, *others)
    moved = moved.gather(-1, items.at)
    found = torch.zeros_like(moved)
    for piece in _pieces(ties, margin, power, items):
        entries = piece.at.shape[-1] // max(moved.shape[-1], 1)
        for part in bent(piece, moved.repeat(1, entries)).split(moved.shape[-1], -1):
            found = found + part
    return torch.empty_like(found).scatter(-1, items.at, found)


def _last(body: Callable[..., Any]) -> Callable[..., Any]:
    """``body`` with its first three arguments last: an op is known by where its first tensor is."""
    return lambda *given: body(*given[-3:], *given[:-3])


_HOW, _LISTS = (
    "bool ties, float margin, int power",
    "Tensor relevance, Tensor valid, "
    + ", ".join(f"Tensor? {name}" for name in ("weight", "gain", "ordered", "swapped", "tied")),
)


def _sum_like(ties: bool, margin: float, power: int, scores: Tensor, relevance: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    return relevance.new_empty(relevance.shape[:-1]), torch.empty_like(relevance)


def _bend_like(ties: bool, margin: float, power: int, moved: Tensor, *others: Tensor) -> Tensor:
    return torch.empty_like(moved)


# ops of their own: a graph need not know how many grades there are, nor a compiler look at every bit of them
_SUM = define("hinge_sum", f"(Tensor scores, {_LISTS}, {_HOW}) -> (Tensor, Tensor)", _last(_sorted_sum), _last(_sum_like))
_BEND = define("hinge_bend", f"(Tensor moved, Tensor scores, {_LISTS}, {_HOW}) -> Tensor", _last(_sorted_bend), _last(_bend_like))


class _Bend(torch.autograd.Function):
    """Linear and symmetric: its own derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Tensor:
        found: Tensor = _BEND(*given)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *tensors, ctx.ties, ctx.margin, ctx.power = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given = (grads[0], *ctx.saved_tensors, ctx.ties, ctx.margin, ctx.power)
        # Dynamo takes no Function inside a backward, and differentiates once
        bend = _BEND(*given) if torch.compiler.is_compiling() else apply(_Bend, *given)
        return bend, *(None,) * (len(ctx.saved_tensors) + 3)


# between kinks the sum is a polynomial of the scores, and value, slope and curvature are all of it
def _formula(ties: bool, margin: float, power: int, scores: Tensor, *others: Tensor | None) -> Tensor:
    given = (*others, *(None,) * (7 - len(others)), ties, margin, power)
    still = scores.detach()
    total: Tensor
    total, slope = _SUM(still, *given)
    if not torch.is_grad_enabled():
        return total
    moved = (scores - still).to(slope.dtype)
    total = total + (slope * moved).sum(-1)
    if power == 2:
        total = total + (moved * apply(_Bend, moved, still, *given)).sum(-1) / 2
    return total
