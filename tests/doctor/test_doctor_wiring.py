"""How loss, parameters and optimizer hang together: D201, D202, D206, D207 and D216."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from doctor_checked import CLASSES, asked, checked, loud, perceptron, points, sgd
from losskit.doctor.evidence import Settings
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.evidence.wiring import Wiring

CODES = ("D201", "D202", "D206", "D207", "D216")


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


# ------------------------------------------------------------------ D201


def test_a_loss_made_of_an_item_is_cut_off():
    model, batch = perceptron(), points()
    found = checked(model, batch, lambda out, y: torch.tensor(F.cross_entropy(out, y).item()), sgd(model))
    assert found["D201"].severity == "error"
    assert found["D201"].hit.numbers == {"trainable": 4, "of": 4}


def test_a_frozen_model_is_named_as_such():
    model = perceptron().requires_grad_(False)
    found = checked(model, points(), F.cross_entropy)
    assert "every parameter is frozen" in found["D201"].hit.said


def test_a_detached_auxiliary_loss_is_named_with_its_share():
    model, (x, y) = perceptron(), points()
    target = torch.randn(24, CLASSES)

    def step(model, batch):
        out = model(batch[0])
        return F.cross_entropy(out, batch[1]) + F.mse_loss(out.detach(), target)

    found = checked(model, (x, y), step=step, optimizer=sgd(model))
    with torch.no_grad():
        part, whole = float(F.mse_loss(model(x), target)), float(step(model, (x, y)))
    assert found["D201"].severity == "warning"
    assert found["D201"].hit.numbers["part"] == pytest.approx(part, rel=1e-5)
    assert found["D201"].hit.numbers["share"] == pytest.approx(part / whole, rel=1e-5)


def test_a_detached_loss_that_is_only_logged_is_silent():
    model = perceptron()

    def step(model, batch):
        out = model(batch[0])
        F.mse_loss(out.detach(), torch.zeros_like(out))
        return F.cross_entropy(out, batch[1])

    assert not checked(model, points(), step=step, optimizer=sgd(model))


def test_a_live_part_without_gradient_is_only_noted():
    found = asked(CODES, probes=Probes(steps=10, parts_without_grad=(("accuracy", 0.25),)))
    assert found["D201"].severity == "info"
    assert found["D201"].hit.numbers == {"share": 0.25}


# ------------------------------------------------------------------ D202


class TwoParts(nn.Module):
    def __init__(self, cut=False):
        super().__init__()
        self.encoder, self.head, self.cut = nn.Linear(6, 8), nn.Linear(8, CLASSES), cut

    def forward(self, x):
        features = self.encoder(x).tanh()
        return self.head(features.detach() if self.cut else features)


def test_a_detached_encoder_is_named_and_the_loss_is_shown_to_depend_on_it():
    model = TwoParts(cut=True)
    found = checked(model, points(), F.cross_entropy, sgd(model))
    hit = found["D202"].hit
    assert found["D202"].severity == "error"
    assert hit.where == "encoder.weight"
    assert hit.numbers["parameters"] == 2
    assert hit.numbers["of"] == 4
    assert hit.numbers["felt"] > 1e-3
    assert hit.numbers["share"] == pytest.approx((6 * 8 + 8) / (6 * 8 + 8 + 8 * CLASSES + CLASSES))


def test_the_same_encoder_without_the_detach_is_silent():
    model = TwoParts()
    assert not checked(model, points(), F.cross_entropy, sgd(model))


def test_reentrant_checkpointing_of_an_input_without_gradient_is_a_cut():
    model = TwoParts()

    def step(model, batch):
        features = checkpoint(lambda x: model.encoder(x).tanh(), batch[0], use_reentrant=True)
        return F.cross_entropy(model.head(features), batch[1])

    with pytest.warns(UserWarning, match="None of the inputs have requires_grad"):
        found = checked(model, points(), step=step, optimizer=sgd(model))
    assert found["D202"].hit.where == "encoder.weight"


def test_a_layer_that_the_loss_does_not_use_is_only_noted():
    model = TwoParts()
    model.pooler = nn.Linear(3, 3)
    found = checked(model, points(), F.cross_entropy, sgd(model))
    assert found["D202"].severity == "info"
    assert found["D202"].hit.numbers["weights"] == 12


def test_a_teacher_without_gradient_is_silent():
    class Distilled(nn.Module):
        def __init__(self):
            super().__init__()
            self.student = nn.Linear(6, 4)
            self.teacher = copy.deepcopy(self.student)
            self.predictor = nn.Linear(4, 4)

        def forward(self, x, y):
            with torch.no_grad():
                goal = self.teacher(y)
            return F.mse_loss(self.predictor(self.student(x)), goal)

    model = Distilled()
    assert not checked(model, (torch.randn(8, 6), torch.randn(8, 6)), optimizer=sgd(model))


def test_layers_that_are_left_out_at_random_are_silent():
    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
            self.head = nn.Linear(6, CLASSES)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x) if torch.rand(()) < 0.5 else x
            return self.head(x)

    model = Dropped()
    assert "D202" not in loud(checked(model, points(), F.cross_entropy, sgd(model)))


# ------------------------------------------------------------------ D206, D207


def loop(optimizer, order):
    """A training step whose three calls come in the given order."""

    def step(model, batch):
        for call in order.split():
            if call == "backward":
                loss = F.cross_entropy(model(batch[0]), batch[1])
                loss.backward()
            else:
                getattr(optimizer, call)()
        return loss.detach()

    return step


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ("zero_grad backward step", None),
        ("backward step zero_grad", None),
        ("zero_grad backward backward step", None),
        ("backward step", "D206"),
        ("backward zero_grad step", "D207"),
    ],
)
def test_the_order_of_backward_zero_grad_and_step(order, code):
    model = perceptron()
    found = checked(model, points(), step=loop(sgd(model), order))
    assert set(found) == ({code} if code else set())
    if code:
        assert found[code].hit.numbers == {"parameters": 4, "of": 4}


def test_accumulation_that_is_declared_is_silent():
    model = perceptron()
    assert not checked(model, points(), step=loop(sgd(model), "backward step"), accumulate=4)
    probes = Probes(tuple(Look(step) for step in range(0, 40, 4)), steps=40, grads_before=4)
    assert not asked(CODES, probes=probes, settings=Settings(accumulate=2))
    assert asked(CODES, probes=probes)["D206"].hit.numbers == {"times": 4, "looks": 10, "steps": 40}


def test_a_loop_that_clears_once_is_silent_and_one_that_always_does_is_not():
    assert not asked(CODES, probes=Probes(steps=40, cleared_between=1, grads_before=1))
    found = asked(CODES, probes=Probes(steps=40, cleared_between=4))
    assert found["D207"].severity == "error"
    assert found["D207"].hit.numbers["times"] == 4


# ------------------------------------------------------------------ D216


def test_the_frozen_share_is_noted():
    model = perceptron()
    model[0].requires_grad_(False)
    found = checked(model, points(), F.cross_entropy, sgd(model[2]))
    frozen, weights = 6 * 16 + 16, 6 * 16 + 16 + 16 * CLASSES + CLASSES
    assert found["D216"].severity == "info"
    assert found["D216"].hit.numbers == {"frozen": frozen, "weights": weights, "share": frozen / weights}


# ------------------------------------------------------------------ all


def test_no_rule_says_anything_without_evidence():
    for phase in ("before", "during"):
        assert not asked(CODES, phase)
        assert not asked(CODES, phase, wiring=Wiring((), True), probes=Probes(), total=math.nan)
