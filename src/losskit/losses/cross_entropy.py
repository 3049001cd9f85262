"""Cross-entropy: class indices or probabilities, label smoothing, class weights, z-loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, working
from ..core.domain import CLASS_WEIGHT, ClassTarget, Distribution, Logits, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce
from ..ops.margin import class_last, class_rows, margin, negative_log_likelihood, row_weight, soft_cross_entropy

__all__ = ["CrossEntropyLoss", "cross_entropy"]


def _paper(
    input: Tensor, target: Tensor, *, weight: Tensor | None = None, label_smoothing: float = 0.0, z_loss: float = 0.0
) -> Tensor:
    """-sum_c w_c q_c log p_c with q = (1 - eps) target + eps / C."""
    classes = input.shape[-1]
    wanted = target.double() if target.is_floating_point() else F.one_hot(target, classes).double()
    wanted = (1 - label_smoothing) * wanted + label_smoothing / classes
    lse = input.double().logsumexp(-1)
    weights = torch.ones(classes, dtype=torch.float64) if weight is None else weight.double()
    return (weights * wanted * (lse[..., None] - input.double())).sum(-1) + z_loss * lse**2


def _chance(num_classes: int, label_smoothing: float = 0.0, weight: object = None) -> float:
    """Smoothing moves the target among equal costs; with weights too, those of the other classes are not divided out."""
    return math.nan if label_smoothing and weight is not None else math.log(num_classes)


def _floor(num_classes: int = 2, label_smoothing: float = 0.0) -> float:
    """The entropy of the smoothed target."""
    other = label_smoothing / num_classes
    own = 1 - label_smoothing + other
    return 0.0 - sum(p * math.log(p) for p in (own, *[other] * (num_classes - 1)) if p > 0)


def _constant(prior: Sequence[float] | Tensor, label_smoothing: float = 0.0) -> float:
    """The entropy of the (smoothed) prior."""
    counts = torch.as_tensor(prior, dtype=torch.float64)
    p = (1 - label_smoothing) * counts / counts.sum() + label_smoothing / len(counts)
    return float(-torch.special.xlogy(p, p).sum())


@loss(
    task="classification",
    sample={"input": Logits(), "target": ClassTarget(), "weight": CLASS_WEIGHT},
    reference=_paper,
    laws=("nonnegative", "shift_invariant"),
    variants=(
        {},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.1, "weight": Weight("C")},
        {"target": Distribution()},
        {"target": Distribution(), "weight": Weight("C"), "label_smoothing": 0.2, "z_loss": 0.1},
    ),
    chance=_chance,
    constant=_constant,
    floor=_floor,
)
def cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""How surprised the model is by the right class: -log of the probability it gave to it.

    Formula:    \ell = -\log p_y = -\log \sigma(u),\; u = z_y - \log \sum_{j \ne y} e^{z_j}
    Gradient:   \partial\ell/\partial z = p - \mathrm{onehot}(y): as large as the error, so a wrong model learns at once
    Use when:   one of C classes is right: images, tokens, any softmax.
    Avoid when: several classes can be right at once (binary_cross_entropy_with_logits), or many labels are wrong
                (generalized_cross_entropy).
    Shape:      input (*, C), target (*) of class indices or (*, C) of probabilities -> () or (*)
    Args:
        weight: (C,) what each class counts for. The mean divides by the sum of the weights of the targets; a one-hot
            probability target gives the same number as its index (torch divides by N there). A row of a class of weight 0
            may be NaN, unless label_smoothing or z_loss give it something to say.
        ignore_index: rows with this target count nothing; all rows ignored is 0 with a graph (torch: NaN).
        label_smoothing: eps in [0, 1]; the target becomes (1 - eps) of itself plus eps / C of every class.
        z_loss: adds this times logsumexp(input)^2, which keeps the logits from drifting.
        class_dim: the axis of the classes; 1 for torch's (N, C, d1, ...).
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64).
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU (its row is NaN elsewhere);
                ValueError for an option out of range.
    Reference:  Shannon 1948; label smoothing: Szegedy et al. 2016, arXiv:1512.00567; z-loss: Chowdhery et al. 2022,
                arXiv:2204.02311
    Example:
        >>> losskit.cross_entropy(torch.zeros(1, 10), torch.tensor([3]))  # knows nothing: ln 10
        tensor(2.3026)
    """
    between("label_smoothing", label_smoothing, 0, 1)
    at_least("z_loss", z_loss, 0)
    (input,) = working(class_last(input, class_dim))
    weight = None if weight is None else weight.to(input.dtype)
    if target.is_floating_point():
        target = class_last(target, class_dim).to(input.dtype)
        row, counts = None, None if weight is None else (weight * target).sum(-1)
        value = _of_probabilities(input, target, weight, label_smoothing)
        lse = input.logsumexp(-1) if z_loss else None
    else:
        index, row = class_rows(target, input.shape[-1], ignore_index, input.dtype)
        counts = row_weight(weight, index, row, input.dtype)
        if not (z_loss or label_smoothing):
            return reduce(negative_log_likelihood(input, index, counts), counts, reduction, normalizer)
        own, rest = margin(input, index, row)
        value, lse = -F.logsigmoid(own - rest), torch.logaddexp(own, rest)
        if weight is not None:
            value = weight[index] * value
        if label_smoothing:
            value = torch.lerp(value, _of_every_class(input, lse, weight, row), label_smoothing)
    if z_loss and lse is not None:
        value = value + z_loss * lse**2
    return reduce(value.to(input.dtype), row, reduction, normalizer, counts=counts)


def _of_probabilities(input: Tensor, target: Tensor, weight: Tensor | None, label_smoothing: float) -> Tensor:
    """-sum_c w_c q_c log p_c, for smoothed targets q."""
    wanted = torch.lerp(target, target.new_full((), 1 / target.shape[-1]), label_smoothing) if label_smoothing else target
    wanted = wanted if weight is None else weight * wanted
    return soft_cross_entropy(input, wanted)


def _of_every_class(input: Tensor, lse: Tensor, weight: Tensor | None, row: Tensor | None) -> Tensor:
    """mean_c w_c (lse - z_c): what smoothing adds, without a second softmax."""
    scores = input if row is None else torch.where(row.unsqueeze(-1) != 0, input, 0)
    if weight is None:
        return lse - scores.mean(-1)
    scores = torch.where(weight == 0, 0, scores)  # a class that is ruled out and counts nothing: 0 times -inf
    return weight.mean() * lse - (scores * weight).mean(-1)


class CrossEntropyLoss(Loss, function=cross_entropy):
    """Module of :func:`cross_entropy`."""

    weight: Tensor | None = None
    ignore_index: int = -100
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
