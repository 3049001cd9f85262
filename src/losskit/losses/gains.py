"""What an item is worth by its grade: the gain of NDCG, which several losses share."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..core.check import choice
from .lists import no_zero

__all__: list[str] = []  # for the losses next door, not for the user

Gain = Literal["exponential", "linear"]


def gains(relevance: Tensor, gain: Gain = "exponential", *, normalize: bool) -> Tensor:
    """2^y - 1, or y, (B, L); with ``normalize`` divided by that of the list's best item, so that no power is above 1."""
    if not normalize or not relevance.shape[-1]:
        return relevance if gain == "linear" else torch.expm1(math.log(2) * relevance)
    top = relevance.amax(-1, keepdim=True)
    if gain == "linear":
        return relevance / no_zero(top)
    # (2^y - 1) / (2^top - 1) = 2^(y - top) (1 - 2^-y) / (1 - 2^-top), which keeps the digits of small grades too
    least = torch.where(top > 0, torch.expm1(-math.log(2) * top), -1)
    return torch.exp2(relevance - top) * (torch.expm1(-math.log(2) * relevance) / least)


def check_gain(gain: Gain) -> None:
    """Raise for another gain."""
    choice("gain", gain, ("exponential", "linear"))
