"""Losses of given pairs: pull together what is the same, push the rest apart until a margin lies between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ..core.card import loss
from ..core.check import at_least, between, choice, working
from ..core.domain import Embeddings, Interval, Mask, Sizes, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.unit import unit

__all__ = ["ContrastiveLoss", "CosineEmbeddingLoss", "contrastive_loss", "cosine_embedding_loss"]

Distance = Literal["cosine", "euclidean"]

PAIR_WEIGHT = {"weight": Weight(meaning="one weight for each pair of rows"), "mask": Mask(meaning="True where a pair counts")}


@dataclass(frozen=True)
class _Sign(Interval):
    """1 or -1."""

    low: float = -1.0
    high: float = 1.0
    meaning: str = "1 for a pair of the same thing, -1 for a pair of different things"

    @override
    def within(self, value: Tensor) -> bool:
        return bool((value.abs() == 1).all())

    @override
    def outside(self, value: Tensor, sizes: Sizes) -> Tensor:
        return (value.abs() != 1) & (value == value)

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return super().draw(generator, sizes, dtype).sign()

    def __str__(self) -> str:
        return "1 or -1"


def visible_pairs(weight: Tensor | None, query: Tensor, key: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """All in the dtype a loss computes in; where a pair has no weight, rows are 0 and ``others`` are 1.

    Shape:      weight (*), query (*, D), key (*, D), others (*)
    """
    query, key, *others_ = working(query, key, *others)
    if weight is None:
        return query, key, *others_
    seen = weight != 0
    rows = (torch.where(seen.unsqueeze(-1), t, 0) for t in (query, key))
    return *rows, *(torch.where(seen, t, 1) for t in others_)


def cosine_distance(query: Tensor, key: Tensor) -> Tensor:
    """1 - cos, (*, D) -> (*): exactly 0 for equal rows, and 1 for a row without a direction."""
    query, key = unit(query), unit(key)
    aimless = (query == 0).all(-1) | (key == 0).all(-1)
    # 1 - cos of nearly equal rows has no digits, and can be below 0
    return torch.where(aimless, 1, (query - key).square().sum(-1) / 2)


def _root(square: Tensor) -> Tensor:
    """sqrt, whose slope at 0 is 0."""
    zero = square == 0
    return torch.where(zero, 0, torch.where(zero, 1, square).sqrt())


def _cosines(query: Tensor, key: Tensor) -> Tensor:
    query, key = query.double(), key.double()
    return (query * key).sum(-1) / (query.square().sum(-1) * key.square().sum(-1)).sqrt()


def _hadsell(
    query: Tensor, key: Tensor, target: Tensor, *, margin: float = 0.5, distance: str = "cosine", weight: Tensor | None = None
) -> Tensor:
    """1/2 (y d^2 + (1 - y) max(0, m - d)^2)."""
    d = 1 - _cosines(query, key) if distance == "cosine" else (query.double() - key.double()).square().sum(-1).sqrt()
    y = target.double()
    value = (y * d**2 + (1 - y) * (margin - d).clamp(min=0) ** 2) / 2
    return value if weight is None else value * weight.double()


def _chance(target: Tensor, margin: float = 0.5, distance: Distance = "cosine") -> float:
    """Rows of zeros: at cosine distance 1, at Euclidean distance 0."""
    d, same = float(distance == "cosine"), float(target.double().mean())
    return (same * d**2 + (1 - same) * max(0.0, margin - d) ** 2) / 2


def _floor(target: Tensor, margin: float = 0.5) -> float:
    """A pair that is the same with probability y rests at the distance (1 - y) m."""
    same = target.double()
    return float((same * (1 - same)).mean()) * margin**2 / 2


@loss(
    task="embedding",
    sample={
        "query": Embeddings(),
        "key": Embeddings(),
        "target": Interval(
            low=0, high=1, meaning="1 for a pair of the same thing, 0 of different things, or the probability of 1"
        ),
        **PAIR_WEIGHT,
    },
    reference=_hadsell,
    laws=("nonnegative",),
    variants=({}, {"distance": "euclidean", "margin": 2.0}, {"margin": 1.5}),
    chance=_chance,
    floor=_floor,
)
def contrastive_loss(
    query: Tensor,
    key: Tensor,
    target: Tensor,
    *,
    margin: float = 0.5,
    distance: Distance = "cosine",
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Given pairs, the same or not: the same are pulled together, others pushed apart until they are a margin away.

    Formula:    \ell = \frac{1}{2} \left(y\, d^2 + (1 - y) \max(0, m - d)^2\right)
    Gradient:   \partial\ell/\partial d = y\, d - (1 - y) \max(0, m - d); Euclidean rows that are equal have none
    Use when:   the data are pairs with a label, as of duplicates, and the score shall be compared with a threshold.
    Avoid when: only pairs of the same thing are known (info_nce_loss takes the rest of the batch as negatives), or there are
                grades of similarity (cosent_loss). Random negatives are soon beyond the margin and teach nothing.
    Shape:      query (*, D), key (*, D), target (*) in [0, 1] -> () or (*)
    Args:
        margin: >= 0, the distance beyond which different things are left alone. 0.5 is sentence-transformers'; a cosine
            distance is at most 2.
        distance: "cosine" is 1 - cos, "euclidean" |q - k| of the rows as they are.
        weight: (*) what each pair counts for; the mean divides by the sum.
        mask: (*) bool, True where a pair counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none". A row of zeros has cosine 0 and no gradient.
    Raises:     ShapeError; TypeError; ValueError for a target outside of [0, 1], a margin < 0 or an unknown distance.
    Reference:  Hadsell, Chopra, LeCun 2006, doi:10.1109/CVPR.2006.100
    Example:
        >>> query, key = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # distances 1 and 0
        >>> losskit.contrastive_loss(query, key, torch.tensor([1, 0]))  # both wrong: (1^2 + 0.5^2) / 2, over 2
        tensor(0.3125)
    """
    at_least("margin", margin, 0)
    choice("distance", distance, ("cosine", "euclidean"))
    weight = valid_weight(weight, mask, query.dtype)
    query, key, target = visible_pairs(weight, query, key, target)
    if distance == "cosine":
        apart = cosine_distance(query, key)
        square = apart.square()
    else:
        square = (query - key).square().sum(-1)
        apart = _root(square)
    # a square beyond all floats does not matter where it is of no pair
    pull = torch.where(target == 0, 0, square) * target
    push = torch.where(target == 1, 0, F.relu(margin - apart).square()) * (1 - target)
    return reduce((pull + push) / 2, weight, reduction, normalizer)


