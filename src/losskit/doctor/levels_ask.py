"""The levels of a card, from whatever is known: one question at a time, None where it has no answer."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.card import CATALOGUE, Card, reference

__all__ = ["Ask", "Known", "ask", "cards", "hangs_on_data", "measure"]

Ask = Literal["chance", "constant", "floor"]
PARTS = 8  # of a batch, whose levels show how far the level of the whole can be trusted
ROWS_A_PART = 4  # fewer say nothing about their spread
MOST_COLUMNS = 32  # above, an image rather than a handful of outputs: one constant for all
TRUSTED = 0.03  # relative standard error; the test for a run at a level allows 2 % of its own


@functools.cache
def cards() -> Mapping[str, Card]:
    """The whole catalogue; each file of ``losses/`` is loaded."""
    package = import_module("losskit.losses")
    for found in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{found.name}")
    return CATALOGUE


@dataclass(frozen=True)
class Known:
    """The card of a loss, and the facts that its levels take."""

    card: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    data: Tensor | None = None
    """What the targets of a batch are, one sample a row."""
    of_data: Callable[[Tensor], Mapping[str, Any]] | None = None
    """More facts, from such rows."""
    scale: float = 1.0
    """What the reduction makes of a mean: 64 for a sum over 64 rows."""
    candidates: bool = False
    """Whether the classes are the other samples of the batch."""
    language: bool = False
    """Whether the classes are tokens."""
    at_best: float | None = None
    """The floor of these very targets, where the card states that of sure ones only."""
    columns: bool = False
    """Whether each column of ``data`` has a best constant of its own."""


def ask(known: Known, level: Ask, data: Tensor | None = None) -> float | None:
    """One level, of ``data`` in place of all that is known."""
    data = known.data if data is None else data
    if known.columns and data is not None:
        if data.dim() > 1 and 1 < data.shape[1] <= MOST_COLUMNS:
            each = [_ask(known, level, column) for column in data.unbind(1)]
            return None if None in each else sum(one for one in each if one is not None) / len(each)
        data = data.flatten()
    return _ask(known, level, data)


def _ask(known: Known, level: Ask, data: Tensor | None) -> float | None:
    card = cards()[known.card]
    compute = getattr(card, level)
    if compute is None:
        return None
    more = known.of_data(data) if known.of_data is not None and data is not None and data.numel() else {}
    takes = set(card.options) | set(inspect.signature(compute).parameters)
    facts = {k: v for k, v in {**known.facts, **more}.items() if k in takes}
    try:
        value = getattr(reference(known.card, **facts), level)
    except (TypeError, ValueError, IndexError, ArithmeticError, RuntimeError):  # facts that make no sense have no level
        return None
    return known.scale * value if value is not None and math.isfinite(value) else None


def measure(known: Known, level: Ask) -> float | None:
    """The same, None if it hangs on the data and the batch is too small to tell it within 3 %. A floor is that of the batch."""
    if level == "floor" and known.at_best is not None:
        return known.scale * known.at_best
    whole = ask(known, level)
    data = known.data
    if whole is None or data is None or level == "floor" or not hangs_on_data(known, level):
        return whole
    count = min(PARTS, len(data) // ROWS_A_PART)
    if count < 2 or not whole:
        return None
    parts = [ask(known, level, data[i::count]) for i in range(count)]
    if any(p is None for p in parts):
        return None
    spread = torch.tensor(parts, dtype=torch.float64)
    # a part's entropy or variance is too small by about 1 / its rows: the whole's by so much less
    bias = float(spread.mean() - whole) / (count - 1)
    error = math.hypot(float(spread.std()) / math.sqrt(count), bias)
    return whole - bias if error <= TRUSTED * abs(whole) else None


def hangs_on_data(known: Known, level: Ask) -> bool:
    """Whether a level is one of these very targets."""
    compute = getattr(cards()[known.card], level)
    if known.data is None or known.of_data is None or not known.data.numel():
        return False
    row = known.data[:1].flatten() if known.columns else known.data[:1]
    return bool(known.of_data(row).keys() & inspect.signature(compute).parameters.keys())
