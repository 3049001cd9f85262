"""What the tests of the streaming metric share: scores, targets, and the figure in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reference(logits: Tensor, target: Tensor, ignore_index: int = -100) -> float:
    """exp of the mean of -log p, in float64."""
    nll = F.cross_entropy(logits.double().reshape(-1, logits.shape[-1]), target.reshape(-1), ignore_index=ignore_index)
    return float(nll.exp())


def batch(seed: int = 0, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Scores (3, 5, 11) and targets (3, 5), four of which are ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 5, 11, generator=generator, dtype=torch.float64)
    target = torch.randint(11, (3, 5), generator=generator)
    target[0, 3:], target[2, :2] = -100, -100
    return logits.to(dtype), target
