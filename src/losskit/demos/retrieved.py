"""What the models of "find a Python function" found: the answer, the tables, the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ..evaluate.retrieving.report import RetrievalReport
from . import Cell, Chart, Column, Figure, Mark, Series, Table
from .python_functions import Function

__all__ = ["Found", "Trained", "answer", "examples", "figures", "key_of", "limits", "tables"]

BEFORE = "letters in common (before)"
SHOWN = ("multiple negatives", "triplet, random", "contrastive")
EXAMPLES, NAME, TEXT = 4, 20, 70  # examples, and characters shown: with the name of a loss, three names fit 80
SMOOTH = 5  # steps that a point of a loss curve is the mean of


class Trained(NamedTuple):
    """What a training left: its figures from before the first step to the last, every loss, and the three functions found first."""

    seen: Sequence[RetrievalReport]
    values: Sequence[float]
    first: Tensor


class Found(NamedTuple):
    """All trainings: one for each split under each loss, and two whose batches hold every pair twice."""

    trained: Mapping[str, Sequence[Trained]]
    doubled: Mapping[str, Trained]
    held: Sequence[Sequence[Function]]
    pairs: int


def key_of(name: str) -> str:
    """A loss as it is called in the facts."""
    return name.replace(", ", "_").replace(" ", "_")


def answer(facts: Mapping[str, float], batch: int) -> str:
    """Which loss won, by how much over what was there before, and why."""
    recall = {key: f"{100 * facts[f'recall_{key}']:.1f} %" for key in ("before", *map(key_of, SHOWN))}
    mrr = {key: f"{facts[f'mrr_{key}']:.3f}" for key in ("before", *map(key_of, SHOWN), "in_batches_of_16", "triplet_hardest")}
    return (
        f"Of {facts['held']:.0f} functions of modules never seen, the one described comes first for {recall['before']} of the descriptions if "
        f"only letters in common count (MRR {mrr['before']}; by chance {100 * facts['chance_recall']:.1f} %). After training it is "
        f"{recall['multiple_negatives']} with multiple negatives ranking (MRR {mrr['multiple_negatives']}), {recall['triplet_random']} with random "
        f"triplets ({mrr['triplet_random']}) and {recall['contrastive']} with pairwise contrastive loss ({mrr['contrastive']}), over the same "
        f"batches. Each row of a batch of {batch} has {batch - 1} wrong answers for nothing, and the softmax listens to the hardest of them; a "
        f"random triplet or pair has one, which is soon far enough away to teach nothing. A triplet that takes the hardest of the batch uses them "
        f"too ({mrr['triplet_hardest']}); batches of 16 have 15 ({mrr['in_batches_of_16']})."
    )


def limits(facts: Mapping[str, float]) -> list[str]:
    """What the numbers do not show."""
    return [
        "Letters in common are a strong start: names are made of the words that describe them. A model that begins from nothing does not "
        "come near to it on so few pairs; what is compared here is what each loss adds or destroys.",
        "A triplet of the hardest wrong answer in the batch does what the softmax does, and here it is "
        f"{'better' if facts['mrr_triplet_hardest'] > facts['mrr_multiple_negatives'] else 'not better'} (MRR {facts['mrr_triplet_hardest']:.3f}); "
        "its risk is that the hardest is a second right answer, or a collapse where all are equally hard.",
        f"Contrastive loss asks pairs for a distance of 0 and all others for one of the margin, whoever is nearest: it moves MRR by "
        f"{facts['mrr_change_contrastive']:+.3f}. It is made for thresholds on given pairs, not for rankings.",
        "Losses of different batches or kinds cannot be compared by value: batches of 16 have a lower loss because they are easier. "
        f"Chance is ln N: {facts['chance_loss']:.2f} for 128 and {facts['chance_loss_micro']:.2f} for 16. Adding up gradients of small "
        "batches adds no negatives.",
        f"Every pair twice in a batch: without ids the loss cannot fall below ln 2 = {math.log(2):.3f} and ends at "
        f"{facts['loss_twice_without_ids']:.2f}; with ids it ends at {facts['loss_twice_with_ids']:.2f}. The search is about as good (MRR "
        f"{facts['mrr_twice_without_ids']:.3f} and {facts['mrr_twice_with_ids']:.3f}): twins only slow it down, unlike wrong negatives that "
        "are in truth right answers.",
        "Temperature and margins were chosen on a third split, rates and steps for multiple negatives on these: that helps it. Intervals count "
        "modules, not such choices, and are against the start: differences of less than 0.02 between losses are not settled.",
    ]


def tables(found: Found, facts: Mapping[str, float], batch: int) -> list[Table]:
    """The figures of every loss, and of batches with twins."""
    negatives = {"multiple negatives": batch - 1, "triplet, hardest": batch - 1, "in batches of 16": 15}
    columns = [
        Column("loss"),
        Column("wrong answers seen", ".0f"),
        Column("recall@1", ".3f"),
        Column("recall@10", ".3f"),
        Column("MRR", ".3f"),
        Column("change", "+.3f"),
        Column("±", ".3f"),
        Column("last loss", ".3f"),
    ]
    rows: list[list[Cell]] = [
        ["chance", "", facts["chance_recall"], 10 * facts["chance_recall"], facts["chance_mrr"], "", "", ""],
        [BEFORE, "", facts["recall_before"], facts["recall10_before"], facts["mrr_before"], "", "", ""],
    ]
    for name in found.trained:
        key = key_of(name)
        change, high = facts[f"mrr_change_{key}"], facts[f"mrr_change_high_{key}"]
        figures = [facts[f"{figure}_{key}"] for figure in ("recall", "recall10", "mrr")]
        rows.append([name, float(negatives.get(name, 1)), *figures, change, high - change, facts[f"loss_{key}"]])
    note = (
        "Change: of MRR, with the half width of its 95 % interval over held-out modules; each description is compared with itself before training. Recall@k: the "
        "function is among the first k. MRR: mean of 1 / rank. Last loss: mean of ten steps."
    )
    twins: list[list[Cell]] = []
    for name, key in (
        ("each pair once", "multiple_negatives"),
        ("twice, without ids", "twice_without_ids"),
        ("twice, with ids", "twice_with_ids"),
    ):
        once = found.trained["multiple negatives"][0]
        mrr = once.seen[-1]["mrr"] if key == "multiple_negatives" else facts[f"mrr_{key}"]
        last = sum(once.values[-10:]) / len(once.values[-10:]) if key == "multiple_negatives" else facts[f"loss_{key}"]
        twins.append([name, last, 0.0 if "without" not in name else math.log(2), mrr])
    heads = [Column("batch"), Column("last loss", ".3f"), Column("cannot be below", ".3f"), Column("MRR", ".3f")]
    said = "Multiple negatives on the first split. Twice: half as many different pairs, each with a copy of itself as a wrong answer."
    return [Table("On modules never seen", columns, rows, note), Table("A pair that is in the batch twice", heads, twins, said)]


def examples(found: Found) -> list[Table]:
    """What comes first for a few descriptions: evenly spaced ones among those short enough to print, so that none is chosen."""
    held = found.held[0]
    short = [i for i, one in enumerate(held) if len(one.description) <= TEXT]
    made: list[Table] = []
    for n in range(EXAMPLES):
        i = short[(2 * n + 1) * len(short) // (2 * EXAMPLES)]
        columns = [Column("loss"), Column("first"), Column("second"), Column("third")]
        rows: list[list[Cell]] = []
        for name in SHOWN:
            ran = found.trained[name][0]
            rows.append([name, *(_short(held[j]) + (" *" if j == i else "") for j in ran.first[i].tolist())])
        ranks = ", ".join(f"{found.trained[name][0].seen[-1].first_rank[i]:.0f}" for name in SHOWN)
        made.append(Table(f'"{held[i].description}"', columns, rows, f"Right (*): {held[i].name}, at rank {ranks}."))
    return made


def _short(one: Function) -> str:
    """The last part of the name, and of the one before it what has room."""
    name = one.name.split(".")[-1]
    return name if len(name) <= NAME else f"{name[: NAME - 3]}..."


def figures(found: Found, facts: Mapping[str, float], batch: int) -> list[Figure]:
    """The search while it is trained, and the losses beside what they are at chance."""
    steps = len(found.trained["multiple negatives"][0].values)

    def curve(name: str, figure: str) -> Series:
        reports = zip(*(one.seen for one in found.trained[name]), strict=True)
        looks = [sum(one[figure] for one in each) / len(each) for each in reports]
        return Series(name, [steps * i / (len(looks) - 1) for i in range(len(looks))], looks)

    charts: list[Chart] = []
    for label, figure in (("MRR", "mrr"), ("recall@1", "recall@1")):
        series = [curve(name, figure) for name in found.trained]
        charts.append(Chart(label, "training steps (Adam)", label, series))
    reading = (
        "All begin with letters in common. Means over the splits; the functions are of modules that no training saw. Random "
        "triplets and pairs have one wrong answer a row; the others look at all that their batch has."
    )
    losses = [_smooth(name, found.trained[name][0].values) for name in ("multiple negatives", "in batches of 16")]
    marks = [Mark("y", facts["chance_loss"], f"ln {batch}"), Mark("y", facts["chance_loss_micro"], "ln 16")]
    twins = [_smooth(name.replace("_", " "), one.values) for name, one in found.doubled.items()]
    pictures = [
        Chart("batches", "training steps (Adam)", "loss", losses, marks),
        Chart("twins", "training steps (Adam)", "loss", twins, [Mark("y", math.log(2), "ln 2")]),
    ]
    beside = (
        f"A model that knows nothing has a loss of ln N. The smaller batch has the lower loss and does not find more: 15 wrong answers are easier "
        f"than {batch - 1}. Twins: a copy of a pair in its batch is a wrong answer that cannot be told from the right one, unless ids say so."
    )
    return [Figure("Finding functions while the model learns", reading, charts), Figure("What the loss says", beside, pictures)]


def _smooth(name: str, values: Sequence[float]) -> Series:
    means = [sum(values[i : i + SMOOTH]) / len(values[i : i + SMOOTH]) for i in range(0, len(values), SMOOTH)]
    return Series(name, [float(i + 1) for i in range(0, len(values), SMOOTH)], means)
