"""Graded search in Python's help: the demo's numbers, and that what it says of them follows them both ways."""

from __future__ import annotations

import functools
import io
import math

import pytest
import torch
from rich.console import Console

from losskit.demos import DEMOS, Ran, Result, discover, generator
from losskit.demos.graded_judged import BASE, RANKING, best, interval, key_of, verdict
from losskit.demos.graded_models import LOSSES, UNITS, Plan
from losskit.demos.graded_said import answer, limits, loss_sentence, share_sentence, verdict_sentences
from losskit.demos.graded_search import CODE, graded_search
from losskit.demos.report import render
from losskit.demos.terminal import show
from losskit.evaluate.ranked.graded import ndcg
from losskit.losses.lambda_weights import DeltaNDCG
from losskit.losses.listnet import listnet_loss
from losskit.losses.pairwise_logistic import pairwise_logistic_loss

SMALL = Plan(folds=3, starts=2, steps=4, batch=8, every=4)


@functools.cache
def small() -> Result:
    return graded_search(lambda share: None, SMALL)


@functools.cache
def whole() -> Result:
    return graded_search(lambda share: None)


# the demo


def test_it_is_found_by_its_name() -> None:
    assert "graded-search" in [one.name for one in discover()]


def test_the_same_seeds_give_the_same_numbers_and_nothing_global_changes() -> None:
    state = torch.get_rng_state()
    first = small()
    again = graded_search(lambda share: None, SMALL)
    assert again.facts == first.facts
    assert torch.equal(torch.get_rng_state(), state)
    assert all(isinstance(value, float) and math.isfinite(value) for value in first.facts.values())


def test_progress_rises_to_less_than_all() -> None:
    shares: list[float] = []
    graded_search(shares.append, SMALL._replace(steps=4, starts=1, every=12, folds=2))
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


def test_the_tables_fit_a_terminal_and_the_page_has_them() -> None:
    ran, out = Ran(DEMOS["graded-search"], small(), 1.0), io.StringIO()
    show([ran], Console(file=out, width=80))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "mean of the features" in out.getvalue()
    assert "ApproxNDCG" in render([ran])


def test_figures_are_within_their_intervals_and_parts_add_up() -> None:
    found = small().facts
    for name in [name.removesuffix("_low") for name in found if name.endswith("_low")]:
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"], name
    assert all(
        0 < found[name] <= 1 for name in found if name.startswith(("ndcg", "mrr")) and not name.endswith(("_low", "_high"))
    )
    for model in UNITS:
        parts = found["gain_features"] + found[f"gain_learning_{model}"] + found[f"gain_loss_{model}"]
        assert found[f"gain_all_{model}"] == pytest.approx(parts)
        top = found[f"ndcg_{model}_{key_of(best(found, model))}"]
        assert found[f"gain_loss_{model}"] == pytest.approx(top - found[f"ndcg_{model}_{key_of(BASE)}"])
        assert top == max(found[f"ndcg_{model}_{key_of(name)}"] for name in RANKING)


def test_an_interval_counts_topics_and_is_wider_for_what_was_picked() -> None:
    value, targets = torch.randn(40, generator=generator(0), dtype=torch.float64), torch.arange(40)
    alone, together = interval(value, targets), interval(value.repeat(3), targets.repeat(3))
    assert together == pytest.approx(alone)  # the same queries thrice are no more topics
    picked = interval(value, targets, picked=6)
    assert picked[0] == alone[0]
    assert picked[1] < alone[1] < alone[2] < picked[2]


