"""Sums over the pairs of each list that its relevance puts in order: which of the ways to take them is the best one."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.check import wide
from .first_order import Found, by_list, lean
from .graded_logistic import graded
from .hinge_pairs import hinge_pairs, tied_hinge
from .lambda_pairs import Lambda, steps
from .list_tile_forms import Form
from .list_tiles import Call, swept
from .moment_pairs import exponential_pairs, mse_pairs

__all__ = ["Form", "pair_sums"]

_POWERS = {"hinge": 1, "squared_hinge": 2}


class _Kind(NamedTuple):
    """What is summed, tensors apart."""

    form: Form
    margin: float
    topk: int | None
    half: bool
    mu: float | None
    """None where there is no Lambda"""


# sum over (i, j) in P of w_i lambda_ij l(s_i - s_j),  P = {y_i > y_j}, with topk those with an item among the k best scores;
# half: and over tied unordered pairs (w_i + w_j) / 2 (l(d) + l(-d)) / 2
def pair_sums(
    scores: Tensor,
    relevance: Tensor,
    valid: Tensor,
    weight: Tensor | None,
    *,
    form: Form,
    margin: float,
    lam: Lambda | None,
    topk: int | None,
    half: bool,
) -> Tensor:
    """The sum over the pairs of each list (B,), differentiable in the scores; weights and places are constants.

    Hinges without ``topk`` and a term of |rank_i - rank_j| take O(n log n), squares and exponentials without ``topk`` and ``lam``
    too; logistic and soft zero-one losses of long lists of few grades, likewise without, as much on CPU. All else goes through
    tiles, O(n) memory and a look at every pair.

    Shape:      scores, relevance, valid, weight (B, L) -> (B,)
    """
    relevance, weight = relevance.detach(), None if weight is None else weight.detach()
    if topk is None and form in _POWERS and (lam is None or lam.rank is None):
        power = _POWERS[form]
        total = hinge_pairs(scores, relevance, valid, weight, margin=margin, power=power, lam=lam)
        return total + tied_hinge(scores, relevance, valid, weight, margin=margin, power=power) if half else total
    if topk is None and lam is None and form == "mse":
        return mse_pairs(scores, relevance, valid, weight)
    if topk is None and lam is None and form == "exponential":
        return exponential_pairs(scores, relevance, valid, weight, half=half)
    return _looked_at(scores, relevance, valid, weight, _Kind(form, margin, topk, half, None if lam is None else lam.mu), lam)


def _looked_at(
    scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None, kind: _Kind, lam: Lambda | None
) -> Tensor:
    """Every pair is looked at."""
    vectors = (None,) * 6 if lam is None else lam[:6]
    formula, kernel = functools.partial(_dense, kind), functools.partial(_kernel, kind)
    return lean(formula, kernel, scores, relevance, valid, weight, *vectors)


def _call(kind: _Kind, scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None, *vectors: Any) -> Call:
    lam = None if kind.mu is None else Lambda(*vectors)._replace(mu=kind.mu)
    return Call(scores, relevance, valid, weight, kind.form, kind.margin, lam, kind.topk, kind.half)


def _kernel(kind: _Kind, scores: Tensor, *others: Any) -> Found:
    call = _call(kind, scores, *others)
    kernels = _kernels() if scores.device.type == "cuda" else None
    found = kernels.swept(call) if kernels is not None and kernels.fits(call) else graded(call) or swept(call)
    return found.value, (found.gradient,), by_list


@functools.cache
def _kernels() -> Any:
    """Triton's; None where there is no Triton; loaded by the first call on CUDA."""
    try:
        from .triton import list_pairs
    except ImportError:
        return None
    return list_pairs


def _dense(kind: _Kind, scores: Tensor, *others: Any) -> Tensor:
    """The plain formula: a table of all pairs."""
    call = _call(kind, scores, *others)
    s, y = wide(scores), wide(call.relevance)
    weights = _dense_weights(call)
    apart = s.unsqueeze(-1) - s.unsqueeze(-2)
    wanted = y.unsqueeze(-1) - y.unsqueeze(-2)
    # what is no pair must not overflow
    some = weights != 0
    loss = _of(call, torch.where(some, apart, 0), torch.where(some, wanted, 0))
    return torch.where(some, loss * weights, 0).sum((-2, -1))


def _of(call: Call, d: Tensor, wanted: Tensor) -> Tensor:
    if call.form == "logistic":
        return -torch.nn.functional.logsigmoid(d)
    if call.form == "soft_zero_one":
        return torch.sigmoid(-d)
    if call.form == "exponential":
        return torch.exp(-d)
    if call.form == "mse":
        return (d - wanted).square()
    hinge = (call.margin - d).clamp(min=0)
    return hinge if call.form == "hinge" else hinge.square()


def _dense_weights(call: Call) -> Tensor:
    """(B, L, L): what each pair counts for, row i being the more relevant item; 0 where there is no pair."""
    s, y, valid = call.scores.detach(), call.relevance, call.valid
    both = valid.unsqueeze(-1) & valid.unsqueeze(-2)
    if call.topk is not None:
        inside = (valid.unsqueeze(-2) & (s.unsqueeze(-2) > s.unsqueeze(-1))).sum(-1) < call.topk
        both = both & (inside.unsqueeze(-1) | inside.unsqueeze(-2))
    one = wide(torch.ones_like(s) if call.weight is None else call.weight)
    found = torch.where(both & (y.unsqueeze(-1) > y.unsqueeze(-2)), one.unsqueeze(-1), 0)
    if call.lam is not None:
        found = found * _dense_lambda(call.lam, s)
    if call.half:
        itself = torch.eye(s.shape[-1], dtype=torch.bool, device=s.device)
        tied = both & (y.unsqueeze(-1) == y.unsqueeze(-2)) & ~itself
        found = torch.where(tied, (one.unsqueeze(-1) + one.unsqueeze(-2)) / 4, found)
    return found


def _dense_lambda(lam: Lambda, s: Tensor) -> Tensor:
    def apart(t: Tensor) -> Tensor:
        return t.unsqueeze(-1) - t.unsqueeze(-2)

    higher, same = s.unsqueeze(-1) > s.unsqueeze(-2), s.unsqueeze(-1) == s.unsqueeze(-2)
    gain = apart(wide(lam.gain))
    place = torch.ones_like(gain) if lam.ordered is None and lam.rank is None else torch.zeros_like(gain)
    if lam.ordered is not None and lam.swapped is not None and lam.tied is not None:
        place = torch.where(higher, apart(lam.ordered), -apart(lam.swapped))
        place = torch.where(same, lam.tied.unsqueeze(-1), place)
    if lam.rank is not None and lam.apart is not None:
        d = torch.where(same, lam.apart.unsqueeze(-1), apart(lam.rank).abs()).clamp(min=1)
        place = place + lam.mu * steps(d)
    return gain * place
