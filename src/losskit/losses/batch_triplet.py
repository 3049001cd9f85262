"""Triplet losses of a labelled batch: who is anchor, positive and negative is found in it."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import choice, wide
from ..core.domain import Embeddings, Labels, Mask
from ..core.module import Loss
from ..core.reduce import Reduction, reduce_total
from ..ops.distances import DISTANCES, Distance, pair_distance
from ..ops.extremes import Batch, extremes
from ..ops.mining import Form, triplet_value
from ..ops.triplets import Triplets, triplet_sums, triplet_total
from ..ops.unit import unit
from ..parallel import gather_rows, sum_over_ranks
from .embeddings import Rows, reduce_rows, rows_of
from .triplet import Margin, form_of, triplet_chance

__all__ = ["BatchTripletLoss", "batch_triplet_loss"]

Average = Literal["anchor", "valid", "active"]
BatchMining = Literal["all", "hard", "semihard", "easy_positive_hard_negative", "hard_negative_all_positive"]


def batch_of(
    input: Tensor, labels: Tensor | None, mask: Tensor | None, group: dist.ProcessGroup | None, *, normalize: bool
) -> tuple[Rows, Batch]:
    """This rank's rows, and all ranks' in float64, where distances keep their digits; without labels no two are the same."""
    rows = rows_of(input, mask, normalize=False)
    every, start = gather_rows(rows.values, group)
    every = wide(every)
    if labels is None:
        ids, valid = torch.arange(len(every), device=input.device), gather_rows(rows.valid.long(), group).rows != 0
    else:
        facts = torch.stack([labels.reshape(-1).long(), rows.valid.long()], 1)
        ids, valid = gather_rows(facts, group).rows.unbind(1)
        valid = valid != 0
    return rows, Batch(unit(every) if normalize else every, ids, valid, start, len(rows.values))


def _paper(
    input: Tensor, labels: Tensor, *, mining: BatchMining = "all", margin: Margin = 0.2, distance: Distance = "euclidean",
    normalize: bool = True, average: Average = "anchor",
) -> Tensor:  # fmt: skip
    """One anchor, one positive and one negative at a time."""
    x, y = input.double().flatten(0, -2), labels.reshape(-1)
    x = x / x.norm(dim=1, keepdim=True) if normalize or distance == "cosine" else x
    d = [[(a - b).norm() if distance == "euclidean" else (a - b).square().sum() for b in x] for a in x]
    values = []
    for a in range(len(x)):
        near = [d[a][p] / (1 + (distance == "cosine")) for p in range(len(x)) if p != a and y[p] == y[a]]
        far = [d[a][n] / (1 + (distance == "cosine")) for n in range(len(x)) if y[n] != y[a]]
        gaps = [p - n for p, n in _pairs(mining, near, far)] if near and far else []
        each = [gap.exp().log1p() if margin == "soft" else (gap + margin).clamp(min=0) for gap in gaps]
        total = torch.stack(each).sum() if each else x[a].sum() * 0
        values.append(total / max(len(each), 1) if average == "anchor" else total)
    return torch.stack(values).reshape(labels.shape)


def _pairs(mining: BatchMining, near: list[Tensor], far: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Distances of the positive and the negative of each triplet of an anchor."""
    match mining:
        case "hard":
            return [(max(near), min(far))]
        case "easy_positive_hard_negative":
            return [(min(near), min(far))]
        case "hard_negative_all_positive":
            return [(p, min(far)) for p in near]
        case "semihard":
            return [(p, min([n for n in far if n > p], default=max(far))) for p in near]
        case "all":
            return [(p, n) for p in near for n in far]


def _chance(
    margin: Margin = 0.2, mining: str = "all", distance: str = "euclidean", normalize: bool = True, average: str = "anchor"
) -> float:
    return triplet_chance(margin)


