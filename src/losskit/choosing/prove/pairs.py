"""Losses of embeddings on rows with a class each: batches, and triplets drawn from the labels."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.card import CATALOGUE
from ..advice import Candidate
from .heads import Guess, Head, options

__all__ = ["WIDTH", "embedding_head"]

WIDTH = 32  # of an embedding


def embedding_head(candidate: Candidate, seed: int) -> Head:
    """A model that turns inputs into vectors.

    Raises:     ValueError for a loss that needs more than vectors and their classes.
    """
    card, given = CATALOGUE[candidate.loss], options(candidate)
    tensors, generator = tuple(card.tensors), torch.Generator().manual_seed(seed)

    def call(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        # the rows held out are always paired in the same way: their loss says when to stop
        draw = generator if z.requires_grad else torch.Generator().manual_seed(seed)
        if tensors == ("input", "labels"):
            return card.function(z, y, reduction=reduction, **given)
        anchor, partner, other = _drawn(y, draw)
        return card.function(z[anchor], z[partner], z[other], reduction=reduction, **given)

    if tensors not in (("input", "labels"), ("anchor", "positive", "negative")):
        raise ValueError(f"{candidate.loss} takes {', '.join(tensors)}, of which a proof has vectors and classes only")
    return Head(WIDTH, call, lambda z: Guess(z))


def _drawn(y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows that are not alone in their class, another row of the class of each, and one of another class."""
    shuffled = torch.randperm(len(y), generator=generator)
    order = shuffled[y[shuffled].argsort(stable=True)]
    labels = y[order]
    _, size = labels.unique_consecutive(return_counts=True)
    start = (size.cumsum(0) - size).repeat_interleave(size)
    size = size.repeat_interleave(size)
    place = torch.arange(len(y))
    following = order[start + (place - start + 1) % size]  # the next of the class, the first after the last
    step = (torch.rand(len(y), generator=generator) * (len(y) - size)).long()
    stranger = order[(start + size + step) % len(y)]
    use = (size > 1) & (size < len(y))
    return order[use], following[use], stranger[use]
