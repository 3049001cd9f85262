"""One run's log on disk, and which format a file is in, told by its first bytes."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from . import names
from .text import HEAD, decode, head_and_tail

__all__ = ["FORMATS", "LogError", "Source", "board_curve", "header_line", "sniff", "speaks_of_a_loss"]

FORMATS = ("hf", "lightning", "tensorboard", "wandb", "mlflow", "trackio", "jsonl", "csv", "stdout")
# first bytes of what is not a log, and why it is not read
_REFUSED = (
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"PK\x03\x04", "a zip archive (or a torch.save file), which is not unpacked: point at the log itself"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (b"PAR1", "a Parquet file: export it as CSV or JSONL"),
    (b"\x80\x02", "a pickle, which is never loaded: it could run any code"),
    (b"\x80\x03", "a pickle, which is never loaded: it could run any code"),
    (b"\x80\x04", "a pickle, which is never loaded: it could run any code"),
    (b"\x80\x05", "a pickle, which is never loaded: it could run any code"),
    (b"\x89HDF", "an HDF5 file, not a log"),
)
_LOSS_AND_NUMBER = re.compile(
    r"(?:loss|nll|ppl|perplexity)[\w/.@\-]{0,40}[\"']?\s{0,4}[:=]?\s{0,4}[\"'(\[]?-?(?:\d|nan|inf)", re.IGNORECASE
)
FEW = 16  # NUL bytes in a short log: a gap
_OWN = re.compile(r'"schema":\s{0,4}"losskit\.doctor/')


class LogError(Exception):
    """Why a log cannot be read, in one sentence for the user."""


@dataclass(frozen=True)
class Source:
    """The log of one run."""

    path: Path
    """The file, or the folder of the run."""
    format: str
    """One of :data:`FORMATS`, or "" for what cannot be read."""
    files: tuple[Path, ...]
    """What is read; which of several counts is the reader's to say."""
    name: str
    """For the report."""
    key: str = ""
    """The run within a database that holds several."""
    problem: str = ""
    """Why it cannot be read."""
    also: tuple[Path, ...] = ()
    """TensorBoard files of the same run, which may reach further."""


def sniff(path: Path) -> tuple[str, str]:
    """(format, problem) of a file: one of the two is empty."""
    head, tail = head_and_tail(path)
    if not head:
        return "", "empty"
    for magic, why in _REFUSED:
        if head.startswith(magic):
            return "", why
    if head.startswith(b"SQLite format 3\x00"):
        return "sqlite", ""
    if head.startswith(b":W&B"):
        return "wandb", ""
    if "tfevents" in path.name:
        return "tensorboard", ""
    if path.suffix in (".db", ".sqlite", ".sqlite3"):
        return "", "not an SQLite database, although it is called one"
    text = decode(head.rstrip(b"\x00"))
    if not text or text.count("\x00") > max(len(text) // 100, FEW):
        return "", "binary, and of no format that the doctor knows"
    if path.suffix == ".json" and _OWN.search(text[:1000]):
        return "", "a report of the doctor, not a log"
    return _text_format(path, text.replace("\x00", ""), decode(tail)), ""


def _text_format(path: Path, text: str, tail: str) -> str:
    start = text.lstrip("\ufeff \t\r\n")
    if path.suffix == ".json" or path.name == "trainer_state.json":
        return "hf" if '"log_history"' in text or '"log_history"' in tail or path.name == "trainer_state.json" else "jsonl"
    if start.startswith("{") and '"' in start[:HEAD]:
        return "jsonl"
    if path.suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if path.suffix in (".csv", ".tsv") or looks_like_a_table(start):
        return "lightning" if path.name == "metrics.csv" else "csv"
    return "stdout"


def looks_like_a_table(text: str) -> bool:
    """A header of names and below it rows with as many cells, numbers among them."""
    lines = [line for line in text.split("\n", 4)[:4] if line.strip()]
    if len(lines) < 2:
        return False
    for delimiter in (",", "\t", ";"):
        try:
            rows = list(csv.reader(lines[:3], delimiter=delimiter))
        except csv.Error:
            return False
        header = [cell.strip() for cell in rows[0]]
        if len(header) < 2 or any(len(row) != len(header) for row in rows[:2]):
            continue
        if all(cell and names.number(cell) is None for cell in header) and any(names.number(c) is not None for c in rows[1]):
            return True
    return False


def speaks_of_a_loss(path: Path) -> bool:
    """Whether a text file that nobody pointed at may be a log: a folder also holds requirements and notes."""
    head, tail = head_and_tail(path)
    text = decode(head)
    kind = _text_format(path, text, "")
    if kind in ("csv", "lightning"):
        cells = [cell.strip(' "') for cell in _header(text)]
        cells[-1:] = [board_curve(path, cells) or cells[-1]]
        return any(names.kind_of(cell) in ("train_loss", "eval_loss", "perplexity") for cell in cells)
    return bool(_LOSS_AND_NUMBER.search(text) or _LOSS_AND_NUMBER.search(decode(tail)))


def _header(text: str) -> list[str]:
    return re.split(r"[,;\t]", header_line(text))


def header_line(text: str) -> str:
    """The first line of a table, which a Mac may have ended with a carriage return."""
    return re.split(r"[\r\n]", text.lstrip("\ufeff\r\n"), maxsplit=1)[0]


def board_curve(path: Path, header: list[str]) -> str | None:
    """What the one curve of a table downloaded from TensorBoard is called: only the file's name says it."""
    if [cell.lower() for cell in header] != ["wall time", "step", "value"]:
        return None
    return path.stem.rpartition("-tag-")[2]
