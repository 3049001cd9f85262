"""A tenth of the targets with a slipped decimal point: what each regression loss makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..losses.huber import huber_loss
from ..losses.regression import l1_loss, mse_loss
from ..losses.robust import general_robust_loss
from . import Cell, Chart, Column, Figure, Mark, Result, Series, Table, Tick, demo, generator, measure
from .data import diabetes
from .outliers_told import chapter, chapter_facts
from .watched import watching

__all__ = ["Plan", "outliers"]

ROWS = 309
SLIP = 10
SHARES = (0.0, 0.025, 0.05, 0.1, 0.2, 0.3)
SHOWN = 0.1
DELTAS = (0.1, 0.2, 0.5, 1.0, 1.345, 2.0, 3.0, 5.0, 10.0)
DELTA = 1.345  # Huber: 95 % of the efficiency of squared error when the errors are normal
NORMAL = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation

CODE = """\
import torch, losskit

target = torch.tensor([1.0, 2.0, 3.0, 4.0, 1000.0])         # the last one slipped
input = torch.tensor([1.5, 1.5, 3.5, 3.5, 5.0])

scale = 1.4826 * (input - target).abs().median()            # robust: the outlier does not move it
losskit.huber_loss(input, target, delta=1.345 * float(scale))
losskit.general_robust_loss(input, target, alpha=0.0, scale=float(scale))
print(losskit.mse_loss(input, target))                      # 198005.2, all of it from one row
"""


class Plan(NamedTuple):
    """How much to measure: the random splits and the steps of a fit."""

    splits: Sequence[int] = tuple(range(10))
    steps: int = 300


class Data(NamedTuple):
    """Training rows and targets, test rows and targets; the training targets for every share of slips."""

    features: Tensor
    targets: Tensor
    unseen: Tensor
    truth: Tensor


def splits(seeds: Sequence[int]) -> Data:
    """Random splits; of the training targets a growing share is multiplied by ten: (shares, splits, rows)."""
    features, progression = diabetes()
    order = torch.stack([torch.randperm(len(progression), generator=generator(seed)) for seed in seeds])
    learn, test = order[:, :ROWS], order[:, ROWS:]
    targets = progression[learn].repeat(len(SHARES), 1, 1)
    for share, wrong in zip(SHARES, targets, strict=True):
        wrong[:, : round(share * ROWS)] *= SLIP  # the order is random already
    # decorrelated: no minimum of a linear fit changes, but all are found in fewer steps
    mixed = torch.linalg.qr(features[learn])[1] / ROWS**0.5
    unmixed = torch.linalg.inv(mixed)
    return Data(features[learn] @ unmixed, targets, features[test] @ unmixed, progression[test])


class Fit(NamedTuple):
    """Linear models, (shares, splits, features) and (shares, splits, 1), and the unit of the targets they were fitted in."""

    weight: Tensor
    bias: Tensor
    middle: Tensor
    unit: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """The predictions, in the unit of the data."""
        return _linear(features, self.weight, self.bias) * self.unit + self.middle


def _linear(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.einsum("snd,hsd->hsn", features, weight) + bias


Loss = Callable[[Tensor, Tensor], Tensor]
"""Of predictions and targets, both in units of the robust scale."""


def fit(loss: Loss, features: Tensor, targets: Tensor, steps: int, scale: Tensor | None = None) -> Fit:
    """Linear regression under a loss for every share and split at once: Adam on all rows, its rate falling to 0.

    Targets are measured from their median in units of ``scale``, by default that of the targets themselves.
    """
    middle = targets.median(-1, keepdim=True).values
    unit = robust_scale(targets - middle) if scale is None else scale
    wanted = (targets - middle) / unit
    weight = torch.zeros(*targets.shape[:-1], features.shape[-1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(*targets.shape[:-1], 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    models = targets[..., 0].numel()
    saw = watching(loss, models=models)
    for _ in range(steps):
        optimizer.zero_grad()
        value = models * loss(_linear(features, weight, bias), wanted)
        value.backward()
        saw(value)
        optimizer.step()
        schedule.step()
    return Fit(weight.detach(), bias.detach(), middle, unit)


def robust_scale(errors: Tensor) -> Tensor:
    """The standard deviation that a normal distribution with this median absolute error has; (*, rows) -> (*, 1)."""
    return NORMAL * errors.abs().median(-1, keepdim=True).values


LOSSES: dict[str, Loss] = {
    "squared error": mse_loss,
    "absolute error": l1_loss,
    "Huber": lambda guess, target: huber_loss(guess, target, delta=DELTA),
    "Barron, alpha 1": lambda guess, target: general_robust_loss(guess, target, alpha=1.0, scale=1.0),
    "Barron, alpha 0": lambda guess, target: general_robust_loss(guess, target, alpha=0.0, scale=1.0),
}
KEYS = {
    "squared error": "mse",
    "absolute error": "mae",
    "Huber": "huber",
    "Barron, alpha 1": "barron1",
    "Barron, alpha 0": "barron0",
}


def mean_error(model: Fit, data: Data) -> Tensor:
    """The mean absolute error on clean test targets, for each share and split."""
    return (model(data.unseen) - data.truth).abs().mean(-1)


def by_delta(data: Data, scale: Tensor, steps: int) -> Tensor:
    """The clean test error of Huber's loss at the shown share, for each delta (in units of ``scale``) and split."""
    deltas = torch.tensor(DELTAS, dtype=torch.float64).reshape(-1, 1, 1)
    targets = data.targets[SHARES.index(SHOWN)].expand(len(DELTAS), -1, -1)
    # delta = 1 in units of delta * scale: all deltas in one fit
    return mean_error(fit(huber_loss, data.features, targets, steps, scale=deltas * scale), data)


