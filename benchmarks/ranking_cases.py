"""What the losses and metrics of lists are measured on: the cases, their tensors, and how far a result is from float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import ranking_peers as peers
import torch
from embeddings_cases import SEED, Problem, relative
from embeddings_peers import DENSE, Loss, Step, square, step

CHECKED = 3000  # items of a list that is checked in full, against an (L, L) form in float64
SOME = 8  # relevant items, and as many others, of a longer list whose gradients are checked too
MILLION = 1_000_000
SIX = square(6)  # matrices of float32 that a dense form has at once, about


@dataclass(frozen=True)
class Kind:
    """A loss of losskit's, the same in plain torch, and of a pairwise one what a pair costs; or a metric."""

    loss: str
    form: Loss
    each: peers.Each | None = None
    weighed: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    typed: str = DENSE
    needs: Callable[[int], float] = SIX
    also_a_tenth: bool = False
    metric: bool = False

    @property
    def contenders(self) -> tuple[peers.Entrant, ...]:
        if self.metric:
            return peers.of_metric(self.loss)
        make = partial(peers.our_loss, self.loss, self.options, self.weighed)
        found = peers.of_loss(make, self.form, self.typed, self.needs)
        return (*found, peers.Entrant(peers.TENTH, make, part=10)) if self.also_a_tenth else found


def pairwise(name: str, weighed: bool = False, **more: Any) -> Kind:
    each = peers.EACH[name]
    loss = f"pairwise_{name.replace(' ', '_')}_loss"
    return Kind(loss, peers.pairwise(each, weighed), each, weighed, {"pair_reduction": "pooled"}, **more)


def auc(name: str) -> Kind:
    each = peers.EACH[name]  # one positive in a hundred: 0.0099 n^2 pairs, and six such matrices
    return Kind(f"auc_{name}_loss", peers.auc(each), each, needs=square(6 * 0.0099))


def metric(figure: str) -> Kind:
    truth = peers.scikit_learn(figure)
    return Kind(figure, lambda s, y: truth()(s, y), metric=True)


LAMBDA = {"weighed": True, "needs": square(10)}
KINDS = {
    "pairwise hinge": pairwise("hinge"),
    "pairwise squared hinge": pairwise("squared hinge"),
    "LambdaRank hinge": pairwise("hinge", also_a_tenth=True, **LAMBDA),
    "pairwise logistic": pairwise("logistic"),
    "LambdaRank logistic": pairwise("logistic", **LAMBDA),
    "ListNet": Kind("listnet_loss", peers.listnet, typed="torch"),
    "ListMLE": Kind("listmle_loss", peers.listmle, typed=peers.SORTED, needs=lambda items: 0.0),
    "ApproxNDCG": Kind("approx_ndcg_loss", peers.approx_ndcg),
    "NeuralNDCG": Kind("neural_ndcg_loss", peers.neural_ndcg),
    "AUC hinge": auc("hinge"),
    "AUC logistic": auc("logistic"),
    "AUM": Kind("aum_loss", peers.aum, typed=peers.SORTED, needs=lambda items: 0.0),
    "NDCG": metric("ndcg"),
    "AUC": metric("auc"),
    "average precision": metric("average_precision"),
}


@dataclass(frozen=True)
class Case:
    """One thing to measure; plain data, so that a child process can be told of it."""

    kind: str
    lists: int
    items: int
    grades: str  # "5 grades", "10 % positive", "1 % positive" or "all different"
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def name(self) -> str:
        shape = f"n = {self.items:,}" if self.lists == 1 else f"{self.lists} x {self.items:,}"
        return f"{self.kind}, {shape}, {self.grades}"

    @property
    def rows(self) -> int:
        """What a contender's memory grows with."""
        return self.items

    @property
    def short(self) -> bool:
        """A batch as in training: checked and timed in this process."""
        return self.lists > 1 and not KINDS[self.kind].metric


def problem(case: Case, dtype: torch.dtype = torch.float32) -> Problem:
    """Scores that know something of the grades; in each list the first item is relevant and the second is not."""
    draw = torch.Generator().manual_seed(SEED)
    shape = (case.lists, case.items) if case.lists > 1 else (case.items,)
    if case.grades == "all different":
        relevance = torch.rand(shape, generator=draw).argsort(-1)
    elif case.grades == "5 grades":
        relevance = torch.randint(5, shape, generator=draw)
    else:
        relevance = (torch.rand(shape, generator=draw) < float(case.grades.split()[0]) / 100).long()
    if case.grades != "all different":
        relevance[..., 0], relevance[..., 1] = 4 if case.grades == "5 grades" else 1, 0
    scores = (torch.randn(shape, generator=draw) + relevance / relevance.amax() / 2).to(dtype)
    if KINDS[case.kind].metric:
        return Problem((), (scores, relevance))
    return Problem((scores.requires_grad_(),), (relevance.to(dtype),))


