"""ApproxMRR: the reciprocal rank of the first relevant item, with that rank made smooth."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, wide
from ..core.module import Loss
from ..core.reduce import Reduction
from .lists import LISTS, Found, Lists, over_lists

__all__ = ["ApproxMRRLoss", "approx_mrr_loss"]


def _body(lists: Lists, temperature: float) -> Found:
    """x / (1 + x), x the number of irrelevant items that are softly above all relevant ones."""
    s, weight = wide(lists.scores), wide(lists.counts)
    if not s.shape[-1]:
        return Found(s.sum(-1), lists.valid.any(-1))
    answers, others = lists.valid & (lists.relevance > 0) & (weight > 0), lists.valid & (lists.relevance <= 0)
    learns = answers.any(-1) & others.any(-1)
    shown = answers | ~learns.unsqueeze(-1)
    # the difference first: a quotient of a large score has fewer digits than the difference needs
    s = (s - torch.where(shown, s.detach(), -torch.inf).amax(-1, keepdim=True)) / temperature
    share = torch.where(answers, weight / torch.where(answers, weight, 0).amax(-1, keepdim=True), 1)
    best = torch.where(shown, s + share.log(), -torch.inf).logsumexp(-1, keepdim=True)
    above = torch.where(others, torch.sigmoid(s - best), 0).sum(-1)
    return Found(torch.where(learns, above / (1 + above), 0), learns)


def _first_of_many(scores: Tensor, relevance: Tensor, *, temperature: float = 0.1) -> Tensor:
    """1 - 1 / (1 + the sum over irrelevant items of their chance to be drawn before every relevant one), list by list."""
    found: list[Tensor] = []
    for s, y in zip(scores.double() / temperature, relevance, strict=True):
        answers = s[y > 0]
        above = [torch.sigmoid(other - answers.logsumexp(0)) for other in s[y <= 0]] if len(answers) else []
        found.append(1 - 1 / (1 + sum(above, s.new_zeros(()))))
    return torch.stack(found) if found else scores.new_zeros(0, dtype=torch.float64)


def _chance(relevance: Tensor, temperature: float = 0.1) -> float:
    """The first of m relevant items among n in any order is at (n + 1) / (m + 1) in the mean, at any temperature."""
    at_least("temperature", temperature, 0, strict=True)
    relevant = torch.atleast_2d(relevance > 0)
    size, some = relevant.shape[-1], relevant.sum(-1)
    learns = (some > 0) & (some < size)
    return float(torch.where(learns, 1 - (some + 1).double() / (size + 1), 0).sum() / learns.sum())


@loss(
    task="ranking",
    sample=LISTS,
    reference=_first_of_many,
    laws=("nonnegative", "bounded_gradient"),
    variants=({}, {"temperature": 1.0}),
    chance=_chance,
    floor=lambda: 0.0,
)
def approx_mrr_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.1,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""One right answer near the top is enough: one minus the reciprocal of the first relevant item's smooth rank, in O(L).

    Formula:    \ell = 1 - \frac{1}{\rho}, \rho = 1 + \sum_{j: y_j \le 0} \frac{e^{s_j/\tau}}{e^{s_j/\tau} +
                \sum_{i: y_i > 0} w_i e^{s_i/\tau}} , w over its largest in the list:
                the expected place of the first relevant item if items are drawn one after
                the other with chances in proportion to e^{s/\tau} (Plackett-Luce)
    Gradient:   \partial\ell/\partial s_j = \frac{p_j (1 - p_j)}{\tau \rho^2} for an irrelevant item, p_j its term of the sum;
                what these add up to pulls the relevant items up, each by its share of \sum_i w_i e^{s_i/\tau}
    Use when:   one answer is wanted: question answering, known-item search, MRR is what is reported.
    Avoid when: the other relevant items count too (approx_ndcg_loss), or the temperature is far below the gaps of the scores:
                they are frozen then.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        temperature: > 0, a number; near 0 the value is 1 - MRR of what is relevant here.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, what a relevant item counts for as an answer, beside the others of its list; 0 leaves it out. That
            of an irrelevant item does not matter.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none", in [0, 1). Relevant is what is above 0; losskit.evaluate.mrr
                counts what is >= 1 (its threshold), as Rax and TF-Ranking do, so that a grade between them is an answer here
                and none there. A list without a relevant item, or without an irrelevant one, is 0 and does not count. With one
                relevant item \rho is the soft rank 1 + \sum_j \sigma((s_j - s_i)/\tau) of Qin and of TF-Ranking. With several
                TF-Ranking takes the mean of their 1 / r_i, which is below 1 for the best order, and the largest 1 / r_i has
                relevant items in each other's way.
    Raises:     ShapeError; TypeError; ValueError for a temperature that is not > 0.
    Reference:  Qin, Liu, Li 2010, A General Approximation Framework for Direct Optimization of Information Retrieval Measures;
                Plackett 1975, The Analysis of Permutations
    Example:
        >>> losskit.approx_mrr_loss(torch.zeros(1, 5), torch.tensor([[1, 1, 0, 0, 0]]))  # at (5 + 1) / (2 + 1) = 2 in the mean
        tensor(0.5000)
    """
    at_least("temperature", temperature, 0, strict=True)
    return over_lists(
        lambda lists: _body(lists, temperature),
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


class ApproxMRRLoss(Loss, function=approx_mrr_loss):
    """Module of :func:`approx_mrr_loss`."""

    temperature: float = 0.1
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
