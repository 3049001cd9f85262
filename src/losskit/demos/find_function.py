"""Find a Python function from its description: which loss makes the most of pairs, and what a batch has to do with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.card import reference
from ..evaluate.intervals import ratio
from ..evaluate.retrieving.relevance import Relevance
from ..evaluate.retrieving.report import RetrievalReport
from ..evaluate.retrieving.run import retrieval
from ..losses.contrastive import contrastive_loss
from ..losses.multiple_negatives import multiple_negatives_ranking_loss
from ..losses.triplet import triplet_margin_loss
from . import Result, Tick, demo, generator
from .find_function_told import WRONG, chapter, chapter_facts
from .letters import Towers, counts
from .python_functions import Function, functions, split
from .retrieved import Found, Trained, answer, examples, figures, key_of, limits, tables
from .watched import watching

__all__ = ["LOSSES", "Data", "Plan", "find_function"]

TEMPERATURE = 0.05
MARGINS = {"triplet": 0.2, "contrastive": 1.5}  # the best of a few each, on a split of its own, and so is the temperature
RATES = {"weight": 1e-2, "tables": 1e-3}
MICRO = 16
LOOKS = 3

CODE = """\
import torch, losskit

query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])      # two descriptions
key = torch.tensor([[0.6, 0.8], [0.8, 0.6]])        # their functions: each is nearer to the other's description

losskit.triplet_margin_loss(query, key, key.roll(1, 0), margin=0.2)
print(losskit.multiple_negatives_ranking_loss(query, key, temperature=0.05))     # 4.018

