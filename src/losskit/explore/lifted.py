"""The curve of a loss of lists: one relevant item rises past others that are not."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.card import Card

__all__ = ["AXIS", "is_of_lists", "lifted"]

AXIS = "score of the relevant item, others at -1, 0, 1"
_OTHERS = (-1.0, 0.0, 1.0)


def is_of_lists(card: Card) -> bool:
    """Whether a batch, or each row of it, is a list to be put in order."""
    return card.task == "ranking" or (card.task == "imbalance" and "whole_batch" in card.laws)


def lifted(card: Card, x: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of a list at each score ``x`` of its relevant item, and its slope.

    Shape:      x (P,), which wants a gradient -> (P,), (P,)
    """
    value = torch.stack([card.function(*_scene(card, one), reduction="none").mean() for one in x])
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope


def _scene(card: Card, score: Tensor) -> list[Tensor]:
    """The tensors of a call: one list, its relevant item first; or a relevant item and, apart from it, the others."""
    others = score.new_tensor(_OTHERS)
    if card.sample[card.tensors[1]].kind == "float":  # a score against scores
        return [score, others]
    relevance = (torch.arange(len(others) + 1) == 0).to(score.dtype)
    return [torch.cat([score.unsqueeze(0), others]), relevance]
