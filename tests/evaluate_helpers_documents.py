"""What tests of documents ask of a source, and files to write for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from losskit.evaluate.text.documents import DataError, read_documents

__all__ = ["ids", "refused", "texts", "written"]


def texts(source: object, **options: Any) -> list[str | None]:
    return [each.text for each in read_documents(source, **options)]


def ids(source: object, **options: Any) -> list[str]:
    return [each.id for each in read_documents(source, **options)]


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(message: str, source: object, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_documents(source, **options)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
