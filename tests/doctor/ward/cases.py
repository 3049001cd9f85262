"""The doctor's ward: sick runs as somebody would have written them, and how each is looked at."""

from __future__ import annotations

import json
import math
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from losskit.doctor import Monitor, check, diagnose
from losskit.doctor.finding import Finding
from losskit.doctor.report import Report

__all__ = ["SICK", "Outcome", "Sick", "after", "before", "during", "examined", "json_lines", "mlp", "sick", "stream", "task"]

Batch = tuple[Tensor, Tensor]
SICK: list[Sick] = []


@dataclass(frozen=True)
class Sick:
    """One sick run, and the codes that name what is wrong with it."""

    name: str
    codes: tuple[str, ...]
    """Right as the first finding, the best of them first."""
    also: tuple[str, ...]
    """True of this run as well, but not what is wrong with it."""
    look: Callable[[], Report]


@dataclass(frozen=True)
class Outcome:
    """What the doctor said of one sick run."""

    case: Sick
    verdict: str
    """"right", "not first", "misnamed", "silent"."""
    findings: tuple[Finding, ...]
    problem: str = ""


def sick(*codes: str, also: Iterable[str] = ()) -> Callable[[Callable[[], Report]], Callable[[], Report]]:
    """Take a run into the ward under the codes that its first finding may have."""

    def register(look: Callable[[], Report]) -> Callable[[], Report]:
        SICK.append(Sick(look.__name__, codes, tuple(also), look))
        return look

    return register


def examined(case: Sick) -> Outcome:
    """Run it, ask the doctor, and judge the answer: only warnings and errors count where the fault is one."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of some of the faults by itself; whether the doctor does is the question
        report = case.look()
    found = report.findings
    problem = "; ".join(c.problem for c in report.cases if c.problem) or "; ".join(str(f) for c in report.cases for f in c.faults)
    said = [f.code for f in found]
    loud = [f.code for f in found if f.severity != "info"] or said
    everything = {f.code for top in found for f in (top, *top.consequences)}
    if loud and loud[0] in case.codes:
        verdict = "right"
    elif everything & set(case.codes):
        verdict = "not first"
    else:
        verdict = "misnamed" if [c for c in loud if c not in case.also] else "silent"
    return Outcome(case, verdict, found, problem)


# ------------------------------------------------------------------ how a run is looked at


def before(model: nn.Module, batch: Any, loss_fn: Any = None, optimizer: Any = None, **options: Any) -> Report:
    """By check(), before the training."""
    return check(model, batch, loss_fn, optimizer, **options)


def during(
    model: nn.Module,
    batches: Iterable[Any],
    loss_fn: Any,
    optimizer: torch.optim.Optimizer,
    *,
    schedule: Callable[[int], float] | None = None,
    after_backward: Callable[[], None] | None = None,
    evaluate: Callable[[], float] | None = None,
    eval_every: int = 100,
    **options: Any,
) -> Report:
    """By a Monitor around an ordinary loop."""
    with Monitor(model, optimizer, loss_fn, sinks=(), **options) as monitor:
        for step, batch in enumerate(batches):
            if schedule is not None:
                for group in optimizer.param_groups:
                    group["lr"] = schedule(step)
            optimizer.zero_grad()
            loss = loss_fn(model(batch[0]), batch[1])
            loss.backward()
            if after_backward is not None:
                after_backward()
            monitor.step(loss, batch=batch)
            optimizer.step()
            if evaluate is not None and step % eval_every == eval_every - 1:
                monitor.evaluated(evaluate())
    return monitor.report()


def after(text: str, name: str = "log.jsonl", *, refs: Mapping[str, Any] | None = None, **beside: str) -> Report:
    """From the log that it left; ``beside`` are other files of its folder, their names with "_" for ".": config_json."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run", name)
        path.parent.mkdir()
        path.write_text(text)
        for other, content in beside.items():
            path.with_name(other.replace("_", ".")).write_text(content)
        return diagnose(path.parent if beside else path, refs=refs)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# ------------------------------------------------------------------ what is trained


def mlp(features: int = 20, out: int = 10, hidden: int = 64, *last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, out), *last)


def task(rows: int = 4096, classes: int = 10, features: int = 20, apart: float = 1.2, seed: int = 7) -> Batch:
    """Clouds around the centres of classes, which overlap a little."""
    made = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, features, generator=made) * apart
    y = torch.randint(classes, (rows,), generator=made)
    return centres[y] + torch.randn(rows, features, generator=made), y


def stream(data: tuple[Tensor, ...], steps: int, size: int = 64) -> Iterator[Any]:
    """Random batches of it."""
    for _ in range(steps):
        rows = torch.randint(len(data[0]), (size,))
        yield tuple(one[rows] for one in data)


def rounded(value: float | Tensor) -> float:
    """As loggers write it."""
    value = float(value)
    return round(value, 5) if math.isfinite(value) else value
