"""choose() on data sets of known kind: the right family in all of them, a refusal where there is nothing to learn."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from choosing_made import CASES, rare, scope

import losskit
from losskit import CATALOGUE, Advice, Candidate

REFUSED = [name for name, case in CASES.items() if case.first is None]
ADVISED = [name for name, case in CASES.items() if case.first is not None]
# each of these is a question that the data cannot answer, not a lack of something to learn
ASKED = {"shuffled ids", "dates", "a table without a target"}


def advise(name: str) -> Advice:
    torch.manual_seed(0)
    return losskit.choose(**CASES[name].make())


def candidates(advice: Advice) -> Iterator[Candidate]:
    if advice.first is not None:
        yield advice.first
    yield from (*advice.alternatives, *advice.avoid)


def test_there_are_more_than_forty_kinds_of_data() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_data_gets_its_family(name: str) -> None:
    case, advice = CASES[name], advise(name)
    assert advice.task == case.task
    assert (advice.first.loss if advice.first else None) == case.first
    if case.fact:
        assert case.fact in {fact.name for fact in advice.facts}


@pytest.mark.parametrize("name", REFUSED)
def test_where_nothing_can_be_learned_a_sentence_says_why(name: str) -> None:
    advice = advise(name)
    if name in ASKED:
        assert not advice.refusal
        assert all(question.answers for question in advice.questions)
        assert advice.questions
    else:
        assert len(advice.refusal.split()) >= 5
        assert advice.refusal.endswith(".")
        assert not advice.alternatives


@pytest.mark.parametrize("name", ADVISED)
def test_the_code_of_every_candidate_runs_and_learns(name: str) -> None:
    advice = advise(name)
    labels = {"labels as a matrix": 6, "labels as columns": 3, "rare labels": 20}.get(name, 5)
    classes = next((int(f.value) for f in advice.facts if f.name == "classes"), 4)
    for candidate in candidates(advice):
        space: dict[str, Any] = scope(str(advice.task), candidate.code, classes, labels)
        exec(candidate.code, space)
        loss = space["loss"]
        assert loss.ndim == 0
        assert bool(loss.isfinite())
        learned = [t for t in space.values() if isinstance(t, torch.Tensor) and t.requires_grad and t.is_leaf]
        gradients = torch.autograd.grad(loss, learned, allow_unused=True)
        assert any(g is not None and float(g.abs().sum()) > 0 for g in gradients), candidate.code


@pytest.mark.parametrize("name", ADVISED)
def test_every_candidate_is_of_the_catalogue_with_options_that_it_has(name: str) -> None:
    for candidate in candidates(advise(name)):
        card = CATALOGUE[candidate.loss]
        assert candidate.options.keys() <= card.options.keys()
        assert f"losskit.{candidate.loss}(" in candidate.code
        for option in candidate.options:
            assert f"{option}=" in candidate.code
        assert candidate.reason
        assert max(map(len, candidate.code.splitlines())) < 300


@pytest.mark.parametrize("name", ADVISED)
def test_no_level_is_above_the_one_that_must_not_be_lower(name: str) -> None:
    for candidate in candidates(advise(name)):
        known = [v for v in (candidate.best, candidate.constant) if v is not None]
        assert known == sorted(known)
        assert all(math.isfinite(v) for v in known)


def test_no_normal_sample_has_heavy_tails_or_outliers() -> None:
    torch.manual_seed(0)
    for i in range(200):
        rows = (50, 100, 200, 500, 1000, 2000, 5000)[i % 7]
        advice = losskit.choose(torch.randn(rows, dtype=torch.float64) * 3 + 1)
        assert advice.first is not None
        assert advice.first.loss == "mse_loss"
        assert not {"heavy tails", "outliers"} & {fact.name for fact in advice.facts}


def test_no_fair_coin_and_no_fair_die_is_imbalanced() -> None:
    torch.manual_seed(0)
    for i in range(200):
        rows = (50, 100, 200, 500, 1000, 2000, 5000)[i % 7]
        for classes in (2, 6, 20):
            drawn = [str(v) for v in torch.randint(0, classes, (rows,)).tolist()]
            advice = losskit.choose([f"class {v}" for v in drawn])
            assert "imbalance" not in {fact.name for fact in advice.facts}


def test_a_few_rows_of_one_to_twenty_are_not_called_imbalanced() -> None:
    """One yes of 20 rows: a share between 0.5 and 31 % at 99 %."""
    names = {fact.name for fact in losskit.choose(rare(19, 20)).facts}
    assert "balance" in names
    assert "imbalance" not in names


def test_a_million_rows_are_seen_in_seconds() -> None:
    """No time is asserted: a profile that goes by pairs of rows would not come back."""
    torch.manual_seed(0)
    x = torch.randn(1_000_000, 4)
    started = time.perf_counter()
    advice = losskit.choose({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": x.sum(1)}, target="y")
    print(f"{time.perf_counter() - started:.1f} s")
    assert advice.first is not None
    assert advice.first.loss == "mse_loss"
    assert advice.facts[0].value == 1_000_000
