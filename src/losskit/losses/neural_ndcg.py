"""NeuralNDCG: the DCG of a list that is sorted softly, by NeuralSort."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.card import loss
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.neural_sort import sorted_sums
from ..ops.swaps import discounts
from .approx_ndcg import book_gain, check, of_equal_scores, shares
from .gains import Gain
from .lists import GRADES, LISTS, Found, Lists, over_lists

__all__ = ["NeuralNDCGLoss", "neural_ndcg_loss"]


def _body(lists: Lists, temperature: float, k: int | None, gain: Gain) -> Found:
    share, learns = shares(lists, gain, k)
    table, _ = discounts(share.shape[-1], k, share.device)
    earned = sorted_sums(lists.scores, lists.valid, share, table[:k], temperature)
    return Found(torch.where(learns, 1 - earned, 0), learns)


def _pobrotyn(
    scores: Tensor, relevance: Tensor, *, temperature: float = 1.0, k: int | None = None, gain: str = "exponential"
) -> Tensor:
    """1 - DCG of the softly sorted gains over the best DCG, list by list and row by row of the matrix."""
    found: list[Tensor] = []
    for s, y in zip(scores.double(), relevance.tolist(), strict=True):
        n, total = len(s), s.new_zeros(())
        gains = s.new_tensor([book_gain(v, gain) for v in y])
        for r in range(1, min(n, k or n) + 1):
            power = torch.stack([(n + 1 - 2 * r) * own - (own - s).abs().sum() for own in s]) / temperature
            total = total + (power.softmax(0) * gains).sum() / math.log2(1 + r)
        best = sum(g / math.log2(2 + p) for p, g in enumerate(sorted(gains.tolist(), reverse=True)[:k]))
        found.append(1 - total / best if len(set(y)) > 1 else s.new_zeros(()))
    return torch.stack(found) if found else scores.new_zeros(0, dtype=torch.float64)


def _chance(relevance: Tensor, temperature: float = 1.0, k: int | None = None, gain: Gain = "exponential") -> float:
    """Every row of the matrix is the mean of all items, at any temperature."""
    check(temperature, k, gain)
    table, _ = discounts(relevance.shape[-1], k, relevance.device)
    return of_equal_scores(relevance, k, gain, float(table.mean()))


@loss(
    task="ranking",
    sample={**LISTS, "relevance": GRADES},
    reference=_pobrotyn,
    laws=("bounded_gradient",),
    variants=({}, {"temperature": 0.5, "gain": "linear", "k": 2}),
    chance=_chance,
)
def neural_ndcg_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 1.0,
    k: int | None = None,
    gain: Gain = "exponential",
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""NDCG on a list that is sorted softly: every place of the list is a blend of the items that might stand there.

    Formula:    \ell = 1 - \frac{1}{\mathrm{DCG}^*_k} \sum_{r=1}^{k} \frac{\sum_i P_{ri}\, w_i (2^{y_i} - 1)}{\log_2(1 + r)},
                P_{r\cdot} = \mathrm{softmax}_i\left(\frac{(n + 1 - 2r) s_i - A_i}{\tau}\right), A_i = \sum_j |s_i - s_j|
    Gradient:   \partial\ell/\partial s_i = \sum_r (n + 1 - 2r) Q_{ri} - \sum_j \mathrm{sign}(s_i - s_j)(q_i + q_j),
                Q = \partial\ell/\partial(\tau \log P), q_i = \sum_r Q_{ri}
    Use when:   NDCG is what is reported and lists are long: a place is a blend of the few items near it, and on a CPU only these
                are computed: faster than approx_ndcg_loss once scores have spread, slower while all are nearly equal, as at
                the start.
    Avoid when: values are compared or have to be >= 0 (approx_ndcg_loss): see Returns. torch.compile, torch.func and second
                derivatives make the whole matrix.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        temperature: > 0, a number; near 0 the value is 1 - NDCG@k.
        k: places that count; None for all. Only these rows of P are computed; every item is in each of them.
        gain: "exponential" for 2^y - 1, of any size without overflow; "linear" for y.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, multiplies an item's gain, in the ideal too. An item of weight 0 still takes its place.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". Rows of P add up to 1 and columns need not, so that good items can
                be counted more than once and the value can be below 0: -0.05 for two good items of nearly one score above a bad
                one. allRank scales the columns by 50 rounds of Sinkhorn, for which all of P has to be kept; here P is never
                kept, memory is O(L). A list in which all gains are equal has nothing to learn: it is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for relevance below 0 or an option out of range.
    Reference:  Pobrotyn, Bialobrzeski 2021, arXiv:2102.07831; P: Grover et al. 2019, arXiv:1903.08850
    Example:
        >>> losskit.neural_ndcg_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[1, 0]]))  # 1 - (1 + 1 / log2 3) / 2
        tensor(0.1845)
    """
    check(temperature, k, gain)
    return over_lists(
        lambda lists: _body(lists, temperature, k, gain),
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


class NeuralNDCGLoss(Loss, function=neural_ndcg_loss):
    """Module of :func:`neural_ndcg_loss`."""

    temperature: float = 1.0
    k: int | None = None
    gain: Gain = "exponential"
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
