"""What the laws are written with: the register, comparisons, gradients, and cases with something hidden."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from cases import Case, draw
from losskit.core.card import Card

Variant = Mapping[str, Any]
Law = Callable[[Card, Variant], None]
LAWS: dict[str, Law] = {}
NONE: dict[str, str] = {"reduction": "none"}


def law(function: Law) -> Law:
    """Register a law by its name."""
    LAWS[function.__name__] = function
    return function


def derivative_law(function: Law) -> Law:
    """Register a law of derivatives: not for a loss whose paper defines a gradient that is the derivative of no value."""
    LAWS[function.__name__] = lambda card, variant: None if "detached_weights" in card.laws else function(card, variant)
    return function


def same(got: Tensor, wanted: Tensor, tolerance: float = 1e-10) -> None:
    """Equal shape, and values equal within ``tolerance``, relative to 1 + |wanted|; NaN equals NaN."""
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True, check_dtype=False)


def refused(error: type[Exception], call: Callable[[], object]) -> str:
    """The message of the error that the call must raise."""
    try:
        call()
    except error as problem:
        return str(problem)
    except Exception as other:
        raise AssertionError(f"raised {type(other).__name__} instead of {error.__name__}: {other}") from other
    raise AssertionError(f"raised nothing, expected {error.__name__}")


def gradients(case: Case, **options: Any) -> list[Tensor]:
    """The gradients of the learnable tensors of the summed loss."""
    ready, leaves = case.with_grad()
    return list(torch.autograd.grad(ready.value(**options).sum(), leaves))


def differentiated(card: Card, variant: Variant, rows: int) -> tuple[Case, dict[str, Tensor]]:
    """A case of few rows, and its leaves by name: without the options of a loss that stops their gradient on purpose."""
    case, leaves = draw(card, variant, batch=(rows,)).with_grad()
    named = zip(case.learnable(), leaves, strict=True)
    return case, {n: t for n, t in named if n in card.tensors or "stop_gradient" not in card.laws}


def takes(card: Card, name: str, shape: str = "*") -> bool:
    """Whether the loss has this optional tensor with leading axes."""
    return name in card.sample and name in card.options and card.sample[name].shape == shape


def own_options(case: Case) -> dict[str, Any]:
    return {k: v for k, v in case.options.items() if k != "reduction"}


def hidden(card: Card, variant: Variant) -> tuple[Case, Case, Tensor] | None:
    """A case with some elements hidden, the same with NaN and inf under the mask, and what is visible (or None)."""
    for name in ("mask", "weight"):
        if takes(card, name):
            case = draw(card, variant, **{name: True})
            seen = torch.tensor([True, False, True, True, False, True])
            case.options[name] = seen if name == "mask" else case.options[name] * seen
            break
    else:
        if "ignore_index" not in card.options or case_has_floats(card, variant):
            return None
        case = draw(card, variant)
        target = case.tensors["target"].clone()
        rows = torch.zeros(len(target), dtype=torch.bool)
        rows[[1, 4]] = True
        target[rows] = -100
        case, seen = case.replaced(target=target), ~rows
    spoiled = {n: spoil(t, seen) for n, t in case.tensors.items() if t.is_floating_point() and card.sample[n].axes[0]}
    return case, case.replaced(**spoiled), seen


def case_has_floats(card: Card, variant: Variant) -> bool:
    return draw(card, variant).tensors["target"].is_floating_point()


def spoil(tensor: Tensor, seen: Tensor) -> Tensor:
    shape = (-1,) + (1,) * (tensor.ndim - 1)
    bad = torch.full_like(tensor, math.nan)
    bad[1:2] = math.inf
    return torch.where(seen.reshape(shape), tensor, bad)
