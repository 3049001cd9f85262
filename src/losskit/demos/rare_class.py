"""A class that is one row in a hundred: what weighting, focal loss and logit adjustment change, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..losses.binary import binary_cross_entropy_with_logits
from ..losses.class_weights import adjust_logits
from ..losses.focal import binary_focal_loss
from ..losses.imbalance import logit_adjusted_loss
from . import Cell, Chart, Column, Figure, Mark, Result, Series, Table, Tick, demo, generator, measure
from .data import digits
from .rare_class_told import SHRUG, chapter, chapter_facts, shrug
from .watched import ward, watching

__all__ = ["Plan", "average_precision", "rare_class"]

RARE = 8
POSITIVES, NEGATIVES = 9, 811
RATIO = NEGATIVES / POSITIVES
SHARE = POSITIVES / (POSITIVES + NEGATIVES)
COUNTS = torch.tensor([NEGATIVES, POSITIVES], dtype=torch.float64)
HIDDEN, RATE, BATCH, EVERY = 16, 0.01, 128, 50
RECALLS = tuple(i / 20 for i in range(1, 21))

CODE = """\
import torch, losskit

logits = torch.tensor([-4.0, -3.0, 0.5])   # three rows, the last one a rare positive
target = torch.tensor([0.0, 0.0, 1.0])
counts = torch.tensor([811.0, 9.0])        # negatives and positives in the training data

losskit.binary_cross_entropy_with_logits(logits, target)
losskit.binary_cross_entropy_with_logits(logits, target, pos_weight=811 / 9)
losskit.binary_focal_loss(logits, target, gamma=2.0)

both = torch.stack([torch.zeros(3), logits], -1)              # the same logit as scores of two classes
losskit.logit_adjusted_loss(both, target.long(), prior=counts)
losskit.adjust_logits(both, counts)   # after training: moves the threshold, nothing else
"""


class Plan(NamedTuple):
    """How much to measure: the random subsamples and the steps of a training."""

    splits: Sequence[int] = tuple(range(10))
    steps: int = 1000


class Split(NamedTuple):
    """Training rows, test rows, and what each test row counts so that the rare class is as rare as in training."""

    images: Tensor
    target: Tensor
    unseen: Tensor
    truth: Tensor
    weight: Tensor


def splits(seeds: Sequence[int]) -> Split:
    """For every seed nine 8s and 811 other digits to learn from, and all other rows to test on."""
    images, labels = digits()
    rare, common = (labels == RARE).nonzero().squeeze(-1), (labels != RARE).nonzero().squeeze(-1)
    learn: list[Tensor] = []
    test: list[Tensor] = []
    for seed in seeds:
        source = generator(seed)
        eights, others = (rows[torch.randperm(len(rows), generator=source)] for rows in (rare, common))
        learn.append(torch.cat([eights[:POSITIVES], others[:NEGATIVES]]))
        test.append(torch.cat([eights[POSITIVES:], others[NEGATIVES:]]))
    rows, unseen = torch.stack(learn), torch.stack(test)
    truth = (labels[unseen] == RARE).double()
    negatives, positives = (1 - truth).sum(-1, keepdim=True), truth.sum(-1, keepdim=True)
    weight = torch.where(truth == 1, negatives / positives / RATIO, 1.0)
    return Split(images[rows], (labels[rows] == RARE).double(), images[unseen], truth, weight)


def pair(logits: Tensor) -> Tensor:
    """A binary logit as the scores of two classes."""
    return torch.stack([torch.zeros_like(logits), logits], -1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "BCE": binary_cross_entropy_with_logits,
    "weighted": lambda logits, target: binary_cross_entropy_with_logits(logits, target, pos_weight=RATIO),
    "focal": lambda logits, target: binary_focal_loss(logits, target, gamma=2.0),
    "focal (alpha 0.9)": lambda logits, target: binary_focal_loss(logits, target, gamma=2.0, alpha=0.9),
    "logit-adjusted": lambda logits, target: logit_adjusted_loss(pair(logits), target.long(), prior=COUNTS),
}
MOVED = "BCE (threshold moved)"


def train(loss: Callable[[Tensor, Tensor], Tensor], data: Split, steps: int, name: str = "") -> Tensor:
    """The test logits of a small network every 50 steps of Adam, for every split; (times, splits, rows)."""
    source, (count, rows, pixels) = generator(7), data.images.shape

    def layer(inputs: int, outputs: int) -> list[Tensor]:
        weight = torch.randn(count, inputs, outputs, generator=source, dtype=torch.float64) / math.sqrt(inputs)
        return [weight.requires_grad_(), torch.zeros(count, 1, outputs, dtype=torch.float64, requires_grad=True)]

    hidden, last = layer(pixels, HIDDEN), layer(HIDDEN, 1)

    def scores(images: Tensor) -> Tensor:
        return (torch.relu(images @ hidden[0] + hidden[1]) @ last[0] + last[1]).squeeze(-1)

    optimizer = torch.optim.Adam([*hidden, *last], lr=RATE)
    seen, saw = list[Tensor](), watching(name, models=count)
    for step in range(steps + 1):
        if step % EVERY == 0:
            seen.append(scores(data.unseen).detach())
        batch = torch.randint(rows, (count, BATCH), generator=source)
        optimizer.zero_grad()
        images = data.images.gather(1, batch.unsqueeze(-1).expand(-1, -1, pixels))
        value = count * loss(scores(images), data.target.gather(1, batch))
        value.backward()
        saw(value)
        optimizer.step()
    return torch.stack(seen)


def average_precision(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """The mean of the precisions at every positive, rows counting ``weight``; (*, rows) -> (*)."""
    positive, precision = _ranked(logits, truth, weight)
    return (positive * precision).sum(-1) / positive.sum(-1)


def _ranked(logits: Tensor, truth: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight of each positive and the precision down to it, best score first."""
    order = logits.argsort(dim=-1, descending=True, stable=True)
    counts = weight.expand_as(logits).gather(-1, order)
    positive = counts * truth.expand_as(logits).gather(-1, order)
    return positive, positive.cumsum(-1) / counts.cumsum(-1)


