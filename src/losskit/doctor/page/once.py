"""What runs with the same finding share is said once in a report: why, what to change, how to check it."""

from __future__ import annotations

import re
from typing import Generic, NamedTuple, TypeVar

from ..finding import Finding

__all__ = ["Once", "Words"]

T = TypeVar("T")


class Words(NamedTuple, Generic[T]):
    """Of one finding in a report."""

    new: dict[str, str]
    """Paragraphs that nobody has read yet, by their heads."""
    known: tuple[str, ...]
    """Heads of those that stand above."""
    at: T | None
    """Where: the first place that had them."""


class Once(Generic[T]):
    """Remembers what was said, and where."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str, str], T] = {}

    def of(self, one: Finding, at: T) -> Words[T]:
        """What is left to say of a finding, at a place."""
        new, known, first = dict[str, str](), list[str](), None
        for head, said in (("why", one.cause), ("fix", one.fix), ("check", one.confirm)):
            # a fix may name the step, which stands beside it
            bare = said if one.hit.step is None else re.sub(rf"\b{one.hit.step}\b", "N", said)
            key = one.code, head, bare
            if key in self._said:
                known.append(head)
                first = first or self._said[key]
            else:
                self._said[key] = at
                new[head] = said
        return Words(new, tuple(known), first)
