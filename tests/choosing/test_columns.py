"""Any data as named columns, and the errors of what is none."""

from __future__ import annotations

import gzip
import math
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from losskit.choosing.columns import NothingThereError, read_columns
from losskit.evaluate.text.readers import DataError

NUMBERS: list[Any] = [
    [1.0, None, 3.0],
    (1.0, None, 3.0),
    torch.tensor([1.0, math.nan, 3.0]),
    torch.tensor([1.0, math.nan, 3.0], dtype=torch.bfloat16),
    np.array([1.0, math.nan, 3.0], dtype=">f8"),
    pd.Series([1, None, 3], dtype="Int64"),
    pl.Series([1, None, 3]),
    ["1", "", "3.0"],
    ["1", "NA", " 3 "],
    [np.float32(1), None, np.int64(3)],
]


@pytest.mark.parametrize("values", NUMBERS, ids=lambda v: f"{type(v).__module__}.{type(v).__name__}")
def test_numbers_of_every_make_are_the_same_column(values: Any) -> None:
    column = read_columns(values).target
    assert column.kind == "number"
    assert column.missing.tolist() == [False, True, False]
    assert column.known.tolist() == [1, 3]


@pytest.mark.parametrize(
    "values",
    [["b", None, "a"], pd.Series(["b", None, "a"]), pd.Series(["b", None, "a"], dtype="category"), pl.Series(["b", None, "a"])],
    ids=["list", "pandas", "category", "polars"],
)
def test_words_of_every_make_are_the_same_column(values: Any) -> None:
    column = read_columns(values).target
    assert (column.kind, column.levels) == ("text", ("a", "b"))
    assert column.values.tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    "values",
    [
        ["2020-01-01", None],
        [date(2020, 1, 1), None],
        np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"),
        pd.Series(pd.to_datetime(["2020-01-01", None])),
        pl.Series([date(2020, 1, 1), None]),
    ],
    ids=["text", "date", "numpy", "pandas", "polars"],
)
def test_dates_of_every_make_are_seconds(values: Any) -> None:
    column = read_columns(values).target
    assert column.kind == "date"
    assert column.known.tolist() == [(2020 - 1970) * 365 * 86400 + 12 * 86400]  # twelve leap days


def test_a_leading_zero_is_kept_by_a_code() -> None:
    assert read_columns(["007", "012"]).target.levels == ("007", "012")


def test_rows_of_one_length_are_a_vector_and_others_lists() -> None:
    assert read_columns([[1, 2], [3, 4]]).target.values.tolist() == [[1, 2], [3, 4]]
    assert read_columns([["a"], ["b", "c"], None]).target.lists == (("a",), ("b", "c"), ())
    assert read_columns([{"y", "x"}, {"x"}]).target.lists == (("x", "y"), ("x",))


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame], ids=["mapping", "pandas", "polars"])
def test_a_table_of_every_make_has_its_parts(make: Any) -> None:
    table = make({"age": [1.0, 2.0], "word": ["a", "b"], "qid": [1, 1], "y": [0, 1]})
    columns = read_columns(table, target="y", group="qid")
    assert [c.name for c in columns.inputs] == ["age", "word"]
    assert (columns.target.name, columns.rows) == ("y", 2)
    assert columns.group is not None
    assert columns.group.name == "qid"


def test_features_mark_what_is_missing_and_say_what_is_left_out() -> None:
    table = {
        "age": [1.0, None],
        "word": ["a", None],
        "vector": [[1.0, 2.0], [3.0, 4.0]],
        "tags": [["a"], ["a", "b"]],
        "none": [None, None],
        "y": [0, 1],
    }
    features = read_columns(table, target="y").features()
    assert features.names == ("age", "vector[0]", "vector[1]")
    assert features.numbers[0].tolist() == [1, 1, 2]
    assert math.isnan(features.numbers[1, 0])
    assert features.categories.tolist() == [[0], [-1]]
    assert features.levels == (("a",),)
    assert set(features.left_out) == {"tags", "none"}
    assert features.width == 3 + 1


def test_rows_are_taken_of_every_part() -> None:
    columns = read_columns({"x": [1, 2, 3], "t": [["a"], ["b", "c"], []], "y": [4, 5, 6]}, target="y")
    some = columns.take(torch.tensor([False, True, True]))
    assert some.rows == 2
    assert some.target.values.tolist() == [5, 6]
    assert some.inputs[1].lists == (("b", "c"), ())


def test_a_matrix_with_a_target_has_numbered_columns() -> None:
    columns = read_columns(np.arange(6.0).reshape(2, 3), target=2)
    assert columns.target.values.tolist() == [2, 5]
    assert [c.name for c in columns.inputs] == ["0", "1"]


