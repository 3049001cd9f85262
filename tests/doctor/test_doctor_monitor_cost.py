"""What a monitor leaves undone since it would cost: the same numbers as the long way."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from monitored import CLASSES, batches, network, watched
from torch import nn

from losskit.doctor import Monitor
from losskit.doctor.during import looks
from losskit.doctor.during.gradients import parameters_of, total_norm
from losskit.doctor.during.weights import Weights


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Partial(nn.Module):
    """Says itself what its parameters are."""

    def __init__(self) -> None:
        super().__init__()
        self.known, self.other = nn.Linear(2, 2), nn.Linear(2, 2)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return self.known.parameters(recurse)


def _tied() -> nn.Module:
    shared = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(shared, nn.ReLU()), shared, nn.Linear(3, 3))
    model[3].weight = model[0].weight
    model.append(nn.BatchNorm1d(3, affine=False))
    model.register_module("none", None)
    return model


@pytest.mark.parametrize("make", [network, _tied, Partial, lambda: nn.TransformerEncoderLayer(8, 2, 16), lambda: nn.LSTM(2, 3)])
def test_the_parameters_are_those_of_the_model_each_once_and_in_order(make: type[nn.Module]) -> None:
    model = make()
    assert [id(p) for p in parameters_of(model)] == [id(p) for p in model.parameters()]


def test_a_layer_that_is_put_in_later_is_found() -> None:
    model = network()
    parameters_of(model)
    model[3] = nn.Linear(24, 7)
    assert any(p is model[3].weight for p in parameters_of(model))


@pytest.mark.parametrize("mixed", [False, True])
def test_the_norm_is_that_of_torch_to_the_last_bit(mixed: bool) -> None:
    grads = [torch.randn(50, 7), torch.randn(3), torch.randn(2, 2).to(torch.float64 if mixed else torch.float32)]
    found = total_norm(grads, nn.Identity())
    assert torch.equal(found, torch.nn.utils.get_total_norm(grads))
    assert float(found) == pytest.approx(sum(float(g.double().square().sum()) for g in grads) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_step_is_as_long_as_the_difference_of_the_weights(dtype: torch.dtype) -> None:
    model = nn.Linear(30, 20).to(dtype)
    model.weight.grad, model.bias.grad = torch.ones_like(model.weight), torch.zeros_like(model.bias)
    before, old = Weights(model, torch.optim.SGD(model.parameters(), 0.1)), model.weight.detach().clone()
    with torch.no_grad():
        model.weight[:15] += 3.0
    weight, bias = before.after()
    assert weight.moved == pytest.approx(float((model.weight.detach().double() - old.double()).norm()), rel=1e-6)
    assert weight.lost == 0.25  # 5 of 20 rows stood, all had a gradient
    assert bias.moved is None


def test_a_look_calls_the_loss_no_second_time_for_each_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("losskit.doctor.before.calls._each", lambda one: asked.append(one.name))
    model = network()
    monitor = watched(model, torch.optim.SGD(model.parameters(), 0.1), F.cross_entropy, batches(25))
    assert [look.supervised for look in monitor._looks.kept] == [32, 32, 32]
    assert asked == ["cross_entropy"]  # the first step's own call, as the rules are shown it


def test_rows_that_are_ignored_are_not_counted_and_have_no_share() -> None:
    given = [(x, y.where(torch.arange(len(y)) % 4 > 0, -100)) for x, y in batches(12)]
    last = watched(model := network(), torch.optim.SGD(model.parameters(), 0.1), F.cross_entropy, given)._looks.kept[-1]
    _, y = given[10]
    assert last.supervised == 24  # of 32
    assert last.true == tuple((torch.bincount(y[y >= 0], minlength=CLASSES).double() / 24).tolist())
    assert sum(last.predicted) == pytest.approx(1.0)


@pytest.mark.parametrize(("small", "following"), [(10**6, 200), (10, 100 + 125)])
def test_looks_at_a_large_model_are_counted_from_the_first(monkeypatch: pytest.MonkeyPatch, small: int, following: int) -> None:
    monkeypatch.setattr(looks, "SMALL", small)
    found = Monitor(network(), sinks=())._looks
    found._spent, found._clock = 1.0, (0, time.perf_counter() - 101.0)  # a look of 1 s, then 100 steps of 1 s
    found._schedule(100)
    assert found.next == pytest.approx(following, abs=2)  # 1 s is 0.8 % of 125 s


def test_the_rules_are_there_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("losskit.doctor.during.live.rules", lambda: asked.append(True))
    model = network()
    with Monitor(model, torch.optim.SGD(model.parameters(), 0.1), sinks=()):
        assert asked == [True]
