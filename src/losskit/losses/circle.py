"""Circle loss: each pair is weighed by how far it is from where it should be."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.pairs import pair_logsumexp
from .embeddings import reduce_rows
from .labelled import LABELLED, labelled

__all__ = ["CircleLoss", "circle_loss"]


def _paper(input: Tensor, labels: Tensor, *, gamma: float = 80.0, margin: float = 0.4, mask: Tensor | None = None) -> Tensor:
    """Anchor by anchor, log(1 + sum of exp(negative) times sum of exp(positive)), whose factors may be beyond all floats."""
    x, y = input.double().reshape(-1, input.shape[-1]), labels.reshape(-1)
    s = (x / x.norm(dim=1, keepdim=True)) @ (x / x.norm(dim=1, keepdim=True)).T
    weigh_negative, weigh_positive = (s.detach() + margin).clamp(min=0), (1 + margin - s.detach()).clamp(min=0)
    negative, positive = gamma * weigh_negative * (s - margin), -gamma * weigh_positive * (s - (1 - margin))
    values = []
    for i in range(len(x)):
        near = [positive[i, j] for j in range(len(x)) if j != i and y[j] == y[i]]
        far = [negative[i, j] for j in range(len(x)) if y[j] != y[i]]
        each = torch.stack([p + n for p in near for n in far]) if near and far else None
        values.append(torch.logaddexp(x.new_zeros(()), each.logsumexp(0)) if each is not None else x[i].sum() * 0)
    return torch.stack(values).reshape(labels.shape)


@loss(
    task="embedding",
    sample=LABELLED,
    reference=_paper,
    laws=("whole_batch", "nonnegative", "detached_weights"),
    variants=({}, {"gamma": 256.0, "margin": 0.25}, {"gamma": 2.0, "margin": 0.0}),
)
def circle_loss(
    input: Tensor,
    labels: Tensor,
    *,
    gamma: float = 80.0,
    margin: float = 0.4,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Every pair goes at its own speed to where it should be: a positive to cosine 1, a negative to 0.

    Formula:    \ell_i = \log (1 + \sum_{n \in N_i} e^{\gamma \alpha_n (s_{in} - m)}
                \sum_{p \in P_i} e^{-\gamma \alpha_p (s_{ip} - 1 + m)}),\;
                \alpha_n = \max(0, s_{in} + m),\; \alpha_p = \max(0, 1 + m - s_{ip}),\; s the cosine
    Gradient:   \partial\ell_i/\partial s_{in} = \gamma \alpha_n Z_i w_{in} and -\gamma \alpha_p Z_i w_{ip} for positives, of
                Z = 1 - e^{-\ell} and w the softmax of the exponents over N_i, and over P_i. The weights \alpha are
                constants, as in the paper: this is not the derivative of the value, which is about twice as large
    Use when:   labels say what belongs together, and pairs that are right already shall be left alone.
    Avoid when: a gradient must be a derivative (line searches, LBFGS), or most labels come once in a batch.
    Shape:      input (*, D), labels (*) -> () or (*)
    Args:
        gamma: > 0, how much the worst pair counts for more than the others.
        margin: >= 0, the paper's m: positives are right beyond 1 - m, negatives below m. 80 and 0.4 are the paper's for
            retrieval of images, and pytorch-metric-learning's; for faces the paper has 256 and 0.25.
        mask: (*) bool, True where a row is there; the others are neither anchor, positive nor negative, and may be NaN.
        normalizer: replaces the mean's denominator.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none". Anchors are the rows that have a positive and a negative; the others are 0 and
                in no mean. A row of zeros has cosine 0 and no gradient. pytorch-metric-learning leaves anchors whose value is 0
                out of its mean too.
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Sun et al. 2020, arXiv:2002.10857
    Example:
        >>> rows, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0, 1, 1])
        >>> losskit.circle_loss(rows, labels, gamma=10.0)  # collapsed: 10 (1.4 * 0.6 - 0.4 * 0.4) + log 2, two negatives
        tensor(7.4937)
    """
    at_least("gamma", gamma, 0, strict=True)
    at_least("margin", margin, 0)
    batch = labelled(input, labels, mask, group)
    push, _ = pair_logsumexp(batch.others(), bend="circle_negative", params=[gamma, margin])
    pull, _ = pair_logsumexp(batch.same(), bend="circle_positive", params=[gamma, margin])
    anchors = (batch.positives > 0) & (batch.negatives > 0)
    value = -F.logsigmoid(-torch.where(anchors, push + pull, 0))
    return reduce_rows(value, anchors, batch.rows.lead, reduction, normalizer, group).to(batch.rows.values.dtype)


class CircleLoss(Loss, function=circle_loss):
    """Module of :func:`circle_loss`."""

    gamma: float = 80.0
    margin: float = 0.4
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
