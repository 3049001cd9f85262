"""The data of the demos, nothing of it downloaded: tables that scikit-learn brings along, and the manual in Python itself."""

from __future__ import annotations

import math
import re
from importlib import import_module

import torch
from torch import Tensor

from . import need

__all__ = ["diabetes", "digits", "topics"]


def digits() -> tuple[Tensor, Tensor]:
    """1797 handwritten digits: 8 x 8 grey values in [0, 1] as (1797, 64), and the digit as (1797,)."""
    images, labels = need("sklearn.datasets").load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float64) / 16, torch.tensor(labels, dtype=torch.long)


def diabetes() -> tuple[Tensor, Tensor]:
    """442 patients: ten standardised measurements as (442, 10), and disease progression after a year, 25 to 346."""
    columns, progression = need("sklearn.datasets").load_diabetes(return_X_y=True)
    # scikit-learn gives columns of norm 1
    return torch.tensor(columns, dtype=torch.float64) * math.sqrt(len(columns)), torch.tensor(progression, dtype=torch.float64)


def topics() -> dict[str, bytes]:
    """What ``help("for")`` and the like print, by name, in UTF-8; a topic that repeats a longer one is left out.

    Of a random tenth of all topics a third to a half stands in others word for word: held out, it would measure memory.

    Raises:     ImportError for a Python that came without its documentation.
    """
    try:
        texts: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError as missing:
        raise ImportError("losskit demo language-model needs pydoc_data of the standard library: install all of it") from missing
    kept: dict[str, bytes] = {}
    seen: set[str] = set()
    for name in sorted(texts, key=lambda name: (-len(texts[name]), name)):
        own = paragraphs(texts[name])
        if own.isdisjoint(seen):
            kept[name] = texts[name].encode()
            seen |= own
    return kept


def paragraphs(text: str) -> set[str]:
    """The paragraphs of at least 40 characters, white space apart: shorter ones repeat by chance."""
    joined = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text))
    return {block for block in joined if len(block) >= 40}
