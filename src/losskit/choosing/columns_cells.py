"""Values of any make as one Column: arrays, tensors, Series, lists of numbers, words, dates, lists."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import torch
from torch import Tensor

from ..evaluate.text.readers import DataError
from .columns import Column

__all__ = ["MISSING", "is_number", "make_column"]

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")  # what tools write for a value that is not there
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf")
CODE = re.compile(r"[+-]?0\d")  # 00417: a leading zero is kept by a code, not by a number
DAY = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")


def make_column(name: str, values: Any) -> Column:
    """One column of ``values``: one or two axes, missing where None, NaN or an empty string."""
    if isinstance(values, Column):
        return values
    if isinstance(values, Tensor):
        return _of_tensor(name, values)
    if hasattr(values, "dtype"):  # numpy, pandas, polars
        return _of_array(name, values)
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f'column "{name}" is a {type(values).__name__}, expected a tensor, array, Series or list of values')
    return _of_list(name, list(values))


def _of_tensor(name: str, values: Tensor, stored: str = "") -> Column:
    if values.is_complex() or not 1 <= values.ndim <= 2:
        given = "complex" if values.is_complex() else f"of shape {tuple(values.shape)}"
        raise DataError(f'column "{name}" is {given}, expected real numbers of one axis, (n,), or two, (n, features)')
    stored = stored or ("bool" if values.dtype == torch.bool else "float" if values.is_floating_point() else "int")
    wide = values.detach().cpu().double()
    missing = wide.isnan().reshape(len(wide), -1).any(1) if wide.numel() else torch.zeros(len(wide), dtype=torch.bool)
    if wide.ndim == 2:
        if wide.shape[1] == 1:
            return _of_tensor(name, values[:, 0], stored)
        return Column(name, "vector", wide, missing, stored=stored)
    return Column(name, "bool" if stored == "bool" else "number", wide, missing, stored=stored)


def _of_array(name: str, values: Any) -> Column:
    """A numpy array, or a Series of pandas or polars, of which nothing is imported here."""
    if hasattr(values, "toarray"):
        raise DataError(f'column "{name}" is a sparse matrix, expected a dense array: pass its .toarray()')
    if str(values.dtype) in ("Int128", "UInt128"):  # of polars, for whole numbers of 20 digits and more
        return _of_list(name, [None if v is None else _float(v) for v in values.to_list()])
    array = values.to_numpy() if hasattr(values, "to_numpy") else values
    kind = getattr(array.dtype, "kind", "O")
    if kind == "m":
        return _of_list(name, [None if s != s else s for s in (array / array.dtype.type(1, "s")).tolist()])
    if kind in "biuf":
        native = array.astype("float64" if kind in "uf" else array.dtype.newbyteorder("="))
        tensor = torch.from_numpy(native.copy())  # a view of a frame may be read-only
        return _of_tensor(name, tensor, {"b": "bool", "f": "float"}.get(kind, "int"))
    if kind == "M":
        seconds = array.astype("datetime64[s]").astype("int64")
        return _of_dates(name, [None if s == -(2**63) else float(s) for s in seconds.tolist()])
    if getattr(array, "ndim", 1) == 2 and kind in "US":
        raise DataError(f'column "{name}" is an array of words of shape {tuple(array.shape)}, expected one axis, (n,)')
    return _of_list(name, values.to_list() if hasattr(values, "to_list") else array.tolist())


def _of_list(name: str, values: list[Any]) -> Column:
    kinds = set(map(type, values))
    if not kinds <= {bool, int, float, str, type(None)}:
        values = [_plain(v) for v in values]
        kinds = set(map(type, values))
    some = kinds - {type(None)}
    if some <= {bool, int, float}:
        return _of_numbers(name, values, some)
    if some == {str}:
        return _of_words(name, values)
    if some == {datetime}:
        return _of_dates(name, [None if v is None else _seconds(v) for v in values])
    if some <= {tuple}:
        return _of_lists(name, values)
    if some <= {str, int, float, bool}:
        words = [None if v is None or v != v else v if isinstance(v, str) else repr(v) for v in values]
        return _of_words(name, words, "mixed")
    found = ", ".join(sorted(kind.__name__ for kind in some))
    raise TypeError(f'column "{name}" holds values of type {found}, expected numbers, words, dates, or lists of numbers or words')


def _plain(value: Any) -> Any:
    """A value of numpy, pandas, decimal, datetime, ... as Python's own; any sequence as a tuple."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        plain: Any = getattr(value, "to_pydatetime", None)  # of pandas, whose times have nanoseconds
        return value if plain is None else plain(warn=False)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if type(value).__name__ in ("Period", "Interval") or isinstance(value, time):  # named, as days of the week are
        return str(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(map(str, value)))
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    if hasattr(value, "tolist"):
        return _plain(value.tolist())  # numpy, torch
    if hasattr(value, "to_list"):
        return _plain(value.to_list())
    return float(value) if hasattr(value, "__float__") and not isinstance(value, bytes) else value


