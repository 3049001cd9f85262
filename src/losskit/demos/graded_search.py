"""Search with grades in Python's own help: BM25, features, and what pointwise, pairwise and listwise losses make of them."""

from __future__ import annotations

import torch
from torch import Tensor

from . import Result, Tick, demo
from .graded_features import features
from .graded_judged import Found, facts_of
from .graded_models import INNER, LOSSES, RATES, UNITS, Data, Plan, Trained, tuned
from .graded_said import answer, limits
from .graded_shown import examples, figures, tables
from .graded_told import chapter, chapter_facts
from .graded_topics import Search, folds, search

__all__ = ["graded_search"]

CODE = """\
import torch, losskit

scores = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
grades = torch.tensor([[1, 3, 0, 0]])                        # the answer is second

print(losskit.evaluate.ndcg(scores, grades, k=10))           # 0.7098: (1 + 7 / log2(3)) / (7 + 1 / log2(3))
print(losskit.pairwise_logistic_loss(scores, grades))        # 0.3858: the mean of five pairs
print(losskit.pairwise_logistic_loss(scores, grades, lambda_weight=losskit.DeltaNDCG(10)))  # 0.0908
print(losskit.listnet_loss(scores, grades))                  # 1.1902

# a list of another length: what is masked may be anything, and changes nothing
padded = torch.tensor([[2.0, 1.0, 0.0, -1.0, float("nan")]])
more = torch.tensor([[1, 3, 0, 0, 9]])
print(losskit.listnet_loss(padded, more, mask=more < 9))     # 1.1902
"""


def chosen(every: int) -> Search:
    """Every which query, and all topics."""
    whole = search()
    return Search(whole.topics, whole.queries[::every], whole.grades[::every])


def together(columns: Tensor) -> Tensor:
    """The mean of all features as they are standardised: no grade has a part in it."""
    return ((columns - columns.mean((0, 1))) / columns.std((0, 1)).clamp(min=1e-12)).mean(-1)


@demo(
    "graded-search",
    title="Search Python's help, with grades",
    question="Python's help says which of its topics are related: how much better than BM25 can they be ranked, and is it the features or the loss?",
    order=60,
)
def graded_search(tick: Tick, plan: Plan = Plan()) -> Result:
    """Pointwise, pairwise and listwise losses on the same features, from the same start, over the same batches."""
    asked = chosen(plan.every)
    seen = features(asked)
    columns = torch.stack(list(seen.values()), -1)
    data = Data(columns, asked.grades, asked.targets, folds(asked.targets, plan.folds, seed=0))
    trained: dict[str, dict[str, Trained]] = {model: {} for model in UNITS}
    work, done = 1 + len(UNITS) * len(LOSSES), 1
    for model, units in UNITS.items():
        for name, loss in LOSSES.items():
            tick(done / work)
            trained[model][name] = tuned(loss, data, units, plan)
            done += 1
    found = Found(asked, seen, together(columns), trained)
    facts = facts_of(found)
    facts |= chapter_facts(facts, found.mean, asked.grades)
    return Result(
        answer=answer(facts),
        method=_method(facts, plan),
        figures=figures(found, facts),
        tables=[*tables(found, facts), *examples(found, facts)],
        code=CODE,
        limits=limits(facts),
        facts=facts,
        chapter=chapter(facts, data),
    )


def _method(facts: dict[str, float], plan: Plan) -> str:
    rates = ", ".join(f"{rate:g}" for rate in RATES)
    return (
        "Queries are the keywords, symbols and topic names that pydoc.Helper knows, and headings and defined names in the texts. Grade 3 is the "
        "topic that help() shows, 2 what it lists as related, 1 what it lists below those and topics that hold half of the answer's paragraphs "
        f"or the other way round; all other topics are 0. Every query ranks all {facts['topics']:.0f} topics. {facts['features']:.0f} features of query and text (BM25 of "
        "five fields, words, phrases, letters, code, likeness to the best three by BM25, length), standardised on the queries of the training "
        f"folds. {plan.folds} folds; queries with the same answer are in one fold. A linear model, and one with {UNITS['network']} hidden units beside "
        f"it, begin as the mean of the features; {plan.steps} steps of Adam, {plan.batch} queries a step, the same ones for every loss, {plan.starts} starts. "
        f"The learning rate ({rates}) is chosen for each loss and fold by NDCG@10 on the queries of one topic in {INNER} of those to learn from, by a "
        "training on the rest. Intervals: topics are the clusters."
    )
