"""How often intervals hold the truth, on many corpora whose truth is known."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch

from evaluate_helpers_corpora import Corpora, homogeneous, two_topics, walks
from losskit.evaluate.intervals import Estimate, block_bootstrap, bootstrap, iid_standard_error, paired, ratio

pytestmark = pytest.mark.slow


def covered(corpora: Corpora, estimator: Callable[..., Estimate]) -> float:
    estimates = [estimator(s, u) for s, u in zip(corpora.sums, corpora.tokens, strict=True)]
    return statistics.fmean(e.low is not None and e.high is not None and e.low <= corpora.truth <= e.high for e in estimates)


def covered_iid(corpora: Corpora) -> float:
    total, squares, tokens = (column.sum(1).tolist() for column in corpora[:3])
    errors = [iid_standard_error(*of) for of in zip(total, squares, tokens, strict=True)]
    near = [e is not None and abs(s / n - corpora.truth) <= 1.96 * e for s, n, e in zip(total, tokens, errors, strict=True)]
    return statistics.fmean(near)


# as if tokens were independent: right where they are, true for one corpus in four where documents are of two kinds
@pytest.mark.parametrize(
    ("kind", "least", "most"), [("homogeneous", 0.92, 0.97), ("two topics", 0.15, 0.33), ("unequal", 0.15, 0.33)]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(kind: str, least: float, most: float) -> None:
    generator = torch.Generator().manual_seed(0)
    corpora = (
        homogeneous(400, 40, generator) if kind == "homogeneous" else two_topics(400, 40, generator, unequal=kind == "unequal")
    )
    assert 0.93 <= covered(corpora, ratio) <= 0.97
    assert 0.93 <= covered(corpora, bootstrap) <= 0.97
    assert least <= covered_iid(corpora) <= most


def test_blocks_hold_the_truth_where_single_windows_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    corpora = walks(400, 200, 0.5, generator)
    assert 0.91 <= covered(corpora, block_bootstrap) <= 0.97
    assert covered(corpora, ratio) < 0.8
    independent = walks(400, 200, 0.0, generator)
    assert 0.91 <= covered(independent, block_bootstrap) <= 0.97


@pytest.mark.parametrize("count", [10, 40])
def test_two_models_that_are_equal_differ_significantly_as_often_as_chance_has_it(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    found: list[tuple[bool, bool]] = []
    for _ in range(400):
        units = torch.randint(20, 400, (count,), generator=generator)
        a, b = (units * (3 + 0.3 * torch.randn(count, generator=generator)) for _ in range(2))
        got = paired(a, units, b, units, permutations=1000)
        assert got.p_value is not None
        assert got.low is not None
        assert got.high is not None
        found.append((got.p_value <= 0.05, not got.low <= 0 <= got.high))
    for share in map(statistics.fmean, zip(*found, strict=True)):
        assert 0.02 <= share <= 0.09
