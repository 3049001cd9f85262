"""The area under the ROC curve, or a part of it, learned from all pairs of a positive and a negative of the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.area import binary_hinge
from ..ops.logistic_pairs import binary_logistic
from .rare_positives import SIDES, over_pairs, sides

__all__ = [
    "AUCHingeLoss",
    "AUCLogisticLoss",
    "AUCSquaredHingeLoss",
    "auc_hinge_loss",
    "auc_logistic_loss",
    "auc_squared_hinge_loss",
]

_PARTIAL = {"weight": SIDES["weight"], "max_fpr": 0.6, "min_tpr": 0.3}


def _one_margin(margin: float = 1.0, max_fpr: float = 1.0, min_tpr: float = 0.0) -> float:
    """All scores are equal, whichever pairs are looked at."""
    return margin


def _squared_margin(margin: float = 1.0, max_fpr: float = 1.0, min_tpr: float = 0.0) -> float:
    return margin**2


def _coin_toss(max_fpr: float = 1.0, min_tpr: float = 0.0) -> float:
    return math.log(2)


def _by_pairs(
    phi: Callable[[Tensor], Tensor], input: Tensor, target: Tensor, weight: Tensor | None, max_fpr: float, min_tpr: float
) -> Tensor:
    """The mean of phi(s_i - s_j), one pair after the other."""
    scores, counts = input.double(), torch.ones_like(input).double() if weight is None else weight.double()
    hard = {1: torch.zeros_like(scores), 0: torch.zeros_like(scores)}
    for label, share, sign in ((1, 1 - min_tpr, -1), (0, max_fpr, 1)):
        w = torch.where(target == label, counts, 0)
        for i in range(len(scores)):
            worse, tied = (w[at].sum() for at in (sign * scores > sign * scores[i], scores == scores[i]))
            hard[label][i] = w[i] * ((share * w.sum() - worse) / tied).clamp(0, 1) if w[i] > 0 else 0
    total, pairs = torch.zeros(()).double(), hard[1].sum() * hard[0].sum()
    for i in range(len(scores)):
        for j in range(len(scores)):
            total = total + hard[1][i] * hard[0][j] * phi(scores[i] - scores[j])
    return total / pairs if pairs > 0 else total


def _plain_hinge(
    input: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    max_fpr: float = 1.0,
    min_tpr: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    return _by_pairs(lambda apart: (margin - apart).clamp(min=0), input, target, weight, max_fpr, min_tpr)


def _plain_squared(
    input: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    max_fpr: float = 1.0,
    min_tpr: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    return _by_pairs(lambda apart: (margin - apart).clamp(min=0) ** 2, input, target, weight, max_fpr, min_tpr)


def _plain_logistic(
    input: Tensor, target: Tensor, *, max_fpr: float = 1.0, min_tpr: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    return _by_pairs(lambda apart: -F.logsigmoid(apart), input, target, weight, max_fpr, min_tpr)


@loss(
    task="imbalance",
    sample=SIDES,
    reference=_plain_hinge,
    laws=("nonnegative", "convex", "bounded_gradient", "whole_batch"),
    variants=({}, {**_PARTIAL, "margin": 0.5}),
    chance=_one_margin,
    floor=lambda: 0.0,
)
def auc_hinge_loss(
    input: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    max_fpr: float = 1.0,
    min_tpr: float = 0.0,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""The ROC AUC as a hinge over all pairs of a positive and a negative: the rare class is in every pair.

    Formula:    \ell = \frac1W \sum_{i \in +, j \in -} w_i w_j \max(0, m - (s_i - s_j)), W = \sum_{i \in +, j \in -} w_i w_j
    Gradient:   \partial\ell/\partial s_j = \frac{w_j}{W} \sum_{i: s_i - s_j < m} w_i,
                \partial\ell/\partial s_i = -\frac{w_i}{W} \sum_{j: s_i - s_j < m} w_j: all pairs within the margin pull alike
    Use when:   positives are rare, scores only rank, and the AUC or a part of it is what is reported. n log n steps: a million
                samples take under a second.
    Avoid when: probabilities are needed (binary_cross_entropy_with_logits), or hardly a batch holds a positive: sample more
                of them (class_balanced_sample_weights), which an AUC does not mind.
    Shape:      input (*) scores, target (*) of 0 and 1 or bools -> ()
    Args:
        margin: > 0, how far apart a pair shall be.
        max_fpr: in (0, 1]: only this share of the negatives counts, those with the highest scores (one-way partial AUC). Ties at
            the boundary share what is left of it.
        min_tpr: in [0, 1): of the positives only the share 1 - min_tpr with the lowest scores counts (two-way partial AUC).
        mask: (*) bool, True where a sample counts; what is masked may be NaN.
        weight: (*) what each sample counts for, a constant: a pair counts w_i w_j, a share is one of weight.
        normalizer: replaces the mean's denominator.
        group: the ranks whose samples are one batch. Each calls with its own and returns the loss of all; 2 n numbers travel.
    Returns:    0-d for every reduction: the batch is one value, which counts one if it has both classes, else nothing (and is 0).
    Raises:     ShapeError; TypeError; ValueError for a target that is not 0 or 1, or an option out of range. A score that is not
                finite gives NaN.
    Reference:  Joachims 2005, "A Support Vector Method for Multivariate Performance Measures"; in n log n: Rust, Hocking 2023,
                arXiv:2302.11062
    Example:
        >>> scores, target = torch.tensor([2.0, 0.5, 0.0]), torch.tensor([1, 0, 0])
        >>> losskit.auc_hinge_loss(scores, target, margin=2.0)  # differences of 1.5 and 2: half a step short in one of two pairs
        tensor(0.2500)
        >>> losskit.auc_hinge_loss(scores, target, margin=2.0, max_fpr=0.5)  # only the higher one of the negatives
        tensor(0.5000)
    """
    at_least("margin", margin, 0, strict=True)
    sums = partial(binary_hinge, margin=margin, power=1)
    return over_pairs(sums, sides(input, target, mask, weight, group), (max_fpr, min_tpr), input, reduction, normalizer)