def test_the_numbers_of_the_code_are_their_formulas() -> None:
    scores, grades = torch.tensor([[2.0, 1.0, 0.0, -1.0]]), torch.tensor([[1, 3, 0, 0]])
    gain, second = 7 + 1 / math.log2(3), 1 / math.log2(3)
    pairs = {1.0: 6 * (1 - second), -1.0: 7 * (second - 0.5), -2.0: 7 * (second - 1 / math.log2(5))}
    below = {-2.0: 1 - 0.5, -3.0: 1 - 1 / math.log2(5)}
    weighed = [weight / gain * math.log1p(math.exp(d)) for way in (pairs, below) for d, weight in way.items()]
    found = {
        "0.7098": ((1 + 7 * second) / gain, ndcg(scores, grades, k=10)),
        "0.3858": (sum(math.log1p(math.exp(d)) for d in (1, -1, -2, -2, -3)) / 5, pairwise_logistic_loss(scores, grades)),
        "0.0908": (sum(weighed) / 5, pairwise_logistic_loss(scores, grades, lambda_weight=DeltaNDCG(10))),
        "1.1902": (math.log(sum(math.exp(s) for s in (2, 1, 0, -1))) - 1.25, listnet_loss(scores, grades)),
    }
    for said, (formula, value) in found.items():
        assert f"# {said}" in CODE
        assert float(value) == pytest.approx(formula, rel=1e-5) == pytest.approx(float(said), abs=6e-5)


# what it says


def told(**changes: tuple[float, float, float]) -> dict[str, float]:
    """The facts with other changes and their intervals."""
    facts = dict(small().facts)
    for name, numbers in changes.items():
        facts |= {f"{name}{end}": number for end, number in zip(("", "_low", "_high"), numbers, strict=True)}
    return facts


Numbers = tuple[float, float, float]
UP, DOWN, OPEN = (0.04, 0.01, 0.07), (-0.04, -0.07, -0.01), (0.01, -0.02, 0.04)


def test_a_verdict_is_where_the_interval_lies() -> None:
    assert [verdict(told(x=numbers), "x") for numbers in (UP, DOWN, OPEN)] == ["better", "worse", "open"]


def test_the_answer_follows_the_features_and_the_learning() -> None:
    assert "is better, without learning anything: " in answer(told(gain_features=UP))
    assert "their plain mean is worse" in answer(told(gain_features=DOWN))
    assert "their plain mean cannot be told from it" in answer(told(gain_features=OPEN))
    assert "adds to that" in answer(told(gain_learning_linear=UP))
    assert "takes away from that" in answer(told(gain_learning_linear=DOWN))
    assert "by less than can be told" in answer(told(gain_learning_linear=OPEN))


def test_what_is_said_of_the_loss_follows_its_interval_in_each_model() -> None:
    said = loss_sentence(told(gain_loss_linear=UP, gain_loss_network=OPEN))
    assert "in the linear model is better (+0.040, +0.010 to +0.070)" in said
    assert "in the network model is not to be told from it" in said
    assert "in the linear model is worse" in loss_sentence(told(gain_loss_linear=DOWN, gain_loss_network=DOWN))


def test_the_gain_is_given_to_whom_it_belongs() -> None:
    def whose(features: Numbers, learning: Numbers, loss: Numbers) -> str:
        parts = {"gain_features": features, "gain_learning_linear": learning, "gain_loss_linear": loss}
        return verdict_sentences(told(gain_all_linear=UP, gain_loss_network=OPEN, **parts))

    assert whose(UP, OPEN, OPEN).startswith("The gain over BM25 is the features. No ranking loss adds anything to squared error")
    assert whose(OPEN, UP, OPEN).startswith("The gain over BM25 is the learning of their weights. ")
    assert whose(OPEN, OPEN, UP).startswith("The gain over BM25 is the loss. A ranking loss adds")
    more = (0.06, 0.02, 0.1)
    assert whose(UP, more, OPEN).startswith("The gain over BM25 is the learning of their weights, then the features. ")
    assert whose(more, OPEN, UP).startswith("The gain over BM25 is the features, then the loss. ")
    wide = (0.06, -0.02, 0.14)
    assert whose(UP, wide, OPEN).startswith(
        "Of the gain over BM25 only the features can be told, though the learning of their weights "
    )
    assert whose(UP, DOWN, OPEN).startswith(
        "The gain over BM25 is the features; some of it is lost again by the learning of their weights."
    )
    assert "could not be told. " in whose(OPEN, OPEN, OPEN)


