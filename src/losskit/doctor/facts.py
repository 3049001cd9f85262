"""What a fact of a run may be: a name that nobody reads or a value that means nothing is said before anything is read."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from torch.nn.modules import loss as torch_losses

from .evidence.run import Kind
from .levels_ask import cards
from .levels_config import ALSO, NAMES, card_named, number, spelt_losses
from .levels_torch import NAMESAKES, NONNEGATIVE

__all__ = ["checked_facts"]

_FACTS = (*NAMES, "floor")
# read beside those that levels are made of
_MORE = (
    *("optimizer", "maximize", "world_size", "logging_nan_inf_filter"),
    *("id2label", "architectures", "architecture", "problem_type", "task"),
)
_CUTOFF = 0.7  # of difflib: two letters of ten may be others
_SLIP = 0.85  # of difflib, between names of losses: one letter of seven; what differs more is a loss of the user's own
# other names of these may hold "auto" in a config that is given as it is
_NUMBERS = (*NAMES["num_classes"], *NAMES["vocab_size"], "label_smoothing", "batch_size", "accumulate", "max_steps", "floor")


def checked_facts(said: str, facts: Mapping[str, Any]) -> None:
    """Facts that somebody gave under ``said``, such as "--fact" or "refs".

    Raises:     ValueError for a name that is no fact, for a text where a number is expected, and for a loss that is nearly one
                of losskit or torch, each with what was meant.
    """
    _names(said, facts)
    for name in _NUMBERS:
        value = facts.get(name)
        if isinstance(value, str) and number(value) is None:
            raise ValueError(f'"{said}" says that {name} is {value!r}, expected a number, such as {name}={_such(name)}')
    for name in NAMES["loss"]:
        value = facts.get(name)
        if isinstance(value, str) and (meant := _meant(value)):
            raise ValueError(
                f'"{said}" says that {name} is {value!r}, which is no loss: did you mean {meant}? losskit list has all names'
            )


def _names(said: str, names: Iterable[object]) -> None:
    known = _known()
    for name in names:
        if isinstance(name, str) and name in known:
            continue
        plain = str(name).strip().lower().replace("-", "_").replace(" ", "_")
        near = [plain] if plain in known else difflib.get_close_matches(plain, known, n=1, cutoff=_CUTOFF)
        meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(_FACTS)}, or an option of the loss"
        raise ValueError(f'"{said}" names {str(name)!r}, which is no fact: {meant}')


def _such(name: str) -> str:
    return "0.1" if name in ("label_smoothing", "floor") else "10"


def _meant(loss: str) -> str:
    """The name of a loss that differs by a slip of the pen; "" for a known one, and for one of the user's own."""
    plain = loss.strip().lower().replace("-", "_").replace(" ", "_").rpartition(".")[2].removesuffix("()")
    if card_named(loss) is not None or plain in _losses():
        return ""
    near = next(iter(difflib.get_close_matches(plain, _losses(), n=1, cutoff=_SLIP)), "")
    longer = len(plain) - len(near) if near in plain else 0
    return "" if longer > 1 else _losses().get(near, "")  # "my_cross_entropy" is somebody's own


@functools.cache
def _losses() -> Mapping[str, str]:
    """Names of losses in small letters, losskit's own first, and as they are written."""
    modules = [card.module.__name__ for card in cards().values() if card.module is not None]
    torchs = [*sorted(NAMESAKES), *sorted(NONNEGATIVE), *torch_losses.__all__]
    found: dict[str, str] = {}
    for name in (*cards(), *torchs, *modules, *spelt_losses()):
        found.setdefault(name.lower(), name)
    return found


@functools.cache
def _known() -> tuple[str, ...]:
    """The surest names first: those of facts, of curves, of options and levels of the losses."""
    spelt = [name for names in NAMES.values() for name in names]
    levels = [f for card in cards().values() for f in (card.chance, card.constant, card.floor) if f is not None]
    options = [name for card in cards().values() for name in card.options]
    asked = [name for level in levels for name in inspect.signature(level).parameters]
    return tuple(dict.fromkeys([*_FACTS, *spelt, *ALSO, *_MORE, *get_args(Kind), *asked, *options]))
