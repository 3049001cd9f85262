"""Whether one batch can be learned by heart: with Adam 1e-3, and with the user's own optimizer."""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..evidence.overfit import Anew, Attempt, Overfit
from ..step import Step
from .draws import other_draw
from .entries import entries, has_rows, loss_of, modes_kept, same_randomness, spread_samples, without_dropout
from .modes import mixed_modes
from .optimizers import inner_optimizer

__all__ = ["contradiction", "described", "falls_surely", "overfit_one_batch", "progress", "verdict"]

MOST_STEPS = 200
MOST_SAMPLES = 32
_WAY = 0.1  # learned: a tenth of the way from the floor to the start is left
_LONG = 20  # steps of half a trial, before its two halves are compared
_STEADY = 0.9  # share of the steps that go down; of noise half of them do
_SLOWER = 0.5  # of the fall of the first half: what comes to rest at a level falls far less in the second
_VISIBLE = 1e-3  # of the start: less may be a drift within float32 and half precision
Way: TypeAlias = tuple[Callable[[list[Tensor]], Any], str, float]
"""An optimizer of these parameters, its name, and the norm to clip gradients to (0: not)."""
_WARM_UP = 100  # steps from a scheduler's first rate to the rate it was made for


def overfit_one_batch(
    step: Step,
    batch: Any,
    optimizer: Optimizer | None,
    *,
    floor: float = 0.0,
    budget_s: float = 20.0,
    seed: int = 0,
) -> Overfit:
    """Train on a few samples alone, dropout off, the same random numbers at every step.

    Adam at 1e-3 tries first, then at 1e-4 if that got nowhere; the user's optimizer as it is, then with gradients
    clipped to 1 if that got nowhere. Weights, buffers, gradients and modes are left as they were.
    """
    began = time.perf_counter()
    few, samples = _few(step, batch, seed)
    floor = max(floor, contradiction(few)) if math.isfinite(floor) else contradiction(few)
    with same_start(step, optimizer):
        start = loss_of(step, few, seed)
    task = _Task(step, optimizer, few, floor, floor + _WAY * (start - floor), seed)
    adams = [(partial(_Master, rate=rate), name, 0.0) for rate, name in ((1e-3, "Adam 1e-3"), (1e-4, "Adam 1e-4"))]
    adam = task.best(adams, began + budget_s * (0.5 if optimizer else 1))
    own, plain = (None, None) if optimizer is None else _own(task, optimizer, began + budget_s)
    anew = _anew(task, adams[:1], start, began + budget_s) if adam.reached else None
    tried = [one for one in (own, adam) if one is not None]
    late = any(not one.reached and one.steps < MOST_STEPS and math.isfinite(one.losses[-1]) for one in tried)
    numbers = sum(p.numel() for p in task.parameters())
    return Overfit(samples, start, floor, task.target, own, adam, late, numbers, _labels(few), plain, anew)


def _anew(task: _Task, ways: Sequence[Way], start: float, until: float) -> Anew | None:
    """Trained with new random numbers at every step, where they change the loss and not what the model puts out."""
    with same_start(task.step, task.optimizer):
        other = other_draw(task.step, task.batch, task.seed, start)
    if other is None or time.perf_counter() > until:
        return None
    attempt = replace(task, anew=True).best(ways, until)
    return None if attempt.steps < MOST_STEPS and not attempt.reached else Anew((start, other.loss), attempt, other.constant)


def _own(task: _Task, optimizer: Optimizer, until: float) -> tuple[Attempt, Attempt | None]:
    """The user's optimizer; with gradients clipped where that alone makes it learn, as loops with recurrent nets do.

    Then the trial without is the second one.
    """

    def twin(_parameters: list[Tensor]) -> Optimizer:
        return _twin(optimizer)

    name = described(optimizer)
    plain = task.best([(twin, name, 0.0)], until)
    if plain.reached or progress(plain.losses, task.floor) > _WAY or time.perf_counter() > until:
        return plain, None
    clipped = task.best([(twin, f"{name}, gradients clipped to 1", 1.0)], until)
    return (clipped, plain) if progress(clipped.losses, task.floor) > 0.5 else (plain, None)


