"""Sums over pairs in the order of a key, against the table of all pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from largest import Largest
from losskit.ops.sorted_pairs import _formula, _kernel, pairs_logsumexp, ranks

KEYS = {
    "all different": [3, 1, 4, 0, 5, 9, 2],
    "ties": [1, 0, 1, 2, 0, 2, 1],
    "two grades": [1, 0, 0, 0, 1, 0, 0],
    "rising": [0, 1, 2, 3, 4, 5, 6],
    "falling": [6, 5, 4, 3, 2, 1, 0],
}
NO_PAIRS = {"all equal": [2, 2, 2], "one": [7], "none": []}


def drawn(size: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_pairs(scores: Tensor, key: list[int], valid: list[bool]) -> tuple[float, list[float]]:
    """The log of the sum and its gradient, pair by pair."""
    s, total, slope = scores.tolist(), 0.0, [0.0] * len(scores)
    for i in range(len(s)):
        for j in range(len(s)):
            if valid[i] and valid[j] and key[i] < key[j]:
                term = math.exp(s[i] - s[j])
                total, slope[i], slope[j] = total + term, slope[i] + term, slope[j] - term
    return math.log(total), [g / total for g in slope]


def found(way: Callable[[Tensor], Tensor], scores: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = way(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("hidden", [None, 0, 3])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_the_sum_and_its_gradient_are_those_of_all_pairs(key: list[int], hidden: int | None) -> None:
    valid = [i != hidden for i in range(7)]
    given = torch.tensor(key), torch.tensor(valid)
    for seed in range(3):
        scores = drawn(7, seed)
        wanted, slope = by_pairs(scores, key, valid)
        for way in (pairs_logsumexp, _formula):
            value, gradient = found(lambda s, way=way: way(s, *given), scores)
            assert float(value) == pytest.approx(wanted, rel=1e-13, abs=1e-13)
            assert gradient.tolist() == pytest.approx(slope, rel=1e-12, abs=1e-13)
            assert gradient.any()


def test_what_is_not_valid_may_be_nan() -> None:
    scores, valid = drawn(7), torch.tensor([True, False, True, True, False, True, True])
    key = torch.tensor(KEYS["ties"], dtype=torch.float64)
    spoiled, lost = (torch.where(valid, t, torch.nan) for t in (scores, key))
    value, gradient = found(lambda s: pairs_logsumexp(s, lost, valid), spoiled)
    wanted, slope = found(lambda s: pairs_logsumexp(s, key, valid), scores)
    assert torch.equal(value, wanted)
    assert torch.equal(gradient, slope)
    assert (gradient == 0).tolist() == valid.logical_not().tolist()


@pytest.mark.parametrize("way", [pairs_logsumexp, _formula])
@pytest.mark.parametrize("key", NO_PAIRS.values(), ids=NO_PAIRS)
def test_without_a_pair_there_is_nothing_to_learn(key: list[int], way: Callable[..., Tensor]) -> None:
    given = torch.tensor(key, dtype=torch.long), torch.ones(len(key), dtype=torch.bool)
    value, gradient = found(lambda s: way(s, *given), drawn(len(key)))
    assert value == -math.inf
    assert gradient.tolist() == [0.0] * len(key)

    def head(s: Tensor) -> Tensor:
        return F.logsigmoid(-way(s, *given))

    nothing = [[0.0] * len(key)] * len(key)
    assert torch.func.jacrev(torch.func.jacrev(head))(drawn(len(key))).tolist() == nothing
    if key:  # torch's own takes no empty tensor
        assert torch.as_tensor(torch.autograd.functional.hessian(head, drawn(len(key)))).tolist() == nothing


def test_equal_keys_are_one_run() -> None:
    key, valid = torch.tensor([2, 0, 2, 1, 0, 2]), torch.tensor([True, True, True, True, True, False])
    at = ranks(key, valid)
    assert at.place.tolist() == [1, 4, 3, 0, 2, 5]
    assert at.first.tolist() == [0, 0, 2, 3, 3, 5]
    assert at.after.tolist() == [2, 2, 3, 5, 5, 6]
    assert at.valid.tolist() == [True] * 5 + [False]


def test_differences_beyond_all_exponentials_are_exact() -> None:
    scores, key = torch.tensor([900.0, -900.0, 5.0], dtype=torch.float64), torch.tensor([0, 1, 2])
    valid = torch.ones(3, dtype=torch.bool)
    value, gradient = found(lambda s: pairs_logsumexp(s, key, valid), scores)
    assert (float(value), gradient.tolist()) == (1800.0, [1.0, -1.0, 0.0])
    value, gradient = found(lambda s: pairs_logsumexp(s, key, valid), -scores)
    assert float(value) == 905.0  # from -(-900) down to -5
    assert gradient.tolist() == [0.0, 1.0, -1.0]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_second_derivatives_are_right_and_defined_where_a_gradient_is_zero(key: list[int]) -> None:
    given = torch.tensor(key), torch.ones(7, dtype=torch.bool)
    scores = drawn(7).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda s: pairs_logsumexp(s, *given), scores)
    same = torch.zeros(7, dtype=torch.float64, requires_grad=True)  # equal scores: no kink
    assert torch.autograd.gradgradcheck(lambda s: pairs_logsumexp(s, *given), same)
    hessian = torch.autograd.functional.hessian(lambda s: pairs_logsumexp(s, *given), 1e3 * scores.detach())
    assert torch.as_tensor(hessian).isfinite().all()


@pytest.mark.parametrize("way", [pairs_logsumexp, _formula])
def test_nothing_is_larger_than_the_list(way: Callable[..., Tensor]) -> None:
    key, valid = torch.arange(1000) % 7, torch.ones(1000, dtype=torch.bool)
    with Largest() as largest:
        _, gradient = found(lambda s: way(s, key, valid), drawn(1000))
    assert gradient.any()
    assert largest.elements == 1000


def test_the_kernel_keeps_one_number_for_each_score() -> None:
    _, saved, pull = _kernel(drawn(50), torch.arange(50) % 3, torch.ones(50, dtype=torch.bool))
    assert [t.numel() for t in saved if t is not None] == [50]
    assert torch.equal(pull(torch.tensor(2.0, dtype=torch.float64), *saved), 2 * torch.as_tensor(saved[0]))
