"""Ranks: shares that are even, one exchange for all, and an error instead of a hang when a rank dies."""

from __future__ import annotations

import itertools
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

import evaluate_helpers_parallel as work
from losskit.evaluate.running.parallel import Ranks, gather, ranks, share, start_from_environment, stop

distributed = pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
posix = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


# shares


def loads(costs: list[int], owners: list[int], world: int) -> list[int]:
    return [sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(world)]


def test_the_longest_goes_first_to_the_rank_with_the_least() -> None:
    assert share([1, 5, 3, 3], 2) == [0, 0, 1, 1]  # 5 -> 0; 3, 3 -> 1; 1 -> 0 has 5, 1 has 6
    assert share([2, 2, 2, 2], 2) == [0, 1, 0, 1]


def test_the_busiest_rank_is_within_grahams_bound_of_the_best_plan() -> None:
    generator = random.Random(0)
    for _ in range(40):
        costs, world = [generator.randint(0, 30) for _ in range(generator.randint(1, 7))], generator.randint(1, 3)
        best = min(max(loads(costs, list(plan), world)) for plan in itertools.product(range(world), repeat=len(costs)))
        assert max(loads(costs, share(costs, world), world)) <= (4 / 3 - 1 / (3 * world)) * best


def test_every_piece_has_one_owner_and_pieces_without_cost_are_spread() -> None:
    assert share([], 3) == []
    assert share([7], 3) == [0]
    assert sorted(share([0] * 6, 3)) == [0, 0, 1, 1, 2, 2]
    owners = share(list(range(1000)), 7)
    assert set(owners) == set(range(7))
    assert share(list(range(1000)), 7) == owners


def test_no_rank_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match='"world" must be >= 1, got 0'):
        share([1], 0)


# one process


def test_one_process_is_rank_0_of_1_and_its_errors_are_its_own() -> None:
    assert ranks() == Ranks(0, 1)
    outcome = {"a": 1}
    assert gather(outcome)[0] is outcome
    error = ValueError("mine")
    with pytest.raises(ValueError, match=r"^mine$") as caught:
        gather(error)
    assert caught.value is error
    stop()