@loss(
    task="embedding",
    sample={"input": Embeddings(), "labels": Labels(), "mask": Mask()},
    reference=_paper,
    laws=("whole_batch", "nonnegative"),
    variants=(
        {},
        {"margin": "soft", "average": "valid"},
        {"margin": 1.0, "average": "active", "normalize": False},
        {"mining": "hard", "margin": "soft", "normalize": False},
        {"mining": "hard", "distance": "squared_euclidean", "average": "active"},
        {"mining": "semihard", "distance": "cosine", "average": "active"},
        {"mining": "semihard", "margin": "soft", "average": "valid"},
        {"mining": "easy_positive_hard_negative", "margin": 0.5},
        {"mining": "hard_negative_all_positive", "distance": "squared_euclidean", "margin": 0.5},
    ),
    chance=_chance,
)
def batch_triplet_loss(
    input: Tensor,
    labels: Tensor,
    *,
    mining: BatchMining = "all",
    margin: float | Literal["soft"] = 0.2,
    distance: Distance = "euclidean",
    normalize: bool = True,
    average: Average = "anchor",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Every row shall be nearer to the rows of its label than to those of others, by a margin; the batch makes the triplets.

    Formula:    \ell_a = \frac{1}{|T_a|} \sum_{(p, n) \in T_a} \max(0, d(a, p) - d(a, n) + m),\; or \ln(1 + e^{d(a, p) - d(a, n)})
        in place of max for margin="soft"
    Gradient:   \partial\ell_a/\partial d(a, p) = \frac{1}{|T_a|} \sum_n 1[d(a, p) - d(a, n) + m > 0] over the triplets of p; for
        d(a, n) the same with the other sign, over the triplets of n; a distance of 0 has gradient 0
    Use when:   the order of neighbours is what counts (retrieval, faces), and a batch has several rows of each label.
    Avoid when: most labels come once in a batch: rows without another of their label, or without one of another, make no triplet.
    Shape:      input (*, D), labels (*) -> () or (*)
    Args:
        mining: the triplets T_a. "all" of them: exact in N^2 log N for a number as margin; margin="soft" takes time N^3; neither
            takes memory of N^2. "hard": the farthest positive and the nearest negative (Hermans 2017). "semihard": for each
            positive the nearest negative that is farther, or the farthest if none is (FaceNet, as TensorFlow does it).
            "easy_positive_hard_negative": the nearest of both (Xuan 2020). "hard_negative_all_positive": every positive with
            the nearest negative.
        margin: >= 0; or "soft", which never stops to pull.
        distance: "euclidean", "squared_euclidean", or "cosine": one less the cosine; a row of zeros has cosine 0 and no gradient.
        normalize: divides rows by their length, as cosine does anyhow.
        average: over what the mean goes. "anchor": each anchor's mean over its triplets, then the mean over anchors (batch-hard
            of Hermans and of sentence-transformers). "valid": all triplets alike (Hermans' batch-all, TensorFlow's semi-hard).
            "active": only those that cost something (sentence-transformers' batch-all, pytorch-metric-learning); it jumps when
            a triplet ceases to cost, and for margin="soft" is "valid".
        mask: (*) bool, True where a row is there; the others are neither anchor, positive nor negative, and may be NaN.
        normalizer: replaces the mean's denominator.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none": of each anchor its mean ("anchor") or its sum. Without a triplet 0.
    Raises:     ShapeError; TypeError; ValueError for margin < 0, or an unknown option.
    Reference:  Hermans et al. 2017, arXiv:1703.07737; Schroff et al. 2015, arXiv:1503.03832; Xuan et al. 2020, arXiv:1904.04370
    Example:
        >>> rows, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0, 1, 1])
        >>> losskit.batch_triplet_loss(rows, labels, margin=2.0)  # 0 - 2^(1/2) + 2 for every triplet
        tensor(0.5858)
    """
    form = form_of(margin)
    choice("mining", mining, get_args(BatchMining))
    choice("distance", distance, DISTANCES)
    choice("average", average, get_args(Average))
    choice("reduction", reduction, get_args(Reduction))
    rows, batch = batch_of(input, labels, mask, group, normalize=normalize or distance == "cosine")
    if mining == "hard" or mining == "easy_positive_hard_negative":
        found = _one_each(batch, mining, form, distance)
    elif reduction == "none":
        found = triplet_sums(batch, form._replace(mining=mining), distance)
    else:
        total, *numbers = triplet_total(batch, form._replace(mining=mining), distance, per_anchor=average == "anchor")
        weight = _weight(average, *numbers)
        value = reduce_total(sum_over_ranks(total, group), sum_over_ranks(weight.sum(), group), reduction, normalizer)
        return value.to(rows.values.dtype)
    weight = _weight(average, found.active, found.number)
    each = found.sums / (weight if average != "anchor" else found.number).clamp(min=1)
    return reduce_rows(each, weight, rows.lead, reduction, normalizer, group).to(rows.values.dtype)


def _one_each(batch: Batch, mining: BatchMining, form: Form, distance: Distance) -> Triplets:
    """One triplet of each anchor, whose two distances are all that is differentiated."""
    positive, negative = extremes(batch, distance, "farthest_same" if mining == "hard" else "nearest_same", "nearest_other")
    anchor = batch.rows[batch.start : batch.start + batch.anchors]
    near, far = (pair_distance(anchor, batch.rows[i], distance) for i in (positive, negative))
    counts = (positive >= 0) & (negative >= 0)
    value = torch.where(counts, triplet_value(near - far, form), 0)
    return Triplets(value, (counts if form.soft else ~(value <= 0)).to(value.dtype), counts.to(value.dtype))


def _weight(average: Average, active: Tensor, number: Tensor) -> Tensor:
    """What each anchor counts for in the mean."""
    return {"anchor": (number > 0).to(number.dtype), "valid": number, "active": active}[average]


class BatchTripletLoss(Loss, function=batch_triplet_loss):
    """Module of :func:`batch_triplet_loss`."""

    mining: BatchMining = "all"
    margin: float | Literal["soft"] = 0.2
    distance: Distance = "euclidean"
    normalize: bool = True
    average: Average = "anchor"
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
