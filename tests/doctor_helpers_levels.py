"""Calls as the spy sees them, runs from a list of losses, and what the rules about levels and logs say of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.doctor.before.spy import Spy
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.calls import Level, LossCall
from losskit.doctor.evidence.run import Kind, Reading, Run, Series
from losskit.doctor.examine import examine
from losskit.doctor.finding import Finding

CODES = ("D214", "D215", "D401", "D402", "D403", "D404", "D405", "D606", "D702", "D703", "D804")
LOG_CODES = ("D901", "D902", "D903", "D904", "D905")


def called(loss: Callable[[], Tensor]) -> LossCall:
    """The one call of a loss."""
    with Spy() as spy:
        value = loss()
    (call,) = spy.finish(value.mean())
    return call


def level(levels: tuple[Level, ...], kind: str) -> Level:
    (found,) = [one for one in levels if one.kind == kind]
    return found


def kinds(levels: tuple[Level, ...]) -> set[str]:
    return {one.kind for one in levels}


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def noisy(mean: float, count: int = 400, noise: float = 0.02, seed: int = 0) -> Tensor:
    return mean + noise * torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def curve(values: Tensor, kind: Kind = "train_loss", *, every: int = 1, name: str = "") -> Series:
    return Series(name or kind, kind, torch.arange(len(values)) * every, values.double(), every)


def a_run(values: Tensor, *others: Series, every: int = 1, kind: Kind = "train_loss", name: str = "loss", **more: Any) -> Run:
    reading = more.pop("reading", Reading("jsonl"))
    return Run("run", (curve(values, kind, every=every, name=name), *others), reading, **more)


def told(run: Run, phase: Any = "after", only: tuple[str, ...] = CODES, **settings: Any) -> tuple[Finding, ...]:
    found, faults = examine(Evidence(phase, Settings(**settings), run=run), codes=only)
    assert not faults
    return found


def before(*calls: LossCall, total: float | None = None, **settings: Any) -> tuple[Finding, ...]:
    found, faults = examine(Evidence("before", Settings(**settings), calls=calls, total=total), codes=CODES)
    assert not faults
    return found


def codes(found: tuple[Finding, ...]) -> list[str]:
    return [one.code for one in found]
