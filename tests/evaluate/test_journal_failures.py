"""The journal where things break: a second writer, a full disk, kill -9."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from evaluate_helpers_journal import PRINT, by_id, child, document, finished, heard, posix, read, write
from losskit.evaluate.running import journal as module
from losskit.evaluate.running.journal import Journal, JournalError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


# two processes


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)


@posix
@pytest.mark.usefixtures("impatient")
def test_a_second_process_is_refused_and_may_write_after_the_first(path: Path) -> None:
    process = child('journal = Journal.open(Path(sys.argv[1]), PRINT); say("open"); sys.stdin.read()', path)
    heard(process, "open")
    try:
        with pytest.raises(JournalError, match=r"run.jsonl' is written by another process: wait for it, end it, or name"):
            Journal.open(path, PRINT)
        write(path, document(0), rank=1)  # another rank has a file of its own
    finally:
        process.kill()
        process.communicate()
    write(path, document(1))
    assert read(path) == by_id(document(1), document(0))


@posix
@pytest.mark.usefixtures("impatient")
def test_two_journals_of_one_process_are_refused_too(path: Path) -> None:
    with closing(Journal.open(path, PRINT)), pytest.raises(JournalError, match="written by another process"):
        Journal.open(path, PRINT)


@posix
def test_the_lock_is_waited_for_while_a_killed_process_still_ends(path: Path) -> None:
    code = 'journal = Journal.open(Path(sys.argv[1]), PRINT); say("open"); import time; time.sleep(0.4); os._exit(0)'
    process = child(code, path)
    heard(process, "open")
    write(path, document(0))
    process.communicate(timeout=60)
    assert read(path) == by_id(document(0))


@posix
@pytest.mark.usefixtures("impatient")
def test_a_forked_worker_that_outlives_its_parent_does_not_hold_the_lock(path: Path) -> None:
    code = """
journal = Journal.open(Path(sys.argv[1]), PRINT)
if os.fork() == 0:
    say("worker"); sys.stdin.read(); os._exit(0)
import time; time.sleep(60)
"""
    process = child(code, path)
    heard(process, "worker")
    with pytest.raises(JournalError, match="written by another process"):
        Journal.open(path, PRINT)  # the worker's closing has not released the parent's lock
    process.kill()
    process.wait()
    write(path, document(0))
    process.communicate()
    assert read(path) == by_id(document(0))


# a full disk


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """A disk with ``room`` for a number of bytes; it writes what fits, and then refuses."""
    disk, true = {"room": 1 << 30}, os.write

    def write(number: int, data: bytes) -> int:
        if disk["room"] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = true(number, data[: disk["room"]])
        disk["room"] -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", write)
        yield disk


def test_a_full_disk_costs_the_append_under_way_and_nothing_else(path: Path, full: dict[str, int]) -> None:
    with closing(Journal.open(path, PRINT)) as journal:
        journal.append([document(0), document(1)])
        before = path.read_bytes()
        for room in (0, 1, 20, 60):  # torn before, in the first record, and in the second
            full["room"] = room
            with pytest.raises(OSError, match=r"run.jsonl' could not take 2 more records \(No space left") as caught:
                journal.append([document(2), document(3)])
            assert caught.value.errno == errno.ENOSPC
            assert str(caught.value).endswith("the 2 from before are safe; make room, then resume")
            assert path.read_bytes() == before
            assert list(journal.records) == ["doc 0", "doc 1"]
        full["room"] = 1 << 30
        journal.append([document(2)])
    assert list(read(path)) == ["doc 0", "doc 1", "doc 2"]


def test_a_disk_that_is_full_at_the_start_leaves_a_file_that_can_be_opened_later(path: Path, full: dict[str, int]) -> None:
    full["room"] = 20
    with pytest.raises(OSError, match="could not start"):
        Journal.open(path, PRINT)
    full["room"] = 1 << 30
    assert read(path) == {}


def test_where_even_the_cutting_fails_the_next_append_cuts_first(
    path: Path, full: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Journal.open(path, PRINT)) as journal:
        journal.append([document(0)])
        before = path.read_bytes()
        full["room"] = 9
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
            with pytest.raises(OSError, match="could not take 1 more"):
                journal.append([document(1)])
        assert path.read_bytes() == before + b'{"id": "d'
        full["room"] = 1 << 30
        journal.append([document(2)])
    assert read(path) == by_id(document(0), document(2))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")], ids=repr)
def test_an_append_that_is_not_synced_is_not_kept(path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    with closing(Journal.open(path, PRINT)) as journal:
        journal.append([document(0)])
        before, faults = path.read_bytes(), [error]
        true = os.fsync
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "fsync", lambda number: true(number) if not faults else (_ for _ in ()).throw(faults.pop()))
            with pytest.raises(type(error)):
                journal.append([document(1)])
        assert path.read_bytes() == before
        assert list(journal.records) == ["doc 0"]


@posix
def test_the_kernels_own_refusal_in_the_middle_of_a_write_is_cut_back(path: Path) -> None:
    # a limit on the size of files stops a write half-way as a full disk does
    code = """
