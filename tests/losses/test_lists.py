"""The rows that a loss of lists sees: padding and NaN away, ragged lists in groups, and the mean over them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import list_laws
import losskit
from cases import draw
from harness import NONE
from losskit.losses.lists import Found, Lists, over_lists

SCORES = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
SEEN: list[Lists] = []


def total(lists: Lists) -> Found:
    """The sum of a list's scores; a list without items has nothing to learn."""
    SEEN.append(lists)
    return Found((lists.scores * lists.counts).sum(-1), lists.valid.any(-1))


def summed(scores: Tensor, relevance: Tensor | None = None, *, reduction: Any = "none", **given: Tensor | None) -> Tensor:
    SEEN.clear()
    relevance = torch.zeros_like(scores) if relevance is None else relevance
    options: dict[str, Any] = dict.fromkeys(("mask", "weight", "query_weight", "offsets")) | given
    return over_lists(total, scores, relevance, **options, reduction=reduction, normalizer=None)


def test_leading_axes_come_back() -> None:
    assert summed(torch.ones(2, 3, 4)).tolist() == [[4.0] * 3] * 2
    assert summed(torch.ones(4)).shape == ()
    assert summed(torch.ones(2, 0)).tolist() == [0.0, 0.0]
    assert summed(torch.ones(0, 3)).shape == (0,)


def test_what_is_masked_is_0_for_the_body() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    bad = SCORES.masked_fill(~mask, math.nan)
    assert summed(bad, bad, mask=mask, weight=bad).tolist() == [1.0 + 9.0, 0.0]
    (lists,) = SEEN
    assert lists.scores[~mask].tolist() == lists.relevance[~mask].tolist() == [0.0] * 4
    assert summed(bad, mask=mask, reduction="mean") == 4.0


