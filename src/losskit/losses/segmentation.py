"""Overlap of regions: dice and Tversky, one value for each image and class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, choice
from ..core.domain import CLASS_WEIGHT, ClassTarget, Distribution, Domain, Interval, Logits, Weight
from ..core.module import Loss
from ..core.reduce import Reduction
from .pixels import PIXEL_MASK, Pixels, class_mean, over_pixels, pixels

__all__ = ["DiceLoss", "TverskyLoss", "dice_loss", "tversky_loss"]

Activation = Literal["softmax", "sigmoid"]
Empty = Literal["ignore", "perfect", "smooth"]


@dataclass(frozen=True)
class _Regions(ClassTarget):
    """Class indices (integers, one a pixel), or regions (floats or bools, one a pixel and class)."""

    meaning: str = 'class indices, one a pixel (softmax), or floats or bools in [0, 1] of the shape of "input" (softmax, sigmoid)'

    def narrow(self, value: Tensor) -> Domain:
        """Floats and bools have the shape of the input; their values are looked at where the mask is known."""
        if value.is_floating_point() or value.dtype == torch.bool:
            return Domain(f"{self.shape} {self.below}", "number", self.meaning)
        return self


_SAMPLE = {"input": Logits(), "target": _Regions("*"), "weight": CLASS_WEIGHT, "mask": PIXEL_MASK}
_SHARES = Interval("* C", low=0.0, high=1.0)
_HARD = Interval("* C", low=0.0, high=1.0, whole=True)


def _overlap(seen: Pixels, smooth: float, empty: str, agree: float, more: float, less: float) -> tuple[Tensor, Tensor]:
    """1 - (a TP + s) / (a TP + b FP + c FN + s) of each sample and class, and whether it counts; both (N, C)."""
    choice("empty", empty, ("ignore", "perfect", "smooth"))
    at_least("smooth", smooth, 0)
    if empty == "smooth" and not smooth:
        raise ValueError('"smooth" must be > 0 for empty="smooth", got 0: a class that is absent would always cost 1')
    inside, outside, target, counts = seen
    right, missed, added = (over_pixels(t) for t in (inside * target, outside * target, inside * (1 - target)))
    size = over_pixels(counts)
    # the numerator is summed as it is: 1 - ratio would cancel when the fit is good
    wrong = more * added + less * missed
    whole = agree * right + wrong + smooth
    present = (over_pixels(target * counts) != 0) | (right + added).isnan()  # a NaN is shown
    if empty == "smooth":
        return wrong / whole, (size != 0).expand_as(wrong)
    ratio = wrong / torch.where(present, whole, 1)
    if empty == "ignore":
        return ratio, present
    return torch.where(present, ratio, added / torch.where(size == 0, 1, size)), (size != 0).expand_as(wrong)


def _book(
    input: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    activation: str = "softmax",
    empty: str = "ignore",
    smooth: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    """1 - (TP + s) / (TP + alpha FP + beta FN + s)."""
    classes = input.shape[-1]
    wide = input.double().reshape(len(input), -1, classes)
    p = wide.softmax(-1) if activation == "softmax" else 1 / (1 + (-wide).exp())
    floats = target.is_floating_point() or target.dtype == torch.bool
    t = (target if floats else torch.eye(classes)[target.long()]).double().reshape(p.shape)
    tp, fp, fn = (p * t).sum(1), (p * (1 - t)).sum(1), ((1 - p) * t).sum(1)
    value = 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)
    if empty != "smooth":
        value = torch.where(t.sum(1) > 0, value, torch.zeros_like(value) if empty == "ignore" else p.mean(1))
    return value if weight is None else value * weight.double()


def _book_dice(input: Tensor, target: Tensor, *, smooth: float = 0.0, **options: Any) -> Tensor:
    """1 - (2 sum pt + s) / (sum p + sum t + s): Tversky with halves and half of the smoothing."""
    return _book(input, target, smooth=smooth / 2, **options)


@loss(
    task="segmentation",
    sample=_SAMPLE,
    reference=_book_dice,
    laws=("nonnegative", "bounded_gradient"),
    variants=(
        {},
        {"empty": "perfect", "weight": Weight("C")},
        {"empty": "smooth", "smooth": 1.0},
        {"target": Distribution(), "smooth": 0.5},
        {"activation": "sigmoid", "target": _SHARES},
        {"activation": "sigmoid", "target": _HARD, "empty": "perfect"},
    ),
    floor=lambda: 0.0,
)
def dice_loss(
    input: Tensor,
    target: Tensor,
    *,
    activation: Activation = "softmax",
    empty: Empty = "ignore",
    smooth: float = 0.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""One minus the overlap of prediction and truth: a region of ten pixels counts as much as one of a million.

    Formula:    \ell = 1 - \frac{2 \sum p t + s}{\sum p + \sum t + s}, sums over the pixels of one image, for each class
    Gradient:   \partial\ell/\partial p = -2\, (t D - \sum p t - s/2) / D^2, D = \sum p + \sum t + s: a pixel of a
                small region moves the loss more
    Use when:   the background is most of the image, and overlap (dice, F1) is what is reported.
    Avoid when: calibrated probabilities are needed (cross_entropy), or one kind of error costs more (tversky_loss). It is
                steadier as a sum with cross_entropy.
    Shape:      input (N, *, C) with pixels in *, target (N, *) of class indices or (N, *, C) of floats or bools in [0, 1]
                (integers are always indices) -> () or (N, C)
    Args:
        activation: "softmax" if one class is right for each pixel, "sigmoid" if classes may overlap or there is just one.
        empty: what a class costs in an image that holds none of it. "ignore": nothing, and it does not count in the mean.
            "perfect": the mean probability given to it, so an empty prediction is perfect; it counts. "smooth": the
            formula as it stands, which needs smooth > 0.
        smooth: s >= 0, in pixels; softens the loss of regions that are not much larger.
        weight: (C,) what each class counts for; 0 leaves out the background.
        mask: (N, *) bool, True where a pixel counts; what is masked may be NaN.
        ignore_index: pixels with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, H, W).
    Returns:    0-d, or (N, C) for reduction="none"; the mean is over the pairs of image and class that count.
    Raises:     ShapeError; TypeError; IndexError for a class outside of [0, C) on CPU (its image is NaN elsewhere);
                ValueError for an option or a target out of range.
    Reference:  Milletari, Navab, Ahmadi 2016, arXiv:1606.04797, with plain instead of squared sums in the denominator
    Example:
        >>> scores, regions = torch.zeros(1, 4, 1), torch.tensor([[[True], [True], [False], [False]]])
        >>> losskit.dice_loss(scores, regions, activation="sigmoid")  # 1 - 2 (1/2 + 1/2) / (2 + 2)
        tensor(0.5000)
    """
    choice("activation", activation, ("softmax", "sigmoid"))
    seen = pixels(input, target, mask, activation, ignore_index, class_dim)
    value, shown = _overlap(seen, smooth, empty, 2, 1, 1)
    return class_mean(value, shown, weight, reduction, normalizer)


