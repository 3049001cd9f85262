"""Losses of lists as they are typed in plain torch, which in float64 are the truth; losskit's, and scikit-learn's metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from embeddings_peers import Contender, Loss, named, ours
from linear_bars import OURS
from torch import Tensor

Each = Callable[[Tensor], Tensor]  # of s_i - s_j, what a pair y_i > y_j costs
TEMPERATURE = 0.1  # of soft ranks
SORTED = "sorted form in torch"
ONE_CALL, TENTH = "losskit, one call", "losskit, a tenth of the items"
SCIKIT_LEARN = named("scikit-learn")
BATCHES = 100  # in which a streaming metric is fed
EACH: dict[str, Each] = {
    "logistic": lambda apart: F.softplus(-apart),
    "hinge": lambda apart: F.relu(1 - apart),
    "squared hinge": lambda apart: F.relu(1 - apart).square(),
}


@dataclass(frozen=True)
class Entrant(Contender):
    """A contender that may run on the first items only, in the same race as those who run on all."""

    part: int = 1


def places(length: int, like: Tensor) -> Tensor:
    """1 / log2(1 + r) of the ranks r = 1, 2, ..."""
    return torch.arange(2, length + 2, dtype=like.dtype, device=like.device).log2().reciprocal()


def shares(scores: Tensor, relevance: Tensor) -> Tensor:
    """Gains 2^y - 1 over the best DCG of the list."""
    gain = torch.exp2(relevance.to(scores.dtype)) - 1
    best = (gain.sort(-1, descending=True).values * places(gain.shape[-1], gain)).sum(-1, keepdim=True)
    return gain / best


def lambda_rank(scores: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and discount of each item: a pair weighs |G_i - G_j| |D_i - D_j|."""
    scores = scores.detach()
    rank = scores.argsort(-1, descending=True).argsort(-1)
    return shares(scores, relevance), places(scores.shape[-1], scores)[rank]


def differences(x: Tensor) -> Tensor:
    return x.unsqueeze(-1) - x.unsqueeze(-2)


def pairwise(each: Each, weighed: bool = False) -> Loss:
    """As Rax: all differences (L, L), where y_i > y_j, sum over count; LambdaRank's weights are a matrix beside them."""

    def dense(scores: Tensor, relevance: Tensor) -> Tensor:
        above = relevance.unsqueeze(-1) > relevance.unsqueeze(-2)
        cost = each(differences(scores))
        if weighed:
            gain, discount = lambda_rank(scores, relevance)
            cost = cost * differences(gain).abs() * differences(discount).abs()
        return torch.where(above, cost, 0).sum() / above.sum()

    return dense


def gradients_of(items: Tensor, scores: Tensor, relevance: Tensor, each: Each, weighed: bool) -> Tensor:
    """The gradients that some items of one list have from all their pairs, O(n) an item: long lists can be checked in part."""
    grades = relevance.unique(return_counts=True)[1].double()
    pairs = (len(scores) ** 2 - grades.square().sum()) / 2
    gain, discount = lambda_rank(scores, relevance) if weighed else (scores, scores)
    found: list[Tensor] = []
    for i in items:
        own = scores[i].clone().requires_grad_()
        apart, y = own - scores, relevance[i]
        cost = torch.where(y > relevance, each(apart), torch.where(y < relevance, each(-apart), 0))
        if weighed:
            cost = cost * (gain[i] - gain).abs() * (discount[i] - discount).abs()
        (slope,) = torch.autograd.grad(cost.sum() / pairs, own)
        found.append(slope)
    return torch.stack(found)


def listnet(scores: Tensor, relevance: Tensor) -> Tensor:
    target = relevance / relevance.sum(-1, keepdim=True)
    return -(target * scores.log_softmax(-1)).sum(-1).mean()


def listmle(scores: Tensor, relevance: Tensor) -> Tensor:
    """Sorted by relevance, flipped, logcumsumexp: the typed form that keeps its digits, for grades that all differ."""
    s = scores.gather(-1, relevance.argsort(-1, descending=True))
    return (s.flip(-1).logcumsumexp(-1).flip(-1) - s).sum(-1).mean()


