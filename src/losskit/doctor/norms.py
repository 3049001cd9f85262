"""The norm of a tensor of any make: sparse, complex, of any format."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["norm", "real"]


def real(tensor: Tensor) -> Tensor:
    """Its values as real numbers, two for each complex one: what is sparse comes without its zeros."""
    values = tensor.detach()
    values = values.coalesce().values() if values.is_sparse else values
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values


def norm(tensor: Tensor) -> float:
    """The root of the sum of squares, in float64."""
    return float(torch.linalg.vector_norm(real(tensor), dtype=torch.float64))