@dataclass(frozen=True)
class _Task:
    step: Step
    optimizer: Optimizer | None
    batch: Any
    floor: float
    target: float
    seed: int
    anew: bool = False
    """Whether each step has random numbers of its own."""

    def best(self, ways: Iterable[Way], until: float) -> Attempt:
        """The first way that gets anywhere, else the one that got farthest; each in the time that is left."""
        tried: list[Attempt] = []
        for make, name, clip in ways:
            if tried and time.perf_counter() > until:
                break
            with same_start(self.step, self.optimizer):
                tried.append(self._attempt(make(self.parameters()), name, clip, until))
            if tried[-1].reached or progress(tried[-1].losses, self.floor) > 0.1:
                break
        return max(tried, key=lambda one: (one.reached, progress(one.losses, self.floor)))

    def parameters(self) -> list[Tensor]:
        """What can be trained: the model's, the criterion's, and what else the optimizer holds."""
        loss_fn = self.step.loss_fn
        found = [*self.step.model.parameters(), *(loss_fn.parameters() if isinstance(loss_fn, nn.Module) else ())]
        found += [p for group in (self.optimizer.param_groups if self.optimizer else ()) for p in group["params"]]
        return list({id(p): p for p in found if p.requires_grad}.values())

    def _attempt(self, trainer: Any, name: str, clip: float, until: float) -> Attempt:
        losses: list[float] = []
        parameters = self.parameters()

        def loss_with_gradients() -> Tensor:
            for p in parameters:
                p.grad = None
            with torch.enable_grad(), same_randomness(self.seed + self.anew * len(losses)):
                loss = self.step(self.batch)
            losses.append(float(loss.detach()))
            if math.isfinite(losses[-1]):
                torch.autograd.backward(loss)
                if clip:
                    nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], clip)
            return loss

        warm_up = _warm_up(trainer)
        asks = isinstance(trainer, torch.optim.LBFGS)  # evaluates the loss itself
        while len(losses) <= MOST_STEPS:
            loss_with_gradients()
            if not math.isfinite(losses[-1]) or losses[-1] <= self.target or time.perf_counter() > until:
                break
            warm_up(len(losses))
            trainer.step(loss_with_gradients) if asks else trainer.step()
        return Attempt(name, tuple(losses), len(losses) - 1, losses[-1] <= self.target)


