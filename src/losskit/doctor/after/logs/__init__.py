"""Logs of any make: which runs a path holds, and the curves of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, cast, get_args

from ...evidence.run import Kind, Reading, Run
from .config import facts_near
from .curves import curves_of
from .discover import find_runs
from .log import Log
from .source import FORMATS, LogError, Source

__all__ = ["FORMATS", "LogError", "Source", "find_runs", "read"]

# a reader is loaded when a log of its format is met
_READERS = {
    "hf": ("hf", "read_hf"),
    "lightning": ("csv_table", "read_csv"),
    "tensorboard": ("tensorboard", "read_tensorboard"),
    "wandb": ("wandb", "read_wandb"),
    "mlflow": ("mlflow", "read_mlflow"),
    "trackio": ("trackio", "read_trackio"),
    "jsonl": ("jsonl", "read_jsonl"),
    "csv": ("csv_table", "read_csv"),
    "stdout": ("stdout", "read_stdout"),
}
MOST_NAMES = 1000  # of the names that a reading lists


def read(source: Source, refs: Mapping[str, Any] | None = None, events: Sequence[tuple[int, str]] = ()) -> Run:
    """The curves of a run and what is known of it.

    Args:
        source: of :func:`find_runs`
        refs: facts of the user's, before those of the run's config: ``{"num_classes": 10}``. A kind of curve with a name says
            which curve that is: ``{"train_loss": "objective/total"}``
        events: what happened when: ``(3000, "stage 2")``

    Raises:     LogError if it cannot be read.
    """
    if source.problem:
        raise LogError(source.problem)
    try:
        log = _reader(source)(source)
    except OSError as problem:
        raise LogError(f"{source.path}: {problem.strerror or problem}") from None
    refs = dict(refs or {})
    kinds: dict[str, Kind] = {refs.pop(kind): kind for kind in get_args(Kind) if isinstance(refs.get(kind), str)}
    if unknown := [name for name in kinds if name not in log.table.points]:
        seen = ", ".join(list(log.table.points)[:8]) or "none"
        raise LogError(f"refs name curves that the log does not have: {', '.join(unknown)} (it has {seen})")
    facts = {**facts_near(source), **log.facts, **refs}
    if "logging_nan_inf_filter" in facts and source.format != "hf":
        # the Trainer writes its means to every logger that it knows
        log.means = frozenset[Kind]({"train_loss"})
        log.hides_nan = bool(facts["logging_nan_inf_filter"])
    curves = curves_of(log.table, kinds=kinds, means=log.means, aligned=log.aligned)
    reading = Reading(
        source.format,
        files=log.files,
        points=sum(map(len, curves.series)),
        skipped=curves.skipped,
        truncated=log.truncated,
        hides_nan=log.hides_nan,
        restarts=curves.restarts,
        series_seen=tuple(log.table.points)[:MOST_NAMES],
        repeated=curves.repeated,
        unsorted=curves.unsorted,
    )
    return Run(source.name, curves.series, reading, facts=facts, events=tuple(events), finished=log.finished)


def _reader(source: Source) -> Callable[[Source], Log]:
    if source.format not in _READERS:
        raise LogError(f'no reader for the format "{source.format}", expected one of {", ".join(FORMATS)}')
    module, name = _READERS[source.format]
    return cast("Callable[[Source], Log]", getattr(import_module(f"{__name__}.{module}"), name))
