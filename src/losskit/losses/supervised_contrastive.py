"""Supervised contrastive loss: rows of one label together, all others apart."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import choice
from ..core.domain import Embeddings, Labels, Mask
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.pair_sets import Who
from ..ops.pairs import Pairs, pair_logsumexp
from ..ops.unit import dots
from ..parallel import first_row
from .contrast import inverse, label_counts, label_sums, side
from .embeddings import TEMPERATURE, positive_number, reduce_rows, rows_of
from .info_nce import rows64

__all__ = ["SupervisedContrastiveLoss", "supervised_contrastive_loss"]

Average = Literal["out", "in"]


def _paper(input: Tensor, labels: Tensor, *, temperature: float = 0.1, average: str = "out") -> Tensor:
    """Dense, in float64: the paper's L_out and L_in; 0 for a row that is alone with its label."""
    z, labels = rows64(input, True), labels.flatten()
    s = z @ z.T / temperature
    others = ~torch.eye(len(s), dtype=torch.bool)
    positive = (labels[:, None] == labels) & others
    count = positive.sum(1)
    log_total = torch.where(others, s.exp(), 0).sum(1).log()
    if average == "out":
        value = log_total - torch.where(positive, s, 0).sum(1) / count
    else:
        value = log_total - (torch.where(positive, s.exp(), 0).sum(1) / count).log()
    return torch.where(count > 0, value, 0).reshape(input.shape[:-1])


def _chance(batch_size: int, temperature: object = None, average: object = None) -> float:
    """Of embeddings that are all the same, at any temperature."""
    return math.log(batch_size - 1)


@loss(
    task="embedding",
    sample={
        "input": Embeddings(),
        "labels": Labels(),
        "mask": Mask(meaning="True where a row is there"),
        "temperature": TEMPERATURE,
    },
    reference=_paper,
    laws=("whole_batch",),
    variants=({}, {"temperature": 0.5, "average": "in"}),
    chance=_chance,
)
def supervised_contrastive_loss(
    input: Tensor,
    labels: Tensor,
    *,
    temperature: Tensor | float = 0.1,
    average: Average = "out",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Rows of one label attract each other, each against all other rows of the batch (SupCon).

    Formula:    \ell_i = -\frac{1}{|P_i|} \sum_{p \in P_i} \log \frac{e^{s_{ip}}}{\sum_{a \ne i} e^{s_{ia}}},
        \; s_{ia} = \cos(z_i, z_a) / \tau
    Gradient:   \partial\ell_i/\partial s_{ia} = p_{ia} - \frac{[a \in P_i]}{|P_i|}
    Use when:   there are labels and the vectors themselves are wanted, or cross-entropy should get a better start.
    Avoid when: a batch holds few rows of a label: a row that is alone with its label teaches nothing.
    Shape:      input (*, D), labels (*) -> () or (*)
    Args:
        temperature: > 0, a number or a tensor. The authors' code multiplies the loss by temperature / 0.07; this one does not.
        average: "out": the mean over positives of logarithms, the better one in the paper. "in": the logarithm of the mean.
        mask: (*) bool, True where a row is there; what is masked may be NaN.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, the mean over rows that have a positive, or (*) for reduction="none" (0 for rows that have none).
    Raises:     ShapeError; TypeError; ValueError for a temperature <= 0 or an unknown average.
    Reference:  Khosla et al. 2020, arXiv:2004.11362
    Example:
        >>> views = torch.zeros(6, 8)  # no direction at all: ln 5
        >>> losskit.supervised_contrastive_loss(views, torch.tensor([0, 0, 0, 1, 1, 1]))
        tensor(1.6094)
    """
    choice("average", average, ("out", "in"))
    positive_number("temperature", temperature)
    z = rows_of(input, mask)
    start = first_row(z.values, group)
    mine = side(z, start, labels)
    every = mine.everywhere(group)
    x = mine.rows * inverse(temperature)
    positives = label_counts(every.ids, mine.ids) - 1
    counts = positives > 0
    log_total, _ = pair_logsumexp(Pairs(x, every.rows, Who(mine.slots, every.slots, mine.slots, every.slots, False), z.narrow))
    if average == "out":
        alike = label_sums(every.rows, every.ids)[start : start + len(x)] - mine.rows
        near = dots(x, alike) / positives.clamp(min=1)
    else:
        near, _ = pair_logsumexp(Pairs(x, every.rows, Who(mine.ids, every.ids, mine.slots, every.slots, True), z.narrow))
        near = near - positives.clamp(min=1).double().log()
    value = torch.where(counts, torch.where(counts, log_total, 0) - torch.where(counts, near, 0), 0)
    return reduce_rows(value.to(x.dtype), counts, z.lead, reduction, normalizer, group)


class SupervisedContrastiveLoss(Loss, function=supervised_contrastive_loss):
    """Module of :func:`supervised_contrastive_loss`."""

    temperature: Tensor | float = 0.1
    average: Average = "out"
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
