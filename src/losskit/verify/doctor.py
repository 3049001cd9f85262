"""The doctor: the levels it compares with, faults that it must name, a healthy model, and that it leaves no trace."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..doctor.after.diagnosis import diagnose
from ..doctor.before.checkup import check
from ..doctor.before.keep import state_hash
from ..doctor.levels import levels_of_facts
from ..doctor.report import Report
from .claim import Claim

__all__ = ["claims"]

_GROUP = "the doctor"
_TWICE = math.log(math.e + 9) - 1  # cross-entropy of ten classes whose perfect answer goes through a softmax again
Batch = tuple[Tensor, Tensor]


def claims() -> list[Claim]:
    """What the guide of the doctor says."""
    return [*_levels(), *_named(), *_silent()]


def _level(code: str, kind: str, facts: dict[str, Any]) -> float:
    """The level of that code and kind that a run's facts give."""
    found = [one.value for one in levels_of_facts(facts) if one.kind == kind and one.code == code]
    return found[0] if found else math.nan


def _levels() -> list[Claim]:
    smooth = -(0.91 * math.log(0.91) + 9 * 0.01 * math.log(0.01))
    smoothed = {"num_classes": 10, "label_smoothing": 0.1}
    told: tuple[tuple[str, float, Callable[[], float]], ...] = (
        ("10 classes, a softmax twice: ln(e + 9) - 1", _TWICE, lambda: _level("D101", "plateau", {"num_classes": 10})),
        ("10 classes, chance: ln 10", math.log(10), lambda: _level("", "chance", {"num_classes": 10})),
        ("10 classes, label smoothing 0.1: the floor", smooth, lambda: _level("", "floor", smoothed)),
        ("50,257 tokens, chance: ln 50257", math.log(50257), lambda: _level("D804", "chance", {"vocab_size": 50257})),
        ("CLIP, 128 pairs: ln 128", math.log(128), lambda: _level("D702", "chance", {"loss": "clip_loss", "batch_size": 128})),
    )
    return [Claim(_GROUP, f"level from a run's config: {about}", truth, ours) for about, truth, ours in told]


def _batch(classes: int = 10) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 20, generator=generator), torch.arange(64) % classes


def _net(*last: nn.Module) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10), *last)


def _first(report: Report) -> str:
    """The code that comes first; "nothing" for a healthy model."""
    return next((one.code for one in report.findings if one.severity != "info"), "nothing")


def _of(
    model: nn.Module, batch: Batch, loss_fn: Callable[..., Any] | None = None, optimizer: Any = None, *, overfit: bool = False
) -> str:
    return _first(check(model, batch, loss_fn or nn.CrossEntropyLoss(), optimizer, overfit=overfit, from_scratch=True))


def _softmax_floor() -> float:
    report = check(_net(nn.Softmax(dim=1)), _batch(), nn.CrossEntropyLoss(), overfit=False)
    return float(report.findings[0].hit.numbers["floor"])


def _with_nan() -> str:
    input, target = _batch()
    input[7, 3] = math.nan
    return _of(_net(), (input, target))


def _minus(input: Tensor, target: Tensor) -> Tensor:
    return -nn.functional.cross_entropy(input, target)


def _climbs() -> str:
    model = _net()
    return _of(model, _batch(), _minus, torch.optim.SGD(model.parameters(), lr=0.1))


def _log(values: Tensor) -> str:
    """What is said first of a log of 10 classes."""
    with tempfile.TemporaryDirectory() as folder:
        rows = (json.dumps({"step": i, "loss": v}) for i, v in enumerate(values.tolist()))
        Path(folder, "log.jsonl").write_text("\n".join(rows), encoding="utf-8")
        return _first(diagnose(folder, refs={"num_classes": 10}))


def _noise() -> Tensor:
    return torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 0.02


def _named() -> list[Claim]:
    input, target = _batch()
    told: tuple[tuple[str, str, Callable[[], str]], ...] = (
        ("softmax before cross-entropy", "D101", lambda: _of(_net(nn.Softmax(dim=1)), _batch())),
        ("labels 1 to 10 of 10 classes", "D104", lambda: _of(_net(), (input, target + 1))),
        ("(64, 1) against (64,)", "D106", lambda: _of(nn.Linear(20, 1), (input, input[:, 0]), nn.MSELoss())),
        ("the optimizer of another model", "D204", lambda: _of(_net(), _batch(), None, torch.optim.SGD(_net().parameters()))),
        ("minus the loss", "D220", _climbs),
        ("one NaN in 1,280 features", "D301", _with_nan),
        ("a log that stands at ln 10", "D403", lambda: _log(math.log(10) + _noise())),
    )
    named = [Claim(_GROUP, f"named first: {about}", code, ours) for about, code, ours in told]
    floor = Claim(_GROUP, "the floor that D101 prints, 10 classes", _TWICE, _softmax_floor)
    return [floor, *named]


def _silent() -> list[Claim]:
    def healthy() -> str:
        model = _net()
        return _of(model, _batch(), None, torch.optim.AdamW(model.parameters(), lr=1e-3), overfit=True)

    def falling() -> str:
        return _log(0.3 + 2 * torch.exp(-torch.arange(1000) / 200) + _noise())

    def trace() -> str:
        model, batch = _net(), _batch()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        before = state_hash(model, optimizer, batch)
        check(model, batch, nn.CrossEntropyLoss(), optimizer)
        return "equal" if state_hash(model, optimizer, batch) == before else "not equal"

    return [
        Claim(_GROUP, "said of a healthy classifier, one batch learned by heart", "nothing", healthy),
        Claim(_GROUP, "said of a log that falls", "nothing", falling),
        Claim(_GROUP, "hash of weights, optimizer, batch and random numbers before and after a check", "equal", trace),
    ]
