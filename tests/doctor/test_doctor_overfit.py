"""One batch learned by heart: D217, D218, D219, and targets out of reach: D116."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor.before.facts import look_at_batch
from losskit.doctor.before.overfit import contradiction, overfit_one_batch, progress
from losskit.doctor.before.spy import Spy
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.overfit import Attempt, Overfit
from losskit.doctor.examine import examine
from losskit.doctor.step import Step

CODES = ("D116", "D217", "D218", "D219")
CLASSES = 10


def tried(step, batch, optimizer=None, *, floor=0.0, settings=None, budget_s=30.0):
    """The findings by code, and the trial behind them."""
    with Spy() as spy:
        total = step(batch)
    seen = overfit_one_batch(step, batch, optimizer, floor=floor, budget_s=budget_s, seed=0)
    evidence = Evidence(
        "before",
        settings or Settings(),
        calls=spy.finish(total),
        total=float(total.detach()),
        batch=look_at_batch(batch),
        overfit=seen,
    )
    findings, faults = examine(evidence, codes=CODES)
    assert not faults
    everything = [*findings, *(below for one in findings for below in one.consequences)]
    return {one.code: one for one in everything}, seen


def perceptron(inputs=20, outputs=CLASSES):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, outputs))


def points(n=40, scale=1.0):
    torch.manual_seed(1)
    return torch.randn(n, 20) * scale, torch.randint(CLASSES, (n,))


def sgd(model, lr):
    return torch.optim.SGD(model.parameters(), lr=lr)


def loud(found):
    return {code for code, one in found.items() if one.severity != "info"}


@pytest.mark.claim("R26")
def test_a_sound_model_learns_32_samples_by_heart_with_shuffled_labels_too():
    model = perceptron()
    found, seen = tried(Step(model, F.cross_entropy), points(), torch.optim.Adam(model.parameters(), lr=1e-3))
    assert seen.samples == 32
    assert seen.adam.reached
    assert seen.own.reached
    assert seen.target == pytest.approx(0.1 * seen.start)
    assert seen.adam.losses[-1] <= seen.target
    assert not found


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.01),
        lambda p: torch.optim.SGD(p, lr=1e-3),
        lambda p: torch.optim.AdamW(p, lr=1e-5),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.RMSprop(p, lr=1e-3),
        lambda p: torch.optim.Adagrad(p, lr=1e-2),
        lambda p: torch.optim.LBFGS(p, lr=0.1),
    ],
)
def test_slow_and_uncommon_optimizers_are_not_accused(make):
    model = perceptron()
    found, seen = tried(Step(model, F.cross_entropy), points(), make(list(model.parameters())))
    assert not found
    assert progress(seen.own.losses, 0.0) > 0.01  # slow, but it moves


@pytest.mark.claim("R26")
def test_a_model_that_sees_no_difference_between_samples_cannot_learn_them():
    step = Step(perceptron(), step=lambda model, b: F.cross_entropy(model(b[0].mean(0, keepdim=True).expand_as(b[0])), b[1]))
    found, seen = tried(step, points())
    classes = points()[1][:32].bincount() / 32
    entropy = -float((classes * classes.clamp_min(1e-9).log()).sum())
    assert found["D217"].severity == "error"
    assert min(seen.adam.losses) >= entropy - 0.02  # nothing below the frequencies of the classes
    assert found["D217"].hit.numbers["made"] < 0.1


def test_more_random_labels_than_weights_are_no_fault_of_the_model():
    torch.manual_seed(0)
    model = nn.Conv2d(1, 3, 3, padding=1)
    found, seen = tried(Step(model, F.cross_entropy), (torch.randn(4, 1, 8, 8), torch.randint(3, (4, 8, 8))))
    assert (seen.parameters, seen.labels) == (30, 4 * 8 * 8)
    assert progress(seen.adam.losses, 0.0) < 0.1
    assert not found


def test_weights_that_get_no_gradient_learn_nothing():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.bias = perceptron(), nn.Parameter(torch.zeros(CLASSES))

        def forward(self, x):
            return self.inner(x).detach() + self.bias

    found, _ = tried(Step(Detached(), F.cross_entropy), points())
    assert "D217" in found


def test_a_mining_objective_may_stand_still():
    step = Step(perceptron(), step=lambda model, b: F.cross_entropy(model(b[0] * 0), b[1]))
    assert not tried(step, points(), settings=Settings(objective="mining"))[0]


@pytest.mark.claim("R26")
@pytest.mark.parametrize(
    ("lr", "word", "severity"), [(1e-8, "stands", "warning"), (8.0, "soars", "warning"), (1e4, "is nan after", "error")]
)
def test_a_learning_rate_far_off_is_named_where_adam_learns(lr, word, severity):
    model = perceptron()
    found, seen = tried(Step(model, F.cross_entropy), points(), sgd(model, lr))
    assert seen.adam.reached
    assert found["D218"].severity == severity
    assert word in found["D218"].hit.said
    assert ("divide" if lr > 1 else "multiply") in found["D218"].fix


def test_an_optimizer_of_other_parameters_stands_still():
    model = perceptron()
    found, seen = tried(Step(model, F.cross_entropy), points(), sgd(perceptron(), 0.1))
    assert len(set(seen.own.losses)) == 1
    assert "stands" in found["D218"].hit.said


def test_a_warm_up_that_begins_at_zero_is_gone_through():
    model = perceptron()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 1000))
    assert optimizer.param_groups[0]["lr"] == 0.0
    found, seen = tried(Step(model, F.cross_entropy), points(), optimizer)
    assert seen.own.reached
    assert not found
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_a_loop_that_clips_its_gradients_is_not_accused():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 1), nn.Flatten(0))
    x, _ = points(scale=10.0)
    found, seen = tried(Step(model, F.mse_loss), (x, 5 * x.sum(1)), sgd(model, 0.1))
    assert seen.own.optimizer == "SGD, lr 0.1, gradients clipped to 1"
    assert not found


def test_the_label_among_the_features_is_learned_at_once():
    _, y = points()
    model = nn.Linear(CLASSES, CLASSES)
    nn.init.zeros_(model.weight)
    found, seen = tried(Step(model, F.cross_entropy), (F.one_hot(y, CLASSES) * 1e4, y))
    assert seen.adam.steps <= 3
    assert found["D219"].severity == "info"


def test_targets_out_of_reach_are_the_cause_and_not_the_optimizer():
    x, _ = points()
    price = 250_000 + 80_000 * x[:, 0]
    model = nn.Sequential(perceptron(outputs=1), nn.Flatten(0))
    found, _ = tried(Step(model, F.mse_loss), (x, price), torch.optim.Adam(model.parameters(), lr=1e-3))
    assert found["D116"].severity != "info"
    assert found["D116"].hit.numbers["target"] == pytest.approx(float(price.square().mean().sqrt()))
    assert all(one.code == "D116" or one in found["D116"].consequences for one in found.values())


def test_standardised_targets_and_a_rate_that_compensates_are_no_alarm():
    x, _ = points()
    model = nn.Sequential(perceptron(outputs=1), nn.Flatten(0))
    step = Step(model, F.mse_loss)
    assert not tried(step, (x, x[:, 0]), torch.optim.Adam(model.parameters(), lr=1e-3))[0]
    found, _ = tried(step, (x, 1e5 * x[:, 0]), torch.optim.Adam(model.parameters(), lr=30.0))
    assert not loud(found)


def test_a_last_layer_that_starts_small_makes_no_targets_outsized():
    x, _ = points()
    target = x[:, 0].clone()
    target[::8] *= 12  # outliers
    model = nn.Sequential(perceptron(outputs=1), nn.Flatten(0))
    nn.init.normal_(model[0][2].weight, std=1e-3)
    nn.init.zeros_(model[0][2].bias)
    assert float((target.square().mean() / model(x).square().mean()).detach()) > 100**2
    assert not tried(Step(model, F.mse_loss), (x, target), sgd(model, 1e-3))[0].keys() & {"D116"}


@pytest.mark.parametrize(("end", "severity"), [(99.0, "warning"), (101.0, "error"), (math.inf, "error")])
def test_a_loss_that_ends_at_a_hundred_times_its_start_is_as_bad_as_nan(end, severity):
    own = Attempt("SGD, lr 10", (2.0, *[2.0 * end] * 200), 200, reached=False)
    adam = Attempt("Adam 1e-3", (2.0, *[0.1] * 200), 200, reached=True)
    findings, faults = examine(Evidence("before", Settings(), overfit=Overfit(32, 2.0, 0.0, 0.2, own, adam)), codes=CODES)
    assert not faults
    assert [(one.code, one.severity) for one in findings] == [("D218", severity)]
    clipped = Attempt("SGD, lr 10, gradients clipped to 1", (2.0, *[0.1] * 200), 200, reached=False)
    seen = Overfit(32, 2.0, 0.0, 0.2, clipped, adam, plain=own)
    assert examine(Evidence("before", Settings(), overfit=seen), codes=CODES)[0][0].severity == "info"


def test_contradicting_labels_are_a_floor():
    x = torch.randn(1, 20).expand(8, 20)
    y = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    assert contradiction((x, y)) == pytest.approx(math.log(2))
    assert contradiction((torch.randn(8, 20), y)) == 0
    found, seen = tried(Step(perceptron(outputs=2), F.cross_entropy), (torch.cat((x, torch.randn(8, 20))), y.repeat(2)))
    assert seen.floor == pytest.approx(math.log(2) / 2)
    assert not found


def test_a_known_floor_counts_as_learned():
    model, smoothing = perceptron(), 0.1
    low = -(1 - smoothing + smoothing / CLASSES) * math.log(1 - smoothing + smoothing / CLASSES)
    low -= (CLASSES - 1) * smoothing / CLASSES * math.log(smoothing / CLASSES)
    step = Step(model, nn.CrossEntropyLoss(label_smoothing=smoothing))
    found, seen = tried(step, points(), torch.optim.Adam(model.parameters(), lr=3e-3), floor=low)
    assert seen.own.reached
    assert not found


def test_a_start_at_the_floor_is_no_failure():
    model = perceptron()
    for _ in range(300):
        model.zero_grad()
        loss = F.cross_entropy(model(points()[0]), points()[1])
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.5 * p.grad
    found, _ = tried(Step(model, F.cross_entropy), points(), sgd(model, 0.01))
    assert float(loss.detach()) < 0.05
    assert not loud(found)


def test_half_precision_weights_are_trained_in_float32():
    model = perceptron().bfloat16()
    x, y = points()
    found, seen = tried(Step(model, lambda out, y: F.cross_entropy(out.float(), y)), (x.bfloat16(), y))
    assert seen.adam.reached
    assert not found


def test_no_time_is_said_and_nothing_is_concluded():
    model = perceptron()
    found, seen = tried(Step(model, F.cross_entropy), points(), sgd(model, 1e-8), budget_s=0.0)
    assert seen.out_of_time
    assert not found


def test_a_loss_that_is_nan_ends_the_trial():
    seen = overfit_one_batch(
        Step(perceptron(), lambda out, y: out.sum() * torch.nan), points(), None, floor=0.0, budget_s=5.0, seed=0
    )
    assert math.isnan(seen.start)
    assert not seen.adam.reached
    assert not examine(Evidence("before", overfit=seen), codes=CODES)[0]
