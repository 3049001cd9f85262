"""(own, rest) of logits that exist: the target's score, and the log-sum-exp of all the others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.check import class_error, peek, wide
from .first_order import Found, first_order

__all__ = ["class_last", "class_rows", "margin", "negative_log_likelihood", "row_weight", "soft_cross_entropy"]

_SURE = -0.1  # a log-probability above it has too few digits for 1 - p


def class_last(input: Tensor, class_dim: int) -> Tensor:
    """``input`` with its classes in the last axis."""
    return input if class_dim == -1 else input.movedim(class_dim, -1)


def class_rows(target: Tensor, classes: int, ignore_index: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Class indices that are safe to gather with, and what each row counts: None if all count one.

    An ignored row counts 0. An index out of range raises on CPU; where nobody can look its row counts NaN.
    Raises:     IndexError for a target outside [0, classes) that is not ``ignore_index``.
    """
    index, counts = target.long(), None
    if _all_inside(index, classes) and not 0 <= ignore_index < classes:
        return index, None
    kept = index != ignore_index
    if not peek(kept.all()):
        index, counts = torch.where(kept, index, 0), kept.to(dtype)
    wrong = (index < 0) | (index >= classes)
    raised = peek(wrong.any())
    if raised:
        raise class_error("target", index, wrong, classes, ignore_index)
    if raised is None:
        counts = torch.where(wrong, torch.nan, kept.to(dtype))
        index = index.clamp(0, max(classes - 1, 0))
    return index, counts


def _all_inside(index: Tensor, classes: int) -> bool:
    """Whether every index is seen to be a class: the one look that most calls need."""
    if torch.compiler.is_compiling() or index.device.type != "cpu" or not index.numel():
        return False
    low, high = torch.aminmax(index)
    try:
        return int(low) >= 0 and int(high) < classes
    except RuntimeError:  # vmap and fake tensors have no value to look at
        return False


