"""A demo as a chapter of one story: the right loss beside a wrong one, the number to expect beforehand, and what the doctor said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.card import reference
from ..doctor.before.checkup import check

__all__ = ["Chapter", "Contrast", "Expected", "Look", "apart", "gain", "levels", "look", "verdict"]

LEVELS = ("start", "constant", "best", "began")
BUDGET = 60.0  # seconds of a check: so many that a busy machine leaves no probe out


@dataclass(frozen=True)
class Contrast:
    """A right way beside a wrong one on the same data, judged by one figure.

    Its numbers are facts: ``{key}_right``, ``{key}_wrong``, ``{key}_gain`` (above 0 where the right way is better) and ``{key}_spread``.
    """

    key: str
    right: str
    wrong: str
    figure: str
    over: str
    """What the spread is, e.g. "standard deviation over 10 subsamples"."""
    where: str = ""
    format: str = ".2f"
    unit: str = ""


@dataclass(frozen=True)
class Expected:
    """What ``losskit.reference(loss, ...)`` says beforehand: the facts ``{key}_start``, ``_constant``, ``_best``, those that are known.

    ``{key}_began`` is what was measured before the first step.
    """

    key: str
    loss: str
    given: str
    """What the reference was told, as code."""
    began: str = "the untrained model"


@dataclass(frozen=True)
class Look:
    """What ``losskit.doctor.check`` said of one way before its first step: "" for nothing."""

    way: str
    code: str = ""
    title: str = ""
    said: str = ""


@dataclass(frozen=True)
class Chapter:
    """What the story tells of a demo; every number of it is in the facts of the result."""

    task: str
    """As ``losskit.choose`` knows it."""
    name: str
    contrasts: Sequence[Contrast]
    expected: Expected
    looks: Sequence[Look]
    evaluation: str
    """What losskit.evaluate, or the demo's own judge, says of the trained model."""
    read: Sequence[str]
    """Where to read on: pages of the documentation, and commands."""
    told: Sequence[float] = ()
    """The targets of this demo, for an answer to them and not to the task alone."""


def gain(key: str, right: Tensor, wrong: Tensor, *, less: bool = False) -> dict[str, float]:
    """The facts of a contrast: means, and the mean and deviation of paired differences, one for each seed."""
    change = (wrong - right if less else right - wrong).double().flatten()
    spread = float(change.std()) if len(change) > 1 else 0.0
    return apart(key, float(right.double().mean()), float(wrong.double().mean()), float(change.mean()), spread)


def apart(key: str, right: float, wrong: float, change: float, spread: float) -> dict[str, float]:
    """The facts of a contrast whose difference and spread are known."""
    return {f"{key}_right": right, f"{key}_wrong": wrong, f"{key}_gain": change, f"{key}_spread": spread}


def verdict(facts: Mapping[str, float], key: str, digits: str) -> Literal["better", "worse", "tie"]:
    """Of the right way of a contrast: a difference within its own spread, both as they are printed, is a tie."""
    change, spread = (float(format(facts[f"{key}_{part}"], digits)) for part in ("gain", "spread"))
    if abs(change) <= spread:
        return "tie"
    return "better" if change > 0 else "worse"


def levels(key: str, loss: str, began: float, **known: Any) -> dict[str, float]:
    """The facts of what to expect: the levels of the card that these facts determine, and what was measured."""
    found = dict(zip(LEVELS, (*reference(loss, **known), began), strict=True))
    return {f"{key}_{level}": value for level, value in found.items() if value is not None}


def look(
    way: str,
    make: Callable[[], nn.Module],
    batch: Any,
    loss: Callable[..., Tensor] | None = None,
    *,
    step: Callable[[Any, Any], Tensor] | None = None,
    trained: bool = False,
) -> Look:
    """Ask the doctor about a loss before the first step; what is only worth knowing is no alarm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        report = check(model, batch, loss, optimizer, step=step, from_scratch=not trained, overfit=False, budget_s=BUDGET)
    first = next((one for one in report.findings if one.severity != "info"), None)
    return Look(way) if first is None else Look(way, first.code, first.rule.name, first.hit.said)
