"""One run in the doctor's hands: looked at before its first step, watched as it trains, and read again from its log."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..doctor.after.diagnosis import diagnose
from ..doctor.before.checkup import check
from ..doctor.during.live import Monitor
from ..doctor.evidence.calls import Level
from ..doctor.finding import Finding
from ..doctor.step import Step

__all__ = ["LOG", "Patient", "Seen", "Training", "examined"]

LOG = "log.jsonl"
EVERY = 2  # with looks each 20 steps, well within the second that they may take before they are put off
LOOK_EVERY = 20


@dataclass
class Training:
    """What a training script has in its hands."""

    model: nn.Module
    batch: Callable[[int], Any]
    """The batch of a step."""
    optimizer: torch.optim.Optimizer
    loss_fn: Callable[..., Tensor] | None = None
    loss: Callable[[nn.Module, Any], Tensor] | None = None
    """Of model and batch, in place of ``loss_fn``."""
    steps: int = 300
    rate: Callable[[int], float] | None = None
    """What the learning rate of a step is times."""
    clears: bool = True
    """Whether gradients are cleared before each step."""
    held: Any = None
    """A batch that is never learned from."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Patient:
    """A run, and what the doctor has to say of it."""

    name: str
    data: str
    done: str
    """What was done to it, in a few words; what it is for a healthy one."""
    codes: tuple[str, ...]
    """The findings that name it, any of which may come first; "" for silence."""
    make: Callable[[torch.Generator], Training]

    @property
    def key(self) -> str:
        """The name of its facts."""
        return self.make.__name__

    @property
    def healthy(self) -> bool:
        """Whether no alarm may be heard: a finding that is only worth knowing is none."""
        return self.codes in (("",), ("D404",))


class Said(NamedTuple):
    """A finding, and after how many steps it was said: -1 before the first one, one more than there are from the log."""

    finding: Finding
    step: int


class Seen(NamedTuple):
    """What the doctor said of a run, in the order in which it was said, and the curves."""

    said: list[Said]
    log: tuple[Finding, ...]
    """What losses and learning rates alone tell."""
    steps: int
    losses: list[float]
    held: dict[int, float]
    levels: tuple[Level, ...]

    @property
    def alarms(self) -> list[Said]:
        """Without what is only worth knowing."""
        return [one for one in self.said if one.finding.severity != "info"]

    def first(self) -> Said | None:
        """The first alarm, else what is worth knowing of where the loss stands at the end."""
        standing = [one for one in self.said if one.finding.code == "D404"]
        return next(iter([*self.alarms, *standing]), None)

    @property
    def code(self) -> str:
        """Of what was said first."""
        first = self.first()
        return "" if first is None else first.finding.code

    @property
    def log_code(self) -> str:
        """Of what the log alone tells first; what is only worth knowing counts where nothing else is."""
        told = [one for one in self.log if one.severity != "info" or one.code == "D404"]
        return told[0].code if told else ""

    def when(self, one: Said) -> str:
        """As people say it."""
        if one.step < 0:
            return "before the first step"
        return f"at step {one.step} of {self.steps}" if one.step <= self.steps else "from the log"


def examined(patient: Patient, seed: int = 0) -> Seen:
    """Checked, trained under watch, and diagnosed from the log, whatever was found before: nothing is repaired on the way."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # torch says of two of the runs what it says once, in a log that nobody reads: the doctor is to say it
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(seed)
        run = patient.make(torch.Generator().manual_seed(seed))
        report = check(
            run.model, run.batch(0), run.loss_fn, run.optimizer, step=run.loss, from_scratch=True, overfit=False, budget_s=600.0
        )
        said = [Said(one, -1) for one in report.findings]
        losses, held, levels = _trained(run, said)
    log = _log(run, losses, held)
    said += [Said(one, run.steps + 1) for one in log]
    return Seen(said, log, run.steps, losses, held, levels)


class _Notes:
    """A sink that is told what is only worth knowing, too."""

    everything = True

    def __init__(self, said: list[Said], losses: list[float]) -> None:
        self.said, self.losses = said, losses

    def __call__(self, one: Finding) -> None:
        self.said.append(Said(one, len(self.losses)))


def _trained(run: Training, said: list[Said]) -> tuple[list[float], dict[int, float], tuple[Level, ...]]:
    losses, held = list[float](), dict[int, float]()
    step = Step(run.model, run.loss_fn, run.loss)
    schedule = None if run.rate is None else torch.optim.lr_scheduler.LambdaLR(run.optimizer, run.rate)
    facts = {"max_steps": run.steps, **run.facts}

    with Monitor(
        run.model,
        run.optimizer,
        run.loss_fn,
        step=run.loss,
        every=EVERY,
        sinks=[_Notes(said, losses)],
        facts=facts,
        from_scratch=True,
    ) as monitor:
        for i in range(run.steps):
            batch = run.batch(i)
            if run.clears:
                run.optimizer.zero_grad()
            loss = step(batch)
            loss.backward()
            losses.append(float(loss.detach()))
            monitor.step(loss, batch=batch)
            run.optimizer.step()
            if schedule is not None:
                schedule.step()
            if run.held is not None and (i + 1) % LOOK_EVERY == 0:
                with torch.no_grad():
                    held[i + 1] = float(step(run.held))
                monitor.evaluated(held[i + 1])
    return losses, held, monitor.run.levels


def _log(run: Training, losses: list[float], held: Mapping[int, float]) -> tuple[Finding, ...]:
    """What a reader of the log alone finds."""
    base = run.optimizer.defaults["lr"]
    rates = [base * (1.0 if run.rate is None else run.rate(i)) for i in range(len(losses))]
    rows = [{"step": i, "loss": value, "lr": rate} for i, (value, rate) in enumerate(zip(losses, rates, strict=True))]
    rows += [{"step": i, "eval_loss": value} for i, value in held.items()]
    rows.sort(key=lambda row: row["step"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / LOG
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return diagnose(path, refs=run.facts).findings
