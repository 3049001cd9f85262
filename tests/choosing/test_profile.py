"""Statistics of targets against what they are known to be."""

from __future__ import annotations

import math

import pytest
import torch
from choosing_made import counts_from_inputs, linear

from losskit.choosing.columns import read_columns
from losskit.choosing.profile_classes import balance_of
from losskit.choosing.profile_counts import scatter_of
from losskit.choosing.profile_lists import lists_of
from losskit.choosing.profile_numbers import NORMAL_TAIL, quantiles, residuals, shape_of
from losskit.choosing.profile_rows import answers_itself, is_running_number, rows_facts, rows_warnings, telling
from losskit.choosing.targets import encode


def exact(distribution: torch.distributions.Distribution, rows: int = 9999) -> torch.Tensor:
    """The quantiles of a distribution in place of a sample: no luck."""
    return distribution.icdf(torch.linspace(0, 1, rows + 2, dtype=torch.float64)[1:-1])


def test_the_tail_ratio_of_a_normal_is_that_of_its_quantiles() -> None:
    normal = torch.distributions.Normal(0.0, 1.0)
    q = [float(normal.icdf(torch.tensor(p, dtype=torch.float64))) for p in (0.975, 0.75)]
    assert q[0] / q[1] == pytest.approx(NORMAL_TAIL, rel=1e-6)
    assert shape_of(exact(normal)).tail == pytest.approx(NORMAL_TAIL, rel=1e-3)


@pytest.mark.parametrize(
    ("distribution", "tail"),
    [
        (torch.distributions.Laplace(0.0, 1.0), math.log(20) / math.log(2)),
        (torch.distributions.Cauchy(0.0, 1.0), math.tan(math.pi * 0.475)),
        (torch.distributions.Uniform(0.0, 1.0), 1.9),
    ],
)
def test_the_tail_ratio_is_that_of_the_distribution(distribution: torch.distributions.Distribution, tail: float) -> None:
    shape = shape_of(exact(distribution))
    assert shape.tail == pytest.approx(tail, rel=5e-3)
    assert shape.heavy == (tail > NORMAL_TAIL)


def test_shape_does_not_depend_on_place_or_unit() -> None:
    values = exact(torch.distributions.Laplace(0.0, 1.0))
    one, other = shape_of(values), shape_of(1000 - 30 * values)
    assert other.tail == pytest.approx(one.tail)
    assert other.skew == pytest.approx(-one.skew, abs=1e-9)
    assert other.sigma == pytest.approx(30 * one.sigma)
    assert other.outliers == one.outliers


def test_sigma_is_the_standard_deviation_of_the_good_values() -> None:
    good = exact(torch.distributions.Normal(0.0, 2.0))
    assert shape_of(good).sigma == pytest.approx(2, rel=1e-3)
    assert shape_of(torch.cat([good, torch.full((100,), 1e6, dtype=torch.float64)])).sigma == pytest.approx(2, rel=0.02)


def test_few_rows_say_nothing_of_tails() -> None:
    shape = shape_of(torch.cat([torch.zeros(20), torch.tensor([1e9])]).double())
    assert shape.few
    assert not shape.heavy


def test_the_bound_of_the_tail_ratio_is_kept_by_nearly_all_normal_samples() -> None:
    """One in 2,000 is beyond it; of 2,000 samples, seven or more are so with a probability of 1e-4."""
    torch.manual_seed(0)
    for rows in (50, 500):
        assert sum(shape_of(torch.randn(rows, dtype=torch.float64)).heavy for _ in range(1000)) <= 4


def test_one_normal_sample_in_2000_is_called_skewed() -> None:
    """Of 1,000 samples, five or more are so with a probability of 2e-4; at 2.5 standard errors it would be twelve."""
    torch.manual_seed(0)
    for rows in (50, 500):
        assert sum(shape_of(torch.randn(rows, dtype=torch.float64)).skewed for _ in range(1000)) <= 4


