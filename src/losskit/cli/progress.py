"""A line on a terminal's stderr while something long is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator

__all__ = ["progress"]


@contextlib.contextmanager
def progress(first: str, what: str) -> Generator[Callable[[int, int, str], None] | None, None, None]:
    """Begins with ``first``, then says how many of ``what`` are done and which one is next; nothing in a pipe."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status(first) as status:
        yield lambda done, total, name: status.update(f"{done} of {total} {what}  {escape(name)}")
