"""Everything that holds state of a training and can be reached from a model, an optimizer or a batch."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

__all__ = ["HOLDERS", "HOOKS", "is_array", "reached", "rebuild", "same_things", "state_of_random", "things_in"]

_BOXES: Final = (dict, OrderedDict, defaultdict, list, set, deque)
HOLDERS: Final = (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.amp.GradScaler, UserDict)
_LONGEST: Final = 100_000  # entries of a plain list that are looked into: a data set kept in a module is not state of a step
HOOKS: Final = ("_backward_hooks", "_post_accumulate_grad_hooks")


def reached(roots: Iterable[object]) -> list[Any]:
    """Each tensor, container and generator once, the containers of attributes among them, in a fixed order."""
    found: list[Any] = []
    seen: set[int] = set()
    # objects of any class are opened where they are given, but not deeper inside
    first = [x for root in roots for x in ([root] if _holds(root) else _inside(root))]
    waiting: deque[Any] = deque(first)
    while waiting:
        one = waiting.popleft()
        if id(one) in seen or not _holds(one):
            continue
        seen.add(id(one))
        if isinstance(one, (*_BOXES, Tensor, torch.Generator)) or is_array(one):
            found.append(one)
        waiting.extend(_inside(one))
    return found


def _holds(one: object) -> bool:
    return type(one) in _BOXES or isinstance(one, (Tensor, tuple, torch.Generator, *HOLDERS)) or is_array(one)


def _inside(one: Any) -> Sequence[Any]:
    """What a thing is made of; a root may be an object of any class."""
    if isinstance(one, Tensor):
        return [x for x in (one.grad if one.is_leaf else None, *(getattr(one, h, None) for h in HOOKS)) if x is not None]
    if type(one) in _BOXES or isinstance(one, tuple):
        return things_in(one) if len(one) <= _LONGEST else ()
    if isinstance(one, (str, bytes, int, float, type)) or one is None or (callable(one) and not isinstance(one, HOLDERS)):
        return ()
    return [vars(one)] if hasattr(one, "__dict__") else ()


def things_in(box: Any) -> list[Any]:
    """Keys and values of a dictionary, entries of any other container."""
    return [x for pair in list(box.items()) for x in pair] if isinstance(box, dict) else list(box)


def same_things(one: list[Any], other: list[Any]) -> bool:
    """Whether two lists hold the same objects."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def is_array(one: object) -> bool:
    """Whether it is a NumPy array; losskit does not need NumPy, a batch may be made of it."""
    return type(one).__module__ == "numpy" and type(one).__name__ == "ndarray"


def state_of_random() -> list[tuple[Any, Any]]:
    """All sources of random numbers with their states: Python's, torch's, CUDA's, and NumPy's where it is loaded."""
    states: list[tuple[Any, Any]] = [(random, random.getstate()), (torch.default_generator, torch.get_rng_state())]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states += [(g, g.get_state()) for g in torch.cuda.default_generators]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        states.append((numpy.random, numpy.random.get_state()))
    return states


def rebuild(states: Any) -> None:
    """Put sources of random numbers back into their states."""
    for source, state in [states] if isinstance(states, tuple) else states:
        if source is random:
            random.setstate(state)
        else:
            source.set_state(state)
