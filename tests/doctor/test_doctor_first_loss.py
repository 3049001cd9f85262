"""The loss of one batch before training, beside what it can be: too high, too low, negative, a multiple."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from doctor_helpers_levels import before, called, codes
from losskit.doctor.before.spy import Spy
from losskit.doctor.evidence.calls import LossCall


def test_a_fresh_model_that_is_sure_of_wrong_answers_starts_high() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(64, 20) * 255, torch.randint(10, (64,))
    model = nn.Linear(20, 10)
    raw = called(lambda: F.cross_entropy(model(x), y))
    scaled = called(lambda: F.cross_entropy(model(x / 127.5 - 1), y))
    (found,) = before(raw, from_scratch=True)
    assert (found.code, found.severity) == ("D401", "warning")
    assert found.hit.numbers["chance"] == pytest.approx(math.log(10))
    assert raw.value is not None
    assert found.hit.numbers["loss"] == pytest.approx(float(raw.value), rel=1e-5)
    assert not before(scaled, from_scratch=True)
    assert not before(raw, from_scratch=False)
    assert codes(before(raw)) == ["D401"]  # far more than three times chance: it need not be said that the model is fresh


def test_a_contrastive_loss_may_begin_where_its_temperature_puts_it() -> None:
    q, k = F.normalize(torch.randn(64, 8)), F.normalize(torch.randn(64, 8))
    assert not before(called(lambda: F.cross_entropy(q @ k.T / 0.01, torch.arange(64))), from_scratch=True)


def test_a_fresh_model_that_knows_the_answer_starts_low() -> None:
    torch.manual_seed(0)
    y = torch.randint(10, (64,))
    leaking = called(lambda: F.cross_entropy(5 * F.one_hot(y, 10).float(), y))
    (found,) = before(leaking, from_scratch=True)
    assert found.code == "D402"
    assert found.hit.numbers["loss"] == pytest.approx(math.log(1 + 9 * math.exp(-5)), rel=1e-4)
    assert not before(leaking)  # a trained model does the same
    assert not before(called(lambda: F.cross_entropy(torch.randn(64, 10), y)), from_scratch=True)
    one = called(lambda: F.cross_entropy(torch.tensor([[3.0, 0.0]]).expand(64, 2), torch.zeros(64).long()))
    assert not before(one, from_scratch=True)  # a batch of one class: its frequencies are all that there is to know


def test_a_loss_that_cannot_be_negative_is_named_where_it_is() -> None:
    scores, y = torch.randn(64, 10).abs(), torch.randint(10, (64,))
    (found,) = before(called(lambda: F.nll_loss(scores.softmax(1), y)))
    assert (found.code, found.severity) == ("D405", "error")
    assert -1 < found.hit.numbers["value"] < 0
    assert not before(called(lambda: F.nll_loss(scores.log_softmax(1), y)))
    assert not before(called(lambda: F.gaussian_nll_loss(scores, scores, torch.full_like(scores, 0.01))))  # may be


def test_an_exact_zero_of_a_fresh_model_is_named_and_a_trained_one_may_have_it() -> None:
    y = torch.randint(10, (64,))
    zero = called(lambda: F.cross_entropy(1000 * F.one_hot(y, 10).float(), y))
    assert [f.code for f in before(zero) if f.code == "D405"] == ["D405"]
    assert "D405" not in codes(before(zero, from_scratch=False))
    far = torch.tensor([[9.0, 0.0]])
    assert not before(called(lambda: F.triplet_margin_loss(far, far, -far)))  # a hinge often is


def test_micro_batches_that_are_added_up_are_k_times_too_much() -> None:
    torch.manual_seed(0)
    model, parts = nn.Linear(4, 10), [(torch.randn(16, 4), torch.randint(10, (16,))) for _ in range(4)]

    def step(divide: float) -> tuple[tuple[LossCall, ...], float]:
        with Spy() as spy:
            total = torch.stack([F.cross_entropy(model(x), y) for x, y in parts]).sum() / divide
        return spy.finish(total), total.item()

    (calls, total), (mean_calls, mean) = step(1), step(4)
    (found,) = before(*calls, total=total, accumulate=4)
    assert (found.code, found.severity, found.hit.numbers["calls"]) == ("D215", "error", 4)
    assert found.hit.numbers["mean"] == pytest.approx(mean, rel=1e-5)
    assert not before(*mean_calls, total=mean, accumulate=4)
    assert [f.severity for f in before(*calls, total=total)] == ["info"]  # heads of several tasks look the same
