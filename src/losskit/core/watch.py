"""Who looks on while a loss is called: one watcher around every loss of the catalogue, none by default."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

__all__ = ["Watcher", "watched", "watching"]

Watcher = Callable[[str, Mapping[str, Any], Callable[[], Tensor]], Tensor]
"""``watcher(name, arguments, call)`` returns what ``call()`` returns; it is called before the arguments are checked."""

_watcher: Watcher | None = None


@contextmanager
def watching(watcher: Watcher) -> Generator[None, None, None]:
    """Let ``watcher`` stand around every loss that is called in the block, instead of any other.

    Not thread-safe: there is one place for the whole process.
    """
    global _watcher
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


def watched(name: str, arguments: Mapping[str, Any], call: Callable[[], Tensor]) -> Tensor:
    """Call, with whoever looks on; what is called inside of that is not looked at again."""
    global _watcher
    watcher = _watcher
    if watcher is None:
        return call()
    _watcher = None  # a loss that is made of another is one loss
    try:
        return watcher(name, arguments, call)
    finally:
        _watcher = watcher
