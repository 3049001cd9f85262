"""KoLeo: rows of a batch spread over the sphere, each away from its nearest neighbour."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.domain import Embeddings, Mask
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.distances import pair_distance
from ..ops.extremes import extremes
from .batch_triplet import batch_of
from .embeddings import reduce_rows

__all__ = ["KoLeoLoss", "koleo_loss"]

_SHORTEST = 1e-8  # distances below count as this: what DINOv2's eps makes of a distance of 0


def _paper(input: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """-log of the distance to the nearest other row, one row at a time."""
    x = input.double().flatten(0, -2)
    x = x / x.norm(dim=1, keepdim=True)
    near = [torch.stack([(x[i] - x[j]).norm() for j in range(len(x)) if j != i]).amin() for i in range(len(x))]
    return -torch.stack(near).clamp(min=_SHORTEST).log().reshape(input.shape[:-1])


@loss(
    task="embedding",
    sample={"input": Embeddings(), "mask": Mask()},
    reference=_paper,
    laws=("whole_batch",),
)
def koleo_loss(
    input: Tensor,
    *,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Spreads the rows of a batch over the sphere: each is pushed away from its nearest neighbour.

    Formula:    \ell_i = -\log \min_{j \ne i} \left\lVert \frac{x_i}{|x_i|} - \frac{x_j}{|x_j|} \right\rVert
    Gradient:   \partial\ell_i/\partial u_i = -\frac{u_i - u_j}{|u_i - u_j|^2} = -\partial\ell_i/\partial u_j of unit
        rows u, where j is the nearest to i; 0 for distances below 1e-8
    Use when:   embeddings crowd together, or to keep features of self-supervised training apart (DINOv2, weight 0.1).
    Avoid when: a batch holds the same thing several times on purpose: their copies are pushed hardest.
    Shape:      input (*, D) -> () or (*)
    Args:
        mask: (*) bool, True where a row is there; the others are nobody's neighbour and may be NaN.
        normalizer: replaces the mean's denominator, the number of rows that have another one.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none"; 0 for a row that is alone. A distance below 1e-8, as of copies, counts as 1e-8
        and has no gradient, since no direction leads away: a collapsed batch is -log 1e-8 = 18.4, as by DINOv2's log(d + 1e-8).
    Raises:     ShapeError; TypeError.
    Reference:  Sablayrolles et al. 2018, arXiv:1806.03198; Oquab et al. 2023, arXiv:2304.07193 (DINOv2)
    Example:
        >>> losskit.koleo_loss(torch.eye(3))  # every two are 2^(1/2) apart
        tensor(-0.3466)
    """
    rows, batch = batch_of(input, None, mask, group, normalize=True)
    (nearest,) = extremes(batch, "euclidean", "nearest_other")
    own = batch.rows[batch.start : batch.start + batch.anchors]
    distance = pair_distance(own, batch.rows[nearest], "euclidean")
    value = -torch.where(distance < _SHORTEST, _SHORTEST, distance).log()
    return reduce_rows(value, nearest >= 0, rows.lead, reduction, normalizer, group).to(rows.values.dtype)


class KoLeoLoss(Loss, function=koleo_loss):
    """Module of :func:`koleo_loss`."""

    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
