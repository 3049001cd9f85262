"""Files as records: what is in them, one after another, each with the place it comes from; errors name file:line."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

__all__ = ["FORMATS", "DataError", "Record", "read"]

FORMATS = ("auto", "text", "lines", "jsonl", "json", "csv", "parquet", "tokens")
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pt": "tokens",
    ".npy": "tokens",
}
BOM = b"\xef\xbb\xbf"


class DataError(ValueError):
    """Data that cannot be evaluated; the message says where, and what was expected."""


class Record(NamedTuple):
    """One item of a source, not yet looked into."""

    item: object
    """A text, the ids of tokens, or a mapping of fields."""
    id: str
    place: str
    """For errors: file:line, or which item."""


def read(paths: Iterable[Path], format: str, fields: Sequence[str]) -> Iterator[Record]:
    """The records of files and of all files in directories, hidden ones left out, in the order of their names.

    Args:
        paths: files, directories, or ``-`` for the standard input
        format: one of FORMATS; ``"auto"`` goes by the end of the name, and what it does not know is one text
        fields: of a table, the columns that are read
    """
    files = [pair for path in paths for pair in _expand(path)]
    labels = Counter(label for label, _ in files)
    for label, path in files:
        # a name alone where that is enough, else the path as it was given
        yield from _file(path, label if labels[label] == 1 else path.as_posix(), format, fields)


def _expand(path: Path) -> list[tuple[str, Path]]:
    """Name and path of a file, or of every file in a directory."""
    if str(path) == "-":
        return [("-", path)]
    if not path.is_dir():
        return [(path.name, path)]
    inside = sorted((each.relative_to(path) for each in path.rglob("*") if each.is_file()), key=lambda each: each.parts)
    return [(each.as_posix(), path / each) for each in inside if not any(part.startswith(".") for part in each.parts)]


def _file(path: Path, label: str, format: str, fields: Sequence[str]) -> Iterator[Record]:
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    suffix = Path(name).suffix.lower()
    format = SUFFIXES.get(suffix, "text") if format == "auto" else format
    if format == "tokens" and suffix in (".pt", ".npy"):
        format = suffix
    with _opened(path) as file:
        yield from READERS[format](file, label, fields)


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes], None, None]:
    """The bytes of a file, uncompressed; what the system or a broken archive says, as a DataError."""
    try:
        if str(path) == "-":
            yield sys.stdin.buffer
        else:
            with open(path, "rb") as file:
                yield _uncompressed(file, path)
    except FileNotFoundError:
        raise DataError(f'"{path}" does not exist, expected a file or directory of text') from None
    except Exception as error:
        if isinstance(error, (OSError, EOFError, zlib.error)) or type(error).__name__ == "ZstdError":
            raise DataError(f'"{path}" cannot be read: {error}') from error
        raise


def _uncompressed(file: IO[bytes], path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(file))
    if path.suffix != ".zst":
        return file
    try:
        module = import_module("compression.zstd")  # Python 3.14
    except ImportError:
        try:
            module = import_module("zstandard")
        except ImportError:
            raise ImportError(f'"{path}" is compressed by zstd: pip install zstandard, or use Python 3.14') from None
        return io.BytesIO(_frames(module, file.read()))
    opened: IO[bytes] = module.open(file)
    return opened


def _frames(zstandard: Any, data: bytes) -> bytes:
    """All frames of a file. The stream reader of zstandard takes a file that was cut off for a whole one."""
    found = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        found.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("the compressed data ends before its end is marked")
        data = frame.unused_data
    return b"".join(found)


def _decoded(data: bytes, label: str, line: int, before: int = 0) -> str:
    """Bytes as text; ``before``: bytes of the file that stand in front of them."""
    if not before:
        data = data.removeprefix(BOM)
    at = data.find(b"\0")
    if at >= 0:
        line += data.count(b"\n", 0, at)
        raise DataError(f"{label}:{line}: a NUL byte at byte {before + at}: a binary file, or UTF-16; expected text in UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as bad:
        line += data.count(b"\n", 0, bad.start)
        raise DataError(
            f"{label}:{line}: byte {before + bad.start} is 0x{data[bad.start]:02x}, which is not UTF-8: convert the file to UTF-8"
        ) from None


def _lines(file: IO[bytes], label: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line. Only a line feed ends one: U+2028 and the like are text."""
    before = 0
    for number, line in enumerate(file, 1):
        yield number, _decoded(line, label, number, before).removesuffix("\n").removesuffix("\r")
        before += len(line)


