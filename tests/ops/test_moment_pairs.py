"""Squared and exponential sums over pairs against the double loop, in value and gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, permutations

import pytest
import torch
from torch import Tensor

from losskit.ops.moment_pairs import exponential_pairs, mse_pairs

Op = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def mse_loop(scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None) -> Tensor:
    total = scores.sum() * 0
    w = torch.ones_like(scores) if weight is None else weight
    for i, j in combinations(torch.arange(len(scores))[valid].tolist(), 2):
        share = 0.5 if relevance[i] == relevance[j] else float(relevance[i] > relevance[j])
        error = (scores[i] - scores[j]) - (relevance[i] - relevance[j])
        total = total + (share * w[i] + (1 - share) * w[j]) * error**2
    return total


def exponential_loop(scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None, half: bool) -> Tensor:
    total = scores.sum() * 0
    w = torch.ones_like(scores) if weight is None else weight
    for i, j in permutations(torch.arange(len(scores))[valid].tolist(), 2):
        if relevance[i] > relevance[j]:
            total = total + w[i] * torch.exp(scores[j] - scores[i])
        elif half and relevance[i] == relevance[j] and i < j:
            total = total + (w[i] + w[j]) / 2 * torch.cosh(scores[i] - scores[j])
    return total


OPS: dict[str, tuple[Op, Op]] = {
    "mse": (mse_pairs, mse_loop),
    "exponential": (lambda *t: exponential_pairs(*t, half=False), lambda *t: exponential_loop(*t, half=False)),
    "exponential, half of ties": (lambda *t: exponential_pairs(*t, half=True), lambda *t: exponential_loop(*t, half=True)),
}
both = pytest.mark.parametrize("name", OPS)


def lists(n: int, *, grades: int = 4, ties: bool = False, masked: bool = False, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed + n)
    scores = torch.randn(3, n, generator=generator, dtype=torch.float64)
    scores = (2 * scores).round() if ties else 2 * scores
    relevance = torch.randint(0, grades, (3, n), generator=generator).double()
    valid = torch.rand(3, n, generator=generator) < 0.7 if masked else torch.ones(3, n, dtype=torch.bool)
    weight = torch.where(torch.rand(3, n, generator=generator) < 0.2, 0, torch.rand(3, n, generator=generator)).double()
    return torch.where(valid, scores, 0), torch.where(valid, relevance, 0), valid, torch.where(valid, weight, 0)


def value_and_slope(op: Op, scores: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor]:
    scores = scores.detach().clone().requires_grad_()
    value = op(scores, *others)
    (slope,) = torch.autograd.grad(value.sum(), scores)
    return value.detach(), slope


def looped(loop: Op, *given: Tensor | None) -> tuple[Tensor, Tensor]:
    rows = [value_and_slope(loop, *(None if t is None else t[b] for t in given)) for b in range(3)]
    return torch.stack([v for v, _ in rows]), torch.stack([g for _, g in rows])


def same(found: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    """To a share of the largest number."""
    size = float(wanted.abs().max()) if wanted.numel() else 1.0
    torch.testing.assert_close(found.to(wanted.dtype), wanted, rtol=0, atol=tolerance * max(size, 1e-300))


@both
@pytest.mark.parametrize("n", [1, 2, 7, 50])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("how", [{}, {"ties": True}, {"masked": True}, {"grades": 1}, {"grades": 1000}])
def test_value_and_gradient_are_those_of_the_double_loop(name: str, n: int, weighted: bool, how: dict[str, int]) -> None:
    op, loop = OPS[name]
    scores, relevance, valid, weight = lists(n, **how)
    given = (scores, relevance, valid, weight if weighted else None)
    (value, slope), (wanted, pull) = value_and_slope(op, *given), looped(loop, *given)
    same(value, wanted)
    same(slope, pull)
    assert not slope[~valid].any()
    if n > 2 and (how != {"grades": 1} or name != "exponential"):
        assert wanted.any()
        assert pull.any()


@both
def test_an_empty_list_is_a_connected_zero(name: str) -> None:
    for shape in ((2, 0), (0, 3)):
        scores = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        value = OPS[name][0](scores, torch.zeros(shape), torch.ones(shape, dtype=torch.bool), torch.ones(shape))
        assert value.shape == shape[:1]
        assert value.requires_grad
        assert not value.any()


@both
def test_the_weight_of_one_number_is_that_number_times_the_sum(name: str) -> None:
    op = OPS[name][0]
    scores, relevance, valid, _ = lists(20, masked=True)
    same(op(scores, relevance, valid, 3.0 * valid), 3 * op(scores, relevance, valid, None))


@both
@pytest.mark.parametrize("weighted", [False, True])
def test_second_derivatives_are_exact(name: str, weighted: bool) -> None:
    scores, relevance, valid, weight = lists(6, masked=True, seed=3)
    scores = scores.clone().requires_grad_()

    def op(s: Tensor) -> Tensor:
        return OPS[name][0](s, relevance, valid, weight if weighted else None)

    assert torch.autograd.gradcheck(op, scores)
    assert torch.autograd.gradgradcheck(op, scores)
    assert op(scores).sum() > 0


@both
def test_compiled_and_mapped_it_is_the_same(name: str) -> None:
    scores, relevance, valid, weight = lists(6, masked=True, ties=True, seed=4)
    op = OPS[name][0]
    value, slope = value_and_slope(op, scores, relevance, valid, weight)
    torch.compiler.reset()
    compiled = torch.compile(op, fullgraph=True, backend="aot_eager", dynamic=False)
    for found, wanted in zip(value_and_slope(compiled, scores, relevance, valid, weight), (value, slope), strict=True):
        same(found, wanted)

    def one(s: Tensor, y: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return op(s[None], y[None], v[None], w[None])[0]

    same(torch.func.vmap(one)(scores, relevance, valid, weight), value)
    same(torch.func.vmap(torch.func.grad(one))(scores, relevance, valid, weight), slope)
    with torch.no_grad():
        same(op(scores, relevance, valid, weight), value)


@both
def test_float32_scores_have_the_gradient_of_float64(name: str) -> None:
    scores, relevance, valid, weight = lists(50, masked=True)
    single = scores.float()
    value, slope = value_and_slope(OPS[name][0], single, relevance, valid, weight.float())
    wanted, pull = value_and_slope(OPS[name][0], single.double(), relevance, valid, weight.float().double())
    assert slope.dtype == torch.float32
    same(value, wanted)
    same(slope.double(), pull, 1e-6)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("half", [False, True])
def test_exponentials_of_scores_a_hundred_apart_keep_their_digits(sign: int, half: bool) -> None:
    scores = sign * torch.arange(13, dtype=torch.float64) ** 2.3  # 0 to 303, no two gaps alike
    relevance = torch.tensor([0.0, 0, 1, 1, 1, 2, 2, 0, 3, 3, 2, 1, 0], dtype=torch.float64)
    given = [scores[None], relevance[None], torch.ones(1, 13, dtype=torch.bool), None]
    value, slope = value_and_slope(lambda *t: exponential_pairs(*t, half=half), *given)
    wanted, pull = value_and_slope(lambda *t: exponential_loop(*t, half=half), scores, relevance, given[2][0], None)
    torch.testing.assert_close(value[0], wanted, rtol=1e-12, atol=0)
    # each on its own scale, from e^300 down to e^-275
    torch.testing.assert_close(slope[0], pull, rtol=1e-11, atol=0)
    assert pull.all()


def test_a_far_score_does_not_blind_the_sum_to_the_near_ones() -> None:
    """One shift for all would lose the first pair, whose exponentials are e^-2000 of the largest."""
    scores = torch.tensor([[-2000.5, -2000.0, 0.0]], dtype=torch.float64)
    relevance = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    value, slope = value_and_slope(lambda *t: exponential_pairs(*t, half=False), scores, relevance, scores < 1, None)
    same(value, torch.tensor([math.exp(0.5)], dtype=torch.float64))
    same(slope, math.exp(0.5) * torch.tensor([[-1.0, 1.0, 0.0]], dtype=torch.float64))


def test_squares_far_from_zero_do_not_cancel() -> None:
    scores, relevance, valid, weight = lists(30)
    for w in (None, weight):
        far = value_and_slope(mse_pairs, scores + 2.0**20, relevance, valid, w)
        near = value_and_slope(mse_pairs, (scores + 2.0**20) - 2.0**20, relevance, valid, w)
        for found, wanted in zip(far, near, strict=True):
            same(found, wanted, 1e-9)  # of the 53 bits 20 are above the point
        assert near[1].any()


def test_an_outlier_of_weight_zero_leaves_small_errors_their_digits() -> None:
    scores = torch.tensor([[1e6, 1e-3, 0.0, 2e-3]], dtype=torch.float64)
    relevance = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    weight = torch.tensor([[0.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    value, _ = value_and_slope(mse_pairs, scores, relevance, scores == scores, weight)
    same(value, torch.tensor([1e-6 + 1e-6 + 4e-6], dtype=torch.float64), 1e-6)


def test_a_long_list_is_no_matrix_of_pairs() -> None:
    """At n = 300,000 a table of pairs has 720 GB."""
    n = 300_000
    scores, valid = torch.zeros(1, n, dtype=torch.float64, requires_grad=True), torch.ones(1, n, dtype=torch.bool)
    relevance = (torch.arange(n) % 3).double()[None]
    pairs = 3 * (n // 3) ** 2
    for op, wanted in (
        (lambda: exponential_pairs(scores, relevance, valid, None, half=False), pairs),
        (lambda: exponential_pairs(scores, relevance, valid, None, half=True), n * (n - 1) // 2),
        (lambda: mse_pairs(scores, relevance, valid, torch.ones(1, n)), (n // 3) ** 2 * (1 + 1 + 4)),
        (lambda: mse_pairs(scores, relevance, valid, None), (n // 3) ** 2 * (1 + 1 + 4)),
    ):
        value = op()
        assert value.item() == pytest.approx(wanted, rel=1e-10)
        (slope,) = torch.autograd.grad(value.sum(), scores)
        assert slope.any()


@pytest.mark.parametrize("weighted", [False, True])
def test_grades_with_a_large_offset_take_no_digit_from_the_scores(weighted: bool) -> None:
    scores, relevance, valid, weight = lists(7, masked=True)
    moved = torch.where(valid, relevance + 1.7e9, 0)
    weights = weight if weighted else None
    found, wanted = (value_and_slope(mse_pairs, scores, y, valid, weights) for y in (moved, relevance))
    for mine, true in zip(found, wanted, strict=True):
        same(mine, true)
        assert true.any()
