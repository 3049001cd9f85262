"""Matryoshka: a loss of embeddings that also holds for their first features alone, so that they can be cut short."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..core.call import verify, whole_number
from ..core.card import CATALOGUE, Card
from ..core.check import ShapeError, at_least, choice, shape_text, wide
from ..core.domain import Domain, Embeddings
from ..core.module import Loss
from ..core.reduce import Ledger
from ..ops.pair_sets import Who
from ..ops.prefixes import Prefixes, prefix_logsumexp, prefix_sums
from ..ops.unit import SHORTEST, unit
from ..parallel import first_row, logsumexp_over_ranks
from .contrast import nll, side
from .embeddings import positive_number, reduce_rows, towers

__all__ = ["Matryoshka", "matryoshka"]

_SOFTMAX = ("info_nce_loss", "clip_loss", "multiple_negatives_ranking_loss")
_KNOWN = {  # what the one pass over all prefixes knows of their options
    *("query", "key", "temperature", "logit_scale", "directions", "query_ids", "key_ids", "decoupled", "normalize"),
    *("mask", "reduction", "normalizer", "group"),
}


def matryoshka(loss: Callable[..., Tensor] | Loss, dims: Sequence[int], weights: Sequence[float] | None = None) -> Matryoshka:
    r"""A loss of embeddings, summed over prefixes of their features: the first 64 are then an embedding too.

    Formula:    \ell = \sum_k w_k \ell(z_{1..d_k}), of each prefix what the loss makes of it alone
    Gradient:   \partial\ell/\partial z = \sum_k w_k \partial\ell_k/\partial z, features beyond the last prefix have none
    Use when:   one model has to serve several sizes: a coarse search over few features, a fine one over all.
    Avoid when: one size is all that is wanted. Features beyond the last of ``dims`` learn nothing: it should be all of them.
    Shape:      that of ``loss``; embeddings (..., D) with D >= the last of ``dims``
    Args:
        loss: any loss of losskit that takes embeddings: a function, a ``functools.partial`` that fixes options of one, or a
            module, whose parameters (a learned temperature) are then parameters of the result.
        dims: lengths of prefixes, increasing.
        weights: what each prefix counts for, >= 0 and not all 0. None: 1 each, the paper's sum, so that a loss that is ln N
            at chance is ``len(dims)`` times that; ``[1 / len(dims)] * len(dims)`` keeps the level of a single loss.
    Returns:    a :class:`Matryoshka` module, called as ``loss`` is. What is cut is read from the card of the loss: embeddings,
        hard negatives and proxies are, a guide's vectors are not. ``reduction``, ``normalizer``, ``mask`` and ``group`` keep
        their meaning: a mean is the weighted sum of each prefix's mean, ``parts`` and "none" are summed alike.
        Softmax losses over the pairs of a batch (``info_nce_loss`` and ``multiple_negatives_ranking_loss`` one way or both,
        ``clip_loss``) share one pass over the features: the scores of a prefix go on from those of the last.
    Raises:     TypeError for what is no loss of losskit; ValueError for one without embeddings, for dims that do not increase,
        weights that do not fit; ShapeError for rows of too few features.
    Reference:  Kusupati et al. 2022, arXiv:2205.13147
    Example:
        >>> loss = losskit.matryoshka(losskit.clip_loss, dims=[2, 4, 8])
        >>> loss(torch.zeros(4, 8), torch.zeros(4, 8))  # no direction at all: 3 ln 4
        tensor(4.1589)
        >>> losskit.matryoshka(losskit.TripletMarginLoss(margin=0.5), dims=[2, 8], weights=[1, 3])
        Matryoshka(
          dims=[2, 8], weights=[1.0, 3.0]
          (loss): TripletMarginLoss(margin=0.5)
        )
    """
    return Matryoshka(loss, dims, weights)


class Matryoshka(nn.Module):
    """What :func:`matryoshka` returns; ``loss`` is the module of one prefix."""

    loss: Loss

    def __init__(self, loss: Callable[..., Tensor] | Loss, dims: Sequence[int], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.loss = _as_module(loss)
        self.cut = _cut(self.card)
        self.dims = _increasing(dims)
        self.weights = _one_each(weights, len(self.dims))

    @property
    def card(self) -> Card:
        """Of the loss of one prefix."""
        return CATALOGUE[type(self.loss).function.__name__]

    def forward(self, *tensors: Tensor, **given: Any) -> Tensor:
        """The loss of every prefix, times its weight, summed; arguments as at a call of the loss itself."""
        call = self._call(tensors, given)
        if type(self.loss).forward is Loss.forward and _is_softmax(self.card, call):
            return _in_one_pass(self.card, {**call, **self._short(call, self.dims[-1])}, self.dims, self.weights)
        ledger = call.get("normalizer")
        if not isinstance(ledger, Ledger):
            return _weighted([self._of_prefix(call, given, dim) for dim in self.dims], self.weights)
        each = [Ledger() for _ in self.dims]
        values = [self._of_prefix(call, {**given, "normalizer": part}, d) for d, part in zip(self.dims, each, strict=True)]
        counts = torch.stack([part.weight.detach() for part in each if part.weight is not None])
        # where values decide what counts, prefixes count differently: each total in the unit of the largest count
        ledger.weight = counts.amax()
        scale = torch.where(counts == 0, 1, ledger.weight / torch.where(counts == 0, 1, counts))
        return _weighted([value * by for value, by in zip(values, scale, strict=True)], self.weights)

    def _call(self, tensors: tuple[Tensor, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments by name: those of the module, and what is given."""
        names = self.card.tensors
        if len(tensors) > len(names):
            raise TypeError(f"{self.card.name} takes {len(names)} tensors ({', '.join(names)}), got {len(tensors)}")
        options = {name: getattr(self.loss, name) for name in self.card.options}
        call = {**options, **dict(zip(names, tensors, strict=False)), **given}
        for name in names:
            if name not in call:
                raise TypeError(f'{self.card.name} takes {len(names)} tensors ({", ".join(names)}): "{name}" is missing')
        return call

    def _short(self, call: Mapping[str, Any], dim: int) -> dict[str, Tensor]:
        """The first features of all that has features."""
        return {name: _first(name, call[name], dim) for name in self.cut if isinstance(call.get(name), Tensor)}

    def _of_prefix(self, call: Mapping[str, Any], given: Mapping[str, Any], dim: int) -> Tensor:
        self._short(call, self.dims[-1])  # rows that are too short for the last prefix are so for the first
        short, names = self._short(call, dim), self.card.tensors
        options = {name: value for name, value in {**given, **short}.items() if name not in names}
        value: Tensor = self.loss(*(short.get(name, call[name]) for name in names), **options)
        return value

    @override
    def extra_repr(self) -> str:
        """Prefixes and what they count for."""
        return f"dims={self.dims}, weights={self.weights}"


