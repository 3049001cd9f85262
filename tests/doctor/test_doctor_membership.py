"""Which parameters an optimizer holds: D203 in none, D204 of another model."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from doctor_checked import CLASSES, checked, loud, perceptron, points, sgd


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


class TwoParts(nn.Module):
    def __init__(self, cut=False):
        super().__init__()
        self.encoder, self.head, self.cut = nn.Linear(6, 8), nn.Linear(8, CLASSES), cut

    def forward(self, x):
        features = self.encoder(x).tanh()
        return self.head(features.detach() if self.cut else features)


def test_layers_in_a_plain_list_are_in_no_optimizer():
    class Listed(nn.Module):
        def __init__(self, box):
            super().__init__()
            self.layers = box([nn.Linear(6, 6)])
            self.head = nn.Linear(6, CLASSES)

        def forward(self, x):
            return self.head(self.layers[0](x).tanh())

    model = Listed(list)
    found = checked(model, points(), F.cross_entropy, sgd(model))
    hit = found["D203"].hit
    assert found["D203"].severity == "error"
    assert "plain list" in hit.said
    assert hit.numbers == {"parameters": 2, "of": 4, "share": 42 / (42 + 7 * CLASSES)}
    model = Listed(nn.ModuleList)
    assert not checked(model, points(), F.cross_entropy, sgd(model))


def test_proxies_of_the_loss_function_are_in_no_optimizer():
    class ProxyLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.proxies = nn.Parameter(torch.randn(CLASSES, 8))

        def forward(self, embedding, y):
            return F.cross_entropy(embedding @ self.proxies.T, y)

    model, loss_fn = perceptron(8), ProxyLoss()
    found = checked(model, points(), loss_fn, sgd(model))
    assert found["D203"].severity == "error"
    assert found["D203"].hit.where == "loss_fn.proxies"
    assert found["D203"].hit.numbers["parameters"] == 1
    assert not checked(model, points(), loss_fn, sgd(model, loss_fn))


def test_a_head_that_was_replaced_after_the_optimizer_is_named_from_both_sides():
    model = perceptron(1000)
    optimizer = sgd(model)
    model[2] = nn.Linear(16, CLASSES)
    found = checked(model, points(), F.cross_entropy, optimizer)
    assert found["D204"].severity == "error"
    assert found["D204"].hit.numbers == {"foreign": 2, "held": 2, "of": 4}
    assert "(1000, 16)" in found["D204"].hit.said
    assert found["D203"].hit.where == "2.weight"
    assert found["D203"] in found["D204"].consequences


def test_an_optimizer_of_a_copy_holds_nothing_of_the_model():
    model = perceptron()
    found = checked(model, points(), F.cross_entropy, sgd(copy.deepcopy(model)))
    assert found["D204"].severity == "error"
    assert found["D204"].hit.numbers["held"] == 0


def test_two_optimizers_in_a_list_hold_everything_together():
    model = perceptron()
    both = [torch.optim.Muon([model[0].weight, model[2].weight]), torch.optim.AdamW([model[0].bias, model[2].bias])]
    assert not checked(model, points(), F.cross_entropy, both)
    found = checked(model, points(), F.cross_entropy, both[0])
    assert found["D203"].severity == "warning"  # the other one may exist


def test_a_head_alone_may_be_meant():
    model = TwoParts()
    wide = nn.Sequential(nn.Linear(6, 100), nn.ReLU(), nn.Linear(100, 6))
    model = nn.ModuleDict({"backbone": wide, "head": model})
    model.forward = lambda x: model["head"](model["backbone"](x))
    severities = {
        scratch: checked(model, points(), F.cross_entropy, sgd(model["head"]), from_scratch=scratch)["D203"].severity
        for scratch in (None, False, True)
    }
    assert severities == {None: "warning", False: "info", True: "error"}


def test_a_discriminator_that_the_loss_passes_through_is_no_business_of_the_generators_optimizer():
    generator, discriminator = nn.Linear(6, 6), nn.Linear(6, 1)

    def step(model, batch):
        return F.binary_cross_entropy_with_logits(discriminator(model(batch)), torch.ones(24, 1))

    assert not loud(checked(generator, torch.randn(24, 6), step=step, optimizer=sgd(generator)))


def test_an_optimizer_of_the_model_and_a_temperature_of_the_step_is_silent():
    model, temperature = perceptron(), nn.Parameter(torch.ones(()))

    def step(model, batch):
        return F.cross_entropy(model(batch[0]) * temperature, batch[1])

    optimizer = torch.optim.SGD([*model.parameters(), temperature], lr=0.1)
    assert not checked(model, points(), step=step, optimizer=optimizer)
    assert checked(model, points(), step=step, optimizer=sgd(model))["D203"].severity == "warning"
