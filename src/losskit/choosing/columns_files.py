"""Files and frames as named columns; a file that is cut off or ragged is an error that says where."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..evaluate.text.readers import DataError, read
from .columns import Column
from .columns_cells import MISSING, make_column

__all__ = ["is_table", "read_table", "table_columns"]

WHOLE = re.compile(r"-?[0-9]+")
REAL = re.compile(r"-?[0-9]+|[+-]?([0-9]*\.[0-9]+([eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]+\.|inf)")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".npy", ".npz")


def is_table(data: Any) -> bool:
    """Whether ``data`` has named columns: a mapping, or a frame of pandas, polars, pyarrow or datasets."""
    # a LazyFrame warns when it is asked for its columns
    return isinstance(data, Mapping) or any(hasattr(type(data), name) for name in ("columns", "column_names"))


def table_columns(data: Any) -> dict[str, Column]:
    """Each column of a mapping or a frame, by its name."""
    if isinstance(data, Mapping):
        return {str(name): _made(str(name), values) for name, values in data.items()}
    if hasattr(data, "collect_schema") and hasattr(data, "collect"):
        raise DataError("the table is a LazyFrame, whose rows are not there yet: pass its .collect()")
    names = data.columns if hasattr(data, "columns") and not hasattr(data, "column_names") else data.column_names
    taken = [str(name) for name in names]
    _once(taken, "")
    return {str(name): _made(str(name), data[name]) for name in names}


def _made(name: str, values: Any) -> Column:
    """A column; one of things that are no numbers and no words stays, for the others do without it."""
    try:
        return make_column(name, values)
    except TypeError as unknown:
        if not hasattr(values, "__len__") or isinstance(values, (str, bytes, Mapping)):
            raise
        missing = torch.zeros(len(values), dtype=torch.bool)
        return Column(name, "other", torch.empty(0, dtype=torch.float64), missing, stored=str(unknown))


def _once(names: Sequence[str], place: str) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise DataError(f'{place}two columns are called "{name}", expected a name for each')


def read_table(path: str | Path) -> Any:
    """What a file holds: a mapping of columns, a frame, or an array for .npy."""
    path = Path(path)
    suffix = Path(path.name.removesuffix(".gz").removesuffix(".zst")).suffix.lower()
    if path.is_dir():
        raise DataError(f'"{path}" is a directory, expected a file: {", ".join(SUFFIXES)}')
    if not path.exists():
        raise DataError(f'"{path}" does not exist, expected a file: {", ".join(SUFFIXES)}')
    if suffix in (".csv", ".tsv"):
        return _csv(_text(path), path.name, "\t" if suffix == ".tsv" else None)
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(_text(path), path.name)
    if suffix == ".parquet":
        return _parquet(path)
    if suffix in (".npy", ".npz"):
        return _numpy(path)
    raise DataError(f'"{path}" ends in "{suffix}", expected one of {", ".join(SUFFIXES)}')


def _text(path: Path) -> str:
    """The whole of a file, uncompressed and decoded, with the errors of every other file that losskit reads."""
    (record,) = read([path], "text", ())
    return str(record.item)


def _csv(text: str, label: str, separator: str | None) -> Any:
    if not text.strip():
        raise DataError(f"{label} is empty, expected a line of column names and a row for each example")
    header = text.split("\n", 1)[0]
    if separator is None:
        # a decimal comma makes the semicolon the separator where both are there
        separator = ";" if header.count(";") > header.count(",") else "\t" if header.count("\t") > header.count(",") else ","
    _even(text, label, separator)
    try:
        polars = import_module("polars")
    except ImportError:
        return _plain_csv(text, separator)
    try:
        return polars.read_csv(
            io.BytesIO(text.encode()),
            separator=separator,
            infer_schema_length=None,
            null_values=list(MISSING),
            try_parse_dates=False,
        )
    except polars.exceptions.PolarsError as bad:
        raise DataError(f"{label}: {str(bad).splitlines()[0]}, expected CSV with a line of column names") from None


def _plain_csv(text: str, separator: str) -> dict[str, list[Any]]:
    """The columns without polars, in the types that it gives them; an empty line is a row of missing values."""
    # polars leaves out empty lines ahead of the header only
    rows = list(csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=separator))
    names = rows[0]
    cells = [row or [""] * len(names) for row in rows[1:]]
    return {name: _typed([row[i] for row in cells]) for i, name in enumerate(names)}


def _typed(words: list[str]) -> list[Any]:
    """Whole numbers, numbers, or bools where all that are there are so written; else words."""
    there = {word for word in words if word not in MISSING}
    made: dict[str, Any] = {word: word for word in there}
    if there and all(map(WHOLE.fullmatch, there)):
        # as from polars: whole numbers with a gap, or beyond 64 bits, come as floats
        whole = not (set(words) & set(MISSING)) and all(abs(int(word)) < 2**63 for word in there)
        made = {word: int(word) if whole else float(word) for word in there}
    elif there and all(map(REAL.fullmatch, there)):
        made = {word: float(word) for word in there}
    elif there and all(word.lower() in ("true", "false") for word in there):
        made = {word: word.lower() == "true" for word in there}
    return [made.get(word) for word in words]


def _even(text: str, label: str, separator: str) -> None:
    """Every row has as many fields as the header: a short last one is a file that was cut off."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = [name.strip() for name in next(reader)]
        _once(names, f"{label}:1: ")
        for row in reader:
            if len(row) != len(names) and row:
                raise DataError(f"{label}:{reader.line_num}: {len(row)} fields, expected {len(names)}: {', '.join(names[:8])}")
    except csv.Error as bad:
        raise DataError(f"{label}:{reader.line_num}: {bad}, expected CSV") from None


def _json_lines(text: str, label: str) -> dict[str, list[Any]]:
    """Objects a line as columns; a field that a line has not is missing there."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as bad:
            raise DataError(f"{label}:{number}: {bad}, expected one JSON object a line") from None
        if not isinstance(row, dict):
            raise DataError(f"{label}:{number}: a {type(row).__name__}, expected one JSON object a line")
        rows.append(row)
    if not rows:
        raise DataError(f"{label} is empty, expected one JSON object a line")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _parquet(path: Path) -> Any:
    polars = _polars(path.name)
    try:
        return polars.read_parquet(path)
    except polars.exceptions.PolarsError as bad:
        raise DataError(f"{path.name}: {str(bad).splitlines()[0]}, expected a Parquet file") from None


def _numpy(path: Path) -> Any:
    try:
        numpy = import_module("numpy")
    except ImportError:
        raise ImportError(f"{path.name} needs numpy to be read: pip install numpy") from None
    try:
        with open(path, "rb") as file:
            found = numpy.load(file, allow_pickle=False)
            return {name: found[name] for name in found.files} if path.suffix == ".npz" else found
    except (ValueError, OSError, EOFError, SyntaxError) as bad:
        raise DataError(f"{path.name}: {bad}, expected an array as numpy.save writes it") from None
    except Exception as bad:  # a broken archive raises BadZipFile, which zipfile alone knows
        if type(bad).__name__ == "BadZipFile":
            raise DataError(f"{path.name}: {bad}, expected arrays as numpy.savez writes them") from None
        raise


def _polars(label: str) -> Any:
    try:
        return import_module("polars")
    except ImportError:
        raise ImportError(f"{label} needs polars to be read: pip install 'losskit[data]'") from None