def _of_numbers(name: str, values: list[Any], some: set[type]) -> Column:
    stored = "bool" if some == {bool} else "float" if float in some or not some else "int"
    wide = torch.tensor([math.nan if v is None else _float(v) for v in values], dtype=torch.float64)
    return _of_tensor(name, wide, stored)


def _float(value: float) -> float:
    """A whole number of Python has no largest; float64 does."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _of_words(name: str, values: list[Any], stored: str = "str") -> Column:
    """Words as codes; numbers and dates where all of them are written so."""
    there = [v for v in set(values) if v is not None and v.strip() not in MISSING]
    if there and all(map(is_number, there)):
        number = {v: float(v) for v in there}
        wide = torch.tensor([number.get(v, math.nan) for v in values], dtype=torch.float64)
        return _of_tensor(name, wide, stored)
    if there and all(map(_is_day, there)):
        try:
            when = {v: _seconds(datetime.fromisoformat(v.strip().replace("Z", "+00:00"))) for v in there}
        except ValueError:
            pass
        else:
            return _of_dates(name, [when.get(v) for v in values])
    levels = sorted({v.strip() for v in there})
    place = {level: i for i, level in enumerate(levels)}
    code = place if all(v in place for v in there) else {v: place[v.strip()] for v in there}
    codes = torch.tensor([code.get(v, -1) for v in values], dtype=torch.int64)
    return Column(name, "text", codes, codes < 0, tuple(levels), stored=stored)


def is_number(word: str) -> bool:
    """Whether a word is a number as Python writes it, and no code with leading zeros."""
    # a long text is not looked at: sentences are never numbers
    return len(word) < 40 and bool(NUMBER.fullmatch(word := word.strip())) and not CODE.match(word)


def _is_day(word: str) -> bool:
    return len(word) < 40 and bool(DAY.fullmatch(word.strip()))


def _seconds(when: datetime) -> float:
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()


def _of_dates(name: str, seconds: Sequence[float | None]) -> Column:
    values = torch.tensor([math.nan if s is None else s for s in seconds], dtype=torch.float64)
    return Column(name, "date", values, values.isnan(), stored="date")


def _of_lists(name: str, values: list[tuple[Any, ...] | None]) -> Column:
    """Rows of one length and of numbers are a vector; else they stay lists."""
    missing = torch.tensor([v is None for v in values], dtype=torch.bool)
    rows = [v or () for v in values]
    widths = {len(v) for v in values if v is not None}
    inner = {type(each) for row in rows for each in row}
    if len(widths) == 1 and 0 not in widths and inner <= {bool, int, float, type(None)}:
        (width,) = widths
        nan = (math.nan,) * width
        wide = torch.tensor([[math.nan if x is None else x for x in (v or nan)] for v in rows], dtype=torch.float64)
        stored = "bool" if inner == {bool} else "float" if float in inner else "int"
        return _of_tensor(name, wide, stored)
    if tuple in inner:
        raise DataError(f'column "{name}" holds lists in lists of different lengths, expected a list of numbers or words a row')
    return Column(name, "list", torch.empty(0, dtype=torch.float64), missing, lists=tuple(rows), stored="list")
