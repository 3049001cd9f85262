"""Data and networks of the healthy runs, drawn from torch's generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]


def classes(rows: int = 2000, features: int = 16, kinds: int = 5, *, noise: float = 0.0, sharp: float = 3.0) -> Pair:
    """Rows whose class is drawn from a soft-max of a random network; ``noise`` is the share of labels that are drawn anew."""
    x = torch.randn(rows, features)
    hidden = torch.tanh(x @ torch.randn(features, 32) / features**0.5)
    scores = sharp * hidden @ torch.randn(32, kinds) / 3
    y = torch.multinomial(scores.softmax(1), 1)[:, 0]
    wrong = torch.rand(rows) < noise
    return x, torch.where(wrong, torch.randint(0, kinds, (rows,)), y)


def clouds(rows: int = 2000, features: int = 16, kinds: int = 5, *, apart: float = 4.0) -> Pair:
    """Gaussian clouds, one for each class."""
    y = torch.randint(0, kinds, (rows,))
    centres = apart * nn.functional.normalize(torch.randn(kinds, features), dim=1)
    return centres[y] + torch.randn(rows, features), y


def images(rows: int = 512, size: int = 8, kinds: int = 4) -> Pair:
    """Gratings of one of a few directions in noise."""
    y = torch.randint(0, kinds, (rows,))
    place = torch.arange(size, dtype=torch.float32)
    angle = y * torch.pi / kinds
    wave = angle.cos()[:, None, None] * place[:, None] + angle.sin()[:, None, None] * place
    phase = 6.28 * torch.rand(rows, 1, 1)
    return (torch.sin(1.5 * wave + phase) + 0.5 * torch.randn(rows, size, size))[:, None], y


def masks(rows: int = 256, size: int = 12) -> Pair:
    """Bright squares in noise, and where they are."""
    corner, side = torch.randint(0, size - 5, (rows, 2, 1, 1)), torch.randint(3, 6, (rows, 1, 1))
    place = torch.arange(size)
    inside = (place[:, None] >= corner[:, 0]) & (place[:, None] < corner[:, 0] + side)
    inside = inside & (place >= corner[:, 1]) & (place < corner[:, 1] + side)
    return (inside + 0.4 * torch.randn(rows, size, size))[:, None], inside[:, None].float()


def tokens(rows: int, length: int, vocabulary: int = 24, *, first: int = 2, sharp: float = 4.0) -> Tensor:
    """Text of a random Markov chain over ids from ``first`` on."""
    kinds = vocabulary - first
    chain = (sharp * torch.rand(kinds, kinds)).pow(2).softmax(1)
    text = [torch.randint(0, kinds, (rows,))]
    for _ in range(length - 1):
        text.append(torch.multinomial(chain[text[-1]], 1)[:, 0])
    return torch.stack(text, 1) + first


def drawn(*tensors: Tensor, size: int = 32) -> Callable[[int], tuple[Tensor, ...]]:
    """Batches without order: epochs of random permutations."""
    rows = len(tensors[0])
    per_epoch = max(rows // size, 1)
    order: list[Tensor] = [torch.randperm(rows)]

    def batch(step: int) -> tuple[Tensor, ...]:
        if step % per_epoch == 0:
            order[0] = torch.randperm(rows)
        start = step % per_epoch * size
        picked = order[0][start : start + size]
        return tuple(one[picked] for one in tensors)

    return batch


def split(*tensors: Tensor, held_out: int = 400) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Training rows and the last ones, held out."""
    return tuple(one[:-held_out] for one in tensors), tuple(one[-held_out:] for one in tensors)


def mlp(features: int, out: int, *, hidden: int = 32, drop: float = 0.0) -> nn.Sequential:
    """Two hidden layers."""

    def layers() -> Iterator[nn.Module]:
        width = features
        for _ in range(2):
            yield from (nn.Linear(width, hidden), nn.ReLU())
            if drop:
                yield nn.Dropout(drop)
            width = hidden
        yield nn.Linear(width, out)

    return nn.Sequential(*layers())
