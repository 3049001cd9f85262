"""Lifted structure loss: every positive pair against all negatives of both its rows."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, choice
from ..core.module import Loss
from ..core.reduce import Reduction, reduce_total
from ..ops.pairs import Curve, pair_logsumexp, pair_sums, pair_total_sum
from ..parallel import gather_rows, sum_over_ranks
from .embeddings import reduce_rows
from .labelled import LABELLED, labelled

__all__ = ["LiftedStructureLoss", "lifted_structure_loss"]


def _paper(input: Tensor, labels: Tensor, *, margin: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """One positive pair at a time, half of it for each of its rows."""
    x, y = input.double().reshape(-1, input.shape[-1]), labels.reshape(-1)
    x = x / x.norm(dim=1, keepdim=True)
    d = [[(a - b).norm() for b in x] for a in x]
    values = [row.sum() * 0 for row in x]
    for i in range(len(x)):
        for j in range(i):
            far = [margin - d[a][k] for a in (i, j) for k in range(len(x)) if y[k] != y[a]]
            if y[i] == y[j] and far:
                pair = (torch.stack(far).logsumexp(0) + d[i][j]).clamp(min=0) ** 2 / 2
                values[i], values[j] = values[i] + pair / 2, values[j] + pair / 2
    return torch.stack(values).reshape(labels.shape)


@loss(
    task="embedding",
    sample=LABELLED,
    reference=_paper,
    laws=("whole_batch", "nonnegative"),
    variants=({}, {"margin": 0.0}, {"margin": 3.0}),
)
def lifted_structure_loss(
    input: Tensor,
    labels: Tensor,
    *,
    margin: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Every two rows of a label shall be nearer than either is to any row of another label; all negatives of both count.

    Formula:    \ell = \frac{1}{2 |P|} \sum_{(i, j) \in P} \max(0, J_{ij})^2,\; J_{ij} = d_{ij} + \log (e^{L_i} + e^{L_j}),\;
                L_i = \log \sum_{n \in N_i} e^{m - d_{in}},\; d the distance of unit rows, P the pairs of the same label
    Gradient:   \partial\ell/\partial d_{ij} = \frac{1}{|P|} \max(0, J_{ij}); a distance of 0 has gradient 0
    Use when:   batches hold few rows of each label, and each pair shall be compared with the whole batch.
    Avoid when: batches are large: J grows with the logarithm of their size, so that no pair is ever done.
    Shape:      input (*, D), labels (*) -> () or (*)
    Args:
        margin: >= 0, how much farther negatives shall be.
        mask: (*) bool, True where a row is there; the others are neither anchor, positive nor negative, and may be NaN.
        normalizer: replaces the mean's denominator, the number of positive pairs.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none": to each row half of its positive pairs, so that they add up to all pairs once.
                Rows without a positive or without a negative are 0, and count no pair. Distances are Euclidean, of unit rows,
                in float64; a row of zeros is at the root of 2 from all. The paper takes rows as they are.
    Raises:     ShapeError; TypeError; ValueError for margin < 0.
    Reference:  Song et al. 2016, arXiv:1511.06452
    Example:
        >>> rows, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0, 1, 1])
        >>> losskit.lifted_structure_loss(rows, labels)  # collapsed, four negatives of both: (log 4 + 1)^2 / 2
        tensor(2.8472)
    """
    at_least("margin", margin, 0)
    choice("reduction", reduction, ("none", "mean", "sum"))
    batch = labelled(input, labels, mask, group, exact=True)
    near, _ = pair_logsumexp(batch.others(), bend="minus_distance", params=[margin])
    own = torch.where(near == -torch.inf, 0, near)  # of what has no negatives, and counts for nothing
    curve = Curve("lifted", (), own, gather_rows(own, group).rows)
    counts = torch.where(batch.negatives > 0, batch.positives, 0) / 2  # a pair is shared by its two rows
    if reduction == "none":
        value = pair_sums(batch.same(), curve) / (2 * counts).clamp(min=1)
        return reduce_rows(value, counts, batch.rows.lead, reduction, normalizer, group).to(batch.rows.values.dtype)
    total = pair_total_sum(batch.same(), curve, (batch.negatives > 0).double() / 2)
    value = reduce_total(sum_over_ranks(total, group), sum_over_ranks(counts.sum(), group), reduction, normalizer)
    return value.to(batch.rows.values.dtype)


class LiftedStructureLoss(Loss, function=lifted_structure_loss):
    """Module of :func:`lifted_structure_loss`."""

    margin: float = 1.0
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
