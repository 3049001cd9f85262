"""Intervals against plain loops, enumeration, scipy, and corpora whose truth is known."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable

import pytest
import torch
from scipy import stats

from losskit.core.check import ShapeError
from losskit.evaluate import bootstrap as resampling
from losskit.evaluate.intervals import (
    Difference,
    Estimate,
    block_bootstrap,
    bootstrap,
    iid_standard_error,
    paired,
    ratio,
    student_t_quantile,
)

SUMS = [30.5, 7.25, 55.0, 12.0, 1.5, 90.0, 41.0]
UNITS = [12, 3, 20, 4, 1, 31, 18]


def spread(residuals: list[float]) -> float:
    m = len(residuals)
    return math.sqrt(m / (m - 1) * sum(r * r for r in residuals))


def residuals(sums: list[float], units: list[int]) -> list[float]:
    value = sum(sums) / sum(units)
    return [(s - value * u) / sum(units) for s, u in zip(sums, units, strict=True)]


def documents(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    units = torch.randint(20, 400, (count,), generator=generator)
    return units * (2.5 + 0.5 * torch.randn(count, generator=generator, dtype=torch.float64)), units


@pytest.mark.parametrize("freedom", [0.5, 1, 1.5, 2, 7, 39, 200, 999.5, 1000, 1e6, math.inf])
def test_quantiles_of_student_are_those_of_scipy(freedom: float) -> None:
    for p in (1e-12, 1e-6, 0.001, 0.025, 0.1, 0.4, 0.6, 0.975, 0.9995):
        assert student_t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-10)


def test_quantiles_of_student_have_their_closed_forms() -> None:
    assert student_t_quantile(0.5, 3) == 0
    assert student_t_quantile(0.9, 1) == pytest.approx(math.tan(math.pi * 0.4), rel=1e-14)
    assert student_t_quantile(0.9, 2) == pytest.approx(0.8 * math.sqrt(2 / 0.36), rel=1e-14)


@pytest.mark.parametrize(("p", "freedom"), [(0.0, 3), (1.0, 3), (math.nan, 3), (0.5, 0), (0.5, -1)])
def test_quantiles_outside_their_domain_are_refused(p: float, freedom: float) -> None:
    with pytest.raises(ValueError, match=r'"(p|freedom)" must be'):
        student_t_quantile(p, freedom)


def test_ratio_is_the_formula_of_the_clustered_error() -> None:
    got = ratio(SUMS, UNITS, level=0.9)
    value, error = sum(SUMS) / sum(UNITS), spread(residuals(SUMS, UNITS))
    half = stats.t.ppf(0.95, 6) * error
    assert got[:4] == pytest.approx((value, error, value - half, value + half), rel=1e-12)
    assert got[4:] == (7, 0.9, "cluster")


def test_ratio_is_the_same_in_any_order_to_the_last_bit() -> None:
    sums, units = documents(1000)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    assert ratio(sums, units) == ratio(sums[order].tolist(), units[order].tolist())


def test_a_small_document_is_not_lost_beside_large_ones() -> None:
    assert ratio([1e17, 1.0, -1e17], [1, 1, 1]).value == 1 / 3


def test_documents_that_hold_nothing_are_no_clusters() -> None:
    estimators: list[Callable[[list[float], list[int]], Estimate]] = [ratio, bootstrap]
    for estimator in estimators:
        assert estimator([0.0, *SUMS, 0.0], [0, *UNITS, 0]) == estimator(SUMS, UNITS)
    assert paired([*SUMS, 0.0], [*UNITS, 0], [*SUMS[::-1], 0.0], [*UNITS, 0]) == paired(SUMS, UNITS, SUMS[::-1], UNITS)


def test_nats_without_a_unit_count_in_value_and_error() -> None:
    got = ratio([*SUMS, 5.0], [*UNITS, 0])  # a document without a word has nats nevertheless
    assert got.value == pytest.approx((sum(SUMS) + 5) / sum(UNITS), rel=1e-15)
    assert got.standard_error == pytest.approx(spread(residuals([*SUMS, 5.0], [*UNITS, 0])), rel=1e-12)
    assert got.clusters == 8


def test_saying_every_token_ten_times_makes_nothing_more_certain() -> None:
    tokens = [[0.1, 2.5, 3.0], [0.7, 4.0], [2.2, 2.6, 9.0, 0.3], [5.0, 0.2]]
    once = ratio([sum(t) for t in tokens], [len(t) for t in tokens])
    ten = ratio([10 * sum(t) for t in tokens], [10 * len(t) for t in tokens])
    assert ten.standard_error == pytest.approx(once.standard_error, rel=1e-12)
    flat = [x for t in tokens for x in t]
    iid = [iid_standard_error(n * sum(flat), n * sum(x * x for x in flat), n * len(flat)) for n in (1, 10)]
    assert iid[0] is not None
    assert iid[1] == pytest.approx(iid[0] * math.sqrt((len(flat) - 1) / (10 * len(flat) - 1)), rel=1e-12)


@pytest.mark.parametrize("estimator", [ratio, bootstrap, block_bootstrap])
@pytest.mark.parametrize(
    ("sums", "units", "value"),
    [
        ([], [], math.nan),
        ([0.0, 0.0], [0, 0], math.nan),
        ([6.0], [3], 2.0),
        ([6.0, 0.0], [3, 0], 2.0),
        ([1.0, math.inf, 2.0], [1, 1, 1], math.inf),
        ([1.0, math.nan, 2.0], [1, 1, 1], math.nan),
        ([math.inf, -math.inf, 2.0], [1, 1, 1], math.nan),
        ([1.5e308, 1.5e308, 1.5e308], [1, 1, 1], math.inf),
        ([1e200, 2e200, 4e200], [1, 1, 1], 7e200 / 3),
    ],
)
def test_what_no_interval_can_be_given_for_has_none(
    estimator: Callable[[list[float], list[int]], Estimate], sums: list[float], units: list[int], value: float
) -> None:
    got = estimator(sums, units)
    assert got.value == pytest.approx(value, nan_ok=True)
    assert (got.low, got.high) == (None, None)
    if estimator is ratio:
        assert got.standard_error is None


def test_arguments_that_do_not_fit_are_refused_in_a_sentence() -> None:
    with pytest.raises(ShapeError, match=r'"units" has shape \(1,\), expected the shape of \'sums\', \(2,\)'):
        ratio([1.0, 2.0], [1])
    with pytest.raises(ShapeError, match=r'"sums" has shape \(1, 2\), expected \(D,\)'):
        ratio(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r'"units" is -1.0 at index 1, expected a count >= 0'):
        ratio([1.0, 2.0], [1, -1])
    with pytest.raises(ValueError, match=r'"units_b" is nan at index 0'):
        paired([1.0], [1], [1.0], [math.nan])
    with pytest.raises(ValueError, match=r'"level" must be in \(0, 1\), got 95'):
        ratio(SUMS, UNITS, level=95)
    with pytest.raises(ValueError, match=r'"resamples" must be >= 2'):
        bootstrap(SUMS, UNITS, resamples=1)


def test_bootstrap_is_that_of_all_resamples() -> None:
    sums, units = SUMS[:5], UNITS[:5]
    every = sorted(sum(sums[i] for i in drawn) / sum(units[i] for i in drawn) for drawn in itertools.product(range(5), repeat=5))
    got = bootstrap(sums, units, resamples=200_000, level=0.8)
    assert got.standard_error == pytest.approx(math.sqrt(5 / 4) * statistics.pstdev(every), rel=0.01)
    assert got.low is not None
    assert got.high is not None
    share = stats.norm.cdf(-math.sqrt(5 / 4) * stats.t.ppf(0.9, 4))
    place = int(share * len(every))
    assert got.value - got.low == pytest.approx(got.value - every[place], rel=0.02)
    assert got.high - got.value == pytest.approx(every[-1 - place] - got.value, rel=0.02)


def test_bootstrap_error_is_the_clustered_one_of_many_documents() -> None:
    sums, units = documents(2000)
    assert bootstrap(sums, units).standard_error == pytest.approx(ratio(sums, units).standard_error, rel=0.06)


def test_bootstrap_is_longer_on_the_side_of_the_long_tail() -> None:
    got = bootstrap([1.0] * 18 + [30.0, 60.0], [1] * 20)
    assert got.low is not None
    assert got.high is not None
    assert got.high - got.value > 1.2 * (got.value - got.low)


def test_bootstrap_is_decided_by_its_seed() -> None:
    assert bootstrap(SUMS, UNITS, seed=3) == bootstrap(SUMS, UNITS, seed=3)
    assert bootstrap(SUMS, UNITS, seed=3) != bootstrap(SUMS, UNITS, seed=4)


@pytest.mark.parametrize(("count", "level", "resamples"), [(4, 0.95, 100_000), (40, 0.9999, 2000)])
def test_bootstrap_has_no_bounds_where_no_resample_reaches(count: int, level: float, resamples: int) -> None:
    got = bootstrap(*documents(count), level=level, resamples=resamples)
    assert (got.low, got.high) == (None, None)
    assert got.standard_error is not None


def test_random_groups_of_documents_keep_total_and_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "GROUPS", 1000)
    sums, units = documents(20_500)
    sums, units = sums.sort().values, units[sums.sort().indices]  # neighbours are alike
    above, below = resampling.grouped(torch.Generator().manual_seed(0), sums, units.double())
    assert above.shape == below.shape == (1000,)
    assert (float(above.sum()), float(below.sum())) == pytest.approx((float(sums.sum()), float(units.sum())), rel=1e-12)
    assert ratio(above, below).standard_error == pytest.approx(ratio(sums, units).standard_error, rel=0.07)
    assert bootstrap(sums, units).standard_error == pytest.approx(ratio(sums, units).standard_error, rel=0.1)
    assert bootstrap(sums, units).clusters == 20_500


def test_a_small_block_of_draws_gives_the_same_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap(SUMS, UNITS, resamples=50_000)
    monkeypatch.setattr(resampling, "BLOCK", 3)  # less than one resample
    assert bootstrap(SUMS, UNITS, resamples=5000).standard_error == pytest.approx(whole.standard_error, rel=0.04)


def test_block_bootstrap_is_the_formula_of_circular_blocks() -> None:
    windows, length = [math.sin(i / 3) + i % 3 for i in range(30)], 5
    sums = [statistics.fmean(windows[(i + j) % 30] for j in range(length)) for i in range(30)]
    error = statistics.pstdev(sums) / math.sqrt(30 / length - 1)
    got = block_bootstrap(windows, [1] * 30, resamples=100_000)
    half = stats.t.ppf(0.975, 5) * error
    assert got[:4] == pytest.approx((statistics.fmean(windows), error, got.value - half, got.value + half), rel=0.01)
    assert got[4:] == (6, 0.95, "block bootstrap")


def test_error_of_tokens_alone_is_that_of_a_mean() -> None:
    tokens = [0.3, 4.0, 2.5, 1.0]
    expected = statistics.stdev(tokens) / math.sqrt(len(tokens))
    assert iid_standard_error(sum(tokens), sum(t * t for t in tokens), 4) == pytest.approx(expected, rel=1e-12)
    assert iid_standard_error(0.3 * 7, 0.09 * 7, 7) == pytest.approx(0, abs=1e-8)
    assert iid_standard_error(2.0, 4.0, 1) is None
    assert iid_standard_error(math.inf, math.inf, 5) is None


def test_paired_difference_is_the_formula_for_two_tokenizers() -> None:
    sums_b, units_b = [s * 0.9 + i for i, s in enumerate(SUMS)], [u + 2 for u in UNITS]
    got = paired(SUMS, UNITS, sums_b, units_b)
    terms = [a - b for a, b in zip(residuals(SUMS, UNITS), residuals(sums_b, units_b), strict=True)]
    delta, half = sum(SUMS) / sum(UNITS) - sum(sums_b) / sum(units_b), stats.t.ppf(0.975, 6) * spread(terms)
    assert got[:4] == pytest.approx((delta, spread(terms), delta - half, delta + half), rel=1e-10)
    back = paired(sums_b, units_b, SUMS, UNITS)
    assert (back.delta, back.p_value) == pytest.approx((-got.delta, got.p_value), rel=1e-12)


@pytest.mark.parametrize("count", [2, 5, 8])
def test_p_is_the_share_of_all_exchanges_for_few_documents(count: int) -> None:
    sums_a, units = documents(count)
    a, b = sums_a.tolist(), (sums_a + 20 * torch.randn(count, generator=torch.Generator().manual_seed(5))).tolist()
    far = abs(sum(a) - sum(b)) * (1 - 1e-9)
    hits = [
        abs(sum(x - y if keep else y - x for keep, x, y in zip(kept, a, b, strict=True))) >= far
        for kept in itertools.product((True, False), repeat=count)
    ]
    assert paired(a, units, b, units).p_value == pytest.approx(statistics.fmean(hits), rel=1e-12)


def test_p_for_two_tokenizers_is_that_of_terms_about_the_middle() -> None:
    sums_b, units_b = [17.0, 22.0, 148.0, 52.0, 85.0, 51.0, 23.0], [9, 7, 40, 17, 35, 39, 10]
    total_a, total_b = sum(UNITS), sum(units_b)
    middle = (sum(SUMS) / total_a + sum(sums_b) / total_b) / 2
    terms = [
        (a - middle * u) / total_a - (b - middle * v) / total_b for a, u, b, v in zip(SUMS, UNITS, sums_b, units_b, strict=True)
    ]
    far = abs(sum(terms)) * (1 - 1e-9)
    signed = itertools.product((1, -1), repeat=7)
    hits = [abs(sum(sign * term for sign, term in zip(signs, terms, strict=True))) >= far for signs in signed]
    assert paired(SUMS, UNITS, sums_b, units_b).p_value == pytest.approx(statistics.fmean(hits), rel=1e-12)


def test_random_exchanges_agree_with_all_exchanges() -> None:
    sums, units = documents(14)
    other = sums + 15 * torch.randn(14, generator=torch.Generator().manual_seed(3))
    exact = paired(sums, units, other, units, permutations=2**13).p_value
    near = paired(sums, units, other, units, permutations=2**13 - 1).p_value
    assert exact is not None
    assert 0.02 < exact < 0.9
    assert exact != near
    assert near == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 2**13))


def test_p_of_a_clear_difference_is_the_smallest_there_is() -> None:
    sums, units = documents(10)
    assert paired(sums, units, sums - units, units).p_value == 2 / 2**10
    sums, units = documents(100)
    assert paired(sums, units, sums - units, units, permutations=999).p_value == 1 / 1000


def test_a_model_against_itself_differs_by_nothing() -> None:
    assert paired(SUMS, UNITS, SUMS, UNITS) == Difference(0.0, 0.0, 0.0, 0.0, 1.0, 7, 0.95)


def test_pairing_removes_what_is_hard_for_both() -> None:
    sums, units = documents(50)
    got = paired(sums, units, sums + 0.1 * units + torch.arange(50) % 2, units)
    alone = ratio(sums, units).standard_error
    assert got.standard_error is not None
    assert alone is not None
    assert got.standard_error < alone / 20
    assert got.high is not None
    assert got.high < 0


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_difference_without_a_number_has_no_interval(bad: float) -> None:
    got = paired([1.0, bad, 2.0], [1, 1, 1], [1.0, 2.0, 2.0], [1, 1, 1])
    assert not math.isfinite(got.delta)
    assert got[1:5] == (None, None, None, None)
    assert paired([1.0], [1], [2.0], [1])[:5] == (-1.0, None, None, None, None)
