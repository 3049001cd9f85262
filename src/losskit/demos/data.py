"""The data of the demos: real tables that scikit-learn brings along, as float64 tensors; nothing is downloaded."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import need

__all__ = ["diabetes", "digits"]


def digits() -> tuple[Tensor, Tensor]:
    """1797 handwritten digits: 8 x 8 grey values in [0, 1] as (1797, 64), and the digit as (1797,)."""
    images, labels = need("sklearn.datasets").load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float64) / 16, torch.tensor(labels, dtype=torch.long)


def diabetes() -> tuple[Tensor, Tensor]:
    """442 patients: ten standardised measurements as (442, 10), and disease progression after a year, 25 to 346."""
    columns, progression = need("sklearn.datasets").load_diabetes(return_X_y=True)
    # scikit-learn gives columns of norm 1
    return torch.tensor(columns, dtype=torch.float64) * math.sqrt(len(columns)), torch.tensor(progression, dtype=torch.float64)
