"""choose(): arguments, questions, refusals, and what the user says against what the data look like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from choosing_made import bundled, clicks

import losskit
from losskit import Advice
from losskit.choosing import prove
from losskit.choosing.columns import Columns


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, 'expected "data", or a "task"'),
        ({"task": "regresion"}, "did you mean regression"),
        ({"data": "binary"}, 'choose\\(task="binary"\\)'),
        ({"task": "binary", "prove": True}, "trains on data"),
        ({"data": {"a": [1, 2], "b": [3, 4]}, "task": "regression"}, '"target" is missing: name one of a, b'),
        ({"data": ["a", "b", "c"] * 9, "task": "binary"}, "expected two classes, got 3"),
        ({"data": ["a", "b", "c"] * 9, "task": "regression"}, "words are classes"),
        ({"data": [["a"], ["a", "b"]] * 9, "task": "multiclass"}, "several are multilabel"),
    ],
)
def test_a_wrong_call_says_what_was_expected(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        losskit.choose(**arguments)


def test_the_users_task_counts_more_than_the_look_of_the_data() -> None:
    ratings = [1, 2, 3, 4, 5] * 20
    losses = {task: losskit.choose(ratings, task=task).first for task in ("multiclass", "regression", "count")}
    assert [c.loss for c in losses.values() if c] == ["cross_entropy", "mse_loss", "poisson_deviance_loss"]


def test_whole_numbers_from_1_to_5_are_a_question_that_a_task_answers() -> None:
    ratings = [1, 2, 3, 4, 5] * 20
    (question,) = losskit.choose(ratings).questions
    assert "classes, steps of one scale, or counts" in question.asks
    assert [(one.says[:5], one.given, one.taken) for one in question.answers] == [
        ("class", {"task": "multiclass"}, True), ("steps", {"task": "regression"}, False), ("count", {"task": "count"}, False)
    ]  # fmt: skip
    for task in ("multiclass", "regression"):
        assert not losskit.choose(ratings, task=task).questions


@pytest.mark.parametrize("odd", ["?", "12,5", "1.234,50", "$ 30", "n.a."])
def test_numbers_that_are_written_in_another_way_are_named(odd: str) -> None:
    advice = losskit.choose([f"{i}.5" for i in range(40)] + [odd])
    assert advice.first is None
    assert repr(odd) in advice.refusal
    assert str(advice).startswith('"target" cannot be read as numbers\n')
    told = losskit.choose([f"{i}.5" for i in range(40)] + [odd], task="regression")
    assert told.refusal == advice.refusal
    assert str(told).startswith('regression: "target" cannot be read as numbers\n')
    assert losskit.choose(["007", "012", "113"] * 10).task == "multiclass"


def test_vectors_of_length_one_ask_for_search_or_classes() -> None:
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(60, 8), dim=1)
    asked = losskit.choose(["a", "b", "c"] * 20, inputs=unit).questions
    assert any(one.given == {"task": "embedding"} for q in asked for one in q.answers)
    assert not losskit.choose(["a", "b", "c"] * 20, inputs=2 * unit).questions
    (question,) = losskit.choose(torch.randn(60, 32)).questions
    assert "embeddings" in [one.says for one in question.answers]


def test_clicks_of_a_named_query_are_compared_and_a_patient_or_no_group_is_a_question() -> None:
    made = clicks()
    (judged,) = losskit.choose(**made).questions
    assert judged.asks.startswith("What is judged in the end")
    renamed = {("patient" if name == "query" else name): column for name, column in made["data"].items()}
    assert any("compared within a list" in q.asks for q in losskit.choose(renamed, target="relevance", group="patient").questions)
    del made["group"]
    asked = losskit.choose(**made)
    assert asked.task == "binary"
    assert any('"query" looks like the list' in q.asks for q in asked.questions)


def test_steps_in_words_are_a_question() -> None:
    (question,) = losskit.choose(["low", "high", "medium"] * 20).questions
    assert "low < medium < high" in question.asks


def test_amounts_ask_for_mean_median_or_bound() -> None:
    torch.manual_seed(0)
    (question,) = losskit.choose(torch.randn(2000).exp()).questions
    (bound,) = [one for one in question.answers if one.says == "a bound"]
    assert "quantile_loss" in bound.leads
    assert bound.given == {"want": "quantile=0.9"}


def test_running_text_beside_other_columns_may_be_learned_itself() -> None:
    texts = [f"A text of some length that says something of number {i}" for i in range(40)]
    table = {
        "title": [f"On the number {i} and its friends, a title" for i in range(40)],
        "text": texts,
        "domain": ["a", "b"] * 20,
    }
    (question,) = losskit.choose(table).questions
    assert [answer.given for answer in question.answers] == [{"target": "domain"}, {"task": "language"}]
    assert 'the next token of "text"' in question.answers[1].says, "the longer of two"
    assert any("'text'" in fact.says for fact in losskit.choose(table, task="language").facts)
    (question,) = losskit.choose({"name": [f"Ann {i}" for i in range(40)], "domain": ["a", "b"] * 20}).questions
    assert [answer.given for answer in question.answers] == [{"target": "domain"}], "names are no running text"


def test_imbalance_asks_what_is_judged() -> None:
    (question,) = losskit.choose([0] * 2000 + [1] * 50).questions
    (recall,) = [one for one in question.answers if one.says == "recall, balanced error"]
    assert "pos_weight=40" in recall.leads
    assert recall.given == {"want": "balanced"}


def test_a_group_in_which_nothing_differs_is_left_aside() -> None:
    table = {"patient": [i // 4 for i in range(80)], "ill": [i // 4 % 2 for i in range(80)], "x": torch.randn(80)}
    advice = losskit.choose(table, target="ill", group="patient")
    assert advice.task == "binary"
    assert any("groups are left aside" in w for w in advice.warnings)


def test_a_leak_and_an_id_among_the_inputs_are_warned_of() -> None:
    table = bundled("diabetes")
    table |= {"copy": 2 * table["target"] + 1, "row": range(len(table["target"]))}
    warnings = losskit.choose(table, target="target").warnings
    assert any('"copy" is the target itself' in w for w in warnings)
    assert any('"row" counts the rows' in w for w in warnings)


def test_a_large_offset_and_a_large_unit_are_warned_of() -> None:
    torch.manual_seed(0)
    far = losskit.choose(1e6 + torch.randn(100, dtype=torch.float64))
    assert any("float32 would round differences away" in w for w in far.warnings)
    wide = losskit.choose(1e4 * torch.randn(100))
    assert any("standardises the target" in w for w in wide.warnings)
    assert not losskit.choose(torch.randn(100)).warnings


def test_every_question_has_answers_and_every_text_ends_in_a_sentence() -> None:
    for data in ([1, 2, 3] * 9, [0.5, 0.0, 1.0, 0.2] * 9, torch.randperm(50), ["2020-01-01", "2020-02-01"] * 5):
        advice = losskit.choose(data)
        assert advice.questions
        assert all(q.asks.endswith("?") and len(q.answers) >= 2 for q in advice.questions)
        assert all(w.endswith(".") for w in advice.warnings)


def test_a_path_is_read_and_the_same_as_its_table(tmp_path: Path) -> None:
    table = bundled("wine")
    lines = [",".join(table), *(",".join(map(str, row)) for row in zip(*table.values(), strict=True))]
    (tmp_path / "wine.csv").write_text("\n".join(lines) + "\n")
    read = losskit.choose(tmp_path / "wine.csv", target="target")
    assert read == replace(losskit.choose(table, target="target"), source="wine.csv")


def test_the_answer_does_not_depend_on_the_order_of_rows_or_the_calls_before() -> None:
    torch.manual_seed(0)
    x, noise = torch.randn(30_000, 2), torch.distributions.StudentT(3.0).sample((30_000,))
    y = x.sum(1) + noise
    state = torch.get_rng_state()
    one, two = losskit.choose(y, inputs=x), losskit.choose(y, inputs=x)
    assert one == two
    assert torch.equal(state, torch.get_rng_state())
    order = torch.randperm(len(y))
    other = losskit.choose(y[order], inputs=x[order])
    assert one.first is not None
    assert other.first is not None
    assert other.first.loss == one.first.loss


def test_prove_is_asked_with_the_advice_and_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(advice: Advice, columns: Columns, *, seed: int, progress: Any) -> str:
        asked.extend([advice.task, columns.rows, seed, progress])
        return "proof"

    monkeypatch.setattr(prove, "prove", fake)
    advice = losskit.choose(bundled("iris"), target="target", prove=True, seed=3)
    assert advice.proof == "proof"
    assert asked == ["multiclass", 150, 3, None]
    assert losskit.choose([1.0] * 9, prove=True).proof is None


@pytest.mark.parametrize(
    "data",
    [
        [None] * 5, [float("nan"), 1.0], [1], ["a"], [[]], [[], []], [""], ["", "a"], [0.0, float("inf")], [True],
        [1e308, -1e308, 0.5] * 20, [5e-324, 0.0, 1e-320] * 20, [2**70, 1, 3], [[1.0, None], [2.0, 3.0]],
        {"y": []}, {"y": [1.5, 2.5, 3.5]}, torch.empty(0), torch.empty(3, 0), [0.1] * 50 + [0.2], ["\x00", "\ud800"] * 9,
    ],
    ids=repr,
)  # fmt: skip
def test_odd_data_are_answered_or_refused_in_words(data: Any) -> None:
    advice = losskit.choose(data)
    assert advice.first is not None or advice.refusal or advice.questions