def _by_share(errors: Mapping[str, Tensor]) -> Chart:
    series: list[Series] = []
    for name, of in errors.items():
        mean, low, high = (part.tolist() for part in (of.mean(-1), of.amin(-1), of.amax(-1)))
        series.append(Series(name, [100 * share for share in SHARES], mean, low, high))
    return Chart("share of slips", "training targets with a slipped point (%)", "clean test error (points)", series, log_y=True)


def _by_delta(huber: Tensor) -> Chart:
    mean, low, high = (part.tolist() for part in (huber.mean(-1), huber.amin(-1), huber.amax(-1)))
    series = [Series("Huber", DELTAS, mean, low, high)]
    mark = Mark("x", DELTA, "1.345 robust scales")
    return Chart(
        "delta, at 10 % slips", "delta, in units of the robust scale", "clean test error (points)", series, [mark], log_x=True
    )


def _pull() -> Chart:
    error = torch.linspace(-8, 8, 161, dtype=torch.float64, requires_grad=True)
    series: list[Series] = []
    for name, loss in LOSSES.items():
        (slope,) = torch.autograd.grad(len(error) * loss(error, torch.zeros_like(error)), error)
        shown = slope.abs() <= 4  # squared error leaves the picture
        series.append(Series(name, error[shown].tolist(), slope[shown].tolist()))
    return Chart("pull of one error", "error, in units of the robust scale", "gradient", series)


def _figure(errors: Mapping[str, Tensor], huber: Tensor) -> Figure:
    reading = (
        "Mean over the splits; the band is the lowest and the highest. Squared error pays in full for every slip. Huber's and Barron's "
        "losses count errors in a robust scale, the median absolute error of an absolute-error fit times 1.4826, which needs no clean data."
    )
    return Figure(
        "Error on clean patients after training on slipped targets", reading, [_by_share(errors), _by_delta(huber), _pull()]
    )


def _table(errors: Mapping[str, Tensor]) -> Table:
    shares = (0.0, SHOWN, SHARES[-1])
    columns = [Column("loss"), *(Column(f"{100 * share:.0f} % slipped" if share else "clean", ".1f") for share in shares)]
    rows: list[list[Cell]] = [[name, *(measure(of[SHARES.index(share)]) for share in shares)] for name, of in errors.items()]
    note = "Mean absolute error on clean test patients, in points of the progression score (25 to 346)."
    return Table("Clean test error", columns, rows, note)


