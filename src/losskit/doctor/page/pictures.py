"""What the charts of a report show, as plain numbers: few points of a long curve, its levels, events and findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...evaluate.page.pictures import numbers
from ..evidence.run import Kind, Run, Series
from ..finding import Finding
from ..report import Case
from .thin import thin

__all__ = ["curves"]

POINTS = 1500  # of a curve: more are narrower than a pixel

Chart = dict[str, Any]
_MORE: tuple[tuple[Kind, str], ...] = (("lr", "learning rate"), ("grad_norm", "gradient norm"), ("loss_scale", "loss scale"))


def curves(case: Case) -> dict[str, Chart]:
    """The losses with levels, events and pins; then learning rate, gradient norm and loss scale where there are some."""
    run = case.run
    if run is None:
        return {}
    losses = [s for s in (*run.of("train_loss")[:2], *run.of("eval_loss")[:2]) if len(s.finite()) > 1]
    found = {"loss": _losses(case, run, losses)} if losses else {}
    for kind, title in _MORE:
        series = run.main(kind)
        if series is not None and len(series.finite()) > 1:
            bare: Chart = {"title": title, "marks": [], "events": [], "pins": []}
            found[kind] = {**bare, "traces": [_trace(series)], "log": _log([series])}
    return found


def _losses(case: Case, run: Run, losses: Sequence[Series]) -> Chart:
    values = torch.cat([s.finite().values for s in losses])
    low, high = float(values.min()), float(values.max())
    span = (high - low) or abs(high) or 1.0
    levels = [one for one in case.pictured if low - 0.3 * span <= one.value <= high + 0.3 * span]
    broken = [int(s.steps[~torch.isfinite(s.values)][0]) for s in losses if not bool(torch.isfinite(s.values).all())]
    pinned = {f.hit.step for top in case.findings for f in (top, *top.consequences)}
    events = [*run.events, *((step, "first value that is not finite") for step in broken[:1] if step not in pinned)]
    return {
        "title": "loss",
        "traces": [_trace(one) for one in losses],
        "marks": [{"value": one.value, "label": one.name} for one in levels],
        "events": [{"step": step, "label": text} for step, text in events],
        "pins": _pins(case.findings, losses[0]),
        "log": _log(losses),
    }


def _trace(series: Series) -> Chart:
    steps, values = thin(series, POINTS)
    return {"name": series.name, "x": steps.tolist(), "y": numbers(values.tolist()), "eval": series.kind == "eval_loss"}


def _log(series: Sequence[Series]) -> bool:
    """Whether the values span so much that only a logarithmic axis shows them."""
    values = torch.cat([s.finite().values for s in series])
    return bool((values > 0).all()) and float(values.max()) > 50 * float(values.median()) > 0


def _pins(findings: Sequence[Finding], series: Series) -> list[Chart]:
    """Each finding at its step, on the curve."""
    flat = [f for top in findings for f in (top, *top.consequences) if f.hit.step is not None and f.severity != "info"]
    return [
        {"x": f.hit.step, "y": _at(series.steps, series.values, f.hit.step or 0), "label": f.code, "severity": f.severity}
        for f in flat
    ]


def _at(steps: Tensor, values: Tensor, step: int) -> float | None:
    """The curve at a step: the last number before it, or the first after it."""
    known = torch.isfinite(values)
    steps, values = steps[known], values[known]
    if not len(steps):
        return None
    at = max(0, int(torch.searchsorted(steps, step, right=True)) - 1)
    value = float(values[at])
    return value if math.isfinite(value) else None