class DiceLoss(Loss, function=dice_loss):
    """Module of :func:`dice_loss`."""

    activation: Activation = "softmax"
    empty: Empty = "ignore"
    smooth: float = 0.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="segmentation",
    sample=_SAMPLE,
    reference=_book,
    laws=("nonnegative", "bounded_gradient"),
    variants=(
        {},
        {"alpha": 0.3, "beta": 0.7, "empty": "perfect", "weight": Weight("C")},
        {"alpha": 0.0, "beta": 1.0, "empty": "smooth", "smooth": 1.0},
        {"alpha": 2.0, "beta": 0.1, "target": Distribution(), "smooth": 0.5},
        {"beta": 0.9, "activation": "sigmoid", "target": _HARD},
    ),
    floor=lambda: 0.0,
)
def tversky_loss(
    input: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    activation: Activation = "softmax",
    empty: Empty = "ignore",
    smooth: float = 0.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Dice loss with a price for each kind of error: raise beta if missing a lesion is worse than a false alarm.

    Formula:    \ell = 1 - \frac{TP + s}{TP + \alpha FP + \beta FN + s}, TP = \sum p t, FP = \sum p (1 - t), FN = \sum (1 - p) t
    Gradient:   \partial\ell/\partial p = -\frac{t (W + \beta (TP + s)) - \alpha (1 - t) (TP + s)}{(TP + W + s)^2},
                W = \alpha FP + \beta FN
    Use when:   regions are small, and recall (beta > alpha) or precision (alpha > beta) matters more.
    Avoid when: both errors cost the same (dice_loss), or calibrated probabilities are needed (cross_entropy).
    Shape:      input (N, *, C) with pixels in *, target (N, *) of class indices or (N, *, C) of floats or bools in [0, 1]
                (integers are always indices) -> () or (N, C)
    Args:
        alpha: >= 0, what a false positive costs.
        beta: > 0, what a false negative costs. alpha = beta = 0.5 is the dice loss with twice the smoothing; 1 and 1 the
            Jaccard (IoU) loss.
        activation: "softmax" if one class is right for each pixel, "sigmoid" if classes may overlap or there is just one.
        empty: what a class costs in an image that holds none of it. "ignore": nothing, and it does not count in the mean.
            "perfect": the mean probability given to it, so an empty prediction is perfect; it counts. "smooth": the
            formula as it stands, which needs smooth > 0.
        smooth: s >= 0, in pixels; softens the loss of regions that are not much larger.
        weight: (C,) what each class counts for; 0 leaves out the background.
        mask: (N, *) bool, True where a pixel counts; what is masked may be NaN.
        ignore_index: pixels with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, H, W).
    Returns:    0-d, or (N, C) for reduction="none"; the mean is over the pairs of image and class that count.
    Raises:     ShapeError; TypeError; IndexError for a class outside of [0, C) on CPU (its image is NaN elsewhere);
                ValueError for an option or a target out of range.
    Reference:  Salehi, Erdogmus, Gholipour 2017, arXiv:1706.05721
    Example:
        >>> scores, regions = torch.zeros(1, 4, 1), torch.tensor([[[True], [True], [False], [False]]])
        >>> losskit.tversky_loss(scores, regions, activation="sigmoid", beta=1.5)  # 1 - 1 / (1 + 0.5 + 1.5)
        tensor(0.6667)
    """
    choice("activation", activation, ("softmax", "sigmoid"))
    at_least("alpha", alpha, 0)
    at_least("beta", beta, 0, strict=True)
    seen = pixels(input, target, mask, activation, ignore_index, class_dim)
    value, shown = _overlap(seen, smooth, empty, 1, alpha, beta)
    return class_mean(value, shown, weight, reduction, normalizer)


class TverskyLoss(Loss, function=tversky_loss):
    """Module of :func:`tversky_loss`."""

    alpha: float = 0.5
    beta: float = 0.5
    activation: Activation = "softmax"
    empty: Empty = "ignore"
    smooth: float = 0.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
