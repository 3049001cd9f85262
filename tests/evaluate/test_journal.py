"""The journal: killed at any moment it loses the append under way, counts nothing twice, and never takes what is not its own."""

from __future__ import annotations

import json
import math
import os
import random
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from evaluate_helpers_journal import PRINT, by_id, document, finished, posix, read, write
from losskit.evaluate.running.journal import Journal, JournalError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def test_a_record_is_there_when_the_journal_is_opened_again(path: Path) -> None:
    write(path, document(0), document(1))
    write(path, document(2))
    assert list(read(path).items()) == list(by_id(document(0), document(1), document(2)).items())
    assert len(path.read_bytes().splitlines()) == 4  # the header and three records


def test_records_of_this_run_are_as_a_resumed_run_reads_them(path: Path) -> None:
    with closing(Journal.open(path, PRINT)) as journal:
        journal.append([{"id": "a", "spans": (1, 2), "groups": {3: "x"}}])
        assert journal.records == by_id({"id": "a", "spans": [1, 2], "groups": {"3": "x"}})
        assert journal.records == {**journal.records}
    assert read(path) == by_id({"id": "a", "spans": [1, 2], "groups": {"3": "x"}})


def test_floats_come_back_bit_for_bit(path: Path) -> None:
    generator = random.Random(0)
    bits = [generator.getrandbits(64) for _ in range(2000)]
    floats = [f for f in (memoryview(b.to_bytes(8, "little")).cast("d")[0] for b in bits) if math.isfinite(f)]
    floats += [0.0, -0.0, 5e-324, sys.float_info.max, 0.1 + 0.2, 2.0**53 + 2]
    write(path, {"id": "a", "floats": floats, "big": 2**70})
    found = read(path)["a"]
    assert [f.hex() for f in found["floats"]] == [f.hex() for f in floats]
    assert found["big"] == 2**70


def test_nan_and_inf_come_back_and_texts_that_read_like_them_stay_texts(path: Path) -> None:
    texts = ["nan", "inf", "-inf", "~nan", "~~-inf", "NaN", "nano", "-nan", "~", ""]
    write(path, {"id": "nan", "values": [math.nan, math.inf, -math.inf], "deep": {"x": [{"y": math.inf}]}, "texts": texts})
    found = read(path)["nan"]
    assert math.isnan(found["values"][0])
    assert found["values"][1:] == [math.inf, -math.inf]
    assert found["deep"] == {"x": [{"y": math.inf}]}
    assert found["texts"] == texts
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert '"values": ["nan", "inf", "-inf"]' in path.read_text()


@pytest.mark.parametrize("name", ["naïve 文書", "a\nb\r\n", "\u2028", "half \udc80 of a name", "", "\x00"])
def test_any_text_can_name_a_document(path: Path, name: str) -> None:
    write(path, {"id": name})
    assert read(path) == by_id({"id": name})
    assert path.read_bytes().isascii()


def test_a_file_cut_at_any_byte_holds_exactly_its_whole_lines(path: Path) -> None:
    write(path, document(0), document(1, value=math.nan), document(2))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        lines = whole[:cut].count(b"\n")
        assert list(read(path)) == ["doc 0", "doc 1", "doc 2"][: max(0, lines - 1)], cut
        write(path, document(3))
        assert path.read_bytes().count(b"\n") == max(1, lines) + 1
        assert list(read(path))[-1] == "doc 3"


@pytest.mark.parametrize("start", [b"", b"{", b'{"schema": "losskit.journal/1", "finger'])
def test_an_empty_file_or_a_torn_header_is_a_new_journal(path: Path, start: bytes) -> None:
    path.write_bytes(start)
    write(path, document(0))
    assert read(path) == by_id(document(0))


@pytest.mark.parametrize(
    "content",
    [b"a text\n", b"a text without an end", b'{"text": "data"}\n', b"\x00" * 4096, b'\xef\xbb\xbf{"schema": '],
    ids=repr,
)
def test_a_file_that_is_no_journal_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"run.jsonl' is not a journal of losskit: it is left as it is, name another file"):
        Journal.open(path, PRINT)
    assert path.read_bytes() == content


@pytest.mark.parametrize("header", [b'{"schema": "losskit.journal/2", "fingerprint": {}}', b'{"schema": "losskit.journal/1", "f'])
def test_a_header_of_another_version_or_a_broken_one_is_refused(path: Path, header: bytes) -> None:
    path.write_bytes(header + b'\n{"id": "a"}\n')
    with pytest.raises(JournalError, match=r"has schema .*, expected 'losskit.journal/1': name a new file"):
        Journal.open(path, PRINT)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({**PRINT, "window": 1024}, '"window" was 512, is 1024'),
        ({**PRINT, "plan": {"stride": 64}}, '"plan.stride" was 256, is 64'),
        ({**PRINT, "data": "x", "window": 512.0}, '"data" was absent, is \'x\', "window" was 512, is 512.0'),
        ({"plan": {"stride": 256}, "window": 512}, "\"model\" was 'sha256:0', is absent"),
    ],
)
def test_another_fingerprint_is_refused_by_the_keys_that_differ(path: Path, other: dict[str, object], message: str) -> None:
    write(path, document(0))
    before = path.read_bytes()
    with pytest.raises(JournalError) as caught:
        Journal.open(path, other)
    assert f"run.jsonl' is of another evaluation: {message}; name a new file" in str(caught.value)
    assert path.read_bytes() == before


def test_the_order_of_a_fingerprint_does_not_matter_and_nan_is_itself(path: Path) -> None:
    Journal.open(path, {"a": math.nan, "b": (1, 2)}).close()
    Journal.open(path, {"b": [1, 2], "a": math.nan}).close()


