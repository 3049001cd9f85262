"""Why a classifier is trained with cross-entropy: squared error does not hear a confident mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.binary import binary_cross_entropy_with_logits
from ..losses.cross_entropy import cross_entropy
from ..losses.regression import mse_loss
from . import Cell, Chart, Column, Figure, Mark, Result, Series, Table, Tick, demo, generator, measure
from .data import digits
from .watched import watching
from .why_cross_entropy_told import answer, chapter, chapter_facts, limits

__all__ = ["Plan", "why_cross_entropy"]

STARTS = (0, 5, 10, 15)
SGD_RATES = (0.3, 1, 3, 10, 30, 100, 300)
ADAM_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
TRUTHS = (0.9, 0.5, 0.1, 0.01, 0.001, 0.0001)
GOAL = 0.9
BATCH = 64

CODE = """\
import torch, losskit

logits = torch.tensor([[15.0] + [0.0] * 9], requires_grad=True)  # sure of a 0
label = torch.tensor([3])                                        # it is a 3

losskit.cross_entropy(logits, label).backward()
print(logits.grad.norm())                                        # 1.41

logits.grad = None
onehot = torch.nn.functional.one_hot(label, 10).float()
losskit.mse_loss(logits.softmax(-1), onehot).backward()
print(logits.grad.norm())                                        # 7.3e-07
"""


class Plan(NamedTuple):
    """How much to measure: the splits that are reported, the ones the rates are chosen on, and the steps of a training."""

    splits: Sequence[int] = (1, 2, 3, 4, 5)
    tuning: Sequence[int] = (6, 7)
    steps: int = 400


class Arm(NamedTuple):
    """One way to train: the bias that class 0 starts from, and the learning rate."""

    start: float
    rate: float


class Trace(NamedTuple):
    """What a training left: the accuracy (looks, splits, arms) and the norm of the first gradient (splits, arms)."""

    accuracy: Tensor
    first: Tensor


Loss = Callable[[Tensor, Tensor], Tensor]
Optimiser = Callable[..., torch.optim.Optimizer]
Trained = Mapping[str, tuple[list[Arm], Trace]]
"""For each loss its arms, one for each start, and what training them left."""


def of_logits(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy: a mean over the rows of each model, summed over the models."""
    return cross_entropy(logits, label, normalizer=label.shape[-1])


def of_probabilities(logits: Tensor, label: Tensor) -> Tensor:
    """Squared error of the softmax: a mean over the rows and classes of each model, summed over the models."""
    wanted = F.one_hot(label, logits.shape[-1]).to(logits.dtype)
    return mse_loss(logits.softmax(-1), wanted, normalizer=label.shape[-1] * logits.shape[-1])


LOSSES: dict[str, Loss] = {"cross-entropy": of_logits, "squared error": of_probabilities}
SHORT = {"cross-entropy": "ce", "squared error": "mse"}


def train(
    loss: Loss, arms: Sequence[Arm], splits: Sequence[int], steps: int, optimiser: Optimiser, *, tuning: bool = False
) -> Trace:
    """Train a linear softmax for all splits and arms at once; look at the test rows, for tuning at validation rows at times."""
    images, labels = digits()
    order = torch.stack([torch.randperm(len(labels), generator=generator(split)) for split in splits])
    learn, check = order[:, :1000], order[:, 1000:1297] if tuning else order[:, 1297:]
    sources = [generator(1000 + split) for split in splits]
    models = [_model(len(splits), arm.start) for arm in arms]
    optimizer = optimiser([{"params": list(model), "lr": arm.rate} for model, arm in zip(models, arms, strict=True)])
    saw = watching(loss, models=len(splits) * len(arms))

    def backward(rows: Tensor) -> Tensor:
        optimizer.zero_grad()
        value = loss(_scores(images[rows], models), labels[rows].unsqueeze(1).expand(-1, len(arms), -1))
        value.backward()
        return value

    backward(learn)
    first, seen = torch.stack([_norm(model) for model in models], dim=1), list[Tensor]()
    for step in range(steps + 1):
        if not tuning or step % 5 == 0:
            right = _scores(images[check], models).detach().argmax(-1) == labels[check].unsqueeze(1)
            seen.append(right.double().mean(-1))
        draws = torch.stack([torch.randint(learn.shape[1], (BATCH,), generator=source) for source in sources])
        saw(backward(learn.gather(1, draws)))
        optimizer.step()
    return Trace(torch.stack(seen), first)


