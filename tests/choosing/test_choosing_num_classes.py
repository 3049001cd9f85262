"""choose(num_classes=...): classes, labels or tokens that no data tell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import losskit
from losskit.choosing.prove import run


def test_a_task_and_a_number_of_classes_have_levels() -> None:
    advice = losskit.choose(task="multiclass", num_classes=10)
    assert advice.first is not None
    assert advice.first.start == pytest.approx(math.log(10))
    assert "logits (N, 10)" in advice.first.code
    assert advice.num_classes == 10
    noisy = next(one for one in advice.alternatives if one.loss == "generalized_cross_entropy")
    assert noisy.start == pytest.approx((1 - 0.1**0.7) / 0.7)


def test_a_task_and_a_number_of_labels_have_shapes() -> None:
    first = losskit.choose(task="multilabel", num_classes=7).first
    assert first is not None
    assert "(N, 7)" in first.code
    assert first.start == pytest.approx(math.log(2))


def test_a_task_and_a_vocabulary_have_levels() -> None:
    advice = losskit.choose(task="language", num_classes=50257)
    assert advice.first is not None
    assert advice.first.start == pytest.approx(math.log(50257))
    assert next(one for one in advice.alternatives if one.loss == "linear_cross_entropy").start == advice.first.start


def test_many_classes_of_a_task_are_told_of_the_fused_loss() -> None:
    assert losskit.choose(task="multiclass", num_classes=20_000).alternatives[0].loss == "linear_cross_entropy"


def test_text_asks_for_the_tokenizer_and_a_number_answers() -> None:
    texts = [f"this is the sentence with the number {i} of them all" for i in range(60)]
    plain = losskit.choose(texts)
    (question,) = plain.questions
    assert question.answers[0].given == {"num_classes": 50257}
    assert plain.first is not None
    assert plain.first.start is None
    told = losskit.choose(texts, num_classes=1000)
    assert not told.questions
    assert told.first is not None
    assert told.first.start == pytest.approx(math.log(1000))


def test_tokens_start_at_the_whole_vocabulary_and_are_best_guessed_by_frequency() -> None:
    rows = [[1, 1, 2, 3], [1, 2, 1, 1], [3, 1, 1, 1]] * 9
    first, plain = (losskit.choose(rows, task="language", num_classes=n).first for n in (100, None))
    assert first is not None
    assert plain is not None
    assert first.start == pytest.approx(math.log(100))
    assert first.constant == plain.constant


def test_classes_that_no_row_has_are_counted_and_warned_of() -> None:
    advice = losskit.choose(["a", "b", "c"] * 20, num_classes=5)
    assert advice.first is not None
    assert advice.first.start == pytest.approx(math.log(5))
    assert advice.first.constant == pytest.approx(math.log(3))
    assert any(w.startswith("2 of 5 classes never occur") for w in advice.warnings)


def test_whole_numbers_below_it_are_indices_themselves() -> None:
    advice = losskit.choose([0, 1, 3] * 30, num_classes=5)
    assert advice.first is not None
    assert "# target:" not in advice.first.code, "the numbers are those of the classes"
    assert "2: 0, 3: 30, 4: 0" in next(fact.says for fact in advice.facts if fact.name == "classes")
    plain = losskit.choose([0, 1, 3] * 30).first
    assert plain is not None
    assert "2 for '3'" in plain.code


def test_two_classes_that_came_of_more_are_several_classes() -> None:
    advice = losskit.choose([0, 1] * 30, num_classes=5)
    assert advice.task == "multiclass"
    assert losskit.choose([0, 1] * 30, num_classes=2).task == "binary"


def test_tags_that_no_row_has_are_labels_too() -> None:
    tags = [["a"], ["b", "a"], [], ["c"]] * 15
    advice = losskit.choose(tags, num_classes=6)
    assert advice.first is not None
    assert "(N, 6)" in advice.first.code
    assert any(w.startswith("3 of 6 labels are the same") for w in advice.warnings)


def test_balanced_classes_of_which_some_never_occur_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STEPS", 20)
    table = {"x": torch.randn(200, generator=torch.Generator().manual_seed(0)), "y": [0] * 150 + [1] * 40 + [3] * 10}
    advice = losskit.choose(table, target="y", task="multiclass", want="balanced", num_classes=5, prove=True)
    assert advice.first is not None
    assert advice.first.loss == "cross_entropy"
    assert [w > 0 for w in advice.first.options["weight"]] == [True, True, False, True, False]
    assert advice.proof is not None
    assert {one.loss for one in advice.proof.scores} >= {"cross_entropy", "cross_entropy(plain)"}


def test_tags_that_are_whole_numbers_below_it_are_indices_themselves() -> None:
    first = losskit.choose([[0, 7], [3], [7, 3], []] * 30, task="multilabel", num_classes=10, want="balanced").first
    assert first is not None
    often = {0: 30, 3: 60, 7: 60}
    assert first.options["pos_weight"] == [(120 - often.get(i, 0)) / often.get(i, 1) for i in range(10)]


def test_names_that_are_one_number_stay_two_classes() -> None:
    advice = losskit.choose(["01", "1", "2"] * 20, num_classes=5)
    assert any(w.startswith("2 of 5 classes never occur") for w in advice.warnings)


@pytest.mark.parametrize("classes", [20, 101])
def test_weights_of_many_classes_of_which_some_never_occur_fit_the_scores(classes: int) -> None:
    target = torch.tensor([0] * 500 + [1, 2] * 30)
    first = losskit.choose(target, task="multiclass", num_classes=classes, want="balanced").first
    assert first is not None
    space = {"logits": torch.zeros(len(target), classes), "target": target}
    with pytest.warns(UserWarning, match="never occur"):
        exec(first.code, space)
    assert float(space["loss"]) == pytest.approx(math.log(classes), rel=1e-5)


def test_a_number_of_numpy_is_a_number() -> None:
    assert losskit.choose(task="multiclass", num_classes=np.int64(7)).json()["num_classes"] == 7


def test_a_proof_of_more_classes_than_fit_says_so() -> None:
    table = {"x": torch.randn(60), "y": ["a", "b", "c"] * 20}
    with pytest.raises(ValueError, match="at most 10,000 classes, and there are 20,000"):
        losskit.choose(table, target="y", num_classes=20_000, prove=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "multiclass", "num_classes": 1}, '"num_classes" is 1, expected a whole number of at least 2'),
        ({"task": "multiclass", "num_classes": 2.5}, "expected a whole number"),
        ({"task": "multiclass", "num_classes": True}, "expected a whole number"),
        ({"task": "multilabel", "num_classes": 0}, "at least 1"),
        ({"task": "binary", "num_classes": 3}, "is 3, and binary has 2 classes"),
        ({"task": "regression", "num_classes": 3}, "regression has no classes"),
        ({"data": torch.randn(50), "num_classes": 3}, "regression has no classes"),
        ({"data": ["a", "b", "c"] * 20, "num_classes": 2}, 'is 2, and column "target" has 3 classes: expected 3 or more'),
        ({"data": ["a", "b", "c"] * 20, "num_classes": 10**9}, "is 1,000,000,000, and beside 60 rows at most 1,000,000"),
        ({"data": [["a"], ["b"]] * 999, "task": "multilabel", "num_classes": 10**6}, "beside 1,998 rows at most 134,352"),
        ({"data": torch.eye(4).repeat(9, 1), "num_classes": 6}, "is 6, and the target has 4 columns: expected 4"),
        ({"data": [["a"], ["b", "a"], []] * 9, "num_classes": 1, "task": "multilabel"}, "is 1, and column .* has 2 labels"),
        ({"data": [[1, 1, 2], [4, 4, 9]] * 9, "task": "language", "num_classes": 9}, "is 9, and the highest token .* is 9: expe"),
        (
            {"data": [["a", "b", "b", "c"]] * 9, "task": "language", "num_classes": 2},
            "is 2, and column .* has 3 different tokens",
        ),
    ],
)
def test_a_number_that_cannot_be_says_both_numbers(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        losskit.choose(**given)


def test_a_vocabulary_of_which_every_token_came_is_no_contradiction() -> None:
    assert losskit.choose([["a", "b", "b"]] * 9, task="language", num_classes=2).first is not None