TEXT = "a,b,y\n1,x,2.5\n2,y,3.5\n"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet", ".jsonl", ".npz"])
def test_files_of_every_make_are_the_same_table(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"data{suffix}"
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", "y"], "y": [2.5, 3.5]})
    if suffix == ".csv.gz":
        path.write_bytes(gzip.compress(TEXT.encode()))
    elif suffix == ".parquet":
        frame.write_parquet(path)
    elif suffix == ".jsonl":
        frame.write_ndjson(path)
    elif suffix == ".npz":
        np.savez(path, a=np.array([1, 2]), b=np.array(["x", "y"]), y=np.array([2.5, 3.5]))
    else:
        path.write_text(TEXT.replace(",", "\t") if suffix == ".tsv" else TEXT)
    columns = read_columns(path, target="y")
    assert columns.target.values.tolist() == [2.5, 3.5]
    assert [(c.name, c.kind) for c in columns.inputs] == [("a", "number"), ("b", "text")]
    assert columns.source == path.name


def test_a_semicolon_separates_where_commas_are_decimal(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y\n1,5;2\n2,5;3\n")
    columns = read_columns(str(tmp_path / "a.csv"), target="y")
    assert columns.inputs[0].levels == ("1,5", "2,5")
    assert columns.target.values.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("cut.csv", "a,b\n1,2\n3", "cut.csv:3: 1 fields, expected 2"),
        ("ragged.csv", "a,b\n1,2,3\n", "ragged.csv:2: 3 fields, expected 2"),
        ("twice.csv", "a,a\n1,2\n", 'two columns are called "a"'),
        ("empty.csv", "", "empty.csv is empty"),
        ("cut.jsonl", '{"a": 1}\n{"a": ', "cut.jsonl:2: .*one JSON object a line"),
        ("list.jsonl", "[1, 2]\n", "list.jsonl:1: a list, expected one JSON object"),
        ("words.docx", "a", "ends in .*docx.* expected one of .csv"),
        ("wrong.parquet", "a,b\n1,2\n", "wrong.parquet: .*expected a Parquet file"),
        ("wrong.npy", "a,b\n1,2\n", "wrong.npy: .*expected an array as numpy.save"),
        ("wrong.npz", "PK\x03\x04 cut off", "wrong.npz: .*expected arrays? as numpy.save"),
    ],
)
def test_a_file_that_is_cut_or_wrong_says_where(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        read_columns(tmp_path / name, target="a")


def test_a_header_without_rows_has_nothing_to_learn(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n")
    with pytest.raises(NothingThereError, match=r"a.csv has no rows"):
        read_columns(tmp_path / "a.csv", target="y")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"data": {"price": [1]}, "target": "prise"}, "did you mean price"),
        ({"data": {"price": [1], "b": [2]}, "target": "z"}, "there are price, b"),
        ({"data": {"a": [1], "b": [2]}, "target": "a", "inputs": ["a"]}, "cannot be learned from"),
        ({"data": {"a": [1], "b": [2]}, "target": "a", "group": "c"}, '"group" is "c"'),
        ({"data": {"a": [1], "b": [2, 3]}, "target": "a"}, "has 2 rows"),
        ({"data": [1, 2], "inputs": ["a"]}, "has no named columns"),
        ({"data": [1, 2], "group": "a"}, "without named columns"),
        ({"data": [1, 2], "inputs": [[1.0], [2.0], [3.0]]}, "has 3 rows"),
        ({"data": torch.zeros(2, 2, 2)}, "of shape"),
        ({"data": torch.zeros(2, dtype=torch.complex64)}, "complex"),
        ({"data": "no_such_file.csv"}, "does not exist"),
        ({"data": {}}, "no columns"),
    ],
)
def test_what_is_no_table_says_so(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_columns(**arguments)


@pytest.mark.parametrize("data", [3, {"a": 1}, [object()], [b"a"], [{"a": 1}]])
def test_what_holds_no_values_is_a_type_error(data: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        read_columns(data, target="a" if isinstance(data, dict) else None)


def test_nothing_that_was_given_is_changed() -> None:
    values = np.array([1.0, 2.0])
    column = read_columns(values).target
    column.values[0] = 9
    assert values.tolist() == [1, 2]


CELLS = ["5", "+5", "-5", "007", ".5", "5.", "5.e3", "1e3", "-1.5E-3", "inf", "Infinity", " 5", "True", "1_0", "9" * 20, "nan",
         "x", "0x1F", "1;true\n2.5;1", "1;2\n\n3;", '"x ""y""";2\n"two\nlines";4', "1;NA\r\n2;false\r", ";\nNULL;"]  # fmt: skip


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize(("suffix", "last"), [(".csv", ";\n"), (".tsv", "")])
def test_plain_text_is_read_without_polars_as_polars_reads_it(
    cells: str, suffix: str, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"data{suffix}"
    text = f"a;b\n{cells if ';' in cells else cells + ';3'}\n{last}"
    path.write_bytes((text if suffix == ".csv" else text.replace(";", "\t")).encode())
    there = read_columns(path, target="b", inputs=["a"])
    monkeypatch.setitem(sys.modules, "polars", None)
    without = read_columns(path, target="b", inputs=["a"])
    for one, other in zip((*there.inputs, there.target), (*without.inputs, without.target), strict=True):
        assert (one.kind, one.stored, one.levels) == (other.kind, other.stored, other.levels)
        assert torch.equal(one.missing, other.missing)
        assert torch.equal(one.known, other.known)
