"""What the tests of a step in chunks learn with: an encoder, a loss of the whole batch, and its gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from losskit.losses.embeddings import rows_of
from losskit.parallel import gather_rows, sum_over_ranks

ROWS, FEATURES = 10, 6


class Encoder(nn.Module):
    """Two layers with dropout between."""

    def __init__(self, dropout: float = 0.0, dtype: torch.dtype = torch.float64, norm: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(FEATURES, 8, dtype=dtype)
        self.norm = norm or nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(8, 4, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.norm(self.first(x)).tanh()))


class Contrast(nn.Module):
    """InfoNCE with a temperature of its own."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.group, self.calls = group, 0

    def forward(self, query: Tensor, key: Tensor, labels: Tensor | None = None, *, times: float = 1.0) -> Tensor:
        self.calls += 1
        q, k = rows_of(query).values, rows_of(key).values
        keys, start = gather_rows(k, self.group)
        scores = self.log_scale.exp().to(q.dtype) * q @ keys.T
        own = torch.arange(len(q)) + start if labels is None else labels
        value = nn.functional.cross_entropy(scores, own, reduction="sum")
        return times * sum_over_ranks(value, self.group) / len(keys)


def data(rows: int = ROWS, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, rows, FEATURES, generator=generator, dtype=torch.float64).to(dtype)
    return a, b


def chunked(encoder: Callable[..., Tensor], batch: Tensor, size: int) -> Tensor:
    """What a plain step does if chunks are all that differs: the same random numbers, all activations kept."""
    return torch.cat([encoder(piece) for piece in batch.split(size)])


def gradients(*modules: nn.Module) -> list[Tensor]:
    found = []
    for module in modules:
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
            found.append(parameter.grad.clone())
            parameter.grad = None
    return found


def equal(got: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-12) -> None:
    for mine, plain in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, plain, rtol=tolerance, atol=tolerance)
