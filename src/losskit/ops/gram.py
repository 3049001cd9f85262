"""Two views of a batch, standardised, and the squares of all products of two of their features, summed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.check import wide
from .autograd import eagerly
from .blocks import product
from .first_order import Found, first_order

__all__ = ["feature_products", "off_diagonal", "row_products", "standardised"]

Sum = Callable[[Tensor], Tensor]


def standardised(query: Tensor, key: Tensor, eps: float | None, valid: Tensor, count: Tensor, add: Sum | None) -> Tensor:
    """Each feature less its mean, divided by sqrt(its variance + eps) unless ``eps`` is None; the variance is divided by N.

    ``valid`` (N,) bool: what is not is 0, before and after. ``count`` () is how many rows count and ``add`` what sums over
    ranks; ``add`` None says that all rows count and that there are no others, which has a first derivative by hand.

    Shape:      query (N, D), key (N, D) -> (2, N, D)
    """
    wanted = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad)
    if add is not None or not wanted or torch.compiler.is_compiling():
        return _standardise(query, key, eps, valid, count, add or _alone)
    given = query, key, eps, valid, count
    pair: Tensor = eagerly(_Standardised, lambda: _standardise(*given, _alone), *given)
    return pair


def _alone(value: Tensor) -> Tensor:
    return value


def _standardise(query: Tensor, key: Tensor, eps: float | None, valid: Tensor, count: Tensor, add: Sum) -> Tensor:
    pair, number, there = torch.stack([query, key]), count.clamp(min=1), valid.unsqueeze(-1)
    pair = torch.where(there, pair - add(pair.sum(1, keepdim=True)) / number, 0)
    # what rounding left of the mean would be all the variance of a feature that is constant; as a number it has no slope
    pair = torch.where(there, pair - add(pair.detach().sum(1, keepdim=True)) / number, 0)
    return pair if eps is None else pair * torch.rsqrt(add(pair.square().sum(1, keepdim=True)) / number + eps)


class _Standardised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, eps: float | None, valid: Tensor, count: Tensor) -> Tensor:
        pair = torch.empty(2, *query.shape, dtype=query.dtype, device=query.device)
        for out, view in zip(pair, (query, key), strict=True):
            torch.sub(view, view.mean(0), out=out)
            out -= out.mean(0)
        inverse = None
        if eps is not None:
            power = torch.linalg.vector_norm(pair, dim=1, keepdim=True).square_()
            inverse = torch.rsqrt(power / max(len(query), 1) + eps)
            pair *= inverse
        ctx.save_for_backward(query, key, valid, count, pair, inverse)
        ctx.eps = eps
        return pair

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, valid, count, pair, inverse = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            chosen = [t for t, need in zip((query, key), needs, strict=True) if need]
            value = _standardise(query, key, ctx.eps, valid, count, _alone)
            found = iter(torch.autograd.grad(value, chosen, grads[0], create_graph=True))
            return *(next(found) if need else None for need in needs), None, None, None
        views = zip(grads[0], pair, pair if inverse is None else inverse, needs, strict=True)
        return *(_pulled(g, z, None if inverse is None else r) if need else None for g, z, r, need in views), None, None, None


def _pulled(grad: Tensor, view: Tensor, inverse: Tensor | None) -> Tensor:
    """inverse (g - mean g - z mean(g z)), of z = inverse (x - mean x)."""
    if inverse is None:
        return grad - grad.mean(0)
    along = (grad * view).mean(0)
    return torch.addcmul(grad, view, along, value=-1).sub_(grad.mean(0)).mul_(inverse)


def row_products(pair: Tensor, every: Tensor | None = None, *, crossed: bool) -> tuple[Tensor, Tensor]:
    """The diagonal of A^T B and the sum of the squares of all of it, of (A, B) = ``pair``; or of A^T A and B^T B.

    ``crossed`` says which. No D x D matrix is made: ||A^T B||^2 = <A A^T, B B^T>, with gradients 2 (B B^T) A and 2 (A A^T) B,
    N^2 D steps each. ``every`` are the rows of all ranks without a gradient, of which ``pair`` are some: the results are then
    shares, to be summed over ranks, and their gradient is that of the sum.

    Shape:      pair (2, n, D), every (2, N, D) -> (D,) or (2 D,), and (); in float64 where the device has it
    """
    found = first_order(functools.partial(_rows, crossed), functools.partial(_rows_kernel, crossed), pair, every)
    return found[:-1], found[-1]


def _rows(crossed: bool, pair: Tensor, every: Tensor | None) -> Tensor:
    found = _of_grams(crossed, pair, product(pair, (pair if every is None else every).mT))
    if every is None:
        return found
    # a row is also one of the gathered rows of every rank, which have no gradient: their half of it is the same again
    return torch.cat([found[:-1], 2 * found[-1:] - found[-1:].detach()])


def _of_grams(crossed: bool, pair: Tensor, grams: Tensor) -> Tensor:
    a, b = pair.unbind()
    diagonal = (a * b).sum(0) if crossed else torch.cat([a.square().sum(0), b.square().sum(0)])
    power = (grams[0] * grams[1] if crossed else grams.square()).sum(-1)
    return torch.cat([wide(diagonal), wide(power).sum().unsqueeze(0)])


def _rows_kernel(crossed: bool, pair: Tensor, every: Tensor | None) -> Found:
    every = pair if every is None else every
    grams = product(pair, every.mT)  # (2, n, N)
    return _of_grams(crossed, pair, grams), (pair, every, grams), functools.partial(_rows_pull, crossed)


def _rows_pull(crossed: bool, grad: Tensor, pair: Tensor, every: Tensor, grams: Tensor) -> Tensor:
    grad = grad.to(pair.dtype)
    slope = product(grams.flip(0) if crossed else grams, every).mul_(grad[-1] * (2 if crossed else 4))
    return _add_diagonal(crossed, slope, pair, grad[:-1])


def _add_diagonal(crossed: bool, slope: Tensor, pair: Tensor, by: Tensor) -> Tensor:
    if not crossed:
        return slope.addcmul_(pair, 2 * by.reshape(2, 1, -1))
    slope[0].addcmul_(pair[1], by)
    slope[1].addcmul_(pair[0], by)
    return slope


def feature_products(pair: Tensor, *, crossed: bool) -> tuple[Tensor, Tensor]:
    """The diagonal of A^T B and the sum of the squares beside it, of (A, B) = ``pair``; or of A^T A and B^T B.

    From the D x D matrices, which are no larger than the rows where these are more than D.

    Shape:      pair (2, N, D) -> (D,) or (2 D,), and (); in float64 where the device has it
    """
    found = first_order(functools.partial(_features, crossed), functools.partial(_features_kernel, crossed), pair)
    return found[:-1], found[-1]


def off_diagonal(products: Tensor) -> tuple[Tensor, Tensor]:
    """The diagonals of square matrices, one behind the other, and the sum of the squares beside them; (*, D, D) -> (* D), ()."""
    found = _of_products(products)
    return found[:-1], found[-1]


def _products(crossed: bool, pair: Tensor) -> Tensor:
    return product(pair[0].mT, pair[1]) if crossed else product(pair.mT, pair)


def _of_products(products: Tensor) -> Tensor:
    own = torch.eye(products.shape[-1], dtype=torch.bool, device=products.device)
    # not the whole less the diagonal: where features are independent that is nearly all
    power = wide(products.masked_fill(own, 0).square().sum(-1)).sum()
    return torch.cat([wide(products.diagonal(dim1=-2, dim2=-1).flatten()), power.unsqueeze(0)])


def _features(crossed: bool, pair: Tensor) -> Tensor:
    return _of_products(_products(crossed, pair))


def _features_kernel(crossed: bool, pair: Tensor) -> Found:
    products = _products(crossed, pair)
    value = _of_products(products)
    products.diagonal(dim1=-2, dim2=-1).zero_()
    return value, (pair, products), functools.partial(_features_pull, crossed)


def _features_pull(crossed: bool, grad: Tensor, pair: Tensor, products: Tensor) -> Tensor:
    grad = grad.to(pair.dtype)
    if not crossed:
        return _add_diagonal(crossed, product(pair, products).mul_(4 * grad[-1]), pair, grad[:-1])
    slope = torch.empty_like(pair)
    torch.mm(pair[1], products.T, out=slope[0])
    torch.mm(pair[0], products, out=slope[1])
    return _add_diagonal(crossed, slope.mul_(2 * grad[-1]), pair, grad[:-1])
