"""Focal loss of a projection whose scores are never kept."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, choice
from ..core.domain import CLASS_WEIGHT, ClassIndex, LinearWeight, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, reduce_total
from ..ops.linear_call import linear_rows
from ..ops.linear_margin import Head, linear_margin, linear_total, wants_gradient
from ..ops.margin import row_weight
from .focal import focus

__all__ = ["LinearFocalLoss", "linear_focal_loss"]


def _paper(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    softcap: float | None = None,
    memory: int | None = None,
) -> Tensor:
    """-(1 - p_y)^gamma log p_y of softmax(softcap tanh((W x + b) / softcap))."""
    scores = torch.einsum("...d,cd->...c", input.double(), linear_weight.double())
    scores = scores if linear_bias is None else scores + linear_bias.double()
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    p = scores.softmax(-1)
    others = p.scatter(-1, target[..., None], 0).sum(-1)
    nll = -scores.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    return others**gamma * nll * (1 if weight is None else weight.double()[target])


def _chance(
    num_classes: int, gamma: float = 2.0, weight: object = None, softcap: object = None, logit_scale: object = None
) -> float:
    """Of equal scores, whatever they are multiplied by and whatever a row weighs."""
    return float((1 - 1 / num_classes) ** gamma * math.log(num_classes))


@loss(
    task="language",
    sample={
        "input": Real("* D", meaning="one hidden vector for each row"),
        "linear_weight": LinearWeight(),
        "target": ClassIndex(),
        "linear_bias": Real("C", optional=True, meaning="one number for each class"),
        "weight": CLASS_WEIGHT,
    },
    reference=_paper,
    laws=("nonnegative",),
    variants=(
        {},
        {"gamma": 0.5, "linear_bias": Real("C"), "memory": 100},
        {"gamma": 5.0, "weight": Weight("C"), "softcap": 3.0},
    ),
    chance=_chance,
    floor=lambda: 0.0,
)
def linear_focal_loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    memory: int | None = None,
) -> Tensor:
    r"""Focal loss of softmax(W x + b) that never holds the N x C scores: many classes, most rows easy.

    Formula:    \ell = -(1 - p_y)^\gamma \log p_y,\; p = \mathrm{softmax}(s(Wx + b)),\; s(z) = c \tanh(k z / c)
    Gradient:   of focal_loss with respect to the scores, carried to x, W and b block by block
    Use when:   a large vocabulary or catalogue drowns its rare classes.
    Avoid when: the classes are a thousand (focal_loss), labels are noisy, or calibrated probabilities are needed.
    Shape:      input (*, D), linear_weight (C, D), target (*) -> () or (*)
    Args:
        gamma: >= 0; 0 is linear_cross_entropy. An example with p = 0.9 counts (1 - p)^2 = 1 % of a hopeless one.
        linear_bias: (C,) added to the products.
        weight: (C,) what each class counts for, the paper's alpha; it multiplies the loss and never enters p. The mean divides
            by the sum over the targets.
        ignore_index: rows with this target are dropped before the first product.
        logit_scale: > 0, multiplies the products (and the bias).
        softcap: > 0, bends the scores into (-softcap, softcap).
        reduction: "mean" and "sum" take the gradient along in the forward pass (three products of N x C x D), "none"
            computes the scores again in the backward pass (four).
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches.
        memory: bytes for scores and row buffers, 256 MiB by default (CUDA: 1 GiB); one row is the least.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64).
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU (its row is NaN elsewhere);
                ValueError for an option out of range.
    Reference:  Lin et al. 2017, arXiv:1708.02002
    Example:
        >>> losskit.linear_focal_loss(torch.zeros(1, 8), torch.randn(2, 8), torch.tensor([0]))  # (1/2)^2 ln 2
        tensor(0.1733)
    """
    choice("reduction", reduction, ("none", "mean", "sum"))
    at_least("gamma", gamma, 0)
    rows = linear_rows(
        input, linear_weight, target, linear_bias,
        ignore_index=ignore_index, logit_scale=logit_scale, softcap=softcap, memory=memory,
    )  # fmt: skip
    counts = row_weight(weight, rows.call.target, rows.counts, rows.dtype)
    rows = rows.keep(counts)
    if reduction in ("mean", "sum") and wants_gradient(rows.call, counts):
        each = rows.call.input.new_ones(len(rows.call.input), dtype=rows.dtype) if counts is None else counts
        total = linear_total(rows.call, Head("focal", (float(gamma),), each))
        return reduce_total(total.to(rows.dtype), each.sum(), reduction, normalizer)
    own, rest, *_ = linear_margin(rows.call)
    value = focus(rest - own, gamma) * -F.logsigmoid(own - rest)
    shaped = None if counts is None else counts.reshape(rows.shape)
    return reduce(value.to(rows.dtype).reshape(rows.shape), shaped, reduction, normalizer)


class LinearFocalLoss(Loss, function=linear_focal_loss):
    """Module of :func:`linear_focal_loss`."""

    gamma: float = 2.0
    linear_bias: Tensor | None = None
    weight: Tensor | None = None
    ignore_index: int = -100
    logit_scale: float = 1.0
    softcap: float | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    memory: int | None = None