def row_weight(weight: Tensor | None, index: Tensor, counts: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What each row counts: the weight of its class, 0 where the row is ignored; None if all count one.

    Given to ``margin`` as its counts, so that a row of a class of weight 0 is as invisible as an ignored one.
    """
    if weight is None:
        return counts
    chosen = weight.to(dtype)[index]
    return chosen if counts is None else chosen * counts


def margin(input: Tensor, index: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """own = input[..., index], rest = logsumexp of the other scores; both (*), in float64 where the device has it.

    The difference of the two keeps the digits that ``logsumexp(input) - own`` loses when the row is confident. Rows
    that count 0 may hold NaN, and get a gradient of zero. With no other score, rest is the lowest float.

    Shape:      input (*, C), index (*) in [0, C), counts (*) -> (*), (*)
    """
    own = input.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    return wide(own if counts is None else torch.where(counts != 0, own, 0)), first_order(
        _rest, _rest_kernel, input, index, counts
    )


def negative_log_likelihood(input: Tensor, index: Tensor, counts: Tensor | None = None) -> Tensor:
    """-logsigmoid(own - rest), (*) in the dtype of ``input``, in one step."""
    return first_order(_nll, _nll_kernel, input, index, counts)


def soft_cross_entropy(input: Tensor, wanted: Tensor) -> Tensor:
    """-sum_c wanted_c log p_c, (*) from (*, C); a class that is ruled out (-inf) and not wanted costs nothing."""
    return first_order(_soft, _soft_kernel, input, wanted)


def _soft(input: Tensor, wanted: Tensor) -> Tensor:
    log_p = F.log_softmax(input, -1)
    top = input.detach().argmax(-1)
    exact = -_nll(input, top, None)  # torch's rounds to zero when the row is confident
    return _expected(log_p.scatter(-1, top.unsqueeze(-1), exact.unsqueeze(-1)), wanted)


def _expected(log_p: Tensor, wanted: Tensor) -> Tensor:
    return -torch.where(wanted == 0, 0, wanted * log_p).sum(-1)


def _soft_kernel(input: Tensor, wanted: Tensor) -> Found:
    """d = sum(wanted) softmax - wanted, whose sum is 0: so the class that is nearly sure has minus the sum of the others."""
    log_p, top = F.log_softmax(input, -1), None
    if peek((log_p.amax(-1) > _SURE).any()) is not False:
        top = input.argmax(-1, keepdim=True)
        log_p.scatter_(-1, top, -_nll_kernel(input, top.squeeze(-1), None)[0].unsqueeze(-1))
    value = -(wanted * log_p).sum(-1)
    if peek(value.isnan().any()) is not False:
        value = _expected(log_p, wanted)
    return value, (log_p, wanted, top), _soft_pull


def _soft_pull(grad: Tensor, log_p: Tensor, wanted: Tensor, top: Tensor | None) -> Tensor:
    total = wanted.sum(-1) * grad
    slope = log_p.exp().mul_(total.unsqueeze(-1)).addcmul_(wanted, grad.unsqueeze(-1), value=-1)
    if top is None:
        return slope
    own, sure = slope.gather(-1, top), log_p.gather(-1, top) > _SURE
    others = slope.scatter_(-1, top, 0).sum(-1, keepdim=True)
    return slope.scatter_(-1, top, torch.where(sure, -others, own))


def _rest(input: Tensor, index: Tensor, counts: Tensor | None) -> Tensor:
    others = _without(input, index, counts)
    top = others.detach().amax(-1, keepdim=True)
    # the difference to own is taken in float64, where it is exact
    return wide(top.squeeze(-1)) + wide((others - top).exp().sum(-1).log())


def _rest_kernel(input: Tensor, index: Tensor, counts: Tensor | None) -> Found:
    """d rest = the softmax of the others."""
    others = _without(input, index, counts)
    softmax = others.softmax(-1)
    rest = wide(others.amax(-1)).sub_(softmax.amax(-1).log_())  # the largest of a softmax is 1 / sum exp(z - top)
    return rest, (softmax,), _rest_pull


def _rest_pull(grad: Tensor, softmax: Tensor) -> Tensor:
    return softmax * grad.to(softmax.dtype).unsqueeze(-1)


def _nll(input: Tensor, index: Tensor, counts: Tensor | None) -> Tensor:
    own = input.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    own = own if counts is None else torch.where(counts != 0, own, 0)
    return -F.logsigmoid(wide(own) - _rest(input, index, counts)).to(input.dtype)


def _nll_kernel(input: Tensor, index: Tensor, counts: Tensor | None) -> Found:
    """d nll = (1 - p_y) (softmax of the others - onehot)."""
    column = index.unsqueeze(-1)
    own = input.gather(-1, column).squeeze(-1)
    slope = _without(input, index, counts)
    u = wide(own if counts is None else torch.where(counts != 0, own, 0)) - slope.amax(-1)
    torch.softmax(slope, -1, out=slope)  # in place: a fresh tensor costs as much as the arithmetic
    u = u.add_(slope.amax(-1).log_())
    slope.scatter_(-1, column, -1)
    nll = F.logsigmoid(u).neg_()
    wrong = u.neg_().sigmoid_().to(input.dtype)
    return nll.to(input.dtype), (slope, wrong), _nll_pull


def _nll_pull(grad: Tensor, slope: Tensor, wrong: Tensor) -> Tensor:
    return slope * (wrong * grad).unsqueeze(-1)


def _without(input: Tensor, index: Tensor, counts: Tensor | None) -> Tensor:
    """``input`` with the target's score, and whatever stands in rows that count 0, out of the way."""
    # the lowest float, not -inf: with no other score left the softmax stays a number
    lowest = torch.finfo(input.dtype).min
    if counts is None:
        return input.scatter(-1, index.unsqueeze(-1), lowest)
    return torch.where(counts.unsqueeze(-1) != 0, input, 0).scatter(-1, index.unsqueeze(-1), lowest)