@pytest.mark.parametrize("variables", [{}, {"RANK": "0"}, {"WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_without_torchrun_nothing_is_started(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not start_from_environment()
    assert ranks() == Ranks(0, 1)


# ranks over gloo


@distributed
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_rank_has_the_outcomes_of_all(world: int, tmp_path: Path) -> None:
    for rank, (lengths, records, rows, nothing, me, threads) in enumerate(work.run(work.values, world, tmp_path)):
        assert lengths == [3_000_000 * r for r in range(world)]
        assert records == [[{"id": f"{r}.{n}", "sum": 0.1 * n} for n in range(3 * r)] for r in range(world)]
        assert rows == [[[turn, r] for r in range(world)] for turn in range(20)]
        assert nothing == [None] * world
        assert me == [rank, world]
        assert threads == 1  # none is left behind


@distributed
def test_a_slow_rank_is_waited_for_past_the_limit_of_the_group(tmp_path: Path) -> None:
    assert work.run(work.late, 2, tmp_path) == [[0, 1]] * 2


@distributed
def test_the_error_of_one_rank_is_raised_by_all_of_them(tmp_path: Path) -> None:
    expected: list[list[Any]] = [
        ["ValueError", "rank 1: no text", None, None],
        ["OSError", "rank 0: [Errno 28] No space left: 'a.jsonl'", 28, None],
        ["OddError", "rank 1: a.txt:3 is odd", None, 3],
        # no message can be put into it: it is told, not raised
        ["RuntimeError", "rank 1: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"],
        ["RuntimeError", "rank 1: LocalError: lost"],
        ["RuntimeError", "rank 1: SystemExit: 3"],
        ["KeyboardInterrupt", "rank 1: "],
        ["KeyError", "\"rank 1: 'absent'\""],
        ["TypeError", "rank 1: \"outcome\" cannot be sent to the other ranks (cannot pickle '_thread.lock' object): "
         "give numbers, texts, lists and dicts"],
        ["ValueError", "rank 0: I am 0"],
    ]  # fmt: skip
    expected = [[*line, None, None][:4] for line in expected]
    for rank, (found, well, cause) in enumerate(work.run(work.errors, 2, tmp_path)):
        assert found == expected
        assert well == ["well"] * 2
        assert cause == ("ZeroDivisionError('mine')" if rank == 1 else "None")  # its own traceback


@distributed
def test_a_default_group_without_gloo_gets_one_beside_it_and_is_left_alone(tmp_path: Path) -> None:
    assert work.run(work.beside, 2, tmp_path) == [[[[0, 1]] * 3, True]] * 2


# a rank that dies

ENDED = r"rank 2 ended without a result for rank 1: see what it printed, then resume from the journal"


@distributed
@posix
def test_a_killed_rank_is_noticed_by_those_who_wait_even_if_another_is_busy(tmp_path: Path) -> None:
    processes = work.start(work.dies, 3, tmp_path)
    try:
        assert work.ended(processes[1]) == 0  # while rank 0 does not answer
        first, again, threads = work.found(tmp_path, 1)
        assert first[:2] == ["RuntimeError", ENDED]
        assert again[:2] == ["RuntimeError", ENDED.replace("rank 2", "ranks 0, 2")]  # its connections are closed
        assert threads == 1
        assert not (tmp_path / "0.json").exists()
        (tmp_path / "go on").touch()
        assert work.ended(processes[0]) == 0
        assert work.found(tmp_path, 0)[0][1].startswith("ranks 1, 2 ended without a result for rank 0")
        assert work.ended(processes[2]) == -9
    finally:
        for process in processes:
            process.kill()


@distributed
@posix
def test_of_two_ranks_the_one_that_is_left_raises(tmp_path: Path) -> None:
    processes = work.start(work.dies, 2, tmp_path)
    assert [work.ended(process) for process in processes] == [0, -9]
    assert work.found(tmp_path, 0)[0][1].startswith("rank 1 ended without a result for rank 0")


@distributed
@posix
def test_a_rank_that_was_dead_before_is_noticed_as_well(tmp_path: Path) -> None:
    processes = work.start(work.dies_before_its_turn, 3, tmp_path)
    assert [work.ended(process) for process in processes] == [0, 0, -9]
    assert work.found(tmp_path, 0)[0] == work.found(tmp_path, 1)[0] == "RuntimeError"


@distributed
@posix
def test_a_rank_can_be_interrupted_while_it_waits_and_the_others_hear_of_it(tmp_path: Path) -> None:
    zero, one = work.run(work.interrupted, 2, tmp_path)
    assert zero[0] == "KeyboardInterrupt"
    assert one[1].startswith("rank 0 ended without a result for rank 1")


# torchrun

SCRIPT = """
import os, signal, sys
from pathlib import Path
from losskit.evaluate.running.journal import Journal
from losskit.evaluate.running.parallel import gather, ranks, share, start_from_environment, stop
path, mode = Path(sys.argv[1]), sys.argv[2]
assert start_from_environment() and not start_from_environment()
me, costs = ranks(), [n * n for n in range(20)]
journal = Journal.open(path, {"work": "squares"}, rank=me.rank)
done = set().union(*gather(set(journal.records)))
left = [n for n in range(20) if str(n) not in done]
scored = 0
for n, owner in zip(left, share([costs[n] for n in left], me.world)):
    if owner == me.rank:
        if scored == 3 and mode == f"kill {me.rank}": os.kill(os.getpid(), signal.SIGKILL)
        if scored == 3 and mode == f"raise {me.rank}": raise SystemExit(gather(ValueError("bad document")))
        journal.append([{"id": str(n), "square": costs[n], "rank": me.rank}])
        scored += 1
records = {}
for each in gather(journal.records): records |= each
journal.close()
if me.rank == 0: path.with_suffix(".txt").write_text(f"{len(records)} {sum(r['square'] for r in records.values())}")
stop()
assert ranks() == (0, 1)
sys.stdout.flush()
os._exit(0)
"""


def torchrun(folder: Path, mode: str) -> tuple[int, str]:
    (folder / "script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-addr",
        "127.0.0.1",
        "--local-addr",
        "127.0.0.1",
    ]
    command += ["--master-port", port, str(folder / "script.py"), str(folder / "run.jsonl"), mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=work.LIMIT, env=dict(os.environ))
    return done.returncode, done.stderr


def lines(folder: Path) -> list[bytes]:
    return [line for path in folder.glob("run.jsonl*") for line in path.read_bytes().splitlines()[1:]]


@distributed
@posix
def test_a_run_of_torchrun_whose_rank_is_killed_ends_with_an_error_and_is_resumed(tmp_path: Path) -> None:
    status, err = torchrun(tmp_path, "kill 1")
    assert status != 0, err
    assert not (tmp_path / "run.txt").exists()
    assert len(lines(tmp_path)) >= 3
    status, err = torchrun(tmp_path, "through")
    assert status == 0, err
    assert (tmp_path / "run.txt").read_text() == f"20 {sum(n * n for n in range(20))}"
    assert len(lines(tmp_path)) == 20  # each piece once


@distributed
@posix
def test_a_run_of_torchrun_whose_rank_raises_ends_with_that_error(tmp_path: Path) -> None:
    status, err = torchrun(tmp_path, "raise 1")
    assert status != 0
    assert "ValueError: rank 1: bad document" in err
    assert not (tmp_path / "run.txt").exists()
