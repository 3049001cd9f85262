"""Cross-entropy with another first term (poly-1), and with a bound for wrong labels (generalised)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, working
from ..core.domain import ROWS
from ..core.module import Loss
from ..core.reduce import Reduction, reduce
from ..ops.margin import class_last, class_rows, margin, row_weight

__all__ = ["GeneralizedCrossEntropy", "PolyLoss", "generalized_cross_entropy", "poly_loss"]


def _probability(input: Tensor, target: Tensor) -> Tensor:
    return input.double().softmax(-1).gather(-1, target[..., None])[..., 0]


def _poly_paper(input: Tensor, target: Tensor, *, epsilon: float = 1.0) -> Tensor:
    """-log p + epsilon (1 - p)."""
    p = _probability(input, target)
    return -p.log() + epsilon * (1 - p)


def _generalized_paper(input: Tensor, target: Tensor, *, q: float = 0.7) -> Tensor:
    """(1 - p^q) / q."""
    p = _probability(input, target)
    return (1 - p**q) / q if q else -p.log()


def _poly_chance(num_classes: int, epsilon: float = 1.0, weight: object = None) -> float:
    """Of equal scores, whatever they are multiplied by and whatever a row weighs."""
    return math.log(num_classes) + epsilon * (1 - 1 / num_classes)


def _generalized_chance(num_classes: int, q: float = 0.7, weight: object = None) -> float:
    """Of equal scores, whatever they are multiplied by and whatever a row weighs."""
    return -math.expm1(-q * math.log(num_classes)) / q if q else math.log(num_classes)


@loss(
    task="classification",
    sample=ROWS,
    reference=_poly_paper,
    laws=("shift_invariant",),
    variants=({}, {"epsilon": -1.0}, {"epsilon": 3.0}),
    chance=_poly_chance,
)
def poly_loss(
    input: Tensor,
    target: Tensor,
    *,
    epsilon: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Cross-entropy with one more dial: how hard to push the examples that are nearly right.

    Formula:    \ell = -\log p_y + \epsilon (1 - p_y)
    Gradient:   \partial\ell/\partial u = -(1 - p_y)(1 + \epsilon p_y),\; u = z_y - \log \sum_{j \ne y} e^{z_j}
    Use when:   cross-entropy works and a last tenth is wanted: epsilon 1 or 2 pushes confident rows on; -1 lets them rest.
    Avoid when: probabilities must be calibrated: the best constant answer is no longer the prior.
    Shape:      input (*, C), target (*) -> () or (*)
    Args:
        epsilon: >= -1, so that a better answer never costs more; 0 is cross-entropy.
        weight: (C,) what each class counts for.
        ignore_index: rows with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, d1, ...).
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU; ValueError for epsilon < -1.
    Reference:  Leng et al. 2022, arXiv:2204.12511
    Example:
        >>> losskit.poly_loss(torch.zeros(1, 2), torch.tensor([0]))  # ln 2 + 1/2
        tensor(1.1931)
    """
    at_least("epsilon", epsilon, -1)
    (input,) = working(class_last(input, class_dim))
    index, counts = class_rows(target, input.shape[-1], ignore_index, input.dtype)
    counts = row_weight(weight, index, counts, input.dtype)
    own, rest = margin(input, index, counts)
    value = -F.logsigmoid(own - rest) + epsilon * torch.sigmoid(rest - own)
    return reduce(value.to(input.dtype), counts, reduction, normalizer)


class PolyLoss(Loss, function=poly_loss):
    """Module of :func:`poly_loss`."""

    epsilon: float = 1.0
    weight: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="classification",
    sample=ROWS,
    reference=_generalized_paper,
    laws=("nonnegative", "shift_invariant"),
    variants=({}, {"q": 0.0}, {"q": 1e-6}, {"q": 1.0}),
    chance=_generalized_chance,
    floor=lambda: 0.0,
)
def generalized_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    q: float = 0.7,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Cross-entropy that stops listening to rows it finds absurd, so that wrong labels do not lead.

    Formula:    \ell = (1 - p_y^q) / q
    Gradient:   \partial\ell/\partial u = -p_y^q (1 - p_y),\; u = z_y - \log \sum_{j \ne y} e^{z_j}
    Use when:   a tenth to a half of the labels are wrong; no row can cost more than 1 / q.
    Avoid when: labels are clean (it learns slowly from its mistakes), or training starts confidently wrong.
    Shape:      input (*, C), target (*) -> () or (*)
    Args:
        q: in [0, 1]; 0 is cross-entropy, 1 is the mean absolute error of the probabilities.
        weight: (C,) what each class counts for.
        ignore_index: rows with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, d1, ...).
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU; ValueError for q outside of [0, 1].
    Reference:  Zhang and Sabuncu 2018, arXiv:1805.07836
    Example:
        >>> losskit.generalized_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), q=1.0)  # 1 - 1/2
        tensor(0.5000)
    """
    between("q", q, 0, 1)
    (input,) = working(class_last(input, class_dim))
    index, counts = class_rows(target, input.shape[-1], ignore_index, input.dtype)
    counts = row_weight(weight, index, counts, input.dtype)
    own, rest = margin(input, index, counts)
    nll = -F.logsigmoid(own - rest)
    value = -torch.expm1(-q * nll) / q if q else nll
    return reduce(value.to(input.dtype), counts, reduction, normalizer)


class GeneralizedCrossEntropy(Loss, function=generalized_cross_entropy):
    """Module of :func:`generalized_cross_entropy`."""

    q: float = 0.7
    weight: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
