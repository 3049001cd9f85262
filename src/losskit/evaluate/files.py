"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole", "write_whole"]


@contextmanager
def whole(path: Path) -> Generator[Path]:
    """A draft to be written; then it takes the place of ``path``, which is not touched if anything fails."""
    path = path.resolve()  # a link stays a link
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file; one that is already there is replaced as a whole or, if anything fails, not touched."""
    with whole(path) as draft, draft.open("x", encoding="utf-8") as file:  # closed before it takes the place
        file.write(text)
