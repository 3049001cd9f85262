"""log(sum of exp) where there may be nothing to sum: -inf then, without a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_sum", "log_sum_where"]


def log_sum(values: Tensor, axis: int = 0) -> Tensor:
    """Along an axis, which may be empty, of values that may all be -inf."""
    if not values.shape[axis]:
        return values.sum(axis) - torch.inf
    top = values.detach().amax(axis, keepdim=True)
    top = torch.where(top == -torch.inf, 0, top)
    total = torch.exp(values - top).sum(axis)
    none = total == 0
    return torch.where(none, -torch.inf, torch.where(none, 1, total).log() + top.squeeze(axis))


def log_sum_where(scores: Tensor, seen: Tensor, axis: int) -> Tensor:
    """Of the scores that are seen, all of which are numbers: torch's own, whose second derivative is exact."""
    if not scores.shape[axis]:
        return scores.sum(axis) - torch.inf
    some = seen.any(axis, keepdim=True)
    hidden = torch.where(seen | ~some, scores, -torch.inf)  # none at all: any finite number, replaced below
    return torch.where(some.squeeze(axis), torch.logsumexp(hidden, axis), -torch.inf)