def progress(losses: Sequence[float], floor: float) -> float:
    """Which share of the way from the start to the floor was made, by the median of the last tenth; below 0 it went up."""
    start, late = losses[0], sorted(losses[-max(1, len(losses) // 10) :])
    end = late[len(late) // 2]
    if not math.isfinite(end) or not math.isfinite(losses[-1]):
        return float("-inf")
    return (start - end) / max(start - floor, 1e-12)


def verdict(found: Overfit, tried: Attempt) -> str:
    """In words: how many samples were learned by heart, which any sound model can, or how far it came."""
    first, last = tried.losses[0], tried.losses[-1]
    made = progress(tried.losses, found.floor)
    if tried.reached:
        said = "are learned by heart, as they should be"
    elif tried.steps < MOST_STEPS and math.isfinite(last):
        said = "are not learned by heart before the time ran out"
    else:
        said = f"are learned by heart in part ({made:.0%} of the way)" if made >= _WAY else "are not learned by heart"
    return f"{found.samples} samples {said}, with {tried.optimizer}: loss {first:.4g} to {last:.4g} in {tried.steps} steps"


def falls_surely(losses: Sequence[float]) -> bool:
    """Whether it still came down at the end as it did at first: slow, but nothing is in its way."""
    middle = len(losses) // 2
    if middle < _LONG or not all(map(math.isfinite, losses)):
        return False
    first, second = losses[0] - losses[middle], losses[middle] - losses[-1]
    down = sum(b < a for a, b in pairwise(losses)) / (len(losses) - 1)
    return down >= _STEADY and second > _SLOWER * first > 0 and first + second > _VISIBLE * abs(losses[0])


@contextmanager
def same_start(step: Step, optimizer: Optimizer | None) -> Generator[None, None, None]:
    """Train mode without dropout; weights, gradients, buffers and modes come back."""
    task = _Task(step, optimizer, None, 0.0, 0.0, 0)
    kept = [(p, p.detach().clone(), p.grad) for p in task.parameters()]
    frozen = mixed_modes(step.model) if step.model.training else ()
    try:
        with modes_kept(step.model):
            step.model.train()
            without_dropout(step.model)
            for name in frozen:
                step.model.get_submodule(name).eval()
            yield
    finally:
        with torch.no_grad():
            for p, value, grad in kept:
                p.copy_(value)
                p.grad = grad


def _few(step: Step, batch: Any, seed: int) -> tuple[Any, int]:
    """At most 32 samples, unless the batch only makes sense whole: then its loss fails, or is another one."""
    few, samples = spread_samples(batch, MOST_SAMPLES)
    if few is batch:
        return batch, samples
    with same_start(step, None):
        whole = loss_of(step, batch, seed)
        try:
            part = loss_of(step, few, seed)
        except (RuntimeError, ValueError, TypeError, IndexError):
            part = float("nan")
    if abs(part - whole) <= 0.5 * abs(whole):
        return few, samples
    return batch, max(len(tensor) for _, tensor in entries(batch))


def _labels(batch: Any) -> int:
    """How many numbers the targets are: those called so, else the last entry."""
    found = entries(batch)
    named = [tensor.numel() for path, tensor in found if path.startswith(("label", "target"))]
    return max(named, default=found[-1][1].numel() if found else 0)


def contradiction(batch: Any) -> float:
    """Mean entropy of the classes of samples that are the same: no model tells them apart. 0 without class indices."""
    found = [tensor for _, tensor in entries(batch)]
    if not has_rows(batch):
        return 0.0
    if len(found) < 2 or found[-1].is_floating_point() or found[-1].dim() != 1 or any(len(t) != len(found[-1]) for t in found):
        return 0.0
    n = len(found[-1])
    rows = torch.cat([t.detach().reshape(n, -1).double().cpu() for t in found[:-1]], 1)
    same = rows.unique(dim=0, return_inverse=True)[1]
    pairs, counts = torch.stack((same, found[-1].cpu().long())).unique(dim=1, return_counts=True)
    shares = counts / same.bincount()[pairs[0]]
    return float(-(counts * shares.double().log()).sum() / n)


def described(optimizer: Optimizer) -> str:
    """Class and learning rates: "SGD, lr 0.01"."""
    rates = sorted({float(group.get("lr", float("nan"))) for group in optimizer.param_groups})
    return f"{type(inner_optimizer(optimizer)).__name__}, lr {' and '.join(f'{rate:g}' for rate in rates)}"


def _twin(optimizer: Optimizer) -> Optimizer:
    """The same class, settings and state for the same parameters, without hooks; the original is not touched."""
    inner: Optimizer = inner_optimizer(optimizer)
    twin: Optimizer = object.__new__(type(inner))
    vars(twin).update(vars(inner))  # copy() keeps only what is pickled
    twin.state = defaultdict(dict, {p: copy.deepcopy(state) for p, state in inner.state.items()})
    twin.param_groups = [dict(group) for group in inner.param_groups]
    for name, value in vars(inner).items():
        if name.endswith("_hooks"):
            setattr(twin, name, type(value)())
    for name in ("step", "found_inf", "grad_scale"):  # schedulers count steps, scalers and guards veto them
        vars(twin).pop(name, None)
    return twin


def _warm_up(trainer: Any) -> Callable[[int], None]:
    """Up to the rate that a scheduler was made for, from that of its warm-up."""
    groups = [
        g for g in getattr(trainer, "param_groups", ()) if isinstance(g.get("lr"), float) and g.get("initial_lr", 0) > g["lr"]
    ]
    ends = [(group, group["lr"], group["initial_lr"]) for group in groups]

    def warm_up(made: int) -> None:
        for group, low, high in ends:
            group["lr"] = low + (high - low) * min(1.0, made / _WARM_UP)

    return warm_up


class _Master:
    """Adam on copies in float32 where the weights are in half precision, whose updates would be lost."""

    def __init__(self, parameters: list[Tensor], rate: float) -> None:
        half = (torch.float16, torch.bfloat16)
        self.pairs = [(p, p.detach().float().clone() if p.dtype in half else p.detach()) for p in parameters]
        self.optimizer = torch.optim.Adam([master for _, master in self.pairs], lr=rate)

    def step(self) -> None:
        with torch.no_grad():
            for p, master in self.pairs:
                grad = p.grad
                master.grad = None if grad is None else (grad.to_dense() if grad.is_sparse else grad).to(master.dtype)
            self.optimizer.step()
            for p, master in self.pairs:
                if p.dtype != master.dtype:
                    p.copy_(master)
