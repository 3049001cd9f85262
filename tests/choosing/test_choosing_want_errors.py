"""choose(want=...): a word that cannot be is an error that says which can, and what was meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import losskit

VALUES = {
    "data": {
        "query": [i // 10 for i in range(600)],
        "y": torch.randn(600, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist(),
    },
    "target": "y",
    "group": "query",
    "task": "ranking",
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "binary", "want": "median"}, "a word of regression and count, and the task is binary: one of probabilities"),
        ({"task": "binary", "want": "oder"}, "did you mean order"),
        ({"task": "binary", "want": "AUC"}, "did you mean order"),
        ({"task": "regression", "want": "mae"}, "did you mean median"),
        ({"task": "binary", "want": "recal"}, "did you mean balanced"),
        ({"task": "binary", "want": "acuracy"}, "did you mean probabilities"),
        ({"task": "binary", "want": "roc_auc"}, "did you mean order"),
        ({"task": "regression", "want": "rsme"}, "did you mean mean"),
        ({"task": "regression", "want": "p90"}, "did you mean quantile=Q, as quantile=0.9"),
        ({"task": "regression", "want": "0.9"}, "did you mean quantile=Q, as quantile=0.9"),
        ({"task": "binary", "want": "0.9"}, "one of probabilities, order, balanced for binary$"),
        ({"task": "count", "want": "robust"}, "a word of regression, and the task is count"),
        ({"task": "regression", "want": "quantile"}, "quantile=Q with 0 < Q < 1"),
        ({"task": "regression", "want": "quantile=90"}, "quantile=Q with 0 < Q < 1"),
        ({"task": "regression", "want": "quantile=nan"}, "quantile=Q with 0 < Q < 1"),
        ({"task": "binary", "want": "quantile=0.9"}, "a word of regression and count"),
        ({"task": "embedding", "want": "order"}, "embedding has nothing to choose between"),
        ({"task": "language", "want": "order"}, "language has nothing to choose between"),
        ({"task": "binary", "want": 3}, "expected a word"),
        ({"data": [1.5, 2.5, 3.5] * 9, "want": "medain"}, "expected one of mean, .* of regression, which .*did you mean median"),
        ({"data": [0, 1] * 20, "want": "recal"}, "one of probabilities, order, balanced of binary, which .* mean balanced.$"),
        ({"data": ["2020-01-01", "2021-01-01"] * 20, "want": "recal"}, "binary: probabilities, .* regression: mean"),
        ({"data": [1, 2, 3, 4, 5] * 20, "want": "median"}, "the data look like multiclass.*or name the task, as regression"),
        ({"data": [0.1, 0.5, 0.95, 0.02] * 20, "task": "binary", "want": "order"}, "shares between 0 and 1: only probabilities"),
        ({"data": torch.full((20, 2), 0.5), "task": "multiclass", "want": "balanced"}, "only probabilities"),
        ({**VALUES, "want": "ndcg"}, "has no grades but more than 20 values"),
        ({**VALUES, "want": "first"}, "want order or differences"),
    ],
)  # fmt: skip
def test_a_want_that_cannot_be_says_what_can(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        losskit.choose(**given)


def test_a_want_is_read_with_any_case_and_blanks() -> None:
    assert losskit.choose(task="regression", want=" Quantile=.90 ").want == "quantile=0.9"
    assert losskit.choose(task="regression", want="quantile = 0.9").want == "quantile=0.9"
