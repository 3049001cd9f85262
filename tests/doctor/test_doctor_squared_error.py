"""A classifier trained on squared error: D120."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from doctor_seen import found, numbers
from losskit.doctor.evidence import Settings

X, Y = torch.randn(32, 20, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 10
ONLY = ("D120",)


def model(outputs=10):
    torch.manual_seed(0)
    return nn.Linear(20, outputs)


@pytest.mark.claim("R32")
@pytest.mark.parametrize("loss", [F.mse_loss, losskit.mse_loss])
def test_squared_error_behind_a_softmax_or_a_sigmoid_is_named_with_what_it_costs(loss):
    hit = numbers(lambda: loss(model()(X).softmax(1), F.one_hot(Y, 10).float()), "D120", codes=ONLY)
    assert 0 < hit["least"] < 0.5
    assert hit["ratio"] == pytest.approx(1 / (2 * hit["least"] * (1 - hit["least"])))
    p = model(1)(4 * X).sigmoid().detach()[:, 0]
    said = found(lambda: loss(model(1)(4 * X).sigmoid()[:, 0], (Y % 2).float()), codes=ONLY)["D120"]
    assert said.severity == "info"
    right = torch.where(Y % 2 == 1, p, 1 - p)
    assert said.hit.numbers["least"] == pytest.approx(float(right.min()), rel=1e-5)
    assert "binary_cross_entropy_with_logits" in said.fix


@pytest.mark.parametrize(
    "work",
    [
        lambda: F.mse_loss(model()(X), F.one_hot(Y, 10).float()),
        lambda: F.mse_loss(model()(X).sigmoid(), X[:, :10].sigmoid()),
        lambda: F.mse_loss(model()(X).softmax(1), model()(X + 1).softmax(1).detach()),
        lambda: F.mse_loss(model(1)(X).sigmoid()[:, 0], torch.ones(32)),
        lambda: F.l1_loss(model()(X).softmax(1), F.one_hot(Y, 10).float()),
        lambda: F.cross_entropy(model()(X), Y),
        lambda: F.mse_loss(model()(4 * X).sigmoid(), (X[:, :10] > 0).float()),
        lambda: F.mse_loss(model(1)(0.1 * X).sigmoid()[:, 0], (Y % 2).float()),
        lambda: F.mse_loss((8 * F.one_hot(Y, 10) + 0 * model()(X)).softmax(1), F.one_hot(Y, 10).float()),
    ],
)
def test_numbers_soft_labels_and_other_losses_are_left_alone(work):
    assert not found(work, codes=ONLY)


@pytest.mark.parametrize(("entries", "speaks"), [((Y % 2, Y), False), ((X, Y % 2), True)])
def test_a_target_that_is_the_models_own_input_is_left_alone(entries, speaks):
    said = found(lambda: F.mse_loss(model(1)(4 * X).sigmoid()[:, 0], (Y % 2).float()), codes=ONLY, batch=entries)
    assert bool(said) is speaks


def test_an_adversarial_objective_may_use_squared_error():
    settings = Settings(objective="adversarial")
    assert not found(lambda: F.mse_loss(model(1)(X).sigmoid()[:, 0], (Y % 2).float()), codes=ONLY, settings=settings)
