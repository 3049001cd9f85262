"""Perplexity: tokens that are nearly impossible, half precision, uneven batches, and the count of every token."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

from .claim import Claim

__all__ = ["claims"]

_GROUP = "perplexity (beside: exp of torch's mean cross-entropy, or as typed)"


def _nats(logits: Tensor, target: Tensor) -> float:
    metric = losskit.Perplexity()
    metric.update(logits, target)
    return float(metric.compute().log())


def _typed(logits: Tensor, target: Tensor) -> float:
    """softmax, gather, log, as metrics of other libraries have it."""
    return float(-logits.softmax(-1).gather(-1, target.unsqueeze(-1)).log().double().mean())


def _impossible(dtype: torch.dtype, gap: float, classes: int) -> Claim:
    logits = torch.zeros(1, classes, dtype=dtype)
    logits[0, 0] = gap
    target = torch.tensor([1])
    return Claim(
        _GROUP,
        f"-log p of a token {gap:g} below the likeliest, {str(dtype).removeprefix('torch.')} scores (beside: softmax, then log)",
        gap + math.log1p((classes - 1) * math.exp(-gap)),
        lambda: _nats(logits, target),
        lambda: _typed(logits, target),
    )


def _uniform(dtype: torch.dtype) -> Claim:
    logits, target = torch.zeros(16384, 60, dtype=dtype), torch.arange(16384) % 60

    def ours() -> float:
        metric = losskit.Perplexity()
        metric.update(logits, target)
        return float(metric.compute())

    return Claim(
        _GROUP,
        f"60 equally likely classes, 16,384 tokens, {str(dtype).removeprefix('torch.')} (beside: exp of the sum over the count)",
        60.0,
        ours,
        lambda: float((F.cross_entropy(logits, target, reduction="sum").float() / len(target)).exp()),
        1e-9,
    )


def _uneven() -> Claim:
    """Two tokens that cost ln 2 each, then ten that cost less: a mean of the batches' means weighs them alike."""
    batches = [(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long)), (torch.tensor([[0.0, 2.0]] * 10), torch.ones(10).long())]

    def ours() -> float:
        metric = losskit.Perplexity()
        for logits, target in batches:
            metric.update(logits, target)
        return float(metric.compute())

    truth = math.exp((2 * math.log(2) + 10 * math.log1p(math.exp(-2))) / 12)
    return Claim(
        _GROUP,
        "a batch of two tokens and one of ten (beside: exp of the mean of the batches' means)",
        truth,
        ours,
        lambda: float(torch.stack([F.cross_entropy(z, y) for z, y in batches]).mean().exp()),
    )


def _chain() -> tuple[Callable[[Tensor], Tensor], list[list[int]], float]:
    """A Markov chain as a model, documents drawn from it, and the sum of -log P over their transitions."""
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(8, 8, generator=generator, dtype=torch.float64) ** 3
    table = table / table.sum(1, keepdim=True)
    documents: list[list[int]] = []
    for length in (40, 3, 25):
        row = [0]
        while len(row) < length:
            row.append(int(torch.multinomial(table[row[-1]], 1, generator=generator)))
        documents.append(row)
    truth = -math.fsum(math.log(table[a, b]) for row in documents for a, b in itertools.pairwise(row))
    return (lambda ids: table.log()[ids]), documents, truth


def _windows() -> Claim:
    model, documents, truth = _chain()

    def ours() -> float:
        """The sum that lies farthest off, over windows and strides."""
        sums = [
            losskit.evaluate.perplexity(model, None, documents, window=window, stride=stride).overall.nats
            for window in (2, 5, 8, 64)
            for stride in {1, window // 2, window}
        ]
        return max(sums, key=lambda nats: abs(nats - truth))

    about = "nats of a Markov chain's documents, the worst of 12 pairs of window and stride"
    return Claim(_GROUP, about, truth, ours, None, 1e-12)


def _head() -> Claim:
    """A head of zeros: every token of the vocabulary equally likely."""
    head = losskit.evaluate.Head(torch.zeros(50257, 16))

    def ours() -> float:
        def states(ids: Tensor) -> Tensor:
            return torch.ones(*ids.shape, 16)

        found = losskit.evaluate.perplexity(states, None, [[1, 2, 3, 4, 5], [6, 7]], head=head, window=4).perplexity
        return math.nan if found is None else found

    return Claim(_GROUP, "a head that knows nothing, 50,257 tokens, scored in tiles", 50257.0, ours, None, 1e-12)


def _clusters() -> Claim:
    """Four documents of a hundred equal tokens: a hundred tokens say what one says."""
    from losskit.evaluate.intervals import iid_standard_error, ratio

    nats, count = [2.0, 2.2, 3.9, 4.1], 100
    mean = math.fsum(nats) / 4
    truth = math.sqrt(4 / 3 * math.fsum((x - mean) ** 2 for x in nats)) / 4
    return Claim(
        _GROUP,
        "standard error of the loss, four documents of 100 equal tokens (beside: tokens as if independent)",
        truth,
        lambda: ratio([count * x for x in nats], [count] * 4).standard_error or math.nan,
        lambda: iid_standard_error(count * math.fsum(nats), count * math.fsum(x * x for x in nats), 4 * count) or math.nan,
    )


def claims() -> list[Claim]:
    """All of them, in the order of the table."""
    return [
        _impossible(torch.float32, 120.0, 100),
        _impossible(torch.float16, 18.0, 100),
        _uniform(torch.float16),
        _uniform(torch.bfloat16),
        _uneven(),
        _windows(),
        _head(),
        _clusters(),
    ]
