"""The origin behind checkpoints, custom functions, autocast, compiled models, lists of weights and batches of any make."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from doctor_causes import (
    IN,
    C,
    N,
    batch,
    found,
    line,
    net,
    optimizer,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from losskit.doctor.during.replay import replay
from losskit.doctor.evidence import Evidence
from losskit.doctor.step import Step


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class MaskedOutput(nn.Module):
    """torch.where on the output does not help the gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(IN, C)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        h = h * (h > 0)
        return torch.where(h > 0, h.sqrt(), 0.0)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.inner, self.reentrant = nn.Linear(IN, IN), MaskedOutput(), reentrant

    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.inner, self.first(x), use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_line_behind_a_checkpoint_is_found(reentrant: bool) -> None:
    before = torch.utils.checkpoint.CheckpointFunction
    seen = replay(Step(Checkpointed(reentrant), lambda output, target: output.mean()), batch())
    assert (seen.kind, seen.op, seen.module) == ("backward", "sqrt", "inner")
    assert seen.where.endswith(line(MaskedOutput, "h.sqrt()"))
    assert torch.utils.checkpoint.CheckpointFunction is before


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad / 0


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return Doubled.apply(x)


def test_a_custom_backward_is_named_with_its_line() -> None:
    seen = replay(Step(nn.Sequential(nn.Linear(IN, C), Custom()), nn.CrossEntropyLoss()), batch())
    assert (seen.kind, seen.op, seen.module) == ("backward", "doubled", "1")
    assert seen.where.endswith(line(Custom, "Doubled.apply"))


def test_a_cast_of_autocast_is_an_overflow() -> None:
    def step(model: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.float16):
            return F.cross_entropy(model(data[0] * 1e6), data[1])

    seen = replay(Step(net(), None, step), batch())
    assert (seen.op, seen.module, seen.dtype) == ("to", "0", "float16")
    assert seen.finite_in == ("float32", "float64")
    (first,) = found(Evidence("before", replay=seen))
    assert "float32" in first.fix


def test_a_target_whose_class_is_masked_is_the_fault_of_its_sample() -> None:
    def masked(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output.masked_fill(torch.tensor([False, False, True]), -math.inf), target)

    seen = replay(Step(net(), masked), (batch()[0], torch.tensor([0, 1, 0, 1, 2, 0])))
    assert (seen.op, seen.value, seen.sample, seen.masked_row) == ("nll_loss", math.inf, 4, False)


def test_weights_of_classes_from_outside_are_named_as_such() -> None:
    weight = 1 / torch.tensor([1.0, 2.0, 0.0])
    seen = replay(Step(net(), nn.CrossEntropyLoss(weight=weight)), (batch()[0], torch.tensor([0, 1, 0, 1, 2, 0])))
    assert seen.kind == "buffer"
    assert seen.name == "loss_fn.weight"

    def weighted(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target, weight=weight)

    seen = replay(Step(net(), weighted), (batch()[0], torch.tensor([0, 1, 0, 1, 2, 0])))
    assert (seen.op, seen.name) == ("nll_loss", "a tensor from outside")
    (first,) = found(Evidence("before", replay=seen))
    assert "neither in the batch nor in the model" in first.hit.said


def test_infinities_of_a_batch_are_an_input_unless_they_mask() -> None:
    x = torch.log(torch.tensor([[0.0, 1.0, 1.0, 1.0]] * N))
    seen = replay(Step(net(), nn.CrossEntropyLoss()), (x, batch()[1]))
    assert (seen.kind, seen.name, seen.value, seen.bad) == ("input", "0", -math.inf, N)


def test_the_state_of_an_optimizer_is_looked_at_first() -> None:
    model = net()
    step, data = Step(model, nn.CrossEntropyLoss()), batch()
    adam = torch.optim.Adam(model.parameters())
    step(data).backward()
    adam.step()
    adam.state[model[0].weight]["exp_avg"][0, 0] = math.nan
    seen = replay(step, data, optimizer=adam)
    assert (seen.kind, seen.name, seen.op) == ("optimizer", "exp_avg of 0.weight", "")
    (first,) = found(Evidence("before", replay=seen))
    assert "before the step" in first.hit.said


@pytest.mark.parametrize(("how", "op"), [({"foreach": True}, "addcdiv"), ({"fused": True}, "adam")])
def test_operations_on_lists_of_weights_are_seen_too(how: dict[str, bool], op: str) -> None:
    step, data, _ = optimizer()
    seen = replay(step, data, optimizer=torch.optim.Adam(step.model.parameters(), eps=0.0, **how))
    assert (seen.kind, seen.name, seen.op) == ("optimizer", "0.weight", op)


def test_a_learning_rate_that_is_nan_is_the_optimizers() -> None:
    model = net()
    seen = replay(Step(model, nn.CrossEntropyLoss()), batch(), optimizer=torch.optim.SGD(model.parameters(), lr=math.nan))
    assert (seen.kind, seen.name) == ("optimizer", "lr")
    (first,) = found(Evidence("before", replay=seen))
    assert first.code == "D302"
    assert math.isnan(first.hit.numbers["lr"])


def test_a_batch_norm_that_breaks_its_own_buffer_is_named() -> None:
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running", torch.ones(C))

        def forward(self, x: Tensor) -> Tensor:
            self.running.mul_(x.detach().var(0))  # of one value: NaN
            return x

    seen = replay(Step(nn.Sequential(nn.Linear(IN, C), Norm()), nn.CrossEntropyLoss()), tuple(t[:1] for t in batch()))
    assert (seen.kind, seen.name, seen.op) == ("buffer", "1.running", "forward pass")


def test_a_loss_that_raises_is_told_and_not_raised() -> None:
    seen = replay(Step(net(), nn.CrossEntropyLoss()), (batch()[0], torch.full((N,), C)))
    assert seen.kind == "not reproduced"
    assert "out of bounds" in seen.problem


def test_compiled_models_run_as_they_were_written() -> None:
    model = torch.compile(net(), backend="eager")
    x, y = batch()
    x[5, 0] = math.nan
    seen = (
        replay(Step(model, nn.CrossEntropyLoss()), {"x": x, "y": y})
        if False
        else replay(Step(model, nn.CrossEntropyLoss()), (x, y))
    )
    assert (seen.kind, seen.sample) == ("input", 5)


def test_batches_of_mappings_name_their_entries() -> None:
    model = net()
    x, y = batch()
    x[0, 0] = math.inf
    step = Step(model, None, lambda m, b: F.cross_entropy(m(b["features"]["x"]), b["labels"]))
    assert replay(step, {"features": {"x": x}, "labels": y}).name == "features.x"
