"""One run of one contender that is checked against float64 and whose memory is measured; on CPU in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, replace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # after the environment
from embeddings_cases import DISTINCT, Case, Problem, errors, problem
from embeddings_peers import CONTENDERS, Contender, Loss, Step, step
from linear_child import brief, resident

Record = dict[str, Any]
WARM_ROWS = 256


def risen(run: Step, given: Problem, device: str) -> int | None:
    """How far memory rises while it runs, above what is there before."""
    given.clear()
    if device == "cpu":
        return resident(run)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def checked(case: Case, contender: Contender, loss: Loss, memory: bool = True) -> Record:
    """Errors, bytes above inputs and gradients, and the seconds of the run that was checked."""
    given = problem(case, DISTINCT)
    act, seen = step(loss, given), []

    def run() -> None:
        start = time.perf_counter()
        value = act()
        if case.device == "cuda":
            torch.cuda.synchronize()
        seen[:] = [value, time.perf_counter() - start]

    if case.device == "cuda":
        run()  # compilers and tuners
    rise = risen(run, given, case.device) if memory else run()
    found: Record = {"seconds": seen[1]}
    if rise is not None:
        found["memory"] = {"above_inputs": rise, "workspace": max(0, rise - given.gradient_bytes)}
    return found | ({"error": errors(case, given, seen[0])} if contender.alike else {})


def measure(case: Case, contender: Contender) -> Record:
    """Run in the child: thread pools, tables and compilers are not the loss's memory, so a small problem comes first."""
    loss = contender.loss(case)
    step(loss, problem(replace(case, rows=32 if contender.once else min(case.rows, WARM_ROWS))))()
    return checked(case, contender, loss)


def in_child(case: Case, contender: Contender, limit: float) -> Record:
    """What a child found; {"failed": text} when it dies or takes too long."""
    command = [sys.executable, "-W", "ignore", __file__, json.dumps({"contender": contender.name, "case": asdict(case)})]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer in {limit:.0f} s"}
    if done.returncode == 0 and done.stdout.strip():
        found: Record = json.loads(done.stdout.strip().splitlines()[-1])
        return found
    return {"failed": f"exit {done.returncode}: {brief(done.stderr, last=True)}"}


def main() -> None:
    told = json.loads(sys.argv[1])
    case = Case(**told["case"])
    contender = next((c for c in CONTENDERS[case.kind] if c.name == told["contender"]), None)
    if contender is None:
        sys.exit(f'no contender is called "{told["contender"]}"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(json.dumps(measure(case, contender)))


if __name__ == "__main__":
    main()
