"""The figures that say how well a want is met, where the task's own do not."""

from __future__ import annotations

from torch import Tensor

from ...evaluate.ranked.pairs_in_order import concordance
from .heads import Guess
from .metric import Metric

__all__ = ["wanted_metrics"]


def wanted_metrics(task: str, want: str) -> tuple[Metric, ...]:
    """Those that a task without this want does not have."""
    if want.startswith("quantile="):
        return (_pinball(want),)
    if task != "ranking":
        return ()
    order = "the share of pairs of a list that are in order; higher is better"
    apart = "scores and values less the mean of their list; lower is better"
    made = (
        Metric("pairs in order", order, True, _in_order, want="order"),
        Metric("RMSE of differences", apart, False, _apart, want="differences"),
    )
    return tuple(one for one in made if one.want == want)


def _pinball(want: str) -> Metric:
    level = float(want.partition("=")[2])

    def of(guess: Guess, y: Tensor) -> float:
        short = y.double() - guess.score.double()
        return float((level * short).maximum((level - 1) * short).mean())

    said = f"a unit too low costs {level:g}, a unit too high {1 - level:.4g}; lower is better"
    return Metric(f"pinball loss at {level:g}", said, False, of, level, want)


def _in_order(guess: Guess, y: Tensor) -> float:
    return float(concordance(guess.score.double(), y[..., 0].double(), mask=y[..., 1] > 0))


def _apart(guess: Guess, y: Tensor) -> float:
    """The level of a list is left out: nobody is asked for it."""
    there = y[..., 1].double()
    error = (guess.score.double() - y[..., 0].double()) * there
    error = error - there * error.sum(-1, keepdim=True) / there.sum(-1, keepdim=True).clamp(min=1)
    return float((error.square().sum() / there.sum()).sqrt())
