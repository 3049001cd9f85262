"""ListNet against its definition item by item, and where peers lose their digits or mind their padding."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.listnet import ListNetLoss, listnet_loss

OPTIONS: list[dict[str, Any]] = [{}, {"target": "raw"}, {"target": "softmax"}, {"target": "softmax", "temperature": 0.3}]


def drawn(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    return scores.round() if seed % 2 else scores, torch.randint(4, (size,), generator=generator).double()


def by_items(scores: Tensor, relevance: Tensor, weight: Tensor, *, target: str = "normalize", temperature: float = 1.0) -> Tensor:
    """-sum_i t_i log p_i of one list."""
    y, w = relevance.tolist(), weight.tolist()
    if target == "softmax":
        among = sum(math.exp(grade / temperature) for grade in y)
        t = [w[i] * math.exp(y[i] / temperature) / among for i in range(len(y))]
    else:
        among = sum(w[i] * y[i] for i in range(len(y))) if target == "normalize" else 1.0
        t = [w[i] * y[i] / (among or 1.0) for i in range(len(y))]
    total = scores.sum() * 0
    for i in range(len(y)) if len(y) > 1 else ():
        total = total - t[i] * (scores[i] - torch.stack(list(scores)).logsumexp(0))
    return total


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_value_and_gradient_are_those_of_the_definition(options: dict[str, Any], size: int) -> None:
    for seed in range(4):
        scores, relevance = drawn(size, seed)
        weight = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).round(decimals=1)
        leaf = scores.clone().requires_grad_()
        wanted = by_items(leaf, relevance, weight, **options)
        slope = gradient(wanted, leaf)
        # the same list with items in between that are masked
        mask = torch.arange(2 * size) % 2 == 0
        padded = [torch.full((2 * size,), math.nan, dtype=torch.float64) for _ in range(3)]
        for full, given in zip(padded, (scores, relevance, weight), strict=True):
            full[mask] = given
        wide_leaf = padded[0].clone().requires_grad_()
        for value, x, seen in (
            (listnet_loss(leaf, relevance, weight=weight, **options), leaf, slice(None)),
            (listnet_loss(wide_leaf, padded[1], weight=padded[2], mask=mask, **options), wide_leaf, mask),
        ):
            assert value.item() == pytest.approx(wanted.item(), rel=1e-12, abs=1e-12)
            found = gradient(value, x)
            assert found[seen].tolist() == pytest.approx(slope.tolist(), rel=1e-12, abs=1e-12)
            assert found.count_nonzero() == found[seen].count_nonzero()
        wants = weight if options.get("target") == "softmax" else weight * relevance
        assert slope.any() == (size > 1 and bool(wants.any()))


def test_d7_pads_do_not_reach_far_negative_scores() -> None:
    """TF-Ranking's pads score log(1e-10) = -23.03, which beats -30 and -31: 6.975 instead of ln(1 + 1/e)."""
    scores, relevance = torch.tensor([[-30.0, -31.0]]), torch.tensor([[1.0, 0.0]])
    for pads in range(4):
        more = torch.zeros(1, pads)
        mask = torch.arange(2 + pads)[None] < 2
        value = listnet_loss(torch.cat([scores, more], 1), torch.cat([relevance, more + 1], 1), mask=mask)
        assert value.item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)


def test_a_list_that_is_nearly_sure_keeps_its_tail_in_float32() -> None:
    scores = torch.tensor([[40.0, 0.0, 1.0]], requires_grad=True)
    value = listnet_loss(scores, torch.tensor([[1.0, 0.0, 0.0]]))
    tail = math.exp(-40) + math.exp(-39)
    assert value.item() == pytest.approx(tail, rel=1e-6, abs=0)
    assert gradient(value, scores)[0].tolist() == pytest.approx([-tail, math.exp(-40), math.exp(-39)], rel=1e-6, abs=0)


def test_a_loss_of_nothing_has_no_sign() -> None:
    options: list[dict[str, Any]] = [{}, {"target": "raw"}, {"target": "softmax", "temperature": 1e-3}]
    for given in options:
        value = listnet_loss(torch.tensor([[1000.0, 0.0]]), torch.tensor([[1.0, 0.0]]), reduction="none", **given)
        assert value.tolist() == [0.0]
        assert not value.signbit().any(), given


def test_every_list_counts_the_same_by_default_and_by_its_relevance_with_raw() -> None:
    zeros, relevance = torch.zeros(2, 4), torch.tensor([[3.0, 1.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0]])
    assert listnet_loss(zeros, relevance, reduction="none").tolist() == pytest.approx([math.log(4)] * 2)
    assert listnet_loss(zeros, relevance, target="raw", reduction="none").tolist() == pytest.approx(
        [6 * math.log(4), math.log(4)]
    )
    assert float(listnet_loss(zeros, relevance, target="softmax")) == pytest.approx(math.log(4))


def test_lists_without_relevance_or_with_one_item_do_not_count() -> None:
    scores = torch.tensor([[1.0, 2.0], [3.0, 9.0], [5.0, 0.0]], dtype=torch.float64)
    relevance = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    parts = losskit.parts(listnet_loss, scores, relevance, mask=mask)
    assert (float(parts.total), float(parts.weight)) == (pytest.approx(math.log1p(math.e)), 1.0)
    parts = losskit.parts(listnet_loss, scores, relevance, mask=mask, target="softmax")
    assert float(parts.weight) == 2.0
    weight = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])  # nothing of the only relevant item counts
    assert losskit.parts(listnet_loss, scores, relevance, mask=mask, weight=weight).weight == 0


def test_grades_of_any_size_are_finite() -> None:
    scores, huge = torch.randn(1, 4, dtype=torch.float64), torch.tensor([[1e308, 1e308, 5e307, 0.0]], dtype=torch.float64)
    assert float(listnet_loss(scores, huge)) == pytest.approx(float(listnet_loss(scores, huge / 1e308)))
    top = listnet_loss(scores, huge, target="softmax")
    assert float(top) == pytest.approx(float(listnet_loss(scores, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))))


@pytest.mark.parametrize("target", ["normalize", "softmax", "raw"])
def test_second_derivatives_are_right(target: Any) -> None:
    scores, relevance = drawn(5, 2)
    assert torch.autograd.gradgradcheck(lambda s: listnet_loss(s, relevance, target=target), [scores.requires_grad_()])


def test_options_are_checked() -> None:
    scores, relevance = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    with pytest.raises(ValueError, match='"target" must be'):
        listnet_loss(scores, relevance, target="sum")
    with pytest.raises(ValueError, match=r'"temperature" is 0\.5, expected 1 with target='):
        listnet_loss(scores, relevance, temperature=0.5)
    with pytest.raises(ValueError, match='"temperature" must be > 0'):
        listnet_loss(scores, relevance, target="softmax", temperature=0.0)
    with pytest.raises(ValueError, match='"relevance" is -1'):
        listnet_loss(scores, -relevance)


def test_levels_are_ln_of_the_size_and_the_entropy_of_the_targets() -> None:
    relevance = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    levels = losskit.reference("listnet_loss", list_size=3, relevance=relevance)
    assert levels.chance == pytest.approx(math.log(3))
    assert levels.floor == pytest.approx(math.log(2) / 2)
    assert losskit.reference("listnet_loss", list_size=3, target="raw").chance is None


def test_the_module_says_what_it_was_given() -> None:
    assert repr(ListNetLoss(target="raw")) == "ListNetLoss(target='raw')"
