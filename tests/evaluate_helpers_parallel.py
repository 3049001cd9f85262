"""What a rank does in the tests of evaluate.parallel; each rank is a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from losskit.evaluate.running import parallel
from losskit.evaluate.running.parallel import gather, ranks

LIMIT = 120.0  # seconds until a test calls it a hang


class OddError(Exception):
    """Its constructor takes no message."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__(f"{file}:{line} is odd")
        self.line = line


def enter(work: Callable[[Path], Any], rank: int, world: int, folder: Path) -> None:
    """A rank: it joins, works, and leaves what it found in a file."""
    torch.set_num_threads(1)
    meet, limit = f"file://{folder}/meet", timedelta(seconds=LIMIT)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=world, timeout=limit)
    try:
        found = work(folder)
    except BaseException as error:
        found = told(error)
    (folder / f"{rank}.part").write_text(json.dumps(found))
    (folder / f"{rank}.part").rename(folder / f"{rank}.json")
    sys.stdout.flush()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down


def start(work: Callable[[Path], Any], world: int, folder: Path) -> list[BaseProcess]:
    context = mp.get_context("spawn")
    processes = [context.Process(target=enter, args=(work, rank, world, folder)) for rank in range(world)]
    for process in processes:
        process.start()
    return processes


def ended(process: BaseProcess) -> int:
    """The exit status of a rank; one that hangs is killed."""
    process.join(LIMIT)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("a rank hangs")
    return process.exitcode


def run(work: Callable[[Path], Any], world: int, folder: Path) -> list[Any]:
    """What each rank found."""
    statuses = [ended(process) for process in start(work, world, folder)]
    assert statuses == [0] * world
    return [found(folder, rank) for rank in range(world)]


def found(folder: Path, rank: int) -> Any:
    return json.loads((folder / f"{rank}.json").read_text())


def wait_for(path: Path) -> None:
    until = time.monotonic() + LIMIT
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} never came"
        time.sleep(0.02)


def told(error: BaseException) -> list[Any]:
    return [type(error).__name__, str(error), getattr(error, "errno", None), getattr(error, "line", None)]


def caught(outcome: object) -> list[Any]:
    try:
        gather(outcome)
    except BaseException as error:
        return told(error)
    return ["no error"]


def values(folder: Path) -> list[Any]:
    """Outcomes of unequal size, some of them empty, many times in a row."""
    rank, world = ranks()
    lengths = [len(text) for text in gather("x" * (3_000_000 * rank))]
    records = gather([{"id": f"{rank}.{n}", "sum": 0.1 * n} for n in range(3 * rank)])
    rows = [gather((turn, rank)) for turn in range(20)]
    return [lengths, records, rows, gather(None), [rank, world], threading.active_count()]


def late(folder: Path) -> list[Any]:
    """The last rank comes long after the group's own limit."""
    dist.barrier()
    group = dist.new_group(timeout=timedelta(seconds=2))
    parallel._objects = lambda: group
    gather(0)
    if ranks().rank == ranks().world - 1:
        time.sleep(4)
    return gather(ranks().rank)


def errors(folder: Path) -> list[Any]:
    """One rank has an error; then the same ranks go on."""

    class LocalError(Exception):
        pass

    def only(one: int, error: BaseException) -> object:
        return error if ranks().rank == one else 0

    found = [
        caught(only(1, ValueError("no text"))),
        caught(only(0, OSError(28, "No space left", "a.jsonl"))),
        caught(only(1, OddError("a.txt", 3))),
        caught(only(1, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))),
        caught(only(1, LocalError("lost"))),
        caught(only(1, SystemExit(3))),
        caught(only(1, KeyboardInterrupt())),
        caught(only(1, KeyError("absent"))),
        caught(threading.Lock() if ranks().rank == 1 else 0),
        caught(ValueError(f"I am {ranks().rank}")),
    ]
    cause = None
    try:
        gather(only(1, ZeroDivisionError("mine")))
    except ZeroDivisionError as error:
        cause = repr(error.__cause__)
    return [found, gather("well"), cause]


def dies(folder: Path) -> list[Any]:
    """The last rank is killed, rank 0 is busy, the ranks between wait."""
    rank, world = ranks()
    gather("all are here")
    if rank == world - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 0 and world > 2:
        wait_for(folder / "go on")
    first = caught(f"part of {rank}")
    return [first, caught("again"), threading.active_count()]


def dies_before_its_turn(folder: Path) -> list[Any]:
    """The last rank is dead before anybody gathers."""
    rank, world = ranks()
    if rank == world - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1)
    return caught(rank)


def interrupted(folder: Path) -> list[Any]:
    """Rank 0 waits and is interrupted; rank 1 comes later."""
    if ranks().rank == 0:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        found = caught(0)
        (folder / "go on").touch()
        return found
    wait_for(folder / "go on")
    return caught(1)


def beside(folder: Path) -> list[Any]:
    """The default group has no gloo: a group beside it is made once."""
    dist.get_backend_config = lambda group=None: "cuda:nccl"
    found = [gather(ranks().rank) for _ in range(3)]
    made = parallel._State.group
    assert made is not None
    assert made[1] is not dist.group.WORLD
    assert parallel._objects() is made[1]
    parallel.stop()
    return [found, dist.is_initialized()]
