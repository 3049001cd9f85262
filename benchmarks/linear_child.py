"""Peak memory of one contender, in a process of its own: there a CUDA fault ends nobody else."""

from __future__ import annotations

import ctypes
import gc
import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from linear_cases import DTYPES, Case, Problem, problem
from linear_peers import CONTENDERS, Contender, Step, clear, step


def brief(said: str, last: bool = False) -> str:
    """One line of what a peer says, without the folders of this machine."""
    lines = said.strip().splitlines() or ["no message"]
    return re.sub(r"(?<![\w.])/(?:[^\s/:'\"]+/)+", "", lines[-1 if last else 0])[:300]


def status(field: str, file: str = "/proc/self/status") -> int | None:
    """Bytes of one line of a /proc file; None where there is none."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)


def gradient_bytes(case: Case) -> int:
    """dX and dW in the dtype of the inputs."""
    return (case.rows + case.classes) * case.dim * DTYPES[case.dtype].itemsize if case.backward else 0


def resident(run: Step) -> int | None:
    """How far the resident memory rises while it runs; the high-water mark is lowered first where the kernel lets us."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # then the mark may include what making the inputs needed: an upper bound
    before = status("VmRSS")
    run()
    peak = status("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)


def allocated(run: Step, given: Problem) -> int:
    """How far the allocator's peak rises above what is there before, on CUDA; after one run for tuners and caches."""
    run()
    clear(given)  # or the gradients of that run would count as there before
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def above(case: Case, rise: int | None) -> dict[str, int]:
    """Bytes above the inputs, and above inputs and gradients."""
    return {} if rise is None else {"above_inputs": rise, "workspace": max(0, rise - gradient_bytes(case))}


def measure(case: Case, contender: Contender) -> dict[str, int]:
    """Run in the child."""
    loss = contender.loss()
    given = problem(case)
    small = case if contender.compiled else replace(case, rows=16, dim=32, classes=64)
    warm = given if contender.compiled else problem(small)
    step(loss, warm, case.backward)()  # thread pools, tables and compilers are not the loss's memory
    clear(given)
    run = step(loss, given, case.backward)
    return above(case, allocated(run, given) if case.device == "cuda" else resident(run))


def computed(case: Case, contender: Contender) -> dict[str, Any] | None:
    """Where the logits cannot fit into this machine: what they would need, said to be computed."""
    needed = contender.logits * case.rows * case.classes * (4 if contender.logits > 2 else DTYPES[case.dtype].itemsize)
    available = status("MemAvailable", "/proc/meminfo")
    if case.device != "cpu" or available is None or needed + 2 * gradient_bytes(case) < 0.8 * available:
        return None
    return {"workspace": needed, "computed": f"logits and their gradient; {available / 2**30:.1f} GiB were available"}


def peak(case: Case, contender: Contender, limit: float = 600) -> dict[str, Any]:
    """Bytes as measured in a child; {"failed": text} when it dies or takes too long."""
    if (instead := computed(case, contender)) is not None:
        return instead
    command = [sys.executable, "-W", "ignore", __file__, json.dumps({"contender": contender.name, "case": asdict(case)})]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer in {limit:.0f} s"}
    if done.returncode == 0 and done.stdout.strip():
        return json.loads(done.stdout.strip().splitlines()[-1])
    return {"failed": f"exit {done.returncode}: {brief(done.stderr, last=True)}"}


def main() -> None:
    told = json.loads(sys.argv[1])
    contender = next((c for c in CONTENDERS if c.name == told["contender"]), None)
    if contender is None:
        sys.exit(f'no contender is called "{told["contender"]}"')
    print(json.dumps(measure(Case(**told["case"]), contender)))


if __name__ == "__main__":
    main()
