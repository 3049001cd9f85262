"""How far one training step of a head raises the resident memory: measured in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.linear_cross_entropy import linear_cross_entropy
from . import generator

__all__ = ["HEADS", "MIB", "OURS", "PLAIN", "TIGHT", "Case", "Peak", "peak"]

MIB = 1 << 20
PLAIN, OURS, TIGHT = "F.cross_entropy(F.linear())", "linear_cross_entropy", "linear_cross_entropy, memory=32 MiB"


def plain(hidden: Tensor, table: Tensor, target: Tensor) -> Tensor:
    """What most training loops do: all scores, then their loss."""
    return F.cross_entropy(F.linear(hidden, table), target)


HEADS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    PLAIN: plain,
    OURS: linear_cross_entropy,
    TIGHT: lambda hidden, table, target: linear_cross_entropy(hidden, table, target, memory=32 * MIB),
}


class Case(NamedTuple):
    """A head, by its name in HEADS, and its size."""

    head: str
    tokens: int
    width: int
    classes: int


class Peak(NamedTuple):
    """Bytes above the inputs, None where they could not be measured, and the loss."""

    bytes: int | None
    loss: float | None


def peak(case: Case, limit: float = 120) -> Peak:
    """Forward and backward in a child process, which a lack of memory kills in our place."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, json.dumps(case)]
    # several at once have more threads than there are cores: those that wait must not spin
    patient = {"OMP_WAIT_POLICY": "passive", **os.environ}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=True, env=patient)
        return Peak(*json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return Peak(None, None)


def rise(run: Callable[[], object]) -> int | None:
    """How far the resident memory rises while it runs; the high-water mark is lowered first where the kernel lets us."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        pass  # then the mark may be that of the imports: an upper bound
    before = _status("VmRSS")
    mark = _mark()
    run()
    after = _status("VmHWM")
    if before is None or after is None:
        before, after = mark, _mark()
    return None if before is None or after is None else max(0, after - before)


def _status(field: str) -> int | None:
    """Bytes of a line of Linux's account of this process; None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":")), None)


def _mark() -> int | None:
    """The high-water mark that any Unix keeps, in bytes; None elsewhere."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def _step(case: Case) -> tuple[Callable[[], object], list[Tensor]]:
    """One forward and backward pass; the loss is put into the list."""
    source = generator(0)
    hidden = torch.randn(case.tokens, case.width, generator=source).requires_grad_()
    table = (0.1 * torch.randn(case.classes, case.width, generator=source)).requires_grad_()
    target = torch.randint(case.classes, (case.tokens,), generator=source)
    seen: list[Tensor] = []

    def step() -> None:
        loss = HEADS[case.head](hidden, table, target)
        loss.backward()
        seen.append(loss.detach())

    return step, seen


def main() -> None:
    """In the child: measure, and print a Peak as JSON."""
    case = Case(*json.loads(sys.argv[1]))
    _step(case._replace(tokens=16, classes=64))[0]()  # threads and tables of the libraries are not the loss's memory
    step, seen = _step(case)
    found = rise(step)
    print(json.dumps(Peak(found, float(seen[0]))))


if __name__ == "__main__":
    main()
