"""Named levels: each is the loss of a model that does what the level's sentence says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from doctor_helpers_levels import called, entropy, kinds, level
from losskit.doctor.after.logs.config import facts_from
from losskit.doctor.evidence.calls import LossCall
from losskit.doctor.levels import chance_of_call, constant_of_call, levels_of_call, levels_of_facts

CLASSES = torch.arange(10).repeat(32)
TENTH = (torch.arange(20000) % 10 == 0).float()[torch.randperm(20000, generator=torch.Generator().manual_seed(0))]
HALF = (torch.arange(20000) % 2 == 0).float()[torch.randperm(20000, generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        (lambda: F.cross_entropy(torch.zeros(320, 10), CLASSES), math.log(10)),
        (lambda: F.cross_entropy(torch.zeros(320, 10), CLASSES, label_smoothing=0.1), math.log(10)),
        (lambda: F.cross_entropy(torch.zeros(320, 10), CLASSES, weight=torch.arange(1.0, 11.0)), math.log(10)),
        (lambda: F.cross_entropy(torch.zeros(320, 10), CLASSES, reduction="sum"), 320 * math.log(10)),
        (lambda: F.cross_entropy(torch.zeros(4, 10, 8, 10), CLASSES.view(4, 8, 10)), math.log(10)),
        (lambda: F.cross_entropy(torch.zeros(320, 10), CLASSES.where(CLASSES > 4, -100)), math.log(10)),
        (lambda: F.cross_entropy(torch.zeros(8, 4), torch.full((8, 4), 0.25)), math.log(4)),
        (lambda: F.nll_loss(torch.zeros(320, 10).log_softmax(1), CLASSES), math.log(10)),
        (lambda: F.binary_cross_entropy_with_logits(torch.zeros(64, 1), torch.ones(64, 1)), math.log(2)),
        (lambda: F.binary_cross_entropy(torch.full((64,), 0.5), torch.ones(64)), math.log(2)),
        (lambda: F.soft_margin_loss(torch.zeros(64), torch.ones(64)), math.log(2)),
        (lambda: F.multilabel_soft_margin_loss(torch.zeros(64, 3), torch.ones(64, 3)), math.log(2)),
        (lambda: F.triplet_margin_loss(*torch.ones(3, 8, 4).unbind(), margin=0.3), 0.3),
        (lambda: F.margin_ranking_loss(torch.ones(8), torch.ones(8), torch.ones(8), margin=0.3), 0.3),
        (lambda: F.cross_entropy(torch.zeros(16, 16), torch.arange(16)), math.log(16)),
        (lambda: losskit.cross_entropy(torch.zeros(320, 10), CLASSES), math.log(10)),
        (lambda: losskit.focal_loss(torch.zeros(320, 10), CLASSES), 0.9**2 * math.log(10)),
        (lambda: losskit.info_nce_loss(torch.ones(8, 4), torch.ones(8, 4), temperature=0.02), math.log(8)),
        (lambda: losskit.info_nce_loss(torch.ones(8, 4), torch.ones(8, 4), negatives=torch.ones(5, 4)), math.log(13)),
        (lambda: losskit.nt_xent_loss(torch.ones(8, 4), torch.ones(8, 4)), math.log(15)),
        (lambda: losskit.clip_loss(torch.ones(8, 4), torch.ones(8, 4), logit_scale=torch.tensor(50.0)), math.log(8)),
        (
            lambda: losskit.multiple_negatives_ranking_loss(*torch.ones(2, 8, 4).unbind(), negatives=torch.ones(8, 2, 4)),
            math.log(24),
        ),
        (lambda: losskit.batch_triplet_loss(torch.ones(8, 4), CLASSES[:8] % 2, margin=0.2), 0.2),
        (lambda: losskit.linear_cross_entropy(torch.zeros(4, 3), torch.ones(10, 3), CLASSES[:4]), math.log(10)),
        (lambda: losskit.listnet_loss(torch.zeros(3, 5), torch.rand(3, 5)), math.log(5)),
        (lambda: losskit.bpr_loss(torch.zeros(5), torch.zeros(5, 1)), math.log(2)),
    ],
)
def test_chance_is_the_loss_of_scores_that_are_all_the_same(loss: Callable[[], Tensor], known: float) -> None:
    call = called(loss)
    assert call.value is not None
    assert level(levels_of_call(call), "chance").value == pytest.approx(known, rel=1e-9)
    assert float(call.value) == pytest.approx(known, rel=1e-5)
    assert chance_of_call(call) == pytest.approx(known, rel=1e-9)


def test_a_level_is_a_sentence_with_its_number() -> None:
    levels = levels_of_call(called(lambda: F.cross_entropy(torch.zeros(320, 10), CLASSES, label_smoothing=0.1)))
    assert level(levels, "chance").name == "ln 10 = 2.3026: chance among 10 classes"
    assert level(levels, "floor").name == "0.5003: the floor of label smoothing 0.1"
    assert level(levels, "floor").value == pytest.approx(-0.91 * math.log(0.91) - 0.09 * math.log(0.01))


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        # 90 % of one class
        (lambda: F.cross_entropy(torch.tensor([[0.9, 0.1]]).log().expand(20000, 2), TENTH.long()), entropy(0.1)),
        (lambda: F.binary_cross_entropy_with_logits(torch.full((20000, 1), math.log(1 / 9)), TENTH[:, None]), entropy(0.1)),
        (
            lambda: F.binary_cross_entropy_with_logits(
                torch.tensor([math.log(1 / 9), 0.0]).expand(20000, 2), torch.stack([TENTH, HALF], 1)
            ),
            (entropy(0.1) + math.log(2)) / 2,
        ),
        (lambda: F.mse_loss(torch.full((20000,), 0.1), TENTH), 0.09),
        (lambda: F.mse_loss(torch.tensor([0.1, 5.5]).expand(20000, 2), torch.stack([TENTH, HALF + 5], 1)), (0.09 + 0.25) / 2),
        (lambda: F.l1_loss(torch.full((20000,), 0.0), TENTH), 0.1),
        (lambda: losskit.mse_loss(torch.full((20000,), 0.1), TENTH), 0.09),
    ],
)
def test_the_constant_is_the_loss_of_the_best_answer_that_ignores_the_input(loss: Callable[[], Tensor], known: float) -> None:
    call = called(loss)
    assert call.value is not None
    assert level(levels_of_call(call), "constant").value == pytest.approx(known, rel=2e-3)  # the batch is a sample of the run
    assert constant_of_call(call) == pytest.approx(known, rel=1e-9)
    assert float(call.value) == pytest.approx(known, rel=1e-5)


def test_a_batch_that_is_too_small_to_tell_the_class_frequencies_names_no_constant() -> None:
    few, many = TENTH[:40].long(), TENTH.long()
    assert "constant" not in kinds(levels_of_call(called(lambda: F.cross_entropy(torch.zeros(40, 2), few))))
    assert "constant" in kinds(levels_of_call(called(lambda: F.cross_entropy(torch.zeros(20000, 2), many))))


def test_the_floor_of_soft_targets_is_their_entropy() -> None:
    target = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64).repeat(8, 1)
    call = called(lambda: F.cross_entropy(target.log(), target))
    assert call.value is not None
    assert level(levels_of_call(call), "floor").value == pytest.approx((math.log(2) + entropy(0.1)) / 2)
    assert float(call.value) == pytest.approx((math.log(2) + entropy(0.1)) / 2)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # torch advises against what is tested here
@pytest.mark.parametrize(("reduction", "times"), [("batchmean", 1.0), ("sum", 64.0), ("mean", 0.25)])
def test_the_chance_of_a_divergence_follows_its_reduction(reduction: str, times: float) -> None:
    target = torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64).expand(64, 4)
    uniform = torch.full((64, 4), 0.25, dtype=torch.float64).log()
    call = called(lambda: F.kl_div(uniform, target, reduction=reduction))
    assert call.value is not None
    known = times * (math.log(4) + 0.7 * math.log(0.7) + 0.3 * math.log(0.1))
    assert level(levels_of_call(call), "chance").value == pytest.approx(known)
    assert float(call.value) == pytest.approx(known)


def test_a_softmax_twice_has_its_plateau_where_it_is_seen_and_nowhere_else() -> None:
    scores = torch.randn(32, 10, requires_grad=True)
    twice = called(lambda: F.cross_entropy(scores.softmax(1), CLASSES[:32]))
    once = called(lambda: F.cross_entropy(scores, CLASSES[:32]))
    found = level(levels_of_call(twice), "plateau")
    assert (found.value, found.code) == (pytest.approx(math.log(math.e + 9) - 1), "D101")
    right = F.cross_entropy(F.one_hot(CLASSES, 10).double(), CLASSES)  # what a perfect model gets
    assert found.value == pytest.approx(float(right))
    assert "plateau" not in kinds(levels_of_call(once))


def test_a_sigmoid_twice_has_its_plateau_where_it_is_seen() -> None:
    scores = torch.randn(20000, requires_grad=True)
    twice = called(lambda: F.binary_cross_entropy_with_logits(scores.sigmoid(), TENTH))
    found = level(levels_of_call(twice), "plateau")
    assert found.code == "D103"
    assert found.value == pytest.approx(0.1 * math.log(1 + 1 / math.e) + 0.9 * math.log(2))
    assert found.value == pytest.approx(float(F.binary_cross_entropy_with_logits(TENTH.double(), TENTH.double())))


def test_a_momentum_is_no_margin_and_a_letter_counts_beside_the_name_of_a_loss() -> None:
    assert levels_of_facts({"m": 0.999}) == ()
    assert levels_of_facts({"N": 64}) == ()
    assert level(levels_of_facts({"loss": "triplet_margin_loss", "m": 0.2}), "chance").value == pytest.approx(0.2)
    assert level(levels_of_facts({"loss": "info_nce_loss", "N": 64}), "chance").value == pytest.approx(math.log(64))
    assert facts_from({"m": 0.999, "gamma": 0.1, "entropy": 0.01, "C": 3}) == {}


def test_a_softmax_of_an_attention_further_up_is_no_softmax_twice() -> None:
    weights = torch.randn(6, 4, requires_grad=True).softmax(-1)
    mixed = weights @ torch.rand(4, 3)
    rows = mixed / mixed.sum(1, keepdim=True)  # they sum to 1, and no softmax is next to them
    assert "plateau" not in kinds(levels_of_call(called(lambda: F.cross_entropy(rows, torch.arange(6) % 3))))
    twice = called(lambda: F.cross_entropy(torch.randn(6, 3, requires_grad=True).softmax(1), torch.arange(6) % 3))
    assert level(levels_of_call(twice), "plateau").value == pytest.approx(math.log(math.e + 2) - 1)


def test_a_call_that_raised_or_is_of_no_known_loss_has_no_levels() -> None:
    assert levels_of_call(LossCall("cross_entropy", "torch", {}, {}, None, error="IndexError: no")) == ()
    assert levels_of_call(LossCall("my_loss", "torch", {}, {}, torch.tensor(1.0))) == ()


def test_class_weights_count_in_the_constant_and_with_smoothing_leave_no_level_for_all_data() -> None:
    weight, labels = torch.tensor([1.0, 9.0], dtype=torch.float64), TENTH.long()
    weighted = called(lambda: F.cross_entropy(torch.zeros(20000, 2, dtype=torch.float64), labels, weight=weight))
    assert constant_of_call(weighted) == pytest.approx(math.log(2))  # 9 x 10 % against 1 x 90 %: a coin toss again
    smoothed = called(lambda: F.cross_entropy(torch.zeros(64, 2), labels[:64], weight=weight.float(), label_smoothing=0.1))
    assert smoothed.value is not None
    assert float(smoothed.value) != pytest.approx(math.log(2), rel=0.01)
    assert "chance" not in kinds(levels_of_call(smoothed))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"loss": "cross_entropy", "num_classes": 10}, {math.log(10): "", math.log(math.e + 9) - 1: "D101"}),
        ({"C": "10", "label_smoothing_factor": 0.1}, {math.log(10): "", 0.5002880350577577: ""}),
        ({"vocab_size": 50257}, {math.log(50257): "D804"}),
        ({"vocab_size": 30522, "num_labels": 3, "architectures": ["BertForSequenceClassification"]}, {math.log(3): ""}),
        ({"vocab_size": 50257, "num_labels": 2, "architectures": ["GPT2LMHeadModel"]}, {math.log(50257): "D804"}),
        ({"num_classes": 2, "class_counts": [900, 100]}, {0.3250829733914482: "D606", math.log(2): ""}),
        ({"loss": "nn.BCEWithLogitsLoss", "prior": 0.1}, {0.3250829733914482: "D606", math.log(2): ""}),
        ({"loss": "MultipleNegativesRankingLoss", "N": 64}, {math.log(64): "D702"}),
        ({"loss": "nt_xent_loss", "batch_size": 64}, {math.log(127): "D702"}),
        ({"loss": "TripletMarginLoss", "margin": 0.2}, {0.2: "D703"}),
        ({"margin": 0.2}, {0.2: "D703"}),
        ({"loss": "MSELoss", "var_y": 4.0}, {4.0: ""}),
        ({"loss": "mse", "floor": 0.5}, {0.5: ""}),
        ({"vocab_size": 65, "unigram_entropy": 3.3}, {3.3: "", math.log(65): "D804"}),
    ],
)
def test_facts_of_a_run_name_its_levels(facts: dict[str, Any], expected: dict[float, str]) -> None:
    found = {round(one.value, 9): one.code for one in levels_of_facts(facts)}
    for value, code in expected.items():
        assert found[round(value, 9)] == code


@pytest.mark.parametrize(
    "facts",
    [{}, {"num_classes": math.nan}, {"num_classes": -3}, {"num_classes": 1e30}, {"prior": "x"}, {"prior": [0, 0]}, {"loss": 3},
     {"loss": "my_loss", "num_classes": 10}, {"vocab_size": "many"}, {"label_smoothing": 7, "C": 10}, {"margin": "wide"},
     {"loss": "info_nce_loss", "batch_size": 1}, {"loss": "<b>ce</b>"}, {"id2label": {}}],
)  # fmt: skip
def test_facts_that_make_no_sense_name_nothing_wrong(facts: dict[str, Any]) -> None:
    for one in levels_of_facts(facts):
        assert math.isfinite(one.value)
        assert one.name