def _facts(errors: Mapping[str, Tensor], scales: Tensor, huber: Tensor) -> dict[str, float]:
    facts = {f"delta_at_{100 * s:g}": DELTA * float(scale.mean()) for s, scale in zip(SHARES, scales, strict=True)}
    for name, of in errors.items():
        facts |= {f"error_{KEYS[name]}_at_{100 * s:g}": float(e.mean()) for s, e in zip(SHARES, of, strict=True)}
    return facts | {f"error_huber_delta_{d:g}": float(e.mean()) for d, e in zip(DELTAS, huber, strict=True)}


def _answer(facts: Mapping[str, float]) -> str:
    def at(key: str, share: float = 100 * SHOWN) -> str:
        return f"{facts[f'error_{key}_at_{share:g}']:.1f}"

    return (
        f"Almost any loss but squared error. With one training target in ten multiplied by ten, squared error misses clean test patients "
        f"by {at('mse')} points instead of {at('mse', 0)}; absolute error by {at('mae')}, Huber by {at('huber')}, Barron with "
        f"alpha = 0 by {at('barron0')}. With three in ten: {at('mse', 30)}, {at('mae', 30)}, {at('huber', 30)} and {at('barron0', 30)}."
    )


def _limits(facts: Mapping[str, float]) -> list[str]:
    clean = [facts[f"error_{key}_at_0"] for key in KEYS.values()]
    return [
        f"On clean data squared error is as good as any here: all lie between {min(clean):.1f} and {max(clean):.1f}.",
        "These slips are gross and have nothing to do with the patient. Where large targets are real, a robust loss hides what matters.",
        "Barron with alpha = 0 is not convex: from a bad start it can settle in a wrong place. Here the median is a good start.",
        f"The robust scale follows the data it is given: 1.345 of it is a delta of {facts['delta_at_0']:.0f} points on clean targets and "
        f"{facts['delta_at_30']:.0f} with three slips in ten, where Huber is worse than absolute error.",
    ]


@demo(
    "outliers",
    title="A decimal point slips: which regression loss survives?",
    question="One training target in ten is ten times too large. How far off are the predictions for clean patients?",
    order=30,
)
def outliers(tick: Tick, plan: Plan = Plan()) -> Result:
    """Test error on clean targets after training on slipped ones: squared, absolute, Huber's and Barron's loss."""
    data = splits(plan.splits)
    models: dict[str, Fit] = {}
    scale: Tensor | None = None
    for i, name in enumerate(("absolute error", *(name for name in LOSSES if name != "absolute error"))):
        models[name] = fit(LOSSES[name], data.features, data.targets, plan.steps, scale)
        if scale is None:
            scale = robust_scale(models[name](data.features) - data.targets)
        tick((i + 1) / (len(LOSSES) + 1))
    assert scale is not None
    errors = {name: mean_error(models[name], data) for name in LOSSES}
    huber = by_delta(data, scale[SHARES.index(SHOWN)], plan.steps)
    facts = _facts(errors, scale, huber)
    slipped, clean = ({name: of[SHARES.index(share)] for name, of in errors.items()} for share in (SHOWN, 0.0))
    facts |= chapter_facts(slipped, clean, data.targets[SHARES.index(SHOWN), 0])
    return Result(
        answer=_answer(facts),
        method=(
            f"scikit-learn's diabetes data (442 patients, 10 measurements, progression after a year), {len(plan.splits)} random splits into "
            f"{ROWS} training and {442 - ROWS} test patients. Linear regression in float64, {plan.steps} steps of Adam on all rows. "
            f"delta = {DELTA} and Barron's scale = 1, both in units of the robust scale of the contaminated training data."
        ),
        figures=[_figure(errors, huber)],
        tables=[_table(errors)],
        code=CODE,
        limits=_limits(facts),
        facts=facts,
        chapter=chapter(facts, data.features[0], data.targets[SHARES.index(SHOWN), 0], len(plan.splits)),
    )
