"""Graded search in Python's help: what is asked, how well a topic answers, and what features and models see of it."""

from __future__ import annotations

import functools
import math
import pydoc
from collections.abc import Mapping

import pytest
import torch

from losskit.demos import generator, graded_topics
from losskit.demos.graded_features import BM25, Field, features
from losskit.demos.graded_judged import BASE
from losskit.demos.graded_models import FAMILIES, INNER, LOSSES, UNITS, Data, Job, Plan, train
from losskit.demos.graded_topics import DEFINITION, HEADING, Search, folds, grade, parted, search, words
from losskit.evaluate.ranked.graded import ndcg


@functools.cache
def some() -> Search:
    whole = search()
    return Search(whole.topics, whole.queries[::8], whole.grades[::8])


def place(text: str) -> int:
    return next(i for i, one in enumerate(search().queries) if one.text == text)


def with_grade(text: str, wanted: int) -> set[str]:
    row = search().grades[place(text)]
    return {search().topics[i].title for i in (row == wanted).nonzero().flatten().tolist()}


# the topics, the queries, the grades


def test_there_are_hundreds_of_queries_of_every_kind_and_none_is_asked_twice() -> None:
    queries = search().queries
    assert len(queries) > 200
    assert {one.kind for one in queries} == {"keyword", "symbol", "topic name", "heading", "defined name"}
    assert len({one.text.lower() for one in queries}) == len(queries)
    assert search.__wrapped__().queries == queries


def test_the_answer_is_what_help_shows_and_what_it_lists_is_related() -> None:
    assert with_grade("with", 3) == {"The with statement"}
    assert {"With Statement Context Managers", "Exceptions", "The yield statement"} == with_grade("with", 2)
    assert "Compound statements" in with_grade("with", 1)  # holds all of it
    assert with_grade("**", 3) == {"The power operator"}
    assert with_grade("**", 2) == {"Operator precedence"}
    assert ((search().grades == 3).sum(1) == 1).all()


def test_every_keyword_and_symbol_that_help_has_a_text_for_is_asked() -> None:
    asked = {one.text for one in search().queries}
    assert {name for name, entry in pydoc.Helper.keywords.items() if entry} <= asked
    assert {"**", "...", "+=", "@"} <= asked


def test_grades_are_a_path_in_the_table_of_related_topics() -> None:
    near = torch.zeros(6, 6, dtype=torch.bool)
    near[0, 1] = near[1, 2] = near[2, 3] = near[4, 5] = True
    family = torch.eye(6, dtype=torch.bool)
    family[0, 4] = True
    assert grade(0, set(), near, family).tolist() == [3, 2, 1, 0, 1, 0]
    assert grade(0, {3}, near, family).tolist() == [3, 2, 1, 2, 1, 0]
    near[1, 0] = True  # what leads back to the answer is the answer
    assert int(grade(0, set(), near, family)[0]) == 3


def test_a_name_in_capitals_is_parted_into_words_of_the_texts() -> None:
    known = {"truth": 3, "value": 5, "subscripts": 0, "code": 1, "objects": 1}
    assert parted("TRUTHVALUE", known) == "truth value"
    assert parted("CODE", known) == "code"
    assert parted("LOOPING", known) == "looping"


def test_a_symbol_is_a_word_where_code_has_it() -> None:
    assert words('the "**" operator, x ** y, self.__add__(1)') == [
        "the",
        "**",
        "operator",
        "x",
        "**",
        "y",
        "self",
        "__add__",
        "1",
    ]


def test_a_python_without_its_documentation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(graded_topics, "import_module", gone)
    with pytest.raises(ImportError, match="needs pydoc_data of the standard library"):
        search.__wrapped__()


# nothing gives the answer away


@pytest.mark.parametrize("count", [2, 5, INNER])
def test_no_topic_has_queries_in_two_folds_and_folds_are_of_a_size(count: int) -> None:
    targets = search().targets
    fold = folds(targets, count, seed=1)
    assert all(len(fold[targets == topic].unique()) == 1 for topic in targets.unique())
    sizes = torch.bincount(fold, minlength=count)
    assert int(sizes.max() - sizes.min()) <= int(torch.bincount(targets).max())
    assert int(sizes.min()) > 0


def test_headings_and_defining_lines_are_not_in_the_texts() -> None:
    for topic in search().topics:
        assert not HEADING.search(topic.text), topic.title
        assert not DEFINITION.search(topic.text), topic.title
    asked = [one for one in search().queries if one.kind == "heading"]
    assert {one.text.lower() for one in asked}.isdisjoint(topic.title.lower() for topic in search().topics)


def test_features_see_neither_grades_nor_answers() -> None:
    blind = Search(some().topics, [one._replace(target=0, kind="") for one in some().queries], torch.zeros_like(some().grades))
    for name, seen in features(blind).items():
        assert torch.equal(seen, features_of_some()[name]), name


