"""Ranking: numbers where the form that is usually typed is off, and those that the guide quotes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

from ..losses.listed_pairs import PairReduction
from .claim import Claim

__all__ = ["claims"]

# two lists of a batch that is padded: three pairs, of hinge 1.2, 0.7 and 0.6
_SCORES = torch.tensor([[0.6, 0.8, 0.0], [0.5, 0.8, 0.4]], dtype=torch.float64)
_RELEVANCE = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
_MASK = torch.tensor([[True, True, False], [True, True, True]])


def _padded(pair_reduction: PairReduction) -> float:
    return float(losskit.PairwiseHingeLoss(mask=_MASK, pair_reduction=pair_reduction)(_SCORES, _RELEVANCE))


def _padded_claims() -> list[Claim]:
    return [
        Claim("ranking", "hinge of two padded lists, mean over lists: (1.2 + 0.65) / 2", 0.925, lambda: _padded("mean")),
        Claim("ranking", "the same, each pair counting one: 2.5 / 3", 2.5 / 3, lambda: _padded("pooled")),
        Claim(
            "ranking",
            "LambdaRank with 40 items of padding over the same without",
            1.0,
            lambda: _with_padding(40) / _with_padding(0),
        ),
        Claim(
            "ranking",
            "pairwise logistic loss of a list whose grades are all equal (beside: mean over no pairs)",
            "0 with a graph",
            lambda: _equal_grades(losskit.pairwise_logistic_loss),
            lambda: _equal_grades(_typed_pairs),
        ),
    ]


def _equal_grades(loss: Callable[[Tensor, Tensor], Tensor]) -> str:
    value = loss(torch.randn(1, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(), torch.ones(1, 4))
    return f"{float(value.detach()):g} {'with' if value.requires_grad else 'without'} a graph"


def _typed_pairs(scores: Tensor, relevance: Tensor) -> Tensor:
    above = relevance[..., :, None] > relevance[..., None, :]
    return F.softplus(scores[..., None, :] - scores[..., :, None])[above].mean()


def _with_padding(pads: int) -> float:
    """LambdaRank's loss of three items and some padding."""
    scores, relevance = F.pad(_SCORES[1:], (0, pads)), F.pad(_RELEVANCE[1:], (0, pads))
    mask = losskit.mask_from_lengths(torch.tensor([3]), size=3 + pads)
    return float(losskit.pairwise_logistic_loss(scores, relevance, mask=mask, lambda_weight=losskit.DeltaNDCG()))


def _slope(loss: losskit.Loss | None) -> float:
    """Of the relevant item of a pair that is 30 in reverse, in float32; of RankNet with a clamped probability for None."""
    scores = torch.tensor([-15.0, 15.0], requires_grad=True)
    clamped = -(scores[0] - scores[1]).sigmoid().clamp(min=1e-10).log()
    value = clamped if loss is None else loss(scores, torch.tensor([1, 0]))
    (slope,) = torch.autograd.grad(value, scores)
    return float(slope[0])


def _stages(scores: Tensor) -> float:
    """ListMLE as it is usually typed: one shift for the whole list, and a cumulative sum."""
    shifted = scores - scores.max()
    return float((shifted.exp().flip(0).cumsum(0).flip(0).log() - shifted).sum())


def _listmle(scores: Tensor) -> float:
    return float(losskit.listmle_loss(scores, torch.arange(len(scores), 0, -1)))


def _hinge_is_a_loop(size: int = 400) -> float:
    """How far the sorted sum of hinges is from the double loop, relative."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(size, generator=generator, dtype=torch.float64)
    relevance = torch.randint(5, (size,), generator=generator)
    apart, above = scores[:, None] - scores, relevance[:, None] > relevance
    loop = (F.relu(1 - apart) * above).sum() / above.sum()
    return float(abs(losskit.pairwise_hinge_loss(scores, relevance) - loop) / loop)


def _huge_grades() -> Tensor:
    return torch.tensor([1000, 3, 999])


def _plain_ndcg(relevance: Tensor) -> float:
    gain = 2.0 ** relevance.float() - 1
    discount = (2 + torch.arange(len(gain))).log2().reciprocal()
    return float((gain * discount).sum() / (gain.sort(descending=True).values * discount).sum())


def claims() -> list[Claim]:
    """Padded batches, pairs far in reverse, long lists, huge grades, and the levels of equal scores."""
    falling, far = torch.arange(999.0, -1, -1), torch.tensor([0.0, -40.0])
    return [
        *_padded_claims(),
        Claim(
            "ranking",
            "gradient of a pair 30 in reverse, float32 (beside: log of a clamped probability)",
            -1.0,
            lambda: _slope(losskit.PairwiseLogisticLoss()),
            lambda: _slope(None),
        ),
        Claim(
            "ranking",
            "ListMLE of scores 999, 998, ..., 0 in order, float32 (beside: one shift and a cumulative sum)",
            sum(math.log(sum(math.exp(-i) for i in range(k + 1))) for k in range(1000)),
            lambda: _listmle(falling),
            lambda: _stages(falling),
        ),
        Claim(
            "ranking",
            "ListMLE of scores 0, -40 in order, float32: log(1 + e^-40)",
            math.log1p(math.exp(-40)),
            lambda: _listmle(far),
            lambda: _stages(far),
        ),
        Claim(
            "ranking",
            "sorted hinge over all pairs against the double loop, float64, relative",
            1e-12,
            _hinge_is_a_loop,
            at_most=True,
        ),
        Claim(
            "ranking",
            "NDCG of grades 1000, 3, 999 in order 1000, 999, 3 (beside: gains 2^y - 1 in float32)",
            1.0,
            lambda: float(losskit.evaluate.ndcg(torch.tensor([3.0, 1.0, 2.0]), _huge_grades())),
            lambda: _plain_ndcg(_huge_grades().sort(descending=True).values),
        ),
        *_levels(),
    ]


def _level(name: str, **facts: object) -> float:
    value = losskit.reference(name, **facts).chance
    return math.nan if value is None else value


def _levels() -> list[Claim]:
    """Of equal scores."""
    named: tuple[tuple[str, str, float, dict[str, object]], ...] = (
        ("pairwise_logistic_loss", "ln 2", math.log(2), {}),
        ("listnet_loss", "ln 10 for 10 items", math.log(10), {"list_size": 10}),
    )
    return [
        Claim("reference numbers", f"{name} of equal scores: {formula}", truth, functools.partial(_level, name, **facts))
        for name, formula, truth, facts in named
    ]
