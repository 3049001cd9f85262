"""What a log alone shows: hidden NaN, restarts, no loss, bad gradients, other units, a learning rate that is gone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from doctor_helpers_levels import LOG_CODES, a_run, codes, curve, noisy, told
from losskit.doctor.evidence.run import Reading, Series
from losskit.doctor.finding import Finding


def log_of(*series: Series | Tensor, **more: Any) -> tuple[Finding, ...]:
    first, *others = series
    assert isinstance(first, Tensor)
    return told(a_run(first, *[s for s in others if isinstance(s, Series)], **more), only=LOG_CODES)


HF = Reading("hf", hides_nan=True)
NAN = torch.full((30,), math.nan)


def test_a_log_below_the_floor_that_the_user_knows_is_too_good() -> None:
    found = told(a_run(noisy(1.2), facts={"vocab_size": 100, "floor": 1.5}))
    assert codes(found) == ["D402"]
    assert found[0].hit.numbers["floor"] == 1.5
    assert "D402" not in codes(told(a_run(noisy(1.51), facts={"vocab_size": 100, "floor": 1.5})))


def test_a_log_that_is_negative_is_named_if_its_loss_is_known() -> None:
    values = torch.linspace(1, -1, 100)
    (found,) = told(a_run(values, facts={"loss": "nll_loss"}))
    assert found.code == "D405"
    assert found.hit.numbers["points"] == 50
    assert not told(a_run(values, facts={"loss": "gaussian_nll_loss"}))
    assert not told(a_run(values))


def test_a_log_that_begins_at_k_times_chance_adds_up_its_k_micro_batches() -> None:
    fall = 1 / (1 + torch.arange(300) / 60)
    facts = {"num_classes": 10, "gradient_accumulation_steps": 4}
    (found,) = told(a_run(4 * math.log(10) * fall + noisy(0, 300), facts=facts))
    assert (found.code, found.severity) == ("D215", "error")
    assert found.hit.numbers["factor"] == pytest.approx(4, rel=0.02)
    assert not told(a_run(math.log(10) * fall + noisy(0, 300), facts=facts))


@pytest.mark.claim("R28")
def test_a_loss_of_zero_beside_a_gradient_of_nan_is_a_hidden_nan() -> None:
    losses = torch.cat([torch.linspace(2, 1, 20), torch.zeros(30)])
    norms = torch.cat([torch.ones(20), NAN])
    (found,) = log_of(losses, curve(norms, "grad_norm", every=10), every=10, reading=HF)
    assert (found.code, found.severity) == ("D901", "error")
    assert found.hit.step == 200
    assert found.hit.numbers["lines"] == found.hit.numbers["zeros"] == 30
    assert "lower the learning rate" not in found.fix.lower()


def test_a_loss_that_repeats_beside_a_gradient_of_nan_is_a_hidden_nan() -> None:
    losses = torch.cat([torch.linspace(2, 1, 20), torch.full((30,), 0.75)])
    (found,) = log_of(losses, curve(torch.cat([torch.ones(20), NAN]), "grad_norm"), reading=HF)
    assert found.code == "D901"
    assert found.hit.numbers["lines"] == 29  # the first of them does not repeat anything


def test_an_infinite_loss_that_repeats_hides_nothing() -> None:
    losses = torch.cat([torch.linspace(2, 1, 20), torch.full((30,), math.inf)])
    assert "D901" not in codes(log_of(losses, curve(torch.cat([torch.ones(20), NAN]), "grad_norm"), reading=HF))


def test_the_search_of_a_scaler_for_its_factor_hides_nothing() -> None:
    norms = torch.ones(60)
    norms[[0, 1, 2, 30]] = math.inf
    assert not log_of(noisy(1, 60), curve(norms, "grad_norm"), reading=HF)


def test_zeros_at_the_end_of_a_trainer_log_without_gradient_norms_are_hidden_nan_unless_the_loss_fell_there() -> None:
    broken = torch.cat([torch.linspace(2, 1, 20), torch.zeros(10)])
    rounded = torch.cat([torch.linspace(2, 1e-4, 20), torch.zeros(10)])
    assert codes(log_of(broken, reading=HF)) == ["D901"]
    assert not log_of(rounded, reading=HF)
    assert not log_of(broken)  # no other writer puts 0 in place of NaN


def test_restarts_are_told_and_alarm_nobody() -> None:
    (found,) = log_of(noisy(1), reading=Reading("jsonl", restarts=(100, 250)))
    assert (found.code, found.severity, found.hit.numbers["restarts"]) == ("D902", "info", 2)
    assert not log_of(noisy(1))


def test_a_log_without_a_loss_names_what_it_has() -> None:
    reading = Reading("csv", series_seen=("accuracy", "<script>", *"abcdefgh"))
    (found,) = log_of(noisy(1), kind="metric", name="accuracy", reading=reading)
    assert (found.code, found.severity) == ("D903", "warning")
    assert "accuracy" in found.hit.said
    assert found.hit.numbers["curves"] == 10


def test_a_short_log_is_no_fault_of_the_run() -> None:
    (found,) = log_of(noisy(1, 19))
    assert (found.code, found.severity, found.hit.numbers["points"]) == ("D903", "info", 19)
    assert not log_of(noisy(1, 20))


def test_gradients_that_are_never_finite_beside_a_loss_that_stays_are_named() -> None:
    # sqrt at 0 has an infinite derivative, and infinity times 0 is NaN: the loss is fine, every gradient is not
    weight = torch.ones(3, requires_grad=True)
    losses, norms = [], []
    for _ in range(60):
        loss = torch.where(weight > 0, (weight - weight).sqrt() + 0.7, 0.0).mean()
        (grad,) = torch.autograd.grad(loss, weight)
        losses.append(loss.item())
        norms.append(grad.norm().item())  # the step would be left out
    assert math.isnan(norms[0])
    values = torch.tensor(losses) + noisy(0, 60, 1e-3)
    (found,) = log_of(values, curve(torch.tensor(norms), "grad_norm"))
    assert (found.code, found.severity, found.hit.numbers["share"]) == ("D904", "error", 1.0)
    falling = torch.linspace(2, 1, 60)
    assert not log_of(falling, curve(torch.tensor(norms), "grad_norm"))
    some = torch.tensor(norms)
    some[::2] = 1.0
    assert not log_of(values, curve(some, "grad_norm"))


@pytest.mark.parametrize("times", [4.0, 0.25])
def test_a_loss_in_another_unit_after_a_restart_is_named(times: float) -> None:
    values = torch.cat([noisy(2, 200), times * noisy(2, 200, seed=1)])
    (found,) = [f for f in log_of(values, reading=Reading("jsonl", restarts=(200,))) if f.code != "D902"]
    assert found.code == "D905"
    assert found.hit.numbers["ratio"] == pytest.approx(times, rel=0.02)
    assert found.hit.numbers["whole"] == 4


@pytest.mark.parametrize(
    "after",
    [
        noisy(2, 200, seed=1),  # the same
        5.1 * noisy(2, 200, seed=1) / 2,  # 2.55 times
        noisy(4, 200, seed=1),  # twice as high and no noisier: a jump of the model, not of the unit
        noisy(4, 200, 1.5, seed=1),  # too noisy to tell
    ],
)
def test_another_jump_at_a_restart_is_not_called_another_unit(after: Tensor) -> None:
    found = log_of(torch.cat([noisy(2, 200), after]), reading=Reading("jsonl", restarts=(200,)))
    assert codes(found) == ["D902"]


def test_a_jump_by_a_whole_factor_without_a_restart_is_left_to_others() -> None:
    assert not log_of(torch.cat([noisy(2, 200), 4 * noisy(2, 200, seed=1)]))


def schedule(make: Any, steps: int, every: int = 1) -> Tensor:
    """The learning rates that torch's schedule gives, stepped so often a step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for _ in range(every):
            scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