def _parsed(text: str, place: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as bad:
        raise DataError(f"{place}: {bad.msg} at column {bad.colno}, expected {expected}") from None
    except (ValueError, RecursionError) as bad:
        raise DataError(f"{place}: {bad}, expected {expected}") from None


def _text(file: IO[bytes], label: str, fields: Sequence[str]) -> Iterator[Record]:
    yield Record(_decoded(file.read(), label, 1), label, f"{label}:1")


def _each_line(file: IO[bytes], label: str, fields: Sequence[str]) -> Iterator[Record]:
    for number, line in _lines(file, label):
        yield Record(line, f"{label}:{number}", f"{label}:{number}")


def _json_lines(file: IO[bytes], label: str, fields: Sequence[str]) -> Iterator[Record]:
    for number, line in _lines(file, label):
        if line.strip():
            place = f"{label}:{number}"
            yield Record(_parsed(line, place, "one JSON value a line"), place, place)


def _json(file: IO[bytes], label: str, fields: Sequence[str]) -> Iterator[Record]:
    found = _parsed(_decoded(file.read(), label, 1), f"{label}:1", "a JSON list")
    if not isinstance(found, list):
        raise DataError(f"{label}:1: a {type(found).__name__}, expected a list of documents: one JSON object a line is .jsonl")
    yield from _numbered(found, label, "item")


def _csv(file: IO[bytes], label: str, fields: Sequence[str]) -> Iterator[Record]:
    polars = _polars(label)
    text = _decoded(file.read(), label, 1)
    try:  # every column as it is written: a text of digits is a text
        frame = polars.read_csv(io.BytesIO(text.encode()), infer_schema=False)
    except polars.exceptions.PolarsError as bad:
        raise DataError(f"{label}:1: {_said(bad)}, expected CSV with a line of column names") from None
    # CSV has no null: what polars takes for one is a field with nothing in it
    rows = ({name: value or "" for name, value in row.items()} for row in frame.iter_rows(named=True))
    yield from _numbered(rows, label, "row")


def _parquet(file: IO[bytes], label: str, fields: Sequence[str]) -> Iterator[Record]:
    polars = _polars(label)
    data = io.BytesIO(file.read())
    try:
        names = list(polars.read_parquet_schema(data))
        data.seek(0)
        # all of them where one is missing: the error then says which there are
        frame = polars.read_parquet(data, columns=list(fields) if set(fields) <= set(names) else names)
    except polars.exceptions.PolarsError as bad:
        raise DataError(f"{label}: {_said(bad)}, expected a Parquet file") from None
    yield from _numbered(frame.iter_rows(named=True), label, "row")


def _polars(label: str) -> Any:
    try:
        return import_module("polars")
    except ImportError:
        raise ImportError(f"{label} needs polars to be read: pip install 'losskit[data]'") from None


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _torch(file: IO[bytes], label: str, fields: Sequence[str]) -> Iterator[Record]:
    try:
        found = torch.load(io.BytesIO(file.read()), map_location="cpu", weights_only=True)
    except Exception as bad:  # pickle, zip and torch each have their own
        raise DataError(f"{label}: {_said(bad)}, expected token ids saved by torch.save") from None
    yield from _arrays(found, label)


def _numpy(file: IO[bytes], label: str, fields: Sequence[str]) -> Iterator[Record]:
    try:
        numpy: Any = import_module("numpy")
    except ImportError:
        raise ImportError(f"{label} needs numpy to be read: pip install numpy") from None
    try:
        found = numpy.load(io.BytesIO(file.read()), allow_pickle=False)
    except (ValueError, EOFError) as bad:
        raise DataError(f"{label}: {bad}, expected an array of token ids") from None
    yield from _arrays(found, label)


def _arrays(found: Any, label: str) -> Iterator[Record]:
    """One document of a row of ids, and else one of each row or item."""
    several = found.ndim > 1 if hasattr(found, "ndim") else not (found and isinstance(found, list) and isinstance(found[0], int))
    yield from _numbered(found, label, "item") if several else [Record(found, label, label)]


def _numbered(items: Iterable[object], label: str, noun: str) -> Iterator[Record]:
    for number, item in enumerate(items, 1):
        yield Record(item, f"{label}:{number}", f"{label}, {noun} {number}")


READERS: dict[str, Callable[[IO[bytes], str, Sequence[str]], Iterator[Record]]] = {
    "text": _text,
    "lines": _each_line,
    "jsonl": _json_lines,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "tokens": _json_lines,
    ".pt": _torch,
    ".npy": _numpy,
}