def _model(splits: int, start: float) -> tuple[Tensor, Tensor]:
    weight, bias = torch.zeros(splits, 64, 10, dtype=torch.float64), torch.zeros(splits, 1, 10, dtype=torch.float64)
    bias[..., 0] = start
    return weight.requires_grad_(), bias.requires_grad_()


def _scores(images: Tensor, models: Sequence[tuple[Tensor, Tensor]]) -> Tensor:  # (splits, arms, rows, classes)
    weight, bias = torch.stack([one for one, _ in models], dim=1), torch.stack([one for _, one in models], dim=1)
    return torch.einsum("snd,sadc->sanc", images, weight) + bias


def _norm(model: tuple[Tensor, Tensor]) -> Tensor:
    return torch.stack([part.grad.square().sum((1, 2)) for part in model if part.grad is not None]).sum(0).sqrt()


def steps_to_goal(accuracy: Tensor) -> Tensor:
    """The first look at or above the goal, inf where there is none; (looks, ...) -> (...)."""
    reached = accuracy >= GOAL
    return torch.where(reached.any(0), reached.int().argmax(0).double(), math.inf)


def best_arms(loss: Loss, starts: Sequence[float], rates: Sequence[float], plan: Plan, optimiser: Optimiser) -> list[Arm]:
    """For every start the rate whose validation accuracy is the first at the goal for good; on a tie the more accurate."""
    arms = [Arm(start, rate) for start in starts for rate in rates]
    accuracy = train(loss, arms, plan.tuning, plan.steps, optimiser, tuning=True).accuracy
    held = (accuracy >= GOAL).double().flip(0).cumprod(0)
    score = (held.sum(0) + accuracy.mean(0)).mean(0).reshape(len(starts), -1)
    return [arms[len(rates) * i + int(best)] for i, best in enumerate(score.argmax(-1))]


def _pull(name: str, truth: Tensor) -> list[float]:
    """The size of the gradient on one logit whose target is 1, for the probability given to it."""
    logit = truth.logit().requires_grad_()
    one = torch.ones_like(logit)
    bce, mse = binary_cross_entropy_with_logits(logit, one, reduction="sum"), mse_loss(logit.sigmoid(), one, reduction="sum")
    value = bce if name == "cross-entropy" else mse
    return torch.autograd.grad(value, logit)[0].abs().tolist()


def _mistake() -> Figure:
    grid = torch.logspace(-4, math.log10(0.99), 60, dtype=torch.float64)
    series = [Series(name, grid.tolist(), _pull(name, grid)) for name in LOSSES]
    chart = Chart("gradient", "probability given to the truth", "size of the gradient on the logit", series, log_x=True)
    reading = (
        "One sigmoid whose target is 1; the further left, the more wrong. Cross-entropy's gradient is the error itself, 1 - p. "
        "Squared error's is that times 2p(1 - p), which vanishes where help is needed most."
    )
    return Figure("One confident mistake", reading, [chart])


def _curves(trained: Trained) -> Figure:
    charts: list[Chart] = []
    for i, start in enumerate(STARTS):
        series: list[Series] = []
        for name, (arms, trace) in trained.items():
            test = 100 * trace.accuracy[:, :, i]
            mean, low, high = (part.tolist() for part in (test.mean(1), test.amin(1), test.amax(1)))
            series.append(Series(f"{name} (rate {arms[i].rate:g})", list(range(len(mean))), mean, low, high))
        charts.append(Chart(f"b = {start}", "SGD steps", "test accuracy (%)", series, [Mark("y", 100 * GOAL, "90 %")]))
    reading = (
        "Mean over the splits; the band is the lowest and the highest. b is the bias that class 0 starts from: the model "
        "begins by answering 0 to every digit, with a probability that b = 15 makes 99.9997 %."
    )
    return Figure("Learning out of a wrong belief", reading, charts, first=2)


def _reached(steps: Tensor, cap: int) -> Cell:
    """Steps over the splits, or in how many of them the goal was reached at all."""
    hit = int(steps.isfinite().sum())
    return measure(steps) if hit == len(steps) else f"not in {cap}" if not hit else f"in {hit} of {len(steps)} splits"


def _rows(trained: Trained, cap: int) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for name, (arms, trace) in trained.items():
        for i, arm in enumerate(arms):
            reached = _reached(steps_to_goal(trace.accuracy)[:, i], cap)
            first, final = float(trace.first[:, i].mean()), measure(100 * trace.accuracy[-1, :, i])
            rows.append([arm.start, name, first, arm.rate, reached, final])
    return rows


