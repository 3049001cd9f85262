"""The named numbers that a loss may stand at, from its intercepted call or from what is known of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .evidence.calls import Level, LossCall

__all__ = ["levels_of_call", "levels_of_facts"]


def levels_of_call(call: LossCall) -> tuple[Level, ...]:
    """From its tensors and options: chance, the best constant, the floor, and the plateaus of known mistakes."""
    raise NotImplementedError


def levels_of_facts(facts: Mapping[str, Any]) -> tuple[Level, ...]:
    """From what is known of a run: {"loss": "cross_entropy", "num_classes": 10, "label_smoothing": 0.1, "vocab_size": 50257}."""
    raise NotImplementedError
