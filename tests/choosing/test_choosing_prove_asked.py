"""What a proof through losskit.choose says of the data: what it refuses, what it was shown, and when nothing was learned."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.choosing.advice import Candidate, Proof
from losskit.choosing.prove import run
from losskit.choosing.prove.constant import constant
from losskit.choosing.prove.folds import Fold
from losskit.choosing.prove.metrics import metrics
from losskit.choosing.prove.problem import Problem


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def proved(columns: dict[str, Any], target: Any = "y", **options: Any) -> Proof:
    found = losskit.choose(columns, target=target, **options, prove=True).proof
    assert found is not None
    return found


@pytest.mark.parametrize("target", [[0, 1] * 30, [0.1, 0.5, 0.9] * 20])
def test_pairs_with_a_yes_or_a_grade_are_not_trained_as_rows_with_a_class(target: list[float]) -> None:
    pairs = {"query": drawn(60, 8), "key": drawn(60, 8, seed=1), "target": target}
    with pytest.raises(ValueError, match=r"needs one class a row.*pairs and triplets are compared on your own encoder"):
        losskit.choose(pairs, target="target", task="embedding", prove=True)


@pytest.mark.parametrize("without", [0, 1, 3])
def test_labels_are_proved_however_few_rows_have_none(without: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STEPS", 20)
    x = drawn(80, 3)
    labels = (x > 0).long()
    labels[:, 0] |= labels.sum(1) == 0
    labels[:without] = 0
    table = {**{f"x{i}": x[:, i] for i in range(3)}, **{f"y{i}": labels[:, i] for i in range(3)}}
    found = proved(table, [f"y{i}" for i in range(3)], task="multilabel")
    assert found.method.startswith("Twice 5 plain folds of 80 rows")


def test_inputs_are_said_in_text_page_and_json() -> None:
    x = drawn(60).tolist()
    table = {
        "a": [None, *x[1:]],
        "side": ["left", "right", None] * 20,
        "day": [f"2020-01-{1 + (7 * i) % 28:02}" for i in range(60)],
        "name": [f"n{i}" for i in range(60)],
        "y": drawn(60, seed=1) + drawn(60),
    }
    advice = losskit.choose(table, target="y", task="regression", prove=True)
    said = (
        "1 number, 1 date (seconds), 1 word (one-hot), blanks filled with the median and flagged, a blank word all zeros, "
        "left out: name (text with 60 different values)"
    )
    assert advice.proof is not None
    assert advice.proof.inputs == said
    assert advice.json()["proof"]["inputs"] == said
    assert f"inputs: {said}" in " ".join(str(advice).split())
    assert f"inputs: {said}" in advice.html()
    fact = next(fact for fact in advice.facts if fact.name == "inputs")
    assert fact.value == 3
    assert fact.says == "1 number, 1 date (seconds), 1 word (one-hot), left out: name (text with 60 different values)"


def test_inputs_are_said_without_a_proof_and_only_where_a_small_model_would_take_them() -> None:
    table = {"day": [f"{1 + i % 28}/{1 + i // 28}/2024" for i in range(200)], "id": list(range(200)), "y": [0, 1] * 100}

    def said(data: Any, **given: Any) -> list[str]:
        return [fact.says for fact in losskit.choose(data, **given).facts if fact.name == "inputs"]

    assert said(table, target="y") == ["left out: id (counts the rows), day (text with 200 different values)"]
    warnings = losskit.choose(table, target="y").warnings
    assert 'Input "id" counts the rows, like an id: it is left out.' in warnings
    many = {**{f"t{k}": [f"{k} {i}" for i in range(60)] for k in range(20)}, "y": [0, 1] * 30}
    assert said(many, target="y")[0].endswith("t11 (text with 60 different values), and 8 more")
    assert said([0, 1] * 100) == [], "there are none"
    texts = {"text": [f"a text of some words, {i}" for i in range(100)], "y": list(range(20)) * 5}
    assert said(texts, target="y", task="embedding") == [], "an encoder reads them"


def test_nothing_agrees_where_the_inputs_carry_nothing() -> None:
    noise = drawn(200, seed=2) ** 3  # heavy tails: absolute error misses the constant by less than squared error
    found = proved({"a": drawn(200), "b": drawn(200, seed=1), "y": noise}, task="regression")
    assert found.verdict.startswith("undecided: no candidate beats the constant beyond chance: these inputs carry nothing")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "count"])
def test_the_best_constant_has_a_row_and_is_beaten_where_something_is_learned(task: str) -> None:
    x = drawn(150)
    noisy = 2 * x + 0.5 * drawn(150, seed=1)
    made = {"binary": (noisy > 0).long(), "multiclass": (noisy + 2).clamp(0, 3).long(), "regression": noisy}
    y = made.get(task, torch.poisson((1 + x).exp(), generator=torch.Generator().manual_seed(0)).long())
    found = proved({"x": x, "y": y}, task=task)
    (flat,) = [one for one in found.scores if one.loss == "best constant"]
    assert flat.metric == next(iter(found.metrics))
    assert "constant" not in found.verdict
    if task == "regression":
        assert flat.mean == pytest.approx(float(y.std()), rel=0.05), "the root mean square around the mean"
    if task == "binary":
        assert flat.mean == pytest.approx(0.693, abs=0.01), "ln 2 of two classes as many"


def test_constant_vectors_find_a_class_by_luck_and_constant_scores_any_order() -> None:
    fold = Fold(torch.arange(3), torch.arange(3), torch.arange(4))
    labels = torch.tensor([0, 0, 0, 1])
    rows = Problem("embedding", drawn(4, 2), labels, 2)
    (recall, _) = metrics(rows, Candidate("supervised_contrastive_loss", "", ""))
    assert constant(rows, labels, [fold], recall) == [pytest.approx(3 * (2 / 3) / 4)], (
        "two of three others, for three of four rows"
    )
    lists = torch.stack([torch.tensor([[1.0, 0.0]] * 4), torch.ones(4, 2)], -1)
    ranked = Problem("ranking", drawn(8, 2), lists)
    gain = metrics(ranked, Candidate("listnet_loss", "", ""))[0]
    assert constant(ranked, lists, [fold], gain) == [pytest.approx((1 + 1 / math.log2(3)) / 2)], "first or second, as often"
