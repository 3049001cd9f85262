"""The rules of evaluations and gradient norms, and what holds for all rules of curves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from doctor_curves_made import CODES, NAN, Batch, Trained, alarms, found, learning, noisy, regression, run_of, series, the
from torch import nn

from losskit.doctor.evidence import Evidence
from losskit.doctor.evidence.run import Run
from losskit.doctor.examine import examine
from losskit.doctor.finding import rules

# D601, D602 and D604


def classes(noise: float, count: int, seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 10, generator=draw)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    return x, torch.where(torch.rand(count, generator=draw) < noise, torch.randint(4, (count,), generator=draw), y)


def fitted(train: Batch, test: Batch, dropout: float = 0.0, steps: int = 600) -> Run:
    """A network that could learn the training set by heart, and 20 evaluations of it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 4))
    trained = Trained(model, F.cross_entropy, 0.0, lambda step: train)
    trained.optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    evals: list[float] = []
    for _ in range(20):
        trained.steps(steps // 20)
        model.eval()
        with torch.no_grad():
            evals.append(F.cross_entropy(model(test[0]), test[1]).item())
        model.train()
    at = torch.arange(1, 21) * (steps // 20) - 1
    return run_of(trained.losses, series("val", "eval_loss", evals, at), facts={"num_classes": 4})


@pytest.mark.claim("R27")
def test_a_network_that_learns_noise_by_heart_overfits_from_its_best_evaluation_on() -> None:
    run = fitted(classes(0.3, 100, 0), classes(0.3, 1000, 1))
    evals = run.main("eval_loss")
    assert evals is not None
    hit = the("D601", run).hit
    assert hit.numbers["best"] == float(evals.values.min())
    assert hit.step == int(evals.steps[evals.values.argmin()])
    assert hit.numbers["train_now"] < hit.numbers["train_then"]


def test_the_training_loss_beside_the_best_evaluation_is_that_of_its_time() -> None:
    at = torch.arange(1000, dtype=torch.float64)
    train = 2 * torch.exp(-at / 200) + 0.05
    steps = torch.arange(0, 1000, 50)
    hit = the("D601", run_of(train, series("val", "eval_loss", train[steps] + 0.002 * (steps - 300).abs(), steps))).hit
    assert hit.step == 300
    assert hit.numbers["train_then"] == pytest.approx(float(train[298]), abs=1e-9)  # the median of 296 to 300
    assert hit.numbers["train_now"] == pytest.approx(float(train[948]), abs=1e-9)
    assert f"is {hit.numbers['now']:.4g} over the last 3," in hit.said


@pytest.mark.claim("R27")
def test_a_network_with_enough_data_does_not_overfit() -> None:
    assert alarms(fitted(classes(0.0, 1000, 0), classes(0.0, 500, 1), steps=300)) == []


def test_evaluations_that_waver_or_rise_with_the_training_loss_are_no_overfitting() -> None:
    at = torch.arange(1, 101) * 10 - 1
    calm = noisy(torch.full((100,), 0.8, dtype=torch.float64), 0.06, 0.6)
    assert alarms(run_of(noisy(learning()), series("val", "eval_loss", calm, at))) == []
    both = noisy(torch.full((1000,), 1.0, dtype=torch.float64) + torch.arange(1000) / 2500, 0.02)
    assert "D601" not in alarms(run_of(both, series("val", "eval_loss", both[9::10], at)))


def test_dropout_puts_the_evaluation_below_the_training_loss() -> None:
    data = classes(0.0, 400, 0)
    one = the("D602", fitted(data, classes(0.0, 400, 1), dropout=0.7, steps=200))
    assert one.severity == "info"
    assert one.hit.numbers["evaluation"] < one.hit.numbers["training"]
    assert "D602" not in [other.code for other in found(fitted(data, data, steps=200))]


def test_validation_labels_in_another_order_never_beat_chance() -> None:
    train, (x, y) = classes(0.0, 300, 0), classes(0.0, 300, 1)
    wrong = fitted(train, (x, (y + 1) % 4), steps=400)
    evals = wrong.main("eval_loss")
    assert evals is not None
    one = the("D604", wrong)
    assert one.hit.numbers["chance"] == pytest.approx(math.log(4))
    assert one.hit.numbers["best"] == float(evals.values.min()) > 0.97 * math.log(4)
    assert "D604" not in alarms(fitted(train, (x, y), steps=400))
    assert "D604" not in alarms(replace(wrong, facts={}))


def test_a_small_set_learned_before_the_first_evaluation_is_not_an_error() -> None:
    losses = 0.01 + 1.4 * torch.exp(-torch.arange(600) / 5.0)
    evals = series("val", "eval_loss", torch.full((5,), 2.5), torch.arange(1, 6) * 100)
    one = the("D604", run_of(losses, evals, facts={"num_classes": 4}))
    assert one.hit.severity == "warning"


# D309


def test_gradients_that_explode_before_the_loss_does_are_its_cause() -> None:
    at = torch.arange(1000, dtype=torch.float64) / 1000
    norms = noisy(torch.exp(30 * (at - 0.7).clamp(min=0)), 0.3, 0.0, 5)
    loss = noisy(learning() + 8 * (at - 0.8).clamp(min=0))
    one = the("D309", run_of(loss, series("norm", "grad_norm", norms)))
    assert [below.code for below in one.consequences] == ["D501"]
    assert one.hit.numbers["usual"] == pytest.approx(1, rel=0.1)
    assert one.hit.numbers["ratio"] > 1000
    assert found(run_of(noisy(learning()), series("norm", "grad_norm", norms))) == []  # the loss does not rise


def test_a_step_beyond_what_is_stable_explodes_loss_and_gradients() -> None:
    trained = regression(0.1).steps(300)
    trained.optimizer.param_groups[0]["lr"] = 1.25
    trained.steps(60)
    tops = examine(Evidence("after", run=run_of(trained.losses, series("norm", "grad_norm", trained.norms))), codes=CODES)[0]
    assert {one.code for one in found(run_of(trained.losses, series("norm", "grad_norm", trained.norms)))} >= {"D309", "D501"}
    assert tops[0].severity == "error"


# all


@pytest.mark.parametrize("phase", ["during", "after"])
@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_a_healthy_run_is_silent_at_every_look(phase: str, rho: float) -> None:
    values = noisy(learning(3000), 0.1, rho, 7)
    evals = series("val", "eval_loss", noisy(learning(30), 0.03, 0.0, 8), torch.arange(1, 31) * 100)
    norms = series("norm", "grad_norm", noisy(torch.ones(3000, dtype=torch.float64), 0.5, 0.0, 9))
    for end in (60, 100, 170, 300, 520, 900, 1600, 3000):
        parts = [replace(s, steps=s.steps[s.steps < end], values=s.values[s.steps < end]) for s in (evals, norms)]
        assert alarms(run_of(values[:end], *parts), phase) == []


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, NAN], [NAN] * 100, [math.inf] * 50, [0.0] * 500, [-1e308, 1e308] * 100, [1.0] * 45]
)
def test_no_rule_fails_on_what_is_hardly_a_curve(values: list[float]) -> None:
    others = [series(kind, kind, values) for kind in ("lr", "grad_norm", "epoch", "eval_loss")]
    for phase in ("during", "after"):
        for run in (run_of(values, *others), run_of(values, facts={"num_classes": 2}), replace(run_of(values), series=()), None):
            found(run, phase)


def test_every_rule_of_the_curves_is_seen_in_both_phases() -> None:
    assert all(rules()[code].phases == ("during", "after") for code in CODES)
