"""Files of every kind come back whole and in order; what is wrong in one is named with its line."""

from __future__ import annotations

import builtins
import gzip
import io
import json
import os
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluate_helpers_documents import ids, refused, texts, written
from losskit.evaluate.text.documents import Document, read_documents

polars = pytest.importorskip("polars", reason="the reader of tables, extra 'data'")
numpy = pytest.importorskip("numpy", reason="the reader of .npy")


# files


def test_a_text_file_is_one_document_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "a.md", "one\r\ntwo \u2028\n\n")
    assert read_documents(path) == [Document("a.md", "one\r\ntwo \u2028\n\n", None, None, None)]
    assert read_documents([path]) == read_documents(path)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.txt", "\ufeffa\ufeff")) == ["a\ufeff"]
    assert texts(written(tmp_path / "a.jsonl", '\ufeff{"text": "a"}\n')) == ["a"]
    assert texts(written(tmp_path / "a.csv", "\ufefftext\na\n")) == ["a"]


def test_lines_end_at_line_feeds_alone_and_empty_ones_count(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "one \u2028\x85\x0b\r\n\ntwo\rthree")
    assert texts(path, format="lines") == ["one \u2028\x85\x0b", "", "two\rthree"]
    assert ids(path, format="lines") == ["a.txt:1", "a.txt:2", "a.txt:3"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=5))
def test_any_text_comes_back_from_every_kind_of_file(tmp_path: Path, written_texts: list[str]) -> None:
    rows = [{"text": each} for each in written_texts]
    written(tmp_path / "a.jsonl", "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)))
    written(tmp_path / "a.json", json.dumps(written_texts))
    polars.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.json", "a.parquet"):
        assert texts(tmp_path / name) == written_texts
    if not any("\0" in each for each in written_texts):
        polars.DataFrame(rows).write_csv(tmp_path / "a.csv", quote_style="always")
        assert texts(tmp_path / "a.csv") == written_texts


def test_records_of_every_kind_of_file_have_their_fields(tmp_path: Path) -> None:
    rows = [{"text": "123", "id": "x", "from": "p", "n": "1"}, {"text": 'a "b",\nc', "id": "y", "from": "q", "n": "2"}]
    written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    written(tmp_path / "a.json", json.dumps(rows))
    polars.DataFrame(rows).write_csv(tmp_path / "a.csv")
    polars.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    expected = [Document("x", "123", None, "p", None), Document("y", 'a "b",\nc', None, "q", None)]
    for name in ("a.jsonl", "a.json", "a.csv", "a.parquet"):
        assert read_documents(tmp_path / name, id_field="id", group_field="from") == expected
        assert ids(tmp_path / name) == [f"{name}:1", f"{name}:2"]
        refused('no field "body", there are text, id, from, n', tmp_path / name, text_field="body")
        assert texts(tmp_path / name, limit=1) == ["123"]


def test_a_field_of_csv_is_a_text_also_of_digits_or_of_nothing(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "b.csv", "text\n007\n1.50\n")) == ["007", "1.50"]
    assert texts(written(tmp_path / "a.csv", 'n,text\r\n1,\r\n2,""\r\n3," x "\r\n')) == ["", "", " x "]


def test_token_ids_come_from_json_lines_torch_numpy_and_parquet(tmp_path: Path) -> None:
    rows = [[1, 2, 3], [4], []]
    lines = '[1, 2, 3]\n{"tokens": [4], "text": "a"}\n{"input_ids": []}\n'
    torch.save([torch.tensor(row, dtype=torch.long) for row in rows], tmp_path / "a.pt")
    polars.DataFrame({"input_ids": rows}).write_parquet(tmp_path / "a.parquet")
    for path in (written(tmp_path / "a.jsonl", lines), tmp_path / "a.pt", tmp_path / "a.parquet"):
        assert [each.tokens for each in read_documents(path, format="auto" if path.suffix != ".jsonl" else "tokens")] == rows
    torch.save(torch.tensor([1, 2]), tmp_path / "b.pt")
    numpy.save(tmp_path / "b.npy", numpy.array([1, 2], dtype=numpy.uint16))
    for name in ("b.pt", "b.npy"):
        assert read_documents(tmp_path / name) == [Document(name, None, [1, 2], None, None)]
    numpy.save(tmp_path / "c.npy", numpy.array([[1, 2], [3, 4]]))
    assert ids(tmp_path / "c.npy", format="tokens") == ["c.npy:1", "c.npy:2"]


def test_a_directory_is_read_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/.git/c.txt", ".d.txt", "a.txt", "c.jsonl"):
        written(tmp_path / name, '{"text": "json"}' if name.endswith("jsonl") else name)
    assert ids(tmp_path) == ["a/z.txt", "a.txt", "b.txt", "c.jsonl:1"]


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    paths = [written(tmp_path / name, "a") for name in ("x/a.txt", "y/a.txt", "b.txt")]
    assert ids(paths) == [paths[0].as_posix(), paths[1].as_posix(), "b.txt"]
    refused(r'the id ".*b.txt" is taken by .*b.txt:1', [paths[2], paths[2]])


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))

    feed("é\n".encode())
    assert read_documents(Path("-")) == [Document("-", "é\n", None, None, None)]
    feed(b'{"text": "a"}\n{"text": "b"}\n')
    assert ids(Path("-"), format="jsonl") == ["-:1", "-:2"]


