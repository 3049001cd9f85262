"""Barlow Twins and VICReg against loops over features, with fewer rows than features and with more, and what is degenerate."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from cases import SIZES
from laws import LAWS
from losskit.core.card import CATALOGUE
from losskit.losses.redundancy import barlow_twins_loss, vicreg_loss

LOSSES = pytest.mark.parametrize("loss", [barlow_twins_loss, vicreg_loss])
SHAPES = pytest.mark.parametrize(("rows", "features"), [(4, 6), (6, 4), (5, 5), (2, 3)])


def drawn(rows: int, features: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows * features)
    query, key = (torch.randn(rows, features, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return query.requires_grad_(), (key + 0.5 * query.detach()).requires_grad_()


def moments(column: list[Tensor], freedom: int) -> tuple[Tensor, Tensor]:
    mean = sum(column) / len(column)
    return torch.as_tensor(mean), torch.as_tensor(sum((x - mean) ** 2 for x in column) / freedom)


def barlow_by_loops(query: Tensor, key: Tensor) -> Tensor:
    """One pair of features after the other."""
    rows, features = query.shape
    total = torch.zeros((), dtype=torch.float64)
    for d in range(features):
        mean_q, var_q = moments([query[n, d] for n in range(rows)], rows)
        for e in range(features):
            mean_k, var_k = moments([key[n, e] for n in range(rows)], rows)
            c = sum((query[n, d] - mean_q) * (key[n, e] - mean_k) for n in range(rows)) / rows
            c = c / torch.sqrt((var_q + 1e-5) * (var_k + 1e-5))
            total = total + ((1 - c) ** 2 if d == e else 0.005 * c**2)
    return total


def vicreg_by_loops(query: Tensor, key: Tensor) -> Tensor:
    rows, features = query.shape
    total = torch.zeros((), dtype=torch.float64)
    for view in (query, key):
        for d in range(features):
            mean_d, var_d = moments([view[n, d] for n in range(rows)], rows - 1)
            total = total + 25 / 2 * torch.relu(1 - torch.sqrt(var_d + 1e-4)) / features
            for e in range(features):
                mean_e = moments([view[n, e] for n in range(rows)], rows)[0]
                cov = sum((view[n, d] - mean_d) * (view[n, e] - mean_e) for n in range(rows)) / (rows - 1)
                total = total + (cov**2 / features if d != e else 0)
    for n in range(rows):
        for d in range(features):
            total = total + 25 * (query[n, d] - key[n, d]) ** 2 / (rows * features)
    return total


@SHAPES
@pytest.mark.parametrize(("loss", "loops"), [(barlow_twins_loss, barlow_by_loops), (vicreg_loss, vicreg_by_loops)])
def test_value_and_gradient_are_those_of_loops(
    loss: Callable[..., Tensor], loops: Callable[..., Tensor], rows: int, features: int
) -> None:
    views = drawn(rows, features)
    got, wanted = loss(*views), loops(*views)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    for found, slope in zip(torch.autograd.grad(got, views), torch.autograd.grad(wanted, views), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-12)
        assert slope.any()


@LOSSES
def test_float32_keeps_six_digits_where_rows_are_few(loss: Callable[..., Tensor]) -> None:
    views = drawn(64, 512, torch.float32)
    wide = tuple(v.detach().double().requires_grad_() for v in views)
    got, wanted = loss(*views), loss(*wide)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=0)
    for found, slope in zip(torch.autograd.grad(got, views), torch.autograd.grad(wanted, wide), strict=True):
        assert float((found.double() - slope).norm() / slope.norm()) < 3e-6


def test_barlow_twins_is_the_batch_norm_of_the_authors_code() -> None:
    query, key = drawn(8, 3)
    a, b = (F.batch_norm(v, None, None, training=True) for v in (query, key))
    c = a.T @ b / 8
    beside = c.square().sum() - c.diagonal().square().sum()
    wanted = (c.diagonal() - 1).square().sum() + 0.3 * beside
    torch.testing.assert_close(barlow_twins_loss(query, key, redundancy=0.3), wanted, rtol=1e-12, atol=1e-12)


@LOSSES
@pytest.mark.parametrize("law", sorted(LAWS.keys() - {"card_and_docstring_are_whole", "compiles_as_one_graph"}))
def test_the_laws_hold_with_fewer_rows_than_features(
    loss: Callable[..., Tensor], law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "D", 9)
    LAWS[law](CATALOGUE[loss.__name__], {})


@LOSSES
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_collapsed_rows_have_the_stated_value_and_finite_gradients(loss: Callable[..., Tensor], rows: int) -> None:
    for dtype in (torch.float16, torch.float32, torch.float64):
        views = [torch.full((rows, 5), 0.3, dtype=dtype).requires_grad_() for _ in range(2)]
        value = loss(*views)
        wanted = 5.0 if loss is barlow_twins_loss else 25 * (1 - math.sqrt(1e-4))
        assert float(value.detach()) == pytest.approx(wanted * bool(rows), rel=1e-6)
        for slope in torch.autograd.grad(value, views):
            assert slope.isfinite().all()


def test_a_constant_feature_correlates_with_nothing() -> None:
    query, key = drawn(6, 3)
    spoiled = torch.cat([query, torch.full((6, 1), 0.1)], 1), torch.cat([key, key[:, :1]], 1)
    torch.testing.assert_close(
        barlow_twins_loss(*spoiled, redundancy=0.0), barlow_twins_loss(query, key, redundancy=0.0) + 1, rtol=1e-9, atol=1e-9
    )


@LOSSES
@pytest.mark.parametrize("features", [2, 9])
def test_masked_rows_are_as_if_they_were_not_there(loss: Callable[..., Tensor], features: int) -> None:
    query, key = drawn(6, features)
    mask = torch.tensor([True, False, True, True, False, True])
    bad = torch.where(mask[:, None], query, math.nan)
    value, wanted = loss(bad, key, mask=mask), loss(query[mask], key[mask])
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    for found, slope in zip(torch.autograd.grad(value, (query, key)), torch.autograd.grad(wanted, (query, key)), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-12)
        assert slope[mask].any()


@LOSSES
def test_leading_axes_are_the_batch(loss: Callable[..., Tensor]) -> None:
    query, key = drawn(6, 4)
    assert torch.equal(loss(query.reshape(2, 3, 4), key.reshape(2, 3, 4)), loss(query, key))


@LOSSES
def test_a_batch_counts_one(loss: Callable[..., Tensor]) -> None:
    query, key = drawn(6, 4)
    assert losskit.parts(loss, query, key).weight == 1
    assert losskit.parts(loss, query[:0], key[:0]).weight == 0
    assert loss(query, key, reduction="none").shape == ()


def test_copies_of_rows_change_no_statistic_of_barlow_twins() -> None:
    query, key = drawn(5, 8)
    torch.testing.assert_close(barlow_twins_loss(query.repeat(4, 1), key.repeat(4, 1)), barlow_twins_loss(query, key))


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (barlow_twins_loss, {"redundancy": -1}),
        (barlow_twins_loss, {"eps": 0}),
        (vicreg_loss, {"invariance": -1}),
        (vicreg_loss, {"variance": -1}),
        (vicreg_loss, {"covariance": math.nan}),
        (vicreg_loss, {"margin": math.inf}),
        (vicreg_loss, {"eps": 0}),
    ],
)
def test_options_out_of_range_are_refused(loss: Callable[..., Tensor], options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        loss(*drawn(3, 2), **options)
