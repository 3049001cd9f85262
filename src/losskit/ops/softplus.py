"""One score against a target in [0, 1], element by element: both tails exact, in value and in gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.check import peek
from .first_order import Found, first_order

__all__ = ["binary_nll", "elementwise", "log_missed"]

# Elements a thread works on at a time: the intermediates of a block, 256 KB each in float32, stay in its cache.
_BLOCK = 2**16


def binary_nll(input: Tensor, target: Tensor) -> Tensor:
    """-t log sigmoid(z) - (1 - t) log sigmoid(-z) for targets t in [0, 1].

    value = z ([z > 0] - t) + log1p(exp(-|z|)),  gradient = [z > 0] - t - sign(z) sigmoid(-|z|): no term of either
    cancels another, so a confident score keeps its digits whichever side it is on.

    Shape:      input (*), target (*) -> (*)
    """
    if input.numel() < 4096:  # a kernel of our own costs more than it saves
        return _formula(input, target)
    return first_order(_formula, _kernel, input, target)


def log_missed(input: Tensor, target: Tensor) -> Tensor:
    """log(t sigmoid(-z) + (1 - t) sigmoid(z)): of the probability that went to the wrong answer.

    Finite with all its derivatives however far z is out, where the two terms themselves are 0.

    Shape:      input (*), target (*) in [0, 1] -> (*)
    """
    if peek((target == target.round()).all()):
        return F.logsigmoid((1 - 2 * target) * input)
    no = target < 0.5
    u = torch.where(no, -input, input)  # for the answer that is more likely to be right
    other = torch.where(no, target, 1 - target)  # how likely the other one is
    mixed = other > 0
    most, least = torch.log1p(-other), torch.where(mixed, other, 1).log()
    turn = torch.where(mixed, most - least, torch.inf)
    # the sum is written from its larger term: beyond the turn that is the other answer's
    below = u < turn
    larger = F.logsigmoid(torch.where(below, -u, u)) + torch.where(below, most, least)
    return larger - F.logsigmoid(torch.where(below, turn - u, u - turn))


def elementwise(formula: Callable[[Tensor, Tensor], Tensor], input: Tensor, target: Tensor) -> Tensor:
    """formula(input, target) of elements that do not know each other, in blocks that stay in the cache.

    Of all that the formula makes on its way only the derivative is kept: one tensor instead of ten.
    """
    if torch.compiler.is_compiling() or _in_one(input):
        return formula(input, target)
    return first_order(formula, lambda *both: _blockwise(_derived(formula), *both), input, target)


def _derived(formula: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., None]:
    def block(input: Tensor, target: Tensor, value: Tensor, slope: Tensor) -> None:
        leaf = input.detach().requires_grad_()
        with torch.enable_grad():
            found = formula(leaf, target)
        slope.copy_(torch.autograd.grad(found, leaf, torch.ones_like(found))[0])
        value.copy_(found.detach())

    return block


def _formula(input: Tensor, target: Tensor) -> Tensor:
    # beyond 40 softplus(z) is z to the last digit, in float64 too; torch's own threshold is 20
    return torch.lerp(F.softplus(input, threshold=40), F.softplus(-input, threshold=40), target)


def _kernel(input: Tensor, target: Tensor) -> Found:
    return _blockwise(_block, input, target)


def _block(input: Tensor, target: Tensor, value: Tensor, slope: Tensor) -> None:
    """Value and gradient of some elements."""
    sign, small = input.sign(), input.copysign(-1.0).exp_()  # exp(-|z|)
    torch.sub(torch.rsub(sign, 0.5, alpha=-0.5), target, out=slope)  # [z > 0] - t, and 1/2 - t at 0
    torch.log1p(small, out=value).addcmul_(slope, input)
    # sigmoid(-|z|) as a fraction: torch's own is 0 in float32 beyond 88.7
    slope.addcdiv_(sign.mul_(small), small.add_(1), value=-1)


def _size() -> int:
    return _BLOCK * torch.get_num_threads()


def _in_one(input: Tensor) -> bool:
    return input.device.type != "cpu" or input.numel() <= _size()


def _blockwise(block: Callable[..., None], input: Tensor, target: Tensor) -> Found:
    """The value and the pull-back of an elementwise formula; ``block`` writes the value and the slope of some elements."""
    value, slope = input.new_empty(input.shape), input.new_empty(input.shape)
    if _in_one(input):
        block(input, target, value, slope)
    else:
        for pieces in zip(*(t.reshape(-1).split(_size()) for t in (input, target, value, slope)), strict=True):
            block(*pieces)
    return value, (slope,), torch.mul
