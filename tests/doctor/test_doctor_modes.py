"""One batch in train and in eval mode: D208 and D603."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor.before.modes import look_at_modes
from losskit.doctor.evidence import Evidence
from losskit.doctor.evidence.precision import Module
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.examine import examine
from losskit.doctor.step import Step

CODES = ("D208", "D603")


def by_code(evidence):
    findings, faults = examine(evidence, codes=CODES)
    assert not faults
    return {one.code: one for one in findings}


def found(step, batch):
    return by_code(Evidence("before", modes=look_at_modes(step, batch)))


def net(momentum=0.1, dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(20, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10)
    )


def points(n=64, shift=0.0):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 20, generator=generator)
    return x + shift, (x[:, :10]).argmax(1)


def train(model, batch, steps=150):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()


def test_moments_of_other_data_are_named_with_both_losses():
    model = net()
    train(model, points())
    with torch.no_grad():  # as by batches of another kind that were last
        for _ in range(100):
            model(points(shift=20.0)[0])
    step = Step(model, F.cross_entropy)
    seen = look_at_modes(step, points())
    said = found(step, points())["D603"]
    assert said.severity == "error"
    assert said.hit.where == "1"
    assert said.hit.numbers["train"] == seen.without_dropout < 0.5
    assert said.hit.numbers["evaluation"] > seen.without_dropout + 3 * seen.spread
    assert said.hit.numbers["shift"] > 3


def test_a_trained_and_a_fresh_batch_norm_are_silent():
    model = net(dropout=0.5)
    assert not found(Step(model, F.cross_entropy), points())
    train(model, points())
    assert not found(Step(model, F.cross_entropy), points())


def test_moments_that_have_seen_no_batch_yet_are_no_fault():
    batch = points(shift=1000.0)
    model = nn.Sequential(nn.BatchNorm1d(20), *net())
    seen = look_at_modes(Step(model, F.cross_entropy), batch)
    assert seen.evaluation > 2 * seen.without_dropout
    assert seen.norms[0].shift > 500
    assert not found(Step(model, F.cross_entropy), batch)


def test_moments_are_measured_in_running_deviations():
    model = nn.Sequential(nn.BatchNorm1d(20))
    x = torch.randn(4000, 20, generator=torch.Generator().manual_seed(2)) * 3 + 5
    (norm,) = look_at_modes(Step(model, lambda out, t: out.mean()), (x, x)).norms
    assert norm.shift == pytest.approx(5, abs=0.3)
    assert norm.ratio == pytest.approx(9, rel=0.1)
    assert norm.steps == 0
    assert norm.rows == 4000


def test_dropout_alone_is_the_difference_of_the_first_two_losses():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.Dropout(0.5), nn.Linear(32, 10))
    seen = look_at_modes(Step(model, F.cross_entropy), points())
    assert seen.train != seen.evaluation
    assert seen.without_dropout == pytest.approx(seen.evaluation)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_spread_is_the_standard_error_over_samples(reduction):
    model, batch = net(), points(512)
    model.eval()
    losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none").detach()
    error = float(losses.std()) / math.sqrt(512) * (512 if reduction == "sum" else 1)
    seen = look_at_modes(Step(model, lambda out, y: F.cross_entropy(out, y, reduction=reduction)), batch)
    assert 0.4 * error < seen.spread < 1.8 * error  # from eight pieces


def test_a_batch_that_cannot_be_cut_has_no_spread():
    step = Step(net(), step=lambda model, batch: F.cross_entropy(model(batch["x"]), batch["y"]) + batch["table"].sum())
    x, y = points()
    assert math.isnan(look_at_modes(step, {"x": x, "y": y, "table": torch.ones(3)}).spread)


def test_eval_mode_before_training_is_only_told():
    model = net(dropout=0.5)
    model.eval()
    said = found(Step(model, F.cross_entropy), points())["D208"]
    assert said.severity == "info"
    assert not model.training


def test_parts_in_eval_mode_are_told_and_stay_there():
    model = net()
    model[1].eval()
    seen = look_at_modes(Step(model, F.cross_entropy), points())
    assert seen.mixed == ("1",)
    assert seen.norms == ()  # a frozen norm takes no moments of the batch
    assert found(Step(model, F.cross_entropy), points())["D208"].severity == "info"
    assert not model[1].training
    assert model[3].training


def look(step, training, kind="Dropout"):
    module = Module("body.3", kind, "float32", 1.0, True, True, 0.0, 0.0, 0.0, 64)
    return Look(step, modules=(module,), training=training)


def test_a_live_run_that_trains_in_eval_mode_is_warned():
    said = by_code(Evidence("during", probes=Probes((look(100, True), look(200, False), look(300, False)))))["D208"]
    assert said.severity == "warning"
    assert said.hit.step == 200
    assert said.hit.numbers["modules"] == 1


def test_one_look_in_eval_mode_and_models_without_modes_are_silent():
    assert not by_code(Evidence("during", probes=Probes((look(100, True), look(200, False)))))
    assert not by_code(Evidence("during", probes=Probes((look(100, False, "Linear"), look(200, False, "Linear")))))


def test_the_probe_leaves_no_trace():
    model = net(dropout=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch, state = points(), torch.get_rng_state()
    look_at_modes(Step(model, F.cross_entropy), batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
