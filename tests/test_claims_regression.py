"""Squared and absolute error, class imbalance and label smoothing: what is said of them in general, as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit as lk

LABELS = torch.arange(12) % 4


def scores(rows: int = 12, classes: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.claim("R11")
def test_squared_error_is_the_mean_of_squares_and_its_best_constant_is_the_mean() -> None:
    predicted, true = torch.tensor([2.5, 0, 2, 8]).double(), torch.tensor([3, -0.5, 2, 7]).double()
    assert lk.mse_loss(predicted, true).item() == (0.5**2 + 0.5**2 + 0 + 1) / 4 == 0.375
    target = torch.tensor([1.0, 2, 3, 4, 100], dtype=torch.float64)
    constant = target.mean().requires_grad_()
    slope = torch.autograd.grad(lk.mse_loss(constant.expand(5), target), constant)[0]
    assert (constant.item(), abs(slope.item()) < 1e-12) == (22, True)
    for other in (21.9, 22.1):
        assert lk.mse_loss(torch.full_like(target, other), target) > lk.mse_loss(torch.full_like(target, 22.0), target)


@pytest.mark.claim("R12")
@pytest.mark.parametrize(("loss", "ratio"), [(lk.mse_loss, 4), (lk.l1_loss, 2)])
def test_twice_the_error_costs_four_times_as_much_squared_and_twice_absolute(loss: lk.core.card.Level, ratio: int) -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    error = torch.tensor([1.0, 2.0, 10.0], dtype=torch.float64)
    once, twice = loss(error, zero, reduction="none"), loss(2 * error, zero, reduction="none")
    assert (twice / once).tolist() == [ratio] * 3


@pytest.mark.claim("R13")
def test_an_outlier_moves_the_best_constant_of_squared_error_and_not_that_of_absolute_error() -> None:
    usual, slipped = torch.tensor([1.0, 2, 3, 4, 5]), torch.tensor([1.0, 2, 3, 4, 100])
    for target, mean in ((usual, 3.0), (slipped, 22.0)):
        found = []
        for loss in (lk.mse_loss, lk.l1_loss):
            costs = {c: float(loss(torch.full((5,), c), target)) for c in (k / 2 for k in range(61))}
            found.append(min(costs, key=lambda c: costs[c]))
        assert found == [mean, 3.0]


@pytest.mark.claim("R29")
def test_focal_loss_without_focus_is_cross_entropy_to_the_last_bit() -> None:
    input, bits = scores(), (LABELS % 2).double()[:, None].expand(12, 4)
    assert torch.equal(lk.focal_loss(input, LABELS, gamma=0.0), lk.cross_entropy(input, LABELS))
    plain = lk.binary_cross_entropy_with_logits(input, bits)
    assert torch.equal(lk.binary_focal_loss(input, bits, gamma=0.0, alpha=None), plain)
    assert plain > 0


@pytest.mark.claim("R29")
def test_weights_of_classes_are_three_formulas_of_their_counts() -> None:
    counts = torch.tensor([900, 90, 10])
    inverse = lk.class_weights(counts, method="inverse", normalize=None)
    effective = lk.class_weights(counts, method="effective", beta=0.999)
    root = lk.class_weights(counts, method="sqrt", normalize=None)
    assert (1000 / 3 * inverse).tolist() == pytest.approx([1000 / (3 * n) for n in (900, 90, 10)], rel=1e-6)
    raw = [(1 - 0.999) / (1 - 0.999**n) for n in (900, 90, 10)]
    assert effective.tolist() == pytest.approx([3 * w / sum(raw) for w in raw], rel=1e-5)
    assert [round(w, 3) for w in effective.tolist()] == [0.044, 0.306, 2.649]
    assert root.tolist() == pytest.approx([n**-0.5 for n in (900, 90, 10)], rel=1e-6)


@pytest.mark.claim("R30")
def test_the_floor_of_label_smoothing_is_the_entropy_of_its_target_and_is_reached() -> None:
    for classes, eps in ((4, 0.1), (10, 0.1), (10, 0.3)):
        own, other = 1 - eps + eps / classes, eps / classes
        entropy = -own * math.log(own) - (classes - 1) * other * math.log(other)
        assert lk.reference("cross_entropy", num_classes=classes, label_smoothing=eps).floor == pytest.approx(entropy, rel=1e-12)
        best = torch.zeros(1, classes, dtype=torch.float64)
        best[0, 0] = math.log(own / other)  # the gap of scores that is best, and finite
        value = lk.cross_entropy(best, torch.tensor([0]), label_smoothing=eps)
        assert value.item() == pytest.approx(entropy, rel=1e-12)
    assert round(lk.reference("cross_entropy", num_classes=10, label_smoothing=0.1).floor or 0, 4) == 0.5003


@pytest.mark.claim("R30")
def test_smoothing_shares_its_part_among_all_classes_with_weights_ignored_rows_and_a_fused_head() -> None:
    hidden, head = scores(12, 5), scores(4, 5)
    weight, target = torch.tensor([1.0, 2.0, 0.5, 3.0]).double(), LABELS.clone()
    target[[2, 7]] = -100
    options = {"weight": weight, "label_smoothing": 0.1}
    plain = lk.cross_entropy(hidden @ head.T, target, **options)
    torch.testing.assert_close(plain, F.cross_entropy(hidden @ head.T, target, **options), rtol=1e-12, atol=0)
    torch.testing.assert_close(lk.linear_cross_entropy(hidden, head, target, **options), plain, rtol=1e-12, atol=0)
    # the other convention gives eps / (K - 1) to the others alone: ours at eps * K / (K - 1)
    shared = lk.cross_entropy(hidden @ head.T, LABELS, label_smoothing=0.1 * 4 / 3)
    others = torch.full((12, 4), 0.1 / 3, dtype=torch.float64)
    others[torch.arange(12), LABELS] = 0.9
    torch.testing.assert_close(lk.cross_entropy(hidden @ head.T, others), shared, rtol=1e-12, atol=0)


@pytest.mark.claim("R31")
def test_a_model_that_says_the_prior_costs_its_entropy() -> None:
    target = (torch.arange(100) == 0).double()
    entropy = -0.01 * math.log(0.01) - 0.99 * math.log(0.99)
    said = torch.full((100,), math.log(0.01 / 0.99), dtype=torch.float64)
    assert lk.binary_cross_entropy_with_logits(said, target).item() == pytest.approx(entropy, rel=1e-12)
    stated = lk.reference("binary_cross_entropy_with_logits", prior=0.01).constant
    assert stated == pytest.approx(entropy, rel=1e-12)
    assert round(entropy, 4) == 0.0560


def ulps(got: Tensor, wanted: Tensor) -> Tensor:
    """How many steps of their dtype numbers are apart."""
    step = torch.nextafter(wanted.abs(), torch.full_like(wanted, math.inf)) - wanted.abs()
    return (got - wanted).abs() / step


def batches(name: str, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Ordinary arguments of a default call."""
    for seed in range(40):
        input, other = (2 * torch.randn(12, 4, generator=torch.Generator().manual_seed(2 * seed + k)).to(dtype) for k in (0, 1))
        targets = {"cross_entropy": other.argmax(-1), "binary_cross_entropy_with_logits": (other > 0).to(dtype)}
        yield input, targets.get(name, other)


@pytest.mark.claim("R39")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"])
def test_errors_of_numbers_cost_what_they_cost_in_torch_to_the_last_bit(name: str, dtype: torch.dtype) -> None:
    for arguments in batches(name, dtype):
        ours, theirs = getattr(lk, name)(*arguments), getattr(F, name)(*arguments)
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs)


@pytest.mark.claim("R39")
@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy_with_logits"])
def test_where_torch_is_right_ours_is_within_one_step_and_where_it_is_not_ours_is_nearer_the_truth(name: str) -> None:
    for arguments in batches(name, torch.float32):
        ours, theirs = (getattr(home, name)(*arguments, reduction="none") for home in (lk, F))
        exact = [t.double() if t.is_floating_point() else t for t in arguments]
        truth = getattr(F, name)(*exact, reduction="none").float()
        right = theirs == truth
        assert right.float().mean() > 0.3  # or nothing would be compared
        assert float(ulps(ours, theirs)[right].max()) <= 1
        assert float(ulps(ours, truth).max()) <= max(1.0, float(ulps(theirs, truth).max()))
        torch.testing.assert_close(getattr(lk, name)(*arguments), getattr(F, name)(*arguments), rtol=5e-7, atol=0)
