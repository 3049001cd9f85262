"""``losskit perplexity`` as processes: killed at any moment, interrupted, on several ranks, behind a pipe."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evaluate_helpers_cli import NAMES, Nursery, data, environment, without_run, zoo

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and fork are POSIX")
SLOW = ["--window", "32", "--batch-tokens", "128", "--quiet", "--id-field", "name"]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    found = Nursery()
    yield found
    found.close()


def command(folder: Path, tag: str) -> list[str]:
    where = ["--json", str(folder / f"{tag}.json"), "--resume", str(folder / f"{tag}.journal")]
    return ["perplexity", "evaluate_helpers_cli:slow", data(folder), *SLOW, *where]


def records(journal: Path) -> list[str]:
    """The ids of all whole lines behind the header."""
    if not journal.exists():
        return []
    lines = journal.read_bytes().split(b"\n")[1:-1]
    return [json.loads(line)["id"] for line in lines]


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "never came"
        time.sleep(0.002)


def run_killed(nursery: Nursery, folder: Path, tag: str, moment: Callable[[], None]) -> int:
    """Kill a run at a moment, go on with it to its end, and return how many documents the killed one left."""
    journal = folder / f"{tag}.journal"
    process = nursery.start(command(folder, tag), folder / "output")
    moment()
    os.kill(process, signal.SIGKILL)
    nursery.wait(process)
    left = records(journal)
    assert len(set(left)) == len(left)
    assert nursery.wait(nursery.start(command(folder, tag), folder / "output")) == 0, (folder / "output").read_text()
    after = records(journal)
    assert after[: len(left)] == left, "what was finished is there still"
    assert sorted(after) == sorted(NAMES), "nothing is lost, nothing is there twice"
    assert without_run(folder / f"{tag}.json") == without_run(folder / "whole.json")
    return len(left)


def test_a_run_killed_between_documents_goes_on_to_the_same_result(nursery: Nursery, tmp_path: Path) -> None:
    assert nursery.wait(nursery.start(command(tmp_path, "whole"), tmp_path / "output")) == 0, (tmp_path / "output").read_text()
    for count in (0, 3, 9):
        journal = tmp_path / f"{count}.journal"
        left = run_killed(
            nursery, tmp_path, str(count), lambda j=journal, n=count: until(lambda: j.exists() and len(records(j)) >= n)
        )
        assert count <= left < len(NAMES), "the kill came too late to show anything"


@pytest.mark.slow
def test_a_run_killed_at_20_random_moments_goes_on_to_the_same_result(nursery: Nursery, tmp_path: Path) -> None:
    began = time.monotonic()
    assert nursery.wait(nursery.start(command(tmp_path, "whole"), tmp_path / "output")) == 0
    duration, draw = time.monotonic() - began, random.Random(0)
    left = [
        run_killed(
            nursery, tmp_path, str(turn), lambda: time.sleep(draw.uniform(0, duration))
        )  # the run is killed if it still lives
        for turn in range(20)
    ]
    assert any(0 < count < len(NAMES) for count in left)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_130_and_says_how_to_go_on(number: signal.Signals, nursery: Nursery, tmp_path: Path) -> None:
    journal, output = tmp_path / "a.journal", tmp_path / "output"
    process = nursery.start(command(tmp_path, "a"), output)
    until(lambda: len(records(journal)) >= 2)
    os.kill(process, number)
    assert nursery.wait(process) == 130
    assert output.read_text() == (
        f"losskit: interrupted; finished documents are in {str(journal)!r}: the same command goes on from there\n"
    )
    assert not (tmp_path / "a.json").exists()
    assert nursery.wait(nursery.start(command(tmp_path, "a"), output)) == 0
    assert sorted(records(journal)) == sorted(NAMES)


def test_a_signal_without_a_journal_says_that_nothing_is_kept(nursery: Nursery, tmp_path: Path) -> None:
    output = tmp_path / "output"
    arguments = ["perplexity", "evaluate_helpers_cli:slow", data(tmp_path), *SLOW[:-3]]
    process = nursery.start(arguments, output)
    time.sleep(0.3)
    os.kill(process, signal.SIGINT)
    assert nursery.wait(process) == 130
    assert "nothing was kept" in output.read_text()


def test_a_signal_while_torch_is_loaded_ends_with_130_as_well(tmp_path: Path) -> None:
    arguments = ["perplexity", "evaluate_helpers_cli:slow", data(tmp_path), *SLOW, "--resume", str(tmp_path / "journal")]
    command = [sys.executable, "-m", "losskit", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    time.sleep(0.6)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (130, "", 1), err
    assert err.startswith("losskit: interrupted")


def test_a_journal_that_another_run_writes_is_refused(nursery: Nursery, tmp_path: Path) -> None:
    journal = tmp_path / "a.journal"
    process = nursery.start([*command(tmp_path, "a")], tmp_path / "first")
    until(lambda: journal.exists() and len(records(journal)) >= 1)
    os.kill(process, signal.SIGSTOP)  # else it is done before the other has lost its patience
    second = nursery.start(command(tmp_path, "a"), tmp_path / "second")
    assert nursery.wait(second) == 2
    assert "is written by another process" in (tmp_path / "second").read_text()
    os.kill(process, signal.SIGCONT)
    assert nursery.wait(process) == 0


def losskit(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "losskit", *arguments], capture_output=True, text=True, env=environment(**more), check=False
    )


def test_help_loads_no_torch() -> None:
    code = """
