"""The doctor beside every demo: each training hands in its losses, and all of them are examined when the demo is done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ..doctor.evidence import Evidence, Settings
from ..doctor.evidence.run import Reading, Run, Series
from ..doctor.examine import examine
from ..doctor.finding import Finding
from ..doctor.levels import levels_of_facts

__all__ = ["Training", "Ward", "ward", "watching"]


@dataclass
class Training:
    """The curve of one training; call it with the loss of every step."""

    name: str
    models: int
    """Trained side by side: the loss is their sum, and the curve their mean."""
    facts: Mapping[str, Any]
    objective: Literal["mining"] | None
    losses: list[float] = field(default_factory=list[float])

    def __call__(self, loss: Tensor | float) -> None:
        """The loss of the next step."""
        self.losses.append(float(loss.detach() if isinstance(loss, Tensor) else loss) / self.models)

    @property
    def run(self) -> Run:
        """As the doctor reads a log."""
        values = torch.tensor(self.losses, dtype=torch.float64)
        series = Series("loss", "train_loss", torch.arange(len(values)), values)
        reading = Reading("live", points=len(values), series_seen=("loss",))
        return Run(self.name, (series,), reading, levels_of_facts(self.facts), self.facts, finished=True)

    def findings(self) -> list[Finding]:
        """Errors and warnings; what is only worth knowing is no alarm."""
        found, faults = examine(Evidence("after", Settings(objective=self.objective), run=self.run))
        if faults:
            raise RuntimeError(f"the doctor failed at {self.name}: {faults}")
        return [one for one in found if one.severity != "info"]


class Ward:
    """The trainings of one demo."""

    def __init__(self) -> None:
        self.trainings: list[Training] = []

    def findings(self) -> list[tuple[str, Finding]]:
        """What the doctor says, with the name of the training."""
        return [(one.name, found) for one in self.trainings for found in one.findings()]

    def judged(self) -> tuple[str, dict[str, float]]:
        """A sentence for the method, and the numbers behind it; nothing for a demo that trains nothing."""
        if not self.trainings:
            return "", {}
        found = self.findings()
        steps = sum(len(one.losses) for one in self.trainings)
        models = sum(one.models for one in self.trainings)
        named = "; ".join(f"{name}: {one.code}, {one.hit.said}" for name, one in found)
        sides = f", {models} models side by side" if models > len(self.trainings) else ""
        said = f"losskit.doctor read the losses of all {len(self.trainings)} trainings ({steps} steps{sides}) and " + (
            f"found: {named}." if found else "found nothing wrong."
        )
        counts = {"trainings": len(self.trainings), "steps": steps, "findings": len(found)}
        return said, {f"doctor_{name}": float(count) for name, count in counts.items()}


_ward: ContextVar[Ward | None] = ContextVar("ward", default=None)


@contextmanager
def ward() -> Generator[Ward, None, None]:
    """Every training that begins in the block is watched."""
    here = Ward()
    before = _ward.set(here)
    try:
        yield here
    finally:
        _ward.reset(before)


def watching(
    name: str | Callable[..., Tensor],
    *,
    models: int = 1,
    facts: Mapping[str, Any] | None = None,
    objective: Literal["mining"] | None = None,
) -> Training:
    """A training that begins, to be called with each step's loss.

    ``name`` may be the loss itself; ``facts`` and ``objective`` are those of :func:`losskit.doctor.diagnose`.
    """
    known = name if isinstance(name, str) else getattr(name, "__name__", "loss")
    training = Training(known, models, facts or {}, objective)
    here = _ward.get()
    if here is not None:
        here.trainings.append(training)
    return training
