"""Losses that know how often each class occurs: logit adjustment, balanced softmax, LDAM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, working
from ..core.domain import ROWS, Interval
from ..core.module import Loss
from ..core.reduce import Reduction, reduce
from ..ops.margin import class_last, class_rows, margin, negative_log_likelihood, row_weight

__all__ = [
    "BalancedSoftmaxLoss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "balanced_softmax_loss",
    "ldam_loss",
    "logit_adjusted_loss",
]

_EACH = "how often each class occurs; add 1 to every count if one never does"
_OFTEN = Interval("C", low=0, open_low=True, open_high=True, meaning=_EACH)


def _adjusted_paper(input: Tensor, target: Tensor, *, prior: Tensor, tau: float = 1.0) -> Tensor:
    """log(1 + sum_{j != y} (pi_j / pi_y)^tau e^{z_j - z_y})."""
    z, pi = input.double(), prior.double()
    own = z.gather(-1, target[..., None])
    terms = (pi / pi[target][..., None]) ** tau * (z - own).exp()
    return torch.log1p(terms.scatter(-1, target[..., None], 0).sum(-1))


def _balanced_paper(input: Tensor, target: Tensor, *, counts: Tensor) -> Tensor:
    """-log of n_y e^{z_y} / sum_j n_j e^{z_j}."""
    mass = counts.double() * input.double().exp()
    return -(mass.gather(-1, target[..., None])[..., 0] / mass.sum(-1)).log()


def _ldam_paper(input: Tensor, target: Tensor, *, counts: Tensor, max_margin: float = 0.5, temperature: float = 1 / 30) -> Tensor:
    """Cross-entropy of (z - Delta_y onehot) / temperature."""
    delta = counts.double() ** -0.25
    delta = delta / delta.max() * max_margin
    wanted = F.one_hot(target, input.shape[-1]).double()
    z = (input.double() - delta * wanted) / temperature
    return z.logsumexp(-1) - (z * wanted).sum(-1)


@loss(
    task="imbalance",
    sample={**ROWS, "prior": _OFTEN},
    reference=_adjusted_paper,
    laws=("nonnegative", "shift_invariant"),
    variants=({"prior": _OFTEN}, {"prior": _OFTEN, "tau": 0.0}, {"prior": _OFTEN, "tau": 2.5}),
)
def logit_adjusted_loss(
    input: Tensor,
    target: Tensor,
    *,
    prior: Tensor,
    tau: float = 1.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Cross-entropy on scores that already contain the prior, so that the model learns what tells classes apart.

    Formula:    \ell = -\log \frac{\pi_y^\tau e^{z_y}}{\sum_j \pi_j^\tau e^{z_j}}
    Gradient:   \partial\ell/\partial z = p - \mathrm{onehot}(y), with p the adjusted probabilities
    Use when:   classes are imbalanced and balanced accuracy counts: it is consistent for it, where class weights are not.
    Avoid when: the test data has the training prior and plain accuracy counts (cross_entropy).
    Shape:      input (*, C), target (*), prior (C,) -> () or (*)
    Args:
        prior: (C,) how often each class occurs in the training data, counts or shares, each above 0.
        tau: >= 0; 0 is cross-entropy.
        weight: (C,) what each class counts for.
        ignore_index: rows with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, d1, ...).
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or (*) for reduction="none". At test time use the scores as they are: the argmax is balanced.
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU; ValueError for a prior that is 0.
    Reference:  Menon et al. 2021, arXiv:2007.07314
    Example:
        >>> losskit.logit_adjusted_loss(torch.zeros(1, 2), torch.tensor([1]), prior=torch.tensor([0.9, 0.1]))  # ln 10
        tensor(2.3026)
    """
    at_least("tau", tau, 0)
    (input,) = working(class_last(input, class_dim))
    index, counts = class_rows(target, input.shape[-1], ignore_index, input.dtype)
    counts = row_weight(weight, index, counts, input.dtype)
    value = negative_log_likelihood(input + tau * prior.to(input.dtype).log(), index, counts)
    return reduce(value, counts, reduction, normalizer)


