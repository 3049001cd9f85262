"""(own, rest) of logits that exist: the target's score, and the log-sum-exp of all the others."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.check import peek

__all__ = ["class_last", "class_rows", "log_softmax", "margin"]


def class_last(input: Tensor, class_dim: int) -> Tensor:
    """``input`` with its classes in the last axis."""
    return input if class_dim == -1 else input.movedim(class_dim, -1)


def class_rows(target: Tensor, classes: int, ignore_index: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Class indices that are safe to gather with, and what each row counts: None if all count one.

    An ignored row counts 0. An index out of range raises on CPU; where nobody can look its row counts NaN.
    Raises:     IndexError for a target outside [0, classes) that is not ``ignore_index``.
    """
    index, counts = target.long(), None
    kept = index != ignore_index
    if not peek(kept.all()):
        index, counts = torch.where(kept, index, 0), kept.to(dtype)
    wrong = (index < 0) | (index >= classes)
    raised = peek(wrong.any())
    if raised:
        place = tuple(int(i) for i in wrong.nonzero()[0])
        raise IndexError(
            f'"target" is {int(index[place])} at index {place[0] if len(place) == 1 else place}, expected a class in '
            f"[0, {classes}) or ignore_index={ignore_index}"
        )
    if raised is None:
        counts = torch.where(wrong, torch.nan, kept.to(dtype))
        index = index.clamp(0, max(classes - 1, 0))
    return index, counts


def margin(input: Tensor, index: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """own = input[..., index], rest = logsumexp of the other scores; both (*), in float64 where the device has it.

    The difference of the two keeps the digits that ``logsumexp(input) - own`` loses when the row is confident. What is
    not in ``counts`` (rows that count 0) may be NaN, and gets a gradient of zero. With no other score, rest is the
    lowest float.

    Shape:      input (*, C), index (*) in [0, C), counts (*) -> (*), (*)
    """
    own, rest, _ = _Margin.apply(input, index.unsqueeze(-1), counts)
    return own, rest


def log_softmax(input: Tensor) -> Tensor:
    """torch's log_softmax with an exact largest entry, which torch rounds to zero when the row is confident."""
    top = input.detach().argmax(-1)
    own, rest = margin(input, top)
    exact = F.logsigmoid(own - rest).to(input.dtype)
    return F.log_softmax(input, -1).scatter(-1, top.unsqueeze(-1), exact.unsqueeze(-1))


class _Margin(torch.autograd.Function):
    """own, rest and the others' softmax, of which d rest = sum_j others_j d z_j; double backward recomputes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(input: Tensor, index: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        own, others = input.gather(-1, index).squeeze(-1), _without(input, index, counts)
        softmax = others.softmax(-1)
        # top + log(sum of exp(z - top)): the difference to own is taken in float64, where it is exact
        rest = _wide(others.amax(-1)) - softmax.amax(-1).log()
        return _wide(own if counts is None else torch.where(counts != 0, own, 0)), rest, softmax

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        input, index, counts = inputs
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(input, index, counts, output[2])
        ctx.set_materialize_grads(True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        input, index, counts, softmax = ctx.saved_tensors
        own, rest = (g.to(input.dtype).unsqueeze(-1) for g in grads[:2])
        if torch.is_grad_enabled():  # somebody differentiates the gradient: it must be a function of input
            softmax = _without(input, index, counts).softmax(-1)
            return (softmax * rest).scatter(-1, index, own), None, None
        return (softmax * rest).scatter_(-1, index, own), None, None


def _without(input: Tensor, index: Tensor, counts: Tensor | None) -> Tensor:
    """``input`` with the target's score, and whatever stands in rows that count 0, out of the way."""
    # the lowest float, not -inf: with no other score left the softmax stays a number
    lowest = torch.finfo(input.dtype).min
    if counts is None:
        return input.scatter(-1, index, lowest)
    return torch.where(counts.unsqueeze(-1) != 0, input, 0).scatter(-1, index, lowest)


def _wide(value: Tensor) -> Tensor:
    return value if value.device.type == "mps" else value.double()
