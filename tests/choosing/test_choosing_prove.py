"""A proof trains every candidate fairly, on folds that do not leak, and says the same for the same seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.choosing.advice import Advice, Candidate, Proof
from losskit.choosing.prove import prove_problem, run
from losskit.choosing.prove.folds import folds
from losskit.choosing.prove.inputs import standardised
from losskit.choosing.prove.intervals import corrected
from losskit.choosing.prove.problem import Problem, units

assert losskit.CATALOGUE  # loads the cards


def one(loss: str, **options: Any) -> Candidate:
    return Candidate(loss, "a reason", f"loss = losskit.{loss}(input, target)", options=options)


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(rows: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=random(seed))


def proof(task: str, problem: Problem, first: Candidate, *others: Candidate, avoid: tuple[Candidate, ...] = ()) -> Proof:
    return prove_problem(Advice(task, first, tuple(others), avoid), problem)


def mean(found: Proof, loss: str, metric: str, model: str = "linear") -> float:
    return next(s.mean for s in found.scores if (s.loss, s.metric, s.model) == (loss, metric, model))


def slipped(rows: int = 240) -> Problem:
    """A line of slope 20 with a tenth of the targets times 10, of which no input tells."""
    x = inputs(rows)
    y = 20 * x.sum(1) + 100 + torch.randn(rows, generator=random(1))
    wrong = torch.rand(rows, generator=random(2)) < 0.1
    return Problem("regression", x, torch.where(wrong, 10 * y, y).double())


# ------------------------------------------------------------------ intervals and folds


def test_the_interval_is_that_of_nadeau_and_bengio() -> None:
    values = [1.0, 2.0, 3.0]
    found = corrected(values, 0.25)
    half = 4.302652729911275 * math.sqrt((1 / 3 + 0.25) * 1.0)  # t of 2 degrees of freedom at 97.5 %; the variance is 1
    assert found.mean == 2
    assert found.low == pytest.approx(2 - half, rel=1e-9)
    assert found.high == pytest.approx(2 + half, rel=1e-9)


def test_the_interval_is_wider_than_that_of_independent_folds_and_endless_for_one() -> None:
    apart, shared = corrected([1.0, 2.0, 4.0], 0.0), corrected([1.0, 2.0, 4.0], 0.25)
    assert shared.high - shared.mean == pytest.approx((apart.high - apart.mean) * math.sqrt((1 / 3 + 0.25) * 3))
    assert corrected([1.0], 0.25).high == math.inf


def test_folds_test_every_row_once_and_hold_rows_apart() -> None:
    target = torch.arange(103) % 3
    found = folds(103, 5, 2, random(0), by=target, group=None)
    assert len(found) == 10
    for repeat in (found[:5], found[5:]):
        assert torch.cat([f.test for f in repeat]).sort().values.tolist() == list(range(103))
    for fold in found:
        assert sorted(torch.cat(list(fold)).tolist()) == list(range(103)), "train, stop and test are all rows, each once"


def test_folds_have_their_share_of_a_rare_class() -> None:
    target = (torch.arange(200) < 10).long()
    for fold in folds(200, 5, 2, random(0), by=target, group=None):
        assert int(target[fold.test].sum()) == 2
        assert int(target[fold.stop].sum()) in (1, 2)


def test_folds_do_not_tear_groups() -> None:
    group = torch.arange(120) // 7
    for fold in folds(120, 5, 1, random(0), by=None, group=group):
        parts = [set(group[part].tolist()) for part in fold]
        assert sum(map(len, parts)) == len(set.union(*parts)), "no group is on two sides"


# ------------------------------------------------------------------ inputs


def test_inputs_are_standardised_by_the_training_rows_alone() -> None:
    raw, train = inputs(100, 3), torch.arange(60)
    raw[60:] += 5
    found = standardised(raw, train, None)
    assert torch.allclose(found[train].mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(found[train].std(0, correction=0), torch.ones(3))
    assert bool((found[60:].mean(0) > 3).all()), "what came later is not pulled to the middle"


def test_a_missing_input_is_the_median_and_says_so() -> None:
    raw = torch.tensor([[1.0], [2.0], [9.0], [torch.nan]])
    found = standardised(raw, torch.arange(4), None)
    assert found.shape == (4, 2)
    assert found[3, 0] == found[1, 0], "2 is the median of 1, 2, 9"
    assert found[3, 1] > 0 > found[0, 1]


def test_lists_are_padded_and_masked() -> None:
    made = units(Problem("ranking", inputs(5), torch.tensor([1.0, 0, 2, 0, 1]), group=torch.tensor([7, 3, 7, 7, 3])))
    assert made.mask is not None
    assert made.mask.sum(1).tolist() == [2, 3]
    assert made.target[1, :3].tolist() == [1, 2, 0], "the rows of a list keep their order"


# ------------------------------------------------------------------ what training shows


def test_absolute_error_is_proved_where_targets_slipped() -> None:
    found = proof("regression", slipped(), one("l1_loss"), avoid=(one("mse_loss"),))
    assert found.verdict.startswith("agrees: l1_loss is better than mse_loss by ")
    gap = next(c for c in found.comparisons if c.metric == "MAE" and c.model == "linear")
    assert 0 < gap.low < gap.difference < gap.high
    assert gap.difference == pytest.approx(mean(found, "mse_loss", "MAE") - mean(found, "l1_loss", "MAE"))
    assert next(iter(found.metrics)) == "MAE", "the metric that decides comes first"


@pytest.mark.slow  # ten seconds: tens of models
def test_a_wrong_first_choice_is_told_so() -> None:
    found = proof("count", counted(), one("mse_loss"), one("poisson_deviance_loss"))
    assert found.verdict.startswith("disagrees: poisson_deviance_loss is better than mse_loss by ")


def counted(rows: int = 500) -> Problem:
    x = inputs(rows)
    return Problem("count", x, torch.poisson((0.6 * x.sum(1)).exp(), generator=random(3)).double())


@pytest.mark.slow  # ten seconds: tens of models
def test_softmax_loses_where_rows_have_several_labels() -> None:
    x = inputs(300)
    y = ((3 * x + torch.randn(300, 4, generator=random(1))) > 0).float()
    bce = one("binary_cross_entropy_with_logits")
    found = proof("multilabel", Problem("multilabel", x, y, 4), bce, avoid=(one("cross_entropy"),))
    assert found.verdict.startswith("agrees")
    assert mean(found, "cross_entropy", "balanced accuracy") < mean(found, bce.loss, "balanced accuracy") - 0.1


def test_a_model_learns_what_can_be_learned() -> None:
    x = inputs(300, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()  # no line parts these
    found = proof("binary", Problem("binary", x, y, 2), one("binary_cross_entropy_with_logits"), one("binary_focal_loss"))
    assert mean(found, "binary_cross_entropy_with_logits", "AUC", "linear") < 0.65
    assert mean(found, "binary_cross_entropy_with_logits", "AUC", "mlp") > 0.95


def test_losses_that_compare_rows_are_trained_too() -> None:
    x = inputs(200)
    y = (x.sum(1) + torch.randn(200, generator=random(1)) > 1).long()
    found = proof("binary", Problem("binary", x, y, 2), one("binary_cross_entropy_with_logits"), one("auc_squared_hinge_loss"))
    assert mean(found, "auc_squared_hinge_loss", "AUC") > 0.8
    assert not [s for s in found.scores if s.loss == "auc_squared_hinge_loss" and s.metric == "log loss"], "it has no probability"


def test_lists_are_ranked_with_a_lambda_weight_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STEPS", 60)
    x, query = inputs(30 * 6), torch.arange(30).repeat_interleave(6)
    grades = (x.sum(1) / 2).round().clamp(0, 2).double()
    weighted = one("pairwise_logistic_loss", lambda_weight="losskit.DeltaNDCG(k=10)")
    problem = Problem("ranking", x, grades, group=query)
    found = proof("ranking", problem, one("pairwise_logistic_loss"), one("listnet_loss"), weighted)
    for name in ("pairwise_logistic_loss", "listnet_loss", "pairwise_logistic_loss(lambda_weight)"):
        assert mean(found, name, "NDCG@10") > 0.9, name


@pytest.mark.slow  # ten seconds: tens of models
def test_classes_become_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STEPS", 90)
    centers = 3 * inputs(3, 4, seed=5)
    y = torch.arange(90) % 3
    x = torch.cat([centers[y] + inputs(90), 5 * inputs(90, 4, seed=6)], 1)  # half of the inputs are noise
    first, other = one("supervised_contrastive_loss"), one("triplet_margin_loss", margin=0.2, distance="cosine")
    found = proof("embedding", Problem("embedding", x, y, 3), first, other)
    for name in (first.loss, other.loss):
        assert mean(found, name, "recall@1") > 0.8, name


@pytest.mark.parametrize(
    ("loss", "options"),
    [("huber_loss", {"delta": 5.0}), ("gamma_deviance_loss", {}), ("tweedie_deviance_loss", {"power": 1.5}),
     ("negative_binomial_nll_loss", {"log_dispersion": 0.0})],
)  # fmt: skip
def test_every_kind_of_head_finds_the_line(loss: str, options: Mapping[str, Any]) -> None:
    x = inputs(150)
    y = (2 + 0.3 * x.sum(1)).exp().double()
    found = proof("regression", Problem("regression", x, y), one("mse_loss"), one(loss, **options))
    constant = float((y - y.median()).abs().mean())
    assert mean(found, loss, "MAE", "mlp") < 0.5 * constant, found.method


# ------------------------------------------------------------------ what a proof promises


def test_the_same_seed_gives_the_same_numbers_and_another_one_does_not() -> None:
    advice = Advice("regression", one("l1_loss"), (one("huber_loss", delta=5.0),))
    found = [prove_problem(advice, slipped(80), seed=seed) for seed in (0, 0, 1)]
    assert found[0].scores == found[1].scores
    assert found[0].comparisons == found[1].comparisons
    assert found[0].scores != found[2].scores


def test_the_scale_of_a_target_does_not_matter() -> None:
    small = slipped(80)
    large = Problem("regression", small.inputs, 1024 * small.target)
    a, b = (proof("regression", each, one("l1_loss"), one("mse_loss")) for each in (small, large))
    for loss in ("l1_loss", "mse_loss"):
        assert mean(b, loss, "MAE") == pytest.approx(1024 * mean(a, loss, "MAE"), rel=0.02)


def test_progress_counts_every_model() -> None:
    seen: list[tuple[int, int, str]] = []
    advice = Advice("regression", one("l1_loss"), (one("mse_loss"),))
    prove_problem(advice, slipped(60), progress=lambda *told: seen.append(told))
    assert [done for done, *_ in seen] == [0, 1, 2, 3, 4]
    assert {total for _, total, _ in seen} == {4}
    assert seen[1][2] == "l1_loss, mlp"


def test_a_candidate_that_refuses_the_data_is_left_out_with_its_reason() -> None:
    problem = slipped(80)
    problem.target[3] = 0
    found = proof("regression", problem, one("l1_loss"), one("mape_loss"))
    assert {s.loss for s in found.scores} == {"l1_loss", "best constant"}
    assert "Not trained: mape_loss (" in found.method


def test_large_data_are_drawn_from_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from losskit.choosing.prove import problem as module

    monkeypatch.setattr(module, "MOST_ROWS", 60)
    monkeypatch.setattr(run, "MOST_ROWS", 60)
    found = proof("regression", slipped(90), one("l1_loss"))
    assert found.rows == 60
    assert "60 of 90 rows" in found.method


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        ({"y": [0, 1] * 40}, {"task": "binary"}, "no inputs to train on"),
        ({"x": [1.0, 2.0, 3.0] * 6, "y": [0, 1] * 9}, {"task": "binary"}, "needs 20 rows"),
        ({"x": [1.0, 2.0] * 40, "y": [0] * 79 + [1]}, {"task": "binary"}, "rarest class has 1 row"),
    ],
)
def test_a_proof_of_nothing_is_refused(table: dict[str, Any], options: dict[str, Any], said: str) -> None:
    from losskit.choosing.columns import read_columns
    from losskit.choosing.prove import prove

    advice = Advice("binary", one("binary_cross_entropy_with_logits"))
    with pytest.raises(ValueError, match=said):
        prove(advice, read_columns(table, target="y"))


def test_a_language_model_is_not_trained_in_a_minute() -> None:
    from losskit.choosing.columns import read_columns
    from losskit.choosing.prove import prove

    with pytest.raises(ValueError, match="`losskit perplexity compare`"):
        prove(Advice("language", one("cross_entropy")), read_columns({"text": ["a", "b"]}))


def test_words_and_missing_values_are_inputs() -> None:
    side = ["left", "right"] * 60
    noise = torch.randn(120, generator=random(0)).tolist()
    table = {
        "side": side,
        "z": [None, *noise[1:]],
        "y": [(5.0 if s == "left" else 0.0) + e for s, e in zip(side, noise, strict=True)],
    }
    advice = losskit.choose(table, target="y", task="regression", inputs=["side"], prove=True)
    assert advice.proof is not None
    assert advice.first is not None
    assert mean(advice.proof, advice.first.loss, "MAE") < 1.2, "the noise has a mean size of 0.8, the sides are 5 apart"
