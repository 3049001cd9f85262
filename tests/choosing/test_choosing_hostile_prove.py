"""A proof on inputs and targets that no one would make up: huge, far off, constant, leaking, negative grades."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.choosing.advice import Advice, Candidate, Proof
from losskit.choosing.columns import read_columns
from losskit.choosing.prove import prove_problem, run
from losskit.choosing.prove.inputs import problem_of, standardised
from losskit.choosing.prove.problem import Problem

assert losskit.CATALOGUE  # loads the cards


def drawn(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def proved(columns: dict[str, Any], first: str = "mse_loss", **options: Any) -> Proof:
    found = losskit.choose(columns, **{"target": "y", "task": "regression", **options}, prove=True)
    assert found.first is not None
    assert found.proof is not None
    assert found.first.loss == first
    return found.proof


def error(proof: Proof, loss: str = "mse_loss") -> float:
    return next(s.mean for s in proof.scores if (s.loss, s.model, s.metric) == (loss, "linear", "RMSE"))


X, Y = drawn(60, 0), drawn(60, 0) + 0.5 * drawn(60, 1)


@pytest.mark.parametrize(("unit", "zero"), [(1e12, 0.0), (1e-12, 0.0), (1e40, 0.0), (1.0, 1e9)])
def test_a_target_in_any_unit_and_from_any_zero_is_learned_by_every_loss(unit: float, zero: float) -> None:
    problem = Problem("regression", X.float()[:, None], unit * Y + zero)
    found = prove_problem(Advice("regression", Candidate("mse_loss", "", ""), (Candidate("l1_loss", "", ""),)), problem)
    for loss in ("mse_loss", "l1_loss"):
        assert error(found, loss) < 0.7 * unit  # the noise is 0.6 of it in these rows, the best constant has 1.1


@pytest.mark.parametrize(("unit", "zero"), [(1e300, 0.0), (1e-300, 0.0), (1e40, 0.0), (1.0, 1e9)])
def test_a_model_sees_the_same_inputs_in_any_unit_and_from_any_zero(unit: float, zero: float) -> None:
    shown = [
        standardised(problem_of(read_columns({"x": x, "y": Y}, target="y"), "regression").inputs, torch.arange(40), None)
        for x in (X, unit * X + zero)
    ]
    assert float(shown[0].std()) > 0.5
    torch.testing.assert_close(shown[1], shown[0], rtol=1e-4, atol=1e-5)


def test_inputs_that_never_vary_are_no_proof() -> None:
    with pytest.raises(ValueError, match="no input varies"):
        proved({"x": [1.0] * 60, "w": ["a"] * 60, "y": Y})


def test_an_input_that_tells_the_target_or_counts_the_rows_is_not_trained_on_and_named() -> None:
    found = proved({"x": X, "twice": 2 * Y + 1, "row": list(range(60)), "y": Y})
    assert "left out: twice (tells the target exactly), row (counts the rows)" in found.inputs
    assert error(found) > 0.3  # of the noise, which "twice" would take away
    with pytest.raises(ValueError, match="twice: tells the target exactly"):
        proved({"twice": 2 * Y + 1, "y": Y})


def test_inputs_that_no_model_can_take_are_named() -> None:
    assert "name (text with 60 different values)" in proved({"x": X, "name": [f"n{i}" for i in range(60)], "y": Y}).inputs


def test_lists_of_negative_values_are_ranked() -> None:
    x, y = drawn(60, 2), drawn(60, 2) + 0.5 * drawn(60, 3)
    query = torch.arange(60) // 3
    found = proved({"x": x, "y": y, "query": query}, "pairwise_logistic_loss", group="query", task="ranking")
    assert next(s.mean for s in found.scores if s.metric.startswith("NDCG")) > 0.8


def test_the_loss_with_the_lambda_weight_is_the_one_that_is_labelled() -> None:
    first, plain = Candidate("listnet_loss", "", ""), Candidate("pairwise_logistic_loss", "", "")
    weighed = Candidate("pairwise_logistic_loss", "", "", options={"lambda_weight": "losskit.DeltaNDCG(k=10)"})
    for order in ([first, weighed, plain], [first, plain, weighed], [plain, weighed], [plain, first, weighed]):
        names = run._named(order)
        assert names["pairwise_logistic_loss"] is plain
        assert names["pairwise_logistic_loss(lambda_weight)"] is weighed
        assert len(names) == len(order)
