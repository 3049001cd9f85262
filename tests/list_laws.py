"""The laws of losses of lists: padding, order, ragged lists, what a list and an item count for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import losskit
from cases import Case, draw
from harness import NONE, Variant, gradients, law, refused, same
from losskit.core.card import Card

SIZES = (6, 0, 1, 3, 6, 2)
AS_MANY_ITEMS_AS_LISTS = (2, 0, 1, 2, 1, 0)


def of_lists(card: Card) -> bool:
    return "scores" in card.sample and card.sample["scores"].axes == (True, ("L",))


def listed(card: Card, variant: Variant, *, seed: int = 0, ties: bool = False) -> Case:
    """Six lists of six items; with ``ties`` scores in steps of one."""
    case = draw(card, variant, seed=seed)
    return case.replaced(scores=case.tensors["scores"].round()) if ties else case


def along_items(case: Case, change: Callable[[Tensor], Tensor]) -> Case:
    """``change`` of every tensor that has one entry for each item."""
    sample = case.card.sample
    return case.replaced(**{n: change(t) for n, t in case.everything().items() if n in sample and sample[n].axes[1] == ("L",)})


def to_pad(card: Card, variant: Variant) -> Iterator[tuple[Case, float]]:
    """Scores that differ, that tie, and so large that in float32 a pad a little below them ties with them; with a tolerance."""
    for ties in (False, True):
        yield listed(card, variant, ties=ties), 1e-12
    case = listed(card, variant)
    if card.sample["scores"].extreme >= 1e4:
        yield case.replaced(scores=1e6 * (1 + case.tensors["scores"])), 1e-12
        yield case.replaced(scores=1e6 * (1 + case.tensors["scores"])).to(torch.float32), 1e-6


def spoiled(case: Case, row: int) -> Case:
    """The case with a grade that is none and a NaN in one list."""
    scores, relevance = (case.tensors[n].clone() for n in ("scores", "relevance"))
    scores[row, 0], relevance[row, 0], relevance[row, 1:] = math.nan, -1.0, math.nan
    return case.replaced(scores=scores, relevance=relevance)


@law
def padding_changes_nothing(card: Card, variant: Variant) -> None:
    if not of_lists(card):
        return
    for case, tolerance in to_pad(card, variant):
        bad = torch.tensor([math.nan, math.inf, -math.inf]).expand(6, 3)
        padded = along_items(case, lambda t, bad=bad: torch.cat([t, bad.to(t.dtype)], -1))
        seen = torch.arange(9).expand(6, 9) < 6
        for reduction in ("none", "sum", "mean"):
            same(padded.value(mask=seen, reduction=reduction), case.value(reduction=reduction), tolerance)
        wider = padded.replaced(mask=seen)
        for gradient, clean in zip(gradients(wider), gradients(case), strict=True):
            if gradient.shape[-1] == 9:
                assert not gradient[..., 6:].any(), "what is masked has a gradient"
                gradient = gradient[..., :6]
            same(gradient, clean, tolerance)


@law
def masked_items_might_as_well_not_be_there(card: Card, variant: Variant) -> None:
    if not of_lists(card):
        return
    case = draw(card, variant, seed=3)
    seen = torch.rand(6, 6, generator=torch.Generator().manual_seed(1)) < 0.7
    seen[1] = False
    masked = along_items(case, lambda t: torch.where(seen, t, math.nan) if t.is_floating_point() else t).replaced(mask=seen)
    each = masked.value(**NONE)
    for row, there in enumerate(seen):
        alone = case.mapped(lambda t, row=row: t[row : row + 1])
        short = along_items(alone, lambda t, there=there: t[:, there])
        same(short.value(**NONE)[0], each[row], 1e-12)
    assert each[1] == 0, "a list without an item is not 0"
    rest = masked.mapped(lambda t: t[[0, 2, 3, 4, 5]])
    same(masked.value(), rest.value(), 1e-12)  # a list without an item does not count


@law
def the_order_of_items_does_not_matter(card: Card, variant: Variant) -> None:
    if not of_lists(card):
        return
    for ties in (False, True):
        for seed in range(3):
            case = listed(card, variant, ties=ties, seed=seed)
            at = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
            turned = along_items(case, lambda t, at=at: t[..., at])
            same(turned.value(**NONE), case.value(**NONE), 1e-12)
            for gradient, straight in zip(gradients(turned), gradients(case), strict=True):
                same(gradient, straight[..., at] if straight.shape[-1] == 6 else straight, 1e-11)


@law
def ragged_lists_are_masked_lists(card: Card, variant: Variant) -> None:
    if not of_lists(card):
        return
    case = draw(card, variant)
    for sizes in (AS_MANY_ITEMS_AS_LISTS, SIZES):
        seen, offsets = torch.arange(6) < torch.tensor(sizes)[:, None], torch.tensor([0, *sizes]).cumsum(0)
        masked = case.replaced(mask=seen, query_weight=torch.tensor([1.0, 2.0, 0.5, 0.0, 1.5, 3.0], dtype=torch.float64))
        flat = along_items(masked, lambda t, seen=seen: t[seen]).replaced(offsets=offsets)
        # the list that counts nothing may hold anything
        odd = spoiled(masked, 3)
        flat_odd = along_items(odd, lambda t, seen=seen: t[seen]).replaced(offsets=offsets)
        for reduction in ("none", "sum", "mean"):
            same(flat.value(reduction=reduction), masked.value(reduction=reduction), 1e-12)
            for other in (odd, flat_odd):
                same(other.value(reduction=reduction), masked.value(reduction=reduction), 1e-12)
        for ragged in (flat, flat_odd):
            for gradient, wanted in zip(gradients(ragged), gradients(masked), strict=True):
                same(gradient, wanted[seen] if wanted.shape == seen.shape else wanted, 1e-12)
    refused(ValueError, lambda: flat.value(offsets=offsets - 1))
    refused(losskit.ShapeError, lambda: flat.value(query_weight=torch.ones(5)))
    refused(losskit.ShapeError, lambda: case.value(offsets=offsets))


@law
def query_weights_multiply(card: Card, variant: Variant) -> None:
    if not of_lists(card):
        return
    case = draw(card, variant)
    weight = torch.tensor([1.0, 0.0, 2.0, 0.5, 3.0, 1.5], dtype=torch.float64)
    weighted = case.replaced(query_weight=weight)
    same(weighted.value(**NONE), weight * case.value(**NONE))
    total, parts = weighted.value(reduction="sum"), losskit.parts(card.function, *weighted.tensors.values(), **weighted.options)
    same(parts.total, total)
    same(weighted.value(), total / parts.weight)
    doubled = losskit.parts(card.function, *case.tensors.values(), **{**weighted.options, "query_weight": 2 * weight})
    same(doubled.total / doubled.weight, weighted.value())
    pieces = [weighted.mapped(lambda t, a=a, b=b: t[a:b]) for a, b in ((0, 1), (1, 2), (2, 6))]
    found = [losskit.parts(card.function, *p.tensors.values(), **p.options) for p in pieces]
    same(torch.as_tensor(sum(p.total for p in found) / sum(p.weight for p in found)), weighted.value())
    spoiled = weighted.replaced(scores=case.tensors["scores"].clone().index_fill_(0, torch.tensor(1), math.inf))
    same(spoiled.value(), weighted.value(), 0)
    for gradient, clean in zip(gradients(spoiled), gradients(weighted), strict=True):
        same(gradient, clean, 0)


@law
def weights_of_one_are_no_weights(card: Card, variant: Variant) -> None:
    if not of_lists(card) or "weight" not in card.options:
        return
    case = listed(card, variant, ties=True)
    weight = torch.ones(6, 6, dtype=torch.float64)
    same(case.value(weight=weight, **NONE), case.value(**NONE), 1e-12)
    same(case.value(weight=weight), case.value(), 1e-12)
    heavy = weight.clone()
    heavy[:, 0] = 5.0
    assert not torch.equal(case.value(weight=heavy, **NONE), case.value(**NONE)), "weight changes nothing"


@law
def a_list_without_items_is_a_connected_zero(card: Card, variant: Variant) -> None:
    if not of_lists(card):
        return
    case = draw(card, variant)
    empty = along_items(case, lambda t: t[..., :0])
    single = along_items(case, lambda t: t[..., :1] * 0)  # one item, relevance 0
    relevant = single.replaced(relevance=single.tensors["relevance"] + 1)
    for few in (empty, single, relevant):
        ready, leaves = few.with_grad()
        value = ready.value(**NONE)
        assert value.shape == (6,)
        assert not value.any(), f"{value} is not 0"
        mean = ready.value()
        assert mean.item() == 0
        assert mean.requires_grad, "the zero is not connected to the graph"
        for gradient in torch.autograd.grad(mean, leaves):
            assert not gradient.any()
    parts = losskit.parts(card.function, *empty.tensors.values(), **empty.options)
    assert parts.weight == 0