# compressed


def test_gzip_is_read_under_the_name_inside(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "a"}\n') + gzip.compress(b'{"text": "b"}\n'))
    assert texts(path) == ["a", "b"]
    assert texts(written(tmp_path / "a.txt.gz", gzip.compress("é".encode()))) == ["é"]


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(100).hex().encode())
    refused(r'".*a.txt.gz" cannot be read', written(tmp_path / "a.txt.gz", whole[:-20]))
    refused(r'".*b.txt.gz" cannot be read: Not a gzipped file', written(tmp_path / "b.txt.gz", "text"))


class ZstdError(Exception):
    """As both modules of zstd call theirs."""


class Frame:
    """What zstandard makes of one frame, here over zlib."""

    def __init__(self) -> None:
        self.inner = zlib.decompressobj()

    def decompress(self, data: bytes) -> bytes:
        try:
            return self.inner.decompress(data)
        except zlib.error as error:
            raise ZstdError(str(error)) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_zstd_is_read_by_zstandard_frame_by_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decompressor = types.SimpleNamespace(decompressobj=Frame)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", types.SimpleNamespace(ZstdDecompressor=lambda: decompressor))
    frames = [zlib.compress(line) for line in (b'{"text": "a"}\n', b'{"text": "b"}\n')]
    assert texts(written(tmp_path / "a.jsonl.zst", b"".join(frames))) == ["a", "b"]
    refused('b.txt.zst" cannot be read', written(tmp_path / "b.txt.zst", b"no archive"))
    refused("ends before its end is marked", written(tmp_path / "c.jsonl.zst", b"".join(frames)[:-4]))


def test_zstd_is_read_by_the_standard_library_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.jsonl.zst", zlib.compress(b'{"text": "a"}\n'))
    standard = types.SimpleNamespace(open=lambda file: io.BytesIO(zlib.decompress(file.read())))
    monkeypatch.setitem(sys.modules, "compression.zstd", standard)
    assert texts(path) == ["a"]


def test_zstd_without_a_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'a.jsonl.zst" is compressed by zstd: pip install zstandard'):
        read_documents(written(tmp_path / "a.jsonl.zst", b"anything"))


@pytest.mark.parametrize(("name", "module"), [("a.csv", "polars"), ("a.parquet", "polars"), ("a.npy", "numpy")])
def test_a_reader_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{name} needs {module} to be read: pip install"):
        read_documents(written(tmp_path / name, "text\na\n"))


# what is wrong with a file


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "one\nt\0wo", r"a\.txt:2: a NUL byte at byte 5: a binary file, or UTF-16; expected text in UTF-8"),
        ("a.txt", "né".encode("utf-16"), r"a\.txt:1: a NUL byte at byte 3"),
        ("a.txt", b"one\ntwo\xff", r"a\.txt:2: byte 7 is 0xff, which is not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', r"a\.jsonl:2: byte 24 is 0xe9, which is not UTF-8"),
        (
            "a.jsonl",
            '{"text": "a"}\n\n{"text"\n',
            r"a\.jsonl:3: Expecting ':' delimiter at column 8, expected one JSON value a line",
        ),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: .*recursion.*, expected one JSON value a line"),
        ("a.jsonl", '{"body": "a"}', r'a\.jsonl:1: no field "text", there are body'),
        ("a.jsonl", '{"text": "\\ud800"}', r"a\.jsonl:1: character 0 is '\\ud800'"),
        ("a.jsonl", "12", r"a\.jsonl:1: a int, expected a text"),
        ("a.jsonl", "", r'no document in ".*a\.jsonl", expected at least one'),
        ("a.json", '{"text": "a"}', r"a\.json:1: a dict, expected a list of documents"),
        ("a.json", '[\n"a", 2]', r"a\.json, item 2: a int"),
        ("a.csv", "", r"a\.csv:1: empty CSV, expected CSV with a line of column names"),
        ("a.csv", "text,n\na\nb,2,3\n", r"a\.csv:1: .*, expected CSV"),
        ("a.csv", b"text\n\xff\n", r"a\.csv:2: byte 5 is 0xff"),
        ("a.parquet", "text", r"a\.parquet: .*, expected a Parquet file"),
        ("a.pt", "text", r"a\.pt: .*, expected token ids saved by torch\.save"),
        ("a.npy", "text", r"a\.npy: .*, expected an array of token ids"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    refused(message, written(tmp_path / name, content))


def test_an_empty_file_is_an_empty_document_and_an_empty_directory_none(tmp_path: Path) -> None:
    refused("no document in", tmp_path)
    assert read_documents(written(tmp_path / "a.txt", "")) == [Document("a.txt", "", None, None, None)]


def test_a_file_that_is_not_there_or_not_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(r'"no\.txt" does not exist, expected a file or directory', Path("no.txt"))
    path = written(tmp_path / "a.txt", "a")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(builtins, "open", denied)
    refused(r'a\.txt" cannot be read: .*Permission denied', path)
