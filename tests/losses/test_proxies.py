"""Proxy-NCA and Proxy-Anchor against loops over rows and proxies, and batches that lack something."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit.losses.proxies import ProxyNCALoss, proxy_anchor_loss, proxy_nca_loss


def drawn(rows: int, classes: int, features: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows + classes)
    x, p = (torch.randn(n, features, generator=generator, dtype=torch.float64).requires_grad_() for n in (rows, classes))
    return x, p, torch.randint(classes - 1, (rows,), generator=generator)  # the last class has no row


def length(a: Tensor) -> Tensor:
    return (a * a).sum().sqrt()


def nca_by_loops(x: Tensor, p: Tensor, y: Tensor, temperature: Tensor | float, include_positive: bool) -> Tensor:
    rows = []
    for n in range(len(x)):
        near = [torch.exp(-((x[n] / length(x[n]) - q / length(q)) ** 2).sum() / temperature) for q in p]
        others = [e for c, e in enumerate(near) if include_positive or c != int(y[n])]
        rows.append(-torch.log(near[int(y[n])] / sum(others)))
    return torch.stack(rows)


def anchor_by_loops(x: Tensor, p: Tensor, y: Tensor, margin: float, alpha: float) -> Tensor:
    pull, push, present = torch.zeros(()).double(), torch.zeros(()).double(), 0
    for c in range(len(p)):
        own, others = torch.ones(()).double(), torch.ones(()).double()
        for n in range(len(x)):
            s = (x[n] * p[c]).sum() / (length(x[n]) * length(p[c]))
            if int(y[n]) == c:
                own = own + torch.exp(-alpha * (s - margin))
            else:
                others = others + torch.exp(alpha * (s + margin))
        present += bool((y == c).any())
        pull, push = pull + torch.log(own), push + torch.log(others)
    return pull / present + push / len(p)


@pytest.mark.parametrize("include_positive", [False, True])
@pytest.mark.parametrize("memory", [None, 100])
def test_proxy_nca_is_a_loop(include_positive: bool, memory: int | None) -> None:
    x, p, y = drawn(7, 5, 3)
    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    wanted = nca_by_loops(x, p, y, t, include_positive)
    for reduction, expected in (("none", wanted), ("mean", wanted.mean())):
        options: Any = {"temperature": t, "include_positive": include_positive, "memory": memory, "reduction": reduction}
        got = proxy_nca_loss(x, p, y, **options)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
        slopes = torch.autograd.grad(expected.sum(), (x, p, t), retain_graph=True)
        for found, slope in zip(torch.autograd.grad(got.sum(), (x, p, t)), slopes, strict=True):
            torch.testing.assert_close(found, slope, rtol=1e-11, atol=1e-12)
            assert slope.any()


@pytest.mark.parametrize(("margin", "alpha"), [(0.1, 32.0), (0.4, 3.0), (-0.1, 1.0)])
@pytest.mark.parametrize("memory", [None, 500])
def test_proxy_anchor_is_a_loop(margin: float, alpha: float, memory: int | None) -> None:
    x, p, y = drawn(9, 5, 3)
    got, wanted = proxy_anchor_loss(x, p, y, margin=margin, alpha=alpha, memory=memory), anchor_by_loops(x, p, y, margin, alpha)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    for found, slope in zip(torch.autograd.grad(got, (x, p)), torch.autograd.grad(wanted, (x, p)), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-11, atol=1e-12)
        assert slope.any()


def test_proxy_nca_may_fall_below_zero_and_its_softmax_may_not() -> None:
    x, p = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [-3.0, 0.0], [-1.0, 0.0]])
    y = torch.tensor([0])
    assert float(proxy_nca_loss(x, p, y)) == pytest.approx(math.log(2) - 4)  # the least there is
    assert float(proxy_nca_loss(x, p, y, include_positive=True)) == pytest.approx(math.log1p(2 * math.exp(-4)))


def test_a_learned_temperature_is_an_option_of_the_module() -> None:
    x, p, y = drawn(4, 3, 2)
    module = ProxyNCALoss(include_positive=True, temperature=torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64)))
    module(x, p, y).backward()
    (parameter,) = module.parameters()
    assert parameter.grad is not None
    assert parameter.grad != 0


@pytest.mark.parametrize("loss", [proxy_nca_loss, proxy_anchor_loss])
def test_ignored_rows_have_no_gradient(loss: Callable[..., Tensor]) -> None:
    x, p, y = drawn(6, 4, 3)
    y[2] = -100
    kept = y >= 0
    bad = torch.where(kept[:, None], x, math.nan)
    got, wanted = loss(bad, p, y), loss(x[kept], p, y[kept])
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    for found, slope in zip(torch.autograd.grad(got, (x, p)), torch.autograd.grad(wanted, (x, p)), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-11, atol=1e-12)
        assert slope.any()


def test_masked_rows_may_have_any_target() -> None:
    x, p, y = drawn(6, 4, 3)
    mask = torch.tensor([True, True, False, True, False, True])
    wrong = torch.where(mask, y, 77)
    torch.testing.assert_close(proxy_anchor_loss(x, p, wrong, mask=mask), proxy_anchor_loss(x[mask], p, y[mask]))


def test_a_batch_of_one_class_pulls_one_proxy_and_pushes_the_others() -> None:
    x, p, _ = drawn(3, 4, 2)
    value = proxy_anchor_loss(x, p, torch.tensor([1, 1, 1]), alpha=2.0)
    torch.testing.assert_close(value, anchor_by_loops(x, p, torch.tensor([1, 1, 1]), 0.1, 2.0))
    assert torch.autograd.grad(value, p)[0].any(1).all()


@pytest.mark.parametrize("alpha", [32.0, 1e4])
def test_proxy_anchor_is_finite_and_right_where_exponentials_are_not(alpha: float) -> None:
    x, p = (
        torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True),
        torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True),
    )
    for y, worst in (([0, 1], -0.9), ([1, 0], 1.1)):  # all right, all wrong: 1 + margin for both terms
        value = proxy_anchor_loss(x, p, torch.tensor(y), alpha=alpha)
        assert float(value.detach()) == pytest.approx(2 * float(F.softplus(torch.tensor(alpha * worst).double())), rel=1e-6)
        for slope in torch.autograd.grad(value, (x, p)):
            assert slope.isfinite().all()


@pytest.mark.parametrize("loss", [proxy_nca_loss, proxy_anchor_loss])
def test_what_is_degenerate_has_finite_values_and_gradients(loss: Callable[..., Tensor]) -> None:
    x, p, y = drawn(5, 4, 3)
    for dtype in (torch.float16, torch.float32):
        cases = [
            (x, p[:1].expand(4, 3), y),  # one proxy for all
            (p[y], p, y),  # each row its proxy
            (torch.zeros(5, 3), p, y),
            (x, torch.zeros(4, 3), y),
            (x[:1], p, y[:1]),
            (x[:1].expand(5, 3), p, y),
        ]
        for a, b, index in cases:
            leaves = [t.detach().to(dtype).requires_grad_() for t in (a, b)]
            value = loss(*leaves, index, **({"temperature": 0.01} if loss is proxy_nca_loss else {"alpha": 100.0}))
            assert value.isfinite()
            assert all(slope.isfinite().all() for slope in torch.autograd.grad(value, leaves))


def test_proxy_anchor_keeps_no_scores_that_exceed_its_memory() -> None:
    x, p, y = (t.detach() for t in drawn(64, 200, 4))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        proxy_anchor_loss(x.requires_grad_(), p.requires_grad_(), y, memory=200 * 8 * 6 * 8)
    assert max(kept) < 64 * 200 / 4


def test_what_is_out_of_range_is_refused() -> None:
    x, p, y = drawn(3, 4, 2)
    refused: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ValueError, "temperature", lambda: proxy_nca_loss(x, p, y, temperature=0)),
        (ValueError, "temperature", lambda: proxy_nca_loss(x, p, y, temperature=torch.tensor(-1.0))),
        (losskit.ShapeError, "expected 2 or more", lambda: proxy_nca_loss(x, p[:1], y * 0)),
        (IndexError, "expected a class in", lambda: proxy_nca_loss(x, p, y + 4)),
        (ValueError, "reduction", lambda: proxy_nca_loss(x, p, y, reduction="average")),
        (ValueError, "alpha", lambda: proxy_anchor_loss(x, p, y, alpha=0)),
        (ValueError, "margin", lambda: proxy_anchor_loss(x, p, y, margin=math.nan)),
        (IndexError, "expected a class in", lambda: proxy_anchor_loss(x, p, y + 4)),
        (ValueError, "memory", lambda: proxy_anchor_loss(x, p, y, memory=0)),
    ]
    for error, words, call in refused:
        with pytest.raises(error, match=words):
            call()
    assert proxy_nca_loss(x, p[:1], y * 0, include_positive=True) == 0
