"""log(1 + exp(z)) of one score against a target in [0, 1]: both tails exact, in value and in gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.check import peek
from .first_order import first_order

__all__ = ["binary_nll", "log_missed"]

# Elements a thread works on at a time: the intermediates of a block, 256 KB each in float32, stay in its cache.
_BLOCK = 2**16


def binary_nll(input: Tensor, target: Tensor) -> Tensor:
    """-t log sigmoid(z) - (1 - t) log sigmoid(-z) for targets t in [0, 1].

    value = z ([z > 0] - t) + log1p(exp(-|z|)),  gradient = [z > 0] - t - sign(z) sigmoid(-|z|): no term of either
    cancels another, so a confident score keeps its digits whichever side it is on.

    Shape:      input (*), target (*) -> (*)
    """
    return first_order(_formula, _kernel, input, target)


def log_missed(input: Tensor, target: Tensor) -> Tensor:
    """log(t sigmoid(-z) + (1 - t) sigmoid(z)): of the probability that went to the wrong answer.

    Finite with all its derivatives however far z is out, where the two terms themselves are 0.

    Shape:      input (*), target (*) in [0, 1] -> (*)
    """
    no = target < 0.5
    u = torch.where(no, -input, input)  # for the answer that is more likely to be right
    other = torch.where(no, target, 1 - target)  # how likely the other one is
    if peek((other == 0).all()):
        return F.logsigmoid(-u)
    mixed = other > 0
    most, least = torch.log1p(-other), torch.where(mixed, other, 1).log()
    turn = torch.where(mixed, most - least, torch.inf)
    # the sum is written from its larger term: beyond the turn that is the other answer's
    below = u < turn
    larger = F.logsigmoid(torch.where(below, -u, u)) + torch.where(below, most, least)
    return larger - F.logsigmoid(torch.where(below, turn - u, u - turn))


def _formula(input: Tensor, target: Tensor) -> Tensor:
    return -torch.lerp(F.logsigmoid(-input), F.logsigmoid(input), target)


def _kernel(input: Tensor, target: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    value, slope = input.new_empty(input.shape), input.new_empty(input.shape)
    size = _BLOCK * torch.get_num_threads()
    if input.device.type != "cpu" or input.numel() <= size:
        _block(input, target, value, slope)
    else:
        for pieces in zip(*(t.reshape(-1).split(size) for t in (input, target, value, slope)), strict=True):
            _block(*pieces)
    return value, lambda grad: slope * grad


def _block(input: Tensor, target: Tensor, value: Tensor, slope: Tensor) -> None:
    """Value and gradient of some elements."""
    sign, far = input.sign(), input.copysign(-1.0)  # far = -|z|
    torch.sub(torch.rsub(sign, 0.5, alpha=-0.5), target, out=slope)  # [z > 0] - t, and 1/2 - t at 0
    torch.exp(far, out=value).log1p_().addcmul_(slope, input)
    slope.addcmul_(sign, far.sigmoid_(), value=-1)