import sys, losskit.cli
for arguments in (["--help"], ["perplexity", "--help"], ["perplexity", "compare", "--help"], ["perplexity", "plan", "--help"]):
    try: losskit.cli.main(arguments)
    except SystemExit as end: assert not end.code
print("loaded:", [m for m in ("torch", "rich", "transformers") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert "loaded: []" in done.stdout
    for word in ("exit codes:", "130", "perplexity compare", "perplexity plan", "--fail-if-worse"):
        assert word in done.stdout


def test_transformers_says_nothing_and_json_goes_through_a_pipe(tmp_path: Path) -> None:
    done = losskit(
        "perplexity", str(zoo() / "llama"), data(tmp_path), "--json", "-", "--quiet", LANG="C", PYTHONIOENCODING="ascii"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["schema"] == "losskit.perplexity/1"


def test_a_reader_that_stops_early_is_no_error_and_gates_still_count(tmp_path: Path) -> None:
    line = f"{sys.executable} -m losskit perplexity evaluate_helpers_cli:bigram {data(tmp_path)} --quiet --json - {{}} | true"
    for gate, status in (("", 0), ("--fail-if 'perplexity>1'", 1)):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line.format(gate)], capture_output=True, text=True, check=False, env=environment()
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def torchrun(folder: Path, *arguments: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    given = environment(PYTHONWARNINGS="ignore")
    return subprocess.run(
        [*run, "-m", "losskit", *arguments], capture_output=True, text=True, env=given, check=False, cwd=folder, timeout=120
    )


def test_two_ranks_find_what_one_finds_and_one_of_them_speaks(tmp_path: Path) -> None:
    given = ["perplexity", "evaluate_helpers_cli:bigram", data(tmp_path), *SLOW, "--fail-if", "perplexity>1"]
    one = losskit(*given, "--json", str(tmp_path / "one.json"))
    two = torchrun(tmp_path, *given, "--json", str(tmp_path / "two.json"), "--resume", str(tmp_path / "journal"))
    assert one.returncode == 1
    assert two.returncode == 1
    assert two.stdout == one.stdout
    assert two.stderr.count("gate failed") == 1
    assert without_run(tmp_path / "two.json") == without_run(tmp_path / "one.json")
    assert sorted(records(tmp_path / "journal") + records(tmp_path / "journal.1")) == sorted(NAMES)


def test_an_error_of_all_ranks_is_said_once_with_its_exit_code(tmp_path: Path) -> None:
    done = torchrun(tmp_path, "perplexity", "evaluate_helpers_cli:bigram", "no-such-file.txt", "--quiet")
    assert done.stderr.count("no-such-file.txt") == 1
    assert "losskit: rank 0:" in done.stderr
    assert "exitcode  : 3" in done.stderr
    assert "perplexity_run.py" not in done.stderr, "torchrun's own traceback is not ours"


def test_a_rank_that_dies_ends_the_others_and_the_journal_goes_on(tmp_path: Path) -> None:
    def given(factory: str, name: str) -> list[str]:
        out = ["--json", str(tmp_path / f"{name}.json")]
        return ["perplexity", f"evaluate_helpers_cli:{factory}", data(tmp_path), *SLOW, *out]

    journal = ["--resume", str(tmp_path / "journal")]
    done = torchrun(tmp_path, *given("dying", "two"), *journal)
    assert done.returncode == 1
    assert "losskit: rank 1 ended" in done.stderr or "losskit: interrupted; finished documents" in done.stderr
    assert not (tmp_path / "two.json").exists()
    left = records(tmp_path / "journal") + records(tmp_path / "journal.1")
    assert 0 < len(left) < len(NAMES)
    assert losskit(*given("bigram", "two"), *journal).returncode == 0
    assert losskit(*given("bigram", "one")).returncode == 0
    assert without_run(tmp_path / "two.json") == without_run(tmp_path / "one.json")
