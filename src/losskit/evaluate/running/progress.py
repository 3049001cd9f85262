"""How far an evaluation is, on stderr: a line that is rewritten in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO

from ..intervals import student_t_quantile
from ..records import DocumentScore
from ..summary import exp

__all__ = ["Progress", "Silent"]

_SOON, _SELDOM = 0.5, 15.0  # seconds between two lines: of a terminal, of a file


class Progress:
    """Told of every batch and every document; prints the running perplexity, its interval, the speed and what is left."""

    def __init__(self, total: int, *, level: float, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.live = self.stream.isatty()
        self.total, self.level = total, level
        self.tokens = self.resumed = 0
        self.count, self.sums = 0, [0.0] * 5  # of nats, tokens, and their products
        self.began = self.last = time.monotonic()
        self.width = 0

    def resume(self, documents: Sequence[DocumentScore]) -> None:
        """Documents that were scored before."""
        self.finish(documents)
        if documents and self.total:
            self._print(f"{len(documents)} {'document' if len(documents) == 1 else 'documents'} from the journal")
        self.tokens = self.resumed = sum(d.tokens for d in documents)

    def batch(self, tokens: int) -> None:
        """So many tokens more."""
        self.tokens += tokens
        now = time.monotonic()
        if now - self.last >= (_SOON if self.live else _SELDOM):
            self.last = now
            self._print(self.line(now))

    def finish(self, documents: Sequence[DocumentScore]) -> None:
        """Documents that are done."""
        for one in documents:
            if one.tokens:
                self.count += 1
                terms = (one.nats, one.tokens, one.nats * one.nats, one.nats * one.tokens, one.tokens * one.tokens)
                self.sums = [total + term for total, term in zip(self.sums, terms, strict=True)]

    def line(self, now: float) -> str:
        """One line of text."""
        speed = (self.tokens - self.resumed) / max(now - self.began, 1e-9)
        left = (self.total - self.tokens) / speed if speed > 0 else 0.0
        parts = [f"{100 * self.tokens / max(self.total, 1):3.0f} %", f"{_time(left)} left", f"{speed:,.0f} tokens/s"]
        parts += [f"perplexity so far {self._so_far()}"] if self.count else []
        return " | ".join([*parts, f"{self.tokens:,} of {self.total:,} tokens"])

    def _so_far(self) -> str:
        """With its interval over documents, as ``intervals.ratio`` has it, from sums alone."""
        nats, tokens, squares, products, widths = self.sums
        loss = nats / tokens
        if self.count < 2 or not math.isfinite(loss):
            return f"{exp(loss):.4g}"
        rest = max(0.0, squares - 2 * loss * products + loss * loss * widths)
        reach = math.sqrt(self.count / (self.count - 1) * rest) / tokens
        reach *= student_t_quantile((1 + self.level) / 2, self.count - 1)
        return f"{exp(loss):.4g} [{exp(loss - reach):.4g}, {exp(loss + reach):.4g}]"

    def _print(self, line: str) -> None:
        if not self.live:
            print(line, file=self.stream, flush=True)
            return
        import shutil

        line = line[: max(shutil.get_terminal_size().columns - 1, 20)]
        print("\r" + line.ljust(self.width), end="", file=self.stream, flush=True)
        self.width = len(line)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.live and self.width:
            print("\r" + " " * self.width, end="\r", file=self.stream, flush=True)


class Silent(Progress):
    """Says nothing."""

    def __init__(self) -> None:
        super().__init__(0, level=0.95)

    def batch(self, tokens: int) -> None:
        """Nothing is said."""


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