def test_quantiles_are_those_of_torch() -> None:
    values = torch.randn(1001, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares = [0.0, 0.025, 0.3, 0.5, 1.0]
    assert quantiles(values, shares) == pytest.approx(values.quantile(torch.tensor(shares, dtype=torch.float64)).tolist())


def test_residuals_are_the_noise_that_was_added() -> None:
    torch.manual_seed(0)
    made = linear(0.5 * torch.randn(2000))
    columns = read_columns(**made)
    target = encode(columns, "regression")
    left = residuals(columns, target.values, target.rows)
    assert left is not None
    assert float(left.std()) == pytest.approx(0.5, rel=0.05)
    assert float(target.values.std()) > 3
    wider = residuals(read_columns(made["data"], inputs=1000 * made["inputs"]), target.values, target.rows)
    assert wider is not None
    assert torch.allclose(wider, left, atol=1e-4)


def test_without_inputs_or_with_too_many_there_are_no_residuals() -> None:
    for width in (0, 40):
        columns = read_columns(torch.randn(100), inputs=torch.randn(100, width) if width else None)
        assert residuals(columns, columns.target.values, torch.arange(100)) is None


def test_counts_that_inputs_explain_are_no_bursts() -> None:
    torch.manual_seed(0)
    made = counts_from_inputs()
    with_inputs = read_columns(**made)
    alone = read_columns(made["data"])
    counts, rows = alone.target.values, torch.arange(alone.rows)
    assert scatter_of(alone, counts, rows).over
    given = scatter_of(with_inputs, counts, rows)
    assert given.with_inputs
    assert not given.over
    assert given.ratio == pytest.approx(1, abs=0.1)


def test_the_dispersion_is_that_of_the_negative_binomial() -> None:
    torch.manual_seed(0)
    counts = torch.distributions.NegativeBinomial(2.0, torch.tensor(0.7)).sample((20_000,)).double()
    scatter = scatter_of(read_columns(counts), counts, torch.arange(20_000))
    mean = 2 * 0.7 / 0.3
    assert scatter.alpha == pytest.approx(1 / 2, rel=0.1)
    assert scatter.ratio == pytest.approx(1 + mean / 2, rel=0.1)
    assert scatter.zeros_expected == pytest.approx(0.3**2, rel=0.1)
    assert not scatter.inflated


def test_poisson_counts_are_not_called_bursts() -> None:
    torch.manual_seed(0)
    for i in range(200):
        rows, mean = (50, 500, 3000)[i % 3], (0.3, 3.0, 50.0)[i // 3 % 3]
        counts = torch.poisson(torch.full((rows,), mean, dtype=torch.float64))
        scatter = scatter_of(read_columns(counts), counts, torch.arange(rows))
        assert not scatter.over
        assert not scatter.inflated


def test_what_is_left_of_a_ratio_is_that_of_the_ends_of_wilsons_intervals() -> None:
    z, n, rare = 2.5758293, 1000, 100
    ends = [
        (k + z * z / 2 + side * z * math.sqrt(k * (n - k) / n + z * z / 4)) / (n + z * z) for k, side in ((900, -1), (rare, 1))
    ]
    assert balance_of(torch.tensor([900, rare])).least == pytest.approx(ends[0] / ends[1], rel=1e-6)


@pytest.mark.parametrize(
    ("counts", "said"),
    [([2069, 201], "at the border of 1 to 10"), ([40, 2], "too few rows"), ([90, 10], "up to 1 to 10")],
)
def test_a_ratio_near_ten_is_at_the_border_and_only_few_rows_are_too_few(counts: list[int], said: str) -> None:
    assert said in balance_of(torch.tensor(counts)).plain


def test_balance_leaves_out_classes_that_never_occur() -> None:
    balance = balance_of(torch.tensor([1000, 0, 20]))
    assert (balance.ratio, balance.rare, balance.common) == (50, 2, 0)
    assert balance.imbalanced
    assert balance.least < 50


def test_lists_are_counted() -> None:
    lists = lists_of(torch.tensor([0, 1, 2, 1, 1, 0.0]), torch.tensor([7, 7, 7, 3, 3, 5]))
    assert (lists.lists, lists.shortest, lists.longest, lists.median) == (3, 1, 3, 2)
    assert lists.informative == 1
    assert lists.grades == (0, 1, 2)
    assert lists.relevant == 2


def test_a_target_among_the_inputs_is_found_in_any_unit_and_under_any_name() -> None:
    y = torch.randn(100)
    column = read_columns({"x": -3 * y + 1, "y": y}, target="y")
    assert answers_itself(column.inputs[0], column.target)
    words = read_columns({"x": ["no", "yes", "no"] * 10, "y": [0, 1, 0] * 10}, target="y")
    assert answers_itself(words.inputs[0], words.target)
    assert any('"x" is the target itself' in w for w in rows_warnings(words, rows_facts(words), telling(words)))
    apart = read_columns({"x": y + 1e-3 * torch.randn(100), "y": y}, target="y")
    assert not answers_itself(apart.inputs[0], apart.target)
    fewer = read_columns({"x": ["no", "yes", "yes"] * 10, "y": [0, 1, 0] * 10}, target="y")
    assert not answers_itself(fewer.inputs[0], fewer.target)


def test_a_running_number_is_an_id_and_measurements_are_not() -> None:
    assert is_running_number(read_columns(torch.arange(5, 50, 3)).target)
    assert not is_running_number(read_columns(torch.linspace(0, 1, 20)).target)
    assert not is_running_number(read_columns([1, 2, 4] * 5).target)


def test_duplicates_are_counted_over_all_columns() -> None:
    table = {"x": [1e12, 2e12, 1e12, 1e12], "z": [1e-9, 2e-9, 1e-9, 3e-9], "y": [0, 1, 0, 0]}
    facts = {f.name: f for f in rows_facts(read_columns(table, target="y"))}
    assert facts["duplicates"].value == 1 / 4


def _repeats(table: dict[str, torch.Tensor]) -> bool:
    columns = read_columns(table, target="y")
    return any("repeat an earlier one" in w for w in rows_warnings(columns, rows_facts(columns), telling(columns)))


def test_rows_of_few_different_values_repeat_and_are_healthy() -> None:
    torch.manual_seed(0)
    assert not _repeats({name: torch.randint(0, 2, (1000,)) for name in "abcy"})
    assert not _repeats({"age": torch.randint(20, 80, (1000,)), "y": torch.randint(0, 2, (1000,))})


def test_copied_rows_are_warned_of() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(800).repeat(2)[:1000], torch.randint(0, 2, (800,)).repeat(2)[:1000]
    assert _repeats({"x": x, "y": y})
    many = {name: torch.randint(0, 4, (800,)).repeat(2)[:1000] for name in "abcdefgy"}
    assert _repeats(many)


def test_the_yes_of_two_words_is_the_one_that_says_so_or_the_rarer() -> None:
    assert encode(read_columns(["no", "yes", "yes"]), "binary").classes == ("no", "yes")
    assert encode(read_columns(["dog", "dog", "cat"]), "binary").classes == ("dog", "cat")
    assert encode(read_columns(["ant", "dog", "ant"]), "binary").values.tolist() == [0, 1, 0]
    assert encode(read_columns([2, 1, None, 2]), "binary").values.tolist() == [1, 0, 1]
