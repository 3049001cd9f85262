"""What was promised, and whether this run kept it: target, measured, met true, false or "not run"."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linear_cases import ACCURACY, CPU_MEMORY, CPU_TIME, H200, Case
from linear_peers import FLOORS

Record = dict[str, Any]
OURS, HALF = "losskit", "losskit, half ignored"
PEERS = ("liger", "cut-cross-entropy", "quack")


@dataclass(frozen=True)
class Bar:
    """A promise; `measure` returns a number, or None where the case, losskit or the peer did not run."""

    name: str
    target: float
    case: Case
    measure: Callable[[dict[str, Record]], float | None]
    at_least: bool = False
    machine: str = ""  # what the GPU's name must contain


def ratio(of: str, to: str) -> Callable[[dict[str, Record]], float | None]:
    return lambda entries: entries.get(of, {}).get("ratio_to", {}).get(to)


def workspace(entries: dict[str, Record]) -> float | None:
    """MiB above inputs and gradients; infinite for a process that died."""
    memory = entries.get(OURS, {}).get("memory") or {}
    if "failed" in memory:
        return math.inf
    return memory["workspace"] / 2**20 if "workspace" in memory and "computed" not in memory else None


def worst(what: tuple[str, ...], least_blocks: int = 0) -> Callable[[dict[str, Record]], float | None]:
    """The largest of these errors over losskit's default and every number of blocks; one that failed, or NaN, is infinite."""

    def measure(entries: dict[str, Record]) -> float | None:
        its = [e for name, e in entries.items() if name.startswith(OURS) and e.get("blocks", 0) >= least_blocks]
        if any("failed" in entry for entry in its):
            return math.inf
        found = [entry["error"][key] for entry in its if "error" in entry for key in what if key in entry["error"]]
        return None if not found else math.inf if any(map(math.isnan, found)) else max(found)

    return measure


def fastest(peer: str) -> Callable[[dict[str, Record]], float | None]:
    """Our time over the best variant of this peer."""

    def measure(entries: dict[str, Record]) -> float | None:
        to = entries.get(OURS, {}).get("ratio_to", {})
        return max((value for name, value in to.items() if name.startswith(peer)), default=None)

    return measure


def cpu_time(dtype: str, floor: float, forward: float, rival: str, rival_least: float, chunked_least: float) -> list[Bar]:
    time, forward_only, half = (Case(kind, *CPU_TIME, dtype, "cpu") for kind in ("time", "forward", "half ignored"))
    against = [Bar(f"time over three {to}", floor, time, ratio(OURS, to)) for to in FLOORS]
    against += [Bar(f"forward only, time over one of {to}", forward, forward_only, ratio(OURS, to)) for to in FLOORS]
    return [
        *against,
        Bar(f"speed over {rival}", rival_least, time, ratio(rival, OURS), at_least=True),
        Bar("speed over torch, chunked", chunked_least, time, ratio("torch, chunked", OURS), at_least=True),
        Bar("half of the rows ignored, time over none ignored", 0.6, half, ratio(HALF, OURS)),
    ]


def accuracy(device: str) -> list[Bar]:
    fp32, bf16, fp16 = (Case("accuracy", *ACCURACY, dtype, device) for dtype in ("float32", "bfloat16", "float16"))
    gradients = ("dX", "dW")
    return [
        Bar("error of the loss, any blocks", 5e-7, fp32, worst(("loss",))),
        Bar("error of dX and dW, any blocks", 1e-6, fp32, worst(gradients)),
        Bar("error of the loss, 2 to 1024 blocks", 1e-5, bf16, worst(("loss",), 2)),
        Bar("error of dX and dW, 2 to 1024 blocks", 2.5e-3, bf16, worst(gradients, 2)),
        Bar("error of dW of classes not in the batch", 1e-3, fp16, worst(("dW of classes not in the batch",))),
    ]


def gpu() -> list[Bar]:
    case, machine = Case("time", *H200, "bfloat16", "cuda"), "H200"
    against = [Bar(f"time over three {to}", 1.12, case, ratio(OURS, to), machine=machine) for to in FLOORS]
    against += [Bar("workspace, MiB above inputs and gradients", 1024, case, workspace, machine=machine)]
    return against + [Bar(f"time over the fastest {peer}", 1.0, case, fastest(peer), machine=machine) for peer in PEERS]


BARS = [
    *cpu_time("float32", 1.12, 1.15, "torch", 1.0, 2.5),
    *cpu_time("bfloat16", 1.5, 1.5, "torch, .float()", 1.6, 15),
    Bar("workspace, MiB above inputs and gradients", 256, Case("memory", *CPU_MEMORY, "float32", "cpu"), workspace),
    *accuracy("cpu"),
    *gpu(),
    *accuracy("cuda"),
]


def judged(bar: Bar, cases: list[Record], machine: str) -> Record:
    """One line of the table of bars."""
    found = next((case["contenders"] for case in cases if case["name"] == bar.case.name), None)
    measured = bar.measure(found) if found is not None and bar.machine in machine else None
    line = {"bar": bar.name, "case": bar.case.name, "target": bar.target, "at_least": bar.at_least}
    if found and "failed" in found.get(OURS, {}) and bar.machine in machine:
        return line | {"measured": found[OURS]["failed"], "met": False}
    if measured is None:
        return line | {"measured": None, "met": "not run"}
    met = measured >= bar.target if bar.at_least else measured <= bar.target
    return line | {"measured": float(f"{measured:.4g}"), "met": met}
