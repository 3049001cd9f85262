"""What a checkup measured, in words for a person."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from ..evidence.calls import LossCall
from ..evidence.wiring import Wiring

__all__ = ["listed", "measured", "said_by", "some"]

_NAMED = 3  # of many names in one sentence
_LONG = 300  # letters of an error
_PACKAGES = ("site-packages", "dist-packages", str(Path(__file__).parent.parent))


def measured(seen: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The facts of a case: the loss, what it should be at the start, and how much there is to train."""
    facts: dict[str, Any] = {}
    if "total" in seen:
        facts["loss"] = seen["total"]
    chances = [(call, level) for call in seen.get("calls", ()) for level in call.levels if level.kind == "chance"]
    if chances:
        facts["expected of fresh weights"] = "; ".join(dict.fromkeys(f"{level.value:.4g} ({level.name})" for _, level in chances))
    batch = seen.get("batch")
    if batch is not None:
        facts["samples"] = batch.samples
    wiring: Wiring | None = seen.get("wiring")
    if wiring is not None:
        own = [p for p in wiring.parameters if p.home != "other"]
        facts["trainable weights"] = sum(p.numel for p in own if p.requires_grad)
        facts["frozen weights"] = sum(p.numel for p in own if not p.requires_grad)
        facts["gradient norm"] = sum(p.grad_norm**2 for p in own) ** 0.5
        if wiring.optimizer:
            facts["optimizer"] = f"{wiring.optimizer}, lr {', '.join(f'{lr:g}' for lr in dict.fromkeys(wiring.learning_rates))}"
    facts["seconds"] = round(seconds, 2)
    return facts


def listed(calls: Sequence[LossCall]) -> str:
    """The losses that were called, with their lines; each place once."""
    known = [call for call in calls if call.home != "written"]
    if not known:
        return "written by hand, no call of a known loss"
    places = Counter(f"{call.name} at {call.where}" if call.where else call.name for call in known)
    return ", ".join(f"{place} ({n} times)" if n > 1 else place for place, n in places.items())


def some(names: Sequence[str]) -> str:
    """The first three, and whether there are more."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def said_by(problem: BaseException) -> str:
    """The error in one line, with the last line of the user's own code."""
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if not any(p in f.filename for p in _PACKAGES)]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = shorten(str(problem).strip().split("\n")[0], _LONG, placeholder=" ...")  # torch lists every backend in one line
    return f"{type(problem).__name__}: {text}{place}" if text else f"{type(problem).__name__}{place}"
