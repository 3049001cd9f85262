"""Soft ranks and the soft first k against double loops over pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from losskit.ops import soft_ranks as module
from losskit.ops.soft_ranks import soft_ranks, soft_top

SIZES = [0, 1, 2, 7, 50]


def drawn(lists: int, size: int, seed: int = 0, *, ties: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(lists, size, generator=generator, dtype=torch.float64)
    valid = torch.rand(lists, size, generator=generator) < 0.8
    return scores.round() if ties else scores, valid


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def by_pairs(s: list[float], temperature: float) -> list[float]:
    return [1 + sum(sigmoid((other - own) / temperature) for j, other in enumerate(s) if j != i) for i, own in enumerate(s)]


def slope_by_pairs(s: list[float], up: list[float], temperature: float) -> list[float]:
    """Of sum_i up_i r_i: each sigmoid((s_j - s_i) / T) rises with s_j and falls with s_i."""
    slope = [0.0] * len(s)
    for i, own in enumerate(s):
        for j, other in enumerate(s):
            p = sigmoid((other - own) / temperature)
            slope[j] += up[i] * p * (1 - p) / temperature
            slope[i] -= up[i] * p * (1 - p) / temperature
    return slope


def upstream(scores: Tensor) -> Tensor:
    return torch.randn(scores.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(scores.dtype)


def gradient(scores: Tensor, valid: Tensor, temperature: float = 0.1) -> Tensor:
    leaf = scores.clone().requires_grad_()
    (found,) = torch.autograd.grad(soft_ranks(leaf, valid, temperature), leaf, upstream(scores))
    return found


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_ranks_and_slopes_are_those_of_the_double_loop(size: int, ties: bool) -> None:
    scores, valid = drawn(4, size, ties=ties)
    found, slope, up = soft_ranks(scores, valid, 0.7), gradient(scores, valid, 0.7), upstream(scores)
    assert slope.any() or size < 2
    for row, seen in enumerate(valid):
        s, g = scores[row, seen].tolist(), up[row, seen].tolist()
        assert found[row, seen].tolist() == pytest.approx(by_pairs(s, 0.7), rel=1e-13)
        assert slope[row, seen].tolist() == pytest.approx(slope_by_pairs(s, g, 0.7), rel=1e-12, abs=1e-12)
        assert (found[row, ~seen] == 1).all()
        assert not slope[row, ~seen].any()


@pytest.mark.parametrize("temperature", [0.01, 0.1, 3.0])
@pytest.mark.parametrize("ties", [False, True])
def test_a_long_list_block_by_block_is_the_table_of_pairs(
    monkeypatch: pytest.MonkeyPatch, temperature: float, ties: bool
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 32)
    scores, valid = drawn(2, 400, ties=ties)
    valid[1, 5:] = False
    leaf = scores.clone().requires_grad_()
    wanted = module._formula(temperature, leaf, valid)
    (slope,) = torch.autograd.grad(wanted, leaf, upstream(scores))
    torch.testing.assert_close(soft_ranks(scores, valid, temperature), wanted.detach(), rtol=1e-13, atol=0)
    found = gradient(scores, valid, temperature)
    assert found.any()
    assert (found - slope).norm() < 1e-13 * slope.norm()


def test_blocks_that_are_far_apart_do_not_meet() -> None:
    s = torch.arange(4000.0, 0, -1, dtype=torch.float64)
    assert len(list(module._meetings(s, 100.0))) == 8 * 9 / 2
    assert len(list(module._meetings(s, 0.1))) == 8 + 7


def test_tiles_of_some_rows_are_the_table_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, valid = drawn(5, 40)
    whole, slope = soft_ranks(scores, valid, 0.1), gradient(scores, valid)
    assert slope.any()
    for lists in (0.3, 2.5):  # some rows of one list, some lists
        monkeypatch.setattr(module, "_TILE", int(lists * 40 * 40 * 8))
        torch.testing.assert_close(soft_ranks(scores, valid, 0.1), whole, rtol=1e-14, atol=0)
        torch.testing.assert_close(gradient(scores, valid), slope, rtol=1e-12, atol=1e-13)


def test_without_a_gradient_no_table_is_made() -> None:
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            if isinstance(found, Tensor):
                self.elements = max(self.elements, found.numel())
            return found

    scores, valid = drawn(1, 3000)
    with Largest() as seen:
        soft_ranks(scores, valid, 0.1)
        gradient(scores, valid)
    assert 0 < seen.elements <= module._BLOCK**2 < 3000**2 / 30


def test_ranks_add_up_to_those_of_an_order_and_are_between_first_and_last() -> None:
    scores, valid = drawn(3, 30)
    ranks, count = soft_ranks(scores, valid, 0.5), valid.sum(-1)
    torch.testing.assert_close(torch.where(valid, ranks, 0).sum(-1), (count * (count + 1) / 2).double(), rtol=1e-14, atol=0)
    assert (ranks >= 1).all()
    assert (ranks <= count[:, None]).all()


def test_equal_scores_share_the_middle_place_and_far_ones_have_their_own() -> None:
    every = torch.ones(1, 4, dtype=torch.bool)
    assert soft_ranks(torch.full((1, 4), 7.0), every, 0.1).tolist() == [[2.5] * 4]
    apart = torch.tensor([[0.0, 1e4, -1e4, 5e3]])
    for dtype in (torch.float32, torch.float64):
        assert soft_ranks(apart.to(dtype), every, 0.1).tolist() == [[3.0, 1.0, 4.0, 2.0]]
        assert not gradient(apart.to(dtype), every).any()


@pytest.mark.parametrize("size", [60, 1500])
def test_float32_gradients_have_six_digits(size: int) -> None:
    scores, valid = drawn(2, size)
    single = scores.float()
    exact = gradient(single.double(), valid)
    assert (gradient(single, valid) - exact).norm() < 1e-6 * exact.norm()
    far = single + 1000  # the gap is taken before it is divided
    exact = gradient(far.double(), valid)
    assert (gradient(far, valid) - exact).norm() < 1e-6 * exact.norm()


@pytest.mark.parametrize("what", [lambda s, v: soft_ranks(s, v, 0.5), lambda s, v: soft_top(s, v, 2, 0.5)])
def test_first_and_second_derivatives_are_those_of_the_values(what: Callable[..., Tensor]) -> None:
    scores, valid = drawn(3, 6, seed=3)
    leaf = (scores / 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: what(s, valid), leaf)
    assert torch.autograd.gradgradcheck(lambda s: what(s, valid), leaf)
    assert torch.autograd.grad(what(leaf, valid).square().sum(), leaf)[0].any()


def test_batches_of_gradients_and_functions_are_as_one_by_one() -> None:
    scores, valid = drawn(3, 9)
    leaf, up = scores.requires_grad_(), upstream(scores)
    ranks = soft_ranks(leaf, valid, 0.3)
    (many,) = torch.autograd.grad(ranks, leaf, torch.stack([up, 2 * up]), is_grads_batched=True)
    once = gradient(scores.detach(), valid, 0.3)
    assert once.any()
    torch.testing.assert_close(many, torch.stack([once, 2 * once]))
    mapped = torch.func.vmap(lambda s, v: soft_ranks(s[None], v[None], 0.3)[0])(scores.detach(), valid)
    torch.testing.assert_close(mapped, ranks.detach())


def threshold(s: list[float], k: int, temperature: float) -> float:
    low, high = min(s) - 60 * temperature, max(s) + 60 * temperature
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(sigmoid((x - middle) / temperature) for x in s) > k else (low, middle)
    return (low + high) / 2


@pytest.mark.parametrize("k", [1, 3, 7, 60])
@pytest.mark.parametrize("size", SIZES)
def test_the_first_k_and_their_slopes_are_those_of_a_search_for_the_threshold(size: int, k: int) -> None:
    scores, valid = drawn(4, size, ties=size == 7)
    leaf, up = scores.clone().requires_grad_(), upstream(scores)
    found = soft_top(leaf, valid, k, 0.6)
    (slope,) = torch.autograd.grad(found, leaf, up)
    assert found[~valid].eq(0).all()
    for row, seen in enumerate(valid):
        s, g = scores[row, seen].tolist(), up[row, seen].tolist()
        mine, mine_slope = found[row, seen].tolist(), slope[row, seen].tolist()
        if len(s) <= k:
            assert mine == [1.0] * len(s)
            assert not any(mine_slope)
            continue
        t = threshold(s, k, 0.6)
        inside = [sigmoid((x - t) / 0.6) for x in s]
        near = [p * (1 - p) / 0.6 for p in inside]
        moved = sum(a * b for a, b in zip(g, near, strict=True)) / sum(near)  # the threshold rises with every score
        assert mine == pytest.approx(inside, rel=1e-11)
        assert sum(mine) == pytest.approx(k, rel=1e-14)
        assert mine_slope == pytest.approx([n * (a - moved) for a, n in zip(g, near, strict=True)], rel=1e-10, abs=1e-12)
        assert any(mine_slope)


def test_the_first_k_are_all_or_nothing_when_far_apart_and_shared_when_equal() -> None:
    every = torch.ones(2, 4, dtype=torch.bool)
    scores = torch.tensor([[0.0, 1e4, -1e4, 5e3], [3.0, 3.0, 3.0, 3.0]], requires_grad=True)
    found = soft_top(scores, every, 2, 0.1)
    assert found[0].tolist() == pytest.approx([0.0, 1.0, 0.0, 1.0], abs=1e-15)
    assert found[1].tolist() == pytest.approx([0.5] * 4)
    (slope,) = torch.autograd.grad(found[:, 1].sum(), scores)
    assert not slope[0].any()
    assert slope[1].tolist() == pytest.approx([2.5 * (i - 0.25) for i in (0, 1, 0, 0)])  # p (1 - p) / T less its mean
