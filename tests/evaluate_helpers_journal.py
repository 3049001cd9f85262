"""What the tests of the journal share; among it writers in processes of their own, which can be killed at any moment."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from losskit.evaluate.running.journal import Journal

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and flock are POSIX")

SOURCE = Path(__file__).parent.parent / "src" / "losskit" / "evaluate" / "running" / "journal.py"
PRINT = {"model": "sha256:0", "window": 512, "plan": {"stride": 256}}

# the file alone, without torch: a child must be up before it can be killed a hundred times
LOAD = f"""
import importlib.util, os, random, resource, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("journal", {str(SOURCE)!r})
module = sys.modules["journal"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
Journal, JournalError, PRINT = module.Journal, module.JournalError, {PRINT!r}
def record(number, size):
    return {{"id": f"doc {{number}}", "sum": random.Random(number).random() * 1e3, "text": "x" * size}}
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-S", "-c", LOAD + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(code: str, *arguments: object) -> tuple[int, str, str]:
    """Exit status, output and error of a child that ends by itself."""
    process = child(code, *arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def heard(process: subprocess.Popen[str], word: str) -> None:
    """Wait until the child says ``word``."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line == word, (line, process.communicate(timeout=60)[1])


def write(path: Path, *records: dict[str, Any], rank: int = 0) -> None:
    with closing(Journal.open(path, PRINT, rank=rank)) as journal:
        journal.append(records)


def read(path: Path, rank: int = 0) -> dict[str, dict[str, Any]]:
    with closing(Journal.open(path, PRINT, rank=rank)) as journal:
        return journal.records


def document(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"doc {number}", "sum": random.Random(number).random() * 1e3, **more}


def by_id(*records: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in records}
