"""Contrastive loss over all pairs of a labelled batch."""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, choice
from ..core.module import Loss
from ..core.reduce import Reduction, reduce_total
from ..ops.pairs import Curve, pair_sums, pair_total_sum
from ..parallel import sum_over_ranks
from .contrastive import Distance
from .embeddings import reduce_rows
from .labelled import LABELLED, labelled

__all__ = ["BatchContrastiveLoss", "batch_contrastive_loss"]

Average = Literal["pair", "balanced"]


def _paper(
    input: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.5,
    distance: Distance = "cosine",
    average: Average = "pair",
    mask: Tensor | None = None,
) -> Tensor:
    """Hadsell's value of one pair at a time."""
    x, y = input.double().reshape(-1, input.shape[-1]), labels.reshape(-1)
    x = x / x.norm(dim=1, keepdim=True)
    values = []
    for i in range(len(x)):
        d = {j: 1 - x[i] @ x[j] if distance == "cosine" else (x[i] - x[j]).norm() for j in range(len(x)) if j != i}
        pull = [v**2 / 2 for j, v in d.items() if y[j] == y[i]]
        push = [(margin - v).clamp(min=0) ** 2 / 2 for j, v in d.items() if y[j] != y[i]]
        if average == "pair":
            values.append(sum([*pull, *push], x[i].sum() * 0) / 2)
        else:
            values.append((sum(pull) / len(pull) + sum(push) / len(push)) / 2 if pull and push else x[i].sum() * 0)
    return torch.stack(values).reshape(labels.shape)


@loss(
    task="embedding",
    sample=LABELLED,
    reference=_paper,
    laws=("whole_batch", "nonnegative"),
    variants=(
        {},
        {"distance": "euclidean", "margin": 1.0},
        {"average": "balanced", "margin": 1.2},
        {"average": "balanced", "distance": "euclidean", "margin": 1.5},
    ),
)
def batch_contrastive_loss(
    input: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.5,
    distance: Distance = "cosine",
    average: Average = "pair",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""All pairs of a batch: rows of a label are pulled together, all others pushed apart until they are a margin away.

    Formula:    \ell = \frac{1}{|P| + |N|} \left(\sum_{(i, j) \in P} \frac{1}{2} d_{ij}^2
                + \sum_{(i, j) \in N} \frac{1}{2} \max(0, m - d_{ij})^2\right) of the pairs P of the same label and N of others
    Gradient:   \partial\ell/\partial d_{ij} = \frac{1}{|P| + |N|} d_{ij} for the same label and
                -\frac{1}{|P| + |N|} \max(0, m - d_{ij}) for others; Euclidean rows that are equal have none
    Use when:   a threshold on the distance shall tell same from different, and labels say which is which.
    Avoid when: the order of neighbours is what counts (batch_triplet_loss), or pairs are given (contrastive_loss).
    Shape:      input (*, D), labels (*) -> () or (*)
    Args:
        margin: >= 0, the distance beyond which different things are left alone; a cosine distance is at most 2, as is a
            Euclidean one of unit rows.
        distance: "cosine" is 1 - cos, "euclidean" the distance of unit rows.
        average: over what the mean goes. "pair": all pairs alike, which are mostly negatives where there are many labels.
            "balanced": for each row half the mean of its positives and half that of its negatives, then the mean over rows
            that have both: no number of labels changes what a positive counts for. pytorch-metric-learning adds the
            means of the positive and of the negative pairs that cost something (of d, not of its square), which jump when a
            pair begins to cost nothing.
        mask: (*) bool, True where a row is there; the others are in no pair, and may be NaN.
        normalizer: replaces the mean's denominator: the number of pairs, or of rows for "balanced".
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none": to each row half of its pairs, so that they add up to all pairs once ("pair"),
                or its mean ("balanced"). A row without a pair is 0. A row of zeros has cosine 0 to all, and no gradient.
    Raises:     ShapeError; TypeError; ValueError for margin < 0, or an unknown option.
    Reference:  Hadsell, Chopra, LeCun 2006, doi:10.1109/CVPR.2006.100
    Example:
        >>> rows, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
        >>> losskit.batch_contrastive_loss(rows, labels)  # a positive at 1, negatives at 1 and 0: (1 + 0 + 0.5^2) / 2, over 3
        tensor(0.2083)
    """
    at_least("margin", margin, 0)
    choice("distance", distance, ("cosine", "euclidean"))
    choice("average", average, ("pair", "balanced"))
    choice("reduction", reduction, ("none", "mean", "sum"))
    batch = labelled(input, labels, mask, group, exact=distance == "euclidean")
    pull, push = Curve(f"pull_{distance}"), Curve(f"push_{distance}", [margin])
    near, far = batch.positives, batch.negatives
    if average == "pair":
        counts = (near + far).double() / 2  # a pair is shared by its two rows
        by_near = by_far = torch.full_like(counts, 0.5)
    else:
        counts = ((near > 0) & (far > 0)).double()
        by_near, by_far = (counts / (2 * number.clamp(min=1)) for number in (near, far))
    if reduction == "none":
        value = by_near * pair_sums(batch.same(), pull) + by_far * pair_sums(batch.others(), push)
        each = torch.where(counts > 0, value / torch.where(counts > 0, counts, 1), 0)
        return reduce_rows(each, counts, batch.rows.lead, reduction, normalizer, group).to(batch.rows.values.dtype)
    total = pair_total_sum(batch.same(), pull, by_near) + pair_total_sum(batch.others(), push, by_far)
    value = reduce_total(sum_over_ranks(total, group), sum_over_ranks(counts.sum(), group), reduction, normalizer)
    return value.to(batch.rows.values.dtype)


class BatchContrastiveLoss(Loss, function=batch_contrastive_loss):
    """Module of :func:`batch_contrastive_loss`."""

    margin: float = 0.5
    distance: Distance = "cosine"
    average: Average = "pair"
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
