"""What stands between a step that is not finite and the weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from losskit.doctor.during.guard import Guard, honours_found_inf

FUSED = [
    lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    lambda p: torch.optim.Adagrad(p, lr=0.1, fused=True),
]
NAMES = ["AdamW", "Adam", "SGD", "Adagrad"]


def model() -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(3, 2)
    for p in made.parameters():
        p.grad = torch.ones_like(p)
    return made


def spoil(one: nn.Linear) -> None:
    one.weight.grad = torch.full_like(one.weight, math.nan)


def state_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [v.clone() for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]


# found_inf is an undocumented contract of torch's scaler and its fused optimizers: a new torch must be seen to keep it
@pytest.mark.parametrize("make", FUSED, ids=NAMES)
def test_fused_optimizers_leave_out_a_step_whose_flag_is_set(make: Any) -> None:
    one = model()
    optimizer = make(one.parameters())
    guard = Guard(optimizer, one)
    assert guard.honours
    optimizer.step()
    before, state = one.weight.detach().clone(), state_of(optimizer)
    spoil(one)
    assert guard.arm(torch.tensor(True))
    optimizer.step()
    assert torch.equal(one.weight, before)
    assert all(torch.equal(a, b) for a, b in zip(state, state_of(optimizer), strict=True))
    assert guard.skipped == 1
    assert not guard.poisoned


@pytest.mark.parametrize("make", FUSED, ids=NAMES)
def test_fused_optimizers_step_where_the_flag_is_not_set(make: Any) -> None:
    one, other = model(), model()
    optimizer, plain = make(one.parameters()), make(other.parameters())
    guard = Guard(optimizer, one)
    assert guard.arm(torch.zeros(1))
    optimizer.step()
    plain.step()
    assert torch.equal(one.weight, other.weight)
    assert not torch.equal(one.weight, model().weight)
    assert guard.skipped == 0


def test_a_flag_holds_for_one_step_only() -> None:
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, fused=True)
    guard = Guard(optimizer, one)
    guard.arm(torch.tensor(1.0))
    optimizer.step()
    assert not hasattr(optimizer, "found_inf")
    before = one.weight.detach().clone()
    optimizer.step()
    assert torch.allclose(one.weight, before - 0.1)


def test_a_flag_without_a_step_can_be_taken_back() -> None:
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, fused=True)
    guard = Guard(optimizer, one)
    guard.arm(torch.tensor(1.0))
    guard.disarm()
    optimizer.step()
    assert not torch.equal(one.weight, model().weight)
    assert guard.skipped == 0


def test_an_optimizer_that_is_not_fused_says_so() -> None:
    one = model()
    optimizer = torch.optim.Adam(one.parameters())
    guard = Guard(optimizer, one)
    assert not honours_found_inf(optimizer)
    assert not guard.arm(torch.tensor(True))
    assert not hasattr(optimizer, "found_inf")


def test_the_flag_of_a_gradient_scaler_is_left_alone() -> None:
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, fused=True)
    guard = Guard(optimizer, one)
    theirs = torch.zeros(())
    optimizer.found_inf = theirs
    assert not guard.arm(torch.tensor(True))
    assert optimizer.found_inf is theirs
    optimizer.step()
    assert optimizer.found_inf is theirs
    assert torch.allclose(one.weight, model().weight - 0.1)


def test_a_gradient_scaler_works_beside_an_armed_guard() -> None:
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, fused=True)
    guard = Guard(optimizer, one)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for bad in (False, True):
        before = one.weight.detach().clone()
        optimizer.zero_grad()
        scaler.scale(one(torch.full((1, 3), math.inf if bad else 1.0)).sum()).backward()
        guard.arm(torch.tensor(bad))
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(one.weight, before) == bad
        assert not hasattr(optimizer, "found_inf")


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_snapshot_brings_weights_and_state_back(on_disk: bool, tmp_path: Path) -> None:
    one = model()
    optimizer = torch.optim.Adam(one.parameters(), lr=0.1)
    guard = Guard(optimizer, one, path=tmp_path / "good.pt" if on_disk else None)
    optimizer.step()
    weight, state = one.weight.detach().clone(), state_of(optimizer)
    assert guard.snapshot(5)
    optimizer.param_groups[0]["lr"] = 7.0
    spoil(one)
    optimizer.step()
    assert guard.poisoned
    assert not guard.snapshot(6)  # the good one stays
    assert guard.restore() == 5
    assert torch.equal(one.weight, weight)
    assert all(torch.equal(a, b) for a, b in zip(state, state_of(optimizer), strict=True))
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not guard.poisoned
    one.weight.grad = torch.ones_like(one.weight)
    optimizer.step()
    assert not torch.equal(one.weight, weight)


def test_a_snapshot_before_the_first_step_forgets_the_state() -> None:
    one = model()
    optimizer = torch.optim.Adam(one.parameters())
    guard = Guard(optimizer, one)
    guard.snapshot(0)
    optimizer.step()
    guard.restore()
    assert not optimizer.state


def test_a_state_that_is_poisoned_vetoes_a_checkpoint() -> None:
    one = model()
    optimizer = torch.optim.Adam(one.parameters())
    guard = Guard(optimizer, one)
    optimizer.step()
    assert not guard.poisoned
    optimizer.state[one.bias]["exp_avg"][0] = math.inf
    assert guard.poisoned


def test_masks_in_buffers_are_not_poison() -> None:
    one = model()
    one.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
    assert not Guard(torch.optim.SGD(one.parameters(), lr=0.1), one).poisoned


def test_restoring_nothing_says_what_to_do() -> None:
    one = model()
    with pytest.raises(RuntimeError, match="call snapshot"):
        Guard(torch.optim.SGD(one.parameters(), lr=0.1), one).restore()


def test_a_closed_guard_leaves_the_optimizer_as_it_was() -> None:
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, fused=True)
    hooks = len(optimizer._optimizer_step_post_hooks)
    guard = Guard(optimizer, one)
    guard.arm(torch.tensor(True))
    guard.close()
    assert len(optimizer._optimizer_step_post_hooks) == hooks
    assert not hasattr(optimizer, "found_inf")
