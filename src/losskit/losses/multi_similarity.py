"""Multi-similarity loss: the far positives and the near negatives of each row, weighed against one another."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, wide
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.extremes import Batch, extremes
from ..ops.pair_sets import NOBODY
from ..ops.pair_tiles import Gate
from ..ops.pairs import pair_logsumexp
from .embeddings import reduce_rows
from .labelled import LABELLED, Labelled, labelled, softplus_sum

__all__ = ["MultiSimilarityLoss", "multi_similarity_loss"]


def _paper(
    input: Tensor,
    labels: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    threshold: float = 0.5,
    epsilon: float | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Anchor by anchor: the pairs that are mined, then both sums of exponentials."""
    x, y = input.double().reshape(-1, input.shape[-1]), labels.reshape(-1)
    s = (x / x.norm(dim=1, keepdim=True)) @ (x / x.norm(dim=1, keepdim=True)).T
    values = []
    for i in range(len(x)):
        near = [s[i, j] for j in range(len(x)) if j != i and y[j] == y[i]]
        far = [s[i, j] for j in range(len(x)) if y[j] != y[i]]
        if not near:
            values.append(x[i].sum() * 0)
            continue
        if epsilon is not None:
            least, most = min(near), max(far, default=x.new_tensor(-torch.inf))
            near, far = [v for v in near if v < most + epsilon], [v for v in far if v > least - epsilon]
        pull = sum((torch.exp(-alpha * (v - threshold)) for v in near), x.new_zeros(()))
        push = sum((torch.exp(beta * (v - threshold)) for v in far), x.new_zeros(()))
        values.append(torch.log1p(pull) / alpha + torch.log1p(push) / beta)
    return torch.stack(values).reshape(labels.shape)


@loss(
    task="embedding",
    sample=LABELLED,
    reference=_paper,
    laws=("whole_batch", "nonnegative"),
    variants=({}, {"alpha": 1.0, "beta": 10.0, "threshold": 0.0}, {"epsilon": 0.1}, {"epsilon": 0.5, "alpha": 4.0}),
)
def multi_similarity_loss(
    input: Tensor,
    labels: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    threshold: float = 0.5,
    epsilon: float | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Pulls at the positives that are far and pushes the negatives that are near, the worst of each row most.

    Formula:    \ell_i = \frac{1}{\alpha} \log (1 + \sum_{p \in P_i} e^{-\alpha (s_{ip} - \lambda)})
                + \frac{1}{\beta} \log (1 + \sum_{n \in N_i} e^{\beta (s_{in} - \lambda)}),\; s the cosine
    Gradient:   \partial\ell_i/\partial s_{ip} = -\frac{e^{-\alpha (s_{ip} - \lambda)}}{1 + \sum_q e^{-\alpha (s_{iq} - \lambda)}}
                and \partial\ell_i/\partial s_{in} = \frac{e^{\beta (s_{in} - \lambda)}}{1 + \sum_k e^{\beta (s_{ik} - \lambda)}}
    Use when:   labels say what belongs together, a batch holds several rows of each label, and retrieval is the aim.
    Avoid when: most labels come once in a batch, or labels are noisy: beta = 50 listens to the nearest negative alone.
    Shape:      input (*, D), labels (*) -> () or (*)
    Args:
        alpha: > 0, how much a far positive counts for more than a near one.
        beta: > 0, how much a near negative counts for more than a far one.
        threshold: the paper's lambda in [-1, 1], the cosine that parts near from far; 0.5 is that of the authors' code and
            pytorch-metric-learning's "base".
        epsilon: >= 0 takes the paper's mining in: only positives less alike than the nearest negative + epsilon, only negatives
            more alike than the farthest positive - epsilon. The paper has 0.1; None takes all pairs, as
            pytorch-metric-learning does without its miner.
        mask: (*) bool, True where a row is there; the others are neither anchor, positive nor negative, and may be NaN.
        normalizer: replaces the mean's denominator.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none". Anchors are the rows that have a positive; the others are 0 and in no mean.
                Without negatives the second term is 0. A row of zeros has cosine 0 and no gradient.
                pytorch-metric-learning counts all rows as anchors.
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Wang et al. 2019, arXiv:1904.06627
    Example:
        >>> rows, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0, 1, 1])
        >>> losskit.multi_similarity_loss(rows, labels)  # one positive with s = 1: log(1 + e^-1) / 2; negatives e^-25
        tensor(0.1566)
    """
    at_least("alpha", alpha, 0, strict=True)
    at_least("beta", beta, 0, strict=True)
    between("threshold", threshold, -1, 1)
    batch = labelled(input, labels, mask, group)
    near, far = (None, None) if epsilon is None else _mined(batch, epsilon)
    pull, _ = pair_logsumexp(batch.same(-alpha), gate=near)
    push, _ = pair_logsumexp(batch.others(beta), gate=far)
    value = softplus_sum(pull, alpha * threshold) / alpha + softplus_sum(push, -beta * threshold) / beta
    each = reduce_rows(value, batch.positives > 0, batch.rows.lead, reduction, normalizer, group)
    return each.to(batch.rows.values.dtype)


def _mined(batch: Labelled, epsilon: float) -> tuple[Gate, Gate]:
    """What keeps the positives below the nearest negative + epsilon, and the negatives above the farthest positive - epsilon."""
    at_least("epsilon", epsilon, 0)
    own, every = batch.own.detach(), batch.every.detach()
    whole = Batch(wide(every), batch.ids, batch.ids != NOBODY, batch.start, len(own))
    # the order of distances of unit rows is that of their cosines
    farthest, nearest = extremes(whole, "euclidean", "farthest_same", "nearest_other")
    least, most = ((own * every[found]).sum(1) for found in (farthest, nearest))
    least, most = torch.where(farthest < 0, torch.inf, least), torch.where(nearest < 0, -torch.inf, most)
    none = every.new_zeros(len(every))
    return Gate(own, every, most + epsilon, none), Gate(-own, every, epsilon - least, none)


class MultiSimilarityLoss(Loss, function=multi_similarity_loss):
    """Module of :func:`multi_similarity_loss`."""

    alpha: float = 2.0
    beta: float = 50.0
    threshold: float = 0.5
    epsilon: float | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
