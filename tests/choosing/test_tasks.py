"""What each task advises: options are those of the data, and numbers those of losskit.reference."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from choosing_made import lists, rare

import losskit
from losskit import Advice, Candidate

DEFAULTS = {
    "binary": "binary_cross_entropy_with_logits",
    "multiclass": "cross_entropy",
    "multilabel": "binary_cross_entropy_with_logits",
    "regression": "mse_loss",
    "count": "poisson_deviance_loss",
    "embedding": "info_nce_loss",
    "ranking": "pairwise_logistic_loss",
    "language": "cross_entropy",
}


def among(candidates: tuple[Candidate, ...], loss: str, option: str = "") -> Candidate:
    """The candidate of this loss, and with this option."""
    return next(c for c in candidates if c.loss == loss and (not option or option in c.options))


def first(advice: Advice) -> Candidate:
    assert advice.first is not None
    return advice.first


@pytest.mark.parametrize("task", DEFAULTS)
def test_the_table_of_the_page_is_the_default_of_its_task(task: str) -> None:
    advice = losskit.choose(task=task)
    assert first(advice).loss == DEFAULTS[task]
    assert advice.task == task
    assert advice.alternatives
    assert not advice.facts


def test_regression_offers_absolute_error_and_embedding_pairs_and_triplets() -> None:
    assert losskit.choose(task="regression").alternatives[0].loss == "l1_loss"
    offered = [c.loss for c in losskit.choose(task="embedding").alternatives]
    assert offered[:3] == ["contrastive_loss", "triplet_margin_loss", "multiple_negatives_ranking_loss"]


def test_levels_are_those_of_the_reference() -> None:
    advice = losskit.choose([0, 1, 1, 1] * 10)
    assert first(advice).start == math.log(2)
    assert first(advice).constant == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert first(advice).best == 0
    classes = first(losskit.choose(["a", "b", "c", "c"] * 10))
    assert classes.start == pytest.approx(math.log(3))
    assert classes.constant == pytest.approx(0.5 * math.log(4) + 0.5 * math.log(2))
    numbers = torch.randn(100, dtype=torch.float64)
    assert first(losskit.choose(numbers)).constant == pytest.approx(float(numbers.var(correction=0)))


def test_the_weight_of_a_rare_yes_is_the_ratio_of_the_counts() -> None:
    advice = losskit.choose(rare(40, 4100))
    assert among(advice.alternatives, "binary_cross_entropy_with_logits", "pos_weight").options["pos_weight"] == 40
    prior = among(advice.alternatives, "logit_adjusted_loss").options["prior"]
    assert prior == pytest.approx([4000 / 4100, 100 / 4100], rel=1e-5)
    assert "focal" in among(advice.alternatives, "binary_focal_loss").warning
    assert "not the threshold" in among(advice.alternatives, "binary_focal_loss").warning


def test_few_positives_are_said_to_be_noisy() -> None:
    assert any("Only 20 rows of the rarer class" in w for w in losskit.choose(rare(1000, 20_020)).warnings)
    assert not losskit.choose(rare(10, 1100)).warnings


def test_rare_classes_get_weights_and_a_prior_in_the_order_of_the_classes() -> None:
    counts = {"a": 900, "b": 90, "c": 20}
    advice = losskit.choose([name for name, n in counts.items() for _ in range(n)])
    weight = among(advice.alternatives, "cross_entropy").options["weight"]
    assert weight == pytest.approx(losskit.class_weights(list(counts.values())).tolist(), rel=1e-5)
    assert among(advice.alternatives, "logit_adjusted_loss").options["prior"] == pytest.approx(
        [n / 1010 for n in counts.values()], rel=1e-5
    )


def test_a_thousand_to_one_is_weighed_gently() -> None:
    """The card of class_weights: inverse is not for a thousand times rarer classes."""
    advice = losskit.choose(["a"] * 10_000 + ["b"] * 1000 + ["c"] * 10)
    weight = among(advice.alternatives, "cross_entropy").options["weight"]
    assert max(weight) / min(weight) == pytest.approx(math.sqrt(1000), rel=1e-3)


def test_squared_error_of_classes_is_warned_of_with_the_ratio_of_gradients() -> None:
    reason = among(losskit.choose(task="binary").avoid, "mse_loss").reason
    assert f"{1 / (2 * 0.01 * 0.99):.1f} times smaller" in reason


def test_a_softmax_over_labels_is_warned_of_with_the_share_of_rows() -> None:
    labels = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]]).repeat(10, 1)
    advice = losskit.choose(labels)
    assert "50% of the rows have several labels and 25% have none" in among(advice.avoid, "cross_entropy").reason
    assert first(advice).constant == pytest.approx(
        (2 * math.log(2) + losskit.reference("binary_cross_entropy_with_logits", prior=0.25).constant) / 3
    )


def test_soft_rows_are_at_best_their_entropy() -> None:
    rows = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64).repeat(20, 1)
    advice = losskit.choose(rows)
    entropy = (math.log(2) - 0.9 * math.log(0.9) - 0.1 * math.log(0.1)) / 2
    assert first(advice).best == pytest.approx(entropy)
    assert first(advice).constant == pytest.approx(-0.7 * math.log(0.7) - 0.3 * math.log(0.3))


def test_delta_of_huber_is_1345_times_the_spread_of_the_good_values() -> None:
    torch.manual_seed(0)
    values = 4 * torch.randn(2000, dtype=torch.float64)
    clean = among(losskit.choose(values).alternatives, "huber_loss").options["delta"]
    values[:20] += 1000
    dirty = losskit.choose(values)
    assert first(dirty).loss == "huber_loss"
    assert first(dirty).options["delta"] == pytest.approx(1.345 * 4, rel=0.06)
    assert first(dirty).options["delta"] == pytest.approx(clean, rel=0.03)


def test_heavy_tails_of_a_target_that_inputs_explain_do_not_count() -> None:
    """Cauchy inputs and normal errors: it is the errors that a loss sees."""
    torch.manual_seed(0)
    x = torch.distributions.StudentT(3.0).sample((2000, 1))
    y = 5 * x[:, 0] + torch.randn(2000)
    assert first(losskit.choose(y)).loss == "l1_loss"
    advice = losskit.choose(y, inputs=x)
    assert first(advice).loss == "mse_loss"
    assert "of the errors of a linear fit" in next(f for f in advice.facts if f.name == "tails").says


def test_without_inputs_it_says_that_errors_decide() -> None:
    said = next(f for f in losskit.choose(torch.randn(100)).facts if f.name == "tails").says
    assert "it is the errors that decide" in said


def test_the_dispersion_is_filled_in_from_the_data() -> None:
    torch.manual_seed(0)
    counts = torch.distributions.NegativeBinomial(2.0, torch.tensor(0.7)).sample((20_000,))
    assert first(losskit.choose(counts)).options["log_dispersion"] == pytest.approx(math.log(0.5), abs=0.1)


def test_lists_without_an_order_are_refused_and_few_are_noisy() -> None:
    flat = losskit.choose({"q": [1, 1, 2, 2], "r": [1, 1, 0, 0]}, target="r", group="q", task="ranking")
    assert flat.first is None
    assert "there is no order to learn" in flat.refusal
    few = losskit.choose(**lists(5, many=20))
    assert any("below about 50" in w for w in few.warnings)


def test_negative_grades_are_not_given_to_a_softmax() -> None:
    table: dict[str, Any] = {"q": torch.arange(200) // 10, "r": torch.arange(200) % 10 - 5}
    advice = losskit.choose(table, target="r", group="q")
    assert first(advice).loss == "pairwise_logistic_loss"
    assert "listnet_loss" not in {c.loss for c in advice.alternatives}


def test_keys_that_repeat_get_ids() -> None:
    table = {"query": [f"question {i} of all" for i in range(40)], "document": [f"answer {i // 2} of all" for i in range(40)]}
    advice = losskit.choose(table)
    assert "key_ids=key_ids" in first(advice).code
    assert any("ids say" in w for w in advice.warnings)


def test_tokens_cost_the_entropy_of_their_frequencies_at_least() -> None:
    rows = [[1, 2, 1, 2, 1, 2, 3, 3], [3, 3, 1, 2], [1, 2, 1, 2]]
    advice = losskit.choose(rows * 20)
    assert first(advice).constant == pytest.approx(3 / 4 * math.log(8 / 3) + 1 / 4 * math.log(4))


def test_a_margin_beyond_the_distance_is_warned_of_with_what_is_left() -> None:
    avoided = among(losskit.choose(task="embedding").avoid, "triplet_margin_loss")
    assert avoided.options["margin"] > 2
    assert avoided.start == 5
    assert "never falls below 3" in avoided.reason