@functools.cache
def features_of_some() -> Mapping[str, torch.Tensor]:
    return features(some())


def test_what_is_held_out_does_not_move_the_scale_of_the_features() -> None:
    data = made()
    learned = torch.arange(0, 12)
    changed = data._replace(features=torch.cat([data.features[:12], 9 + 5 * data.features[12:]]))
    assert torch.equal(data.standard(learned)[:12], changed.standard(learned)[:12])
    torch.testing.assert_close(data.standard(learned)[:12].mean((0, 1)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(data.standard(learned)[:12].std((0, 1)), torch.ones(3))


# the features


def test_bm25_is_its_formula() -> None:
    texts = [["a", "b", "a"], ["b", "c"], ["c", "c", "c", "d"]]
    found = Field.of(texts).bm25([["a"], ["b", "d"], ["x"]])

    def each(times: int, length: int, have: int) -> float:
        rarity = math.log(1 + (3 - have + 0.5) / (have + 0.5))
        return rarity * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * length / 3))

    wanted = [[each(2, 3, 1), 0, 0], [each(1, 3, 2), each(1, 2, 2), each(1, 4, 1)], [0, 0, 0]]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def test_shares_are_between_0_and_1_and_whole_where_all_is_there() -> None:
    field = Field.of([["a", "b"], ["c"]])
    assert field.covered([["a", "b"], ["a", "x"]])[0].tolist() == pytest.approx([1, 0])
    assert 0 < float(field.covered([["a", "x"]])[0, 0]) < 0.5
    assert field.within([["a", "b", "x"], ["a"]])[:, 0].tolist() == pytest.approx([1, 0.5])


def test_every_feature_is_finite_and_tells_topics_apart() -> None:
    for name, seen in features_of_some().items():
        assert seen.shape == some().grades.shape, name
        assert bool(seen.isfinite().all()), name
        assert float(seen.std()) > 0, name
    assert next(iter(features_of_some())) == BM25


# the models


@functools.cache
def made() -> Data:
    source = generator(3)
    columns = torch.randn(24, 15, 3, generator=source, dtype=torch.float64)
    grades = (columns[..., 0] - columns[..., 1]).argsort(1).argsort(1) // 4
    return Data(columns, grades, torch.arange(24) // 2, torch.arange(24) // 12)


def jobs() -> list[Job]:
    learned, held = torch.arange(0, 12), torch.arange(12, 24)
    return [Job(learned, held, 0.01, 0), Job(held, learned[:7], 0.05, 1)]


@pytest.mark.parametrize("units", UNITS.values(), ids=list(UNITS))
def test_models_side_by_side_are_models_alone(units: int) -> None:
    plan = Plan(steps=6, batch=8)
    both, seen = train(LOSSES[BASE], made(), jobs(), units, plan)
    for i, job in enumerate(jobs()):
        alone, looks = train(LOSSES[BASE], made(), [job], units, plan)
        torch.testing.assert_close(both[i], alone[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(seen[:, i], looks[:, 0])
        assert len(both[i]) == len(job.held)


@pytest.mark.parametrize("units", UNITS.values(), ids=list(UNITS))
def test_every_model_begins_as_the_mean_of_the_features_and_every_loss_teaches_it(units: int) -> None:
    data, job = made(), jobs()[0]
    begun = ndcg(data.standard(job.learned)[job.held].mean(-1), data.grades[job.held], k=10)
    for name, loss in LOSSES.items():
        _, seen = train(loss, data, [job._replace(rate=0.05)], units, Plan(steps=60, batch=12))
        assert float(seen[0, 0]) == pytest.approx(float(begun)), name
        assert float(seen[-1, 0]) > float(begun) + 0.05, name


def test_the_losses_are_their_formulas() -> None:
    scores, grades = torch.tensor([[0.5, -0.25, 1.0]]), torch.tensor([[2, 0, 1]])
    soft = torch.nn.functional.softplus
    wanted = {
        "squared error": (1.5**2 + 0.25**2 + 0) / 3,
        "cross-entropy": float(soft(torch.tensor([-0.5, -0.25, -1.0])).mean()),
        "logistic": float(soft(torch.tensor([-0.75, 0.5, -1.25])).mean()),
        "hinge": (0.25 + 1.5 + 0) / 3,
        "ListNet": float(-(torch.tensor([2, 0, 1]) / 3 * scores[0].log_softmax(0)).sum()),
        "ListMLE": float(scores.logsumexp(1) - 0.5 + scores[:, 1:].logsumexp(1) - 1.0),
    }
    for name, value in wanted.items():
        assert LOSSES[name](scores, grades).tolist() == pytest.approx([value], rel=1e-5), name
    assert [name for family in FAMILIES.values() for name in family] == list(LOSSES)