LR = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("rates", "severity"),
    [
        (schedule(lambda o: LR.LinearLR(o, 1.0, 0.0, total_iters=400), 400, every=2), "error"),  # two processes step it
        (schedule(lambda o: LR.PolynomialLR(o, total_iters=100), 400), "error"),  # made for a quarter of the steps
        (schedule(lambda o: LR.ExponentialLR(o, 0.95), 400), "warning"),  # meant for epochs
        (torch.zeros(400), "error"),
    ],
)
def test_a_learning_rate_that_is_gone_early_is_named(rates: Tensor, severity: str) -> None:
    (found,) = told(a_run(noisy(1), curve(rates, "lr")), only=("D214",))
    assert found.severity == severity
    assert found.hit.numbers["share of the run"] < 0.55
    assert "step" in found.hit.numbers


@pytest.mark.parametrize(
    "rates",
    [
        schedule(lambda o: LR.CosineAnnealingLR(o, 400), 400),
        schedule(lambda o: LR.CosineAnnealingWarmRestarts(o, 100), 398),
        schedule(lambda o: LR.OneCycleLR(o, 0.1, total_steps=401), 400),
        schedule(lambda o: LR.MultiStepLR(o, [120, 200, 280]), 400),
        schedule(lambda o: LR.LinearLR(o, 0.0 + 1e-9, 1.0, total_iters=100), 400),
        schedule(lambda o: LR.PolynomialLR(o, total_iters=400), 400),
        torch.full((400,), 1e-4),
        torch.zeros(10),
    ],
)
def test_the_end_of_a_schedule_is_no_fault(rates: Tensor) -> None:
    assert not told(a_run(noisy(1), curve(rates, "lr")), only=("D214",))
    for live in (50, 150, 300):
        assert not told(a_run(noisy(1), curve(rates[:live], "lr")), "during", only=("D214",))


@pytest.mark.parametrize("values", [torch.zeros(0), torch.ones(1), torch.full((100,), math.nan), torch.full((3,), math.inf)])
def test_empty_short_and_broken_curves_upset_no_rule(values: Tensor) -> None:
    every = (*LOG_CODES, "D214", "D215", "D402", "D403", "D404", "D405", "D606", "D702", "D703", "D804")
    others = [curve(values, kind) for kind in ("lr", "grad_norm", "eval_loss", "perplexity")]
    facts = {"loss": "nll_loss", "num_classes": 10, "floor": 1.0, "accumulate": 2}
    told(a_run(values, *others, facts=facts, reading=Reading("hf", hides_nan=True, restarts=(0, 5))), only=every)
    told(a_run(torch.zeros(0), kind="metric"), only=every)
