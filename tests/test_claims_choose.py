"""The table "choosing loss functions": row by row it is what ``choose`` answers, and the data change the answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit import Advice

BCE, CE = "binary_cross_entropy_with_logits", "cross_entropy"


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def cauchy(rows: int) -> Tensor:
    return torch.tan(torch.pi * (torch.rand(rows, generator=torch.Generator().manual_seed(0)).double() - 0.5))


def first(advice: Advice) -> str:
    assert advice.first is not None
    assert advice.first.reason.endswith(".")
    assert f"losskit.{advice.first.loss}(" in advice.first.code
    return advice.first.loss


def others(advice: Advice) -> set[str]:
    return {one.loss for one in advice.alternatives}


def evaluated(code: str, **names: Any) -> Tensor:
    """The value of the code that an answer prints."""
    scope: dict[str, Any] = {"torch": torch, **names}
    exec(code, scope)
    value: Tensor = scope["loss"]
    return value


@pytest.mark.claim("R19")
def test_a_yes_no_question_is_answered_with_binary_cross_entropy() -> None:
    for advice in (losskit.choose(task="binary"), losskit.choose(task="multilabel"), losskit.choose(torch.arange(100) % 2)):
        assert first(advice) == BCE
    logits, target = drawn(9), (torch.arange(9) % 2).float()
    advice = losskit.choose(task="binary")
    assert advice.first is not None
    wanted = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(evaluated(advice.first.code, logits=logits, target=target), wanted)
    assert "mse_loss" in {one.loss for one in advice.avoid}


@pytest.mark.claim("R20")
def test_one_class_of_several_is_answered_with_cross_entropy() -> None:
    for advice in (losskit.choose(task="multiclass"), losskit.choose(["cat", "dog", "bird"] * 30)):
        assert first(advice) == CE
    advice = losskit.choose(task="multiclass")
    assert advice.first is not None
    logits, target = drawn(9, 4), torch.arange(9) % 4
    torch.testing.assert_close(evaluated(advice.first.code, logits=logits, target=target), F.cross_entropy(logits, target))


@pytest.mark.claim("R21")
def test_a_number_is_answered_with_squared_error_and_absolute_error_stands_beside_it() -> None:
    for advice in (losskit.choose(task="regression"), losskit.choose(drawn(1000))):
        assert first(advice) == "mse_loss"
        assert {"l1_loss", "huber_loss"} <= others(advice)


@pytest.mark.claim("R14", "R21")
@pytest.mark.parametrize("inputs", [False, True], ids=["target alone", "given inputs"])
def test_heavy_tails_are_answered_with_a_robust_loss_and_the_measured_statistic(inputs: bool) -> None:
    features = drawn(600, 3)
    noise = cauchy(600)
    target = noise + features.double() @ torch.tensor([1.0, -2.0, 0.5]).double() if inputs else noise
    advice = losskit.choose(target, inputs=features if inputs else None)
    assert first(advice) in ("l1_loss", "huber_loss")
    (fact,) = [fact for fact in advice.facts if fact.name == "heavy tails"]
    assert isinstance(fact.value, float)
    assert fact.value > 2 * 2.91  # (q97.5 - q2.5) / (q75 - q25), of a normal 2.91
    if not inputs:
        low, first_quarter, third_quarter, high = target.quantile(torch.tensor([0.025, 0.25, 0.75, 0.975]).to(target)).tolist()
        assert fact.value == pytest.approx((high - low) / (third_quarter - first_quarter), rel=0.05)
    assert "heavy tails" not in {fact.name for fact in losskit.choose(drawn(600)).facts}


@pytest.mark.claim("R22")
def test_embeddings_are_answered_by_what_is_known_of_them() -> None:
    questions, answers = [f"question {k}" for k in range(40)], [f"the answer {k}" for k in range(40)]
    pairs = losskit.choose({"question": questions, "answer": answers}, task="embedding")
    assert first(pairs) == "multiple_negatives_ranking_loss"
    triplets = losskit.choose({"anchor": questions, "positive": answers, "negative": answers[::-1]}, task="embedding")
    assert first(triplets) == "triplet_margin_loss"
    alone = losskit.choose(task="embedding")
    assert {"contrastive_loss", "triplet_margin_loss", "multiple_negatives_ranking_loss"} <= {first(alone), *others(alone)}


@pytest.mark.claim("R23")
def test_a_language_model_is_answered_with_the_mean_over_tokens_of_what_comes_next() -> None:
    advice = losskit.choose(task="language")
    assert first(advice) == CE
    assert advice.first is not None
    logits, tokens = drawn(2, 6, 5), torch.arange(12).view(2, 6) % 5
    tokens[1, 3:] = -100
    wanted = [-logits[b, t].log_softmax(-1)[tokens[b, t + 1]] for b, t in [*((0, t) for t in range(5)), (1, 0), (1, 1)]]
    torch.testing.assert_close(evaluated(advice.first.code, logits=logits, tokens=tokens), torch.stack(wanted).mean())


@pytest.mark.claim("R24")
def test_ranking_is_answered_with_a_loss_of_pairs_or_of_lists() -> None:
    advice = losskit.choose(task="ranking")
    assert losskit.CATALOGUE[first(advice)].task == "ranking"
    found = {first(advice), *others(advice)}
    assert any(name.startswith("pairwise_") for name in found)
    assert "listnet_loss" in found


@pytest.mark.claim("R25")
def test_the_data_change_the_answer() -> None:
    balanced, rare = torch.arange(4000) % 2, torch.arange(4000) % 100 == 0
    facts = [{fact.name for fact in losskit.choose(target).facts} for target in (balanced, rare)]
    assert ["imbalance" in names for names in facts] == [False, True]
    weighted = losskit.choose(rare)
    assert weighted.first is not None
    text = weighted.first.code + weighted.first.warning + "".join(one.code for one in weighted.alternatives)
    assert "weight" in text
    soft = losskit.choose(drawn(200, 4).softmax(1))
    assert (first(soft), "soft labels" in {fact.name for fact in soft.facts}) == (CE, True)
    several = losskit.choose((drawn(300, 6) > 0.5).long())
    assert (several.task, first(several)) == ("multilabel", BCE)
    assert first(losskit.choose(drawn(1000))) != first(losskit.choose(cauchy(1000)))
