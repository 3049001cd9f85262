"""Calls that no loss should accept, and odd ones that it must: each with the error it raises or the value it has."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
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
    (lambda: ce(torch.zeros(2, 5).long(), torch.zeros(2, 4, 5)), shape("pass class_dim=1")),
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
    (lambda: ce(class_dim=2), shape('"input" has shape (3, 4)')),
    (lambda: ce(class_dim=-3), shape('"input" has shape (3, 4)')),
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
    (lambda: lk.rmse_loss(FOUR, FOUR, dim="0"), kind('"dim" must be a number, got str')),
    (lambda: lk.CrossEntropyLoss()(SCORES, INDEX, mask=INDEX == 0), kind('takes no "mask"')),
]

TARGETS: list[Row] = [
    (lambda: ce(torch.tensor([0, 4, 1])), place('"target" is 4 at index 1, expected a class in [0, 4)')),
    (lambda: ce(torch.tensor([0, -1, 1])), place('"target" is -1 at index 1')),
    (lambda: ce(torch.tensor([0, -100, 9])), place('"target" is 9 at index 2')),
    (lambda: ce(bits(0, 200, 1)), place('"target" is 200 at index 1')),
    (lambda: ce(bits(0, 3, 1)), LN4),
    (lambda: ce(bits(0, 255, 1), ignore_index=255), LN4),
    (lambda: ce(INDEX, ignore_index=2), LN4),
    (lambda: ce(torch.tensor([[0, 1], [2, 7]]), torch.zeros(2, 2, 4)), place('"target" is 7 at index (1, 1)')),
    (lambda: ce(INDEX, torch.zeros(3, 0)), place('"target" is 0 at index 0, expected a class in [0, 0)')),
    (lambda: ce(INDEX * 0, torch.zeros(3, 1)), 0.0),
    (lambda: ce(SCORES + 2), value('"target" is 2 at index (0, 0), expected [0, 1]')),
    (lambda: ce(SCORES - 1), value('"target" is -1 at index (0, 0), expected [0, 1]')),
    (lambda: ce(SCORES * NAN), NAN),
    (lambda: ce(input=SCORES * NAN), NAN),
    (lambda: ce(INDEX[:0], SCORES[:0]), 0.0),
    (lambda: ce(INDEX * 0 - 100), 0.0),
    (lambda: bce(FOUR + 2), value('"target" is 2 at index 0, expected [0, 1]')),
    (lambda: bce(FOUR - 1), value('"target" is -1 at index 0')),
    (lambda: bce(FOUR * NAN), NAN),
    (lambda: bce(FOUR[:0], FOUR[:0]), 0.0),
    (lambda: bce(torch.tensor(1.0), torch.tensor(0.0)), LN2),
    (lambda: bce(mask=ONES == 0), 0.0),
    (lambda: lk.focal_loss(SCORES, INDEX + 2), place('"target" is 4 at index 2')),
    (lambda: lk.poly_loss(SCORES, INDEX - 1), place('"target" is -1 at index 0')),
    (lambda: lk.ldam_loss(SCORES, INDEX + 4, counts=COUNTS), place('"target" is 4 at index 0')),
    (lambda: lk.binary_focal_loss(FOUR, FOUR + 1.5), value('"target" is 1.5 at index 0')),
    (lambda: lk.asymmetric_loss(FOUR, FOUR + 2), value('"target" is 2 at index 0')),
    (lambda: lk.poisson_deviance_loss(FOUR, FOUR - 1), value('"target" is -1 at index 0, expected [0, inf)')),
    (lambda: lk.gamma_deviance_loss(FOUR, FOUR), value('"target" is 0 at index 0, expected (0, inf)')),
    (lambda: lk.tweedie_deviance_loss(FOUR, FOUR, power=2), value('"target" is 0 at index 0')),
    (lambda: lk.negative_binomial_nll_loss(FOUR, FOUR - 1, log_dispersion=0.0), value('"target" is -1 at index 0')),
    (lambda: lk.msle_loss(FOUR, FOUR - 2), value('"target" is -2 at index 0')),
    (lambda: lk.mape_loss(FOUR, FOUR), value('"target" is 0 at index 0')),
    (lambda: lk.smape_loss(FOUR, FOUR), 0.0),
    (lambda: lk.mse_loss(FOUR * NAN, FOUR), NAN),
    (lambda: lk.mse_loss(FOUR, FOUR + INF), INF),
]

OPTIONS: list[Row] = [
    (lambda: ce(label_smoothing=1.5), value('"label_smoothing" must be in [0, 1], got 1.5')),
    (lambda: ce(label_smoothing=-0.1), value('"label_smoothing" must be in [0, 1]')),
    (lambda: ce(label_smoothing=NAN), value('"label_smoothing" must be in [0, 1], got nan')),
    (lambda: ce(z_loss=-1), value('"z_loss" must be >= 0, got -1')),
    (lambda: ce(z_loss=NAN), value('"z_loss" must be >= 0, got nan')),
    (lambda: ce(reduction="average"), value("\"reduction\" must be 'none' or 'mean' or 'sum', got 'average'")),
    (lambda: ce(reduction=None), value('"reduction" must be')),
    (lambda: ce(normalizer=-1), value('"normalizer" must be >= 0')),
    (lambda: ce(normalizer=NAN), value('"normalizer" must be >= 0, got nan')),
    (lambda: ce(normalizer=torch.ones(2)), value('"normalizer" has shape (2,), expected a number or a 0-d tensor')),
    (lambda: ce(normalizer=torch.tensor([6.0])), LN4 / 2),
    (lambda: ce(weight=first(-1)), value('"weight" is -1 at index 1, expected [0, inf)')),
    (lambda: ce(weight=first(NAN)), value('"weight" is nan at index 1')),
    (lambda: ce(weight=FOUR), 0.0),
    (lambda: ce(input=SCORES.to("meta")), value('"target" is on cpu, expected meta')),
    (lambda: ce(weight=ONES.to("meta")), value('"weight" is on meta, expected cpu')),
    (lambda: bce(weight=-ONES), value('"weight" is -1 at index 0')),
    (lambda: bce(pos_weight=-1.0), value('"pos_weight" is -1')),
    (lambda: bce(pos_weight=NAN), value('"pos_weight" is nan')),
    (lambda: bce(pos_weight=-ONES), value('"pos_weight" is -1 at index 0')),
    (lambda: bce(FOUR + 1, pos_weight=0.0), 0.0),
    (lambda: focal(gamma=1e3), 0.0),
    (lambda: focal(gamma=1e6), 0.0),
    (lambda: focal(gamma=-1), value('"gamma" must be >= 0, got -1')),
    (lambda: focal(gamma=NAN), value('"gamma" must be >= 0, got nan')),
    (lambda: lk.FocalLoss(gamma=-1)(SCORES, INDEX), value('"gamma" must be >= 0')),
    (lambda: lk.binary_focal_loss(FOUR, FOUR, gamma=1e6), 0.0),
    (lambda: lk.binary_focal_loss(FOUR, FOUR, alpha=1.5), value('"alpha" must be in [0, 1], got 1.5')),
    (lambda: lk.binary_focal_loss(FOUR, FOUR, alpha=NAN), value('"alpha" must be in [0, 1], got nan')),
    (lambda: lk.poly_loss(SCORES, INDEX, epsilon=-2), value('"epsilon" must be >= -1, got -2')),
    (lambda: lk.poly_loss(SCORES, INDEX, epsilon=NAN), value('"epsilon" must be >= -1, got nan')),
    (lambda: lk.generalized_cross_entropy(SCORES, INDEX, q=1.1), value('"q" must be in [0, 1], got 1.1')),
    (lambda: lk.generalized_cross_entropy(SCORES, INDEX, q=-0.1), value('"q" must be in [0, 1]')),
    (lambda: lk.generalized_cross_entropy(SCORES, INDEX, q=1e-300), LN4),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=first(0)), value('"prior" is 0 at index 1, expected (0, inf)')),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=first(-1)), value('"prior" is -1 at index 1')),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=ONES, tau=-1), value('"tau" must be >= 0, got -1')),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=ONES, tau=NAN), value('"tau" must be >= 0, got nan')),
    (lambda: lk.balanced_softmax_loss(SCORES, INDEX, counts=first(0)), value("add 1 to every count")),
    (lambda: lk.ldam_loss(SCORES, INDEX, counts=first(-5)), value('"counts" is -5 at index 1')),
    (lambda: lk.ldam_loss(SCORES, INDEX, counts=ONES, max_margin=-1), value('"max_margin" must be >= 0')),
    (lambda: lk.ldam_loss(SCORES, INDEX, counts=ONES, temperature=0), value('"temperature" must be > 0, got 0')),
    (lambda: lk.asymmetric_loss(FOUR, FOUR, clip=1.5), value('"clip" must be in [0, 1')),
    (lambda: lk.asymmetric_loss(FOUR, FOUR, clip=-0.1), value('"clip" must be in [0, 1')),
    (lambda: lk.asymmetric_loss(FOUR, FOUR, gamma_neg=-1), value('"gamma_neg" must be >= 0')),
    (lambda: lk.asymmetric_loss(FOUR, FOUR, gamma_pos=NAN), value('"gamma_pos" must be >= 0, got nan')),
    (lambda: lk.asymmetric_loss(FOUR, FOUR, gamma_neg=1e6), 0.0),
    (lambda: lk.class_weights([1, -1]), value('"counts" is -1 at index 1')),
    (lambda: lk.class_weights([0, 0]), value('"counts" must not be all zero')),
    (lambda: lk.class_weights([1, NAN]), value('"counts" is nan at index 1')),
    (lambda: lk.class_weights([1, INF]), value('"counts" is inf at index 1')),
    (lambda: lk.class_weights([1, 2], method="inv"), value('"method" must be')),
    (lambda: lk.class_weights([1, 2], normalize="max"), value('"normalize" must be')),
    (lambda: lk.class_weights([1, 2], method="effective", beta=1), value('"beta" must be in [0, 1), got 1')),
    (lambda: lk.class_weights([1, 2], beta=7), value('"beta" must be in [0, 1')),
    (lambda: lk.adjust_logits(SCORES, [1, 0, 1, 1]), value('"prior" is 0 at index 1')),
    (lambda: lk.adjust_logits(SCORES, ONES, tau=-1), value('"tau" must be >= 0')),
    (lambda: lk.mse_loss(FOUR, FOUR, weight=-ONES), value('"weight" is -1 at index 0')),
    (lambda: lk.huber_loss(FOUR, FOUR, delta=0), value('"delta" must be > 0, got 0')),
    (lambda: lk.huber_loss(FOUR, FOUR, delta=-1), value('"delta" must be > 0, got -1')),
    (lambda: lk.huber_loss(FOUR, FOUR, delta=NAN), value('"delta" must be > 0, got nan')),
    (lambda: lk.huber_loss(FOUR, FOUR + 3, delta=INF), 3**2 / 2),
    (lambda: lk.smooth_l1_loss(FOUR, FOUR, beta=-1), value('"beta" must be >= 0')),
    (lambda: lk.smooth_l1_loss(FOUR, FOUR + 3, beta=0), 3.0),
    (lambda: lk.quantile_loss(FOUR, FOUR, quantile=0), value('"quantile"')),
    (lambda: lk.quantile_loss(FOUR, FOUR, quantile=1), value('"quantile"')),
    (lambda: lk.quantile_loss(FOUR, FOUR, quantile=2), value('"quantile"')),
    (lambda: lk.quantile_loss(FOUR, FOUR, quantile=first(1) / 2 + 0.5), value('"quantile" is 1 at index 0')),
    (lambda: lk.expectile_loss(FOUR, FOUR, expectile=1.0), value('"expectile" must be in (0, 1), got 1.0')),
    (lambda: lk.gaussian_nll_loss(FOUR, FOUR), value("got neither")),
    (lambda: lk.gaussian_nll_loss(FOUR, FOUR, log_var=0.0, var=1.0), value("got both")),
    (lambda: lk.gaussian_nll_loss(FOUR, FOUR, var=0.0), value('"var" is 0')),
    (lambda: lk.gaussian_nll_loss(FOUR, FOUR, var=-ONES), value('"var" is -1 at index 0')),
    (lambda: lk.beta_nll_loss(FOUR, FOUR, log_var=0.0, beta=2), value('"beta" must be in [0, 1], got 2')),
    (lambda: lk.student_t_nll_loss(FOUR, FOUR, log_scale=0.0, df=0.0), value('"df" is 0')),
    (lambda: lk.student_t_nll_loss(FOUR, FOUR, log_scale=0.0, df=-ONES), value('"df" is -1 at index 0')),
    (lambda: lk.crps_ensemble_loss(torch.zeros(3, 1), FOUR[:3], fair=True), value("expected 2 or more for fair=True")),
    (lambda: lk.crps_ensemble_loss(torch.zeros(3, 1), FOUR[:3] + 2), 2.0),
    (lambda: lk.crps_ensemble_loss(torch.zeros(3, 0), FOUR[:3]), value("expected 1 or more")),
    (lambda: lk.tweedie_deviance_loss(FOUR, FOUR, power=0.5), value('"power" must be <= 0 or >= 1')),
    (lambda: lk.tweedie_deviance_loss(FOUR, FOUR, power=NAN), value('"power"')),
    (lambda: lk.general_robust_loss(FOUR, FOUR, alpha=NAN), value('"alpha"')),
    (lambda: lk.general_robust_loss(FOUR, FOUR + 1, alpha=-INF), 1 - math.exp(-0.5)),
    (lambda: lk.general_robust_loss(FOUR, FOUR, scale=0), value('"scale" must be > 0, got 0')),
    (lambda: lk.tukey_loss(FOUR, FOUR, scale=-1), value('"scale" must be > 0')),
    (lambda: lk.cauchy_loss(FOUR, FOUR, scale=NAN), value('"scale" must be > 0, got nan')),
    (lambda: lk.rmse_loss(FOUR, FOUR, dim=3), value('"dim" must be in [-1, 0], got 3')),
    (lambda: lk.parts(lk.mse_loss, FOUR, FOUR, reduction="sum"), kind("parts() sets reduction itself")),
]

# What Python itself says about a call that does not fit the signature: no argument in quotes.
SIGNATURES: list[Row] = [
    (lambda: ce(size_average=True), kind("'size_average'")),
    (lambda: focal(alpha=0.25), kind("'alpha'")),
    (lambda: lk.cross_entropy(SCORES, INDEX, ONES), kind("positional arguments")),
    (lambda: lk.CrossEntropyLoss(gamma=2), kind("its options are weight, ignore_index")),
    (lambda: lk.LDAMLoss(), kind("'counts'")),
]

# What core answers badly today; strict, so that a fix shows.
KNOWN: list[Row] = [
    (lambda: ce(weight=first(INF)), value('"weight" is inf at index 1')),
    (lambda: ce(INDEX[:0], torch.zeros(0, 0)), 0.0),
    (lambda: ce(class_dim="1"), kind('"class_dim"')),
    (lambda: ce(class_dim=True), kind('"class_dim"')),
    (lambda: ce(ignore_index=None), kind('"ignore_index"')),
    (lambda: ce(ignore_index=1.5), kind('"ignore_index"')),
    (lambda: ce(normalizer=torch.tensor(-1.0)), value('"normalizer"')),
    (lambda: ce(z_loss=INF), value('"z_loss"')),
    (lambda: lk.poly_loss(SCORES, INDEX, epsilon=INF), value('"epsilon"')),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=ONES, tau=INF), value('"tau"')),
    (lambda: lk.logit_adjusted_loss(SCORES, INDEX, prior=first(INF)), value('"prior" is inf at index 1')),
    (lambda: lk.asymmetric_loss(FOUR, FOUR, clip=1.0), value('"clip"')),
    (lambda: lk.gaussian_nll_loss(FOUR, FOUR, var=NAN), value('"var" is nan')),
    (lambda: lk.student_t_nll_loss(FOUR, FOUR, log_scale=0.0, df=NAN), value('"df" is nan')),
    (lambda: lk.crps_ensemble_loss(SCORES, FOUR[:3], fair="yes"), kind('"fair"')),
    (lambda: lk.parts(torch.nn.functional.mse_loss, FOUR, FOUR), kind("losskit")),
    (lambda: lk.CrossEntropyLoss(ONES), kind("keyword")),
]

QUOTED = SHAPES + TYPES + TARGETS + OPTIONS
ROWS = QUOTED + SIGNATURES


def named(row: Row) -> str:
    source = inspect.getsource(row[0]).strip()
    return source.removeprefix("(lambda: ")[:60]


def refusal(call: Callable[[], object], wanted: Refused) -> str:
    with pytest.raises(wanted.error) as caught:
        call()
    assert type(caught.value) is wanted.error
    message = str(caught.value)
    assert wanted.says in message
    return message


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_a_hostile_call_is_refused_by_name_or_has_its_documented_value(row: Row) -> None:
    call, wanted = row
    if isinstance(wanted, Refused):
        refusal(call, wanted)
    else:
        assert float(call()) == pytest.approx(wanted, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("row", [row for row in QUOTED if isinstance(row[1], Refused)], ids=named)
def test_an_error_is_one_short_sentence_that_names_the_argument_in_quotes(row: Row) -> None:
    message = refusal(*row)
    assert "\n" not in message
    assert len(message) <= 300
    assert '"' in message or message.startswith("parts()")


@pytest.mark.xfail(strict=True, raises=BaseException, reason="core and ops do not refuse this by name yet")
@pytest.mark.parametrize("row", KNOWN, ids=named)
def test_what_is_not_yet_refused(row: Row) -> None:
    call, wanted = row
    if isinstance(wanted, Refused):
        refusal(call, wanted)
    else:
        assert float(call()) == pytest.approx(wanted)


def test_meta_tensors_have_a_shape_and_no_value() -> None:
    value = lk.cross_entropy(SCORES.to("meta"), INDEX.to("meta"))
    assert value.shape == ()
    assert value.device.type == "meta"


def test_a_refused_call_leaves_its_tensors_alone() -> None:
    input, target = SCORES.clone().requires_grad_(), torch.tensor([0, 9, 1])
    with pytest.raises(IndexError):
        lk.cross_entropy(input, target)
    assert input.grad is None
    assert target.tolist() == [0, 9, 1]


def test_a_huge_gamma_has_a_finite_gradient_on_both_sides() -> None:
    for gamma in (1e3, 1e6):
        for loss, target in ((lk.focal_loss, torch.tensor([0, 1])), (lk.binary_focal_loss, torch.tensor([[0.0, 1], [1, 0.3]]))):
            input = torch.tensor([[-30.0, 30.0], [-200.0, 200.0]], requires_grad=True)
            loss(input, target, gamma=gamma, reduction="sum").backward()
            assert bool(input.grad.isfinite().all())


def test_at_least_sixty_calls_are_hostile() -> None:
    assert len(ROWS) >= 60
    assert sum(isinstance(wanted, Refused) for _, wanted in ROWS) >= 60
