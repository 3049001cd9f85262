"""Triplet losses of a batch: a triple loop for every mining, distance and average; batches with little to learn from."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from losskit.core.reduce import parts
from losskit.losses.batch_triplet import Average, BatchMining, BatchTripletLoss, batch_triplet_loss
from losskit.ops.distances import DISTANCES, Distance

MINING: tuple[BatchMining, ...] = get_args(BatchMining)
AVERAGES: tuple[Average, ...] = get_args(Average)
MARGINS: tuple[Any, ...] = (0.4, "soft")


def drawn(count: int = 12, things: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return x.requires_grad_(), torch.randint(things, (count,), generator=generator)


def apart(a: Tensor, b: Tensor, distance: Distance) -> Tensor:
    if distance == "cosine":
        return 1 - a @ b / (a.norm() * b.norm())
    return (a - b).norm() if distance == "euclidean" else (a - b) @ (a - b)


def gaps(x: Tensor, labels: Tensor, mining: BatchMining, distance: Distance, anchor: int) -> list[Tensor]:
    """d(a, p) - d(a, n) of the triplets of an anchor."""
    d = [apart(x[anchor], row, distance) if j != anchor else x[anchor].sum() * 0 for j, row in enumerate(x)]
    near = [d[j] for j in range(len(x)) if j != anchor and labels[j] == labels[anchor]]
    far = [d[j] for j in range(len(x)) if labels[j] != labels[anchor]]
    if not near or not far:
        return []
    if mining == "hard":
        return [max(near) - min(far)]
    if mining == "easy_positive_hard_negative":
        return [min(near) - min(far)]
    if mining == "hard_negative_all_positive":
        return [p - min(far) for p in near]
    if mining == "semihard":
        return [p - min((n for n in far if n > p), default=max(far)) for p in near]
    return [p - n for p, n in itertools.product(near, far)]


def looped(
    x: Tensor, labels: Tensor, mining: BatchMining, margin: Any, distance: Distance, average: Average
) -> tuple[Tensor, float]:
    """Numerator and denominator of the mean, as the docstring says them."""
    total, weight = x.sum() * 0, 0.0
    for anchor in range(len(x)):
        found = gaps(x, labels, mining, distance, anchor)
        costs = [(1 + g.exp()).log() if margin == "soft" else (g + margin).clamp(min=0) for g in found]
        share = 1 / len(costs) if costs and average == "anchor" else 1.0
        total = total + share * sum(costs, x.sum() * 0)
        weight += {"anchor": float(bool(costs)), "valid": len(costs), "active": sum(bool(c > 0) for c in costs)}[average]
    return total, weight


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MINING)
def test_value_numbers_and_gradient_are_those_of_a_triple_loop(
    mining: BatchMining, margin: Any, distance: Distance, average: Average
) -> None:
    for seed in range(2):
        x, labels = drawn(seed=seed)
        options: dict[str, Any] = {"mining": mining, "margin": margin, "distance": distance, "average": average}
        total, weight = looped(x, labels, mining, margin, distance, average)
        found = parts(batch_triplet_loss, x, labels, normalize=False, **options)
        assert found.weight.item() == weight
        torch.testing.assert_close(found.total, total, rtol=1e-12, atol=1e-12)
        (wanted,) = torch.autograd.grad(total / weight, x)
        for reduction in ("mean", "none"):
            value = batch_triplet_loss(x, labels, normalize=False, reduction=reduction, **options)
            value = value.sum() / weight if reduction == "none" else value
            torch.testing.assert_close(value, total / weight, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(torch.autograd.grad(value, x)[0], wanted, rtol=1e-11, atol=1e-12)
        assert wanted.abs().max() > 1e-2


@pytest.mark.parametrize("mining", MINING)
def test_normalize_divides_rows_by_their_length(mining: BatchMining) -> None:
    x, labels = drawn()
    inside = batch_triplet_loss(x, labels, mining=mining)
    outside = batch_triplet_loss(F.normalize(x, dim=1), labels, mining=mining, normalize=False)
    torch.testing.assert_close(inside, outside, rtol=1e-12, atol=1e-12)
    assert inside.item() != batch_triplet_loss(x, labels, mining=mining, normalize=False).item()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("margin", "value"), [(0.7, 0.7), ("soft", math.log(2))])
@pytest.mark.parametrize("mining", MINING)
def test_a_collapsed_batch_costs_the_margin_or_ln_2_and_does_not_move(
    mining: BatchMining, margin: Any, value: float, distance: Distance
) -> None:
    labels = torch.tensor([0, 0, 1, 1, 1])
    for row, dtype in itertools.product((1.0, 0.0), (torch.float16, torch.float32, torch.float64)):
        x = torch.full((5, 3), row, dtype=dtype, requires_grad=True)
        for average in AVERAGES:
            found = batch_triplet_loss(x, labels, mining=mining, margin=margin, distance=distance, average=average)
            assert found.item() == pytest.approx(value, rel=1e-6)
            assert torch.autograd.grad(found, x)[0].abs().max() < 1e-7


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("labels", [[7] * 6, [0, 1, 2, 3, 4, 5], [3], []], ids=["one class", "all distinct", "one row", "no row"])
def test_without_a_triplet_the_loss_is_a_connected_zero_and_nothing_counts(mining: BatchMining, labels: list[int]) -> None:
    x = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for margin, average in itertools.product((5.0, "soft"), AVERAGES):
        options: dict[str, Any] = {"mining": mining, "margin": margin, "average": average}
        y = torch.tensor(labels, dtype=torch.int64)
        found = batch_triplet_loss(x, y, **options)
        assert found.item() == 0
        assert not torch.autograd.grad(found, x)[0].any()
        assert parts(batch_triplet_loss, x, y, **options).weight.item() == 0
        assert not batch_triplet_loss(x, y, reduction="none", **options).any()


@pytest.mark.parametrize("mining", MINING)
def test_an_anchor_without_a_positive_is_no_anchor_but_a_negative(mining: BatchMining) -> None:
    rows = torch.tensor([[0.0], [1.0], [50.0], [51.0], [2.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2])
    options: dict[str, Any] = {"mining": mining, "margin": 99.0, "normalize": False}
    each = batch_triplet_loss(rows, labels, reduction="none", **options)
    assert each[4].item() == 0
    assert (each[:4] > 0).all()
    torch.testing.assert_close(batch_triplet_loss(rows, labels, **options), each.sum() / 4)
    assert torch.autograd.grad(each[0], rows)[0][4].item() < 0  # away from the anchor at 0: downhill is up


@pytest.mark.parametrize("mining", MINING)
def test_copies_have_finite_gradients(mining: BatchMining) -> None:
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [3.0, -1.0]], requires_grad=True)
    for distance, normalize in itertools.product(DISTANCES, (True, False)):
        found = batch_triplet_loss(
            x, torch.tensor([0, 0, 1, 1]), mining=mining, margin=1.0, distance=distance, normalize=normalize, average="valid"
        )
        (slope,) = torch.autograd.grad(found, x)
        assert found.isfinite()
        assert slope.isfinite().all()
        assert slope.any()


@pytest.mark.parametrize("mining", MINING)
def test_distances_of_hundreds_leave_a_soft_margin_finite(mining: BatchMining) -> None:
    x = torch.tensor([[0.0], [300.0], [1.0], [2.0]], requires_grad=True)
    found = batch_triplet_loss(x, torch.tensor([0, 0, 1, 1]), mining=mining, margin="soft", normalize=False)
    assert 70 < found.item() < 300
    (slope,) = torch.autograd.grad(found, x)
    assert slope.isfinite().all()
    assert slope.any()


def test_semihard_takes_the_nearest_farther_negative_or_the_farthest() -> None:
    x = torch.tensor([[0.0], [2.0], [1.0], [2.5], [7.0], [7.5]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 2, 3, 3])
    each = batch_triplet_loss(x, labels, mining="semihard", margin=1.0, normalize=False, reduction="none")
    # 0: d = 2, negatives at 1, 2.5, 7, 7.5; 1: d = 2, negatives at 1, .5, 5, 5.5; 4 and 5: d = .5, negatives from 4.5 on
    assert each.tolist() == [2 - 2.5 + 1, 0, 0, 0, 0, 0]
    alike = torch.tensor([[0.0], [9.0], [1.0], [2.0]], dtype=torch.float64)
    each = batch_triplet_loss(alike, torch.tensor([0, 0, 1, 1]), mining="semihard", margin=1.0, normalize=False, reduction="none")
    assert each[0].item() == 9 - 2 + 1  # none is farther than 9: the farthest


@pytest.mark.parametrize("mining", MINING)
def test_masked_rows_are_not_there(mining: BatchMining) -> None:
    x, labels = drawn(15)
    mask = torch.arange(15) % 4 != 1
    for reduction in ("mean", "sum"):
        options: dict[str, Any] = {"mining": mining, "reduction": reduction}
        hidden = batch_triplet_loss(torch.where(mask.unsqueeze(1), x, torch.nan), labels, mask=mask, **options)
        torch.testing.assert_close(hidden, batch_triplet_loss(x[mask], labels[mask], **options), rtol=1e-12, atol=1e-12)
        assert hidden > 0


@pytest.mark.parametrize("mining", MINING)
def test_the_order_of_rows_and_the_names_of_labels_do_not_matter(mining: BatchMining) -> None:
    x, labels = drawn(15)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(3))
    names = torch.tensor([2**62, -7, 0, -(2**63)])
    each = batch_triplet_loss(x, labels, mining=mining, reduction="none")
    moved = batch_triplet_loss(x[order], names[labels][order], mining=mining, reduction="none")
    torch.testing.assert_close(moved, each[order], rtol=1e-12, atol=1e-12)
    assert len(each.unique()) > 5


@pytest.mark.parametrize("mining", MINING)
def test_float32_keeps_its_digits_beside_float64(mining: BatchMining) -> None:
    x, labels = drawn(40)
    x = (x.detach() + 20).float().double()  # far from the origin, as a product in float32 would not bear
    found = []
    for dtype in (torch.float32, torch.float64):
        rows = x.to(dtype).requires_grad_()
        value = batch_triplet_loss(rows, labels, mining=mining, normalize=False)
        found.append((value.double(), torch.autograd.grad(value, rows)[0].double()))
    assert abs(found[0][0] - found[1][0]) < 1e-6 * found[1][0]
    assert (found[0][1] - found[1][1]).norm() < 1e-6 * found[1][1].norm()


def test_leading_axes_are_kept() -> None:
    x, labels = drawn(12)
    each = batch_triplet_loss(x.reshape(3, 4, 3), labels.reshape(3, 4), reduction="none")
    torch.testing.assert_close(each, batch_triplet_loss(x, labels, reduction="none").reshape(3, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mining": "easy"}, '"mining" must be'),
        ({"average": "batch"}, '"average" must be'),
        ({"distance": "l1"}, '"distance" must be'),
        ({"margin": -1.0}, '"margin" must be >= 0'),
        ({"margin": "softer"}, "\"margin\" must be a number >= 0 or 'soft', got 'softer'"),
        ({"reduction": "median"}, "\"reduction\" must be 'none' or 'mean' or 'sum', got 'median'"),
    ],
)
def test_an_unknown_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batch_triplet_loss(*drawn(), **options)


def test_the_module_is_the_function() -> None:
    module = BatchTripletLoss(mining="hard", margin="soft")
    assert torch.equal(module(*drawn()), batch_triplet_loss(*drawn(), mining="hard", margin="soft"))
