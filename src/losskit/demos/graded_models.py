"""Models that score topics from features, side by side: one for each fold, rate and start, all trained in the same steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..evaluate.ranked.graded import ndcg
from ..losses.approx_ndcg import approx_ndcg_loss
from ..losses.binary import binary_cross_entropy_with_logits
from ..losses.lambda_weights import DeltaNDCG
from ..losses.listmle import listmle_loss
from ..losses.listnet import listnet_loss
from ..losses.pairwise_hinge import pairwise_hinge_loss
from ..losses.pairwise_logistic import pairwise_logistic_loss
from ..losses.regression import mse_loss
from . import generator
from .graded_topics import folds
from .watched import watching

__all__ = [
    "FAMILIES",
    "LOSSES",
    "RATES",
    "UNITS",
    "Data",
    "Job",
    "K",
    "Loss",
    "Models",
    "Plan",
    "Trained",
    "rates_of",
    "train",
    "tuned",
]

K = 10  # what is judged, and what LambdaRank looks at
RATES = (5e-4, 2e-3, 8e-3)
UNITS = {"linear": 0, "network": 16}
INNER = 4
LOOKS = 4

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of scores and grades (lists, topics): one value a list."""


def pointwise_mse(scores: Tensor, grades: Tensor) -> Tensor:
    """Each score is to be the grade."""
    return mse_loss(scores, grades, reduction="none").mean(-1)


def pointwise_bce(scores: Tensor, grades: Tensor) -> Tensor:
    """Each score is to tell any grade above 0 from 0."""
    return binary_cross_entropy_with_logits(scores, (grades > 0).to(scores.dtype), reduction="none").mean(-1)


def pairwise_lambda(scores: Tensor, grades: Tensor) -> Tensor:
    """LambdaRank: a pair counts for what its exchange would do to NDCG."""
    return pairwise_logistic_loss(scores, grades, lambda_weight=DeltaNDCG(K), reduction="none")


LOSSES: Mapping[str, Loss] = {
    "squared error": pointwise_mse,
    "cross-entropy": pointwise_bce,
    "logistic": lambda scores, grades: pairwise_logistic_loss(scores, grades, reduction="none"),
    "hinge": lambda scores, grades: pairwise_hinge_loss(scores, grades, reduction="none"),
    "LambdaRank": pairwise_lambda,
    "ListNet": lambda scores, grades: listnet_loss(scores, grades, reduction="none"),
    "ListMLE": lambda scores, grades: listmle_loss(scores, grades, reduction="none"),
    "ApproxNDCG": lambda scores, grades: approx_ndcg_loss(scores, grades, reduction="none"),
}
FAMILIES: Mapping[str, Sequence[str]] = {
    "pointwise": ("squared error", "cross-entropy"),
    "pairwise": ("logistic", "hinge", "LambdaRank"),
    "listwise": ("ListNet", "ListMLE", "ApproxNDCG"),
}


class Plan(NamedTuple):
    """How much to measure: folds, starts, steps of a training, queries of a step; every which query."""

    folds: int = 5
    starts: int = 2
    steps: int = 80
    batch: int = 32
    every: int = 1


class Data(NamedTuple):
    """What the trainings see: features (queries, topics, features), grades, and each query's topic and fold."""

    features: Tensor
    grades: Tensor
    targets: Tensor
    fold: Tensor

    def standard(self, learned: Tensor) -> Tensor:
        """The features with mean 0 and deviation 1 over the queries that are learned from, which alone say what that is."""
        seen = self.features[learned]
        mean, spread = seen.mean((0, 1)), seen.std((0, 1))
        return ((self.features - mean) / torch.where(spread > 0, spread, torch.ones_like(spread))).float()


class Models(torch.nn.Module):
    """Scores of ``len(rates)`` models side by side: the mean of the features, and what each learns to add to it.

    Adam does not see the scale of a parameter, so that a factor of its own is each model's learning rate.
    """

    def __init__(self, rates: Tensor, inputs: int, units: int, seeds: Sequence[int]) -> None:
        super().__init__()
        begun = [torch.randn(inputs, units, generator=generator(seed)) / inputs**0.5 for seed in seeds]
        self.first = torch.stack(begun)  # (models, inputs, units)
        self.rate = rates.view(-1, 1, 1)
        shapes = {"direct": (inputs, 1), "bias": (1, 1), "hidden": (inputs, units), "shift": (1, units), "last": (units, 1)}
        self.moved = torch.nn.ParameterDict({name: torch.zeros(len(rates), *shape) for name, shape in shapes.items()})

    def forward(self, features: Tensor) -> Tensor:
        """(models, lists, topics, features) -> (models, lists, topics)."""
        rows = features.flatten(1, 2)
        moved = {name: self.rate * value for name, value in self.moved.items()}
        scores = rows.mean(-1, keepdim=True) + rows @ moved["direct"] + moved["bias"]
        hidden = torch.tanh(rows @ (self.first + moved["hidden"]) + moved["shift"])
        found: Tensor = scores + hidden @ moved["last"]
        return found.view(features.shape[:-1])


