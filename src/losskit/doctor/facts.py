"""Which names a fact of a run may have: one that nobody reads is a slip of the pen, and is said before anything is read."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Iterable
from typing import get_args

from .evidence.run import Kind
from .levels_ask import cards
from .levels_config import ALSO, NAMES

__all__ = ["checked_names"]

_FACTS = (*NAMES, "floor")
# read beside those that levels are made of
_MORE = (
    *("optimizer", "maximize", "world_size", "logging_nan_inf_filter"),
    *("id2label", "architectures", "architecture", "problem_type", "task"),
)
_CUTOFF = 0.7  # of difflib: two letters of ten may be others


def checked_names(said: str, names: Iterable[object]) -> None:
    """Names of facts that somebody gave under ``said``, such as "--fact" or "refs".

    Raises:     ValueError for a name that is no fact, with the one that was meant.
    """
    known = _known()
    for name in names:
        if isinstance(name, str) and name in known:
            continue
        plain = str(name).strip().lower().replace("-", "_").replace(" ", "_")
        near = [plain] if plain in known else difflib.get_close_matches(plain, known, n=1, cutoff=_CUTOFF)
        meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(_FACTS)}, or an option of the loss"
        raise ValueError(f'"{said}" names {str(name)!r}, which is no fact: {meant}')


@functools.cache
def _known() -> tuple[str, ...]:
    """The surest names first: those of facts, of curves, of options and levels of the losses."""
    spelt = [name for names in NAMES.values() for name in names]
    levels = [f for card in cards().values() for f in (card.chance, card.constant, card.floor) if f is not None]
    options = [name for card in cards().values() for name in card.options]
    asked = [name for level in levels for name in inspect.signature(level).parameters]
    return tuple(dict.fromkeys([*_FACTS, *spelt, *ALSO, *_MORE, *get_args(Kind), *asked, *options]))
