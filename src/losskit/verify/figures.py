"""The figures of the demos that README and docs quote."""

from __future__ import annotations

from .claim import Claim

__all__ = ["claims"]


def claims() -> list[Claim]:
    """Each quoted figure against a fresh run of its demo."""
    return []
