"""Layers that get no gradient: D310."""

import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor.before.wiring import look_at_wiring
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.evidence.run import Reading, Run, Series
from losskit.doctor.examine import examine
from losskit.doctor.step import Step


def points():
    torch.manual_seed(1)
    return torch.randn(64, 20), torch.randint(10, (64,))


def starved(model, batch, make=lambda p: torch.optim.SGD(p, lr=0.1)):
    step = Step(model, F.cross_entropy)
    evidence = Evidence("before", wiring=look_at_wiring(step, batch, [make(list(model.parameters()))]))
    findings, faults = examine(evidence, codes=("D310",))
    assert not faults
    return {one.code: one for one in findings}


def deep(activation, depth):
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(20, 20), activation())]
    return nn.Sequential(*layers, nn.Linear(20, 10))


def test_a_gradient_that_vanishes_is_named_with_its_share():
    said = starved(deep(nn.Sigmoid, 20), points())["D310"]
    assert said.severity == "warning"
    assert said.hit.numbers["share"] > 0.5
    assert said.hit.where == "0.weight"


def test_a_dead_network_has_a_gradient_of_exactly_zero():
    model = deep(nn.ReLU, 3)
    with torch.no_grad():
        model[4].bias.fill_(-1000.0)
    assert "exactly 0" in starved(model, points())["D310"].hit.said


def test_shallow_nets_and_steps_of_adam_are_silent():
    assert not starved(deep(nn.ReLU, 3), points())
    assert not starved(deep(nn.Sigmoid, 3), points())
    assert not starved(deep(nn.Sigmoid, 20), points(), lambda p: torch.optim.Adam(p, lr=1e-3))


def test_a_last_layer_that_starts_at_zero_opens_the_way():
    model = deep(nn.ReLU, 2)
    with torch.no_grad():
        model[4].weight.zero_()
    assert not starved(model, points())


def hinge(model, batch):
    """Triplets by hand: each row, the same row, and the negative of it."""
    x = batch[0]
    anchor, positive, negative = model(x), model(x), model(-x)
    return F.relu((anchor - positive).square().sum(1) - (anchor - negative).square().sum(1) + 0.2).mean()


def severity(step, model, fresh):
    batch = points()
    seen = look_at_wiring(Step(model, step=step), batch, [torch.optim.SGD(model.parameters(), lr=0.1)])
    total = float(step(model, batch).detach())
    (one,) = examine(Evidence("before", Settings(from_scratch=fresh), total=total, wiring=seen), codes=("D310",))[0]
    return one.severity


def test_a_hinge_that_every_sample_keeps_has_nothing_more_to_teach():
    model = deep(nn.ReLU, 1)
    with torch.no_grad():
        model[2].weight.mul_(20.0)
    assert float(hinge(model, points()).detach()) == 0
    assert severity(hinge, model, None) == "info"
    assert severity(hinge, model, False) == "info"
    assert severity(hinge, model, True) == "warning"  # fresh weights know nothing: the loss is 0 for another reason
    assert severity(lambda m, b: hinge(m, b) + 1.0, model, None) == "warning"  # a loss above 0 that teaches nothing


def test_a_hinge_is_learned_in_a_live_run_only_where_its_loss_is_0_after_it_was_not():
    weights = look_at_wiring(Step(deep(nn.ReLU, 1), step=lambda m, b: 0.0 * m(b[0]).sum()), points(), []).parameters
    looks = Probes(looks=tuple(Look(step, parameters=weights) for step in (100, 200, 300)))

    def found(values):
        series = Series("loss", "train_loss", torch.arange(301), torch.tensor(values, dtype=torch.float64))
        run = Run("a", (series,), Reading("live", points=301))
        return [one.severity for one in examine(Evidence("during", probes=looks, run=run), codes=("D310",))[0]]

    assert found([1.0] * 50 + [0.0] * 251) == ["info"]
    assert found([0.0] * 301) == ["warning"]
    assert found([1.0] * 301) == ["warning"]


def test_weights_that_all_start_at_zero_stay_there():
    model = deep(nn.ReLU, 2)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert starved(model, points())["D310"].hit.numbers["matrices"] == 3
