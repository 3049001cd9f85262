"""Which windows of a document the model reads, and which tokens each of them scores: every token once, its context known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..core.check import choice

__all__ = ["Contexts", "Plan", "Window", "contexts"]


class Window(NamedTuple):
    """Tokens [start, stop) of a document, of which [first, stop) are scored; the last is only predicted, never read."""

    start: int
    first: int
    stop: int
    prefixed: bool
    """Whether the prefix token (BOS) is read before token ``start``."""

    @property
    def read(self) -> int:
        """Positions that the model reads."""
        return self.prefixed + self.stop - 1 - self.start

    @property
    def context(self) -> int:
        """Positions before the first scored token; each later one has one more."""
        return self.prefixed + self.first - self.start


class Plan(NamedTuple):
    """Windows of at most ``window`` positions, each of which scores ``stride`` tokens more than the one before.

    The first window scores all it can. Where a window lies does not depend on the document's length, so that no token's
    score depends on what comes after it. A window that starts inside of the document holds at least one of its tokens
    before the first that it scores.
    """

    window: int
    stride: int
    prefix: str
    """Where the prefix token stands: in "every" window, the "first" of a document, or "none"."""

    def check(self) -> None:
        """Raise ValueError unless every token can have a context."""
        choice("prefix", self.prefix, ("every", "first", "none"))
        least = 2 if self.prefix == "every" else 1
        if self.window < least:
            told = ' with a prefix in every window: use bos="first"' if least == 2 else ""
            raise ValueError(f'"window" is {self.window}, expected >= {least}{told}')
        most = self.window - (self.prefix == "every")
        if not 1 <= self.stride <= most:
            slot = "" if most == self.window else f': of the {self.window} positions of "window" the prefix takes one'
            raise ValueError(f'"stride" is {self.stride}, expected 1 to {most}{slot}')

    def windows(self, tokens: int) -> Iterator[Window]:
        """The windows of a document of so many tokens.

        Raises:     ValueError as :meth:`check`.
        """
        self.check()
        head = self.prefix != "none"
        first = 0 if head else 1  # nothing precedes the first token without a prefix
        stop = min(tokens, self.window + 1 - head)
        if stop > first:
            yield Window(0, first, stop, head)
        prefixed = self.prefix == "every"
        while stop < tokens:
            first = stop
            start = max(0, first + self.stride - 1 - (self.window - prefixed))
            stop = min(tokens, first + self.stride)
            yield Window(start, first, stop, prefixed)

    def runs(self, tokens: int) -> Iterator[tuple[Window, int]]:
        """The same windows, those that look alike as one of them and how many there are."""
        for one in self.windows(tokens):
            times = (tokens - one.first) // self.stride
            if one.start == 0 or times == 0:
                yield one, 1
                continue
            yield one, times  # from here on only the last can be shorter
            gone = times * self.stride
            if one.first + gone < tokens:
                yield Window(one.start + gone, one.first + gone, tokens, one.prefixed), 1
            return

    def scored(self, tokens: int) -> int:
        """Tokens of a document that are scored."""
        return max(0, tokens - (self.prefix == "none"))

    def cost(self, tokens: int) -> tuple[int, int]:
        """(windows, positions read) for a document of so many tokens."""
        runs = list(self.runs(tokens))
        return sum(times for _, times in runs), sum(times * one.read for one, times in runs)


class Contexts(NamedTuple):
    """How many positions came before a scored token."""

    least: int
    mean: float
    p05: int
    """95 % of the scored tokens have more, or as many."""
    most: int


def contexts(plan: Plan, lengths: Sequence[int]) -> Contexts | None:
    """Over all documents; None where nothing is scored."""
    steps = [0] * (plan.window + 3)  # differences of the histogram of contexts
    for tokens in lengths:
        for one, times in plan.runs(tokens):
            steps[one.context] += times
            steps[one.context + one.stop - one.first] -= times
    total = moment = running = 0
    counts: list[int] = []
    for length, step in enumerate(steps):
        running += step
        counts.append(running)
        total, moment = total + running, moment + running * length
    if not total:
        return None
    seen, found = 0, -1
    for length, count in enumerate(counts):
        seen += count
        if found < 0 and seen > 0.05 * total:
            found = length
    present = [length for length, count in enumerate(counts) if count]
    return Contexts(present[0], moment / total, found, present[-1])
