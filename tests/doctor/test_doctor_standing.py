"""A run that stands at a named level is told so once, by the most specific name; a healthy one is not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from doctor_helpers_levels import a_run, codes, curve, entropy, noisy, told
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.calls import Level
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.evidence.run import Reading
from losskit.doctor.examine import examine
from losskit.doctor.finding import Finding


def test_shuffled_labels_leave_a_real_run_at_chance_and_true_ones_do_not() -> None:
    def losses(shuffle: bool) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        truth, out = torch.randn(20, 10), []
        for _ in range(200):
            x = torch.randn(64, 20)
            y = (x @ truth).argmax(1)
            y = y[torch.randperm(64)] if shuffle else y
            loss = F.cross_entropy(model(x) * 0.3, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            out.append(loss.item())
        return torch.tensor(out)

    (found,) = told(a_run(losses(shuffle=True), facts={"num_classes": 10}))
    assert (found.code, found.hit.level) == ("D403", "ln 10 = 2.3026: chance among 10 classes")
    assert found.severity != "info"  # an error, or a warning where unequal classes have been learned a little
    assert found.hit.numbers["level"] == pytest.approx(math.log(10))
    assert abs(found.hit.numbers["median"] - math.log(10)) < 0.02 * math.log(10)
    assert not told(a_run(losses(shuffle=False), facts={"num_classes": 10}))


@pytest.mark.claim("R31")
@pytest.mark.parametrize(
    ("facts", "at", "code"),
    [
        ({"num_classes": 10}, math.log(10), "D403"),
        ({"num_classes": 10}, math.log(math.e + 9) - 1, "D403"),
        ({"num_classes": 2, "prior": [0.9, 0.1]}, entropy(0.1), "D606"),
        ({"loss": "info_nce_loss", "batch_size": 256}, math.log(256), "D702"),
        ({"loss": "triplet_margin_loss", "margin": 0.5}, 0.5, "D703"),
        ({"vocab_size": 50257}, math.log(50257), "D804"),
        ({"loss": "mse_loss", "variance": 2.5}, 2.5, "D403"),
        ({"num_classes": 10, "label_smoothing": 0.1}, 0.5002880350577577, "D404"),
    ],
)
def test_a_run_at_a_level_gets_one_finding_the_most_specific(facts: dict[str, Any], at: float, code: str) -> None:
    fall = torch.linspace(1.5, 1, 100) if code != "D404" else torch.linspace(4, 1, 100)
    (found,) = told(a_run(torch.cat([at * fall, noisy(at, noise=0.005 * at)]), facts=facts))
    assert found.code == code
    assert found.hit.numbers["level"] == pytest.approx(at)
    assert found.hit.step is not None
    assert 80 <= found.hit.step <= 140  # where the fall ends
    assert not told(a_run(torch.cat([at * fall, noisy(0.9 * at, noise=0.005 * at)]), facts=facts))  # 10 % below


@pytest.mark.parametrize("classes", [10, 100, 2])
def test_a_plateau_that_healthy_runs_stop_at_too_is_only_worth_knowing(classes: int) -> None:
    at = math.log(math.e + classes - 1) - 1
    (found,) = told(a_run(torch.cat([torch.linspace(math.log(classes), at, 100), noisy(at, noise=0.005)]), facts={"C": classes}))
    assert (found.code, found.severity, found.hit.numbers["level"]) == ("D403", "info", pytest.approx(at))
    assert found.hit.said.endswith("this may be so, or a healthy loss ends here by chance, which a log alone does not tell")


@pytest.mark.parametrize("floor", [1.44, 1.46, 1.475, 1.49, 1.505, 1.52])
@pytest.mark.parametrize("pace", [3.0, 8.0, 20.0])
def test_a_healthy_loss_that_happens_to_end_near_the_plateau_of_a_softmax_twice_is_no_alarm(floor: float, pace: float) -> None:
    values = floor + (2.3 - floor) * torch.exp(-pace * torch.arange(800) / 800) + noisy(0, 800, noise=0.01)
    assert {one.severity for one in told(a_run(values, facts={"C": 10}))} <= {"info"}


def test_the_plateau_of_a_mistake_that_was_seen_in_a_live_run_is_an_alarm() -> None:
    seen = Level("ln(e + 9) - 1: a softmax twice", math.log(math.e + 9) - 1, "plateau", "D101")
    run = a_run(torch.cat([torch.linspace(2.3, seen.value, 100), noisy(seen.value, noise=0.005)]), levels=(seen,))
    (live,) = told(replace(run, reading=Reading("live")), "during")
    (read,) = told(run)
    assert (live.severity, read.severity) == ("warning", "info")
    assert "by chance" not in live.hit.said


def test_facts_add_to_what_the_calls_of_a_live_run_show() -> None:
    chance = Level("ln 2 = 0.6931: a coin toss for every answer", math.log(2), "chance")
    run = a_run(noisy(entropy(0.1), noise=0.005), levels=(chance,), facts={"loss": "bce", "prior": 0.1})
    assert codes(told(run, "during")) == ["D606"]
    assert not told(replace(run, facts={}), "during")


def test_a_perplexity_of_the_vocabulary_is_chance_too() -> None:
    (found,) = told(a_run(noisy(math.log(1000), noise=0.01).exp(), kind="perplexity", facts={"vocab_size": 1000}))
    assert found.code == "D804"
    assert found.hit.numbers["level"] == pytest.approx(math.log(1000))


@pytest.mark.parametrize(
    ("values", "facts", "settings"),
    [
        (noisy(math.log(2)), {"loss": "bce"}, {"objective": "adversarial"}),
        (torch.linspace(2.33, 2.20, 4000) + noisy(0, 4000), {"num_classes": 10}, {}),  # learns slowly
        (torch.cat([torch.linspace(2.3, 0.8, 200), noisy(math.log(math.e + 9) - 1)]), {"num_classes": 10}, {}),  # was below
        (noisy(2.3, 30), {"num_classes": 10}, {}),  # too few
        (noisy(2.3, noise=0.9), {"num_classes": 10}, {}),  # noise hides where it is
        (noisy(0.2, noise=0.002), {"loss": "triplet_margin_loss", "margin": 0.2}, {"objective": "mining"}),
        (torch.cat([noisy(2.3), torch.tensor([math.nan])]), {"num_classes": 10}, {}),  # ends in NaN, which others name
        (noisy(2.3), {}, {}),  # nothing is known
    ],
)
def test_what_may_rightly_stand_or_moves_is_not_called_stuck(values: Tensor, facts: dict[str, Any], settings: Any) -> None:
    assert not told(a_run(values, facts=facts), **settings)


def test_the_losses_of_two_networks_against_each_other_rest_at_ln_2() -> None:
    assert not told(a_run(noisy(math.log(2)), name="train/d_loss", facts={"loss": "bce"}))
    assert codes(told(a_run(noisy(math.log(2)), name="train/loss", facts={"loss": "bce"}))) == ["D403"]


def test_a_live_run_has_200_steps_before_it_is_told_and_1000_before_it_is_lost() -> None:
    def severity(steps: int) -> list[str]:
        return [f.severity for f in told(a_run(noisy(math.log(10), steps), facts={"C": 10}), "during")]

    assert [severity(n) for n in (150, 400, 2000)] == [[], ["warning"], ["error"]]


def test_a_live_run_in_wide_noise_is_told_once_its_median_is_known_within_2_percent() -> None:
    def said(steps: int, phase: str) -> list[str]:
        return codes(told(a_run(noisy(math.log(10), steps, noise=0.35), facts={"C": 10}), phase))

    # 3 standard errors of the median of the last quarter: 3 % of ln 10 at 1600 steps, below 2 % at 6000
    assert said(1600, "during") == []
    assert said(1600, "after") == said(6000, "during") == ["D403"]


def test_a_warm_up_is_no_standstill() -> None:
    values = noisy(math.log(10), 300)
    rates = curve(torch.linspace(0, 1e-4, 300), "lr")
    assert told(a_run(values, facts={"C": 10}))
    assert not told(a_run(values, rates, facts={"C": 10}))


def test_a_collapsed_triplet_run_is_an_error_even_where_losses_need_not_fall() -> None:
    run = a_run(noisy(0.2, noise=0.001), facts={"loss": "batch_triplet_loss", "margin": 0.2})
    looks = (Look(300, embeddings=(("input", 0.001, 0.999),)),)
    evidence = Evidence("during", Settings(objective="mining"), run=run, probes=Probes(looks))
    ((found,), _) = examine(evidence, codes=("D703",))
    assert found.severity == "error"
    assert "0.9990" in found.hit.said


@pytest.mark.claim("R31")
def test_one_class_for_everything_is_named_from_the_looks_unless_the_loss_shows_that_it_ranks() -> None:
    def found(loss: float, predicted: tuple[float, ...]) -> tuple[Finding, ...]:
        looks = tuple(Look(s, predicted=predicted, true=(0.9, 0.1)) for s in (200, 300, 400))
        evidence = Evidence("during", run=a_run(noisy(loss, noise=0.01)), probes=Probes(looks))
        return examine(evidence, codes=("D606",))[0]

    (hit,) = found(entropy(0.1), (1.0, 0.0))
    assert hit.hit.numbers["entropy of the classes"] == pytest.approx(entropy(0.1))
    assert hit.hit.numbers["share of the class"] == pytest.approx(0.9)
    assert not found(0.7 * entropy(0.1), (1.0, 0.0))  # rare rows get high scores below 1/2: that is healthy
    assert not found(entropy(0.1), (0.95, 0.05))
