"""For each law a loss that breaks it: a law that does not notice cannot be trusted."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import losskit
from list_mutants import list_mutants
from losskit.core.card import CATALOGUE, Card
from losskit.core.check import visible
from losskit.core.domain import Mask, Weight
from losskit.core.reduce import Reduction, reduce, valid_weight

Broken = tuple[Card, Mapping[str, Any]]


def mse() -> Card:
    losskit.mse_loss  # noqa: B018  # loads the catalogue
    return CATALOGUE["mse_loss"]


def ce() -> Card:
    losskit.cross_entropy  # noqa: B018  # loads the catalogue
    return CATALOGUE["cross_entropy"]


def changed(card: Card, change: Callable[..., Tensor]) -> Card:
    """The card with ``change(original, *tensors, **options)`` as its function."""
    original = card.function

    def function(*tensors: Any, **options: Any) -> Tensor:
        return change(original, *tensors, **options)

    function.__name__ = original.__name__
    function.__doc__ = original.__doc__
    function.__signature__ = inspect.signature(original)
    broken = copy.copy(card)
    broken.__dict__.pop("sections", None)
    return replace(broken, function=function)


def squared(body: Callable[..., Tensor]) -> Card:
    """An unchecked squared error whose last line is ``body``: for mistakes inside a loss."""

    def mse_loss(
        input: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
        reduction: Reduction = "mean",
        normalizer: Tensor | float | None = None,
    ) -> Tensor:
        return body(input, target, weight, mask, reduction, normalizer)

    return replace(mse(), function=mse_loss, sample={**mse().sample, "weight": Weight(), "mask": Mask()})


class _FirstOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = 2 * x.detach()
        return x.detach() ** 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].detach() * ctx.slope


def half_gradient(f: Any, *t: Any, **o: Any) -> Tensor:
    value = f(*t, **o)
    return value.detach() + 0.5 * (value - value.detach())


def first_only(i: Tensor, t: Tensor, w: Any, m: Any, r: Any, n: Any) -> Tensor:
    return reduce(_FirstOnly.apply(i - t), valid_weight(w, m, i.dtype), r, n)


class _Twice(losskit.MSELoss):
    def forward(self, *tensors: Tensor, **options: Any) -> Tensor:
        return 2 * super().forward(*tensors, **options)


def mean_of_elements(f: Any, *t: Any, reduction: str = "mean", **o: Any) -> Tensor:
    return (
        f(*t, reduction="none", **o).mean() if reduction == "mean" and "normalizer" not in o else f(*t, reduction=reduction, **o)
    )


def whole_batch(f: Any, input: Tensor, target: Tensor, **o: Any) -> Tensor:
    return f(input - input.mean() if input.numel() else input, target, **o)


def weight_twice(f: Any, *t: Any, weight: Tensor | None = None, **o: Any) -> Tensor:
    return f(*t, weight=None if weight is None else weight**2, **o)


def weight_nearly_zero(f: Any, *t: Any, weight: Tensor | None = None, **o: Any) -> Tensor:
    return f(*t, weight=None if weight is None else weight + 1e-9, **o)


def mask_after(i: Tensor, t: Tensor, w: Any, m: Any, r: Any, n: Any) -> Tensor:
    return reduce((i - t) ** 2, valid_weight(w, m, i.dtype), r, n)


def detached_zero(f: Any, *t: Any, **o: Any) -> Tensor:
    value = f(*t, **o)
    return value.detach() if value.ndim == 0 and value == 0 else value


def stays_half(i: Tensor, t: Tensor, w: Any, m: Any, r: Any, n: Any) -> Tensor:
    return reduce((i - t) ** 2, valid_weight(w, m, i.dtype), r, n)


def through_matmul(f: Any, input: Tensor, target: Tensor, **o: Any) -> Tensor:
    eye = torch.eye(input.shape[-1], dtype=input.dtype)
    return f(input @ eye, target, **o)


def overflowing(f: Any, input: Tensor, target: Tensor, **o: Any) -> Tensor:
    return f(input.exp().log(), target, **o)


def nan_hidden(f: Any, input: Tensor, target: Tensor, **o: Any) -> Tensor:
    return f(input.nan_to_num(), target, **o)


def in_place(f: Any, input: Tensor, target: Tensor, **o: Any) -> Tensor:
    target.add_(1)
    return f(input, target, **o)


class _Freed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.runs = 0
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        ctx.runs += 1
        return grads[0] / ctx.runs


def data_dependent(f: Any, input: Tensor, target: Tensor, **o: Any) -> Tensor:
    return f(input, target, **o) * (2 if input.sum() > 1e9 else 1)


def broadcasting(i: Tensor, t: Tensor, w: Any, m: Any, r: Any, n: Any) -> Tensor:
    i, t = visible(None, i, t)
    return reduce((i - t) ** 2, valid_weight(w, m, i.dtype), r, n)


def undocumented() -> Card:
    card = changed(mse(), lambda f, *t, **o: f(*t, **o))
    card.function.__doc__ = "Squares."
    return card


def claims(law: str, change: Callable[..., Tensor], card: Card | None = None) -> Broken:
    return replace(changed(card or mse(), change), laws=frozenset({law})), {}


def mutants() -> dict[str, Broken]:
    """Law -> a card and a variant that break it."""
    return {
        **list_mutants(changed),
        "value_is_the_reference": (changed(mse(), lambda f, *t, **o: 1.001 * f(*t, **o)), {}),
        "gradient_is_the_derivative": (changed(mse(), half_gradient), {}),
        "second_gradient_is_the_derivative": (squared(first_only), {}),
        "module_is_the_function": (replace(mse(), module=_Twice), {}),
        "reductions_agree": (changed(mse(), mean_of_elements), {}),
        "parts_add_up": (changed(mse(), whole_batch), {}),
        "weights_multiply": (changed(mse(), weight_twice), {}),
        "what_is_masked_is_invisible": (squared(mask_after), {}),
        "a_class_of_weight_zero_is_invisible": (changed(ce(), weight_nearly_zero), {}),
        "nothing_to_learn_is_a_connected_zero": (changed(mse(), detached_zero), {}),
        "rows_do_not_know_each_other": (changed(mse(), whole_batch), {}),
        "half_precision_is_computed_in_float32": (squared(stays_half), {}),
        "autocast_changes_nothing": (changed(ce(), through_matmul), {}),
        "extreme_inputs_stay_finite": (changed(mse(), overflowing), {}),
        "nan_is_shown": (changed(mse(), nan_hidden), {}),
        "arguments_are_left_alone": (changed(mse(), in_place), {}),
        "backward_can_run_twice": (changed(mse(), lambda f, i, t, **o: f(_Freed.apply(i), t, **o)), {}),
        "compiles_as_one_graph": (changed(mse(), data_dependent), {}),
        "maps_and_differentiates_as_a_function": (changed(mse(), data_dependent), {}),
        "shapes_are_exact": (squared(broadcasting), {}),
        "card_and_docstring_are_whole": (undocumented(), {}),
        "nonnegative": claims("nonnegative", lambda f, *t, **o: f(*t, **o) - 0.1),
        "zero_at_target": claims("zero_at_target", lambda f, i, t, **o: f(i + 0.01, t, **o)),
        "symmetric": claims("symmetric", lambda f, i, t, **o: f(i, t, **o) + i),
        "convex": claims("convex", lambda f, *t, **o: -f(*t, **o)),
        "shift_invariant": claims("shift_invariant", lambda f, i, t, **o: f(i**3, t, **o), ce()),
        "bounded_gradient": claims("bounded_gradient", lambda f, *t, **o: f(*t, **o)),
        "chance_is_what_zeros_give": (replace(ce(), chance=lambda num_classes: 2.0), {}),
        "constant_is_the_best_constant": (replace(mse(), constant=lambda target: float(target.var())), {}),
        "floor_is_reached_and_never_passed": (replace(mse(), floor=lambda: -0.1), {}),
    }
