"""Columns of points to curves: one value a step, in order, whatever restarts and per-epoch counters made of the steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ...evidence.run import Kind, Series
from .names import bare_kind, kind_of, place_in_kind
from .table import Points, Table

__all__ = ["Curves", "curves_of"]

LARGEST_STEP = 2.0**53  # float64 counts exactly up to here
FEW = 3  # points that follow a step back and would replace most of a curve: a stray record, not a restart
MANY = 0.1  # of the points go back: no job is resumed so often, the lines are out of order
_LOSSES = ("train_loss", "eval_loss", "perplexity")
_ORDER: tuple[Kind, ...] = ("train_loss", "eval_loss", "perplexity", "lr", "grad_norm", "loss_scale", "epoch", "metric")


@dataclass(frozen=True)
class Curves:
    """What became of a table."""

    series: tuple[Series, ...]
    restarts: tuple[int, ...]
    skipped: int
    repeated: int = 0
    """Points of the main loss in whose place later ones of the same step, or of a restart, count."""
    unsorted: bool = False
    """Lines of the main loss were not in the order of their steps."""


@dataclass(frozen=True)
class _Raw:
    name: str
    rows: Tensor
    steps: Tensor
    values: Tensor
    walls: Tensor


def curves_of(
    table: Table, *, kinds: Mapping[str, Kind] | None = None, means: frozenset[Kind] = frozenset(), aligned: bool = True
) -> Curves:
    """The curves of a table, sorted by kind, the main one of each kind first.

    ``kinds`` says what the named curves are; ``means`` are the kinds whose values are means since the last one; ``aligned`` says
    that what stands in one row was logged together.
    """
    raw = [_raw(name, points) for name, points in table.points.items()]
    named = kinds or {}
    known: dict[str, Kind] = {**_bare(raw), **named}
    epochs = next((one for one in raw if kind_of(one.name) == "epoch"), None) if aligned else None
    counted, lost = _counted(raw, epochs, aligned)
    skipped = table.skipped + lost
    if aligned:
        counted = _unwound(counted, epochs)
    series: list[Series] = []
    restarts: set[int] = set()
    places: dict[str, tuple[int, bool]] = {}
    for one in counted:
        kind = known.get(one.name) or kind_of(one.name)
        ordered = _ordered(one)
        kept, back, lost = _latest(ordered)
        skipped += lost
        places[one.name] = len(one.rows) - len(kept.rows) - lost, ordered is not one
        if kind in ("train_loss", "eval_loss", "lr", "grad_norm"):
            restarts.update(back)
        series.append(_series(kept, kind, means))
    series.sort(key=lambda s: (_ORDER.index(s.kind), s.name not in named, *place_in_kind(s.name, len(s))))
    repeated, unsorted = places[series[0].name] if series else (0, False)
    return Curves(tuple(series), tuple(sorted(restarts)[:1000]), skipped, repeated, unsorted)


def _raw(name: str, points: Points) -> _Raw:
    rows = torch.frombuffer(points.rows, dtype=torch.int64)
    columns = [torch.frombuffer(column, dtype=torch.float64) for column in (points.steps, points.values, points.walls)]
    if (rows[1:] < rows[:-1]).any():
        order = rows.argsort(stable=True)
        rows, columns = rows[order], [column[order] for column in columns]
    return _Raw(name, rows, *columns)


def _bare(raw: list[_Raw]) -> dict[str, Kind]:
    """The columns "train" and "val" of a log without any loss are one if they fall: an accuracy rises."""
    kinds: dict[str, Kind] = {one.name: kind for one in raw if (kind := bare_kind(one.name)) is not None}
    if set(kinds.values()) != {"train_loss", "eval_loss"} or any(kind_of(one.name) in _LOSSES for one in raw):
        return {}
    for one in raw:
        few = max(1, len(one.values) // 4)
        if one.name in kinds and not one.values[:few].nanmedian() > one.values[-few:].nanmedian():
            return {}
    return kinds


def _counted(raw: list[_Raw], epochs: _Raw | None, aligned: bool) -> tuple[list[_Raw], int]:
    """Whole steps for every point, and how many points had none in curves where most have.

    What is logged without a step has that of what was logged before it; if nothing has steps, it is the epoch, or else the place.
    """
    lost = 0
    whole: list[_Raw] = []
    without: list[_Raw] = []
    for one in raw:
        good = one.steps.abs() < LARGEST_STEP
        steps = one.steps[good]
        # 0 is a tracker's default; "100/100" at the end of each epoch counts nothing
        unset = len(steps) > 1 and bool((steps == (steps[0] if aligned else 0)).all())
        if good.double().mean() > 0.5 and not unset and bool((steps == steps.round()).all()):
            lost += len(good) - len(steps)
            whole.append(_pick(one, good))
        else:
            without.append(one)
    if not without:
        return whole, lost
    if not aligned:
        return whole + [_with(one, torch.arange(len(one.rows)).double()) for one in without], lost
    if guides := [one for one in whole if kind_of(one.name) != "epoch"]:
        guide = max(guides, key=lambda one: len(one.rows))
        before = [(torch.searchsorted(guide.rows, one.rows, right=True) - 1).clamp_min(0) for one in without]
        return whole + [_with(one, guide.steps[place]) for one, place in zip(without, before, strict=True)], lost
    return whole + _by_epoch_or_place(without, epochs), lost


def _by_epoch_or_place(raw: list[_Raw], epochs: _Raw | None) -> list[_Raw]:
    """Steps on one axis for all curves, so that train and validation can be laid over each other."""
    if epochs is not None:
        at = [_at(epochs, one.rows) for one in raw]
        if all(bool((e == e.round()).all() and (e[1:] > e[:-1]).all()) for e in at):
            return [_with(one, e) for one, e in zip(raw, at, strict=True)]
    rows = torch.cat([one.rows for one in raw]).unique()
    return [_with(one, torch.searchsorted(rows, one.rows).double()) for one in raw]


def _with(raw: _Raw, steps: Tensor) -> _Raw:
    return _Raw(raw.name, raw.rows, steps, raw.values, raw.walls)


def _at(epochs: _Raw, rows: Tensor) -> Tensor:
    """The epoch of each row, the last one said before; NaN before the first."""
    place = torch.searchsorted(epochs.rows, rows, right=True) - 1
    found = epochs.values[place.clamp_min(0)]
    return torch.where(place >= 0, found, torch.nan)


def _unwound(raw: list[_Raw], epochs: _Raw | None) -> list[_Raw]:
    """Counters that begin again each epoch go on instead: the longest curve says where, all others follow it by their rows."""
    if not raw:
        return raw
    longest = max(raw, key=lambda one: (kind_of(one.name) == "train_loss", len(one.values)))
    back = (longest.steps[1:] < longest.steps[:-1]).nonzero().flatten() + 1
    if not len(back) or not _each_epoch(longest, back, epochs):
        return raw
    ahead = longest.steps[1:] - longest.steps[:-1]
    gap = ahead[ahead > 0].median() if (ahead > 0).any() else torch.tensor(1.0, dtype=torch.float64)
    jumps = (longest.steps[back - 1] - longest.steps[back] + gap).cumsum(0)
    offsets = torch.cat([torch.zeros(1, dtype=torch.float64), jumps])
    breaks = longest.rows[back]
    return [_with(one, one.steps + offsets[torch.searchsorted(breaks, one.rows, right=True)]) for one in raw]


def _each_epoch(raw: _Raw, back: Tensor, epochs: _Raw | None) -> bool:
    """Whether the counter went back because an epoch ended, and not because the run began again."""
    if epochs is not None:
        now = _at(epochs, raw.rows)
        return bool((now[back] > now[back - 1]).all())
    ends = torch.cat([back, torch.tensor([len(raw.steps)])])
    lengths = ends[1:] - ends[:-1]
    same = len(back) > 1 and bool((lengths[:-1] == back[0]).all()) and bool((raw.steps[back] == raw.steps[0]).all())
    if not same:
        return False
    # a script that was run again and again writes segments of one length too, but each begins where the first began
    values, n = raw.values, int(back[0])
    few = max(1, n // 10)
    first, last, again = (v.nanmedian() for v in (values[:few], values[n - few : n], values[n : n + few]))
    return bool((again - last).abs() <= (again - first).abs())


def _ordered(raw: _Raw) -> _Raw:
    """By step where lines are out of order: too many go back for restarts, or what went back overlaps nothing before it."""
    steps = raw.steps
    back = (steps[1:] < steps[:-1]).nonzero().flatten() + 1
    if not len(back):
        return raw
    if len(back) == len(steps) - 1 and bool((steps <= 0).all()):
        return _with(raw, -steps)  # counted down from 0
    order = steps.argsort(stable=True)
    if len(back) > max(1, MANY * len(steps)) or _apart(steps, back):
        return _pick(raw, order)
    return raw


def _apart(steps: Tensor, back: Tensor) -> bool:
    """Whether the stretches between steps back follow each other once they are in order: a log in pieces, each step once."""
    bounds = [0, *back.tolist(), len(steps)]
    ends = sorted((float(steps[a]), float(steps[b - 1])) for a, b in pairwise(bounds))
    return all(one[1] < other[0] for one, other in pairwise(ends)) and len(steps) - bounds[-2] >= FEW


def _latest(raw: _Raw) -> tuple[_Raw, list[int], int]:
    """One value a step: where steps went back the later ones count. With the steps that were gone back to, and what was lost."""
    steps = raw.steps
    back = (steps[1:] < steps[:-1]).nonzero().flatten() + 1
    if not len(back) and not (steps[1:] == steps[:-1]).any():
        return raw, [], 0
    keep = torch.ones(len(steps), dtype=torch.bool)
    if len(back):
        last = int(back[-1])
        replaced = int((steps[:last] >= steps[last]).sum())
        if len(steps) - last < FEW and replaced > len(steps) // 2:
            keep[last:] = False
            one, restarts, lost = _latest(_pick(raw, keep))
            return one, restarts, lost + len(steps) - last
    later = torch.cat([steps.flip(0).cummin(0).values.flip(0)[1:], torch.tensor([torch.inf], dtype=torch.float64)])
    return _pick(raw, steps < later), [int(s) for s in steps[back].tolist()], 0


def _pick(raw: _Raw, keep: Tensor) -> _Raw:
    return _Raw(raw.name, raw.rows[keep], raw.steps[keep], raw.values[keep], raw.walls[keep])


def _series(raw: _Raw, kind: Kind, means: frozenset[Kind]) -> Series:
    steps = raw.steps.long()
    every = 1
    if kind in means and len(steps) > 1:
        every = max(1, int((steps[1:] - steps[:-1]).median()))
    elif kind in means and len(steps):
        every = max(1, int(steps[0]))
    walls = raw.walls.clone() if torch.isfinite(raw.walls).any() else None
    # a copy: the columns of the table are given back
    return Series(raw.name, kind, steps, raw.values.clone(), every, walls)
