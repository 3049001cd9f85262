"""Who looks on while a loss is called: one watcher around every loss of the catalogue, none by default."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

__all__ = ["Watcher", "watched", "watching"]

Watcher = Callable[[str, Mapping[str, Any], Callable[[], Tensor]], Tensor]
"""``watcher(name, arguments, call)`` returns what ``call()`` returns; it is called before the arguments are checked."""

_standing: dict[int, list[Watcher]] = {}
"""By thread, the innermost last; a plain dict, since compiled code must not meet a thread-local."""
_inside: set[int] = set()
"""Threads in which a watcher is at work."""


@contextmanager
def watching(watcher: Watcher) -> Generator[None, None, None]:
    """Let ``watcher`` stand around every loss that this thread calls in the block, instead of any other.

    Blocks may end in any order: the watchers of the others stay.
    """
    thread = get_ident()
    _standing.setdefault(thread, []).append(watcher)
    try:
        yield
    finally:
        _standing[thread].remove(watcher)
        if not _standing[thread]:
            del _standing[thread]


def watched(name: str, arguments: Mapping[str, Any], call: Callable[[], Tensor]) -> Tensor:
    """Call, with whoever looks on; what is called inside of that is not looked at again, and compiled code never."""
    if torch.compiler.is_compiling() or not _standing:
        return call()
    thread = get_ident()
    watchers = _standing.get(thread)
    if not watchers or thread in _inside:
        return call()
    _inside.add(thread)  # a loss that is made of another is one loss
    try:
        return watchers[-1](name, arguments, call)
    finally:
        _inside.discard(thread)