class LogitAdjustedLoss(Loss, function=logit_adjusted_loss):
    """Module of :func:`logit_adjusted_loss`."""

    prior: Tensor
    tau: float = 1.0
    weight: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="imbalance",
    sample={**ROWS, "counts": _OFTEN},
    reference=_balanced_paper,
    laws=("nonnegative", "shift_invariant"),
    variants=({"counts": _OFTEN},),
)
def balanced_softmax_loss(
    input: Tensor,
    target: Tensor,
    *,
    counts: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Softmax in which each class counts as often as it occurs: logit_adjusted_loss at tau = 1, from counts.

    Formula:    \ell = -\log \frac{n_y e^{z_y}}{\sum_j n_j e^{z_j}}
    Gradient:   \partial\ell/\partial z = p - \mathrm{onehot}(y), with p the balanced probabilities
    Use when:   long-tailed classification with counts at hand, and nothing to tune.
    Avoid when: scores are cosines in [-1, 1]: log n of a common class drowns them (divide by a temperature first).
    Shape:      input (*, C), target (*), counts (C,) -> () or (*)
    Args:
        counts: (C,) how often each class occurs in the training data, each above 0.
        weight: (C,) what each class counts for.
        ignore_index: rows with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, d1, ...).
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU; ValueError for a count of 0.
    Reference:  Ren et al. 2020, arXiv:2007.10740
    Example:
        >>> losskit.balanced_softmax_loss(torch.zeros(1, 2), torch.tensor([1]), counts=torch.tensor([9.0, 1.0]))  # ln 10
        tensor(2.3026)
    """
    return logit_adjusted_loss(
        input,
        target,
        prior=counts,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
    )


class BalancedSoftmaxLoss(Loss, function=balanced_softmax_loss):
    """Module of :func:`balanced_softmax_loss`."""

    counts: Tensor
    weight: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="imbalance",
    sample={**ROWS, "counts": _OFTEN},
    reference=_ldam_paper,
    laws=("nonnegative", "shift_invariant"),
    variants=({"counts": _OFTEN}, {"counts": _OFTEN, "max_margin": 0.0}, {"counts": _OFTEN, "temperature": 1.0}),
)
def ldam_loss(
    input: Tensor,
    target: Tensor,
    *,
    counts: Tensor,
    max_margin: float = 0.5,
    temperature: float = 1 / 30,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Cross-entropy with a head start against rare classes' rivals: the rarer the class, the wider its margin.

    Formula:    \ell = -\log \mathrm{softmax}((z - \Delta_y \mathrm{onehot}(y)) / T)_y,\; \Delta_j = m (n_j / n_{\min})^{-1/4}
    Gradient:   \partial\ell/\partial z = (p - \mathrm{onehot}(y)) / T
    Use when:   the scores are cosines (normalised features and class vectors); class weights are added late in training.
    Avoid when: the scores are ordinary logits: a margin of 0.5 means nothing beside scores of 20.
    Shape:      input (*, C) in [-1, 1], target (*), counts (C,) -> () or (*)
    Args:
        counts: (C,) how often each class occurs in the training data, each above 0.
        max_margin: >= 0, the margin of the rarest class.
        temperature: > 0, divides the scores; the paper's s is 1 / temperature = 30.
        weight: (C,) what each class counts for.
        ignore_index: rows with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, d1, ...).
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU; ValueError for an option out of range.
    Reference:  Cao et al. 2019, arXiv:1906.07413
    Example:
        >>> losskit.ldam_loss(torch.zeros(1, 2), torch.tensor([0]), counts=torch.ones(2), temperature=1.0)  # ln(1 + e^0.5)
        tensor(0.9741)
    """
    at_least("max_margin", max_margin, 0)
    at_least("temperature", temperature, 0, strict=True)
    (input,) = working(class_last(input, class_dim))
    index, seen = class_rows(target, input.shape[-1], ignore_index, input.dtype)
    seen = row_weight(weight, index, seen, input.dtype)
    own, rest = margin(input / temperature, index, seen)
    delta = (counts.double() / counts.min()) ** -0.25 * max_margin
    value = -F.logsigmoid(own - delta[index] / temperature - rest)
    return reduce(value.to(input.dtype), seen, reduction, normalizer)


class LDAMLoss(Loss, function=ldam_loss):
    """Module of :func:`ldam_loss`."""

    counts: Tensor
    max_margin: float = 0.5
    temperature: float = 1 / 30
    weight: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