@pytest.mark.parametrize("place", ["scores", "relevance"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_valid_number_that_is_not_finite_makes_its_list_nan_with_its_gradient_and_no_other(place: str, bad: float) -> None:
    given = {name: SCORES.clone() for name in ("scores", "relevance")}
    given[place][0, 1] = bad
    mask = torch.tensor([[True, True, False], [True, True, True]])
    leaf = given["scores"].requires_grad_()
    found = summed(leaf, given["relevance"], mask=mask)
    assert found.detach().tolist() == [pytest.approx(math.nan, nan_ok=True), 15.0]
    assert not SEEN[0].valid[0].any(), "the body was shown a number that has no place"
    found.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[0, :2].isnan().all()
    assert leaf.grad[0, 2] == 0  # what is masked has no part in it
    assert leaf.grad[1].tolist() == [1.0] * 3
    assert summed(leaf, given["relevance"], reduction="mean").isnan()


def test_a_number_that_is_not_finite_does_not_matter_where_it_is_masked_or_in_a_list_of_weight_0() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        spoiled = SCORES.index_fill(1, torch.tensor([1]), bad).requires_grad_()
        mask = torch.tensor([True, False, True]).expand(2, 3)
        assert summed(spoiled, spoiled.detach(), mask=mask).tolist() == [4.0, 10.0]
        value = summed(spoiled, spoiled.detach(), mask=mask, query_weight=torch.tensor([0.0, 1.0]), reduction="mean")
        assert value == 10.0
        assert torch.autograd.grad(value, spoiled)[0].tolist() == [[0.0] * 3, [1.0, 0.0, 1.0]]


def test_where_nobody_can_look_the_rule_is_the_same() -> None:
    spoiled = SCORES.clone()
    spoiled[0, 2] = -math.inf
    slope, value = torch.func.vmap(torch.func.grad_and_value(summed))(spoiled)
    assert value.tolist() == [pytest.approx(math.nan, nan_ok=True), 15.0]
    assert slope[0].isnan().all()
    assert slope[1].tolist() == [1.0] * 3


def test_relevance_and_weight_are_constants_of_the_gradient() -> None:
    leaves = [SCORES.clone().requires_grad_() for _ in range(3)]
    offsets = torch.tensor([0, 2, 6])
    for given in ({}, {"offsets": offsets}):
        scores, relevance, weight = (leaf.flatten() if given else leaf for leaf in leaves)
        value = summed(scores, relevance, weight=weight, **given).sum()
        assert not SEEN[0].relevance.requires_grad
        assert not SEEN[0].counts.requires_grad
        slope, *others = torch.autograd.grad(value, leaves, allow_unused=True)
        assert slope is not None
        assert torch.equal(slope, SCORES)
        assert others == [None, None]


def test_a_list_of_weight_0_is_not_even_looked_at() -> None:
    bad = SCORES.clone()
    bad[0] = math.nan
    weight = torch.tensor([0.0, 2.0], dtype=torch.float64)
    assert summed(bad, query_weight=weight).tolist() == [0.0, 30.0]
    assert summed(bad, query_weight=weight, reduction="mean") == 15.0
    assert not SEEN[0].valid[0].any()


OF_LISTS = sorted(n for n, card in losskit.CATALOGUE.items() if list_laws.of_lists(card))


@pytest.mark.parametrize("name", OF_LISTS)
def test_every_loss_is_nan_with_its_gradient_for_a_list_with_an_infinite_score_and_none_of_the_others_is(name: str) -> None:
    case = draw(losskit.CATALOGUE[name])
    clean, given = (case.tensors["scores"].clone().requires_grad_() for _ in range(2))
    wanted, *_ = torch.autograd.grad(case.replaced(scores=clean).value(**NONE).sum(), clean)
    assert wanted.any()
    for bad in (math.inf, -math.inf, math.nan):
        leaf = given.detach().index_put((torch.tensor(2), torch.tensor(0)), torch.tensor(bad).double()).requires_grad_()
        value = case.replaced(scores=leaf).value(**NONE)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        assert value.isnan().tolist() == [row == 2 for row in range(6)]
        assert slope[2].isnan().all()
        others = torch.arange(6) != 2
        torch.testing.assert_close(slope[others], wanted[others], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OF_LISTS)
def test_no_loss_has_a_gradient_for_relevance_or_weight(name: str) -> None:
    case = draw(losskit.CATALOGUE[name])
    scores, relevance = (case.tensors[n].clone().requires_grad_() for n in ("scores", "relevance"))
    weight = torch.rand(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    value = case.replaced(scores=scores, relevance=relevance, weight=weight).value()
    slope, *others = torch.autograd.grad(value, [scores, relevance, weight], allow_unused=True)
    assert slope is not None
    assert slope.any()
    assert others == [None, None]
    fixed = case.replaced(scores=scores, weight=weight.detach()).value()
    torch.testing.assert_close(torch.autograd.grad(fixed, scores)[0], slope, rtol=1e-12, atol=1e-14)


def test_ragged_lists_come_in_groups_of_about_one_length() -> None:
    lengths = torch.tensor([3, 900, 0, 1, 4, 700, 2])
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    scores = torch.rand(int(offsets[-1]), dtype=torch.float64)
    found = summed(scores, offsets=offsets)
    torch.testing.assert_close(found, torch.stack([part.sum() for part in scores.split(lengths.tolist())]))
    assert sum(lists.scores.numel() for lists in SEEN) <= 2 * len(scores)


def test_weights_of_ragged_lists_are_those_of_their_lists() -> None:
    offsets, weight = torch.tensor([0, 2, 2, 3]), torch.tensor([1.0, 5.0, 3.0])
    flat = torch.tensor([1.0, 2.0, 4.0])
    assert summed(flat, offsets=offsets, query_weight=weight, reduction="mean") == (3.0 + 3 * 4.0) / (1.0 + 3.0)
    assert summed(flat, offsets=offsets, query_weight=weight * 0).tolist() == [0.0] * 3
    assert summed(flat[:0], offsets=torch.tensor([0])).shape == (0,)
    assert summed(flat[:0], offsets=torch.tensor([0, 0, 0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        ([0, 2], "goes from 0 to 2, expected from 0 to 3"),
        ([1, 3], "goes from 1 to 3"),
        ([1, 2], "offsets_from_lengths makes offsets of lengths"),
        ([0, 2, 1, 3], "falls from 2 to 1 at index 2"),
    ],
)
def test_offsets_that_are_no_offsets_are_refused(offsets: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        summed(torch.ones(3), offsets=torch.tensor(offsets))


def test_half_precision_becomes_float32() -> None:
    (value,) = {summed(SCORES.to(dtype)).dtype for dtype in (torch.float16, torch.bfloat16, torch.float32)}
    assert value == torch.float32
    assert summed(SCORES).dtype == torch.float64
