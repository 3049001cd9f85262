"""Scoring tokens for a perplexity: in tiles, by logits, by torch's chunked op; time in turns, memory in children."""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for all alike: threads that spin lose seconds on a shared machine

import torch  # after the environment
import torch.nn.functional as F
from torch import Tensor

from losskit.evaluate import Head
from losskit.evaluate.model import LanguageModel

RESULT = Path(__file__).parent / "results" / "perplexity_scoring_cpu.json"
Given = tuple[Tensor, Tensor, Tensor]


def ours(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return LanguageModel(lambda ids: ids, head=Head(w)).score(x, y).nats


def logits(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x, w).float(), y, reduction="none")


def chunked(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    call, options = vars(F)["linear_cross_entropy"], vars(torch.nn)["LinearCrossEntropyOptions"]()
    return call(x, w, y, reduction="none", options=options)


CONTENDERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "losskit": ours,
    "logits and cross_entropy": logits,
    "torch, chunked": chunked,
}


def drawn(rows: int, width: int, classes: int, dtype: str) -> Given:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=generator)
    w = torch.randn(classes, width, generator=generator) / math.sqrt(width)
    y = torch.randint(classes, (rows,), generator=generator)
    return x.to(getattr(torch, dtype)), w.to(getattr(torch, dtype)), y


def line(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return next(int(row.split()[1]) * 1024 for row in text.splitlines() if row.startswith(field + ":"))


def child(name: str, shape: tuple[int, int, int], dtype: str) -> None:
    """Peak resident memory above the hidden states and the head."""
    run, given = CONTENDERS[name], drawn(*shape, dtype)
    with torch.no_grad():
        run(*drawn(16, 32, 5000, dtype))  # libraries and thread pools are not the scoring's memory
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = line("VmRSS")
        run(*given)
    print(json.dumps(line("VmHWM") - before))


def raced(given: Given, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every contender in turn, and how far its first rows are from float64."""
    x, w, y = given
    rows = slice(0, 64)
    truth = F.cross_entropy(x[rows].double() @ w.double().T, y[rows], reduction="none")
    taken: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    off: dict[str, float] = {}
    for round in range(rounds):
        for name, run in CONTENDERS.items():
            if name == "torch, chunked" and round >= 2:
                continue  # minutes each
            start = time.perf_counter()
            found = run(*given)
            taken[name].append(time.perf_counter() - start)
            off[name] = float(((found[rows].double() - truth) / truth).abs().max())
    return taken, off


def measured(shape: tuple[int, int, int], dtype: str, rounds: int) -> dict[str, object]:
    with torch.no_grad():
        taken, off = raced(drawn(*shape, dtype), rounds)
    entries = {}
    for name, seconds in taken.items():
        command = [sys.executable, __file__, "--shape", *map(str, shape), "--child", name, dtype]
        above = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        median = statistics.median(seconds)
        entries[name] = {"seconds": median, "all": seconds, "bytes_above": above, "worst_relative_error": off[name]}
        print(f"{dtype:9} {name:25} {median:7.2f} s {above / 2**20:7.0f} MiB  {off[name]:.1e}", flush=True)
    return {"rows": shape[0], "width": shape[1], "classes": shape[2], "dtype": dtype, "contenders": entries}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=(2048, 896, 151936), metavar=("ROWS", "WIDTH", "CLASSES"))
    parser.add_argument("--child", nargs=2, metavar=("NAME", "DTYPE"))
    told = parser.parse_args()
    shape = (told.shape[0], told.shape[1], told.shape[2])
    if told.child:
        child(told.child[0], shape, told.child[1])
        return
    cases = [measured(shape, dtype, told.rounds) for dtype in ("float32", "bfloat16")]
    about = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((row.split(":")[1].strip() for row in about if row.startswith("model name")), "")
    on = {"cpu": cpu, "threads": torch.get_num_threads(), "torch": torch.__version__, "date": datetime.date.today().isoformat()}
    RESULT.write_text(json.dumps({"on": on, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
