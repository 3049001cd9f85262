"""The curves of a live run, as it goes on."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..evidence.calls import Level
from ..evidence.run import Kind, Reading, Run, Series

__all__ = ["Curves"]


class Curves:
    """Points by name: 16 bytes each, so that a million steps are no burden."""

    def __init__(self) -> None:
        self._points: dict[str, tuple[Kind, array[int], array[float]]] = {}

    def add(self, name: str, kind: Kind, step: int, value: float) -> None:
        """One point; a step that was there already is overwritten if it is the last one, and left out if it is older."""
        _, steps, values = self._points.setdefault(name, (kind, array("q"), array("d")))
        if steps and step <= steps[-1]:
            if step == steps[-1]:
                values[-1] = value
            return
        steps.append(step)
        values.append(value)

    def last(self, name: str, count: int = 1) -> list[float]:
        """The newest values of a curve."""
        return self._points[name][2][-count:].tolist() if name in self._points else []

    def __len__(self) -> int:
        return sum(len(steps) for _, steps, _ in self._points.values())

    def rising(self, window: int) -> bool:
        """A cheap look for trouble: the last window's median is half as much again as that of the window before the last eleven.

        It accuses nobody; it only says that the rules should look now rather than later.
        """
        if "loss" not in self._points or len(self._points["loss"][2]) < 12 * window:
            return False
        values = self._points["loss"][2]
        now, then = sorted(values[-window:]), sorted(values[-12 * window : -11 * window])
        new, old = now[window // 2], then[window // 2]
        return math.isfinite(new) and math.isfinite(old) and new > old + 0.5 * abs(old)

    def run(
        self,
        name: str,
        *,
        levels: Sequence[Level] = (),
        facts: Mapping[str, Any] | None = None,
        events: Sequence[tuple[int, str]] = (),
        finished: bool | None = None,
    ) -> Run:
        """The curves so far."""
        series = tuple(
            Series(
                called,
                kind,
                torch.tensor(steps, dtype=torch.int64),
                torch.tensor(values, dtype=torch.float64),
            )
            for called, (kind, steps, values) in self._points.items()
        )
        reading = Reading("live", points=len(self), series_seen=tuple(self._points))
        return Run(name, series, reading, tuple(levels), dict(facts or {}), tuple(events), finished)
