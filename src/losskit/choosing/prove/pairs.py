"""Losses of embeddings on rows with a class each: batches, pairs and triplets drawn from the labels."""

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
    ids = {name: None for name in ("query_ids", "key_ids") if name in card.options}

    def call(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        # the rows held out are always paired in the same way: their loss says when to stop
        draw = generator if z.requires_grad else torch.Generator().manual_seed(seed)
        if tensors == ("input", "labels"):
            return card.function(z, y, reduction=reduction, **given)
        anchor, partner, other = _drawn(y, draw)
        if tensors == ("anchor", "positive", "negative"):
            return card.function(z[anchor], z[partner], z[other], reduction=reduction, **given)
        if tensors == ("query", "key"):
            own = dict.fromkeys(ids, y[anchor])
            return card.function(z[anchor], z[partner], reduction=reduction, **given, **own)
        key = torch.cat([partner, other])
        same = torch.cat([torch.ones(len(partner)), torch.zeros(len(other))])
        same = 2 * same - 1 if tensors[0] == "input1" else same  # torch's cosine_embedding_loss says -1 for different
        return card.function(z[anchor].repeat(2, 1), z[key], same.to(z.dtype), reduction=reduction, **given)

    known = (("input", "labels"), ("anchor", "positive", "negative"), ("query", "key"), ("query", "key", "target"))
    if tensors not in (*known, ("input1", "input2", "target")):
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