def approx_ndcg(scores: Tensor, relevance: Tensor) -> Tensor:
    """Every soft rank from a row of an (L, L) matrix of sigmoids."""
    rank = 0.5 + torch.sigmoid(-differences(scores) / TEMPERATURE).sum(-1)
    return (1 - (shares(scores, relevance) / torch.log2(1 + rank)).sum(-1)).mean()


def neural_ndcg(scores: Tensor, relevance: Tensor) -> Tensor:
    """NeuralSort's (L, L) matrix as allRank builds it, without Sinkhorn's rounds."""
    length = scores.shape[-1]
    by_place = length + 1 - 2 * torch.arange(1, length + 1, dtype=scores.dtype, device=scores.device)
    power = by_place.unsqueeze(-1) * scores.unsqueeze(-2) - differences(scores).abs().sum(-1).unsqueeze(-2)
    earned = (power.softmax(-1) @ shares(scores, relevance).unsqueeze(-1)).squeeze(-1) * places(length, scores)
    return (1 - earned.sum(-1)).mean()


def auc(each: Each) -> Loss:
    """As LibAUC: a matrix of positives by negatives."""
    return lambda scores, relevance: each(scores[relevance > 0].unsqueeze(-1) - scores[relevance == 0]).mean()


def aum(scores: Tensor, relevance: Tensor) -> Tensor:
    """The smaller error rate between each two neighbours in the order, times how far they are apart."""
    s, at = scores.sort()
    positive = (relevance[at] > 0).to(s.dtype)
    missed, alarms = positive.cumsum(0) / positive.sum(), 1 - (1 - positive).cumsum(0) / (1 - positive).sum()
    return (torch.minimum(missed, alarms)[:-1].detach() * s.diff()).sum()


def our_loss(name: str, options: dict[str, Any], weighed: bool) -> Loss:
    loss = ours(name)
    given = options | ({"lambda_weight": ours("DeltaNDCG")()} if weighed else {})
    return lambda scores, relevance: loss(scores, relevance, **given)


def stream(figure: str) -> Callable[[], Loss]:
    """Our streaming metric, fed in batches; a list whose NDCG is wanted cannot be split."""

    def make() -> Loss:
        from losskit.evaluate.ranked.binary_stream import BinaryRanking
        from losskit.evaluate.ranked.stream import RankingMetrics

        def run(scores: Tensor, relevance: Tensor) -> Tensor:
            metric: Any = BinaryRanking(ties="threshold")
            if figure == "ndcg":
                metric = RankingMetrics([figure], gain="linear")
                scores, relevance = torch.atleast_2d(scores), torch.atleast_2d(relevance)
            for batch in zip(scores.chunk(BATCHES), relevance.chunk(BATCHES), strict=True):
                metric.update(*batch)
            found: Tensor = metric.compute()[figure]
            return found

        return run

    return make


def one_call(figure: str) -> Callable[[], Loss]:
    def make() -> Loss:
        from losskit.evaluate.ranked import graded, pairs_in_order, yes_no

        found: dict[str, Loss] = {
            "ndcg": lambda s, y: graded.ndcg(s, y, gain="linear"),
            "auc": pairs_in_order.auc,
            "average_precision": lambda s, y: yes_no.average_precision(s, y, ties="threshold"),
        }
        return found[figure]

    return make


def scikit_learn(figure: str) -> Callable[[], Loss]:
    """Its metric, of the memory of the tensors."""

    def make() -> Loss:
        import numpy as np
        from sklearn import metrics

        found = {
            "ndcg": lambda y, s: metrics.ndcg_score(np.atleast_2d(y), np.atleast_2d(s)),
            "auc": metrics.roc_auc_score,
            "average_precision": metrics.average_precision_score,
        }[figure]
        return lambda scores, relevance: torch.tensor(found(relevance.numpy(), scores.numpy()), dtype=torch.float64)

    return make


def of_loss(make: Callable[[], Loss], form: Loss, typed: str, needs: Callable[[int], float]) -> tuple[Entrant, ...]:
    return (Entrant(OURS, make), Entrant(typed, lambda: form, needs))


def of_metric(figure: str) -> tuple[Entrant, ...]:
    return (
        Entrant(OURS, stream(figure)),
        Entrant(ONE_CALL, one_call(figure)),
        Entrant(SCIKIT_LEARN, scikit_learn(figure), module="sklearn"),
    )