@pytest.mark.parametrize("line", [b"", b"{", b"null", b'{"sum": 1}', b'{"id": 3}', b"\xff\xfe", b'{"id": "x"}{}', b"[" * 100_000])
def test_a_broken_line_in_the_middle_is_named(path: Path, line: bytes) -> None:
    write(path, document(0), document(1))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], line, lines[2], b""]))
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"run.jsonl':3 is not a record with an \"id\": delete the line"):
        Journal.open(path, PRINT)
    assert path.read_bytes() == before


def test_the_same_record_twice_is_kept_once_and_another_one_is_refused(path: Path) -> None:
    with closing(Journal.open(path, PRINT)) as journal:
        journal.append([document(0, x=math.nan), document(0, x=math.nan)])
        journal.append([document(0, x=math.nan)])
        before = path.read_bytes()
        assert before.count(b"\n") == 2
        with pytest.raises(JournalError, match=r"\"id\" 'doc 0' a second time, and \"x\" was nan, is 1: delete one"):
            journal.append([document(1), document(0, x=1)])
        assert path.read_bytes() == before
        assert list(journal.records) == ["doc 0"]
    write(path, document(1), rank=1)
    theirs, twice = path.with_name("run.jsonl.1"), path.read_bytes().splitlines(keepends=True)[1]
    theirs.write_bytes(theirs.read_bytes() + twice)
    assert list(read(path)) == ["doc 0", "doc 1"]
    theirs.write_bytes(theirs.read_bytes() + twice.replace(b'"nan"', b"2.5"))
    with pytest.raises(JournalError, match=r"run.jsonl.1':4 has \"id\" 'doc 0' a second time, and \"x\" was nan, is 2.5"):
        Journal.open(path, PRINT)


@pytest.mark.parametrize("record", [{}, {"id": 3}, {"id": None}])
def test_a_record_without_a_name_is_refused(path: Path, record: dict[str, Any]) -> None:
    with (
        closing(Journal.open(path, PRINT)) as journal,
        pytest.raises(ValueError, match=r'"id" of a record is .*, expected a text'),
    ):
        journal.append([record])


def test_a_record_that_json_cannot_hold_leaves_nothing_behind(path: Path) -> None:
    with closing(Journal.open(path, PRINT)) as journal:
        with pytest.raises(TypeError, match="not JSON serializable"):
            journal.append([document(0), {"id": "a", "value": object()}])
        journal.append([document(1)])
    assert read(path) == by_id(document(1))


def test_a_closed_journal_takes_nothing(path: Path) -> None:
    journal = Journal.open(path, PRINT)
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="is closed: open it again"):
        journal.append([document(0)])


# ranks


def test_three_ranks_are_resumed_by_any_number_of_ranks(path: Path) -> None:
    for rank in range(3):
        write(path, document(rank), document(rank + 10), rank=rank)
    all_of_them = by_id(*(document(n) for rank in range(3) for n in (rank, rank + 10)))
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["run.jsonl", "run.jsonl.1", "run.jsonl.2"]
    for world in (1, 2, 3, 4):
        for rank in range(world):
            assert read(path, rank) == all_of_them, (world, rank)
    write(path, document(20))
    assert read(path, 1) == all_of_them | by_id(document(20))


def test_a_torn_line_of_another_rank_is_ignored_and_left_to_its_owner(path: Path) -> None:
    write(path, document(0))
    write(path, document(1), rank=1)
    theirs = path.with_name("run.jsonl.1")
    torn = theirs.read_bytes() + b'{"id": "doc 7", "su'
    theirs.write_bytes(torn)
    path.with_name("run.jsonl.2").write_bytes(b"")
    assert read(path) == by_id(document(0), document(1))
    assert theirs.read_bytes() == torn
    write(path, document(2), rank=1)
    assert read(path) == by_id(document(0), document(1), document(2))


def test_a_rank_file_of_another_evaluation_is_named(path: Path) -> None:
    Journal.open(path, {"model": "other"}, rank=2).close()
    with pytest.raises(JournalError, match=r"run.jsonl.2' is of another evaluation: \"model\" was 'other'"):
        Journal.open(path, PRINT)
    assert path.read_bytes() == b""  # made, and free again
    path.with_name("run.jsonl.2").unlink()
    path.with_name("run.jsonl.02").write_text("not ours")
    path.with_name("run.jsonl.bak").write_text("not ours")
    assert read(path) == {}


# places


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="is a folder, expected a file"):
        Journal.open(tmp_path, PRINT)
    with pytest.raises(JournalError, match=r"is in a folder that does not exist: make .*absent' first"):
        Journal.open(tmp_path / "absent" / "run.jsonl", PRINT)


@posix
def test_a_device_or_a_pipe_is_no_journal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path / "pipe", Path("/dev/null"), Path("/dev/full"), Path("/dev/zero")):
        if name.exists():
            with pytest.raises(JournalError, match="is a device, expected a file"):
                Journal.open(name, PRINT)


@posix
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    # root may write everywhere: a child gives that up first
    code = """
if os.getuid() == 0:
    os.chmod(sys.argv[1], 0o555)
    for parent in Path(sys.argv[1]).parents:
        if parent.stat().st_uid == 0 and len(parent.parts) > 2: os.chmod(parent, parent.stat().st_mode | 0o011)
    os.setgid(65534); os.setuid(65534)
else:
    os.chmod(sys.argv[1], 0o555)
try: Journal.open(Path(sys.argv[1]) / "run.jsonl", PRINT)
except JournalError as error: say(error)
"""
    status, out, err = finished(code, folder)
    assert status == 0, err
    assert "closed/run.jsonl' cannot be written (Permission denied): name a file that can" in out
