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
HIDDEN, HEAD = torch.zeros(3, 2), torch.zeros(4, 2)
LISTED, HALVES = torch.tensor([[0, 1], [1, 2], [2, 3]]), torch.full((3, 2), -LN2)


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


def lin(target: object = INDEX, input: object = HIDDEN, head: object = HEAD, **options: object) -> object:
    return lk.linear_cross_entropy(input, head, target, **options)


def lin_focal(target: object = INDEX, **options: object) -> object:
    return lk.linear_focal_loss(HIDDEN, HEAD, target, **options)


def told(target: object = INDEX, input: object = HIDDEN, head: object = HEAD, **options: object) -> object:
    return -lk.linear_log_probs(input, head, target, **options).log_prob.mean()


def sparse(index: object = LISTED, log_prob: object = HALVES, input: object = SCORES, **options: object) -> object:
    return lk.sparse_kl_div_loss(input, index, log_prob, **options)


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

LINEAR: list[Row] = [
    (lambda: lin(), LN4),
    (lambda: lin(INDEX[:2]), shape('"target" has shape (2,), expected (3,) to fit "input" (3, 2)')),
    (lambda: lin(INDEX[:, None]), shape("use target.squeeze(-1)")),
    (lambda: lin(head=HEAD.T), shape('"linear_weight" has shape (2, 4), expected (2, 2)')),
    (lambda: lin(head=HEAD[0]), shape('"linear_weight" has shape (2,), expected (C, D)')),
    (lambda: lin(head=HEAD[:0]), shape("at least one class")),
    (lambda: lin(input=torch.tensor(0.0)), shape('"input" has shape (), expected (*, D)')),
    (lambda: lin(linear_bias=ONES[:3]), shape('"linear_bias" has shape (3,), expected (4,)')),
    (lambda: lin(weight=ONES[:3]), shape('"weight" has shape (3,), expected (4,)')),
    (lambda: lin(INDEX.double()), shape('"target" has shape (3,), expected (3, 4)')),
    (lambda: told(INDEX[:2]), shape('"target" has shape (2,)')),
    (lambda: lin(torch.tensor(1), HIDDEN[0]), LN4),
    (lambda: lin(input=HIDDEN.numpy()), kind('"input" must be a Tensor')),
    (lambda: lin(INDEX.tolist()), kind('"target" must be a Tensor')),
    (lambda: lin(INDEX == 0), kind('"target" has dtype torch.bool')),
    (lambda: lin(input=HIDDEN.long()), kind("use input.float()")),
    (lambda: lin(input=HIDDEN.to(torch.complex64)), kind("real numbers only")),
    (lambda: lin(input=HIDDEN.to_sparse()), kind("use input.to_dense()")),
    (lambda: lin(head=HEAD.double()), kind('"linear_weight" has dtype torch.float64, expected torch.float32')),
    (lambda: lin(head=HEAD.half()), kind("use linear_weight.to(input.dtype)")),
    (lambda: lin(input=HIDDEN.half()), LN4),
    (lambda: lin(linear_bias=FOUR.double()), kind('"linear_bias" has dtype torch.float64')),
    (lambda: lin(linear_bias=0.0), kind('"linear_bias" must be a Tensor')),
    (lambda: lin(head=HEAD.to("meta")), value('"linear_weight" is on meta, expected cpu')),
    (lambda: lin(torch.tensor([0, 4, 1])), place('"target" is 4 at index 1, expected a class in [0, 4)')),
    (lambda: lin(torch.tensor([0, -1, 1])), place('"target" is -1 at index 1')),
    (lambda: lin(torch.tensor([0, -1, 9]), ignore_index=-1), place('"target" is 9 at index 2')),
    (lambda: lin_focal(bits(0, 200, 1)), place('"target" is 200 at index 1')),
    (lambda: told(INDEX + 2), place('"target" is 4 at index 2')),
    (lambda: lin(bits(0, 255, 1), ignore_index=255), LN4),
    (lambda: lin(INDEX, ignore_index=2), LN4),
    (lambda: lin(INDEX * 0 - 100), 0.0),
    (lambda: lin(INDEX[:0], HIDDEN[:0]), 0.0),
    (lambda: lin(SCORES + 2), value('"target" is 2 at index (0, 0), expected [0, 1]')),
    (lambda: lin(SCORES + 0.25, softcap=3.0), value('"softcap" takes class indices')),
    (lambda: lin(SCORES + 0.25), LN4),
    (lambda: lin(input=HIDDEN * NAN), NAN),
    (lambda: lin(linear_bias=first(INF)), NAN),
    (lambda: lin(linear_bias=first(-INF)), INF),
    (lambda: lin(INDEX * 0, linear_bias=first(-INF)), math.log(3)),
    (lambda: lin(weight=first(-1)), value('"weight" is -1 at index 1')),
    (lambda: lin(weight=first(NAN)), value('"weight" is nan at index 1')),
    (lambda: lin(weight=FOUR), 0.0),
    (lambda: lin(weight=[1, 1, 1, 1]), kind('"weight" must be a Tensor')),
    (lambda: lin(memory=True), kind('"memory" must be an int, got bool')),
    (lambda: lin(memory="1GB"), kind('"memory" must be an int, got str')),
    (lambda: lin(memory=1.5), kind('"memory" must be an int, got float')),
    (lambda: lin(memory=0), value('"memory" must be >= 1, got 0')),
    (lambda: lin(memory=-1), value('"memory" must be >= 1, got -1')),
    (lambda: lin(memory=1), LN4),
    (lambda: lin(memory=2**62), LN4),
    (lambda: lin(memory=2**80), value('"memory"')),
    (lambda: told(memory=10**400), value('"memory"')),
    (lambda: lin(label_smoothing=1.5), value('"label_smoothing" must be in [0, 1], got 1.5')),
    (lambda: lin(label_smoothing=ONES[0]), kind('"label_smoothing" must be a number, got Tensor')),
    (lambda: lin(label_smoothing=1), LN4),
    (lambda: lin(z_loss=NAN), value('"z_loss" must be >= 0, got nan')),
    (lambda: lin(z_loss=INF), value('"z_loss" must be finite')),
    (lambda: lin(z_loss=10**400), value('"z_loss" must be finite')),
    (lambda: lin(z_loss=1), LN4 + LN4**2),
    (lambda: lin(logit_scale=0), value('"logit_scale" must be > 0, got 0')),
    (lambda: lin(logit_scale=10**400), value('"logit_scale" must be finite')),
    (lambda: lin(logit_scale=torch.nn.Parameter(ONES[0])), kind('"logit_scale" must be a number, got Parameter')),
    (lambda: lin(softcap=NAN), value('"softcap" must be > 0, got nan')),
    (lambda: lin(softcap=INF), value('"softcap" must be finite')),
    (lambda: lin(softcap="30"), kind('"softcap" must be a number, got str')),
    (lambda: lin(reduction="avg"), value('"reduction" must be')),
    (lambda: lin(reduction=["mean"]), value('"reduction" must be')),
    (lambda: lin(normalizer=0), INF),
    (lambda: lin(normalizer=torch.tensor(0)), INF),
    (lambda: lin(normalizer=NAN), value('"normalizer" must be >= 0, got nan')),
    (lambda: lin(normalizer=6), LN4 / 2),
    (lambda: lin(ignore_index=None), kind('"ignore_index" must be an int')),
    (lambda: lin(ignore_index=2**80), value('"ignore_index"')),
    (lambda: lin_focal(gamma=-1), value('"gamma" must be >= 0')),
    (lambda: lin_focal(gamma=1e6), 0.0),
    (lambda: lin_focal(weight=2.0), kind('"weight" must be a Tensor')),
    (lambda: told(entropy=1), kind('"entropy" must be True or False')),
    (lambda: told(input=HIDDEN * NAN), NAN),
    (lambda: lk.linear_log_probs(HIDDEN * NAN, HEAD, INDEX).argmax[2], 0.0),
    (lambda: lk.parts(lk.linear_log_probs, HIDDEN, HEAD, INDEX), kind("losskit")),
    (lambda: lk.kl_div_loss(SCORES, SCORES[:, :3]), shape('"target" has shape (3, 3), expected (3, 4)')),
    (lambda: lk.kl_div_loss(SCORES, INDEX), kind('"target" has dtype torch.int64')),
    (lambda: lk.kl_div_loss(SCORES, SCORES, direction="fwd"), value('"direction" must be')),
    (lambda: lk.kl_div_loss(SCORES, SCORES, reduction="batchmean"), value('"reduction" must be')),
    (lambda: lk.kl_div_loss(SCORES, SCORES, temperature=0), value('"temperature" must be > 0')),
    (lambda: lk.kl_div_loss(SCORES, SCORES, temperature=1e300), value('"temperature"')),
    (lambda: lk.js_div_loss(SCORES, SCORES, beta=1), value('"beta" must be in (0, 1), got 1')),
    (lambda: lk.js_div_loss(SCORES, SCORES, mask=ONES[:3]), kind('"mask" has dtype torch.float32')),
    (lambda: sparse(), LN2),
    (lambda: sparse(LISTED.float()), kind('"index" has dtype torch.float32, expected integers')),
    (lambda: sparse(LISTED + 1), place('"index" is 4 at index (2, 1)')),
    (lambda: sparse(LISTED * 0), value("listed twice")),
    (lambda: sparse(LISTED[:, :0], HALVES[:, :0]), shape("at least one class")),
    (lambda: sparse(LISTED, HALVES[:, :1]), shape('"log_prob" has shape (3, 1), expected (3, 2)')),
    (lambda: sparse(LISTED, -HALVES), value("sums to 4 in probability")),
    (lambda: sparse(LISTED, HALVES * NAN), NAN),
    (lambda: sparse(LISTED - 9, HALVES * INF), 0.0),
    (lambda: sparse(tail="Bucket"), value('"tail" must be')),
    (lambda: lk.shift_targets(torch.tensor(1)), shape('"labels" has shape (), expected (*, T)')),
    (lambda: lk.shift_targets(INDEX == 0), kind('"labels" has dtype torch.bool')),
    (lambda: lk.shift_targets(INDEX, ignore_index=2**53 + 1)[-1] - 2**53, 1.0),
    (lambda: lk.shift_targets(INDEX, ignore_index=2**80), value('"ignore_index"')),
    (lambda: lk.shift_targets(INDEX, document=ONES[:3]), kind('"document" has dtype torch.float32')),
    (lambda: lk.count_valid([0, 1]), kind('"target" must be a Tensor')),
    (lambda: lk.count_valid(INDEX, ignore_index=-(2**80)), value('"ignore_index"')),
    (lambda: lk.count_valid(bits(0, 156, 200)), 3.0),
    (lambda: lk.count_valid(torch.tensor([1, -100], dtype=torch.int8), ignore_index=156), 2.0),
]