class AUCHingeLoss(Loss, function=auc_hinge_loss):
    """Module of :func:`auc_hinge_loss`."""

    margin: float = 1.0
    max_fpr: float = 1.0
    min_tpr: float = 0.0
    mask: Tensor | None = None
    weight: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None


@loss(
    task="imbalance",
    sample=SIDES,
    reference=_plain_squared,
    laws=("nonnegative", "convex", "whole_batch"),
    variants=({}, {**_PARTIAL, "margin": 0.5}),
    chance=_squared_margin,
    floor=lambda: 0.0,
)
def auc_squared_hinge_loss(
    input: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    max_fpr: float = 1.0,
    min_tpr: float = 0.0,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""The ROC AUC as a squared hinge over all pairs of a positive and a negative: the further wrong, the harder the pull.

    Formula:    \ell = \frac1W \sum_{i \in +, j \in -} w_i w_j \max(0, m - (s_i - s_j))^2, W = \sum_{i \in +, j \in -} w_i w_j
    Gradient:   \partial\ell/\partial s_j = \frac{2 w_j}{W} \sum_i w_i \max(0, m - (s_i - s_j)),
                \partial\ell/\partial s_i = -\frac{2 w_i}{W} \sum_j w_j \max(0, m - (s_i - s_j))
    Use when:   positives are rare and the AUC is what is reported: smoother than auc_hinge_loss and as fast.
    Avoid when: labels are noisy: a pair that is wrong by d costs (m + d)^2 (auc_hinge_loss, auc_logistic_loss).
    Shape:      input (*) scores, target (*) of 0 and 1 or bools -> ()
    Args:
        margin: > 0, how far apart a pair shall be.
        max_fpr: in (0, 1]: only this share of the negatives counts, those with the highest scores (one-way partial AUC). Ties at
            the boundary share what is left of it.
        min_tpr: in [0, 1): of the positives only the share 1 - min_tpr with the lowest scores counts (two-way partial AUC).
        mask: (*) bool, True where a sample counts; what is masked may be NaN.
        weight: (*) what each sample counts for, a constant: a pair counts w_i w_j, a share is one of weight.
        normalizer: replaces the mean's denominator.
        group: the ranks whose samples are one batch. Each calls with its own and returns the loss of all; 2 n numbers travel.
    Returns:    0-d for every reduction: the batch is one value, which counts one if it has both classes, else nothing (and is 0).
    Raises:     ShapeError; TypeError; ValueError for a target that is not 0 or 1, or an option out of range. A score that is not
                finite gives NaN.
    Reference:  Rust, Hocking 2023, arXiv:2302.11062; partial: Narasimhan, Agarwal 2013, "A Structural SVM Based Approach for
                Optimizing Partial AUC"
    Example:
        >>> scores, target = torch.tensor([2.0, 0.5, 0.0]), torch.tensor([1, 0, 0])
        >>> losskit.auc_squared_hinge_loss(scores, target, margin=2.0)  # differences of 1.5 and 2: (0.5^2 + 0) / 2
        tensor(0.1250)
    """
    at_least("margin", margin, 0, strict=True)
    sums = partial(binary_hinge, margin=margin, power=2)
    return over_pairs(sums, sides(input, target, mask, weight, group), (max_fpr, min_tpr), input, reduction, normalizer)


class AUCSquaredHingeLoss(Loss, function=auc_squared_hinge_loss):
    """Module of :func:`auc_squared_hinge_loss`."""

    margin: float = 1.0
    max_fpr: float = 1.0
    min_tpr: float = 0.0
    mask: Tensor | None = None
    weight: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None


@loss(
    task="imbalance",
    sample=SIDES,
    reference=_plain_logistic,
    laws=("nonnegative", "convex", "bounded_gradient", "whole_batch"),
    variants=({}, _PARTIAL),
    chance=_coin_toss,
    floor=lambda: 0.0,
)
def auc_logistic_loss(
    input: Tensor,
    target: Tensor,
    *,
    max_fpr: float = 1.0,
    min_tpr: float = 0.0,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""The ROC AUC as a logistic loss over all pairs of a positive and a negative: RankNet of one list with two grades.

    Formula:    \ell = \frac1W \sum_{i \in +, j \in -} w_i w_j \log(1 + e^{s_j - s_i}), W = \sum_{i \in +, j \in -} w_i w_j
    Gradient:   \partial\ell/\partial s_j = \frac{w_j}{W} \sum_i w_i \sigma(s_j - s_i),
                \partial\ell/\partial s_i = -\frac{w_i}{W} \sum_j w_j \sigma(s_j - s_i): no pair is ever done
    Use when:   positives are rare and the AUC is what is reported: no margin to choose, and scores may have any scale.
                Time and memory grow with n, not with its square, but for second derivatives. CUDA is waited for: how far the
                scores spread says how much there is to do.
    Avoid when: pairs that are apart shall be left alone (auc_squared_hinge_loss), or probabilities are needed.
    Shape:      input (*) scores, target (*) of 0 and 1 or bools -> ()
    Args:
        max_fpr: in (0, 1]: only this share of the negatives counts, those with the highest scores (one-way partial AUC). Ties at
            the boundary share what is left of it.
        min_tpr: in [0, 1): of the positives only the share 1 - min_tpr with the lowest scores counts (two-way partial AUC).
        mask: (*) bool, True where a sample counts; what is masked may be NaN.
        weight: (*) what each sample counts for, a constant: a pair counts w_i w_j, a share is one of weight.
        normalizer: replaces the mean's denominator.
        group: the ranks whose samples are one batch. Each calls with its own and returns the loss of all; 2 n numbers travel.
    Returns:    0-d for every reduction: the batch is one value, which counts one if it has both classes, else nothing (and is 0).
    Raises:     ShapeError; TypeError; ValueError for a target that is not 0 or 1, or an option out of range. A score that is not
                finite gives NaN.
    Reference:  Gao, Zhou 2015, arXiv:1208.0645 (consistent for AUC); Burges et al. 2005, "Learning to Rank
                using Gradient Descent"
    Example:
        >>> losskit.auc_logistic_loss(torch.zeros(3), torch.tensor([1, 0, 0]))  # a coin toss: ln 2
        tensor(0.6931)
    """
    batch = sides(input, target, mask, weight, group)
    return over_pairs(binary_logistic, batch, (max_fpr, min_tpr), input, reduction, normalizer)


class AUCLogisticLoss(Loss, function=auc_logistic_loss):
    """Module of :func:`auc_logistic_loss`."""

    max_fpr: float = 1.0
    min_tpr: float = 0.0
    mask: Tensor | None = None
    weight: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