class ContrastiveLoss(Loss, function=contrastive_loss):
    """Module of :func:`contrastive_loss`."""

    margin: float = 0.5
    distance: Distance = "cosine"
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


def _torchs(input1: Tensor, input2: Tensor, target: Tensor, *, margin: float = 0.0, weight: Tensor | None = None) -> Tensor:
    """1 - cos for 1, max(0, cos - margin) for -1."""
    cos = _cosines(input1, input2)
    value = torch.where(target == 1, 1 - cos, (cos - margin).clamp(min=0))
    return value if weight is None else value * weight.double()


def _orthogonal(target: Tensor, margin: float = 0.0) -> float:
    """Cosine 0."""
    same = float((target == 1).double().mean())
    return same + (1 - same) * max(0.0, -margin)


@loss(
    task="embedding",
    sample={"input1": Embeddings(), "input2": Embeddings(), "target": _Sign(), **PAIR_WEIGHT},
    reference=_torchs,
    laws=("nonnegative",),
    variants=({}, {"margin": 0.5}, {"margin": -0.5}),
    chance=_orthogonal,
    floor=lambda: 0.0,
)
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    *,
    margin: float = 0.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""torch's cosine_embedding_loss: the angle of pairs that are the same goes to 0, that of others beyond a margin.

    Formula:    \ell = 1 - \cos(x, y) for a target of 1, \max(0, \cos(x, y) - m) for -1
    Gradient:   \partial\ell/\partial\cos = -1 for a target of 1; for -1 it is 1 where \cos > m, else 0
    Use when:   code that calls torch's shall go on as it is.
    Avoid when: the choice is free: contrastive_loss pushes less the nearer a pair is to where it belongs.
    Shape:      input1 (*, D), input2 (*, D), target (*) of 1 and -1 -> () or (*)
    Args:
        margin: in [-1, 1], the cosine below which different things are left alone.
        weight: (*) what each pair counts for; the mean divides by the sum.
        mask: (*) bool, True where a pair counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none". A row of zeros has cosine 0 and no gradient, where torch's is about 1e6.
    Raises:     ShapeError; TypeError; ValueError for a target that is neither 1 nor -1 (torch's: loss 0), or a margin
                outside of [-1, 1].
    Reference:  Collobert, Bengio 2004, doi:10.1145/1015330.1015415 for the margin; torch.nn.CosineEmbeddingLoss
    Example:
        >>> one, other = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 3.0], [2.0, 0.0]])  # cosines 0 and 1
        >>> losskit.cosine_embedding_loss(one, other, torch.tensor([1, -1]), reduction="none")
        tensor([1., 1.])
    """
    between("margin", margin, -1, 1)
    weight = valid_weight(weight, mask, input1.dtype)
    input1, input2, target = visible_pairs(weight, input1, input2, target)
    apart = cosine_distance(input1, input2)
    # neither 1 nor -1 is NaN where nobody could look
    value = torch.where(target == 1, apart, torch.where(target == -1, F.relu(1 - apart - margin), torch.nan))
    return reduce(value, weight, reduction, normalizer)


class CosineEmbeddingLoss(Loss, function=cosine_embedding_loss):
    """Module of :func:`cosine_embedding_loss`."""

    margin: float = 0.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
