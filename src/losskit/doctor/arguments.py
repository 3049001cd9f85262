"""Arguments that make no sense, said before anything runs: what was given, what was expected, what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .facts import checked_facts

__all__ = ["checked", "checked_loss", "checked_place", "monitored"]

_OPTIMIZER = "torch.optim.AdamW(model.parameters(), lr=1e-3)"
_OBJECTIVES = (None, "mining", "adversarial")
_MODES = ("warn", "skip", "raise", "snapshot")


def checked(given: Mapping[str, Any]) -> list[Any]:
    """The arguments of check() by name; its optimizers, as a list.

    Raises:     TypeError or ValueError for the first that makes no sense.
    """
    _common(given)
    if given["loss_fn"] is not None and given["step"] is not None:
        raise ValueError('"loss_fn" and "step" are both given, expected one of them: step(model, batch) returns the loss itself')
    if given["task"] not in (None, "language"):
        raise ValueError(f'"task" is {given["task"]!r}, expected "language" or None')
    budget = given["budget_s"]
    if not isinstance(budget, (int, float)) or isinstance(budget, bool) or not budget >= 0:
        raise ValueError(f'"budget_s" is {budget!r}, expected seconds, 0 or more: leave it out for 30')
    optimizer = given["optimizer"]
    several = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    found = [one for one in several if one is not None]
    for one in found:
        if isinstance(one, type) or not hasattr(one, "param_groups"):
            raise TypeError(f'"optimizer" is {_shown(one)}, expected a torch optimizer or a list of them: give {_OPTIMIZER}')
    return found


def monitored(given: Mapping[str, Any]) -> None:
    """The arguments of Monitor() by name.

    Raises:     TypeError or ValueError for the first that makes no sense.
    """
    _common(given)
    one = given["optimizer"]
    if isinstance(one, (list, tuple)):
        raise TypeError(f'"optimizer" is {_shown(one)}, expected one optimizer: make a Monitor for each, or leave it out')
    if one is not None and (isinstance(one, type) or not (hasattr(one, "param_groups") or hasattr(one, "step"))):
        raise TypeError(f'"optimizer" is {_shown(one)}, expected an optimizer: give {_OPTIMIZER}')
    if given["on_nonfinite"] not in _MODES:
        raise ValueError(f'"on_nonfinite" is {given["on_nonfinite"]!r}, expected "warn", "skip", "raise" or "snapshot"')
    _count("every", given["every"])
    if isinstance(given["sinks"], str) or not isinstance(given["sinks"], Sequence):
        raise TypeError(f'"sinks" is {_shown(given["sinks"])}, expected a list of sinks: give sinks=["terminal"], or [] for none')
    if given["facts"] is not None and not isinstance(given["facts"], Mapping):
        raise TypeError(f'"facts" is {_shown(given["facts"])}, expected names with values: give facts={{"num_classes": 10}}')
    checked_facts("facts", given["facts"] or {})
    for event in given["events"]:
        pair = isinstance(event, (list, tuple)) and len(event) == 2
        if not pair or not isinstance(event[0], int) or not isinstance(event[1], str):
            raise TypeError(f'"events" holds {event!r}, expected a step and what happens: give events=[(3000, "stage 2")]')


def checked_loss(loss: Any, parts: Any = None) -> Tensor | float:
    """A loss and what it is made of, each a number or a tensor of one element; the loss without its graph.

    Raises:     TypeError or ValueError for anything else.
    """
    if parts is not None and not isinstance(parts, Mapping):
        raise TypeError(f'"parts" is {_shown(parts)}, expected names with values: give parts={{"nll": nll, "kl": kl}}')
    for name, value in (("loss", loss), *((f"parts[{name}]", part) for name, part in (parts or {}).items())):
        if isinstance(value, Tensor):
            if value.numel() != 1:
                shape = tuple(value.shape)
                raise ValueError(f'"{name}" has shape {shape}, expected one element: give what backward() is called on')
        elif isinstance(value, str) or not hasattr(value, "__float__"):
            raise TypeError(f'"{name}" is {_shown(value)}, expected a number or a tensor of one element: give loss.detach()')
    return loss.detach() if isinstance(loss, Tensor) else loss


def checked_place(at: Any) -> int:
    """The number of a step.

    Raises:     TypeError.
    """
    if not isinstance(at, str) and hasattr(at, "__index__"):
        return int(at)
    raise TypeError(f'"at" is {at!r}, expected the number of the step as an int: leave it out to have steps counted')


def _common(given: Mapping[str, Any]) -> None:
    model = given["model"]
    if isinstance(model, type):
        raise TypeError(f'"model" is the class {model.__name__}, expected a torch.nn.Module: give {model.__name__}(...)')
    if not hasattr(model, "named_parameters"):
        raise TypeError(f'"model" is {_shown(model)}, expected a torch.nn.Module: the order is (model, ..., optimizer)')
    for name in ("loss_fn", "step"):
        _function(name, given[name])
    if given["objective"] not in _OBJECTIVES:
        raise ValueError(f'"objective" is {given["objective"]!r}, expected "mining", "adversarial" or None')
    _count("accumulate", given["accumulate"])
    scaler = given["scaler"]
    if scaler is not None and not hasattr(scaler, "is_enabled"):
        raise TypeError(f'"scaler" is {_shown(scaler)}, expected a torch.amp.GradScaler, or None without one')


def _function(name: str, value: Any) -> None:
    example = "F.cross_entropy or nn.CrossEntropyLoss()" if name == "loss_fn" else "lambda model, batch: model(**batch).loss"
    if isinstance(value, type) and issubclass(value, nn.Module):
        raise TypeError(f'"{name}" is the class {value.__name__}, expected a function of tensors: give {value.__name__}()')
    if value is not None and not callable(value):
        raise TypeError(f'"{name}" is {_shown(value)}, expected something to call: give {example}')


def _count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f'"{name}" is {value!r}, expected a whole number of at least 1')


def _shown(value: Any) -> str:
    """A short value as it is, else of what class it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    plain = value is None or isinstance(value, (bool, int, float, str))
    return repr(value)[:60] if plain else f"a {type(value).__name__}"