# the same pair twice in a batch: without ids its twin is a negative, and the loss stays above ln 2
twice, ids = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([7, 7])
print(losskit.multiple_negatives_ranking_loss(twice, twice))                     # 0.6931
losskit.multiple_negatives_ranking_loss(twice, twice, key_ids=ids)
"""


class Plan(NamedTuple):
    """How much to measure: the splits into modules, the steps of a training, the pairs in a batch; every which function."""

    splits: Sequence[int] = (0, 1)
    steps: int = 80
    batch: int = 128
    every: int = 1


class Data(NamedTuple):
    """Descriptions and signatures as rows of letters, to learn from and held out, and the functions that are held out."""

    query: Tensor
    key: Tensor
    unseen_query: Tensor
    unseen_key: Tensor
    held: Sequence[Function]

    @classmethod
    def of(cls, found: Sequence[Function], rows: tuple[Tensor, Tensor], seed: int) -> Data:
        """One split; ``rows`` are the letters of all descriptions and of all signatures."""
        places = {one: i for i, one in enumerate(found)}
        learned, held = split(found, seed)
        (query, key), (unseen_query, unseen_key) = (
            [texts[[places[one] for one in part]] for texts in rows] for part in (learned, held)
        )
        return cls(query, key, unseen_query, unseen_key, held)


Loss = Callable[[Tensor, Tensor], Tensor]
"""Of a batch of descriptions and their functions, rows of length one."""


def ranking(query: Tensor, key: Tensor) -> Tensor:
    """Each description against all functions of the batch."""
    return multiple_negatives_ranking_loss(query, key, temperature=TEMPERATURE)


def accumulated(query: Tensor, key: Tensor) -> Tensor:
    """The same in batches of 16 whose gradients are added up before a step."""
    parts = [ranking(q, k) for q, k in zip(query.split(MICRO), key.split(MICRO), strict=True)]
    return torch.stack(parts).mean()


def hardest(query: Tensor, key: Tensor) -> Tensor:
    """Each description against the wrong function of the batch that it is nearest to."""
    cosines = (query @ key.T).detach().fill_diagonal_(-math.inf)
    return triplet_margin_loss(query, key, key[cosines.argmax(-1)], margin=MARGINS["triplet"])


def triplet(query: Tensor, key: Tensor) -> Tensor:
    """Each description against one wrong function, the next one in the batch."""
    return triplet_margin_loss(query, key, key.roll(1, 0), margin=MARGINS["triplet"])


def contrastive(query: Tensor, key: Tensor) -> Tensor:
    """Pairs that belong together, and as many that do not."""
    same = torch.cat([torch.ones(len(query)), torch.zeros(len(query))])
    return contrastive_loss(query.repeat(2, 1), torch.cat([key, key.roll(1, 0)]), same, margin=MARGINS["contrastive"])


LOSSES: Mapping[str, Loss] = {
    "multiple negatives": ranking,
    "in batches of 16": accumulated,
    "triplet, hardest": hardest,
    "triplet, random": triplet,
    "contrastive": contrastive,
}


def twice(ids: bool) -> Loss:
    """Multiple negatives over the first half of a batch taken two times, the twins known by ids or not."""

    def loss(query: Tensor, key: Tensor) -> Tensor:
        half = len(query) // 2
        known = torch.arange(half).repeat(2) if ids else None
        return multiple_negatives_ranking_loss(
            query[:half].repeat(2, 1), key[:half].repeat(2, 1), temperature=TEMPERATURE, query_ids=known
        )

    return loss


def start() -> Towers:
    """The model that every training begins with."""
    return Towers(generator(1))


def judge(model: Towers, data: Data) -> RetrievalReport:
    """Every held-out description against all held-out functions."""
    with torch.no_grad():
        query, key = model(data.unseen_query, data.unseen_key)
    return retrieval(query, key, Relevance.one(torch.arange(len(query))), k=(1, 10))


def train(loss: Loss, data: Data, before: RetrievalReport, plan: Plan) -> Trained:
    """Adam from the same start, which ``before`` is the judgement of, and over the same batches for every loss."""
    model, source = start(), generator(2)
    groups = [{"params": [model.weight], "lr": RATES["weight"]}, {"params": [model.query, model.key], "lr": RATES["tables"]}]
    optimizer = torch.optim.Adam(groups)
    seen, values = [before], list[float]()
    saw = watching(loss, objective="mining" if loss is hardest else None)
    for step in range(plan.steps):
        rows = torch.randperm(len(data.query), generator=source)[: plan.batch]
        optimizer.zero_grad()
        value = loss(*model(data.query[rows], data.key[rows]))
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
        saw(value)
        if (step + 1) * LOOKS // plan.steps > step * LOOKS // plan.steps:
            seen.append(judge(model, data))
    with torch.no_grad():
        query, key = model(data.unseen_query, data.unseen_key)
    return Trained(seen, values, (query @ key.T).topk(3).indices)


def _change(
    before: Sequence[RetrievalReport], after: Sequence[RetrievalReport], held: Sequence[Sequence[Function]]
) -> Mapping[str, float]:
    """How MRR changed, with its 95 % interval: functions of a module go together."""
    total: dict[str, list[float]] = {}
    for old, new, of in zip(before, after, held, strict=True):
        for one, change in zip(of, (new.values("mrr") - old.values("mrr")).tolist(), strict=True):
            total.setdefault(one.module, []).append(change)
    found = ratio([sum(changes) for changes in total.values()], [len(changes) for changes in total.values()])
    assert found.low is not None  # there are many modules
    assert found.high is not None
    return {"mrr_change": found.value, "mrr_change_low": found.low, "mrr_change_high": found.high}


def _known(found: Found, plan: Plan) -> dict[str, float]:
    """The numbers by name: means over the splits."""
    pools = [len(of) for of in found.held]
    level = reference("multiple_negatives_ranking_loss", batch_size=plan.batch).chance
    assert level is not None
    facts = {
        "pairs": float(found.pairs),
        "held": sum(pools) / len(pools),
        "modules": sum(len({one.module for one in of}) for of in found.held) / len(pools),
        "chance_recall": sum(1 / n for n in pools) / len(pools),
        "chance_mrr": sum(sum(1 / i for i in range(1, n + 1)) / n for n in pools) / len(pools),
        "chance_loss": level,
        "chance_loss_micro": math.log(MICRO),
    }
    before = [one.seen[0] for one in found.trained["multiple negatives"]]
    facts |= {f"{key}_before": _mean(before, name) for key, name in FIGURES.items()}
    for name, ran in found.trained.items():
        key, after = key_of(name), [one.seen[-1] for one in ran]
        facts |= {f"{figure}_{key}": _mean(after, of) for figure, of in FIGURES.items()}
        facts |= {f"{figure}_{key}": value for figure, value in _change(before, after, found.held).items()}
        facts[f"loss_{key}"] = sum(sum(one.values[-10:]) / len(one.values[-10:]) for one in ran) / len(ran)
    for name, one in found.doubled.items():
        facts |= {f"{figure}_{name}": one.seen[-1][of] for figure, of in FIGURES.items()}
        facts[f"loss_{name}"] = sum(one.values[-10:]) / len(one.values[-10:])
    return facts


FIGURES = {"recall": "recall@1", "recall10": "recall@10", "mrr": "mrr"}


def _mean(reports: Sequence[RetrievalReport], name: str) -> float:
    return sum(one[name] for one in reports) / len(reports)


@demo(
    "find-function",
    title="Find the Python function from its description",
    question="Three thousand descriptions and their functions: which loss teaches a model to find functions of modules it never saw?",
    order=40,
)
def find_function(tick: Tick, plan: Plan = Plan()) -> Result:
    """Multiple negatives against triplets and pairwise contrastive, from the same start over the same batches."""
    known = functions()[:: plan.every]
    rows = counts(one.description for one in known), counts(one.signature for one in known)
    parts = [Data.of(known, rows, seed) for seed in plan.splits]
    work, done = len(plan.splits) * len(LOSSES) + 2, 0
    trained: dict[str, list[Trained]] = {name: [] for name in LOSSES}
    begun = [judge(start(), data) for data in parts]
    for name, loss in LOSSES.items():
        for data, before in zip(parts, begun, strict=True):
            trained[name].append(train(loss, data, before, plan))
            done += 1
            tick(done / work)
    doubled = {
        f"twice_{name}": train(twice(ids), parts[0], begun[0], plan) for name, ids in (("without_ids", False), ("with_ids", True))
    }
    found = Found(trained, doubled, [data.held for data in parts], sum(len(data.query) for data in parts) // len(parts))
    facts = _known(found, plan)
    ends = {name: [one.seen[-1] for one in ran] for name, ran in trained.items()}
    against = {name: _change(ends[name], ends["multiple negatives"], found.held) for name in WRONG}
    facts |= chapter_facts(against, facts, trained["multiple negatives"][0].values[0], plan.batch)
    return Result(
        answer=answer(facts, plan.batch),
        method=(
            f"Descriptions are first paragraphs of docstrings in Python's own sources, without the function's name; names and arguments "
            f"are what is to be found. {found.pairs} pairs to learn from; {facts['held']:.0f} public functions of {facts['modules']:.0f} other "
            f"modules to find, means over {len(parts)} splits. Letters of words in 4096 buckets, a weight each, and 64 numbers more for each "
            f"tower; {plan.steps} steps of Adam, {plan.batch} pairs a step, the same ones for every loss. Temperature {TEMPERATURE}, "
            f"margins {MARGINS['triplet']} (triplets) and {MARGINS['contrastive']} (pairs): the best of a few on another split."
        ),
        figures=figures(found, facts, plan.batch),
        tables=[*tables(found, facts, plan.batch), *examples(found)],
        code=CODE,
        limits=limits(facts),
        facts=facts,
        chapter=chapter(facts, LOSSES, (parts[0].query[: plan.batch], parts[0].key[: plan.batch]), start),
    )
