"""What was found in the graded search, in numbers: figures of every ranking with intervals over topics, and who gains by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..evaluate.intervals import ratio
from ..evaluate.ranked.graded import ndcg
from ..evaluate.ranked.yes_no import mrr
from .graded_models import FAMILIES, LOSSES, UNITS, K, Trained
from .graded_topics import Search, words

__all__ = ["BASE", "ENDS", "RANKING", "Found", "best", "facts_of", "interval", "key_of", "verdict"]

BASE = "squared error"
"""The pointwise loss that the others are held against, chosen before they were measured."""
RANKING = (*FAMILIES["pairwise"], *FAMILIES["listwise"])
ENDS = ("", "_low", "_high")


class Found(NamedTuple):
    """All there is: the search, its features by name, the mean of them, and what each loss made of each model."""

    search: Search
    features: Mapping[str, Tensor]
    mean: Tensor
    trained: Mapping[str, Mapping[str, Trained]]
    """By model, by loss."""


def key_of(name: str) -> str:
    """A loss as it is called in the facts."""
    return name.lower().replace("-", "_").replace(" ", "_")


def values(scores: Tensor, grades: Tensor, figure: Literal["ndcg", "mrr"]) -> Tensor:
    """(queries,): the mean over starts, where there are several; the answer itself is what MRR looks for."""
    rows = scores if scores.ndim == 3 else scores.unsqueeze(0)
    wanted = grades.expand_as(rows)
    found = ndcg(rows, wanted, k=K, reduction="none") if figure == "ndcg" else mrr(rows, wanted, threshold=3, reduction="none")
    return found.mean(0)


def interval(per_query: Tensor, targets: Tensor, picked: int = 1) -> tuple[float, float, float]:
    """The mean with its 95 % interval: queries of one topic are no independent witnesses, topics are.

    What was picked as the best of several has a wider one (Bonferroni): it would look good if all were the same.
    """
    size = int(targets.max()) + 1
    sums = torch.zeros(size, dtype=torch.float64).index_add(0, targets, per_query.double())
    found = ratio(sums, torch.bincount(targets, minlength=size), level=1 - 0.05 / picked)
    assert found.low is not None  # there are many topics
    assert found.high is not None
    return found.value, found.low, found.high


def verdict(facts: Mapping[str, float], name: str) -> Literal["better", "worse", "open"]:
    """What the interval of a change allows to say."""
    if facts[f"{name}_low"] > 0:
        return "better"
    return "worse" if facts[f"{name}_high"] < 0 else "open"


def best(facts: Mapping[str, float], model: str, among: Sequence[str] = RANKING) -> str:
    """The loss with the highest NDCG, the first of equals."""
    return max(among, key=lambda name: facts[f"ndcg_{model}_{key_of(name)}"])


def facts_of(found: Found) -> dict[str, float]:
    """Every number by name."""
    search, targets = found.search, found.search.targets
    facts = {
        "queries": float(len(search.queries)),
        "topics": float(len(search.topics)),
        "targets": float(len(targets.unique())),
        "features": float(len(found.features)),
        **{f"of_grade_{grade}": float((search.grades == grade).double().sum(1).mean()) for grade in (1, 2)},
    }
    scores: dict[str, Tensor] = {"bm25": next(iter(found.features.values())), "mean": found.mean}
    scores |= {f"{model}_{key_of(name)}": one.scores for model, ran in found.trained.items() for name, one in ran.items()}
    per = {name: values(one, search.grades, "ndcg") for name, one in scores.items()}

    def note(name: str, value: Tensor, picked: int = 1) -> None:
        facts.update({f"{name}{end}": number for end, number in zip(ENDS, interval(value, targets, picked), strict=True)})

    for name, one in scores.items():
        note(f"ndcg_{name}", per[name])
        facts[f"mrr_{name}"] = float(values(one, search.grades, "mrr").mean())
    for model in UNITS:
        for name in LOSSES:
            if name != BASE:
                note(f"change_{model}_{key_of(name)}", per[f"{model}_{key_of(name)}"] - per[f"{model}_{key_of(BASE)}"])
        base, top = per[f"{model}_{key_of(BASE)}"], per[f"{model}_{key_of(best(facts, model))}"]
        note(f"gain_learning_{model}", base - per["mean"])
        note(f"gain_loss_{model}", top - base, len(RANKING))
        note(f"gain_all_{model}", top - per["bm25"], len(RANKING))
    note("gain_features", per["mean"] - per["bm25"])
    return facts | _trainings(found) | _kinds(found, per, facts) | _seen(found, facts["ndcg_bm25"])


def _seen(found: Found, bm25: float) -> dict[str, float]:
    """What can be seen at all: features alone, queries that are in the answer's title, pairs of a grade above 0 and one of 0."""
    search = found.search
    alone = [float(values(one, search.grades, "ndcg").mean()) for one in found.features.values()]
    inside = [set(words(one.text)) <= set(words(search.topics[one.target].title)) for one in search.queries if words(one.text)]
    facts = {"alone_below_bm25": float(sum(one < bm25 for one in alone)), "in_title": sum(inside) / len(search.queries)}
    scores = found.mean.unsqueeze(2) - found.mean.unsqueeze(1)
    for grade in (1, 2, 3):
        pairs = (search.grades == grade).unsqueeze(2) & (search.grades == 0).unsqueeze(1)
        facts[f"above_{grade}"] = float(((scores[pairs] > 0).double() + (scores[pairs] == 0) / 2).mean())
    return facts


def _trainings(found: Found) -> dict[str, float]:
    """How trainings went: how many ended below their start and how far starts are apart, in NDCG on what was held out."""
    ran = [one for losses in found.trained.values() for one in losses.values()]
    each = [ndcg(one.scores, found.search.grades.expand_as(one.scores), k=K, reduction="none").mean(1) for one in ran]
    apart = max(float(of.max() - of.min()) for of in each)
    return {
        "trainings": float(len(ran)),
        "ended_lower": float(sum(one.seen[-1] < one.seen[0] for one in ran)),
        "starts_apart": apart,
    }


def _kinds(found: Found, per: Mapping[str, Tensor], facts: Mapping[str, float]) -> dict[str, float]:
    """NDCG by kind of query."""
    kinds: dict[str, list[int]] = {}
    for i, one in enumerate(found.search.queries):
        kinds.setdefault(one.kind, []).append(i)
    shown = {"bm25": "bm25", "mean": "mean", "base": f"linear_{key_of(BASE)}", "best": f"linear_{key_of(best(facts, 'linear'))}"}
    numbers = {f"queries_{key_of(kind)}": float(len(rows)) for kind, rows in kinds.items()}
    return numbers | {
        f"ndcg_{short}_{key_of(kind)}": float(per[name][rows].mean())
        for kind, rows in kinds.items()
        for short, name in shown.items()
    }
