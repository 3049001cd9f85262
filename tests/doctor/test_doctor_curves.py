"""The rules of the training loss: each names its fault where it is, with its numbers, and is silent beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from doctor_curves_made import CODES, NAN, Batch, Trained, alarms, found, learning, noisy, regression, run_of, series, the
from torch import nn

from losskit.doctor.evidence import Evidence
from losskit.doctor.evidence.calls import Level
from losskit.doctor.evidence.run import Reading
from losskit.doctor.examine import examine

# D501


def test_a_learning_rate_beyond_what_is_stable_is_a_divergence() -> None:
    trained = regression(0.9).steps(120)
    hit = the("D501", run_of(trained.losses)).hit
    assert hit.numbers["now"] > 2 * trained.losses[0]


def test_a_learning_rate_that_is_stable_is_silent() -> None:
    assert alarms(run_of(regression(0.1).steps(400).losses)) == []


def test_a_divergence_that_ends_in_nan_names_the_growth_before_it() -> None:
    torch.manual_seed(0)
    trained = regression(40.0).steps(60)
    values = torch.tensor(trained.losses, dtype=torch.float64)
    assert not bool(torch.isfinite(values).all())
    last = float(values[torch.isfinite(values)][-1])
    one = the("D501", run_of(values))
    assert (one.severity, one.hit.numbers["last"]) == ("error", last)


def test_a_nan_out_of_nothing_is_no_divergence() -> None:
    values = noisy(learning())
    values[700:] = NAN
    assert alarms(run_of(values)) == []


@pytest.mark.parametrize("count", [400, 1000, 20_000])
@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_a_slow_climb_is_named_with_the_low_and_the_step_at_which_it_was_left(count: int, rho: float) -> None:
    at = torch.arange(count, dtype=torch.float64) / count
    hit = the("D501", run_of(noisy(learning(count) + 6 * (at - 0.6).clamp(min=0), 0.1, rho))).hit
    assert hit.numbers["low"] == pytest.approx(0.5, rel=0.2)
    assert hit.step is not None
    assert 0.5 * count <= hit.step <= 0.75 * count


def test_a_fast_explosion_is_a_divergence_whose_jump_is_a_consequence() -> None:
    at = torch.arange(1000, dtype=torch.float64) / 1000
    values = noisy(learning() + (at > 0.9) * torch.exp((60 * (at - 0.9)).clamp(max=8)))
    first = examine(Evidence("after", run=run_of(values)), codes=CODES)[0]
    assert [one.code for one in first] == ["D501"]
    assert {one.code for one in first[0].consequences} <= {"D502", "D507"}
    assert first[0].hit.step == pytest.approx(900, abs=10)


def test_all_that_was_learned_is_lost_at_once() -> None:
    values = learning()
    values[700:] = 2.4
    one = the("D501", run_of(noisy(values)))
    assert (one.severity, one.hit.numbers["now"]) == ("error", pytest.approx(2.4, rel=0.05))


def test_half_a_climb_is_a_warning() -> None:
    at = torch.arange(1000, dtype=torch.float64) / 1000
    one = the("D501", run_of(noisy(learning(end=1.5) + 2.5 * (at - 0.6).clamp(min=0), 0.02)))
    assert one.severity == "warning"


def test_restarts_of_the_learning_rate_and_adversarial_games_do_not_diverge() -> None:
    at = torch.arange(3000, dtype=torch.float64) / 3000
    rates = 0.5 + 0.5 * torch.cos(math.pi * ((5 * at) % 1))
    values = noisy(0.1 + 0.4 * rates + 2 * torch.exp(-30 * at), 0.1)
    for end in range(300, 3001, 90):
        assert alarms(run_of(values[:end], series("lr", "lr", rates[:end])), "during") == []
    climbing = noisy(learning() + 3 * (torch.arange(1000) / 1000 - 0.5).clamp(min=0))
    assert alarms(run_of(climbing), objective="adversarial") == []
    assert "D501" in alarms(run_of(climbing))


def test_a_loss_that_follows_a_cyclic_learning_rate_does_not_diverge() -> None:
    at = torch.arange(2900, dtype=torch.float64) / 3000
    rates = 1 - (2 * ((3 * at) % 1) - 1).abs()
    rates[:500] = 1
    values = noisy(0.1 + 0.8 * rates + 1.2 * torch.exp(-30 * at), 0.05)[:2500]
    assert "D501" not in alarms(run_of(values, series("lr", "lr", rates[:2500])))
    assert "D501" in alarms(run_of(values))


def test_what_an_event_explains_is_no_divergence() -> None:
    values = torch.cat((learning(600), 2 + learning(400)))
    assert alarms(run_of(noisy(values), events=((600, "harder data"),))) == []


# D502 and D507


def test_batches_ten_times_too_large_are_a_spike_with_its_step_and_its_gradients() -> None:
    trained = regression(0.005, bad=range(1200, 1206)).steps(2000)
    one = the("D502", run_of(trained.losses, series("norm", "grad_norm", trained.norms)))
    assert one.severity == "warning"
    assert one.hit.step == 1200
    assert one.hit.numbers["peak"] == pytest.approx(max(trained.losses[1200:1300]))
    assert one.hit.numbers["grad_norm_ratio"] > 8
    assert alarms(run_of(regression(0.005).steps(2000).losses)) == []


def test_three_points_that_stick_out_are_no_spike_and_four_are_one() -> None:
    for points, expected in ((3, []), (4, ["D502"])):
        values = noisy(learning())
        values[600 : 600 + points] += 2
        assert alarms(run_of(values)) == expected


def test_two_points_are_a_spike_where_each_is_a_mean_of_ten_steps() -> None:
    values = noisy(learning())
    values[600:602] += 2
    assert alarms(run_of(values)) == []
    assert the("D502", run_of(values, every=10)).hit.step == 6000


def test_single_spikes_are_counted_together_and_a_small_one_alone_is_only_worth_knowing() -> None:
    values = noisy(learning(2000), 0.005)
    values[800:806] += 0.25
    assert the("D502", run_of(values)).severity == "info"
    for start in (1200, 1500):
        values[start : start + 6] += 1
    one = the("D502", run_of(values))
    assert (one.severity, one.hit.numbers["spikes"], one.hit.step) == ("warning", 3, 800)


def test_a_spike_where_the_learning_rate_rises_or_the_user_expected_it_is_silent() -> None:
    values = noisy(learning(), 0.02)
    values[600:640] += 1
    rates = torch.ones(1000)
    rates[595:] = 3
    assert alarms(run_of(values)) == ["D502"]
    assert alarms(run_of(values, series("lr", "lr", rates))) == []
    assert alarms(run_of(values, events=((598, "new shard"),))) == []


def test_other_data_are_a_level_shift_and_not_a_spike() -> None:
    trained = regression(0.01, noise=lambda step: 0.3 if step < 1200 else 1.2).steps(2400)
    one = the("D507", run_of(trained.losses))
    assert one.hit.step == pytest.approx(1200, abs=10)
    assert one.hit.numbers["before"] == pytest.approx(0.3**2, rel=0.3)
    assert one.hit.numbers["now"] == pytest.approx(1.2**2, rel=0.3)


def test_a_shift_at_a_resume_says_so_and_one_that_heals_is_only_worth_knowing() -> None:
    values = learning(2000)
    values[1200:] += torch.exp(-torch.arange(800) / 150.0)
    shifted = run_of(noisy(values, 0.02))
    assert the("D507", shifted).severity == "info"
    resumed = the("D507", replace(shifted, reading=Reading("jsonl", restarts=(1200,))))
    assert resumed.severity == "warning"
    assert "resumed" in resumed.hit.said


def test_a_shift_downwards_is_no_fault() -> None:
    values = learning(end=1.0)
    values[600:] -= 0.5
    assert found(run_of(noisy(values))) == []


# D505


def classifier(trained_too: bool) -> list[float]:
    torch.manual_seed(0)
    weights = torch.randn(10, 16)

    def batch(step: int) -> Batch:
        x = torch.randn(64, 16)
        return x, (x @ weights.T).argmax(dim=1)

    model = nn.Linear(16, 10)
    trained = Trained(model, F.cross_entropy, 0.1, batch)
    if not trained_too:
        trained.optimizer = torch.optim.SGD(nn.Linear(16, 10).parameters(), lr=0.1)
    return trained.steps(600).losses


def test_an_optimizer_that_holds_another_model_improves_nothing() -> None:
    losses = classifier(trained_too=False)
    for phase in ("after", "during"):
        hit = the("D505", run_of(losses), phase).hit
        assert hit.numbers["now"] == pytest.approx(sum(losses) / len(losses), rel=0.02)
        assert abs(hit.numbers["shift"]) < 0.03
    assert alarms(run_of(classifier(trained_too=True))) == []


def test_a_live_run_is_given_time() -> None:
    losses = classifier(trained_too=False)
    assert alarms(run_of(losses[:300]), "during") == []
    assert alarms(run_of(losses[:300], facts={"max_steps": 600}), "during") == ["D505"]
    assert alarms(run_of(losses[:300])) == ["D505"]


def test_a_loss_that_need_not_fall_or_cannot_is_silent() -> None:
    losses = classifier(trained_too=False)
    level = sum(losses) / len(losses)
    assert alarms(run_of(losses), objective="mining") == []
    assert alarms(run_of(losses), objective="adversarial") == []
    assert alarms(run_of(losses, levels=(Level("the entropy of the labels", level, "floor"),))) == []


def test_a_model_that_started_trained_need_not_improve() -> None:
    losses = classifier(trained_too=False)
    assert alarms(run_of(losses), from_scratch=False) == []
    assert alarms(run_of(losses, levels=(Level("ln 50", math.log(50), "chance"),))) == []
    assert alarms(run_of(losses, levels=(Level("ln 10", math.log(10), "chance"),))) == ["D505"]


def test_a_plateau_at_the_entropy_after_a_fast_fall_is_an_improvement() -> None:
    at = torch.arange(2000, dtype=torch.float64) / 2000
    assert alarms(run_of(noisy(2.25 + 0.1 * torch.exp(-400 * at), 0.01))) == []


def test_noise_that_could_hide_an_improvement_is_no_proof_of_none() -> None:
    assert alarms(run_of(noisy(torch.ones(200, dtype=torch.float64), 0.8, 0.8))) == []


# D506


def test_a_model_that_remembers_each_example_falls_in_stairs() -> None:
    torch.manual_seed(0)
    labels = torch.randint(10, (100, 8))
    model = nn.Embedding(800, 10)  # one row for each example: what it learned of one helps no other
    nn.init.zeros_(model.weight)
    order = torch.arange(800).view(100, 8)
    losses = Trained(model, F.cross_entropy, 8.0, lambda step: (order[step % 100], labels[step % 100])).steps(400).losses
    run = run_of(losses, series("epoch", "epoch", torch.arange(400) / 100))
    one = the("D506", run)
    assert one.severity == "info"
    assert one.hit.step == 100
    assert one.hit.numbers["epochs"] == 4
    assert one.hit.numbers["drop"] > 3 * abs(one.hit.numbers["inside"])


def test_a_fall_within_epochs_is_no_staircase() -> None:
    assert found(run_of(noisy(learning()), series("epoch", "epoch", torch.arange(1000) / 250))) == []


def test_a_growth_that_began_before_the_window_is_told_from_its_begin() -> None:
    values = noisy(learning(), 0.01)
    values[680:700] *= 1.5 ** torch.arange(20)
    values[700:] = NAN
    one = the("D501", run_of(values))
    assert one.hit.numbers["before"] == pytest.approx(0.5, rel=0.02)
    assert one.hit.step == 681  # 1.5 times the level; at 680 it is still there
    assert one.hit.said.endswith("from step 681 on and is no number at step 700")
    tops = examine(Evidence("after", run=run_of(values)), codes=("D501", "D502"))[0]
    assert [top.code for top in tops] == ["D501"]


def test_a_climb_ends_where_the_curve_is_and_is_left_after_its_low() -> None:
    at = torch.arange(1000, dtype=torch.float64)
    values = noisy(learning() + 0.02 * (at - 500).clamp(min=0), 0.005)
    hit = the("D501", run_of(values)).hit
    assert hit.numbers["now"] == pytest.approx(float(values[-1]), rel=0.02)
    assert hit.step is not None
    assert hit.numbers["low_step"] <= hit.step