def _as_module(loss: Callable[..., Tensor] | Loss) -> Loss:
    """The module of a loss, so that what it learns is registered."""
    if isinstance(loss, Loss):
        return loss
    function, options = loss, {}
    if isinstance(loss, functools.partial):
        function, options = loss.func, loss.keywords
        if loss.args:
            raise TypeError('"loss" is a partial with positional arguments, expected options by keyword')
    card = CATALOGUE.get(getattr(function, "__name__", ""))
    if card is None or card.function is not function or card.module is None:
        said = getattr(function, "__name__", type(function).__name__)
        raise TypeError(f'"loss" is {said}, expected a loss of losskit: a function, a partial of one, or a module')
    module: Loss = card.module(**options)
    return module


def _cut(card: Card) -> list[str]:
    """The arguments with features: those whose last axis is that of the embeddings."""
    features = {domain.axes[1][-1] for name, domain in card.sample.items() if name in card.tensors and _is_rows(domain)}
    if not features:
        raise ValueError(f'"loss" is {card.name}, expected a loss of embeddings: it takes {", ".join(card.tensors)}')
    return [name for name, domain in card.sample.items() if domain.axes[1][-1:] and domain.axes[1][-1] in features]


def _is_rows(domain: Domain) -> bool:
    return isinstance(domain, Embeddings)