def judge(logits: Tensor, data: Split) -> dict[str, Tensor]:
    """What the test rows say: recall, precision, ranking and calibration; each (*, splits)."""
    probability, positive = logits.sigmoid(), data.weight * data.truth
    found = ((logits > 0) * positive).sum(-1)
    alarms = ((logits > 0) * data.weight).sum(-1)
    always = SHARE * (1 - SHARE) * data.weight.sum(-1)  # the Brier sum of saying the prior to everyone
    return {
        "recall": found / positive.sum(-1),
        "precision": torch.where(alarms > 0, found / alarms, 0),
        "ap": average_precision(logits, data.truth, data.weight),
        "claimed": (probability * data.weight).sum(-1) / positive.sum(-1),
        "brier": ((probability - data.truth).square() * data.weight).sum(-1) / always,
    }


def precision_at(logits: Tensor, data: Split) -> list[float]:
    """The mean precision over the splits where each recall is first reached."""
    positive, precision = _ranked(logits, data.truth, data.weight)
    recall = positive.cumsum(-1) / positive.sum(-1, keepdim=True)
    return [float(precision.gather(-1, (recall >= r - 1e-9).int().argmax(-1, keepdim=True)).mean()) for r in RECALLS]


KEYS = {
    "BCE": "bce",
    MOVED: "moved",
    "weighted": "weighted",
    "focal": "focal",
    "focal (alpha 0.9)": "focal_alpha",
    "logit-adjusted": "adjusted",
}
TABS = {"recall": "recall at 0.5", "ap": "average precision", "claimed": "positives claimed for each real one"}


def _figure(trained: Mapping[str, Tensor], judged: Mapping[str, dict[str, Tensor]], data: Split) -> Figure:
    charts: list[Chart] = []
    for key, label in TABS.items():
        series: list[Series] = []
        for name, of in judged.items():
            values = of[key].mean(-1).tolist()
            series.append(Series(name, [EVERY * i for i in range(len(values))][1:], values[1:]))
        marks = [Mark("y", 1.0, "as many as there are")] if key == "claimed" else []
        charts.append(Chart(label, "training steps (Adam)", label, series, marks, log_y=key == "claimed"))
    ranked = [Series(name, RECALLS, precision_at(logits[-1], data)) for name, logits in trained.items() if name != MOVED]
    charts.append(Chart("precision and recall", "recall", "precision", ranked))
    reading = (
        "Means over the subsamples. Recall at 0.5 is where the losses differ most, and it is a matter of where 0.5 falls. "
        "Average precision looks at the order alone; moving a threshold cannot change it."
    )
    return Figure("The same network under each loss", reading, charts)


def _table(judged: Mapping[str, dict[str, Tensor]]) -> Table:
    columns = [
        Column("loss"),
        Column("recall", ".2f"),
        Column("precision", ".2f"),
        Column("average precision", ".2f"),
        Column("claimed / real", ".2f"),
        Column("Brier / prior's", ".2f"),
    ]
    rows: list[list[Cell]] = [[name, *(measure(values[-1]) for values in of.values())] for name, of in judged.items()]
    note = (
        "Recall and precision at a probability of 0.5. Claimed / real: the sum of the probabilities over the number of positives, 1 "
        "for a calibrated model. Brier / prior's: squared error of the probabilities, 1 is no better than giving everyone the prior."
    )
    return Table("After training, on rows never seen", columns, rows, note)


