"""What a language model says of each token: log-probability, log-sum-exp, entropy and best guess, without the scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.call import verify, whole_number
from ..core.domain import ClassIndex, LinearWeight, Real
from ..core.module import Loss
from ..ops.linear_call import linear_rows
from ..ops.linear_margin import linear_margin

__all__ = ["LinearLogProbs", "TokenScores", "linear_log_probs"]

_DOMAINS = {
    "input": Real("* D", meaning="one hidden vector for each row"),
    "linear_weight": LinearWeight(),
    "target": ClassIndex(),
    "linear_bias": Real("C", optional=True, meaning="one number for each class"),
}


class TokenScores(NamedTuple):
    """Of each token, (*); 0 where the target is ``ignore_index``."""

    log_prob: Tensor
    """log p of the target."""
    logsumexp: Tensor
    """log of the softmax's denominator: how far the scores have drifted."""
    entropy: Tensor | None
    """In nats, 0 to ln C; None unless asked for."""
    argmax: Tensor
    """The class with the largest score (int64); not differentiable."""


def linear_log_probs(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    ignore_index: int = -100,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    memory: int | None = None,
) -> TokenScores:
    r"""The log-probability of each target under softmax(W x + b), and its companions, without the N x C scores.

    What preference and policy losses (DPO, GRPO), perplexity and distillation need of a head. Differentiable in
    ``log_prob``, ``logsumexp`` and ``entropy``, once without ever holding the scores, and further with them; the backward
    pass computes the scores again.

    Formula:    \log p_y = \log \sigma(z_y - \log \sum_{j \ne y} e^{z_j}),\; H = -\sum_j p_j \log p_j
    Shape:      input (*, D), linear_weight (C, D), target (*) -> four times (*)
    Args:
        linear_bias: (C,) added to the products.
        ignore_index: rows with this target are dropped before the first product; their outputs are 0.
        logit_scale: > 0, multiplies the products (and the bias): 1 / temperature.
        softcap: > 0, bends the scores into (-softcap, softcap).
        entropy: whether to compute the entropy too.
        memory: bytes for scores and row buffers, 256 MiB by default (CUDA: 1 GiB); one row is the least.
    Returns:    TokenScores, in float32 (float64 for float64).
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU (its row is NaN elsewhere);
                ValueError for an option out of range.
    Reference:  Rafailov et al. 2023, arXiv:2305.18290; Shao et al. 2024, arXiv:2402.03300
    Example:
        >>> found = losskit.linear_log_probs(torch.zeros(1, 8), torch.randn(50, 8), torch.tensor([3]), entropy=True)
        >>> found.log_prob, found.entropy  # -ln 50, ln 50
        (tensor([-3.9120]), tensor([3.9120]))
    """
    whole_number("ignore_index", ignore_index)
    if not isinstance(entropy, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # a tensor here is a slip of the positions
        raise TypeError(f'"entropy" must be True or False, got {type(entropy).__name__}')
    given = {"input": input, "linear_weight": linear_weight, "target": target, "linear_bias": linear_bias}
    verify(_DOMAINS, given, ignore_index, -1)
    rows = linear_rows(
        input, linear_weight, target, linear_bias,
        ignore_index=ignore_index, logit_scale=logit_scale, softcap=softcap, memory=memory,
    )  # fmt: skip
    own, rest, _, h, top = linear_margin(rows.call, entropy=entropy, top=True)
    assert top is not None

    def shaped(values: Tensor) -> Tensor:
        # times the count: a target out of range, where nobody can look, is NaN
        values = values if rows.counts is None else torch.where(rows.counts != 0, values * rows.counts, 0)
        return values.to(rows.dtype).reshape(rows.shape)

    log_prob, lse = F.logsigmoid(own - rest), torch.logaddexp(own, rest)

    return TokenScores(shaped(log_prob), shaped(lse), None if h is None else shaped(h), top.reshape(rows.shape))


class LinearLogProbs(Loss, function=linear_log_probs):
    """Module of :func:`linear_log_probs`."""

    linear_bias: Tensor | None = None
    ignore_index: int = -100
    logit_scale: float = 1.0
    softcap: float | None = None
    entropy: bool = False
    memory: int | None = None
