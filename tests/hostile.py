"""Calls of the wrong shape or type, each with the error it raises or the value it has; and words to write more of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import losskit as lk
from losskit import ShapeError

NAN, INF = math.nan, math.inf
LN2, LN4 = math.log(2), math.log(4)

SCORES, INDEX = torch.zeros(3, 4), torch.tensor([0, 1, 2])
FOUR, ONES, HALF = torch.zeros(4), torch.ones(4), torch.full((4,), 0.5)
COUNTS = torch.tensor([8.0, 4.0, 2.0, 1.0])


class Refused(NamedTuple):
    """The error, and a piece of what it says."""

    error: type[Exception]
    says: str


Row = tuple[Callable[[], object], Refused | float]


def shape(says: str) -> Refused:
    return Refused(ShapeError, says)


def kind(says: str) -> Refused:
    return Refused(TypeError, says)


def value(says: str) -> Refused:
    return Refused(ValueError, says)


def place(says: str) -> Refused:
    return Refused(IndexError, says)


def ce(target: object = INDEX, input: object = SCORES, **options: object) -> object:
    return lk.cross_entropy(input, target, **options)


def bce(target: object = FOUR, input: object = FOUR, **options: object) -> object:
    return lk.binary_cross_entropy_with_logits(input, target, **options)


def focal(**options: object) -> object:
    return lk.focal_loss(SCORES, INDEX, **options)


def bits(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)


def first(number: float, size: int = 4) -> Tensor:
    """Ones, with this number at index 1."""
    made = torch.ones(size)
    made[1] = number
    return made


SHAPES: list[Row] = [
    (lambda: ce(INDEX[:2]), shape('"target" has shape (2,), expected (3,) to fit "input" (3, 4)')),
    (lambda: ce(INDEX[:, None]), shape("use target.squeeze(-1)")),
    (
        lambda: ce(torch.zeros(2, 4).long(), torch.zeros(2, 4, 5), class_dim=1),
        shape('"target" has shape (2, 4), expected (2, 5)'),
    ),
    (lambda: ce(torch.tensor(0), torch.tensor(0.0)), shape('"input" has shape (), expected (*, C)')),
    (lambda: ce(torch.tensor(1), FOUR), LN4),
    (lambda: ce(SCORES[:, :3]), shape('"target" has shape (3,')),
    (lambda: ce(torch.zeros(3)), shape('"target" has shape (3,), expected (3, 4)')),
    (lambda: ce(weight=torch.ones(3)), shape('"weight" has shape (3,), expected (4,)')),
    (lambda: ce(weight=torch.ones(3, 4)), shape('"weight" has shape (3, 4), expected (4,)')),
    (lambda: ce(class_dim=2), shape('"class_dim" is 2, expected an axis of "input" (3, 4), in [-2, 1]')),
    (lambda: ce(class_dim=-3), shape('"class_dim" is -3')),
    (lambda: bce(FOUR, FOUR[:, None]), shape("use target.unsqueeze(-1)")),
    (lambda: bce(FOUR[:, None]), shape("use target.squeeze(-1)")),
    (lambda: bce(pos_weight=torch.ones(3)), shape('"pos_weight" has shape (3,), expected (4,)')),
    (lambda: bce(pos_weight=torch.ones(1)), shape('"pos_weight" has shape (1,), expected (4,)')),
    (lambda: bce(mask=torch.ones(3).bool()), shape('"mask" has shape (3,), expected (4,)')),
    (lambda: bce(weight=torch.ones(1)), shape('"weight" has shape (1,), expected (4,)')),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=torch.ones(3)), shape('"prior" has shape (3,), expected (4,)')),
    (lambda: lk.ldam_loss(SCORES, INDEX, counts=torch.ones(4, 1)), shape('"counts" has shape (4, 1), expected (4,)')),
    (lambda: lk.asymmetric_loss(SCORES, FOUR), shape('"target" has shape (4,), expected (3, 4)')),
    (lambda: lk.mse_loss(FOUR[:, None], FOUR), shape("use target.unsqueeze(-1)")),
    (lambda: lk.log_cosh_loss(FOUR, FOUR, weight=ONES[:2]), shape('"weight" has shape (2,), expected (4,)')),
    (lambda: lk.gaussian_nll_loss(FOUR, FOUR, log_var=ONES[:1]), shape('"log_var" has shape (1,), expected (4,)')),
    (lambda: lk.quantile_loss(FOUR, FOUR, quantile=HALF[:2]), shape("multi_quantile_loss")),
    (lambda: lk.multi_quantile_loss(SCORES, FOUR[:3], quantiles=HALF[:3]), shape('"quantiles" has shape (3,), expected (4,)')),
    (lambda: lk.crps_ensemble_loss(SCORES, FOUR), shape('"target" has shape (4,), expected (3,)')),
    (lambda: lk.class_weights([]), shape('"counts" has shape (0,), expected (C,)')),
    (lambda: lk.class_weights(5), shape('"counts" has shape (), expected (C,)')),
    (lambda: lk.class_weights([[1, 2]]), shape('"counts" has shape (1, 2), expected (C,)')),
    (lambda: lk.adjust_logits(SCORES, [1, 1, 1]), shape('"prior" has shape (3,), expected (4,)')),
    (lambda: lk.CrossEntropyLoss(weight=ONES)(SCORES, INDEX, weight=torch.ones(3)), shape('"weight" has shape (3,)')),
]

TYPES: list[Row] = [
    (lambda: ce(input=SCORES.long()), kind('"input" has dtype torch.int64, expected a floating-point dtype: use input.float()')),
    (lambda: ce(input=SCORES.to(torch.complex64)), kind("real numbers only")),
    (lambda: ce(input=SCORES.tolist()), kind('"input" must be a Tensor')),
    (lambda: ce(input=None), kind('"input" must be a Tensor')),
    (lambda: ce([0, 1, 2]), kind("got list")),
    (lambda: ce(None), kind("got NoneType")),
    (lambda: ce(INDEX == 0), kind('"target" has dtype torch.bool, expected integers')),
    (lambda: ce(INDEX.to(torch.complex64)), kind('"target" has dtype torch.complex64')),
    (lambda: ce(weight=[1, 1, 1, 1]), kind('"weight" must be a Tensor')),
    (lambda: ce(weight=2.0), kind('"weight" must be a Tensor')),
    (lambda: ce(weight=torch.ones(4).long()), LN4),
    (lambda: ce(label_smoothing="0.1"), kind('"label_smoothing" must be a number, got str')),
    (lambda: ce(label_smoothing=None), kind('"label_smoothing" must be a number, got NoneType')),
    (lambda: ce(label_smoothing=True), kind('"label_smoothing" must be a number, got bool')),
    (lambda: ce(normalizer="3"), kind('"normalizer" must be a number, got str')),
    (lambda: ce(normalizer=True), kind('"normalizer" must be a number, got bool')),
    (lambda: bce(input=FOUR.long()), kind("use input.float()")),
    (lambda: bce(FOUR.bool()), LN2),
    (lambda: bce(FOUR.long()), LN2),
    (lambda: bce(FOUR.to(torch.complex64)), kind('"target" has dtype torch.complex64, expected real numbers')),
    (lambda: bce(0.0), kind('"target" must be a Tensor')),
    (lambda: bce(pos_weight="2"), kind('"pos_weight" must be a number or a Tensor')),
    (lambda: bce(mask=ONES), kind('"mask" has dtype torch.float32, expected torch.bool')),
    (lambda: bce(mask=[True] * 4), kind('"mask" must be a Tensor')),
    (lambda: focal(gamma="2"), kind('"gamma" must be a number, got str')),
    (lambda: focal(gamma=True), kind('"gamma" must be a number, got bool')),
    (lambda: focal(gamma=None), kind('"gamma" must be a number, got NoneType')),
    (lambda: focal(gamma=[1, 2]), kind('"gamma" must be a number, got list')),
    (lambda: focal(gamma=torch.tensor(2.0)), kind('"gamma" must be a number, got Tensor')),
    (lambda: focal(weight=0.25), kind('"weight" must be a Tensor (one weight for each class), got float')),
    (lambda: lk.focal_loss(SCORES, SCORES), kind('"target" has dtype torch.float32, expected integers')),
    (lambda: lk.binary_focal_loss(FOUR, FOUR, alpha=ONES), kind('"alpha" must be a number, got Tensor')),
    (lambda: lk.poly_loss(SCORES, INDEX, epsilon="1"), kind('"epsilon" must be a number, got str')),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=None), kind('"prior" must be a Tensor')),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=[1, 1, 1, 1]), kind('"prior" must be a Tensor')),
    (lambda: lk.balanced_softmax_loss(SCORES, INDEX, counts=COUNTS.to(torch.complex64)), kind('"counts" has dtype')),
    (lambda: lk.balanced_softmax_loss(SCORES, INDEX, counts=torch.tensor([5, 5, 5, 5])), LN4),
    (lambda: lk.class_weights("abc"), kind('"counts" must be real numbers')),
    (lambda: lk.class_weights(None), kind('"counts" must be real numbers')),
    (lambda: lk.class_weights([1 + 2j, 2]), kind('"counts" must be real numbers')),
    (lambda: lk.class_weights(COUNTS.to(torch.complex64)), kind('"counts" must be real numbers')),
    (lambda: lk.adjust_logits(SCORES.tolist(), COUNTS), kind('"input" must be a Tensor')),
    (lambda: lk.adjust_logits(SCORES.long(), COUNTS), kind("use input.float()")),
    (lambda: lk.adjust_logits(SCORES, None), kind('"prior" must be real numbers')),
    (lambda: lk.mse_loss(FOUR, 3.0), kind('"target" must be a Tensor')),
    (lambda: lk.huber_loss(FOUR, FOUR, delta=ONES), kind('"delta" must be a number, got Tensor')),
    (lambda: lk.quantile_loss(FOUR, FOUR, quantile=None), kind('"quantile" must be a number')),
    (lambda: lk.quantile_loss(FOUR, FOUR, quantile=True), kind('"quantile" must be a number')),
    (lambda: lk.multi_quantile_loss(SCORES, FOUR[:3], quantiles=[0.1, 0.2, 0.3, 0.4]), kind('"quantiles" must be a Tensor')),
    (lambda: lk.laplace_nll_loss(FOUR, FOUR, log_scale="0"), kind('"log_scale" must be a number or a Tensor')),
    (lambda: lk.crps_gaussian_loss(FOUR, FOUR, log_scale=None), kind('"log_scale" must be a number or a Tensor')),
    (lambda: lk.rmse_loss(FOUR, FOUR, dim="0"), kind('"dim" must be an int, got str')),
    (lambda: lk.CrossEntropyLoss()(SCORES, INDEX, mask=INDEX == 0), kind('takes no "mask"')),
]
