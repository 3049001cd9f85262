"""Corpora whose true loss is known: documents of Markov chains, scored by a model that is a Markov chain too."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

STATES = 20


class Corpora(NamedTuple):
    """Many corpora of one population: sums, squares and counts of each document (R, D), and the population's true ratio."""

    sums: Tensor
    squares: Tensor
    tokens: Tensor
    truth: float


def chain(sharpness: float, generator: torch.Generator) -> Tensor:
    return torch.softmax(sharpness * torch.randn(STATES, STATES, generator=generator, dtype=torch.float64), -1)


def stationary(of: Tensor) -> Tensor:
    return torch.linalg.matrix_power(of, 1000)[0]


def cross_entropy(of: Tensor, under: Tensor) -> float:
    """Nats per transition of the chain ``of`` that the model ``under`` needs in the long run."""
    return float(-(stationary(of)[:, None] * of * under.log()).sum())


def losses(of: Tensor, under: Tensor, documents: int, length: int, generator: torch.Generator) -> Tensor:
    """-log p of each transition, from a stationary start, so that each has the mean ``cross_entropy``: (documents, length)."""
    edges = of.cumsum(-1)
    state = torch.multinomial(stationary(of), documents, replacement=True, generator=generator)
    steps: list[Tensor] = []
    for _ in range(length):
        uniform = torch.rand(documents, 1, generator=generator, dtype=torch.float64)
        following = (uniform > edges[state]).sum(-1).clamp(max=STATES - 1)
        steps.append(-under[state, following].log())
        state = following
    return torch.stack(steps, 1)


def homogeneous(repeats: int, documents: int, generator: torch.Generator) -> Corpora:
    """Every document from one chain, 200 transitions, scored by the chain itself."""
    of = chain(1.5, generator)
    nats = losses(of, of, repeats * documents, 200, generator)
    return _corpora(nats, torch.full((len(nats),), 200), repeats, cross_entropy(of, of))


def two_topics(repeats: int, documents: int, generator: torch.Generator, *, unequal: bool = False) -> Corpora:
    """Three documents in ten are from a topic the model knows badly; if ``unequal``, those are also the longer ones."""
    rare, common = chain(1.0, generator), chain(1.5, generator)
    model = 0.25 * rare + 0.75 * common
    count = repeats * documents
    is_rare = torch.rand(count, generator=generator) < 0.3
    ranges = ((100, 400), (25, 200)) if unequal else ((200, 200), (200, 200))
    lengths = [torch.randint(low, high + 1, (count,), generator=generator) for low, high in ranges]
    longest = max(high for _, high in ranges)
    nats = torch.where(is_rare[:, None], *(losses(of, model, count, longest, generator) for of in (rare, common)))
    shares = [share * (low + high) / 2 for share, (low, high) in zip((0.3, 0.7), ranges, strict=True)]
    truth = sum(s * cross_entropy(of, model) for s, of in zip(shares, (rare, common), strict=True)) / sum(shares)
    return _corpora(nats, torch.where(is_rare, *lengths), repeats, truth)


def walks(repeats: int, windows: int, memory: float, generator: torch.Generator) -> Corpora:
    """Windows of 100 tokens in one long text; ``memory`` is the correlation of a window's mean loss with the one before."""
    noise = torch.randn(repeats, windows + 100, generator=generator, dtype=torch.float64)
    state, steps = torch.zeros(repeats, dtype=torch.float64), []
    for step in noise.unbind(1):
        state = memory * state + step
        steps.append(3 + 0.2 * state)
    sums = 100 * torch.stack(steps[100:], 1)  # the first hundred forget where they began
    return Corpora(sums, sums**2 / 100, torch.full(sums.shape, 100), 3.0)


def _corpora(nats: Tensor, tokens: Tensor, repeats: int, truth: float) -> Corpora:
    nats = nats * (torch.arange(nats.shape[1]) < tokens[:, None])
    return Corpora(*(column.view(repeats, -1) for column in (nats.sum(1), (nats**2).sum(1), tokens)), truth)
