"""The numbers of the steps of a live run."""

from __future__ import annotations

import warnings

from ..arguments import checked_place

__all__ = ["Count"]


class Count:
    """Numbers that never go back: curves and findings are by step."""

    def __init__(self) -> None:
        self.next = 0
        self._behind = 0

    def take(self, at: int | None) -> int:
        """The number of a step that the loop calls ``at``; where its count starts over, it is counted on from here."""
        if at is None:
            self.next += 1
            return self.next - 1
        if self.place(at) < self.next - 1:  # the last one may come again, as in a closure of LBFGS
            self._behind = self.next - at
            said = f'"at" went back to {at}, and the monitor counts on from {self.next}: give the steps since the run began'
            warnings.warn(said, stacklevel=4)
        self.next = self.place(at) + 1
        return self.next - 1

    def place(self, at: int | None) -> int:
        """Where a number of the loop's stands; the next one for None."""
        return self.next if at is None else checked_place(at) + self._behind
