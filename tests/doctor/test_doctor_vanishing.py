"""Layers that get no gradient: D310."""

import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor.before.wiring import look_at_wiring
from losskit.doctor.evidence import Evidence
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


def test_weights_that_all_start_at_zero_stay_there():
    model = deep(nn.ReLU, 2)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert starved(model, points())["D310"].hit.numbers["matrices"] == 3
