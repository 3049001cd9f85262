"""Calls that no loss should accept, and odd ones that it must: each with the error it raises or the value it has."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch

import losskit as lk
from hostile import (
    COUNTS,
    FOUR,
    HEAD,
    HIDDEN,
    INDEX,
    INF,
    LINEAR,
    LN2,
    LN4,
    NAN,
    ONES,
    SCORES,
    SHAPES,
    TYPES,
    Refused,
    Row,
    bce,
    bits,
    ce,
    first,
    focal,
    kind,
    place,
    shape,
    value,
)

TARGETS: list[Row] = [
    (lambda: ce(torch.tensor([0, 4, 1])), place('"target" is 4 at index 1, expected a class in [0, 4)')),
    (lambda: ce(torch.tensor([0, -1, 1])), place('"target" is -1 at index 1')),
    (lambda: ce(torch.tensor([0, -100, 9])), place('"target" is 9 at index 2')),
    (lambda: ce(bits(0, 200, 1)), place('"target" is 200 at index 1')),
    (lambda: ce(bits(0, 3, 1)), LN4),
    (lambda: ce(bits(0, 255, 1), ignore_index=255), LN4),
    (lambda: ce(INDEX, ignore_index=2), LN4),
    (lambda: ce(torch.tensor([[0, 1], [2, 7]]), torch.zeros(2, 2, 4)), place('"target" is 7 at index (1, 1)')),
    (lambda: ce(INDEX, torch.zeros(3, 0)), shape("at least one class")),
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
    (lambda: ce(normalizer=torch.ones(2)), shape('"normalizer" has shape (2,), expected (), a 0-d tensor, or a number')),
    (lambda: ce(normalizer=torch.tensor([6.0])), shape('"normalizer" has shape (1,), expected ()')),
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

# What takes a second look to refuse: infinities, options of a wrong type, losses that are not ours.
MORE: list[Row] = [
    (lambda: ce(weight=first(INF)), value('"weight" is inf at index 1')),
    (lambda: ce(torch.zeros(2, 5).long(), torch.zeros(2, 4, 5)), shape("pass class_dim=1")),
    (lambda: ce(class_dim="1"), kind('"class_dim"')),
    (lambda: ce(class_dim=True), kind('"class_dim"')),
    (lambda: ce(ignore_index=None), kind('"ignore_index"')),
    (lambda: ce(ignore_index=1.5), kind('"ignore_index"')),
    (lambda: ce(normalizer=torch.tensor(-1.0)), value('"normalizer"')),
    (lambda: ce(z_loss=INF), value('"z_loss"')),
    (lambda: ce(normalizer=INF), value('"normalizer" must be finite')),
    (lambda: ce(normalizer=torch.tensor(1j)), kind('"normalizer" has dtype torch.complex64')),
    (lambda: lk.tversky_loss(SCORES[None], INDEX[None], alpha=INF), value('"alpha" must be finite')),
    (lambda: lk.dice_loss(SCORES[None], INDEX[None], smooth=INF), value('"smooth" must be finite')),
    (lambda: lk.ldam_loss(SCORES, INDEX, counts=COUNTS, max_margin=INF), value('"max_margin" must be finite')),
    (lambda: lk.cauchy_loss(FOUR, FOUR, scale=INF), value('"scale" must be finite')),
    (lambda: lk.AdaptiveRobustLoss(1.5), kind('"num_dims" must be an int, got float')),
    (lambda: lk.rmse_loss(FOUR, FOUR, dim=0.0), kind('"dim" must be an int, got float')),
    (lambda: lk.reference("nope"), value("\"name\" is 'nope'")),
    (lambda: focal(gamma=INF), value('"gamma" must be finite, got inf')),
    (lambda: lk.binary_focal_loss(FOUR, FOUR, gamma=INF), value('"gamma" must be finite')),
    (lambda: lk.asymmetric_loss(FOUR, FOUR, gamma_neg=INF), value('"gamma_neg" must be finite')),
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

QUOTED = SHAPES + TYPES + TARGETS + OPTIONS + LINEAR + MORE[:-1]
ROWS = QUOTED + SIGNATURES + MORE[-1:]


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


def test_meta_tensors_have_a_shape_and_no_value() -> None:
    value = lk.cross_entropy(SCORES.to("meta"), INDEX.to("meta"))
    assert value.shape == ()
    assert value.device.type == "meta"


def test_meta_tensors_go_through_the_fused_heads() -> None:
    hidden, head, target, soft = (t.to("meta") for t in (HIDDEN, HEAD, INDEX, SCORES))
    for loss in (
        lk.linear_cross_entropy(hidden, head, target),
        lk.linear_cross_entropy(hidden, head, target, label_smoothing=0.1, reduction="none").sum(),
        lk.linear_cross_entropy(hidden, head, soft),
        lk.linear_focal_loss(hidden, head, target),
        lk.linear_log_probs(hidden, head, target, entropy=True).log_prob.sum(),
        lk.kl_div_loss(soft, soft),
        lk.count_valid(lk.shift_targets(target)),
    ):
        assert (loss.shape, loss.device.type) == ((), "meta")


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