def _increasing(dims: Sequence[int]) -> list[int]:
    found = list(dims)
    if not found:
        raise ValueError('"dims" is empty, expected lengths of prefixes, e.g. [64, 128, 256]')
    for dim in found:
        whole_number("dims", dim)
        at_least("dims", dim, 1)
    if any(b <= a for a, b in itertools.pairwise(found)):
        raise ValueError(f'"dims" is {found}, expected lengths that increase: {sorted(set(found))}')
    return found


def _one_each(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1.0] * count
    found = list(weights)
    for weight in found:
        at_least("weights", weight, 0)
    if len(found) != count:
        raise ValueError(f'"weights" has {len(found)} numbers, expected {count}: one for each of "dims"')
    return [float(weight) for weight in found]


def _first(name: str, rows: Tensor, dim: int) -> Tensor:
    if rows.ndim and rows.shape[-1] < dim:
        raise ShapeError(
            f'"{name}" has shape {shape_text(rows.shape)}, expected {dim} features or more: the last of "dims" is {dim}'
        )
    return rows[..., :dim]


def _weighted(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return sum((value * weight for value, weight in zip(values, weights, strict=True)), start=torch.zeros_like(values[0]))


def _is_softmax(card: Card, call: Mapping[str, Any]) -> bool:
    """Whether this call is a softmax over keys, over queries, or both, and no more than that."""

    def plain(name: str) -> bool:
        value = call[name]
        return not isinstance(value, Tensor) and value == card.options.get(name)

    return card.name in _SOFTMAX and call.get("directions") != "joint" and all(map(plain, call.keys() - _KNOWN))


def _in_one_pass(card: Card, call: Mapping[str, Any], dims: Sequence[int], weights: Sequence[float]) -> Tensor:
    """The weighted sum of the losses of all prefixes, for queries and keys cut to the last one."""
    verify(card.sample, call, None, -1)
    temperature, directions, group = _temperature(call), call.get("directions", "both"), call["group"]
    choice("directions", directions, ("one", "both", "joint"))
    q, k = towers(call["query"], call["key"], call["mask"], normalize=False)
    start = first_row(q.values, group)
    left, right = (side(r, start, call["query_ids"], call["key_ids"]) for r in (q, k))
    right = right.everywhere(group)
    (x, a), (y, b) = (_scaled(each.rows, dims, call["normalize"]) for each in (left, right))
    a, here = a / temperature, slice(start, start + len(x))
    who = Who(left.ids, right.ids, left.slots, right.slots, False)
    both = directions == "both"
    rest, back = prefix_logsumexp(Prefixes(x, y, a, b, who, dims, left.narrow), columns=both)
    own = prefix_sums(x * y[here], dims) * a * b[:, here]
    decoupled = call.get("decoupled", False)
    each = nll(own, rest, decoupled=decoupled)
    if both:
        each = (each + nll(own, logsumexp_over_ranks(back, group)[:, here], decoupled=decoupled)) / 2
    value = _weighted(each.unbind(), weights)
    return reduce_rows(value.to(x.dtype), q.valid, q.lead, call["reduction"], call["normalizer"], group)


def _temperature(call: Mapping[str, Any]) -> Tensor | float:
    name = "temperature" if "temperature" in call else "logit_scale"
    value: Tensor | float = call[name]
    positive_number(name, value)
    if name == "temperature":
        return value
    return 1 / (wide(value) if isinstance(value, Tensor) else value)


def _scaled(rows: Tensor, dims: Sequence[int], normalize: bool) -> tuple[Tensor, Tensor]:
    """Rows, and what makes each of their prefixes as long as the loss takes it, (K, N)."""
    if not normalize:
        return rows, rows.new_ones(len(dims), len(rows))
    directions = unit(rows)
    power = prefix_sums(wide(directions).square(), dims)  # of first features that are small beside the rest, too
    longest = torch.stack([rows.detach()[:, :d].abs().amax(1) for d in dims])
    none = (longest <= SHORTEST) | (power == 0)
    return directions, torch.where(none, 0, torch.rsqrt(torch.where(none, 1, power))).to(rows.dtype)
