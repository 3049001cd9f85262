"""Lovasz losses: the Jaccard index (IoU) itself, made convex in the errors of the pixels."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import ShapeError, choice, visible
from ..core.domain import CLASS_WEIGHT, Binary, ClassIndex, Logits, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce
from .pixels import PIXEL_MASK, class_mean, over_pixels, pixels

__all__ = ["LovaszHingeLoss", "LovaszSoftmaxLoss", "lovasz_hinge_loss", "lovasz_softmax_loss"]

Classes = Literal["present", "all"]


_HINGE = {
    "input": Real(meaning="one score for each pixel, images first"),
    "target": Binary(meaning="0 or 1 for each pixel"),
    "mask": PIXEL_MASK,
}


def _jaccard_steps(region: Tensor, dtype: torch.dtype) -> Tensor:
    """By how much the Jaccard loss grows as pixels go wrong one after the other, along the last axis.

    With P pixels in the region, p of them and n others wrong so far, the loss is (p + n) / (P + n). A pixel of the region
    adds 1 / (P + n), another (P - p) / ((P + n) (P + n - 1)): the differences, written so that nothing cancels.
    """
    size, hits = region.sum(-1, keepdim=True), region.cumsum(-1)
    union = size + (~region).cumsum(-1)
    added = (size - hits).to(dtype) / (union * (union - 1)).clamp(min=1).to(dtype)
    # an empty region is lost with the first wrong pixel
    return torch.where(region, 1 / union.clamp(min=1).to(dtype), torch.where(union == 1, 1, added))


def _extension(errors: Tensor, region: Tensor) -> Tensor:
    """The Lovasz extension of the Jaccard loss at ``errors``, (*, P) -> (*); errors below 0 are no errors."""
    ordered, order = errors.sort(-1, descending=True)
    return (F.relu(ordered) * _jaccard_steps(region.gather(-1, order), errors.dtype)).sum(-1)


def _choquet(errors: Tensor, region: Tensor) -> Tensor:
    """The integral over t of the Jaccard loss of {errors >= t}, for one row of errors."""
    levels = sorted({0.0, *(float(e) for e in errors if e > 0)})
    total = 0.0
    for low, high in pairwise(levels):
        wrong = errors >= high
        total += (high - low) * float(wrong.sum()) / float((wrong | region).sum())
    return torch.tensor(total, dtype=torch.float64)


def _book_hinge(input: Tensor, target: Tensor) -> Tensor:
    """The extension at max(0, 1 - z s), s = 1 in the region and -1 outside."""
    if not input.numel():
        return torch.zeros(len(input), dtype=torch.float64)
    region = target.reshape(len(target), -1) == 1
    errors = 1 - input.double().reshape(region.shape) * torch.where(region, 1.0, -1.0).double()
    return torch.stack([_choquet(e, r) for e, r in zip(errors, region, strict=True)])


@loss(
    task="segmentation",
    sample=_HINGE,
    reference=_book_hinge,
    laws=("nonnegative", "convex", "bounded_gradient"),
    chance=lambda: 1.0,
    floor=lambda: 0.0,
)
def lovasz_hinge_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""The Jaccard index (IoU) of one region, as a hinge: pixels are pushed in the order in which they hurt the IoU.

    Formula:    \ell = \sum_i \max(0, m_{\pi_i}) (\Delta_i - \Delta_{i-1}), m = 1 - z (2 t - 1) in falling order \pi,
                \Delta_i = i / (P + n_i) with P pixels in the region and n_i of the first i outside
    Gradient:   \partial\ell/\partial z = -(2 t - 1) (\Delta_i - \Delta_{i-1}) where m > 0, else 0
    Use when:   there is one kind of region and IoU is what is reported, as fine-tuning after binary cross-entropy.
    Avoid when: training starts from nothing (slow), or probabilities are needed (binary_cross_entropy_with_logits).
    Shape:      input (N, *) with pixels in *, target (N, *) of 0 and 1 or bools -> () or (N,)
    Args:
        mask: (N, *) bool, True where a pixel counts; what is masked may be NaN. An image without a pixel does not count.
    Returns:    0-d, or (N,) for reduction="none". An image whose region is empty costs its largest m.
    Raises:     ShapeError; TypeError; ValueError for a target that is not 0 or 1.
    Reference:  Berman, Triki, Blaschko 2018, arXiv:1705.08790
    Example:
        >>> losskit.lovasz_hinge_loss(torch.tensor([[2.0, -2.0, 0.0]]), torch.tensor([[1, 0, 0]]))  # m = 1, 1 / (1 + 1) of it
        tensor(0.5000)
    """
    if not input.ndim:
        raise ShapeError('"input" has shape (), expected (N, *): use input.unsqueeze(0) for one sample')
    scores, label = visible(mask, input, target)
    # neither 0 nor 1 is NaN where nobody could look
    sign = torch.where(label == 1, 1.0, torch.where(label == 0, -1.0, torch.nan)).to(scores.dtype)
    errors, region = 1 - scores * sign, label == 1
    if mask is None:
        return reduce(_extension(_rows(errors), _rows(region)), None, reduction, normalizer)
    # what is masked has score 1 and label 1 here: its error is 0, and it is of no region
    value = _extension(_rows(errors), _rows(region & mask))
    return reduce(value, _rows(mask).any(-1).to(value.dtype), reduction, normalizer)


