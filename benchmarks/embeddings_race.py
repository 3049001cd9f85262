"""Runs a case: who is right races, all in turn, the order reversed each round, short runs many times a turn."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from embeddings_cases import OVERHEADS, Case, problem
from embeddings_child import checked, in_child
from embeddings_peers import CONTENDERS, FLOOR, Contender, Step, floor, step
from linear_race import attempt, seconds, spread, text

Record = dict[str, Any]
TURN = 0.05  # seconds of a turn at least: one run of a millisecond is mostly noise
MOST = 300  # runs of a turn
LONG = 10.0  # seconds of a run that is neither warmed up nor run more than twice
TOLERANCE = {"float32": 5e-3, "bfloat16": 3e-2}  # what is further from float64 is another loss, or broken


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 9
    seconds: float = 8  # of one contender in one case
    children: bool = True  # checks in processes of their own, which say what memory it takes; CUDA has both in this one
    child_seconds: float = 600
    total: float = math.inf  # seconds after which nothing more is begun
    start: float = field(default_factory=time.perf_counter)

    @property
    def late(self) -> bool:
        return time.perf_counter() - self.start > self.total


@dataclass
class Runner:
    """One step of a race, how many of it make a turn, and for how many rounds."""

    act: Step
    runs: int
    rounds: int

    @classmethod
    def of(cls, act: Step, took: float, effort: Effort) -> Runner:
        runs = max(1, min(MOST, math.ceil(TURN / max(took, 1e-9))))
        least = 2 if took > LONG else 3
        return cls(act, runs, min(effort.rounds, max(least, int(effort.seconds / (took * runs)))))

    def turn(self, device: str) -> float:
        """Seconds of one run, the mean of a turn."""

        def several() -> None:
            for _ in range(self.runs):
                self.act()

        return seconds(several, device) / self.runs


def race(runners: dict[str, Runner], entries: dict[str, Record], device: str) -> dict[str, list[float]]:
    """Seconds of every round by name; who raises leaves the race, with the reason in its entry."""
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for k in range(max((runner.rounds for runner in runners.values()), default=0)):
        for name in list(taken) if k % 2 else list(taken)[::-1]:
            if k >= runners[name].rounds:
                continue
            took = attempt(entries[name], lambda name=name: runners[name].turn(device))
            if took is None:
                del taken[name]
            else:
                taken[name].append(took)
    return taken


def ratios(taken: dict[str, list[float]], entries: dict[str, Record]) -> None:
    """Into each entry: all its times, and their ratio to each other's, the median over the rounds that both ran."""
    for name, times in taken.items():
        entries[name] |= spread(times) | {"all_ms": [round(t * 1000, 4) for t in times]}
        entries[name]["ratio_to"] = {other: ratio(times, theirs) for other, theirs in taken.items() if other != name}


def ratio(times: list[float], others: list[float]) -> float:
    """The median over the rounds that both ran; of medians, where one ran once and beside no round."""
    if min(len(times), len(others)) == 1:
        found = statistics.median(times) / statistics.median(others)
    else:
        found = statistics.median(a / b for a, b in zip(times, others, strict=False))
    return float(f"{found:.5g}")


def verified(case: Case, contender: Contender, entry: Record, effort: Effort) -> Any:
    """The loss, if it is there and right; errors, memory and the seconds of a first run go into the entry."""
    if effort.late:
        entry["skipped"] = "no time left"
        return None
    loss = attempt(entry, lambda: contender.loss(case))
    if loss is None:
        return None
    if effort.children and case.device == "cpu" and case not in OVERHEADS:
        entry |= in_child(case, contender, effort.child_seconds)
    else:
        entry |= attempt(entry, lambda: checked(case, contender, loss, case.device == "cuda")) or {}
    wrong = [error for error in entry.get("error", {}).values() if not error <= TOLERANCE[case.dtype]]
    if wrong:
        entry["failed"] = f"not the loss of float64: off by {max(wrong):.2g}"
    return None if "failed" in entry else loss


def warmed(act: Step, case: Case, first: float, effort: Effort) -> Runner:
    """What takes long is not run again to know how long it takes."""
    if first < LONG and case.device == "cpu":  # where a child's first run says little of a short one
        act()
        first = seconds(act, case.device)
    return Runner.of(act, first, effort)


def raced(case: Case, able: dict[str, Any], entries: dict[str, Record], effort: Effort) -> dict[str, list[float]]:
    """Everybody on the same tensors, which are not repeated rows as those of the check; the bare products beside them."""
    given = problem(case)
    runners = {}
    for name, loss in able.items():
        entry = entries[name]
        found = attempt(entry, lambda loss=loss, e=entry: warmed(step(loss, given), case, e["seconds"], effort))
        if found is not None:
            runners[name] = found
    if case.kind in FLOOR:
        entry = entries.setdefault(FLOOR[case.kind], {})
        bare = attempt(entry, lambda: floor(case, given))
        if bare is not None:
            act, entry["blocks"], took = bare
            runners[FLOOR[case.kind]] = Runner.of(act, took, effort)
    for name, runner in runners.items():
        entries[name]["runs_of_a_turn"] = runner.runs
    return race(runners, entries, case.device)


def run(case: Case, effort: Effort | None = None, contenders: Iterable[Contender] | None = None) -> Record:
    """A case as it goes into the file."""
    effort = effort or Effort()
    racing = list(CONTENDERS[case.kind] if contenders is None else contenders)
    entries: dict[str, Record] = {c.name: {} for c in racing}
    record = {"name": case.name, "kind": case.kind, "rows": case.rows, "dim": case.dim, "dtype": case.dtype}
    record |= {"device": case.device, "contenders": entries}
    try:
        able = {c.name: loss for c in racing if (loss := verified(case, c, entries[c.name], effort)) is not None}
        once = [c.name for c in racing if c.once and c.name in able]
        taken = raced(case, {name: loss for name, loss in able.items() if name not in once}, entries, effort)
        ratios(taken | {name: [entries[name]["seconds"]] for name in once}, entries)
    except Exception as error:  # a fault that even making the tensors does not survive
        record["failed"] = text(error)
    finally:
        gc.collect()
        if case.device == "cuda" and torch.cuda.is_available():
            torch.cuda.empty_cache()
    return record
