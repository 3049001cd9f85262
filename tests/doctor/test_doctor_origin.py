"""Where the first value that is not finite comes from: twelve injected causes, near misses, and no trace left."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from doctor_causes import (
    IN,
    Attention,
    C,
    Case,
    Distance,
    N,
    OwnBatchNorm,
    UnitRows,
    a_feature_is_nan,
    a_label_is_infinite,
    angular_loss,
    batch,
    batch_norm_of_one,
    custom_loss,
    empty_count,
    found,
    half_precision,
    hidden_logarithm,
    initial_weights,
    line,
    log_of_softmax,
    log_of_zero,
    masked_attention,
    masked_labels,
    masked_row,
    mean_of_kept,
    net,
    optimizer,
    plain,
    root_of_zero_backward,
    zero_by_zero,
)
from torch import Tensor, nn

from losskit.doctor.during.replay import replay
from losskit.doctor.evidence import Evidence
from losskit.doctor.step import Step


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


CAUSES: dict[Callable[[], Case], tuple[str, str, dict[str, Any]]] = {
    a_feature_is_nan: ("D301", '"0"', {"kind": "input", "index": (2, 1), "sample": 2, "bad": 1, "numel": N * IN}),
    a_label_is_infinite: ("D301", '"1"', {"kind": "target", "value": math.inf, "index": (4, 0), "sample": 4}),
    log_of_zero: ("D303", "log ", {"kind": "loss", "op": "log", "value": -math.inf, "bad": N, "finite_in": ("float64",)}),
    root_of_zero_backward: ("D304", "sqrt", {"kind": "backward", "op": "sqrt", "module": "0", "sample": 3, "bad": 1}),
    zero_by_zero: ("D303", "div", {"kind": "forward", "op": "div", "module": "0", "sample": 3, "lowest_before": 0.0, "bad": C}),
    half_precision: ("D303", "float16", {"kind": "forward", "op": "matmul", "module": "0", "finite_in": ("float32", "float64")}),
    masked_row: ("D303", "masked", {"kind": "forward", "op": "softmax", "module": "attention", "masked_row": True, "sample": 1}),
    optimizer: ("D302", "addcdiv", {"kind": "optimizer", "op": "addcdiv", "name": "0.weight", "module": "0"}),
    initial_weights: ("D302", '"2.weight"', {"kind": "weight", "module": "2", "index": (1, 1), "bad": 1, "numel": 8 * C}),
    batch_norm_of_one: ("D303", "std", {"kind": "forward", "op": "std", "module": "1", "empty_count": True}),
    custom_loss: ("D303", "acos", {"kind": "loss", "op": "acos", "bad": N, "empty_count": False}),
    empty_count: ("D303", "count of 0", {"kind": "loss", "op": "div", "empty_count": True, "masked_row": False}),
}
LINES = {
    log_of_zero: line(log_of_softmax, "torch.log"),
    root_of_zero_backward: line(Distance, "sqrt()"),
    zero_by_zero: line(UnitRows, "h / h.norm"),
    masked_row: line(Attention, "scores.softmax"),
    batch_norm_of_one: line(OwnBatchNorm, "x.std"),
    custom_loss: line(angular_loss, "torch.acos"),
    empty_count: line(mean_of_kept, "keep.sum()"),
}
LOWER_THE_RATE = re.compile(r"(lower|smaller|reduce|decrease|divide)\w*\W+(\w+\W+){0,4}(learning.rate|lr\b)", re.IGNORECASE)


@pytest.mark.claim("R28")
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_each_of_twelve_causes_is_named_and_no_lower_learning_rate_advised(cause: Callable[[], Case]) -> None:
    code, word, expected = CAUSES[cause]
    step, data, optimizer = cause()
    seen = replay(step, data, optimizer=optimizer, at=7)
    assert {name: getattr(seen, name) for name in expected} == expected
    assert seen.step == 7
    if cause in LINES:
        assert seen.where.endswith(LINES[cause])
    (first,) = found(Evidence("during", replay=seen))
    assert first.code == code
    assert first.severity == "error"
    assert word in first.hit.said
    assert first.hit.numbers["bad"] == seen.bad > 0
    text = " ".join([first.hit.said, first.fix, first.cause, first.confirm])
    assert not LOWER_THE_RATE.search(text)


def test_the_pattern_for_bad_advice_knows_it() -> None:
    assert LOWER_THE_RATE.search("Lower the learning rate by 10")
    assert LOWER_THE_RATE.search("use a smaller lr")


@pytest.mark.parametrize("healthy", [masked_labels, masked_attention, hidden_logarithm, plain], ids=lambda f: f.__name__)
def test_what_is_masked_is_no_fault(healthy: Callable[[], Case]) -> None:
    step, data, optimizer = healthy()
    seen = replay(step, data, optimizer=optimizer)
    assert (seen.kind, seen.problem) == ("not reproduced", "")
    assert not found(Evidence("before", replay=seen, total=float(step(data).detach())))


def test_masked_nan_in_the_batch_does_not_hide_the_operation() -> None:
    step, data, _ = masked_labels()
    loss = step.loss_fn
    assert loss is not None
    seen = replay(Step(step.model, lambda o, t: loss(torch.log(o * 0), t)), data)
    assert (seen.kind, seen.op) == ("loss", "log")


def state(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> list[Any]:
    weights = [t.detach().clone() for t in (*model.parameters(), *model.buffers())]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()]
    held = [] if optimizer is None else [v for s in optimizer.state.values() for v in s.values()]
    groups = [] if optimizer is None else [g["lr"] for g in optimizer.param_groups]
    inner = [torch.is_anomaly_enabled(), random.getstate(), groups, hooks]
    return [*weights, *grads, *[v.clone() if isinstance(v, Tensor) else v for v in held], torch.get_rng_state(), inner]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one.nan_to_num(), other.nan_to_num())
    return bool(one == other)


@pytest.mark.parametrize("cause", [*CAUSES, plain], ids=lambda cause: cause.__name__)
def test_replay_leaves_no_trace(cause: Callable[[], Case]) -> None:
    step, data, optimizer = cause()
    step.model.add_module("norm", nn.BatchNorm1d(3))
    for p in step.model.parameters():
        p.grad = torch.full_like(p, 0.5)
    if optimizer is not None:
        optimizer.zero_grad(set_to_none=False)
        if cause is plain:
            optimizer.step()
    before = state(step.model, optimizer)
    replay(step, data, optimizer=optimizer)
    after = state(step.model, optimizer)
    assert len(before) == len(after)
    assert all(same(a, b) for a, b in zip(before, after, strict=True))


def test_random_numbers_go_on_as_if_nothing_had_been_run() -> None:
    step, data = Step(nn.Sequential(nn.Linear(IN, C), nn.Dropout(0.5)), nn.CrossEntropyLoss()), batch()
    before = torch.get_rng_state()
    replay(step, data)
    assert torch.equal(before, torch.get_rng_state())
    step(data)
    assert not torch.equal(before, torch.get_rng_state())


def test_of_two_operations_the_earlier_is_named() -> None:
    def twice(output: Tensor, target: Tensor) -> Tensor:
        return torch.log(-output.square() - 1).sum() + torch.acos(output * 0 + 2).sum()

    assert replay(Step(net(), twice), batch()).op == "log"
