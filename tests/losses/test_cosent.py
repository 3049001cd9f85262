"""CoSENT and AnglE against double loops over pairs of pairs."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.core.card import CATALOGUE
from losskit.losses.cosent import AnglELoss, CoSENTLoss, angle_loss, cosent_loss

Loss = Callable[..., Tensor]
BOTH = (cosent_loss, angle_loss)


def drawn(size: int, features: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, size, features, generator=generator, dtype=torch.float64)
    return query, key, torch.randint(4, (size,), generator=generator)


def at_angles(*degrees: float) -> tuple[Tensor, Tensor]:
    """Pairs of rows with these angles between them."""
    turned = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.tensor([[1.0, 0.0]] * len(degrees), dtype=torch.float64), torch.stack([turned.cos(), turned.sin()], -1)


def cosine(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key) / (query @ query).sqrt() / (key @ key).sqrt()


def in_the_plane(query: Tensor, key: Tensor) -> Tensor:
    """|sum of the real and imaginary parts of z / w over the ratio of lengths|, feature by feature."""
    half, total = len(query) // 2, torch.zeros((), dtype=torch.float64)
    for a, b, c, d in zip(query[:half], query[half:], key[:half], key[half:], strict=True):
        total = total + (a * c + b * d + b * c - a * d)
    return (total / (query @ query).sqrt() / (key @ key).sqrt()).abs()


SIMILARITY = {cosent_loss: cosine, angle_loss: in_the_plane}


def by_pairs(loss: Loss, query: Tensor, key: Tensor, target: Tensor, temperature: Tensor | float = 0.05) -> Tensor:
    """log(1 + sum over y_i < y_j of exp((s_i - s_j) / t)), one term after the other."""
    s = [SIMILARITY[loss](q, k) for q, k in zip(query, key, strict=True)]
    total = torch.ones((), dtype=torch.float64)
    for i, low in enumerate(target):
        for j, high in enumerate(target):
            if low < high:
                total = total + ((s[i] - s[j]) / temperature).exp()
    return total.log()


def gradients(value: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    found = torch.autograd.grad(value, leaves)
    assert all(g.any() for g in found)
    return found


@pytest.mark.parametrize("loss", BOTH)
def test_value_and_gradients_are_those_of_the_double_loop(loss: Loss) -> None:
    for seed in range(4):
        query, key, target = drawn(7, seed=seed)
        leaves = query.requires_grad_(), key.requires_grad_(), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        value, wanted = loss(query, key, target, temperature=leaves[2]), by_pairs(loss, query, key, target, leaves[2])
        torch.testing.assert_close(value, wanted, rtol=1e-13, atol=1e-13)
        for mine, theirs in zip(gradients(value, *leaves), gradients(wanted, *leaves), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_pair_of_lower_target_and_higher_cosine_is_what_is_punished() -> None:
    query, key = at_angles(0, 60)  # cosines 1 and 1/2
    wrong = cosent_loss(query, key, torch.tensor([1, 2]), temperature=0.1)
    right = cosent_loss(query, key, torch.tensor([2, 1]), temperature=0.1)
    assert float(wrong) == pytest.approx(math.log1p(math.exp((1 - 0.5) / 0.1)))
    assert float(right) == pytest.approx(math.log1p(math.exp((0.5 - 1) / 0.1)))


def test_the_gradient_lowers_the_cosine_of_the_lower_target() -> None:
    query, key = at_angles(30, 60)
    key.requires_grad_()
    (slope,) = gradients(cosent_loss(query, key, torch.tensor([1, 2])), key)
    after = (key - 0.01 * slope).detach()
    assert cosine(query[0], after[0]) < cosine(query[0], key[0])
    assert cosine(query[1], after[1]) > cosine(query[1], key[1])


@pytest.mark.parametrize("loss", BOTH)
def test_only_the_order_of_the_targets_counts(loss: Loss) -> None:
    query, key, target = drawn(9)
    value = loss(query, key, target)
    for other in (target.double() ** 3, target - 5, target.to(torch.uint8), target.half(), torch.exp(3.0 * target)):
        assert torch.equal(loss(query, key, other), value)
    assert torch.equal(loss(query, key, target > 1), loss(query, key, (target > 1).long()))


def test_integers_beyond_the_floats_are_still_different() -> None:
    query, key = at_angles(10, 50)
    assert cosent_loss(query, key, torch.tensor([2**60, 2**60 + 1])) > 6
    assert cosent_loss(query, key, torch.tensor([2**60 + 1, 2**60])) < 0.01


def test_equal_targets_are_no_pair() -> None:
    query, key = at_angles(0, 20, 90)
    tied = cosent_loss(query, key, torch.tensor([1, 1, 2]), temperature=1.0)
    cosines = [math.cos(math.radians(a)) for a in (0, 20, 90)]
    assert float(tied) == pytest.approx(math.log(1 + math.exp(cosines[0] - cosines[2]) + math.exp(cosines[1] - cosines[2])))


@pytest.mark.parametrize("loss", BOTH)
@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_batch_without_a_pair_is_a_connected_zero_and_counts_nothing(loss: Loss, size: int) -> None:
    query = drawn(size)[0].requires_grad_()
    total, weight = losskit.parts(loss, query, drawn(size, seed=1)[1], torch.full((size,), 3))
    assert (total, weight) == (0, 0)
    (slope,) = torch.autograd.grad(total, query)
    assert slope.shape == query.shape
    assert not slope.any()


def test_a_batch_is_one_value_that_counts_one() -> None:
    one, other = drawn(6), drawn(9, seed=1)
    (first, n), (second, m) = (losskit.parts(cosent_loss, *batch) for batch in (one, other))
    assert (n, m) == (1, 1)
    for reduction in ("mean", "sum", "none"):
        assert torch.equal(cosent_loss(*one, reduction=reduction), first)
    assert float((first + second) / (n + m)) == pytest.approx(float(cosent_loss(*one) + cosent_loss(*other)) / 2)
    assert torch.equal(cosent_loss(*one, normalizer=4.0), first / 4)


@pytest.mark.parametrize("loss", BOTH)
def test_collapsed_embeddings_cost_the_log_of_the_number_of_pairs(loss: Loss) -> None:
    target = torch.tensor([0, 0, 1, 2])  # 2 + 2 + 1 pairs
    row = torch.tensor([[0.3, -2.0, 1.0, 0.5]]).expand(4, -1)
    assert float(loss(row, row, target)) == pytest.approx(math.log(1 + 5), rel=1e-6)
    chance = CATALOGUE[loss.__name__].chance
    assert chance is not None
    assert chance(target) == pytest.approx(math.log(6))


@pytest.mark.parametrize("loss", BOTH)
def test_rows_of_zeros_are_finite_and_at_rest(loss: Loss) -> None:
    query, key, target = drawn(5)
    query[1], key[2], query[3], key[3] = 0, 0, 0, 0
    leaves = query.requires_grad_(), key.requires_grad_()
    value = loss(query, key, target)
    assert value.isfinite()
    for slope, rows in zip(gradients(value, *leaves), leaves, strict=True):
        assert slope.isfinite().all()
        assert not slope[(rows == 0).all(-1)].any()


@pytest.mark.parametrize("loss", BOTH)
def test_half_precision_at_a_small_temperature_is_computed_in_float32(loss: Loss) -> None:
    query, key, target = drawn(64)
    for dtype in (torch.float16, torch.bfloat16):
        one, other = query.to(dtype).requires_grad_(), key.to(dtype).requires_grad_()
        value = loss(one, other, target, temperature=0.01)
        assert value.dtype == torch.float32
        exact = loss(one.detach().double(), other.detach().double(), target, temperature=0.01)
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
        assert all(g.dtype == dtype and g.isfinite().all() for g in gradients(value, one, other))


@pytest.mark.parametrize("loss", BOTH)
@pytest.mark.parametrize("temperature", [0.05, 0.01])
def test_float32_has_six_digits_of_the_value_and_of_the_gradient(loss: Loss, temperature: float) -> None:
    query, key, target = drawn(500, 200)  # more rows than one block holds
    single = query.float().requires_grad_(), key.float().requires_grad_()
    leaves = tuple(t.detach().double().requires_grad_() for t in single)
    value, exact = loss(*single, target, temperature=temperature), loss(*leaves, target, temperature=temperature)
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
    for mine, wanted in zip(gradients(value, *single), gradients(exact, *leaves), strict=True):
        assert (mine - wanted).norm() < 1e-6 * wanted.norm()


@pytest.mark.parametrize("loss", BOTH)
def test_lengths_do_not_matter_and_divide_the_gradient(loss: Loss) -> None:
    query, key, target = drawn(20)
    one = query.float().requires_grad_(), key.float().requires_grad_()
    other = (1e30 * query).float().requires_grad_(), (1e-9 * key).float().requires_grad_()
    value, wanted = loss(*other, target), loss(*one, target)
    torch.testing.assert_close(value, wanted, rtol=1e-5, atol=0)
    mine, theirs = gradients(value, *other), gradients(wanted, *one)
    torch.testing.assert_close(1e30 * mine[0].double(), theirs[0].double(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(1e-9 * mine[1].double(), theirs[1].double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", BOTH)
def test_a_nan_in_one_row_is_shown(loss: Loss) -> None:
    for dtype in (torch.float32, torch.float64):
        query, key, target = (t.to(dtype) for t in drawn(6))
        key[3, 1] = math.nan
        assert loss(query, key, target).isnan()


def test_a_small_loss_keeps_its_digits_beside_the_one() -> None:
    query, key = (t.requires_grad_() for t in at_angles(0, 180))  # apart by 2 / 0.05 = 40
    value = cosent_loss(query, key, torch.tensor([2, 1]))
    assert value.item() == pytest.approx(math.exp(-40), rel=1e-12)
    query, key = (t.requires_grad_() for t in at_angles(10, 170))
    value = cosent_loss(query, key, torch.tensor([2, 1]))
    slope = math.sin(math.radians(10)) / 0.05 * math.exp(-2 * math.cos(math.radians(10)) / 0.05)
    assert [float(g.norm(dim=-1)[0]) for g in gradients(value, query, key)] == pytest.approx([slope] * 2, rel=1e-9)


@pytest.mark.parametrize("loss", BOTH)
def test_a_target_of_nan_is_shown_unless_it_is_masked(loss: Loss) -> None:
    query, key, target = drawn(5)
    lost = target.double()
    lost[2] = math.nan
    assert loss(query, key, lost).isnan()
    with losskit.debug(), pytest.raises(ValueError, match='"target" is nan at index 2'):
        loss(query, key, lost)
    mask, learned = torch.arange(5) != 2, torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    rest = loss(query[mask], key[mask], target[mask], temperature=learned)
    value = loss(query, key, lost, mask=mask, temperature=learned)
    torch.testing.assert_close(value, rest, rtol=1e-13, atol=0)
    torch.testing.assert_close(gradients(value, learned), gradients(rest, learned), rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_second_derivatives_and_batches_of_gradients_are_those_of_float64(dtype: torch.dtype) -> None:
    query, key, target = drawn(5)

    def second(rows: Tensor) -> Tensor:
        return torch.as_tensor(torch.autograd.functional.hessian(lambda q: cosent_loss(q, key.to(q.dtype), target), rows))

    wanted = second(query)
    assert wanted.any()
    torch.testing.assert_close(second(query.to(dtype)).double(), wanted, rtol=1e-3, atol=1e-3)
    leaf = query.to(dtype).requires_grad_()
    value = cosent_loss(leaf, key.to(dtype), target)
    (once,) = torch.autograd.grad(value, leaf, retain_graph=True)
    assert once.any()
    (many,) = torch.autograd.grad(value, leaf, torch.tensor([1.0, 3.0], dtype=dtype), is_grads_batched=True)
    torch.testing.assert_close(many, torch.stack([once, 3 * once]))


def test_leading_axes_are_one_batch() -> None:
    query, key, target = drawn(6)
    shaped = cosent_loss(query.reshape(2, 3, 4), key.reshape(2, 3, 4), target.reshape(2, 3))
    assert torch.equal(shaped, cosent_loss(query, key, target))
    assert cosent_loss(query[0], key[0], target[0]) == 0


def test_the_angle_is_that_of_complex_rows() -> None:
    query, key, target = drawn(6)
    rows = [[[complex(*z) for z in zip(r[:2], r[2:], strict=True)] for r in rows.tolist()] for rows in (query, key)]
    s = []
    for q, k in zip(*rows, strict=True):
        length = math.hypot(*map(abs, q)) * math.hypot(*map(abs, k))
        s.append(abs(sum((z * w.conjugate()).real + (z * w.conjugate()).imag for z, w in zip(q, k, strict=True))) / length)
    terms = [math.exp(s[i] - s[j]) for i in range(6) for j in range(6) if target[i] < target[j]]
    assert float(angle_loss(query, key, target, temperature=1.0)) == pytest.approx(math.log1p(sum(terms)), rel=1e-12)


def test_the_angle_is_largest_an_eighth_of_a_turn_away_on_one_side() -> None:
    turns = [cmath.exp(1j * math.radians(a)) for a in (-45, 0, 45)]
    key = torch.tensor([[t.real, t.imag] for t in turns], dtype=torch.float64)
    query, target = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64), torch.tensor([0, 1, 2])
    wanted = math.log1p(math.exp(math.sqrt(2) - 1) + math.exp(math.sqrt(2) - 0) + math.exp(1 - 0))
    assert float(angle_loss(query, key, target, temperature=1.0)) == pytest.approx(wanted, rel=1e-12)


def test_an_odd_last_feature_is_real() -> None:
    query, key, target = drawn(6, 3)
    nothing = torch.zeros(6, 1, dtype=torch.float64)
    padded = angle_loss(torch.cat([query, nothing], -1), torch.cat([key, nothing], -1), target)
    torch.testing.assert_close(angle_loss(query, key, target), padded, rtol=1e-13, atol=0)


def test_modules_hold_their_options() -> None:
    batch, learned = drawn(6), torch.tensor(0.2)
    assert torch.equal(CoSENTLoss(temperature=learned)(*batch), cosent_loss(*batch, temperature=learned))
    assert torch.equal(AnglELoss(temperature=0.2)(*batch), angle_loss(*batch, temperature=0.2))


@pytest.mark.parametrize("loss", BOTH)
def test_hostile_arguments_are_named(loss: Loss) -> None:
    query, key, target = drawn(4)
    nothing: Any = None
    refused: list[tuple[type[Exception], str, Callable[[], Tensor]]] = [
        (ValueError, '"temperature" is 0', lambda: loss(query, key, target, temperature=0.0)),
        (ValueError, '"temperature" is -1', lambda: loss(query, key, target, temperature=torch.tensor(-1.0))),
        (TypeError, '"temperature" must be a number', lambda: loss(query, key, target, temperature=nothing)),
        (losskit.ShapeError, '"temperature" has shape', lambda: loss(query, key, target, temperature=torch.ones(1))),
        (losskit.ShapeError, r'"key" has shape \(3, 4\)', lambda: loss(query, key[:3], target)),
        (losskit.ShapeError, r"target.squeeze\(-1\)", lambda: loss(query, key, target[:, None])),
        (TypeError, '"mask" has dtype', lambda: loss(query, key, target, mask=target)),
    ]
    for error, message, call in refused:
        with pytest.raises(error, match=message):
            call()
