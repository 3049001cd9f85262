"""The story of six tasks: a first page, chapters whose numbers are facts, ties that are said, and claims with their figures."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import pytest
import torch
from rich.console import Console

import losskit
from losskit.demos import DEMOS, Ran, generator
from losskit.demos.chapter import Chapter, Contrast, apart, gain, levels, look, verdict
from losskit.demos.claims import CLAIMS, claims
from losskit.demos.language_model_told import means, per_row, per_token
from losskit.demos.report import render
from losskit.demos.story import asked, chapters, expected, heard, other_contrasts, overview, sides
from losskit.demos.terminal import show
from test_demos import NAMES, small, whole

TOLD = [name for name in NAMES if name != "sick-runs"]
TASKS = ["binary", "multiclass", "regression", "embedding", "language", "ranking"]


def ran(*names: str) -> list[Ran]:
    return [Ran(DEMOS[name], small(name), 1.0) for name in names or NAMES]


def chapter(name: str) -> Chapter:
    found = small(name).chapter
    assert found is not None
    return found


# numbers


def test_a_gain_is_paired_and_above_zero_where_the_right_way_is_better() -> None:
    right, wrong = torch.tensor([3.0, 5.0]), torch.tensor([1.0, 1.0])
    assert gain("k", right, wrong) == {"k_right": 4.0, "k_wrong": 1.0, "k_gain": 3.0, "k_spread": pytest.approx(math.sqrt(2))}
    less = gain("k", wrong, right, less=True)
    assert (less["k_gain"], less["k_spread"]) == (3.0, pytest.approx(math.sqrt(2)))
    assert gain("k", right[:1], wrong[:1])["k_spread"] == 0.0


@pytest.mark.parametrize(("change", "says"), [(0.3, "better"), (-0.3, "worse"), (0.1, "tie"), (-0.2, "tie")])
def test_a_difference_within_its_spread_is_a_tie(change: float, says: str) -> None:
    facts, contrast = apart("k", 0.5, 0.5 - change, change, 0.2), Contrast("k", "right way", "wrong way", "MRR", "seeds")
    assert verdict(facts, "k", ".2f") == says
    one = replace(small("outliers"), facts=facts)
    said = sides(one, contrast).says
    assert said.startswith(
        {"better": "right way: better by +0.30", "worse": "wrong way is better: -0.30", "tie": "A tie: "}[says]
    )
    assert said.endswith("± 0.20 (seeds).")


def test_the_levels_are_those_of_the_card_and_what_it_does_not_know_is_left_out() -> None:
    found = levels("k", "cross_entropy", 2.5, num_classes=10)
    assert found == {"k_start": pytest.approx(math.log(10)), "k_best": 0.0, "k_began": 2.5}


# chapters


def test_the_six_tasks_are_told_in_the_order_of_the_table() -> None:
    assert [one.task for _, one in chapters(ran())] == TASKS
    assert [row[0] for row in overview(ran()).rows] == TASKS


@pytest.mark.claim("R36")
@pytest.mark.parametrize("name", TOLD)
def test_every_chapter_has_a_wrong_way_and_all_its_numbers_are_facts(name: str) -> None:
    result, told = small(name), chapter(name)
    assert result.figures
    assert len(told.contrasts) >= 2
    for contrast in told.contrasts:
        assert contrast.right != contrast.wrong
        found = sides(result, contrast)
        facts = [result.facts[f"{contrast.key}_{part}"] for part in ("right", "wrong", "gain", "spread")]
        assert facts[3] >= 0
        assert found.right.startswith(format(facts[0], contrast.format))
        assert found.wrong.startswith(format(facts[1], contrast.format))
        assert max(found.bars) in (0.0, 1.0)
        # the gain is the distance of both sides, in the direction that is good
        assert abs(facts[2]) <= abs(facts[0] - facts[1]) + 1e-9
    assert told.looks
    assert told.looks[0].code == ""


@pytest.mark.parametrize("name", TOLD)
def test_the_number_to_expect_is_that_of_the_reference(name: str) -> None:
    said, told = expected(small(name), chapter(name)), chapter(name).expected
    facts = small(name).facts
    known = {"binary": math.log(2), "multiclass": math.log(10), "embedding": math.log(32), "ranking": math.log(2)}
    if chapter(name).task in known:
        assert facts[f"{told.key}_start"] == pytest.approx(known[chapter(name).task])
    if chapter(name).task == "language":
        assert facts[f"{told.key}_start"] == pytest.approx(math.log(facts["vocabulary"]))
        assert facts[f"{told.key}_began"] == pytest.approx(facts[f"{told.key}_start"], rel=0.05)
    assert f'losskit.reference("{told.loss}"' in said
    assert f"Measured: {facts[f'{told.key}_began']:.4g}" in said


@pytest.mark.claim("R32")
@pytest.mark.parametrize("name", ["why-cross-entropy"])
def test_the_doctor_names_squared_error_of_probabilities_where_a_model_is_sure_and_wrong(name: str) -> None:
    codes = {one.way: one.code for one in chapter(name).looks}
    (wrong,) = [code for way, code in codes.items() if way.startswith("squared error")]
    assert wrong == "D120"
    assert any("D120" in line for line in heard(small(name), chapter(name)))
    row = next(row for row in overview(ran()).rows if row[0] == chapter(name).task)
    assert row[-1] == "D120: squared error of probabilities"


def test_the_doctor_says_nothing_of_squared_error_where_the_start_is_undecided() -> None:
    codes = {one.way: one.code for one in chapter("rare-class").looks}
    assert [code for way, code in codes.items() if way.startswith("squared error")] == [""]


@pytest.mark.parametrize("name", TOLD)
def test_the_adviser_answers_each_task_and_the_targets_that_say_more(name: str) -> None:
    answers = asked(chapter(name))
    advice = losskit.choose(task=chapter(name).task)
    assert advice.first is not None
    assert answers[0].loss == advice.first.loss
    assert answers[0].command == f"losskit choose --task {chapter(name).task}"
    assert len(answers) == 1 + bool(chapter(name).told)


def test_the_adviser_sees_the_slipped_targets() -> None:
    alone, seen = asked(chapter("outliers"))
    assert alone.loss == "mse_loss"
    assert seen.loss in ("l1_loss", "huber_loss")


def test_a_look_at_a_loss_leaves_random_numbers_alone() -> None:
    def made() -> torch.nn.Module:
        return torch.nn.Linear(4, 3)

    state = torch.get_rng_state()
    batch = torch.randn(33, 4, generator=generator(0)), torch.arange(33) % 3
    found = look("way", made, batch, lambda z, y: losskit.cross_entropy(z.softmax(1), y))
    torch.testing.assert_close(torch.get_rng_state(), state)
    assert (found.way, found.code) == ("way", "D101")


# the language model's means


def test_one_mean_over_tokens_does_not_see_the_order_and_the_others_do() -> None:
    # 10 tokens at 0.1 and 100 at 3.0, one text a batch
    one = means([1.0, 300.0], [10, 100], batch=1, draws=2)
    assert one.tokens.tolist() == pytest.approx([math.exp(301 / 110)] * 2)
    assert one.batches.tolist() == pytest.approx([math.exp(1.55)] * 2)
    assert one.perplexities.tolist() == pytest.approx([(math.exp(0.1) + math.exp(3.0)) / 2] * 2)
    half = means([1.0, 300.0], [10, 100], batch=1, draws=4, share=0.5)
    assert {round(value, 6) for value in half.tokens.tolist()} == {round(math.exp(0.1), 6), round(math.exp(3.0), 6)}
    many = means([1.0, 30.0, 200.0, 5.0, 80.0], [10, 10, 100, 50, 20], batch=2, draws=6)
    assert len(set(many.tokens.tolist())) == 1
    assert len({round(value, 9) for value in many.batches.tolist()}) > 1
    assert (many.perplexities > many.batches).all()


def test_the_doctor_is_shown_the_two_means() -> None:
    scores = torch.randn(3, 5, 7, generator=generator(0))
    target = torch.tensor([[1, 2, 3, 4, 5], [1, 1, -100, -100, -100], [6, 6, 6, -100, -100]])
    each = -scores.log_softmax(-1).gather(-1, target.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    valid = target >= 0
    torch.testing.assert_close(per_token(scores, target), each[valid].mean())
    torch.testing.assert_close(
        per_row(scores, target), torch.stack([e[v].mean().exp() for e, v in zip(each, valid, strict=True)]).mean()
    )


# first page and last


def test_what_is_a_tie_or_the_other_way_round_is_said_on_the_first_page() -> None:
    facts = {**small("outliers").facts, "story_clean_gain": -9.0, "story_huber_gain": 0.0}
    one = Ran(DEMOS["outliers"], replace(small("outliers"), facts=facts), 1.0)
    said = other_contrasts([one])
    assert said[-2:] == [
        f"regression, Huber against squared error (one target in ten slipped): +0.0 ± {facts['story_huber_spread']:.1f}, a tie",
        f"regression, squared error against absolute error (no target slipped): -9.0 ± {facts['story_clean_spread']:.1f}, "
        "absolute error is better",
    ]
    assert said[-1] in render([one, *ran("rare-class")])
    slip = {**facts, "story_slip_gain": 0.0}
    tied = Ran(DEMOS["outliers"], replace(small("outliers"), facts=slip), 1.0)
    assert str(overview([tied]).rows[0][4]).endswith(", a tie")


def test_the_claims_are_of_demos_that_exist_and_each_has_its_figure() -> None:
    assert {claim.demo for claim in CLAIMS} == set(NAMES)
    table = claims(ran())
    assert [row[0] for row in table.rows] == [claim.says for claim in CLAIMS]
    for row in table.rows:
        assert re.search(r"\d", str(row[1])), row
        assert row[2] in ("yes", "a tie", "no")
    assert {row[3] for row in claims(ran("outliers")).rows} == {"outliers"}


def test_a_claim_can_fail() -> None:
    held = {claim.says: claim for claim in CLAIMS}
    facts = small("sick-runs").facts
    assert held["A sick run can be told"].holds(facts) == "yes"
    assert held["A sick run can be told"].holds({**facts, "named": facts["sick"] - 1}) == "no"
    slip = held["Absolute error is robust to outliers"]
    assert slip.holds(small("outliers").facts) == "yes"
    assert slip.holds({**small("outliers").facts, "story_slip_gain": -99.0}) == "no"
    assert slip.holds({**small("outliers").facts, "story_slip_gain": 0.1}) == "a tie"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_story_keeps_the_width_of_the_terminal_and_has_all_parts(width: int) -> None:
    out = io.StringIO()
    show(ran(), Console(file=out, width=width))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    places = [flat.index(f"{i}. {DEMOS[name].title[:20]}") for i, name in enumerate(TOLD, 1)]
    assert [0, *places] == sorted([0, *places])
    assert flat.startswith("Six tasks, right and wrong")
    assert flat.count("losskit.reference(") == len(TOLD)
    assert flat.index("The end: claims and figures") > places[-1]


def test_one_demo_alone_has_no_frame_and_all_its_tables() -> None:
    out = io.StringIO()
    show(ran("outliers"), Console(file=out, width=120))
    assert "Six tasks" not in out.getvalue()
    assert "The end" not in out.getvalue()
    assert "What this does not show" in out.getvalue()
    assert "Read on" in out.getvalue()
    assert "story-first" not in render(ran("outliers"))


@pytest.mark.claim("R29")
def test_squared_error_misses_the_rare_class_that_cross_entropy_finds() -> None:
    found = whole("rare-class").facts
    assert found["story_loss_gain"] > found["story_loss_spread"] > 0
    assert found["story_threshold_gain"] > found["story_threshold_spread"] > 0
    assert found["story_weight_gain"] > 0
