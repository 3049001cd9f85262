"""A claim: what we say, how to recompute it, what torch says, and the truth."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Answer", "Claim", "Finding", "MissingError", "NotRun", "answer", "text"]

Answer = float | str


class NotRun(str):
    """Why a claim could not be looked at here: neither passed nor failed."""

    __slots__ = ()


class MissingError(Exception):
    """What a claim needs and this installation has not."""


@dataclass(frozen=True)
class Claim:
    """``ours`` must be within ``tolerance`` (relative; absolute where the truth is 0) of ``truth``.

    A truth in words ("raises ShapeError", "0 with a graph") must be met to the letter. ``torch`` is only shown.
    """

    group: str
    about: str
    truth: Answer
    ours: Callable[[], Answer]
    torch: Callable[[], Answer] | None = None
    tolerance: float = 1e-6
    at_most: bool = False
    """The truth is a bound: any number up to it passes."""
    parity: bool = False
    """The claim is that we equal torch: to hold is to tie."""


@dataclass(frozen=True)
class Finding:
    """What a claim came to on this machine."""

    claim: Claim
    ours: Answer
    torch: Answer | None

    @property
    def outcome(self) -> str:
        """One of "not run", "failed", "tied" (torch has the truth as well) and "passed"."""
        if isinstance(self.ours, NotRun):
            return "not run"
        if not _meets(self.claim, self.ours):
            return "failed"
        tie = self.claim.parity or (self.torch is not None and _meets(self.claim, self.torch))
        return "tied" if tie else "passed"

    @property
    def passed(self) -> bool:
        """Whether our answer is the truth, within the tolerance."""
        return self.outcome in ("passed", "tied")


def _meets(claim: Claim, found: Answer) -> bool:
    truth = claim.truth
    if isinstance(truth, str) or isinstance(found, str):
        return found == truth
    if claim.at_most:
        return found <= truth
    return abs(found - truth) <= claim.tolerance * (abs(truth) or 1.0)


def answer(compute: Callable[[], Answer]) -> Answer:
    """The result of ``compute``, or the name of what it raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compute()
        except MissingError as missing:
            return NotRun(missing)
        except Exception as problem:  # whatever it is, it is the answer
            return f"raises {type(problem).__name__}"


def text(value: Answer | None) -> str:
    """An answer as a table cell: six digits, nothing for None."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return "nan" if math.isnan(value) else f"{value:.6g}"
