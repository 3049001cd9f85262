"""What the pairwise losses of a list share: their options, the pairs that count, and the mean over them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..core.check import choice, wide
from ..core.reduce import Reduction
from ..ops.list_pairs import Form, pair_sums
from ..ops.pair_counts import pair_weight
from .lambda_weights import LambdaWeight
from .lists import Found, Lists, count_of_places, no_zero, over_lists

__all__: list[str] = []  # for the losses next door, not for the user

PairReduction = Literal["mean", "sum", "pooled"]
Ties = Literal["drop", "half"]


def pairwise(
    form: Form,
    scores: Tensor,
    relevance: Tensor,
    *,
    margin: float = 0.0,
    lambda_weight: LambdaWeight | None,
    topk: int | None,
    ties: Ties = "drop",
    mask: Tensor | None,
    weight: Tensor | None,
    query_weight: Tensor | None,
    offsets: Tensor | None,
    pair_reduction: PairReduction,
    reduction: Reduction,
    normalizer: Tensor | float | None,
) -> Tensor:
    """The loss ``form`` of the pairs (i, j) of each list with y_i > y_j, weighed and reduced as every pairwise loss does it.

    "mse" has a target for a tie too: without ``lambda_weight`` all unordered pairs count, whatever ``ties`` says.
    """
    _check(lambda_weight, topk, ties, pair_reduction)
    half = lambda_weight is None if form == "mse" else ties == "half"

    def body(lists: Lists) -> Found:
        lam = None if lambda_weight is None else lambda_weight.vectors(lists.scores.detach(), lists.relevance, lists.valid)
        total = pair_sums(*lists, form=form, margin=margin, lam=lam, topk=topk, half=half)
        pairs = pair_weight(lists.scores.detach(), *lists[1:], topk=topk, half=half)
        return _found(wide(total), pairs, pair_reduction, lists.scores.dtype)

    return over_lists(
        body,
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


def _found(total: Tensor, pairs: Tensor, pair_reduction: PairReduction, dtype: torch.dtype) -> Found:
    """The sum over a list's pairs as its loss. Lambda weights are part of the loss, never of what it is divided by."""
    value = total / no_zero(pairs) if pair_reduction == "mean" else total
    counts = pairs if pair_reduction == "pooled" else (pairs != 0)
    return Found(value.to(dtype), counts.to(dtype))


def _check(lambda_weight: object, topk: int | None, ties: Ties, pair_reduction: PairReduction) -> None:
    choice("ties", ties, ("drop", "half"))
    choice("pair_reduction", pair_reduction, ("mean", "sum", "pooled"))
    if topk is not None:
        count_of_places("topk", topk)
    if lambda_weight is None:
        return
    if not isinstance(lambda_weight, LambdaWeight):
        raise TypeError(f'"lambda_weight" must be a LambdaWeight such as DeltaNDCG(), got {type(lambda_weight).__name__}')
    if ties == "half":
        raise ValueError('"ties" is "half", expected "drop" with a "lambda_weight": a tied pair weighs 0 there')