def test_no_gain_is_shared_out_where_none_could_be_told() -> None:
    none, less = told(gain_all_linear=OPEN), told(gain_all_linear=DOWN)
    assert verdict_sentences(none).startswith("No gain over BM25 could be told")
    assert verdict_sentences(less).startswith("BM25 ranks better than the linear model")
    assert "none to share out" in share_sentence(none)
    assert share_sentence(told(gain_all_linear=UP)).startswith("Of +0.040 over BM25 in the linear model, ")


def test_the_verdict_on_ranking_losses_follows_both_models() -> None:
    def said(linear: Numbers, network: Numbers) -> str:
        return verdict_sentences(told(gain_loss_linear=linear, gain_loss_network=network))

    assert said(UP, UP).endswith("A ranking loss adds to squared error in the linear and the network model.")
    assert said(DOWN, UP).endswith("A ranking loss adds to squared error in the network model.")
    assert said(DOWN, DOWN).endswith("even the best is worse than squared error.")
    assert said(DOWN, OPEN).endswith("No ranking loss adds anything to squared error that could be told.")


def test_the_answer_begins_with_the_verdict_and_ends_with_its_shares() -> None:
    found = small()
    first, rest = found.answer.split("\n\n")
    assert first == verdict_sentences(found.facts)
    assert not any(letter.isdigit() for letter in first.replace("BM25", ""))
    assert rest.startswith("BM25 puts")
    assert rest.endswith(share_sentence(found.facts))


def test_the_boxes_are_named_on_their_axis() -> None:
    figure = small().figures[0]
    names = ["BM25", "mean of the features", *LOSSES]
    assert [list(chart.names) for chart in figure.charts] == [names] * 2 + [[one for one in LOSSES if one != BASE]] * 2
    for chart in figure.charts:
        assert [one.label for one in chart.series] == list(chart.names)
        assert [sum(one.x) / len(one.x) for one in chart.series] == pytest.approx(range(1, len(chart.names) + 1))


def test_limits_follow_how_trainings_ended_and_what_the_texts_show() -> None:
    def said(**numbers: float) -> str:
        return " ".join(limits({**small().facts, **numbers}))

    assert "No training ended below" in said(ended_lower=0.0)
    assert "does not carry over" not in said(ended_lower=3.0)
    assert "3 of 16 trainings ended below" in said(ended_lower=3.0)
    assert "All 16 trainings ended below" in said(ended_lower=16.0)
    assert "does not carry over" in said(ended_lower=16.0)
    assert "the texts hardly show" in said(above_1=0.6)
    assert "the texts hardly show" not in said(above_1=0.9)
    best_linear = f"mrr_linear_{key_of(best(small().facts, 'linear', tuple(LOSSES)))}"
    assert "goes the same way" in said(**{"ndcg_bm25": 0.1, "mrr_bm25": 0.1, best_linear: 0.2})
    assert "goes the other way" in said(**{"ndcg_bm25": 0.1, "mrr_bm25": 0.3, best_linear: 0.2})


def test_no_training_is_called_different_whose_interval_holds_0() -> None:
    names = [f"change_{model}_{key_of(name)}" for model in UNITS for name in LOSSES if name != BASE]
    assert "None of 14 other trainings" in " ".join(limits(told(**dict.fromkeys(names, OPEN))))
    two = dict.fromkeys(names, OPEN) | {names[0]: UP, names[1]: DOWN}
    assert "1 is better than squared error by their intervals and 1 worse" in " ".join(limits(told(**two)))


@pytest.mark.claim("R24", "R36")
@pytest.mark.slow
def test_the_features_are_worth_more_than_the_loss() -> None:
    found = whole().facts
    assert verdict(found, "gain_features") == "better"
    assert found["gain_features"] > max(found["gain_loss_linear"], found["gain_loss_network"])
    assert found["ndcg_bm25"] < min(found[f"ndcg_{model}_{key_of(name)}"] for model in UNITS for name in LOSSES)
    assert found["above_3"] > found["above_2"] > found["above_1"] > 0.5
    assert whole().answer.endswith(share_sentence(found))