def acting(case: Case, loss: Loss, given: Problem) -> Step:
    """A step of training, or a metric's value."""
    return (lambda: loss(*given.others)) if KINDS[case.kind].metric else step(loss, given)


def of_some_items(case: Case, given: Problem) -> float:
    """How far the gradients of a few items of a long list are from the sums over all their pairs."""
    kind, (scores,), (relevance,) = KINDS[case.kind], given.leaves, given.others
    assert kind.each is not None
    items = torch.cat([(relevance > 0).nonzero()[:SOME, 0], (relevance == 0).nonzero()[:SOME, 0]])
    exact = scores.detach().double(), relevance.double()
    true = peers.gradients_of(items, *exact, kind.each, kind.weighed)
    return relative(None if scores.grad is None else scores.grad[items], true)


def errors(case: Case, loss: Loss, given: Problem) -> dict[str, float]:
    """Relative to float64: of at most CHECKED items of a list, and of some items of ``given``; and how far a float64 run is.

    A metric is checked at its full length.
    """
    kind = KINDS[case.kind]
    if kind.metric:
        return {"loss": rounded(relative(loss(*given.others), kind.form(*given.others).double()))}
    short = replace(case, items=min(case.items, CHECKED))
    exact, wrong = problem(short, torch.float64), list[tuple[float, float]]()
    true = step(kind.form, exact)()
    for dtype in (torch.float32, torch.float64):
        its = problem(short, dtype)  # the same scores, which are exact in float32
        value, slope = step(loss, its)(), exact.leaves[0].grad
        assert slope is not None
        wrong.append((relative(value, true), relative(its.leaves[0].grad, slope)))
    (value_error, slope_error), in_float64 = wrong
    if kind.each is not None and case.lists == 1 and case.items > CHECKED:
        slope_error = max(slope_error, of_some_items(case, given))
    return {"loss": rounded(value_error), "gradients": rounded(slope_error), "in float64": rounded(max(in_float64))}


def rounded(error: float) -> float:
    return float(f"{error:.3g}")


def batches() -> list[Case]:
    kinds = ("pairwise logistic", "pairwise hinge", "ListNet", "ListMLE", "ApproxNDCG", "NeuralNDCG")
    shapes = ((256, 50), (64, 200))
    return [Case(kind, *shape, "all different" if kind == "ListMLE" else "5 grades") for kind in kinds for shape in shapes]


TWO, FIVE, RARE = "10 % positive", "5 grades", "1 % positive"
HINGES = [Case(kind, 1, MILLION, grades) for kind in ("pairwise hinge", "pairwise squared hinge") for grades in (TWO, FIVE)]
LAMBDA_HINGE = Case("LambdaRank hinge", 1, 100_000, FIVE)
LONG_LOGISTIC = Case("pairwise logistic", 1, 20_000, FIVE)
LOGISTICS = [Case(kind, 1, 4000, grades) for kind in ("pairwise logistic", "LambdaRank logistic") for grades in (FIVE, TWO)]
METRICS = [
    *(Case("NDCG", lists, MILLION // lists, FIVE) for lists in (1, 100, 10_000)),
    *(Case(kind, 1, MILLION, TWO) for kind in ("AUC", "average precision")),
]
SHAPES = [
    *(*HINGES, LAMBDA_HINGE, LONG_LOGISTIC, Case("pairwise logistic", 1, MILLION, FIVE), *LOGISTICS, *METRICS),
    *(Case(kind, 1, MILLION, RARE) for kind in ("AUC hinge", "AUC logistic", "AUM")),
    *(Case("ApproxNDCG", 1, 4000, FIVE), Case("ListMLE", 1, 100_000, "all different")),
    *batches(),
]


def chosen(shapes: str, kinds: list[str] | None = None) -> list[Case]:
    """The cases of --shapes, in the order in which they run."""
    small = (replace(case, lists=min(case.lists, 3), items=min(case.items, 40)) for case in SHAPES)
    found = list(dict.fromkeys(small)) if shapes == "small" else SHAPES
    return [case for case in found if not kinds or case.kind in kinds]
