"""Sums over the triplets of every anchor, from tiles of distances that are not kept: the op, and how it meets autograd."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .autograd import apply, as_given, batched, define, scaled, second
from .distances import Distance, pair_distance
from .extremes import Batch, Tile, Tiles
from .mining import Form, chosen_negatives, mined, triplet_value

__all__ = ["Total", "Triplets", "triplet_sums", "triplet_total"]


class Triplets(NamedTuple):
    """Of each anchor, (anchors,): what its triplets cost together, how many of them cost something, how many there are."""

    sums: Tensor
    active: Tensor
    number: Tensor


class Total(NamedTuple):
    """The sum over anchors, 0-d, and the numbers of triplets of each."""

    total: Tensor
    active: Tensor
    number: Tensor


def triplet_sums(batch: Batch, form: Form, distance: Distance) -> Triplets:
    """The sums of each anchor; backward computes the distances again. Second derivatives keep N x N x D."""
    given = (*batch, *form, distance)
    if torch.compiler.is_compiling() and not _wanted(batch):  # Dynamo fails at mark_non_differentiable
        return Triplets(*_OP(*given, None, False, False)[:3])
    return Triplets(*apply(_Sums, *given))


def triplet_total(batch: Batch, form: Form, distance: Distance, *, per_anchor: bool) -> Total:
    """The sum over anchors of their sums, of their means if ``per_anchor``; the gradient is computed on the way."""
    given = (*batch, *form, distance, per_anchor, _wanted(batch))
    if torch.compiler.is_compiling() and not _wanted(batch):
        return Total(*_total(*given)[:3])
    return Total(*apply(_Total, *given)[:3])


def _wanted(batch: Batch) -> bool:
    return batch.rows.requires_grad and torch.is_grad_enabled()


def _triplets(
    rows: Tensor, ids: Tensor, valid: Tensor, start: int, anchors: int, mining: Any, margin: float, soft: bool,
    distance: Distance, by: Tensor | None, per_anchor: bool, needs: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Sums and numbers of each anchor, and the gradient of the sum of ``by`` times the sums, divided by their numbers if
    ``per_anchor``; empty if not needed."""
    sums, active, number = (rows.new_zeros(anchors) for _ in range(3))
    tiles = Tiles(Batch(rows, ids, valid, start, anchors), distance, both=True)
    if needs:
        tiles.space.open()
    for tile in tiles:
        found, anchor = mined(tile, Form(mining, margin, soft)), tiles.anchor(tile.at)
        many = found.number.to(rows.dtype)
        sums[anchor], active[anchor], number[anchor] = found.sums, found.active.to(rows.dtype), many
        if needs:
            each = torch.ones_like(many) if by is None else by[anchor]
            each = each / many.clamp(min=1) if per_anchor else each
            tiles.space.pull(tile.at, found.slope.mul_(each.unsqueeze(1)), tile.distances, tile.near)
    return sums, active, number, tiles.gradient() if needs else rows.new_empty(0)


def _fake(rows: Tensor, ids: Tensor, valid: Tensor, start: int, anchors: int, *others: Any) -> tuple[Tensor, ...]:
    return *(rows.new_empty(anchors) for _ in range(3)), rows.new_empty(rows.shape if others[-1] else (0,))


_OP = define(
    "triplets",
    "(Tensor rows, Tensor ids, Tensor valid, int start, int anchors, str mining, float margin, bool soft, str distance, "
    "Tensor? by, bool per_anchor, bool needs) -> (Tensor, Tensor, Tensor, Tensor)",
    _triplets,
    _fake,
)


def _plain_sums(
    rows: Tensor, ids: Tensor, valid: Tensor, start: int, anchors: int, mining: Any, margin: float, soft: bool, distance: Distance
) -> tuple[Tensor, Tensor]:
    """The sums of each anchor from distances that are kept, and how many triplets: what higher derivatives differentiate."""
    form, own = Form(mining, margin, soft), slice(start, start + anchors)
    distances = pair_distance(rows[own].unsqueeze(1), rows, distance)
    place = torch.arange(len(rows), device=rows.device)
    same, here = ids[own].unsqueeze(1) == ids, valid[own].unsqueeze(1) & valid
    positive, other = same & here & (place[own].unsqueeze(1) != place), ~same & here
    tile = Tile(place[own], distances.detach(), None, place.expand(same.shape), positive, other)
    many = positive.sum(1) * (other.sum(1) if mining == "all" else other.any(1))
    if mining == "all" and not soft:  # linear in the distances, piece by piece
        found = mined(tile, form)
        return (found.slope * distances).sum(1) + margin * found.active, many
    if mining == "all":
        value = triplet_value(distances.unsqueeze(2) - distances.unsqueeze(1), form)
        return torch.where(positive.unsqueeze(2) & other.unsqueeze(1), value, 0).sum((1, 2)), many
    value = triplet_value(distances - distances.gather(1, chosen_negatives(tile, mining)), form)
    return torch.where(positive & other.any(1, keepdim=True), value, 0).sum(1), many


def _of(plain: Callable[..., tuple[Tensor, ...]], *others: Any) -> Callable[..., tuple[Tensor, ...]]:
    def first(*primal: Any) -> tuple[Tensor, ...]:
        return plain(*primal, *others)[:1]

    return first


class _Sums(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _OP(*given, None, False, False)[:3]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.options = inputs[3:]
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        # Dynamo takes no Function inside a backward, and differentiates once
        gradient = _sums_gradient if torch.compiler.is_compiling() else functools.partial(apply, _SumsGradient)
        return gradient(grads[0], *ctx.saved_tensors, *ctx.options), *(None,) * 8


def _sums_gradient(by: Tensor, *given: Any) -> Tensor:
    gradient: Tensor = _OP(*given, by, False, True)[3]
    return gradient


class _SumsGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _sums_gradient(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.options = inputs[4:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, *call = ctx.saved_tensors
        (back,), every = second(_of(_plain_sums, *call[1:], *ctx.options), call[:1], [True], (by,), grads)
        return back, *every, *(None,) * 8


def _total(*given: Any) -> tuple[Tensor, ...]:
    *call, per_anchor, needs = given
    sums, active, number, gradient = _OP(*call, None, per_anchor, needs)
    return (sums / number.clamp(min=1) if per_anchor else sums).sum(), active, number, gradient


def _plain_total(rows: Tensor, *others: Any) -> tuple[Tensor]:
    *call, per_anchor = others
    sums, number = _plain_sums(rows, *call)
    return ((sums / number.clamp(min=1) if per_anchor else sums).sum(),)


class _Total(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _total(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(output[3], *inputs[:3])
        ctx.options = inputs[3:-1]
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # or backward makes zeros of the size of the gradient

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, saved = grads[0], ctx.saved_tensors  # read once: checkpointing allows no more
        if by is None:
            return (None,) * 11
        if torch.compiler.is_compiling():  # Dynamo takes no Function inside a backward, and differentiates once
            found = as_given([saved[0] * by], saved[1:], [True])
        elif torch.is_grad_enabled() or batched(by):
            found = [apply(_TotalGradient, by, *saved, ctx.options)]
        else:
            found = scaled(by, saved[:1], saved[1:], [True])
        return *found, *(None,) * 10


class _TotalGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(by: Tensor, gradient: Tensor, *others: Any) -> Any:
        return gradient * by

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], *inputs[2:5])
        ctx.options = inputs[5]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, *call = ctx.saved_tensors
        (back,), every = second(_of(_plain_total, *call[1:], *ctx.options), call[:1], [True], (by,), grads)
        return back, None, *every, None, None, None
