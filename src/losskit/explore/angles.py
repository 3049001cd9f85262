"""The curve of a loss of embeddings: one vector turns away from where it belongs, all others stay at right angles."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..core.card import Card
from ..core.domain import ClassIndex, Domain, Labels

__all__ = ["AXIS", "turned"]

AXIS = "angle of the pair, others at 90 degrees"
_ROWS, _FEATURES = 8, 10  # two directions that no row has: the vector turns towards the first of them


def turned(card: Card, points: int) -> tuple[Tensor, Tensor, Tensor]:
    """Angles from 0 to pi, the loss of the first pair at each, and its slope."""
    x = torch.linspace(0, math.pi, points, dtype=torch.float64, requires_grad=True)
    value = torch.stack([_first(card.function(*_scene(card, angle), reduction="none")) for angle in x])
    (slope,) = torch.autograd.grad(value.sum(), x)
    return x.detach(), value.detach(), slope


def _first(value: Tensor) -> Tensor:
    """Of the first row; the value itself where the batch has only one."""
    return value[0] if value.ndim else value


def _scene(card: Card, angle: Tensor) -> Iterator[Tensor]:
    """The tensors of a call: what turns is the second vector of a pair, or the second row where there is one vector a row."""
    rows = torch.eye(_ROWS, _FEATURES, dtype=torch.float64)
    towers = [n for n in card.tensors if card.sample[n].axes == (True, ("D",)) and card.sample[n].kind == "float"]
    for name in card.tensors:
        domain = card.sample[name]
        if name not in towers:
            yield _beside(domain, rows)
        elif len(towers) == 1:
            yield _with(rows, 1 if "labels" in card.tensors or len(card.tensors) == 1 else 0, angle)
        elif name == towers[0]:
            yield rows
        else:
            # pairs that have a target: all but the first are unlike
            apart = rows.roll(1, 0) if "target" in card.tensors or name == "negative" else rows
            yield apart if name == "negative" else _with(apart, 0, angle)


def _with(rows: Tensor, place: int, angle: Tensor) -> Tensor:
    """The rows with one of them in the direction of the first, turned by an angle."""
    vector = torch.zeros(_FEATURES, dtype=torch.float64).index_put((torch.tensor([0]),), angle.cos())
    vector = vector.index_put((torch.tensor([_ROWS]),), angle.sin())
    return torch.cat([rows[:place], vector[None], rows[place + 1 :]])


def _beside(domain: Domain, rows: Tensor) -> Tensor:
    """What goes with the rows: labels of which the first two are alike, a class for each row, the vectors of classes."""
    if isinstance(domain, Labels):
        return torch.arange(_ROWS).clamp(min=1)
    if isinstance(domain, ClassIndex):
        return torch.arange(_ROWS)
    if domain.axes[1]:
        return rows
    alike = torch.eye(_ROWS, dtype=torch.float64)[0]
    return alike if domain.within(alike) else 2 * alike - 1
