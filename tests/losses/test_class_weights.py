"""What a class should count for, given its count; and the prior taken off the scores."""

from __future__ import annotations

import math
import warnings

import mpmath
import pytest
import torch

from losskit import adjust_logits, class_weights, cross_entropy

COUNTS = [100, 25, 4, 1]


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("inverse", [1 / n for n in COUNTS]),
        ("sqrt", [n**-0.5 for n in COUNTS]),
        ("effective", [(1 - 0.9) / (1 - 0.9**n) for n in COUNTS]),
        ("median", [14.5 / n for n in COUNTS]),
        ("log", [1 / math.log(1.02 + n / 130) for n in COUNTS]),
    ],
)
def test_each_method_is_its_formula_and_its_normalisation(method: str, raw: list[float]) -> None:
    for given in (COUNTS, torch.tensor(COUNTS), torch.tensor(COUNTS, dtype=torch.float64), tuple(COUNTS)):
        assert class_weights(given, method=method, beta=0.9, normalize=None).tolist() == pytest.approx(raw, rel=1e-6)
    mean = sum(raw) / 4
    assert class_weights(COUNTS, method=method, beta=0.9).tolist() == pytest.approx([w / mean for w in raw], rel=1e-6)
    total = class_weights(COUNTS, method=method, beta=0.9, normalize="sum")
    assert total.tolist() == pytest.approx([w / sum(raw) for w in raw], rel=1e-6)


@pytest.mark.parametrize("method", ["inverse", "sqrt", "effective", "median", "log"])
def test_equal_classes_weigh_one_and_rarer_ones_weigh_more(method: str) -> None:
    assert class_weights([7, 7, 7], method=method).tolist() == pytest.approx([1, 1, 1])
    weight = class_weights(COUNTS, method=method)
    assert bool((weight.diff() > 0).all())
    assert weight.dtype == torch.float32


@pytest.mark.parametrize(("beta", "count"), [(0.999999, 10**6), (0.9999999, 10), (0.9999, 10**5), (0.5, 3)])
def test_the_effective_number_does_not_cancel(beta: float, count: int) -> None:
    with mpmath.workdps(50):
        wanted = float((1 - mpmath.mpf(beta)) / (1 - mpmath.mpf(beta) ** count))
    found = class_weights([count, 1], method="effective", beta=beta, normalize=None)
    assert found[0].item() == pytest.approx(wanted, rel=1e-6)
    assert found[1].item() == pytest.approx(1, rel=1e-6)


def test_the_same_in_float32_is_off() -> None:
    beta = torch.tensor(0.999999)
    naive = ((1 - beta) / (1 - beta**1_000_000)).item()
    assert abs(naive / (1e-6 / (1 - 0.999999**1_000_000)) - 1) > 5e-3


def test_the_effective_number_lies_between_equal_and_inverse() -> None:
    assert class_weights(COUNTS, method="effective", beta=0.0).tolist() == pytest.approx([1] * 4)
    near = class_weights(COUNTS, method="effective", beta=1 - 1e-9)
    assert near.tolist() == pytest.approx(class_weights(COUNTS).tolist(), rel=1e-4)


@pytest.mark.parametrize("method", ["inverse", "sqrt", "effective", "median", "log"])
def test_a_class_that_never_occurs_weighs_nothing_and_is_named(method: str) -> None:
    with pytest.warns(UserWarning, match=r"classes \[1, 3\] never occur: their weight is 0"):
        weight = class_weights([8, 0, 2, 0], method=method)
    assert weight[[1, 3]].tolist() == [0, 0]
    assert weight[[0, 2]].tolist() == pytest.approx(class_weights([8, 2], method=method).tolist())
    value = cross_entropy(torch.zeros(3, 4), torch.tensor([0, 1, 2]), weight=weight)
    assert value.item() == pytest.approx(math.log(4))


def test_classes_that_all_occur_raise_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        class_weights([1, 1])


def test_the_default_makes_every_class_as_loud_as_any_other() -> None:
    counts = torch.tensor([90.0, 9.0, 1.0])
    loud = counts * class_weights(counts)
    assert loud.tolist() == pytest.approx([loud.mean().item()] * 3)


def test_weights_average_one_over_classes() -> None:
    assert class_weights([90, 10]).tolist() == pytest.approx([2 * 0.1, 2 * 0.9])


def test_counts_may_be_huge_or_shares() -> None:
    assert class_weights([0.9, 0.1]).tolist() == pytest.approx(class_weights([9e12, 1e12]).tolist())


@pytest.mark.parametrize("beta", [1, 1.0, 1.5, -0.1, math.nan])
def test_beta_is_below_one_whatever_the_method(beta: float) -> None:
    for method in ("effective", "inverse"):
        with pytest.raises(ValueError, match='"beta" must be in'):
            class_weights(COUNTS, method=method, beta=beta)


def test_the_prior_taken_off_calibrated_scores_leaves_the_likelihood() -> None:
    likelihood, prior = torch.tensor([[0.2, 0.7, 0.4]]).double(), torch.tensor([80.0, 15.0, 5.0])
    posterior = (likelihood * prior).log() - 3.0
    found = adjust_logits(posterior, prior).softmax(-1)
    torch.testing.assert_close(found, likelihood / likelihood.sum())


def test_tau_zero_leaves_the_scores_and_tau_scales_the_adjustment() -> None:
    input = torch.tensor([[1.0, 2.0]])
    assert torch.equal(adjust_logits(input, [9, 1], tau=0), input)
    gap = adjust_logits(torch.zeros(2), [9, 1], tau=0.5).diff().item()
    assert gap == pytest.approx(0.5 * math.log(9), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_adjusted_scores_keep_their_dtype_shape_and_gradient(dtype: torch.dtype) -> None:
    input = torch.zeros(2, 3, 4, dtype=dtype, requires_grad=True)
    value = adjust_logits(input, [1, 2, 3, 4])
    assert value.dtype == dtype
    assert value.shape == input.shape
    assert torch.autograd.grad(value.sum(), input)[0].unique().tolist() == [1]


@pytest.mark.parametrize("counts", [[], [1, -1], [0, 0], [1, math.nan], [1, math.inf], [[1, 2]], 3])
def test_counts_that_are_none_are_refused_by_the_name_they_were_given(counts: object) -> None:
    with pytest.raises(ValueError, match=r'^"counts" '):
        class_weights(counts)
    with pytest.raises(ValueError, match=r'^"prior" '):
        adjust_logits(torch.zeros(1, 2), counts)
