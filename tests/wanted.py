"""Every word of every task that choose(want=...) takes, a quantile by an example."""

from __future__ import annotations

from losskit.choosing.wants import WANTS

__all__ = ["WORDS"]

WORDS = [(task, word.replace("=Q", "=0.9")) for task, words in WANTS.items() for word in words]
