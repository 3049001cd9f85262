"""A proof of what is wanted: the figure that decides is that of the want, and the loss for it wins where it should."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.choosing.advice import Candidate
from losskit.choosing.prove import run
from losskit.choosing.prove.constant import constant
from losskit.choosing.prove.folds import Fold
from losskit.choosing.prove.heads import Guess
from losskit.choosing.prove.metrics import metrics, primary
from losskit.choosing.prove.problem import Problem
from wanted import WORDS

DECIDES = {
    ("binary", "probabilities"): "log loss",
    ("binary", "order"): "AUC",
    ("binary", "balanced"): "balanced accuracy",
    ("multiclass", "probabilities"): "log loss",
    ("multiclass", "balanced"): "balanced accuracy",
    ("multilabel", "probabilities"): "log loss",
    ("multilabel", "balanced"): "balanced accuracy",
    ("regression", "mean"): "RMSE",
    ("regression", "median"): "MAE",
    ("regression", "quantile=0.9"): "pinball loss at 0.9",
    ("regression", "robust"): "MAE",
    ("count", "mean"): "deviance",
    ("count", "median"): "MAE",
    ("count", "quantile=0.9"): "pinball loss at 0.9",
    ("ranking", "order"): "pairs in order",
    ("ranking", "differences"): "RMSE of differences",
    ("ranking", "ndcg"): "NDCG@10",
    ("ranking", "first"): "MRR",
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def table(task: str, rows: int = 200) -> dict[str, Any]:
    x, noise = drawn(rows, 2), drawn(rows, seed=1)
    score = x.sum(1) + 0.5 * noise
    made: dict[str, Any] = {
        "binary": (score > 1).long(),
        "multiclass": (score > -1).long() + (score > 1).long(),
        "regression": score,
        "count": torch.poisson(score.clamp(max=2).exp(), generator=torch.Generator().manual_seed(0)).long(),
        "ranking": (score.clamp(-1, 1) + 1).round().long(),
    }
    columns = {"a": x[:, 0], "b": x[:, 1]}
    if task == "multilabel":
        labels = (x + 0.5 * drawn(rows, 2, seed=2) > 1).long()
        return {"data": {**columns, "u": labels[:, 0], "v": labels[:, 1]}, "target": ["u", "v"], "task": task}
    more = {"q": torch.arange(rows) // 5} if task == "ranking" else {}
    given = {"data": {**columns, **more, "y": made[task]}, "target": "y", "task": task}
    return {**given, "group": "q"} if more else given


def test_every_word_has_a_figure_that_decides() -> None:
    assert set(DECIDES) == set(WORDS)


@pytest.mark.parametrize(("task", "word"), DECIDES)
def test_a_proof_is_decided_by_what_is_wanted(task: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STEPS", 20)
    advice = losskit.choose(**table(task), want=word, prove=True)
    assert advice.first is not None
    assert advice.proof is not None
    decides = next(iter(advice.proof.metrics))
    assert decides == DECIDES[task, word]
    judged = {one.loss for one in advice.proof.scores if one.metric == decides}
    assert len(judged) >= 3 or (len(judged) == 2 and not advice.avoid), "the first choice, another one and the constant"
    assert advice.first.loss in judged
    assert "Not trained" not in advice.proof.method
    assert f"The verdict is by {decides}, which is wanted." in advice.proof.method


def test_a_bound_is_found_by_the_quantile_loss_and_not_by_the_mean() -> None:
    x = drawn(400)
    given = {"data": {"x": x, "y": 3 * x + drawn(400, seed=1)}, "target": "y", "task": "regression"}
    advice = losskit.choose(**given, want="quantile=0.9", prove=True)
    assert advice.proof is not None
    assert advice.proof.verdict.startswith("agrees: quantile_loss is better than mse_loss")
    linear = {one.loss: one for one in advice.proof.scores if one.model == "linear" and one.metric == "pinball loss at 0.9"}
    z = 1.2815515655446004  # of a standard normal, 90 %
    least = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # the pinball loss of the right bound is the density there
    assert linear["quantile_loss"].mean == pytest.approx(least, rel=0.15)


def test_balanced_accuracy_is_won_by_the_loss_that_is_told_the_prior() -> None:
    x = drawn(1500, 2)
    y = (x.sum(1) + drawn(1500, seed=1) > 2.8).long()
    advice = losskit.choose({"a": x[:, 0], "b": x[:, 1], "y": y}, target="y", want="balanced", prove=True)
    assert advice.proof is not None
    assert "logit_adjusted_loss is better than" in advice.proof.verdict
    assert advice.proof.verdict.startswith("agrees")


def test_a_loss_of_differences_sees_them() -> None:
    x = drawn(400)
    level = drawn(40, seed=3).repeat_interleave(10)
    lists = {"x": x, "q": torch.arange(400) // 10, "y": 5 * x + 20 * level + 0.1 * drawn(400, seed=1)}
    advice = losskit.choose(lists, target="y", group="q", task="ranking", want="differences", prove=True)
    assert advice.proof is not None
    assert advice.proof.verdict.startswith("agrees: pairwise_mse_loss is better than pairwise_logistic_loss")


def test_the_pinball_loss_is_its_formula_and_its_constant_the_quantile() -> None:
    y = torch.arange(11.0)
    problem = Problem("regression", drawn(11, 2), y)
    candidate = Candidate("quantile_loss", "", "", options={"quantile": 0.8})
    (pinball, *_) = metrics(problem, candidate, "quantile=0.8")
    assert pinball.name == primary(problem, candidate, "quantile=0.8") == "pinball loss at 0.8"
    assert pinball.of(Guess(y - 1), y) == pytest.approx(0.8), "a unit too low"
    assert pinball.of(Guess(y + 1), y) == pytest.approx(0.2), "a unit too high"
    fold = Fold(torch.arange(11), torch.arange(0), torch.arange(11))
    short = y - 8
    expected = float((0.8 * short).maximum(-0.2 * short).mean())
    assert constant(problem, y, [fold], pinball) == [pytest.approx(expected)]


def test_differences_are_judged_without_the_level_of_a_list() -> None:
    y = torch.stack([torch.tensor([[1.0, 2.0, 5.0], [0.0, 4.0, 9.0]]), torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])], -1)
    problem = Problem("ranking", drawn(6, 2), y)
    (apart, *_) = metrics(problem, Candidate("pairwise_mse_loss", "", ""), "differences")
    assert apart.of(Guess(y[..., 0] + torch.tensor([[7.0], [-3.0]])), y) == pytest.approx(0, abs=1e-12)
    off = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 50.0]])  # what is masked does not count
    assert apart.of(Guess(y[..., 0] + off), y) == pytest.approx(math.sqrt(2 / 5))


def test_pairs_in_order_is_the_share_of_them() -> None:
    y = torch.stack([torch.tensor([[0.0, 1.0, 2.0]]), torch.ones(1, 3)], -1)
    problem = Problem("ranking", drawn(3, 2), y)
    (pairs, *_) = metrics(problem, Candidate("pairwise_logistic_loss", "", ""), "order")
    assert pairs.of(Guess(torch.tensor([[0.0, 2.0, 1.0]])), y) == pytest.approx(2 / 3)
