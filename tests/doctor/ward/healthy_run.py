"""One healthy run: checked before, watched during, and diagnosed from the log that it leaves."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from losskit.doctor import Finding, Monitor, Report, check, diagnose
from losskit.doctor.step import Step

__all__ = ["HEALTHY", "PHASES", "SEEDS", "Training", "alarms", "healthy", "looked_at"]

PHASES = ("before", "during", "after")
SEEDS = range(5)
HEALTHY: dict[str, Callable[[], Training]] = {}
"""Makers of the runs by name; what they draw comes from torch's generator, seeded by the caller."""
Row = dict[str, float]


@dataclass
class Training:
    """Everything that a training script has in its hands."""

    model: nn.Module
    batch: Callable[[int], Any]
    """The batch of a step."""
    optimizer: Any
    loss_fn: Callable[..., Any] | None = None
    loss: Callable[[nn.Module, Any], Any] | None = None
    """``loss(model, batch)`` in place of ``loss_fn``."""
    steps: int = 300
    scheduler: Any = None
    scaler: Any = None
    evaluate: Callable[[nn.Module], Any] | None = None
    """The evaluation's loss, in eval mode and without gradients."""
    evaluate_every: int = 30
    patience: int | None = None
    """Evaluations without a new best after which the run stops."""
    clip: float | None = None
    accumulate: int = 1
    objective: Any = None
    task: str | None = None
    from_scratch: bool | None = True
    facts: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[tuple[int, str], ...] = ()
    log_every: int = 1
    """Steps whose mean is one point of the log."""
    smooth: float = 0.0
    """Weight of the past in an exponential mean that is logged in place of the loss."""
    before_step: Callable[[int], AbstractContextManager[Any] | None] | None = None
    """What the loop does besides at each step: another network's turn, a save and a load."""


def healthy(make: Callable[[], Training]) -> Callable[[], Training]:
    """Enter a run into the list."""
    HEALTHY[make.__name__] = make
    return make


def looked_at(name: str, seed: int, folder: Path) -> dict[str, Report]:
    """A run through all three phases."""
    torch.manual_seed(seed)
    run = HEALTHY[name]()
    before = check(
        run.model,
        run.batch(0),
        run.loss_fn,
        run.optimizer,
        step=run.loss,
        scheduler=run.scheduler,
        scaler=run.scaler,
        task=run.task,
        from_scratch=run.from_scratch,
        objective=run.objective,
        accumulate=run.accumulate,
        seed=seed,
    )
    monitor = Monitor(
        run.model,
        run.optimizer,
        run.loss_fn,
        step=run.loss,
        sinks=(),
        objective=run.objective,
        accumulate=run.accumulate,
        scaler=run.scaler,
        from_scratch=run.from_scratch,
        facts={**run.facts, "max_steps": run.steps},
        events=run.events,
    )
    with monitor:
        rows = _train(run, monitor)
    log = _write(rows, folder / f"{name}-{seed}", seed, run)
    refs = run.facts if seed in (2, 4) else None
    after = diagnose(log, refs=refs, events=run.events, objective=run.objective)
    return {"before": before, "during": monitor.report(), "after": after}


def _train(run: Training, monitor: Monitor) -> list[Row]:
    """The loop that everybody writes."""
    step, rows, seen, mean = Step(run.model, run.loss_fn, run.loss), [], [], math.nan
    best, waited = math.inf, 0
    for at in range(run.steps):
        with (run.before_step(at) if run.before_step else None) or nullcontext():
            run.optimizer.zero_grad()
            total = 0.0
            for micro in range(run.accumulate):
                batch = run.batch(at * run.accumulate + micro)
                loss = step(batch)
                scaled = loss / run.accumulate
                (scaled if run.scaler is None else run.scaler.scale(scaled)).backward()
                if micro == run.accumulate - 1 and run.clip is not None:
                    if run.scaler is not None:
                        run.scaler.unscale_(run.optimizer)
                    norm = float(nn.utils.clip_grad_norm_(run.model.parameters(), run.clip))
                else:
                    norm = math.nan
                monitor.step(loss, batch=batch)
                total += float(loss.detach()) / run.accumulate
            rate = run.optimizer.param_groups[0]["lr"]
            _step(run)
        mean = total if math.isnan(mean) else run.smooth * mean + (1 - run.smooth) * total
        seen.append(mean)
        row: Row = {}
        if (at + 1) % run.log_every == 0:
            row = {"loss": sum(seen) / len(seen), "lr": rate}
            seen = []
            if not math.isnan(norm):
                row["grad_norm"] = norm
        if run.evaluate is not None and (at + 1) % run.evaluate_every == 0:
            row["eval_loss"] = value = _evaluated(run)
            monitor.evaluated(value)
            best, waited = (value, 0) if value < best else (best, waited + 1)
        if row:
            rows.append({"step": at + 1, **row})
        if run.patience is not None and waited > run.patience:
            break
    return rows


def _step(run: Training) -> None:
    if run.scaler is None:
        run.optimizer.step()
    else:
        run.scaler.step(run.optimizer)
        run.scaler.update()
    if run.scheduler is not None:
        run.scheduler.step()


def _evaluated(run: Training) -> float:
    training = run.model.training
    run.model.eval()
    with torch.no_grad():
        value: Tensor = run.evaluate(run.model)
    run.model.train(training)
    return float(value)


def _write(rows: list[Row], folder: Path, seed: int, run: Training) -> Path:
    """The log as different people keep it: one format for each seed."""
    folder.mkdir(parents=True)
    if seed == 1:
        return _csv(rows, folder / "metrics.csv")
    if seed == 2:
        return _trainer_state(rows, folder, run)
    if seed == 3:
        return _printed(rows, folder / "train.log")
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _csv(rows: list[Row], path: Path) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _trainer_state(rows: list[Row], folder: Path, run: Training) -> Path:
    """As the Trainer of transformers saves it."""
    history: list[dict[str, float]] = []
    for row in rows:
        if "loss" in row:
            named = {"learning_rate": row["lr"], "loss": row["loss"]} | {k: row[k] for k in ("grad_norm",) if k in row}
            history.append({"epoch": row["step"] / 100, **named, "step": row["step"]})
        if "eval_loss" in row:
            history.append({"epoch": row["step"] / 100, "eval_loss": row["eval_loss"], "step": row["step"]})
    state = {
        "global_step": rows[-1]["step"],
        "max_steps": run.steps,
        "logging_steps": run.log_every,
        "log_history": history,
        "is_world_process_zero": True,
    }
    place = folder / f"checkpoint-{int(rows[-1]['step'])}"
    place.mkdir()
    (place / "trainer_state.json").write_text(json.dumps(state))
    return folder


def _printed(rows: list[Row], path: Path) -> Path:
    """As a loop prints it, four digits."""
    lines = ["starting\n"]
    for row in rows:
        if "loss" in row:
            lines.append(f"step {int(row['step'])} | loss: {row['loss']:.4f} | lr: {row['lr']:.3e}\n")
        if "eval_loss" in row:
            lines.append(f"step {int(row['step'])} | val_loss: {row['eval_loss']:.4f}\n")
    path.write_text("".join(lines))
    return path


def alarms(report: Report) -> list[Finding]:
    """Errors and warnings, those that are folded away included."""
    flat = [one for top in report.findings for one in (top, *top.consequences)]
    return [one for one in flat if (one.hit.severity or one.rule.severity) != "info"]