def _facts(judged: Mapping[str, dict[str, Tensor]]) -> dict[str, float]:
    facts: dict[str, float] = {}
    for name, of in judged.items():
        facts |= {f"{key}_{KEYS[name]}": float(values[-1].mean()) for key, values in of.items()}
        facts[f"ap_wins_{KEYS[name]}"] = float((of["ap"][-1] > judged["BCE"]["ap"][-1]).sum())
    return facts


def _answer(facts: Mapping[str, float]) -> str:
    recall = {key: f"{100 * facts[f'recall_{key}']:.0f} %" for key in KEYS.values()}
    trained = [KEYS[name] for name in LOSSES]
    ranking = sorted(facts[f"ap_{key}"] for key in trained)
    claimed = sorted(facts[f"claimed_{key}"] for key in trained if key != "bce")
    return (
        f"At a threshold of 0.5 plain BCE finds {recall['bce']} of the rare digits, focal loss {recall['focal']}, weighted BCE "
        f"{recall['weighted']}, logit-adjusted {recall['adjusted']}. Much of that is the threshold: moving that of the BCE model, "
        f"without training again, finds {recall['moved']}, at a precision of {facts['precision_moved']:.2f} against "
        f"{facts['precision_adjusted']:.2f}. The ranking changes less: average precision is {ranking[0]:.2f} to {ranking[-1]:.2f}. And "
        f"calibration is paid for: for each real positive BCE claims {facts['claimed_bce']:.1f}, the others {claimed[0]:.1f} to "
        f"{claimed[-1]:.1f}."
    )


def _limits(facts: Mapping[str, float], count: int) -> list[str]:
    wins = ", ".join(f"{name} in {facts[f'ap_wins_{KEYS[name]}']:.0f}" for name in LOSSES if name != "BCE")
    return [
        "Focal loss (gamma = 2) is no remedy for a rare class by itself: compare its recall with BCE's. It was made for very many easy "
        "negatives; alpha is what weighs the classes. Its probabilities are not probabilities: with or without alpha it claims too many.",
        f"Average precision varies more between subsamples than between losses; on the same subsample it is better than BCE's, of {count}: "
        f"{wins}.",
        "Weighting and logit adjustment answer another question: what if both classes were equally frequent? That they claim too many "
        "positives is what they are for. Take the log-odds off again where probabilities are needed.",
        "With nine positives the numbers depend on which nine. No loss was tuned, and another network or rate shifts all of "
        "them; squared error, at the same rate, learns later and may need more steps. Test 8s are weighted down to be as rare as in "
        "training, so precision is that of a world with 1.1 % positives.",
    ]


@demo(
    "rare-class",
    title="One row in ninety: what helps a rare class?",
    question="Nine 8s among 820 digits: which loss finds the others, what does it cost, and what does it not change?",
    order=10,
)
def rare_class(tick: Tick, plan: Plan = Plan()) -> Result:
    """Recall, ranking and calibration of a rare class under BCE, weights, focal loss and logit adjustment."""
    data = splits(plan.splits)
    trained: dict[str, Tensor] = {}
    for i, (name, loss) in enumerate(LOSSES.items()):
        trained[name] = train(loss, data, plan.steps, name)
        if name == "BCE":
            both = adjust_logits(pair(trained[name]), COUNTS)
            trained[MOVED] = both[..., 1] - both[..., 0]
        tick((i + 1) / (len(LOSSES) + 1))
    with ward():  # wrong on purpose: what its curve shows is no finding of this demo
        trained[SHRUG] = train(shrug, data, plan.steps)
    judged = {name: judge(logits, data) for name, logits in trained.items()}
    facts = _facts({name: judged[name] for name in KEYS})
    facts |= chapter_facts(judged, trained["BCE"][0], data.truth, data.weight, SHARE)
    return Result(
        answer=_answer(facts),
        method=(
            f"scikit-learn's digits, {len(plan.splits)} random subsamples with {POSITIVES} 8s and {NEGATIVES} other digits to learn from; "
            f"tested on the other rows (165 8s). A network with {HIDDEN} hidden units in float64, {plan.steps} steps of Adam at rate {RATE} "
            f"on batches of {BATCH}. pos_weight is {RATIO:.0f}, the ratio of the classes; nothing was tuned."
        ),
        figures=[_figure(trained, judged, data)],
        tables=[_table(judged)],
        code=CODE,
        limits=_limits(facts, len(plan.splits)),
        facts=facts,
        chapter=chapter(facts, data.images[0], data.target[0], len(plan.splits), HIDDEN),
    )
