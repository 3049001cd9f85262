"""Where rules about a whole run must keep silent, or blame something else."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from doctor_curves_made import noisy, run_of, series
from torch import Tensor

import losskit
from losskit.doctor.during.teller import Teller
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.calls import Level, LossCall
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.evidence.replay import Replay
from losskit.doctor.evidence.run import Reading, Run
from losskit.doctor.examine import examine
from losskit.doctor.finding import Finding, Hit, rules

LIVE = Reading("live")


def said(evidence: Evidence, *codes: str) -> list[Finding]:
    findings, faults = examine(evidence, codes=codes or None)
    assert faults == ()
    return [*findings]


def grown() -> Tensor:
    """Twelve points of growth at the end of a calm run, and a NaN."""
    values = noisy(torch.full((300,), 0.5, dtype=torch.float64), 0.04)
    values[-12:] = torch.linspace(1, 8, 12)
    return torch.cat([values, torch.tensor([math.nan])])


def bad_step(kind: str, **known: Any) -> Evidence:
    replay = Replay(300, kind, name="x", value=math.inf, index=(3, 1), sample=3, bad=1, numel=320, **known)
    return Evidence("during", run=run_of(grown(), reading=LIVE), replay=replay, probes=Probes(first_bad=(300, "loss"), steps=301))


@pytest.mark.parametrize(
    ("kind", "known", "code"),
    [
        ("input", {}, "D301"),
        ("target", {}, "D301"),
        ("loss", {"op": "log", "largest_before": 1.0, "lowest_before": 0.0}, "D303"),
        ("backward", {"op": "sqrt"}, "D304"),
        ("forward", {"op": "mm", "largest_before": 1e30}, "D501"),
        ("forward", {"op": "mm", "dtype": "float16", "finite_in": ("float32",), "largest_before": 5e4}, "D501"),
        ("weight", {}, "D501"),
    ],
)
def test_a_nan_that_was_traced_to_data_or_one_operation_is_not_blamed_on_the_learning_rate(
    kind: str, known: dict[str, Any], code: str
) -> None:
    findings = said(bad_step(kind, **known))
    assert findings[0].code == code
    if code != "D501":
        assert "learning rate" not in findings[0].fix
        assert not any(c.code == code for one in findings for c in one.consequences)


@pytest.mark.parametrize(("bad", "expected"), [(range(30, 98), ["D301"]), (range(0, 100, 10), [])])
def test_nan_beside_evaluations_is_excused_only_in_a_table_that_has_rows_without_them(bad: Any, expected: list[str]) -> None:
    train = torch.linspace(2.3, 1.3, 100, dtype=torch.float64)
    train[list(bad)] = math.nan
    steps = torch.arange(100) if expected else torch.arange(0, 100, 10)
    evals = torch.linspace(2.4, 1.4, len(steps))
    run = run_of(train, series("val_loss", "eval_loss", evals, steps))
    assert [one.code for one in said(Evidence("after", run=run), "D301")] == expected


@pytest.mark.parametrize("decays", [False, True])
def test_a_small_learning_rate_is_blamed_in_a_log_unless_it_is_decaying(decays: bool) -> None:
    at = torch.arange(400, dtype=torch.float64) / 400
    loss = 2.30 - 0.05 * at + 0.001 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    rate = 1e-6 * (torch.linspace(1, 0.001, 400) if decays else torch.ones(400))
    run = run_of(loss, series("lr", "lr", rate), levels=(Level("ln 10", math.log(10), "chance"),))
    assert [one.code for one in said(Evidence("after", run=run), "D504")] == ([] if decays else ["D504"])


@pytest.mark.parametrize(("facts", "sick"), [({}, True), ({"accumulate": 16}, False), ({"world_size": 16}, False)])
def test_the_noise_of_a_batch_is_that_of_all_its_parts(facts: dict[str, Any], sick: bool) -> None:
    looks = tuple(Look(step, noise_scale=100.0, batch_size=8) for step in range(20))
    run = Run("r", (), LIVE, facts=facts)
    found = said(Evidence("during", Settings(), run=run, probes=Probes(looks=looks)), "D508")
    assert [one.hit.numbers["batch size"] for one in found] == ([8] if sick else [])


def told(*hits: tuple[str, Hit]) -> list[int]:
    """How often each hit was news."""
    teller = Teller(())
    return [len(teller.tell([Finding(rules()[code], hit)])) for code, hit in hits]


def spikes(count: int) -> tuple[str, Hit]:
    return "D502", Hit(f"{count} spikes", {"spikes": float(count)}, step=400)


def jump(step: int) -> tuple[str, Hit]:
    return "D507", Hit("a jump", {"before": 1.0}, step=step)


def rise(step: int, low: int) -> tuple[str, Hit]:
    return "D501", Hit("a rise", {"low_step": float(low)}, step=step)


def test_another_event_is_told_and_a_revision_of_the_same_is_not() -> None:
    assert told(spikes(1), spikes(1), spikes(2), spikes(3), spikes(4)) == [1, 0, 1, 0, 1]
    assert told(jump(400), jump(410), jump(2000)) == [1, 0, 1]
    assert told(rise(500, 400), rise(900, 400), rise(5000, 3000)) == [1, 0, 1]


def test_a_second_spike_of_a_live_run_is_heard() -> None:
    heard: list[str] = []
    teller = Teller((lambda one: heard.append(one.hit.said),))
    loss = noisy(torch.full((3000,), 1.0, dtype=torch.float64), 0.02)
    for start in (1000, 2000):
        loss[start : start + 8] += 3.0
    for end in (1100, 1500, 2100, 3000):
        teller.tell(said(Evidence("during", run=run_of(loss[:end], reading=LIVE)), "D502"))
    assert len(heard) == 2
    assert "2 spikes" in heard[1]


@pytest.mark.parametrize(("rho", "shift", "sick"), [(0.98, 0.0, False), (0.5, -0.3, True)])
def test_noise_that_wanders_below_a_known_floor_comes_back(rho: float, shift: float, sick: bool) -> None:
    found = set()
    for seed in range(6):
        loss = noisy(torch.full((20_000,), 3.1 + shift, dtype=torch.float64), 0.02, rho, seed)
        found.add(tuple(one.code for one in said(Evidence("after", run=run_of(loss, facts={"floor": 3.1})), "D402")))
    assert found == ({("D402",)} if sick else {()})


@pytest.mark.parametrize(("name", "twins"), [("siglip_loss", 4), ("clip_loss", 4)])
def test_the_floor_that_doubles_make_is_the_lowest_loss_that_can_be_reached(name: str, twins: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.eye(8).repeat_interleave(twins, 0)
    order = torch.randperm(len(rows), generator=generator)
    query = key = rows[order]
    call = LossCall(name, "losskit", {"query": query, "key": key}, {}, torch.tensor(0.0), where="model.py:1")
    (one,) = said(Evidence("before", calls=(call,)), "D704")
    scale, bias = torch.tensor(200.0), torch.tensor(-200.0 - math.log(twins - 1))  # of twins the score is -ln(k - 1)
    options = {"logit_scale": scale, "logit_bias": bias} if name == "siglip_loss" else {"logit_scale": scale}
    reached = getattr(losskit, name)(query, key, **options)
    assert one.hit.numbers["floor"] == pytest.approx(float(reached), rel=1e-4)
    assert f"{float(reached):.3f}" in one.hit.said
    assert float(reached) >= math.log(twins) - 1e-5


@pytest.mark.parametrize(
    ("steps", "loss", "severity"), [(400, 0.325, "warning"), (2000, 0.325, "error"), (2000, 0.313, "warning")]
)
def test_one_class_for_everything_is_an_error_where_it_lasts(steps: int, loss: float, severity: str) -> None:
    every = steps // 20
    looks = tuple(Look(step, predicted=(1.0, 0.0), true=(0.9, 0.1)) for step in range(200, 200 + steps, every))
    run = run_of(torch.full((200 + steps,), loss, dtype=torch.float64), reading=LIVE)
    found = [
        one for one in said(Evidence("during", run=run, probes=Probes(looks=looks)), "D606") if one.hit.numbers.get("class") == 0
    ]
    assert [one.severity for one in found] == [severity]


def test_a_masked_row_says_how_many_values_were_counted() -> None:
    replay = Replay(3, "forward", op="softmax", where="model.py:4", bad=64, numel=128, masked_row=True)
    (one,) = said(Evidence("during", replay=replay), "D308")
    assert one.hit.numbers == {"bad": 64}
    assert F.softmax(torch.full((1, 64), -math.inf), -1).isnan().sum() == 64


def test_the_longest_curve_of_a_short_log_is_the_one_that_is_named() -> None:
    run = run_of([1.0, 2.0, 3.0], series("val/loss", "eval_loss", torch.ones(15)), reading=Reading("jsonl"))
    (one,) = said(Evidence("after", run=run), "D903")
    assert "val/loss, has 15 points" in one.hit.said
