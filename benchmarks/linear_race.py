"""Runs a case: every contender in turn, the order reversed each round, so that a drifting machine favours nobody."""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from linear_cases import BLOCKS, Case, Problem, Truth, errors, problem, truth
from linear_child import above, allocated, brief, peak
from linear_peers import CONTENDERS, FLOORS, AbsentError, Contender, Loss, Step, clear, floors, step

Record = dict[str, Any]
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 9
    seconds: float = 180  # a case stops after this, but not before LEAST_ROUNDS
    memory: bool = True
    child_seconds: float = 600


def text(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {brief(str(error))}"


def attempt(entry: Record, act: Callable[[], Any]) -> Any:
    """The result, or None with the reason written into the entry: no contender stops the run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return act()
    except AbsentError as reason:
        entry["skipped"] = str(reason)
    except Exception as error:  # whatever a peer raises is its result
        entry["failed"] = text(error)
    return None


def seconds(run: Step, device: str) -> float:
    """One run; on CUDA by events, from an idle device."""
    if device != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000


def race(steps: dict[str, Step], entries: dict[str, Record], device: str, effort: Effort) -> dict[str, list[float]]:
    """Seconds of every round by name; who raises leaves the race, with the reason in its entry."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    start = time.perf_counter()
    for k in range(effort.rounds):
        if k >= LEAST_ROUNDS and time.perf_counter() - start > effort.seconds:
            break
        for name in list(taken) if k % 2 else list(taken)[::-1]:
            took = attempt(entries[name], lambda name=name: seconds(steps[name], device))
            if took is None:
                del taken[name]
            else:
                taken[name].append(took)
    return taken


def spread(taken: list[float]) -> Record:
    """Milliseconds: median, least, quartiles."""
    low, _, high = statistics.quantiles(taken, n=4, method="inclusive") if len(taken) > 1 else taken * 3
    found = {"median_ms": statistics.median(taken), "min_ms": min(taken), "lower_quartile_ms": low, "upper_quartile_ms": high}
    return {key: round(value * 1000, 4) for key, value in found.items()} | {"rounds": len(taken)}


def ratios(taken: dict[str, list[float]], entries: dict[str, Record]) -> None:
    """Into each entry: its time over each other's, the median over rounds; and over the faster form of the floor."""
    for name, times in taken.items():
        entries[name] |= spread(times) | {"ratio_to": {}}
    for a, b in combinations(taken, 2):
        median = statistics.median(x / y for x, y in zip(taken[a], taken[b], strict=True))
        entries[a]["ratio_to"][b], entries[b]["ratio_to"][a] = round(median, 4), round(1 / median, 4)
    for name in taken:
        to_floor = [ratio for other, ratio in entries[name]["ratio_to"].items() if other in FLOORS]
        if to_floor and name not in FLOORS:
            entries[name]["ratio_to_floor"] = max(to_floor)


def gemms(act: Step) -> tuple[Any, int]:
    """What it returns, and how many matrix products PyTorch made meanwhile."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it reports each start and stop
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        result = act()
    names = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm"}
    return result, sum(event.name in names for event in seen.events())


def counted(act: Step, blocks: int) -> Record:
    """Errors, and the products that were made; the profiler's own record of more blocks takes gigabytes."""
    if blocks > 64:
        return {"error": act()}
    found, products = gemms(act)
    return {"error": found, "gemms": products}


def accurate(loss: Loss, case: Case, given: Problem, true: Truth) -> dict[str, float]:
    """The first run, which also warms up, against float64."""
    value = step(loss, given, case.backward, case.upstream)()
    found = errors(given, true, value, case.upstream)
    clear(given)
    return {name: float(f"{error:.3g}") for name, error in found.items()}


def survivors(case: Case, contenders: Iterable[Contender], entries: dict[str, Record], effort: Effort) -> list[Contender]:
    """Peak memory from children, a few at once where the device has room; on CUDA a child that dies is not tried here."""
    asked = []
    for contender in contenders:
        entry = entries[contender.name]
        if attempt(entry, lambda contender=contender: contender.loss()) is not None:
            asked.append(contender)
    alone = ("time", "memory") if case.device == "cuda" else ("time", "memory", "forward")
    if not effort.memory or case.kind not in alone:
        return asked
    with ThreadPoolExecutor(4 if case.device == "cuda" else 1) as pool:
        found = list(pool.map(lambda contender: peak(case, contender, effort.child_seconds), asked))
    for contender, memory in zip(asked, found, strict=True):
        entries[contender.name]["memory"] = memory
        if case.device == "cuda" and "failed" in memory:
            entries[contender.name]["failed"] = memory["failed"]
    return [c for c in asked if "failed" not in entries[c.name]]


def entered(case: Case, loss: Loss, its: Problem, true: Truth, entry: Record) -> Step:
    """Checked against float64 and warmed up by that: ready to race."""
    entry["error"] = accurate(loss, case, its, true)
    ready = step(loss, its, case.backward)
    if case.device == "cuda" and "memory" not in entry:
        entry["memory"] = above(case, allocated(ready, its))
    return ready


def timed(case: Case, contenders: list[Contender], entries: dict[str, Record], effort: Effort) -> None:
    """Time and accuracy; half of the rows ignored is a second entrant for each contender in the same race."""
    given = problem(case)
    shares = {"": given} | ({", half ignored": problem(case, ignored=0.5)} if case.kind == "half ignored" else {})
    truths = {suffix: truth(its, case.backward) for suffix, its in shares.items()}
    steps: dict[str, Step | None] = {}
    for contender in contenders:
        loss = attempt(entries[contender.name], contender.loss)
        for suffix, its in shares.items() if loss is not None else ():
            name, true = contender.name + suffix, truths[suffix]
            entry = entries.setdefault(name, {})
            steps[name] = attempt(entry, lambda its=its, t=true, e=entry, loss=loss: entered(case, loss, its, t, e))
    truths.clear()
    for name, floor in floors(given, case.backward).items():
        warm = attempt(entries.setdefault(name, {}), lambda floor=floor: seconds(floor, case.device))
        steps[name] = None if warm is None else floor
    ready = {name: act for name, act in steps.items() if act is not None}
    ratios(race(ready, entries, case.device, effort), entries)


def compared(case: Case, contenders: list[Contender], entries: dict[str, Record]) -> None:
    """Accuracy alone, and again for each number of blocks where a contender lets one choose."""
    given = problem(case)
    true = truth(given)
    for contender in contenders:
        entry = entries[contender.name]
        error = attempt(entry, lambda contender=contender: accurate(contender.loss(), case, given, true))
        entry |= {} if error is None else {"error": error}
        for blocks in BLOCKS if contender.blocks else ():
            entry = entries.setdefault(f"{contender.name}, {blocks} blocks", {"blocks": blocks})
            if blocks > case.rows:
                entry["skipped"] = f"only {case.rows} rows"
                continue
            loss = attempt(entry, lambda contender=contender, blocks=blocks: contender.blocks(case, blocks))
            if loss is not None:
                found = attempt(entry, lambda loss=loss, n=blocks: counted(lambda: accurate(loss, case, given, true), n))
                entry |= found or {}


def run(case: Case, contenders: Iterable[Contender] = CONTENDERS, effort: Effort | None = None) -> Record:
    """A case as it goes into the file."""
    effort = effort or Effort()
    taking = [c for c in contenders if c.suits(case)]
    entries: dict[str, Record] = {c.name: {} for c in taking}
    record = {"name": case.name, "kind": case.kind, "shape": list(case.shape), "dtype": case.dtype, "device": case.device}
    able = survivors(case, taking, entries, effort)
    if case.kind == "accuracy":
        compared(case, able, entries)
    elif case.kind != "memory":
        timed(case, able, entries, effort)
    return record | {"contenders": entries}
