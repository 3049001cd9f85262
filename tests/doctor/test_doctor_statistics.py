"""What curves say: noise, slopes, levels and jumps, against the numbers that they were made from."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from losskit.doctor.evidence.run import Kind, Reading, Run, Series
from losskit.doctor.statistics.blocks import in_blocks, median, pairwise
from losskit.doctor.statistics.curve import curve_of, rate_rises, rates_at
from losskit.doctor.statistics.evaluations import evaluations
from losskit.doctor.statistics.excursions import excursions
from losskit.doctor.statistics.expected import around, grad_norm_around
from losskit.doctor.statistics.level import stands_at
from losskit.doctor.statistics.noise import autocorrelation, effective, mad, noise, spread
from losskit.doctor.statistics.rising import above_its_start, growth_before_end
from losskit.doctor.statistics.slope import slope
from losskit.doctor.statistics.warmup import steady_from, warming

NAN, INF = math.nan, math.inf


def wandering(count: int, rho: float, seed: int = 0) -> Tensor:
    """AR(1) noise of standard deviation 1."""
    fresh = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * math.sqrt(1 - rho**2)

    def joined(old: float, new: float) -> float:
        return rho * old + new

    return torch.tensor(list(accumulate(fresh.tolist(), joined)), dtype=torch.float64)


def made(loss: Tensor, every: int = 1, **others: Tensor) -> Run:
    kinds: dict[str, Kind] = {"lr": "lr", "norm": "grad_norm", "evals": "eval_loss"}
    steps = torch.arange(loss.numel()) * every
    series = [Series("loss", "train_loss", steps, loss, every)]
    for name, values in others.items():
        at = steps if values.numel() == steps.numel() else torch.linspace(0, float(steps[-1]), values.numel()).long()
        series.append(Series(name, kinds[name], at, values))
    return Run("a run", tuple(series), Reading("jsonl"))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_noise_of_neighbours_the_whole_spread_and_the_correlation_are_those_of_the_process(rho: float) -> None:
    values = wandering(20_000, rho)
    assert noise(values) == pytest.approx(math.sqrt(1 - rho), rel=0.05)
    assert spread(values) == pytest.approx(1, rel=0.1)
    assert autocorrelation(values) == pytest.approx(rho, abs=0.06)
    assert effective(values) == pytest.approx(20_000 * (1 - rho) / (1 + rho), rel=0.5)


def test_a_trend_and_outliers_are_not_noise() -> None:
    values = wandering(5000, 0.0)
    trended = values + torch.linspace(0, 500, 5000, dtype=torch.float64)
    trended[::100] += 1e6
    assert noise(trended) == pytest.approx(noise(values), rel=0.05)


def test_noise_skips_what_is_no_number_and_is_zero_for_a_point() -> None:
    assert noise(torch.tensor([NAN, 1.0, INF])) == 0
    assert noise(torch.tensor([1.0, NAN, 2.0, 4.0, INF, 7.0])) == noise(torch.tensor([1.0, 2.0, 4.0, 7.0]))
    assert mad(torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(1.4826)


def test_a_long_curve_is_thinned_in_runs_of_neighbours_and_keeps_its_noise() -> None:
    assert noise(wandering(200_000, 0.9)) == pytest.approx(math.sqrt(0.1), rel=0.05)


def test_blocks_are_medians_of_neighbours_with_their_steps_and_the_first_points_are_left_out() -> None:
    parts = in_blocks(torch.arange(10), torch.arange(10, dtype=torch.float64), count=3)
    assert (parts.level.tolist(), parts.first.tolist(), parts.last.tolist(), parts.size) == ([3.5, 7.5], [2, 6], [5, 9], 4)


def test_the_standard_deviation_of_a_block_median_is_that_of_medians() -> None:
    parts = in_blocks(torch.arange(40_000), wandering(40_000, 0.5))
    expected = 1.2533 * math.sqrt(3 / 1000)  # (1 + rho) / (1 - rho) = 3
    assert parts.sigma == pytest.approx(expected, rel=0.4)
    assert float(parts.level.std()) < 2 * parts.sigma


def test_a_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    assert median(torch.tensor([4.0, 1.0, 2.0, NAN, 3.0])) == 2.5
    assert math.isnan(median(torch.tensor([NAN])))
    assert pairwise(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0])) == 3


def test_the_slope_is_that_of_the_line_and_its_interval_holds_it() -> None:
    steps = torch.arange(0, 4000, 4)
    found = slope(5 - 0.001 * steps + 0.1 * wandering(1000, 0.5), steps)
    assert found.value == pytest.approx(-0.001, rel=0.05)
    assert found.low < -0.001 < found.high < 0
    assert (found.falls, found.flat, found.rises) == (True, False, False)


def test_a_slope_within_its_noise_or_of_less_than_two_percent_is_flat() -> None:
    assert slope(1 + wandering(400, 0.9)).flat
    assert slope(torch.linspace(1, 1.01, 400)).flat
    assert not slope(torch.linspace(1, 1.1, 400)).flat


def test_a_slope_needs_three_points_and_changes_no_random_numbers() -> None:
    before = torch.get_rng_state()
    assert math.isnan(slope(torch.tensor([1.0, NAN, 2.0])).value)
    assert slope(torch.tensor([1.0, 2.0, 3.0])).value == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_a_curve_stands_at_chance_where_its_last_quarter_does() -> None:
    values = torch.cat((torch.linspace(5, 2.4, 300, dtype=torch.float64), math.log(10) + 0.05 * wandering(200, 0.3)))
    found = stands_at(values, math.log(10))
    assert found is not None
    assert (found.start, found.n) == (375, 125)
    assert found.median == pytest.approx(math.log(10), abs=found.delta)
    assert stands_at(values, 1.05 * math.log(10)) is None


def test_a_curve_that_passes_a_level_does_not_stand_there() -> None:
    assert stands_at(torch.linspace(2.5, 2.1, 160), 2.15) is None


def test_a_curve_too_noisy_or_too_short_to_tell_stands_nowhere() -> None:
    assert stands_at(2.3 + 1.5 * wandering(60, 0.5), 2.3) is None
    assert stands_at(torch.full((39,), 2.3), 2.3) is None
    assert stands_at(torch.full((20,), 2.3), 2.3, every=10) is not None
    assert stands_at(torch.full((100,), 2.3), NAN) is None


def test_points_that_are_no_numbers_do_not_hide_a_level() -> None:
    values = torch.full((100,), 2.3)
    values[::3] = NAN
    assert stands_at(values, 2.3) is not None


def test_a_run_is_steady_after_fifty_steps_or_a_tenth_of_a_short_log() -> None:
    assert steady_from(made(torch.ones(1000))) == 50
    assert steady_from(made(torch.ones(101))) == 10
    assert steady_from(Run("nothing", (), Reading("csv"))) == 0


def test_a_run_is_steady_when_half_of_the_top_rate_is_reached() -> None:
    rates = torch.cat((torch.linspace(0, 1, 401), torch.linspace(1, 0, 600)[1:]))
    assert steady_from(made(torch.ones(1000), lr=rates)) == 200
    assert steady_from(made(torch.ones(1000), lr=torch.full((1000,), 3e-4))) == 50


def test_a_run_whose_rate_only_rises_is_not_steady_yet() -> None:
    assert steady_from(made(torch.ones(200), lr=torch.linspace(0, 1, 200))) == 200
    assert not warming(torch.ones(100))
    assert not warming(torch.tensor([NAN, 1.0]))


def test_rates_are_those_of_the_last_point_before_a_step() -> None:
    run = made(torch.ones(100), lr=torch.tensor([0.1, 0.2, 0.4]))  # at the steps 0, 49 and 99
    rates = rates_at(run, torch.tensor([10, 49, 50, 99, 200]))
    assert rates is not None
    torch.testing.assert_close(rates, torch.tensor([0.1, 0.2, 0.2, 0.4, 0.4]))
    assert rate_rises(run, 50, 10, 10) == pytest.approx(2)
    assert rate_rises(made(torch.ones(10)), 5, 1, 1) == 1


def falling(count: int = 1000, noisy: float = 0.05) -> Tensor:
    at = torch.arange(count, dtype=torch.float64) / count
    return (0.5 + 2 * torch.exp(-15 * at)) * torch.exp(noisy * wandering(count, 0.3, 3))


def test_four_points_in_a_row_are_an_excursion_and_three_are_none() -> None:
    for row, expected in ((3, []), (4, [(600, 604)]), (30, [(600, 630)])):
        values = falling()
        values[600 : 600 + row] += 1.5
        curve = curve_of(made(values))
        assert curve is not None
        assert [(one.start, one.stop) for one in excursions(curve)] == expected


def test_an_excursion_says_from_where_how_high_and_by_how_many_deviations() -> None:
    values = falling()
    values[600:610] = 2.5
    curve = curve_of(made(values))
    assert curve is not None
    one = excursions(curve)[0]
    assert one.before == pytest.approx(0.5, rel=0.05)
    assert one.peak == 2.5
    assert one.height == pytest.approx(2.0, rel=0.05)
    assert one.sigmas > 8


def test_points_of_an_excursion_are_not_in_the_level_that_the_next_is_held_against() -> None:
    values = falling()
    for start in (500, 530, 560):
        values[start : start + 10] += 1.5
    curve = curve_of(made(values))
    assert curve is not None
    found = excursions(curve)
    assert [one.start for one in found] == [500, 530, 560]
    assert all(one.before == pytest.approx(0.5, rel=0.05) for one in found)


def test_a_curve_that_does_not_come_back_has_one_excursion_without_an_end() -> None:
    values = falling()
    values[500:] += 1
    curve = curve_of(made(values))
    assert curve is not None
    assert [(one.start, one.stop, one.over) for one in excursions(curve)] == [(500, None, True)]


def test_means_over_ten_steps_need_two_points_in_a_row() -> None:
    values = falling()
    values[600:602] += 1.5
    assert [len(excursions(curve)) for every in (1, 10) if (curve := curve_of(made(values, every)))] == [0, 1]


def test_heavy_tails_make_their_own_scale() -> None:
    draw = torch.Generator().manual_seed(0)
    shares = torch.randn(3, 20_000, generator=draw, dtype=torch.float64).square().mean(dim=0).sqrt()
    tails = torch.randn(20_000, generator=draw, dtype=torch.float64) / shares  # t with 3 degrees of freedom
    curve = curve_of(made(2 + 0.1 * tails))
    assert curve is not None
    assert excursions(curve) == ()


def test_growth_is_seen_before_the_first_value_that_is_no_number_only() -> None:
    steady = torch.full((50,), 2.0, dtype=torch.float64)
    exploding = torch.cat((steady, 2 * torch.exp(torch.arange(10.0)).double(), torch.tensor([NAN])))
    assert growth_before_end(exploding) == (2.0, pytest.approx(2 * math.exp(9)))
    assert growth_before_end(torch.cat((steady, torch.tensor([NAN])))) is None
    assert growth_before_end(exploding[:-1]) is None
    assert growth_before_end(torch.tensor([2.5, 45.0, 3e5, INF])) == (2.5, 3e5)


def test_a_curve_is_above_its_start_where_nine_of_ten_points_are() -> None:
    high = torch.cat((torch.tensor([2.3] * 5), torch.full((50,), 5.0))).double()
    for values, expected in (
        (high, (2.3, 5.0)),
        (torch.full((50,), 2.3), None),
        (torch.where(torch.arange(55) % 5 == 0, 2.3, 5.0), None),
    ):
        curve = curve_of(made(values.double()))
        assert curve is not None
        found = above_its_start(curve)
        assert found == (None if expected is None else pytest.approx(expected))


def test_what_happened_around_a_step_is_known() -> None:
    run = made(torch.ones(500, dtype=torch.float64), lr=torch.cat((torch.ones(250), torch.full((250,), 3.0))))
    curve = curve_of(run)
    assert curve is not None
    assert around(run, curve, 255).rate == pytest.approx(3)
    assert around(run, curve, 100).rate == 1
    told = Run(run.name, run.series, Reading("jsonl", restarts=(100,)), events=((300, "stage 2"),))
    assert around(told, curve, 303).event == "stage 2"
    assert [around(told, curve, at).resumed for at in (104, 150)] == [True, False]


def test_a_clock_that_stood_still_is_a_resume() -> None:
    walls = torch.arange(500, dtype=torch.float64)
    walls[250:] += 3600
    losses = Series("loss", "train_loss", torch.arange(500), torch.ones(500, dtype=torch.float64), walls=walls)
    run = Run("a run", (losses,), Reading("tensorboard"))
    curve = curve_of(run)
    assert curve is not None
    assert [around(run, curve, at).resumed for at in (100, 252)] == [False, True]


def test_the_gradient_norm_near_a_step_is_held_against_the_usual_one() -> None:
    norms = torch.full((500,), 2.0)
    norms[300] = 14.0
    assert grad_norm_around(made(torch.ones(500), norm=norms), 300, 5) == pytest.approx(7)
    assert grad_norm_around(made(torch.ones(500)), 300, 5) is None


def test_an_evaluation_stands_beside_the_training_loss_before_it() -> None:
    found = evaluations(made(torch.arange(1000.0), evals=torch.tensor([3.0, 2.0, NAN, 1.0, 1.0])))
    assert found is not None
    assert found.values.tolist() == [3.0, 2.0, 1.0, 1.0]
    assert found.train.tolist()[1:] == [229.5, 729.5, 979.5]  # medians of the 40 points up to steps 249, 749 and 999
    assert evaluations(made(torch.ones(100), evals=torch.ones(2))) is None


def test_evaluations_counted_in_epochs_are_laid_along_the_run() -> None:
    losses = Series("loss", "train_loss", torch.arange(1000), torch.arange(1000.0))
    evals = Series("val", "eval_loss", torch.arange(4), torch.ones(4))
    found = evaluations(Run("a run", (losses, evals), Reading("csv")))
    assert found is not None
    assert found.train.tolist() == [229.5, 479.5, 729.5, 979.5]
