"""The pieces of a script that read the file and its cells, as losskit reads them."""

from __future__ import annotations

from ..columns_cells import MISSING
from .plan import Plan

__all__ = ["cells", "imports", "missing", "reader"]

_CSV = '''def read(file=DATA):
    """The columns of a CSV, by name."""
    with {open}(file, {mode}newline="", encoding="utf-8-sig") as lines:
        names, *rows = (row for row in csv.reader(lines{separator}) if row)
    return {{name: [row[i] for row in rows] for i, name in enumerate(names)}}'''
_JSON = '''def read(file=DATA):
    """The fields of the objects, one a line, as columns."""
    with {open}(file, {mode}encoding="utf-8-sig") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    names = dict.fromkeys(name for row in rows for name in row)
    return {{name: [row.get(name) for row in rows] for name in names}}'''
_PARQUET = '''def read(file=DATA):
    """The columns of a Parquet file, by name."""
    return polars.read_parquet(file).to_dict(as_series=False)'''
_NPZ = '''def read(file=DATA):
    """The arrays of the file, by name."""
    with numpy.load(file) as arrays:
        return {{name: arrays[name]{dates}.tolist() for name in arrays.files}}'''
_NPY = '''def read(file=DATA):
    """The columns of the matrix, by number; those of a structured array by name."""
    array = numpy.load(file)
    if array.dtype.names:
        return {name: array[name].tolist() for name in array.dtype.names}
    return {str(i): column.tolist() for i, column in enumerate(array.T)}'''
_WHOLE = '''def read(file=DATA):
    """The rows of the array."""
    return {"target": numpy.load(file).tolist()}'''

_WORD = '''def word(cell):
    """A cell as text; None where nothing is written."""
    text = str(cell).strip()
    return None if text in MISSING else text'''
_NUMBER = '''def number(cell, name="", row=0):
    """A cell as a number: true is 1, what is missing or infinite is NaN."""
    text = word(cell) or "nan"
    try:
        value = float({"true": 1, "false": 0}.get(text.lower(), text))
    except ValueError:
        raise ValueError(f"column {name!r}, row {row}: {cell!r} is no number") from None
    return value if math.isfinite(value) else math.nan'''
_NUMBER_ALONE = _NUMBER.replace('word(cell) or "nan"', "str(cell).strip()").replace(
    "float(", "math.nan if text in MISSING else float("
)
_DAY = '''def seconds(cell):
    """A date as seconds since 1970; NaN where it is missing."""
    if word(cell) is None:
        return math.nan
    when = datetime.fromisoformat(word(cell).removesuffix("Z"))
    return when.replace(tzinfo=when.tzinfo or timezone(timedelta(0))).timestamp()'''
_VECTORS = '''def vectors(cells):
    """Lists of numbers as rows of a matrix; NaN where one is missing."""
    width = max(len(cell) for cell in cells if cell is not None)
    wide = [[math.nan if v is None else float(v) for v in cell or [None] * width] for cell in cells]
    return torch.tensor(wide, dtype=torch.float64)'''


def imports(plan: Plan) -> tuple[list[str], list[str]]:
    """What the reader needs: modules of Python, and others."""
    own = {".csv": ["csv"], ".tsv": ["csv"], ".jsonl": ["json"], ".ndjson": ["json"]}.get(plan.suffix, [])
    other = {".parquet": ["polars"], ".npy": ["numpy"], ".npz": ["numpy"]}.get(plan.suffix, [])
    return own + ["gzip"] * (plan.data.suffix == ".gz"), other


def reader(plan: Plan) -> str:
    """The function that reads the file."""
    packed = plan.data.suffix == ".gz"
    given = {"open": "gzip.open" if packed else "open", "mode": '"rt", ' if packed else ""}
    if plan.suffix in (".csv", ".tsv"):
        separator = "" if plan.separator == "," else f', delimiter="{plan.separator}"'.replace("\t", "\\t")
        return _CSV.format(separator=separator, **given)
    if plan.suffix in (".jsonl", ".ndjson"):
        return _JSON.format(**given)
    if plan.suffix == ".parquet":
        return _PARQUET
    if plan.suffix == ".npz":
        return _NPZ.format(dates=".astype(str)" if plan.dates else "")
    return _WHOLE if plan.matrix else _NPY


def cells(plan: Plan, *, words: bool = True, numbers: bool = True, vectors: bool = False) -> list[str]:
    """The functions that make words, numbers, dates and vectors of cells, those that are called; numbers alone need no words."""
    found = [_WORD] if words else []
    found += [_NUMBER if words else _NUMBER_ALONE] if numbers else []
    found += [_DAY] if plan.dates else []
    return found + ([_VECTORS] if vectors else [])


def missing() -> str:
    """What stands for no value."""
    return "MISSING = {" + ", ".join(f'"{word}"' for word in MISSING) + "}  # what stands for no value"