class Trained(NamedTuple):
    """What a loss left: every query's scores by models that did not see it, (starts, queries, topics), looks on the way, rates."""

    scores: Tensor
    seen: Sequence[float]
    """NDCG of the queries held out: before the first step, and after each quarter of the steps."""
    rates: Sequence[float]
    """Of each fold."""


class Job(NamedTuple):
    """A model to train: the rows it learns from and those it is held against, its rate and its seed."""

    learned: Tensor
    held: Tensor
    rate: float
    seed: int


def train(loss: Loss, data: Data, jobs: Sequence[Job], units: int, plan: Plan) -> tuple[list[Tensor], Tensor]:
    """Adam for the models of all jobs at once: each one's scores of its held rows, and the NDCG of all held rows on the way."""
    features = torch.stack([data.standard(job.learned) for job in jobs])
    models = Models(torch.tensor([job.rate for job in jobs]), features.shape[-1], units, [job.seed for job in jobs])
    optimizer = torch.optim.Adam(models.parameters(), lr=1.0)
    sources = [generator(job.seed) for job in jobs]
    at = torch.arange(len(jobs)).unsqueeze(1)
    seen, saw = [judged(models, features, data, jobs)], watching(f"{units} units", models=len(jobs))
    for step in range(plan.steps):
        rows = torch.stack([_some(job.learned, source, plan.batch) for job, source in zip(jobs, sources, strict=True)])
        optimizer.zero_grad()
        # each model's mean over its own lists: nothing of one reaches another
        value = loss(models(features[at, rows]), data.grades[rows]).mean(1).sum()
        value.backward()
        saw(value)
        optimizer.step()
        if (step + 1) * LOOKS // plan.steps > step * LOOKS // plan.steps:
            seen.append(judged(models, features, data, jobs))
    return held(models, features, jobs), torch.stack(seen)


def held(models: Models, features: Tensor, jobs: Sequence[Job]) -> list[Tensor]:
    """The scores by each model of its held rows, which are few of all: shorter lists are filled up for one call."""
    most = max(len(job.held) for job in jobs)
    rows = torch.stack([job.held[torch.arange(most) % len(job.held)] for job in jobs])
    with torch.no_grad():
        scores = models(features[torch.arange(len(jobs)).unsqueeze(1), rows])
    return [own[: len(job.held)] for own, job in zip(scores, jobs, strict=True)]


def judged(models: Models, features: Tensor, data: Data, jobs: Sequence[Job]) -> Tensor:
    """(jobs,): NDCG of the rows that each is held against."""
    scores = held(models, features, jobs)
    return torch.stack([ndcg(own, data.grades[job.held], k=K) for own, job in zip(scores, jobs, strict=True)])


def _some(rows: Tensor, source: torch.Generator, count: int) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=source)]


def rates_of(loss: Loss, data: Data, units: int, plan: Plan) -> list[float]:
    """The best rate for each fold: of those that are learned from, queries of one topic in four choose it."""
    jobs: list[Job] = []
    for fold in range(plan.folds):
        rows = (data.fold != fold).nonzero().squeeze(1)
        apart = folds(data.targets[rows], INNER, seed=fold) == 0
        jobs += [Job(rows[~apart], rows[apart], rate, seed=0) for rate in RATES]
    _, seen = train(loss, data, jobs, units, plan)
    return [RATES[i] for i in seen[-1].view(plan.folds, len(RATES)).argmax(1).tolist()]


def tuned(loss: Loss, data: Data, units: int, plan: Plan) -> Trained:
    """Every fold held out once, by models that start from several seeds."""
    rates = rates_of(loss, data, units, plan)
    jobs = [
        Job((data.fold != fold).nonzero().squeeze(1), (data.fold == fold).nonzero().squeeze(1), rate, seed)
        for seed in range(plan.starts)
        for fold, rate in enumerate(rates)
    ]
    found, seen = train(loss, data, jobs, units, plan)
    scores = torch.empty(plan.starts, *data.grades.shape)
    for i, (job, own) in enumerate(zip(jobs, found, strict=True)):
        scores[i // plan.folds, job.held] = own
    size = torch.tensor([float(len(job.held)) for job in jobs], dtype=torch.float64)
    return Trained(scores, (seen @ size / size.sum()).tolist(), rates)
