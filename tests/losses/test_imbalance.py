"""Logit adjustment, balanced softmax and LDAM: priors inside the softmax, margins, and what they are at their limits."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit as lk
from losskit import adjust_logits, balanced_softmax_loss, cross_entropy, ldam_loss, logit_adjusted_loss

COUNTS = torch.tensor([900.0, 90.0, 10.0])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slope(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


def test_scores_that_say_nothing_leave_the_prior() -> None:
    value = logit_adjusted_loss(torch.zeros(3, 3), torch.arange(3), prior=COUNTS, reduction="none")
    assert value.tolist() == pytest.approx([-math.log(n / 1000) for n in (900, 90, 10)], rel=1e-6)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.5])
def test_adjustment_is_cross_entropy_on_scores_that_contain_the_prior(tau: float) -> None:
    input, target = draw(7, 3), torch.arange(7) % 3
    wanted = F.cross_entropy(input + tau * (COUNTS.double() / 1000).log(), target)
    torch.testing.assert_close(logit_adjusted_loss(input, target, prior=COUNTS, tau=tau), wanted)


def test_counts_and_shares_are_the_same_prior_even_as_integers() -> None:
    input, target = draw(7, 3), torch.arange(7) % 3
    values = [logit_adjusted_loss(input, target, prior=prior) for prior in (COUNTS, COUNTS.double() / 1000, COUNTS.long())]
    torch.testing.assert_close(values[0], values[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(values[0], values[2])


def test_balanced_softmax_is_the_adjustment_at_tau_one() -> None:
    input, target = draw(7, 3), torch.arange(7) % 3
    torch.testing.assert_close(
        balanced_softmax_loss(input, target, counts=COUNTS), logit_adjusted_loss(input, target, prior=COUNTS)
    )
    mass = COUNTS.double() * input.exp()
    wanted = -(mass / mass.sum(-1, keepdim=True)).log()[torch.arange(7), target].mean()
    torch.testing.assert_close(balanced_softmax_loss(input, target, counts=COUNTS), wanted)


def test_equal_counts_change_nothing() -> None:
    input, target = draw(7, 3), torch.arange(7) % 3
    for value in (
        balanced_softmax_loss(input, target, counts=torch.full((3,), 7)),
        logit_adjusted_loss(input, target, prior=torch.ones(3), tau=3.0),
        ldam_loss(input, target, counts=torch.ones(3), max_margin=0.0, temperature=1.0),
    ):
        torch.testing.assert_close(value, cross_entropy(input, target))


def test_the_best_adjusted_scores_are_balanced_ones() -> None:
    """A model fitted with the prior inside needs none taken off: its scores are those of uninformative input."""
    scores = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    target = torch.repeat_interleave(torch.arange(3), COUNTS.long())
    value = logit_adjusted_loss(scores.expand(1000, 3), target, prior=COUNTS)
    assert slope(value, scores).tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    fitted = (COUNTS.double() / 1000).log()
    assert adjust_logits(fitted, COUNTS).tolist() == pytest.approx([0, 0, 0], abs=1e-12)


def test_ldam_gives_the_rarest_class_the_whole_margin_and_others_less() -> None:
    counts, m, t = torch.tensor([16.0, 1.0]), 0.5, 0.25
    value = ldam_loss(torch.zeros(2, 2), torch.tensor([0, 1]), counts=counts, max_margin=m, temperature=t, reduction="none")
    margins = [m * 16**-0.25, m]
    assert value.tolist() == pytest.approx([math.log1p(math.exp(d / t)) for d in margins], rel=1e-6)


def test_ldam_depends_on_the_ratios_of_the_counts_only() -> None:
    input, target = draw(7, 3).tanh(), torch.arange(7) % 3
    torch.testing.assert_close(
        ldam_loss(input, target, counts=COUNTS), ldam_loss(input, target, counts=COUNTS.long() * 1000), rtol=1e-6, atol=0
    )


def test_the_gradient_of_ldam_is_that_of_its_softmax_over_the_temperature() -> None:
    input, t, m = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True), 0.5, 0.3
    value = ldam_loss(input, torch.tensor([0]), counts=torch.ones(2), max_margin=m, temperature=t)
    p = 1 / (1 + math.exp(m / t))
    assert slope(value, input)[0].tolist() == pytest.approx([(p - 1) / t, (1 - p) / t])


@pytest.mark.parametrize("ratio", [1e3, 1e6, 1e30])
def test_extreme_priors_stay_finite_and_exact(ratio: float) -> None:
    input = torch.zeros(2, 2, requires_grad=True)
    prior = torch.tensor([ratio, 1.0])
    value = logit_adjusted_loss(input, torch.tensor([0, 1]), prior=prior, reduction="none")
    assert value.tolist() == pytest.approx([math.log1p(1 / ratio), math.log1p(ratio)], rel=1e-5)
    assert bool(slope(value, input).isfinite().all())


CASES = [
    (logit_adjusted_loss, {"prior": COUNTS}),
    (balanced_softmax_loss, {"counts": COUNTS}),
    (ldam_loss, {"counts": COUNTS}),
]


@pytest.mark.parametrize(("loss", "options"), CASES)
def test_class_weights_ignored_rows_and_layout(loss: object, options: dict[str, Tensor]) -> None:
    input, target, weight = draw(2, 3, 4), torch.tensor([[0, 1, -100, 2], [2, 2, 0, -100]]), torch.tensor([1.0, 2.0, 5.0])
    each = loss(input.movedim(1, -1), target, reduction="none", **options)
    count = torch.where(target >= 0, weight[target.clamp(min=0)], 0)
    value = loss(input, target, weight=weight, class_dim=1, **options)
    torch.testing.assert_close(value, (count * each).sum() / count.sum())


@pytest.mark.parametrize(("loss", "options"), CASES)
def test_nothing_to_learn_is_a_connected_zero(loss: object, options: dict[str, Tensor]) -> None:
    input = torch.full((2, 3), math.nan, requires_grad=True)
    value = loss(input, torch.full((2,), -100), **options)
    assert value.item() == 0
    assert slope(value, input).tolist() == [[0.0] * 3] * 2
    assert loss(input[:0], torch.zeros(0).long(), **options).item() == 0


@pytest.mark.parametrize(("loss", "options"), CASES)
def test_a_class_at_minus_infinity_is_absent(loss: object, options: dict[str, Tensor]) -> None:
    input = torch.tensor([[0.0, -math.inf, 0.5]], requires_grad=True)
    value = loss(input, torch.tensor([0]), **options)
    assert bool(value.isfinite())
    found = slope(value, input)
    assert bool(found.isfinite().all())
    assert found[0, 1].item() == 0


@pytest.mark.parametrize(("loss", "options"), CASES)
def test_a_class_that_never_occurs_is_refused_and_not_nan(loss: object, options: dict[str, Tensor]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=rf'"{name}" is 0 at index 2.*add 1 to every count'):
        loss(torch.zeros(1, 3), torch.tensor([0]), **{name: torch.tensor([5, 5, 0])})


@pytest.mark.parametrize(("loss", "options"), CASES)
def test_the_counts_are_no_parameters_and_stay_as_they_are(loss: object, options: dict[str, Tensor]) -> None:
    before = COUNTS.clone()
    loss(draw(4, 3), torch.arange(4) % 3, **options)
    assert torch.equal(COUNTS, before)


def test_modules_keep_their_counts_as_buffers() -> None:
    for module in (lk.LDAMLoss(counts=COUNTS), lk.BalancedSoftmaxLoss(counts=COUNTS), lk.LogitAdjustedLoss(prior=COUNTS)):
        assert len(module.state_dict()) == 1
        twin = pickle.loads(pickle.dumps(module))
        input, target = draw(4, 3), torch.arange(4) % 3
        torch.testing.assert_close(twin(input, target), module(input, target))
        assert lk.parts(module, input, target).weight.item() == 4
    module = lk.LogitAdjustedLoss(prior=COUNTS)
    module.tau = 0.0
    torch.testing.assert_close(module(draw(4, 3), torch.arange(4) % 3), cross_entropy(draw(4, 3), torch.arange(4) % 3))
