"""Losses of given pairs against their definitions, pair by pair, and against torch's where torch has one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit.losses.contrastive import (
    ContrastiveLoss,
    CosineEmbeddingLoss,
    contrastive_loss,
    cosine_distance,
    cosine_embedding_loss,
)

DISTANCES = ("cosine", "euclidean")


def drawn(size: int = 9, features: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, noise = torch.randn(2, size, features, generator=generator, dtype=torch.float64)
    target = torch.randint(2, (size,), generator=generator)
    return query.requires_grad_(), (query + noise).detach().requires_grad_(), target


def distance(name: str, query: Tensor, key: Tensor) -> Tensor:
    if name == "euclidean":
        return ((query - key) @ (query - key)).sqrt()
    return 1 - (query @ key) / (query @ query).sqrt() / (key @ key).sqrt()


def hadsell(query: Tensor, key: Tensor, target: Tensor, margin: float, name: str) -> Tensor:
    each = []
    for q, k, y in zip(query, key, target, strict=True):
        d = distance(name, q, k)
        each.append((y * d**2 + (1 - y) * torch.clamp(margin - d, min=0) ** 2) / 2)
    return torch.stack(each)


def gradients(value: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    found = torch.autograd.grad(value.sum(), leaves)
    assert all(g.any() for g in found)
    return found


def agree(mine: Tensor, theirs: Tensor, *leaves: Tensor) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(gradients(mine, *leaves), gradients(theirs, *leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.claim("R15")
@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
def test_the_contrastive_loss_is_hadsells_pair_by_pair(name: Any, margin: float) -> None:
    for seed in range(3):
        query, key, target = drawn(seed=seed)
        value = contrastive_loss(query, key, target, margin=margin, distance=name, reduction="none")
        agree(value, hadsell(query, key, target, margin, name), query, key)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_probable_pair_rests_where_pull_and_push_are_even(name: Any) -> None:
    query, key, _ = drawn()
    likely = torch.linspace(0, 1, 9, dtype=torch.float64)
    value = contrastive_loss(query, key, likely, margin=1.5, distance=name, reduction="none")
    agree(value, hadsell(query, key, likely, 1.5, name), query, key)
    rest = (1 - 0.25) * 2.0  # (1 - y) m
    at_rest = contrastive_loss(
        torch.zeros(1, 1), torch.full((1, 1), rest), torch.tensor([0.25]), margin=2.0, distance="euclidean"
    )
    floor = losskit.core.card.CATALOGUE["contrastive_loss"].floor
    assert floor is not None
    assert float(at_rest) == pytest.approx(floor(target=torch.tensor([0.25]), margin=2.0)) == 0.25 * 0.75 * 2.0**2 / 2


def test_pairs_beyond_the_margin_and_pairs_that_meet_are_at_rest() -> None:
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    key = torch.tensor([[-1.0, 0.0], [3.0, 0.0]])
    value = contrastive_loss(query, key, torch.tensor([0, 1]), reduction="none")
    assert value.tolist() == [0.0, 0.0]
    assert not torch.autograd.grad(value.sum(), query)[0].any()


def test_equal_rows_that_should_differ_cost_the_margin_and_have_no_euclidean_gradient() -> None:
    query = torch.tensor([[1.0, 2.0], [0.5, 0.0]], requires_grad=True)
    key = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    value = contrastive_loss(query, key, torch.tensor([0, 0]), margin=1.0, distance="euclidean", reduction="none")
    assert value.tolist() == [1.0**2 / 2, (1 - 0.5) ** 2 / 2]
    (slope,) = gradients(value, query)
    assert slope.tolist() == [[0.0, 0.0], [-0.5, 0.0]]
    hessian = torch.autograd.functional.hessian(
        lambda q: contrastive_loss(q, key, torch.tensor([0, 1]), margin=1.0, distance="euclidean"), query.detach()
    )
    assert torch.as_tensor(hessian).isfinite().all()


def test_a_square_beyond_all_floats_does_not_reach_a_pair_that_differs() -> None:
    query = torch.tensor([[1e30, 0.0], [0.1, 0.0]], requires_grad=True)
    key = torch.zeros(2, 2)
    value = contrastive_loss(query, key, torch.tensor([0, 0]), distance="euclidean", reduction="none")
    assert value.tolist() == pytest.approx([0.0, 0.4**2 / 2])
    assert gradients(value, query)[0].tolist() == [[0.0, 0.0], [pytest.approx(-0.4), 0.0]]


def test_the_cosine_distance_has_digits_where_one_minus_a_cosine_has_none() -> None:
    angle = 1e-4
    query, key = torch.tensor([[1.0, 0.0]]), torch.tensor([[math.cos(angle), math.sin(angle)]])
    assert float(cosine_distance(query, key)) == pytest.approx(1 - math.cos(angle), rel=1e-3)
    assert float(1 - F.cosine_similarity(query, key)) in (0.0, 2.0**-24)  # 5e-9 is meant
    for row in torch.randn(100, 7, generator=torch.Generator().manual_seed(0)):
        assert cosine_distance(row, row) == 0


@pytest.mark.parametrize("margin", [0.0, 0.5, -0.5])
def test_the_cosine_embedding_loss_is_torchs(margin: float) -> None:
    rows = [(30 * t).detach().requires_grad_() for t in drawn(40)[:2]]  # torch adds 1e-12 to squared lengths
    query, key, signs = *rows, 2 * drawn(40)[2] - 1
    agree(
        cosine_embedding_loss(query, key, signs, margin=margin, reduction="none"),
        F.cosine_embedding_loss(query, key, signs, margin=margin, reduction="none"),
        query,
        key,
    )
    for reduction in ("mean", "sum"):
        torch.testing.assert_close(
            cosine_embedding_loss(query, key, signs, margin=margin, reduction=reduction),
            F.cosine_embedding_loss(query, key, signs, margin=margin, reduction=reduction),
            rtol=1e-12,
            atol=0,
        )


def test_a_row_of_zeros_has_cosine_zero_and_no_gradient() -> None:
    query, key, _ = drawn(4)
    query, key = query.detach(), key.detach()
    query[0], key[1], query[2], key[2] = 0, 0, 0, 0
    query.requires_grad_()
    key.requires_grad_()
    signs = torch.tensor([1, 1, 1, -1])
    value = cosine_embedding_loss(query, key, signs, margin=-1.0, reduction="none")
    assert value[:3].tolist() == [1.0, 1.0, 1.0]
    for slope in gradients(value, query, key):
        assert not slope[:3].any()
        assert slope.abs().max() < 10
    slopes = gradients(contrastive_loss(query, key, signs == 1, margin=3.0), query, key)
    assert not any(slope[:3].any() for slope in slopes)


def test_a_sign_that_is_neither_is_refused_or_shown() -> None:
    query, key, _ = drawn(3)
    for wrong in (0, 2):
        with pytest.raises(ValueError, match=f'"target" is {wrong} at index 1, expected 1 or -1'):
            cosine_embedding_loss(query, key, torch.tensor([1, wrong, -1]))
    signs = torch.tensor([[1.0, 0.0, -1.0]])
    shown = torch.func.vmap(lambda y: cosine_embedding_loss(query, key, y, reduction="none"))(signs)
    assert shown.isnan().tolist() == [[False, True, False]]
    masked = cosine_embedding_loss(query, key, torch.tensor([1, 0, -1]), mask=torch.tensor([True, False, True]))
    rest = cosine_embedding_loss(query[[0, 2]], key[[0, 2]], torch.tensor([1, -1]))
    torch.testing.assert_close(masked, rest)


@pytest.mark.parametrize("loss", [contrastive_loss, cosine_embedding_loss])
def test_weights_and_masks_hide_whole_pairs(loss: Callable[..., Tensor]) -> None:
    query, key, target = drawn(5)
    target = torch.ones_like(target)
    clean = loss(query, key, target, reduction="none").detach()
    weight, seen = torch.tensor([1.0, 0.0, 3.0, 0.5, 0.0]), torch.tensor([True, False, True, True, False])
    lost = query.detach().clone()
    lost[~seen] = math.nan
    lost.requires_grad_()
    for options, counts in (({"weight": weight}, weight), ({"mask": seen}, seen)):
        value = loss(lost, key, target, **options)
        assert value.item() == pytest.approx(float((clean * counts)[seen].sum() / counts.sum()), rel=1e-6)
        (slope,) = gradients(value, lost)
        assert slope.isfinite().all()
        assert not slope[~seen].any()


def test_half_precision_is_computed_in_float32() -> None:
    query, key, target = (t.detach() for t in drawn(50, 16))
    for dtype in (torch.float16, torch.bfloat16):
        one, other = query.to(dtype), key.to(dtype)
        for loss, wanted in ((contrastive_loss, target), (cosine_embedding_loss, 2 * target - 1)):
            value = loss(one, other, wanted)
            assert value.dtype == torch.float32
            torch.testing.assert_close(value.double(), loss(one.double(), other.double(), wanted), rtol=1e-6, atol=0)


@pytest.mark.parametrize("loss", [contrastive_loss, cosine_embedding_loss])
def test_one_pair_and_none(loss: Callable[..., Tensor]) -> None:
    query, key, _ = drawn(1)
    assert loss(query[0], key[0], torch.tensor(1)).shape == ()
    empty = query[:0]
    value = loss(empty, key[:0], torch.ones(0))
    assert value.item() == 0
    assert value.requires_grad


def test_modules_hold_their_options() -> None:
    query, key, target = drawn()
    assert torch.equal(
        ContrastiveLoss(margin=2.0, distance="euclidean")(query, key, target),
        contrastive_loss(query, key, target, margin=2.0, distance="euclidean"),
    )
    signs = 2 * target - 1
    assert torch.equal(CosineEmbeddingLoss(margin=0.3)(query, key, signs), cosine_embedding_loss(query, key, signs, margin=0.3))


def test_a_margin_beyond_all_floats_does_not_matter_to_pairs_that_are_the_same() -> None:
    query, key, _ = drawn()
    value = contrastive_loss(query.float(), key.float(), torch.ones(9), margin=1e30)
    assert torch.equal(value, contrastive_loss(query.float(), key.float(), torch.ones(9)))
    assert value > 0


def test_hostile_arguments_are_named() -> None:
    query, key, target = drawn()
    unknown: Any = "manhattan"
    refused: list[tuple[type[Exception], str, Callable[[], Tensor]]] = [
        (ValueError, '"margin" must be >= 0', lambda: contrastive_loss(query, key, target, margin=-0.1)),
        (ValueError, '"distance" must be', lambda: contrastive_loss(query, key, target, distance=unknown)),
        (ValueError, r'"target" is -1 at index 0, expected \[0, 1\]', lambda: contrastive_loss(query, key, -torch.ones(9))),
        (ValueError, r'"margin" must be in \[-1, 1\]', lambda: cosine_embedding_loss(query, key, 2 * target - 1, margin=2.0)),
        (losskit.ShapeError, r"target.squeeze\(-1\)", lambda: contrastive_loss(query, key, target[:, None])),
        (losskit.ShapeError, '"key" has shape', lambda: contrastive_loss(query, key[:, :3], target)),
        (TypeError, r"input1.float\(\)", lambda: cosine_embedding_loss(query.long(), key, target)),
    ]
    for error, message, call in refused:
        with pytest.raises(error, match=message):
            call()
    with losskit.debug(), pytest.raises(ValueError, match='"target" is nan at index 0'):
        contrastive_loss(query, key, torch.full((9,), math.nan))
