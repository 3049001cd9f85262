"""choose(want=...): what is wanted of the predictions decides the first choice, and is not asked again."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from choosing_made import scope

import losskit
from losskit import CATALOGUE, Advice
from losskit.choosing.wants import WANTS
from wanted import WORDS

BCE = "binary_cross_entropy_with_logits"
OF_TASK = {
    ("binary", "probabilities"): BCE,
    ("binary", "order"): "auc_squared_hinge_loss",
    ("binary", "balanced"): "logit_adjusted_loss",
    ("multiclass", "probabilities"): "cross_entropy",
    ("multiclass", "balanced"): "logit_adjusted_loss",
    ("multilabel", "probabilities"): BCE,
    ("multilabel", "balanced"): BCE,
    ("regression", "mean"): "mse_loss",
    ("regression", "median"): "l1_loss",
    ("regression", "quantile=0.9"): "quantile_loss",
    ("regression", "robust"): "huber_loss",
    ("count", "mean"): "poisson_deviance_loss",
    ("count", "median"): "l1_loss",
    ("count", "quantile=0.9"): "quantile_loss",
    ("ranking", "order"): "pairwise_logistic_loss",
    ("ranking", "differences"): "pairwise_mse_loss",
    ("ranking", "ndcg"): "pairwise_logistic_loss",
    ("ranking", "first"): "approx_mrr_loss",
}
# where the data have another first choice for the mean than squared error
OF_DATA = {("amounts", "mean"): "gamma_deviance_loss", ("zeros", "mean"): "tweedie_deviance_loss"}
ASKED = ("rare", "rare class", "rare labels", "heavy", "amounts", "below zero", "values", "clicks", "grades", "from one")


def normal(rows: int = 600) -> torch.Tensor:
    return torch.randn(rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def in_lists(values: list[float]) -> dict[str, Any]:
    return {
        "data": {"query": [i // 10 for i in range(600)], "y": values * 60},
        "target": "y",
        "group": "query",
        "task": "ranking",
    }


def data() -> dict[str, dict[str, Any]]:
    labels = (torch.rand(600, 4, generator=torch.Generator().manual_seed(0)) < 0.05).long()
    continuous = {"query": [i // 10 for i in range(600)], "y": normal().tolist()}
    return {
        "rare": {"data": [0] * 570 + [1] * 30, "task": "binary"},
        "even": {"data": [0, 1] * 300, "task": "binary"},
        "rare class": {"data": ["cat"] * 500 + ["dog"] * 80 + ["owl"] * 20, "task": "multiclass"},
        "rare labels": {"data": labels, "task": "multilabel"},
        "normal": {"data": normal(), "task": "regression"},
        "heavy": {"data": normal() / normal().flip(0), "task": "regression"},
        "slips": {"data": torch.where(torch.arange(600) < 5, 1e3, normal()), "task": "regression"},
        "amounts": {"data": normal().exp(), "task": "regression"},
        "zeros": {"data": normal().exp() * (torch.arange(600) % 3 > 1), "task": "regression"},
        "far": {"data": 1e6 + 1e3 * normal(), "task": "regression"},
        "several": {"data": torch.stack([normal(), normal().flip(0) / normal()], 1), "task": "regression"},
        "poisson": {"data": torch.poisson(torch.full((600,), 3.0), generator=torch.Generator().manual_seed(0)), "task": "count"},
        "clicks": in_lists([0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        "grades": in_lists([0, 0, 1, 0, 2, 0, 0, 3, 0, 1]),
        "from one": in_lists([1, 1, 2, 1, 3, 1, 1, 4, 1, 2]),
        "below zero": in_lists([-1, -1, 0, -1, 1, -1, -1, 0, 0, 1]),
        "values": {"data": continuous, "target": "y", "group": "query", "task": "ranking"},
    }


DATA = data()
PAIRS = [
    (kind, word)
    for kind, given in DATA.items()
    for task, word in WORDS
    if task == given["task"] and (kind, word) not in {("values", "ndcg"), ("values", "first")}
]


def all_of(advice: Advice) -> list[losskit.Candidate]:
    assert advice.first is not None
    return [advice.first, *advice.alternatives, *advice.avoid]


def test_every_word_is_tried() -> None:
    assert set(WORDS) == set(OF_TASK)
    assert {DATA[kind]["task"] for kind, _ in PAIRS} == set(WANTS)


@pytest.mark.parametrize(("task", "word"), WORDS)
def test_the_task_alone_and_a_want_have_a_first_choice(task: str, word: str) -> None:
    plain, advice = losskit.choose(task=task), losskit.choose(task=task, want=word)
    assert advice.first is not None
    assert plain.first is not None
    assert advice.first.loss == OF_TASK[task, word]
    assert advice.want == word
    former = (advice.first.loss, advice.first.options) == (plain.first.loss, plain.first.options)
    assert former or plain.first.loss in [one.loss for one in advice.alternatives]
    for one in all_of(advice):
        space = scope(task, one.code)
        exec(one.code, space)
        assert bool(space["loss"].isfinite()), one.code


@pytest.mark.parametrize(("kind", "word"), PAIRS)
def test_data_and_a_want_have_a_first_choice_and_no_question_of_it(kind: str, word: str) -> None:
    given = DATA[kind]
    plain, advice = losskit.choose(**given), losskit.choose(**given, want=word)
    assert advice.first is not None
    assert plain.first is not None
    assert advice.first.loss == OF_DATA.get((kind, word), OF_TASK[given["task"], word])
    assert not any("want" in answer.given for question in advice.questions for answer in question.answers)
    same = (advice.first.loss, advice.first.options) == (plain.first.loss, plain.first.options)
    assert same or plain.first.loss in [one.loss for one in advice.alternatives]
    assert advice.first not in advice.alternatives
    assert not {one.loss for one in advice.avoid} & {advice.first.loss, plain.first.loss} - {"mse_loss"}
    assert [fact.name for fact in advice.facts] == [fact.name for fact in plain.facts]


@pytest.mark.parametrize(("kind", "word"), PAIRS)
def test_the_code_of_what_is_wanted_runs_and_its_levels_are_in_order(kind: str, word: str) -> None:
    given = DATA[kind]
    for one in all_of(losskit.choose(**given, want=word)):
        space = scope(given["task"], one.code, 3, 4)
        if given["task"] == "regression" and kind == "several":
            space["prediction"], space["target"] = torch.zeros(12, 2, requires_grad=True), torch.arange(24.0).reshape(12, 2)
        exec(one.code, space)
        assert bool(space["loss"].isfinite()), one.code
        assert one.options.keys() <= CATALOGUE[one.loss].options.keys()
        assert all(f"{option}=" in one.code for option in one.options)
        known = [level for level in (one.best, one.constant, one.start) if level is not None]
        assert known == sorted(known) or known == pytest.approx(sorted(known))


@pytest.mark.parametrize("kind", DATA)
def test_each_answer_that_names_a_want_leads_to_the_loss_that_it_names(kind: str) -> None:
    given = DATA[kind]
    plain = losskit.choose(**given)
    assert bool(plain.questions) == (kind in ASKED)
    for question in plain.questions:
        for answer in question.answers:
            if not answer.given:  # what no word of the task asks for is what was done
                assert answer.taken
                assert plain.first is not None
                assert answer.leads == plain.first.loss
                continue
            advice = losskit.choose(**{**given, **answer.given})
            assert advice.first is not None
            assert plain.first is not None
            assert answer.leads.split(",")[0].split(" ")[0] == advice.first.loss
            assert question.asks not in [one.asks for one in advice.questions]
            same = (advice.first.loss, advice.first.options) == (plain.first.loss, plain.first.options)
            assert answer.taken == same


@pytest.mark.parametrize("kind", DATA)
def test_at_most_one_answer_is_taken_and_arguments_are_those_of_choose(kind: str) -> None:
    for question in losskit.choose(DATA[kind]["data"], target=DATA[kind].get("target"), group=DATA[kind].get("group")).questions:
        assert sum(answer.taken for answer in question.answers) <= 1
        for answer in question.answers:
            assert answer.given.keys() <= {"task", "group", "target", "inputs", "want", "num_classes"}
            assert "as here" not in answer.says + answer.leads


def test_a_balanced_score_of_zero_costs_the_entropy_of_the_prior() -> None:
    first = losskit.choose(**DATA["rare"], want="balanced").first
    assert first is not None
    entropy = -(0.95 * math.log(0.95) + 0.05 * math.log(0.05))
    assert first.start == pytest.approx(entropy)
    space = {"logits": torch.zeros(600), "target": torch.tensor(DATA["rare"]["data"], dtype=torch.float32)}
    exec(first.code, space)
    assert float(space["loss"]) == pytest.approx(entropy, rel=1e-5)


def test_labels_weighed_alike_start_where_it_is_said() -> None:
    first = losskit.choose(**DATA["rare labels"], want="balanced").first
    assert first is not None
    target = DATA["rare labels"]["data"].float()
    space = {"logits": torch.zeros(target.shape), "target": target}
    exec(first.code, space)
    assert float(space["loss"]) == pytest.approx(first.start, rel=1e-4)
    assert first.constant == pytest.approx(first.start, rel=1e-4)


def test_a_quantile_has_the_constant_of_its_own_quantile() -> None:
    first = losskit.choose(**DATA["normal"], want="quantile=0.9").first
    assert first is not None
    assert first.options == {"quantile": 0.9}
    short = normal() - normal().quantile(0.9)
    assert first.constant == pytest.approx(float((0.9 * short).maximum(-0.1 * short).mean()), rel=1e-3)


def test_a_quantile_of_far_targets_is_standardised_and_itself_is_not() -> None:
    first = losskit.choose(**DATA["far"], want="quantile=0.9").first
    assert first is not None
    assert "target = (target - centre) / spread" in first.code
    assert first.code.endswith("quantile=0.9)")


def test_a_quantile_beyond_the_rows_is_warned_of() -> None:
    first = losskit.choose(**DATA["normal"], want="quantile=0.999").first
    assert first is not None
    assert "Of 600 rows about 0.6 lie beyond" in first.warning


def test_a_median_of_mostly_zeros_is_warned_of() -> None:
    first = losskit.choose(**DATA["zeros"], want="median").first
    assert first is not None
    assert "400 of 600 targets are 0" in first.warning


def test_the_loss_of_a_mean_is_wrong_for_the_median_of_amounts_and_the_other_way_round() -> None:
    mean, median = (losskit.choose(**DATA["amounts"], want=word) for word in ("mean", "median"))
    (found,) = [one for one in mean.avoid if one.loss == "l1_loss"]
    assert f"the median, {float(normal().exp().quantile(0.5)):.4g}, and not the mean" in found.reason
    (found,) = [one for one in median.avoid if one.loss == "mse_loss"]
    assert f"the mean, {float(normal().exp().mean()):.4g}, and not the median" in found.reason


def test_a_low_quantile_of_many_zeros_is_warned_of() -> None:
    first = losskit.choose(**DATA["zeros"], want="quantile=0.3").first
    assert first is not None
    assert first.warning == "400 of 600 targets are 0: the quantile 0.3 of most rows is 0."
    first = losskit.choose(**DATA["zeros"], want="quantile=0.9").first
    assert first is not None
    assert not first.warning


@pytest.mark.parametrize("side", [1, -1])
def test_of_errors_that_lean_to_one_side_no_loss_of_the_median_stands_in_for_the_mean(side: int) -> None:
    leaning = {"data": side * (normal().exp() - 2), "task": "regression"}
    mean, median, robust = (losskit.choose(**leaning, want=word) for word in ("mean", "median", "robust"))
    assert [one.loss for one in mean.alternatives] == []
    assert [one.loss for one in mean.avoid] == ["l1_loss"]
    assert [one.loss for one in median.alternatives] == []
    assert "and not the median" in median.avoid[0].reason
    assert [one.loss for one in robust.alternatives] == ["l1_loss"]


def test_a_mean_under_heavy_tails_comes_with_their_warning() -> None:
    first = losskit.choose(**DATA["heavy"], want="mean").first
    assert first is not None
    assert first.warning.startswith("A mean follows its farthest values.")


def test_the_first_relevant_item_is_above_the_lowest_grade() -> None:
    shift = "relevance = relevance - relevance.min()"
    for kind, word, shifted in (("from one", "first", True), ("from one", "ndcg", False), ("grades", "first", False)):
        first = losskit.choose(**DATA[kind], want=word).first
        assert first is not None
        assert (shift in first.code) == shifted


def test_where_nothing_can_be_learned_a_want_changes_nothing() -> None:
    plain = losskit.choose([3.0] * 9)
    assert plain.refusal
    assert losskit.choose([3.0] * 9, want="median").refusal == plain.refusal


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("clicks", ["order", "ndcg", "first"]),
        ("grades", ["", "order", "ndcg", "first", "differences"]),
        ("below zero", ["order", "ndcg", "first", "differences"]),
        ("values", ["order", "differences"]),
    ],
)
def test_a_ranking_asks_for_what_its_values_can_answer(kind: str, words: list[str]) -> None:
    (question,) = losskit.choose(**DATA[kind]).questions
    assert [answer.given.get("want", "") for answer in question.answers] == words
    assert [answer.taken for answer in question.answers] == [True] + [False] * (len(words) - 1)


def test_json_has_the_answers_with_their_arguments() -> None:
    found = losskit.choose(**DATA["rare"]).json()["questions"][0]["answers"]
    assert found[1]["given"] == {"want": "order"}
    assert [one["taken"] for one in found] == [True, False, False]
    assert set(found[0]) == {field.name for field in dataclasses.fields(losskit.choosing.advice.Answer)}
