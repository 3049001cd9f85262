"""diagnose(): the logs of runs to a report, the sickest run first."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from ...evaluate.page.wording import plural
from ..evidence import Evidence, Settings
from ..evidence.run import Run, Series
from ..examine import examine
from ..facts import checked_facts
from ..levels import levels_of_facts
from ..levels_config import card_named
from ..report import Case, Report, sickest_first
from .logs import LogError, Source, find_runs, read
from .objective import need_not_fall

__all__ = ["Watch", "cases", "diagnose"]

Objective = Literal["mining", "adversarial"] | None
Progress = Callable[[int, int, str], None]


def diagnose(
    *paths: str | os.PathLike[str],
    refs: Mapping[str, Any] | None = None,
    events: Sequence[tuple[int, str]] = (),
    objective: Objective = None,
    progress: Progress | None = None,
) -> Report:
    """Why runs were sick, from the logs that they left: one case for each run.

    Args:
        paths: log files, run folders, or folders of runs at any depth, of any format that the doctor knows
        refs: what the config beside the log does not say, as ``{"loss": "cross_entropy", "num_classes": 10}``;
            ``{"train_loss": "objective/total"}`` names the curve that is the loss
        events: what you did and when, so that it is no surprise: ``(3000, "stage 2")``
        objective: ``"mining"`` or ``"adversarial"`` for a loss that need not fall; where nothing is said, names in the log that
            speak of a policy and its reward, or of two networks against each other, say adversarial
        progress: called with (runs done, runs in all, name of the next)

    What cannot be read is a case with a problem, never an exception.

    Raises:     ValueError for a name in ``refs`` that is no fact, or a value that is none.
    """
    return Report(sickest_first(list(cases(*paths, refs=refs, events=events, objective=objective, progress=progress))))


def cases(
    *paths: str | os.PathLike[str],
    refs: Mapping[str, Any] | None = None,
    events: Sequence[tuple[int, str]] = (),
    objective: Objective = None,
    progress: Progress | None = None,
) -> Iterator[Case]:
    """The cases one after the other, as the runs are found."""
    checked_facts("refs", refs or {})
    sources = _found(paths)
    for done, source in enumerate(sources):
        if progress is not None:
            progress(done, len(sources), source.name)
        yield _case(source, refs, events, objective)


def _found(paths: Sequence[str | os.PathLike[str]]) -> list[Source]:
    """All runs, each once, though two paths may lead to it."""
    found = {(str(source.path), source.key): source for path in paths for source in find_runs(path)}
    return list(found.values())


def _case(source: Source, refs: Mapping[str, Any] | None, events: Sequence[tuple[int, str]], objective: Objective) -> Case:
    try:
        run = read(source, refs, events)
    except LogError as problem:
        return Case(source.name, "after", problem=str(problem))
    except Exception as problem:  # a hostile log must not take the other runs' report with it
        return Case(source.name, "after", problem=f"the {source.format} reader failed: {type(problem).__name__}: {problem}")
    run, left_out = _with_levels(run)
    why = "" if objective is not None else need_not_fall(run)
    findings, faults = examine(Evidence("after", Settings(objective="adversarial" if why else objective), run=run))
    return Case(
        source.name,
        "after",
        findings=findings,
        facts=_facts(run),
        looked_at=_looked_at(run) + ((f"{why}: only NaN and what is sure were looked for",) if why else ()),
        left_out=left_out,
        levels=run.levels,
        run=run,
        problem=_problem(run),
        faults=faults,
    )


def _with_levels(run: Run) -> tuple[Run, tuple[tuple[str, str], ...]]:
    try:
        levels = levels_of_facts(run.facts)
    except (NotImplementedError, ValueError, TypeError, KeyError, ArithmeticError) as problem:
        return run, (("reference levels", f"the run's config has no values for them: {problem}"),)
    if levels:
        return replace(run, levels=levels), ()
    named = run.facts.get("loss")
    if isinstance(named, str) and named and card_named(named) is None:
        return run, (("reference levels", f"nothing is known of the loss {named[:100]!r}: losskit list has the names"),)
    return run, (
        (
            "reference levels",
            'the config says neither classes nor vocabulary: give refs={"num_classes": ...} or --fact num_classes=10',
        ),
    )


def _problem(run: Run) -> str:
    if run.of("train_loss") or run.of("eval_loss") or run.of("perplexity"):
        return ""
    if not run.series:
        return f"no numbers could be read as {run.reading.format}"
    seen = ", ".join(run.reading.series_seen[:8])
    curves = plural(len(run.series), "curve")
    return f'no loss among {curves} ({seen}): name it with refs={{"train_loss": "..."}} or --fact train_loss=NAME'


def _facts(run: Run) -> dict[str, Any]:
    """What a person wants to know of a run at a glance."""
    facts: dict[str, Any] = {"format": run.reading.format}
    for series, said in ((run.main("train_loss"), "loss"), (run.main("eval_loss"), "validation loss")):
        if series is not None and len(series):
            facts.update(_of_series(series, said))
    for name in ("num_classes", "vocab_size", "label_smoothing", "batch_size", "accumulate", "max_steps"):
        if name in run.facts:
            facts[name.replace("_", " ")] = run.facts[name]
    return facts


def _of_series(series: Series, said: str) -> dict[str, Any]:
    finite = series.finite()
    bad = len(series) - len(finite)
    facts: dict[str, Any] = {said: f"{series.name}: {plural(len(series), 'point')} up to step {int(series.steps[-1])}"}
    if len(finite):
        best = int(finite.values.argmin())
        facts[f"{said} at the start"] = _first(finite.values)
        facts[f"{said} at the end"] = _end(series, finite)
        facts[f"lowest {said}"] = f"{float(finite.values[best]):.4g} at step {int(finite.steps[best])}"
    if bad:
        facts[f"{said}: not finite"] = bad
    return facts


def _end(series: Series, finite: Series) -> float | str:
    """The median of the last twentieth; where the last point is no number, that, and the last one that was."""
    last = float(series.values[-1])
    if math.isfinite(last):
        return float(finite.values[-max(1, len(finite) // 20) :].median())
    spelled = "NaN" if math.isnan(last) else str(last)
    return f"{spelled}; the last finite one is {float(finite.values[-1]):.4g} at step {int(finite.steps[-1])}"


def _first(values: torch.Tensor) -> float:
    first = float(values[0])
    return first if math.isfinite(first) else math.nan


def _looked_at(run: Run) -> tuple[str, ...]:
    reading = run.reading
    points, curves, files = (
        plural(*one) for one in ((reading.points, "point"), (len(run.series), "curve"), (len(reading.files), "file"))
    )
    said = [f"{points} of {curves}, read as {reading.format} from {files}"]
    if reading.skipped:
        said.append(f"{plural(reading.skipped, 'record')} could not be read")
    if reading.truncated:
        said.append("the last record is half written")
    if reading.unsorted:
        said.append("the lines were not in the order of their steps: they are sorted")
    if reading.repeated:
        said.append(
            f"{plural(reading.repeated, 'point')} of the loss left out: a later one of the same step, or of a restart, counts"
        )
    if reading.restarts:
        said.append(f"counting went back to step {', '.join(map(str, reading.restarts[:5]))}: the later values count")
    return tuple(said)


class Watch:
    """Logs that are still being written: looks again, and reads only what has changed."""

    def __init__(
        self,
        *paths: str | os.PathLike[str],
        refs: Mapping[str, Any] | None = None,
        events: Sequence[tuple[int, str]] = (),
        objective: Objective = None,
    ) -> None:
        """Arguments as :func:`diagnose`."""
        checked_facts("refs", refs or {})
        self.paths = paths
        self.refs, self.events = refs, events
        self.objective: Objective = objective
        self._known: dict[tuple[str, str], tuple[object, Case]] = {}
        self._looked = False

    def look(self) -> Report | None:
        """The report, or None if no log has changed since the last look."""
        known: dict[tuple[str, str], tuple[object, Case]] = {}
        changed = not self._looked
        for source in _found(self.paths):
            key, stamp = (str(source.path), source.key), _stamp(source)
            before = self._known.get(key)
            if before is None or before[0] != stamp:
                known[key] = stamp, _case(source, self.refs, self.events, self.objective)
                changed = True
            else:
                known[key] = before
        changed |= known.keys() != self._known.keys()
        self._known, self._looked = known, True
        return Report(sickest_first([case for _, case in known.values()])) if changed else None


def _stamp(source: Source) -> object:
    """What changes when a log grows: size and time of each file; SQLite writes beside the database first."""
    files: list[Path] = [*source.files, *source.also] or [source.path]
    files += [Path(f"{file}-wal") for file in source.files]
    stamps: list[object] = [source.format, source.problem]
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        stamps.append((str(file), status.st_size, status.st_mtime_ns))
    return tuple(stamps)