journal = Journal.open(Path(sys.argv[1]), PRINT)
journal.append([record(0, 10)])
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try: journal.append([record(1, 3000), record(2, 3000)])
except OSError as error: say(error)
journal.append([record(3, 10)])
"""
    status, out, err = finished(code, path)
    assert status == 0, err
    assert "could not take 2 more records (File too large): the 1 from before are safe" in out
    assert list(read(path)) == ["doc 0", "doc 3"]


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_the_device_that_is_always_full_is_a_full_disk(path: Path) -> None:
    with closing(Journal.open(path, PRINT)) as journal:
        journal.append([document(0)])
        kept, number = os.dup(journal._file.fileno()), journal._file.fileno()
        device = os.open("/dev/full", os.O_WRONLY)
        os.dup2(device, number)
        with pytest.raises(OSError, match="could not take 1 more records"):
            journal.append([document(1)])
        os.dup2(kept, number)
        os.close(kept)
        os.close(device)
        journal.append([document(2)])
    assert read(path) == by_id(document(0), document(2))


# kill -9

WRITER = """
size, batch = int(sys.argv[2]), int(sys.argv[3])
journal = Journal.open(Path(sys.argv[1]), PRINT)
say("open")
done = len(journal.records)
while True:
    journal.append([record(done + n, size) for n in range(batch)])
    done += batch
    say(done)
"""


@posix
def test_killed_at_random_moments_it_loses_at_most_the_append_under_way(path: Path) -> None:
    generator, batch, kept = random.Random(0), 3, 0
    for turn in range(25):
        size = generator.choice([10, 1000, 300_000])
        process = child(WRITER, path, size, batch)
        if turn % 5:
            heard(process, "open")  # else it may be killed while it opens
        time.sleep(generator.random() * 0.08)
        process.kill()
        out, err = process.communicate(timeout=60)
        assert err == ""
        told = [int(word) for word in out.split() if word.isdigit()]
        records = read(path)
        assert list(records) == [f"doc {n}" for n in range(len(records))]
        assert (told[-1] if told else kept) <= len(records) <= (told[-1] if told else kept) + batch
        assert all(found["sum"] == document(n)["sum"] for n, found in enumerate(records.values()))
        # of the append under way whole records may stand; the writer goes on from there
        kept = len(records)
    assert kept > 25


KILLED = """
step, at = sys.argv[2], int(sys.argv[3])
calls = {"write": 0, "fsync": 0}
def dying(name, true):
    def call(number, *data):
        calls[name] += name == step
        if calls[name] == at and name == step:
            if data: true(number, bytes(data[0])[: len(data[0]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return true(number, *data)
    return call
say = lambda *words, true=os.write: true(1, (" ".join(map(str, words)) + "\\n").encode())
os.write, os.fsync = dying("write", os.write), dying("fsync", os.fsync)
journal = Journal.open(Path(sys.argv[1]), PRINT)
for n in range(3):
    journal.append([record(n, 10)])
    say(n)
"""


@posix
@pytest.mark.parametrize(
    ("step", "at", "told", "left"),
    [
        ("write", 1, 0, 0),  # half of the header
        ("fsync", 1, 0, 0),  # the header
        ("fsync", 2, 0, 0),  # its folder
        ("write", 2, 0, 0),  # half of a record
        ("fsync", 3, 0, 1),  # a whole record that nobody was told of
        ("write", 4, 2, 2),
        ("fsync", 5, 2, 3),
    ],
)
def test_killed_within_each_step_it_holds_what_was_told(path: Path, step: str, at: int, told: int, left: int) -> None:
    status, out, err = finished(KILLED, path, step, at)
    assert status == -9, err
    assert out.split() == [str(n) for n in range(told)]
    assert list(read(path)) == [f"doc {n}" for n in range(left)]
    write(path, *(document(n, text="x" * 10) for n in range(3)))
    assert read(path) == by_id(*(document(n, text="x" * 10) for n in range(3)))
