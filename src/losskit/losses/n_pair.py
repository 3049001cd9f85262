"""N-pair loss: one pair of each class, every other pair's positive a negative."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.domain import Embeddings, Labels, Mask
from ..core.module import Loss
from ..core.reduce import Reduction
from ..parallel import first_row
from .contrast import contrast, nll, side
from .embeddings import reduce_rows, towers

__all__ = ["NPairLoss", "n_pair_loss"]


def _paper(
    anchor: Tensor, positive: Tensor, *, ids: Tensor | None = None, l2_reg: float = 0.0, mask: Tensor | None = None
) -> Tensor:
    """log(1 + sum of exp(a . n - a . p)), one anchor at a time."""
    a, p = (t.double().reshape(-1, t.shape[-1]) for t in (anchor, positive))
    y = torch.arange(len(a)) if ids is None else ids.reshape(-1)
    values = []
    for i in range(len(a)):
        gaps = [a[i] @ p[n] - a[i] @ p[i] for n in range(len(p)) if y[n] != y[i]]
        value = torch.logsumexp(torch.stack([*gaps, a.new_zeros(())]), 0)
        values.append(value + l2_reg / 4 * (a[i] @ a[i] + p[i] @ p[i]))
    return torch.stack(values).reshape(anchor.shape[:-1])


def _chance(batch_size: int, l2_reg: float = 0.0) -> float:
    """Rows of zeros."""
    return math.log(batch_size)


@loss(
    task="embedding",
    sample={
        "anchor": Embeddings(),
        "positive": Embeddings(),
        "ids": Labels(optional=True),
        "mask": Mask(meaning="True where a pair of rows is there"),
    },
    reference=_paper,
    laws=("whole_batch", "nonnegative"),
    variants=({}, {"l2_reg": 0.1}, {"ids": Labels()}),
    chance=_chance,
)
def n_pair_loss(
    anchor: Tensor,
    positive: Tensor,
    *,
    ids: Tensor | None = None,
    l2_reg: float = 0.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""One pair of each class: an anchor shall score its positive above the positives of all other pairs.

    Formula:    \ell_i = \log (1 + \sum_{n \ne i} e^{a_i \cdot p_n - a_i \cdot p_i}) + \frac{\lambda}{4} (|a_i|^2 + |p_i|^2)
    Gradient:   \partial\ell_i/\partial a_i = \sum_n q_n (p_n - p_i) + \frac{\lambda}{2} a_i with q the softmax of the scores
                a_i \cdot p_n over all pairs
    Use when:   a batch holds two rows of each of many classes, and the length of a row may say how sure it is.
    Avoid when: rows have length one: without a temperature no score is above 1. info_nce_loss is this with one.
    Shape:      anchor (*, D), positive (*, D) -> () or (*)
    Args:
        ids: (*) integers: pairs of equal ids, e.g. class labels, are not each other's negatives.
        l2_reg: >= 0, what the squared lengths of rows cost, which the paper holds small this way in place of normalising;
            TensorFlow's npairs_loss has this form with 0.002.
        mask: (*) bool, True where a pair of rows is there; what is masked may be NaN.
        normalizer: replaces the mean's denominator.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none". Every pair counts; one without negatives costs what l2_reg says.
    Raises:     ShapeError; TypeError; ValueError for l2_reg < 0.
    Reference:  Sohn 2016, NIPS: Improved Deep Metric Learning with Multi-class N-pair Loss Objective
    Example:
        >>> losskit.n_pair_loss(torch.eye(3), torch.eye(3))  # own score 1, two others 0: log(1 + 2 / e)
        tensor(0.5514)
    """
    at_least("l2_reg", l2_reg, 0)
    a, p = towers(anchor, positive, mask, normalize=False)
    start = first_row(p.values, group)
    left, right = (side(r, start, ids) for r in (a, p))
    own = (a.values.double() * p.values.double()).sum(-1)
    value = nll(own, contrast(left, right.everywhere(group)).rest)
    if l2_reg:
        value = value + l2_reg / 4 * (a.values.square().sum(-1) + p.values.square().sum(-1))
    return reduce_rows(value, a.valid, a.lead, reduction, normalizer, group).to(a.values.dtype)


class NPairLoss(Loss, function=n_pair_loss):
    """Module of :func:`n_pair_loss`."""

    ids: Tensor | None = None
    l2_reg: float = 0.0
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