def _tables(sgd: Trained, adam: Trained, cap: int) -> list[Table]:
    columns = [
        Column("start b", ".0f"),
        Column("loss"),
        Column("first gradient", ".3g"),
        Column("rate", "g"),
        Column("steps to 90 %", ".0f"),
        Column(f"accuracy at {cap}", ".1f", "%"),
    ]
    best = (
        "Rate: of {} the one that is at 90 % for good first (if none is, the most accurate), on validation rows of splits not reported. "
        "Steps: until the test accuracy is 90 % for the first time."
    )
    return [
        Table("SGD, each loss at its own best rate", columns, _rows(sgd, cap), best.format(len(SGD_RATES))),
        Table("The same with Adam", columns, _rows(adam, cap), best.format(len(ADAM_RATES))),
    ]


def _facts(rows: Sequence[tuple[float, float, float]], sgd: Trained, adam: Trained) -> dict[str, float]:
    facts: dict[str, float] = {}
    for truth, ce, mse in rows:
        facts |= {f"logit_gradient_ce_p{truth:g}": ce, f"logit_gradient_mse_p{truth:g}": mse}
    for kind, of in (("sgd", sgd), ("adam", adam)):
        for name, (arms, trace) in of.items():
            for i, arm in enumerate(arms):
                key, steps = f"{SHORT[name]}_{kind}_b{arm.start:g}", steps_to_goal(trace.accuracy)[:, i]
                facts[f"rate_{key}"] = float(arm.rate)
                facts[f"reached_{key}"] = float(steps.isfinite().double().mean())
                facts[f"accuracy_{key}"] = float(trace.accuracy[-1, :, i].mean())
                facts[f"first_gradient_{key}"] = float(trace.first[:, i].mean())
                if steps.isfinite().all():
                    facts[f"steps_{key}"] = float(steps.mean())
    return facts


@demo(
    "why-cross-entropy",
    title="Why cross-entropy and not squared error?",
    question="A classifier starts out sure of the wrong class. Which loss gets it out?",
    order=20,
)
def why_cross_entropy(tick: Tick, plan: Plan = Plan()) -> Result:
    """Steps to 90 % on handwritten digits from ever more confident mistakes, for cross-entropy and squared error."""
    done = 0

    def trained(starts: Sequence[float], rates: Sequence[float], optimiser: Optimiser) -> Trained:
        nonlocal done
        found: dict[str, tuple[list[Arm], Trace]] = {}
        for name, loss in LOSSES.items():
            arms = best_arms(loss, starts, rates, plan, optimiser)
            found[name] = arms, train(loss, arms, plan.splits, plan.steps, optimiser)
            done += 1
            tick(done / 4)
        return found

    sgd, adam = trained(STARTS, SGD_RATES, torch.optim.SGD), trained(STARTS[2:], ADAM_RATES, torch.optim.Adam)
    at = torch.tensor(TRUTHS, dtype=torch.float64)
    rows = list(zip(TRUTHS, _pull("cross-entropy", at), _pull("squared error", at), strict=True))
    facts = _facts(rows, sgd, adam)
    final = {name: trace.accuracy[-1] for name, (_, trace) in sgd.items()}
    facts |= chapter_facts(final["cross-entropy"], final["squared error"], STARTS)
    columns = [Column("p of the truth", "g"), *(Column(name, ".4f") for name in LOSSES), Column("ratio", ".1f")]
    table = Table("Gradient on the logit of one sigmoid", columns, [[p, ce, mse, ce / mse] for p, ce, mse in rows])
    return Result(
        answer=answer(facts, plan.steps),
        method=(
            f"scikit-learn's digits (1797 images of 8 x 8), {len(plan.splits)} random splits into 1000 training, 297 validation and "
            f"500 test rows. Linear softmax in float64, weights 0, bias b on class 0, batches of {BATCH}. Squared error is taken "
            "between the softmax and the one-hot label, as a mean over the 10 classes."
        ),
        figures=[_curves(sgd), _mistake()],
        tables=[*_tables(sgd, adam, plan.steps), table],
        code=CODE,
        limits=limits(facts, SHORT.values()),
        facts=facts,
        chapter=chapter(facts, len(plan.splits), plan.steps),
    )
