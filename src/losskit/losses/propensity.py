"""Unbiased learning to rank from clicks: what a click counts for, given how likely its place was to be looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.call import verify
from ..core.check import ShapeError, at_least, first_place, peek
from ..core.domain import Labels

__all__ = ["ips_weights"]


def ips_weights(position: Tensor, propensity: Tensor | Sequence[float] | float, *, clip: float = 100.0) -> Tensor:
    r"""Inverse propensity weights: give them to ``weight`` of a ranking loss whose relevance is clicks.

    Formula:    w = \min(c, 1 / p_k) at position k, p_k the probability that k is looked at; with a number \eta: p_k = k^{-\eta}
    Use when:   relevance is clicks on lists that users saw in order: what stood low was clicked less because it was seen less. A
                pairwise or softmax loss of weighted clicks is in expectation that of the relevance that users do not show.
    Shape:      position (*) integers from 1 -> (*) float32
    Args:
        propensity: a number eta >= 0 (0: all places are seen alike, 1 is usual), or (K,) the probability of each position, the
            first one first, each in (0, 1]; only their ratios matter to a mean.
        clip: >= 1, the largest weight: a propensity below 1 / clip counts as 1 / clip. Lower is less variance and more bias.
    Returns:    (*) float32, constants. Fill the places of padding with 1 and mask them in the loss.
    Raises:     ShapeError; TypeError; ValueError for a propensity outside of (0, 1], eta < 0 or clip < 1; IndexError for a
                position below 1 or beyond the table, on CPU (its weight is NaN elsewhere).
    Reference:  Joachims, Swaminathan, Schnabel 2017, arXiv:1608.04468
    Example:
        >>> losskit.ips_weights(torch.tensor([1, 2, 10]), 1.0, clip=5.0)
        tensor([1., 2., 5.])
        >>> losskit.ips_weights(torch.tensor([[2, 1, 1]]), [1.0, 0.25])
        tensor([[4., 1., 1.]])
        >>> weight = losskit.ips_weights(torch.tensor([[2, 1, 3]]), 1.0)
        >>> losskit.pairwise_logistic_loss(torch.zeros(1, 3), torch.tensor([[1, 0, 0]]), weight=weight)  # a mean of ln 2
        tensor(0.6931)
    """
    at_least("clip", clip, 1, finite=False)
    verify(
        {"position": Labels(meaning="the place of each item as it was shown, 1 for the first")}, {"position": position}, None, -1
    )
    if isinstance(propensity, Tensor) or not isinstance(propensity, (int, float)):
        seen = _table(propensity).to(position.device)
        wrong = (position < 1) | (position > len(seen))
        weight = 1 / seen[position.long().clamp(1, len(seen)) - 1]
        end = f"[1, {len(seen)}], the positions of the table"
    else:
        at_least("propensity", propensity, 0)
        wrong, end = position < 1, "1 or more: the first place is 1"
        # of the logarithm: 1e4^80 is beyond all floats, and clipped
        weight = torch.exp(propensity * position.double().clamp(min=1).log())
    if peek(wrong.any()):
        at, place = first_place(wrong)
        raise IndexError(f'"position" is {int(position[at])}{place}, expected {end}')
    return torch.where(wrong, math.nan, weight.clamp(max=clip)).float()


def _table(propensity: Tensor | Sequence[float]) -> Tensor:
    try:
        seen = torch.as_tensor(propensity, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise TypeError(
            f'"propensity" must be a number or (K,) probabilities, got {type(propensity).__name__} ({problem})'
        ) from None
    if seen.ndim != 1 or not seen.numel():
        raise ShapeError(
            f'"propensity" has shape {tuple(seen.shape)}, expected (K,): one probability for each position, or a number'
        )
    wrong = ~((seen > 0) & (seen <= 1))
    if peek(wrong.any()):
        at, place = first_place(wrong)
        raise ValueError(f'"propensity" is {float(seen[at]):g}{place}, expected a probability in (0, 1]')
    return seen
