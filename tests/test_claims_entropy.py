"""Cross-entropy, binary and of classes, likelihood and perplexity: what is said of them in general, as numbers."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit as lk

BCE = lk.binary_cross_entropy_with_logits
SURPRISE = {0.99: 0.010, 0.9: 0.105, 0.7: 0.357, 0.5: 0.693, 0.1: 2.303, 0.01: 4.605, 0.001: 6.908}


def exactly(z: float, y: float) -> float:
    """-[y ln p + (1 - y) ln(1 - p)] with p = 1 / (1 + exp(-z)), in digits that end no tail."""
    with mpmath.workdps(700):
        z_, y_ = mpmath.mpf(z), mpmath.mpf(y)
        return float(-(y_ * mpmath.log(1 / (1 + mpmath.exp(-z_))) + (1 - y_) * mpmath.log(1 / (1 + mpmath.exp(z_)))))


def scores_of(p: float) -> Tensor:
    """The logit of a probability, ready for a gradient."""
    return torch.tensor([math.log(p / (1 - p))], dtype=torch.float64, requires_grad=True)


def slope_of_squared_error(p: float) -> float:
    """d (sigmoid(z) - 1)^2 / dz at the probability p of the right answer."""
    z = scores_of(p)
    return float(torch.autograd.grad(lk.mse_loss(z.sigmoid(), torch.ones_like(z)), z)[0])


def slope_of_cross_entropy(p: float) -> float:
    """The same for cross-entropy."""
    z = scores_of(p)
    return float(torch.autograd.grad(BCE(z, torch.ones_like(z)), z)[0])


@pytest.mark.claim("R3")
@pytest.mark.parametrize("y", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_binary_cross_entropy_is_its_definition_to_twelve_digits_for_every_score_up_to_745(y: float) -> None:
    z = torch.cat([torch.linspace(-745, 745, 41), torch.tensor([-40.0, -16, -1, -1e-3, 0, 1e-3, 1, 16, 40])]).double()
    got = BCE(z, torch.full_like(z, y), reduction="none")
    for score, value in zip(z.tolist(), got.tolist(), strict=True):
        assert value == pytest.approx(exactly(score, y), rel=1e-12, abs=5e-324), score


@pytest.mark.claim("R3")
@pytest.mark.parametrize(("z", "y"), [(-20.0, 0.0), (20.0, 1.0)])
def test_a_right_answer_that_is_sure_costs_what_it_costs_in_float32_too(z: float, y: float) -> None:
    score, target = torch.tensor([z]), torch.tensor([y])
    assert BCE(score, target).item() == pytest.approx(exactly(z, y), rel=1e-6)
    if y == 0:
        assert F.binary_cross_entropy_with_logits(score, target).item() == 0  # the tail that torch loses


@pytest.mark.claim("R4")
def test_two_classes_are_binary_cross_entropy_to_the_last_digit_in_value_and_gradient() -> None:
    z = torch.linspace(-30, 30, 61, dtype=torch.float64, requires_grad=True)
    target = torch.arange(61) % 2
    one = BCE(z, target.double(), reduction="none")
    two = lk.cross_entropy(torch.stack([torch.zeros_like(z), z], -1), target, reduction="none")
    torch.testing.assert_close(two, one, rtol=1e-15, atol=0)
    slopes = [torch.autograd.grad(value.sum(), z)[0] for value in (one, two)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-15, atol=0)
    assert float(slopes[0].abs().min()) > 0


@pytest.mark.claim("R5")
@pytest.mark.parametrize("p", SURPRISE)
def test_the_less_was_given_to_the_right_class_the_more_it_costs(p: float) -> None:
    scores = torch.tensor([[math.log(p), math.log(1 - p)]], dtype=torch.float64)
    value = lk.cross_entropy(scores, torch.tensor([0])).item()
    assert value == pytest.approx(-math.log(p), rel=1e-14)
    assert round(value, 3) == SURPRISE[p]


@pytest.mark.claim("R5")
def test_a_confident_mistake_costs_its_gap_and_is_finite_at_ten_thousand() -> None:
    for gap in (10.0, 100.0, 1e4):
        scores = torch.tensor([[0.0, gap]], requires_grad=True)
        value = lk.cross_entropy(scores, torch.tensor([0]))
        assert value.item() == pytest.approx(gap + math.log1p(math.exp(-gap)), rel=1e-7)
        slope = torch.autograd.grad(value, scores)[0][0].tolist()
        assert slope == pytest.approx([-1 / (1 + math.exp(-gap)), 1 / (1 + math.exp(-gap))], rel=1e-6)


@pytest.mark.claim("R6")
def test_the_best_scores_are_the_log_frequencies_and_the_loss_is_the_likelihood() -> None:
    counts = torch.tensor([5, 3, 1, 11])
    target = torch.repeat_interleave(torch.arange(4), counts)
    scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([scores], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def closure() -> Tensor:
        search.zero_grad()
        value = lk.cross_entropy(scores.expand(20, 4), target)
        value.backward()
        return value

    search.step(closure)
    found = scores.detach().log_softmax(-1)
    torch.testing.assert_close(found, (counts / 20.0).double().log(), rtol=1e-6, atol=1e-6)
    value = lk.cross_entropy(found.expand(20, 4), target).item()
    likelihood = math.prod((n / 20) ** n for n in counts.tolist())
    assert math.exp(-20 * value) == pytest.approx(likelihood, rel=1e-9)
    three = torch.tensor([0.9, 0.8, 0.7], dtype=torch.float64)
    assert math.exp(-3 * BCE(three.logit(), torch.ones(3).double()).item()) == pytest.approx(0.9 * 0.8 * 0.7, rel=1e-14)


@pytest.mark.claim("R7")
def test_the_gradient_of_cross_entropy_is_that_of_squared_error_over_twice_p_times_one_less_p() -> None:
    for p in torch.linspace(-9.2, 9.2, 47, dtype=torch.float64).sigmoid().tolist():
        ratio = slope_of_cross_entropy(p) / slope_of_squared_error(p)
        assert ratio == pytest.approx(1 / (2 * p * (1 - p)), rel=1e-10)


@pytest.mark.claim("R8")
def test_at_one_in_ten_thousand_squared_error_shrugs_and_cross_entropy_screams() -> None:
    p = 1e-4
    assert slope_of_squared_error(p) == pytest.approx(2 * (p - 1) * p * (1 - p), rel=1e-10)
    assert slope_of_cross_entropy(p) == pytest.approx(p - 1, rel=1e-12)
    assert (round(-slope_of_squared_error(p), 5), round(-slope_of_cross_entropy(p), 4)) == (2.0e-4, 0.9999)


@pytest.mark.claim("R9")
def test_perplexity_is_the_exponential_of_all_nats_over_all_tokens_however_they_come() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(24, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(7, (24,), generator=generator)
    wanted = math.exp(sum(-logits.log_softmax(-1)[i, c].item() for i, c in enumerate(target.tolist())) / 24)
    order = torch.randperm(24, generator=generator)
    for size, rows in ((1, order), (5, order), (24, torch.arange(24))):
        metric = lk.Perplexity()
        for some in rows.split(size):
            padded = F.pad(logits[some], (0, 0, 0, 2), value=math.nan)
            metric.update(padded, F.pad(target[some], (0, 2), value=-100))
        assert float(metric.compute()) == pytest.approx(wanted, rel=1e-13)


@pytest.mark.claim("R10")
def test_as_many_choices_as_are_equally_likely_from_one_to_all() -> None:
    classes = 50
    for choices in range(1, classes + 1):
        logits = torch.full((8, classes), -math.inf, dtype=torch.float64)
        logits[:, :choices] = 0.3
        metric = lk.Perplexity()
        metric.update(logits, torch.arange(8) % choices)
        assert float(metric.compute()) == pytest.approx(choices, rel=1e-12)


@pytest.mark.claim("R10")
def test_a_perplexity_is_at_least_one_and_one_only_of_a_model_that_is_certain() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (0.0, 1.0, 10.0, 100.0):
        logits = size * torch.randn(16, 9, generator=generator, dtype=torch.float64)
        metric = lk.Perplexity()
        metric.update(logits, logits.argmax(-1))
        value = float(metric.compute())
        assert value >= 1
        certain = bool((logits.softmax(-1).amax(-1) == 1).all())
        assert (value - 1 < 1e-15) == certain
