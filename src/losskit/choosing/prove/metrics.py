"""What a task is judged by, on rows that were not trained on; and which figure the first choice claims to be good at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...core.card import CATALOGUE
from ...evaluate.ranked.graded import ndcg
from ...evaluate.ranked.pairs_in_order import auc
from ...evaluate.ranked.yes_no import average_precision, mrr
from ...evaluate.retrieving.relevance import Relevance
from ...evaluate.retrieving.run import retrieval
from ..advice import Candidate
from .heads import Guess
from .metric import Metric
from .metrics_wanted import wanted_metrics
from .problem import Problem

__all__ = ["judged", "metrics", "primary"]

FARTHEST = 50  # robust deviations: twice as far as 1,000 rows of Student's t with 2 degrees of freedom go
TINY = 1e-12  # of a probability of 0: a log loss of 27.6, not infinity
_ROBUST = ("l1_loss", "huber_loss")
_DEVIANCES = ("gamma_deviance_loss", "tweedie_deviance_loss")


def metrics(problem: Problem, first: Candidate, want: str = "") -> tuple[Metric, ...]:
    """The figures of a task; what is wanted is among them, and a deviance is judged by itself as well."""
    made: dict[str, Callable[[], tuple[Metric, ...]]] = {
        "binary": _binary,
        "multiclass": _multiclass,
        "multilabel": _multilabel,
        "ranking": _ranking,
        "embedding": _embedding,
        "count": _count,
    }
    of_task = made[problem.task]() if problem.task in made else (*_own_deviance(first), *_regression())
    return (*wanted_metrics(problem.task, want), *of_task)


def primary(problem: Problem, first: Candidate, want: str = "") -> str:
    """The figure that is wanted, or that the first choice claims to be best at: it decides the verdict (Gneiting 2011, JASA 106).

    An order is judged by AUC: it is what losses of pairs are made for and does not move with the share of the yes, as average
    precision does.
    """
    if problem.task == "regression" and want in ("", "mean", "median", "robust"):
        if first.loss in _ROBUST:
            return "median AE" if _unsettled(problem.target) else "MAE"
        return "deviance" if first.loss in _DEVIANCES else "RMSE"
    if decides := [one.name for one in metrics(problem, first, want) if want and one.want == want]:
        return decides[0]
    named = {"count": "deviance", "ranking": "NDCG@10", "embedding": "recall@1"}
    return named.get(problem.task, "log loss")


def _unsettled(target: Tensor) -> bool:
    """Whether a mean of absolute errors would be that of a few rows: under Cauchy noise it never settles."""
    off = (target - target.median()).abs()
    return float(off.max()) > FARTHEST * 1.4826 * float(off.median())


def judged(found: tuple[Metric, ...], guess: Guess, target: Tensor) -> dict[str, float]:
    """Every figure that can be given."""
    values = {one.name: one.of(guess, target) for one in found}
    return {name: value for name, value in values.items() if value is not None}


def _binary() -> tuple[Metric, ...]:
    def hard(y: Tensor) -> Tensor:
        return (y > 0.5).float()

    def logs(guess: Guess, y: Tensor) -> float | None:
        if guess.share is None:
            return None
        p = guess.share.double().clamp(TINY, 1 - TINY)
        return float(-(y * p.log() + (1 - y) * (-p).log1p()).mean())

    def balance(guess: Guess, y: Tensor) -> float | None:
        return None if guess.share is None else _recall((guess.share > 0.5).long(), hard(y).long())

    return (
        Metric("log loss", "minus the log of the probability given to what came; lower is better", False, logs),
        Metric(
            "average precision",
            "how pure the top of the list is, whatever the threshold; higher is better",
            True,
            lambda g, y: float(average_precision(g.score.double(), hard(y))),
        ),
        Metric(
            "AUC",
            "the share of pairs of a positive and a negative in order; higher is better",
            True,
            lambda g, y: float(auc(g.score.double(), hard(y))),
            want="order",
        ),
        Metric(
            "balanced accuracy",
            "the mean recall of the classes at a threshold of 0.5; higher is better",
            True,
            balance,
            want="balanced",
        ),
    )


def _multiclass() -> tuple[Metric, ...]:
    def hard(y: Tensor) -> Tensor:
        return y.argmax(1) if y.ndim == 2 else y.long()

    def logs(guess: Guess, y: Tensor) -> float | None:
        if guess.share is None:
            return None
        logp = guess.share.double().clamp(min=TINY).log()
        own = (logp * y).sum(1) if y.ndim == 2 else logp.gather(1, y.long()[:, None])[:, 0]
        return float(-own.mean())

    return (
        Metric("log loss", "minus the log of the probability given to the right class; lower is better", False, logs),
        Metric(
            "accuracy",
            "the share of rows whose likeliest class is right; higher is better",
            True,
            lambda g, y: float((g.score.argmax(1) == hard(y)).double().mean()),
        ),
        Metric(
            "balanced accuracy",
            "the mean recall of the classes; higher is better",
            True,
            lambda g, y: _recall(g.score.argmax(1), hard(y)),
            want="balanced",
        ),
    )


def _recall(said: Tensor, y: Tensor) -> float:
    """The mean over the classes that occur of the share that was found."""
    return float(torch.stack([(said[y == c] == c).double().mean() for c in y.unique()]).mean())


def _multilabel() -> tuple[Metric, ...]:
    def logs(guess: Guess, y: Tensor) -> float | None:
        if guess.share is None:
            return None
        p = guess.share.double().clamp(TINY, 1 - TINY)
        return float(-(y * p.log() + (1 - y) * (-p).log1p()).mean())

    def precise(guess: Guess, y: Tensor) -> float | None:
        there = ((y > 0.5).any(0) & (y < 0.5).any(0)).nonzero().flatten()
        return float(average_precision(guess.score.double().T[there], y.T[there])) if len(there) else None

    def balance(guess: Guess, y: Tensor) -> float | None:
        if guess.share is None:
            return None
        said = (guess.share > 0.5).long()
        return float(torch.tensor([_recall(said[:, i], y[:, i].long()) for i in range(y.shape[1])]).mean())

    return (
        Metric("log loss", "of each label, the mean over labels; lower is better", False, logs),
        Metric("mean average precision", "how pure the top of each label's list is; higher is better", True, precise),
        Metric(
            "balanced accuracy",
            "the mean recall of yes and no at a threshold of 0.5; higher is better",
            True,
            balance,
            want="balanced",
        ),
    )


def _regression() -> tuple[Metric, ...]:
    def error(g: Guess, y: Tensor) -> Tensor:
        return g.score.double() - y.double()

    return (
        Metric(
            "RMSE",
            "the root of the mean squared error: large errors count most; lower is better",
            False,
            lambda g, y: float(error(g, y).square().mean().sqrt()),
        ),
        Metric(
            "MAE",
            "the mean absolute error; lower is better",
            False,
            lambda g, y: float(error(g, y).abs().mean()),
            0.5,
            want="median",
        ),
        Metric(
            "median AE",
            "half of the errors are below it; lower is better",
            False,
            lambda g, y: float(error(g, y).abs().quantile(0.5)),
            0.5,
        ),
    )


def _own_deviance(first: Candidate) -> tuple[Metric, ...]:
    if first.loss not in _DEVIANCES:
        return ()
    return (_deviance(first.loss, {name: first.options[name] for name in ("power",) if name in first.options}),)


def _deviance(loss: str, given: dict[str, float]) -> Metric:
    """The deviance of a predicted mean; what is predicted below a thousandth of the mean counts as that."""

    def of(guess: Guess, y: Tensor) -> float:
        least = max(1e-3 * float(y.double().mean()), 1e-9)
        return float(CATALOGUE[loss].function(guess.score.double().clamp(min=least).log(), y.double(), **given))

    family = loss.removesuffix("_deviance_loss").capitalize()
    said = f"the {family} deviance; what is predicted below 1/1000 of the mean counts as that; lower is better"
    return Metric("deviance", said, False, of)


def _count() -> tuple[Metric, ...]:
    return (_deviance("poisson_deviance_loss", {}), *_regression()[:2])


def _ranking() -> tuple[Metric, ...]:
    def masked(y: Tensor) -> Tensor:
        return y[..., 1] > 0

    return (
        Metric(
            "NDCG@10",
            "the gain of the first ten items over the best possible; higher is better",
            True,
            lambda g, y: float(ndcg(g.score.double(), y[..., 0].double(), k=10, mask=masked(y))),
        ),
        Metric(
            "NDCG",
            "the same for the whole list; higher is better",
            True,
            lambda g, y: float(ndcg(g.score.double(), y[..., 0].double(), mask=masked(y))),
        ),
        Metric(
            "MRR",
            "one over the place of the first relevant item; higher is better",
            True,
            lambda g, y: float(mrr(g.score.double(), y[..., 0].double(), mask=masked(y))),
            want="first",
        ),
    )


def _embedding() -> tuple[Metric, ...]:
    def found(name: str) -> Callable[[Guess, Tensor], float]:
        def of(guess: Guess, y: Tensor) -> float:
            report = retrieval(guess.score.double(), guess.score.double(), Relevance.labels(y, y), k=(1,), exclude_self=True)
            return report[name]

        return of

    return (
        Metric(
            "recall@1", "the share of rows whose nearest other row has their class; higher is better", True, found("hit_rate@1")
        ),
        Metric("MAP@R", "the mean average precision among as many rows as are right; higher is better", True, found("map@r")),
    )
