"""Log-sum-exps of all prefixes in one pass against each prefix by itself, from scores that are kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pair_kernels import everybody
from torch import Tensor

from harness import same
from losskit.ops import prefixes
from losskit.ops.pair_sets import NOBODY, Who, counted
from losskit.ops.prefixes import Prefixes, prefix_logsumexp, prefix_sums

DIMS = [2, 3, 7]


def crowd(n: int, m: int) -> Who:
    """Ids of a few kinds; some rows and columns are not there."""
    row, col = torch.arange(n) % 5, torch.arange(m) % 7
    row[n // 2] = col[m // 3] = NOBODY
    return Who(row, col, torch.arange(n), torch.arange(m) + 3, False)


def tensors(n: int, m: int, *, size: float = 1.0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """x, y and their factors."""
    g = torch.Generator().manual_seed(n)
    x, y = (size * torch.randn(k, DIMS[-1], generator=g, dtype=dtype) for k in (n, m))
    a, b = (0.5 + torch.rand(len(DIMS), k, generator=g, dtype=dtype) for k in (n, m))
    return [t.requires_grad_() for t in (x, y, a, b)]


def dense(x: Tensor, y: Tensor, a: Tensor, b: Tensor, who: Who) -> tuple[Tensor, Tensor]:
    seen, rows, cols = counted(who), [], []
    for k, d in enumerate(DIMS):
        scores = torch.where(seen, a[k][:, None] * b[k] * (x[:, :d] @ y[:, :d].T), -torch.inf).double()
        rows.append(torch.where(seen.any(1), torch.logsumexp(scores, 1), -torch.inf))
        cols.append(torch.where(seen.any(0), torch.logsumexp(scores, 0), -torch.inf))
    return torch.stack(rows), torch.stack(cols)


def finite(*values: Tensor) -> Tensor:
    return torch.cat([torch.where(v == -torch.inf, 0, v).sin().flatten() for v in values]).sum()


@pytest.mark.parametrize("memory", [1, 1 << 24])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("who", [crowd(37, 45), everybody(37, 45, torch.device("cpu"))], ids=["crowd", "everybody"])
def test_one_pass_is_each_prefix_by_itself(memory: int, columns: bool, who: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "_MEMORY", memory)
    monkeypatch.setattr(prefixes, "pair_logsumexp", None)
    given = tensors(37, 45)
    rows, cols = prefix_logsumexp(Prefixes(*given, who, DIMS), columns=columns)
    right = dense(*given, who)
    same(rows, right[0], 1e-12)
    if columns:
        same(cols, right[1], 1e-12)
    else:
        assert not cols.numel()
        right = right[:1]
    got, wanted = (torch.autograd.grad(finite(*v), given) for v in ((rows, cols) if columns else (rows,), right))
    for a, b in zip(got, wanted, strict=True):
        assert b.any()
        same(a, b, 1e-11)


@pytest.mark.parametrize("learns", range(4))
def test_each_gradient_is_there_alone(learns: int) -> None:
    given, who = [t.detach() for t in tensors(9, 8)], crowd(9, 8)
    given[learns].requires_grad_()
    (got,) = torch.autograd.grad(finite(*prefix_logsumexp(Prefixes(*given, who, DIMS), columns=True)), given[learns])
    (wanted,) = torch.autograd.grad(finite(*dense(*given, who)), given[learns])
    assert wanted.any()
    same(got, wanted, 1e-12)


def test_derivatives_are_those_of_differences_the_second_ones_too() -> None:
    who = crowd(4, 5)

    def value(*given: Tensor) -> Tensor:
        rows, cols = prefix_logsumexp(Prefixes(*given, who, DIMS), columns=True)
        return torch.cat([rows[:, [0, 1, 3]].flatten(), cols[:, [0, 2, 3]].flatten()])

    torch.autograd.gradcheck(value, tensors(4, 5))
    torch.autograd.gradgradcheck(value, tensors(4, 5))


@pytest.mark.parametrize("size", [1e-3, 30.0, 1e12, 1e15])
def test_scores_beyond_exponentials_are_summed_prefix_by_prefix(size: float) -> None:
    given, who = tensors(9, 8, size=size, dtype=torch.float32), crowd(9, 8)
    rows, cols = prefix_logsumexp(Prefixes(*given, who, DIMS), columns=True)
    wide = [t.detach().double().requires_grad_() for t in given]
    right = dense(*wide, who)
    for a, b in zip((rows, cols), right, strict=True):
        torch.testing.assert_close(a, b, rtol=3e-6, atol=3e-6 * size**2)
    slopes = torch.autograd.grad(rows[:, 0].sum(), given[0])
    assert slopes[0].isfinite().all()


def test_one_pass_is_taken_where_all_scores_have_an_exponential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "pair_logsumexp", None)
    given = [t.detach() for t in tensors(9, 8)]
    given[2] *= 69 / float((given[2].abs() * prefixes._lengths(given[0], DIMS)).amax())
    given[3] *= 1 / float((given[3].abs() * prefixes._lengths(given[1], DIMS)).amax())
    prefix_logsumexp(Prefixes(*given, crowd(9, 8), DIMS))
    given[2] *= 2
    with pytest.raises(TypeError):
        prefix_logsumexp(Prefixes(*given, crowd(9, 8), DIMS))


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_nobody_is_minus_infinity(n: int, m: int) -> None:
    rows, cols = prefix_logsumexp(Prefixes(*tensors(n, m), everybody(n, m, torch.device("cpu")), DIMS), columns=True)
    assert rows.shape == (3, n)
    assert cols.shape == (3, m)
    assert bool((torch.cat([rows, cols], 1) == -torch.inf).all())


def test_a_row_whose_factor_is_zero_has_scores_of_zero_and_finite_gradients() -> None:
    x, y, a, b = tensors(5, 6)
    a = a.detach().clone().requires_grad_()
    with torch.no_grad():
        a[:, 2] = 0
    rows, _ = prefix_logsumexp(Prefixes(x, y, a, b, everybody(5, 6, torch.device("cpu")), DIMS))
    same(rows[:, 2], torch.full((3,), 6.0, dtype=torch.float64).log(), 1e-12)
    for slope in torch.autograd.grad(rows.sum(), [x, y, a, b]):
        assert slope.isfinite().all()


def test_sums_of_prefixes_are_those_of_the_first_numbers() -> None:
    values = torch.arange(14, dtype=torch.float32).reshape(2, 7)
    same(prefix_sums(values, DIMS), torch.stack([values[:, :d].double().sum(1) for d in DIMS]), 1e-15)


def test_vmap_and_grad_are_those_of_each_call() -> None:
    who = crowd(4, 5)
    given: list[Any] = [torch.stack([t.detach(), 2 * t.detach()]) for t in tensors(4, 5)]

    def value(*each: Tensor) -> Tensor:
        return finite(*prefix_logsumexp(Prefixes(*each, who, DIMS), columns=True))

    got = torch.vmap(torch.func.grad(value))(*given)
    for i in range(2):
        x, *rest = (t[i] for t in given)
        x.requires_grad_()
        (wanted,) = torch.autograd.grad(finite(*dense(x, *rest, who)), x)
        assert wanted.any()
        same(got[i], wanted, 1e-12)