def _rows(value: Tensor) -> Tensor:
    """(N, *) -> (N, P); without pixel axes every sample is one pixel."""
    return value.unsqueeze(1).flatten(1)


class LovaszHingeLoss(Loss, function=lovasz_hinge_loss):
    """Module of :func:`lovasz_hinge_loss`."""

    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


def _book_softmax(input: Tensor, target: Tensor, *, classes: str = "present", weight: Tensor | None = None) -> Tensor:
    """The extension at |1 - p| in the region and p outside, for each image and class."""
    number = input.shape[-1]
    value = torch.zeros(len(input), number, dtype=torch.float64)
    for n in range(len(input)):
        p, index = input[n].double().reshape(-1, number).softmax(-1), target[n].reshape(-1)
        for c in range(number):
            region = index == c
            if classes == "all" or region.any():
                value[n, c] = _choquet(torch.where(region, 1 - p[:, c], p[:, c]), region)
    return value if weight is None else value * weight.double()


def _chance(num_classes: int) -> float:
    """All of the region is at 1 - 1/C, no other pixel is further off."""
    return 1 - 1 / num_classes


@loss(
    task="segmentation",
    sample={"input": Logits(), "target": ClassIndex("*"), "weight": CLASS_WEIGHT, "mask": PIXEL_MASK},
    reference=_book_softmax,
    laws=("nonnegative", "shift_invariant", "bounded_gradient"),
    variants=({}, {"classes": "all"}, {"weight": Weight("C")}),
    chance=_chance,
    floor=lambda: 0.0,
)
def lovasz_softmax_loss(
    input: Tensor,
    target: Tensor,
    *,
    classes: Classes = "present",
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""The Jaccard index (IoU) of every class, made smooth enough to train on: for the last points of mean IoU.

    Formula:    \ell_c = \sum_i m_{\pi_i} (\Delta_i - \Delta_{i-1}), m = 1 - p_c in the region of c and p_c outside, in falling
                order \pi, \Delta_i = i / (P + n_i) with P pixels in the region and n_i of the first i outside
    Gradient:   \partial\ell_c/\partial z_k = (1 - 2 t_c)(\Delta_i - \Delta_{i-1})\, p_c (1_{k=c} - p_k) at the pixel of rank i:
                what the IoU loses if it goes wrong too
    Use when:   mean IoU is what is reported, as fine-tuning after cross_entropy or as a sum with it.
    Avoid when: training starts from nothing, or calibrated probabilities are needed (cross_entropy).
    Shape:      input (N, *, C) with pixels in *, target (N, *) of class indices -> () or (N, C)
    Args:
        classes: "present" leaves out, image by image, the classes that are not in the target; "all" has such a class cost
            the highest probability that any pixel gives to it.
        weight: (C,) what each class counts for; 0 leaves out the background.
        mask: (N, *) bool, True where a pixel counts; what is masked may be NaN.
        ignore_index: pixels with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, H, W).
    Returns:    0-d, or (N, C) for reduction="none"; the mean is over the pairs of image and class that count.
    Raises:     ShapeError; TypeError; IndexError for a class outside of [0, C) on CPU (its image is NaN elsewhere);
                ValueError for an option, or one class (lovasz_hinge_loss).
    Reference:  Berman, Triki, Blaschko 2018, arXiv:1705.08790
    Example:
        >>> losskit.lovasz_softmax_loss(torch.zeros(1, 3, 10), torch.tensor([[0, 1, 1]]))  # knows nothing: 1 - 1/10
        tensor(0.9000)
    """
    choice("classes", classes, ("present", "all"))
    seen = pixels(input, target, mask, "softmax", ignore_index, class_dim)
    region = (seen.target == 1) & (seen.counts != 0)
    errors = torch.where(region, seen.outside, seen.inside)
    value = _extension(_by_class(torch.where(seen.counts == 0, -1, errors)), _by_class(region))
    shown = over_pixels(region if classes == "present" else seen.counts.expand_as(region)) != 0
    return class_mean(value, shown, weight, reduction, normalizer)


def _by_class(value: Tensor) -> Tensor:
    """(N, *, C) -> (N, C, P)."""
    return value.unsqueeze(1).flatten(1, -2).transpose(1, 2)


class LovaszSoftmaxLoss(Loss, function=lovasz_softmax_loss):
    """Module of :func:`lovasz_softmax_loss`."""

    classes: Classes = "present"
    weight: Tensor | None = None
    mask: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
