"""Embeddings against one learned proxy a class: Proxy-NCA, Proxy-Anchor."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import ShapeError, at_least, choice, working
from ..core.domain import CLASS_WEIGHT, ClassIndex, Embeddings, LinearWeight, Mask, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, reduce_total
from ..ops.blocks import product
from ..ops.in_blocks import in_blocks
from ..ops.linear_call import budget
from ..ops.linear_margin import Head, Projected, linear_margin, linear_total, wants_gradient
from ..ops.logsum import log_sum
from ..ops.margin import class_rows, row_weight
from ..ops.unit import unit
from ..parallel import logsumexp_over_ranks, sum_over_ranks
from .embeddings import TEMPERATURE, positive_number

__all__ = ["ProxyAnchorLoss", "ProxyNCALoss", "proxy_anchor_loss", "proxy_nca_loss"]

_PROXIES = LinearWeight(meaning="one proxy for each class")
_TEMPERATURE = replace(TEMPERATURE, extreme=0.0)  # no number of any size: its gradient grows with the square of 1 / T


def _unit64(rows: Tensor) -> Tensor:
    return F.normalize(rows.double(), dim=-1)


def _paper_nca(
    input: Tensor,
    proxies: Tensor,
    target: Tensor,
    *,
    temperature: Tensor | float = 1.0,
    include_positive: bool = False,
    weight: Tensor | None = None,
    memory: int | None = None,
) -> Tensor:
    """d(x, p_y) / T + log sum_z exp(-d(x, p_z) / T), d the squared Euclidean distance of vectors of length one."""
    distance = (_unit64(input)[..., None, :] - _unit64(proxies)).square().sum(-1) / temperature
    own = distance.gather(-1, target[..., None])[..., 0]
    counted = distance if include_positive else distance.scatter(-1, target[..., None], math.inf)
    value = own + (-counted).logsumexp(-1)
    return value if weight is None else value * weight.double()[target]


def _chance_nca(num_classes: int, include_positive: bool = False, temperature: object = None, weight: object = None) -> float:
    """Of equal scores, whatever they are multiplied by and whatever a row weighs."""
    return math.log(num_classes if include_positive else num_classes - 1)


@loss(
    task="embedding",
    sample={
        "input": Embeddings(),
        "proxies": _PROXIES,
        "target": ClassIndex(),
        "temperature": _TEMPERATURE,
        "weight": CLASS_WEIGHT,
    },
    reference=_paper_nca,
    laws=(),
    variants=(
        {},
        {"temperature": 0.1, "weight": Weight("C"), "memory": 100},
        {"include_positive": True},
        {"include_positive": True, "temperature": replace(_TEMPERATURE, low=0.5, high=2.0)},
    ),
    chance=_chance_nca,
)
def proxy_nca_loss(
    input: Tensor,
    proxies: Tensor,
    target: Tensor,
    *,
    temperature: Tensor | float = 1.0,
    include_positive: bool = False,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    memory: int | None = None,
) -> Tensor:
    r"""Each row is to be nearer to its class's proxy than to all others: metric learning without pairs or triplets.

    Formula:    \ell = -\log \frac{e^{-d(x, p_y) / T}}{\sum_{z \ne y} e^{-d(x, p_z) / T}},\;
                d(x, p) = \left|\frac{x}{|x|} - \frac{p}{|p|}\right|^2 = 2 - 2 \cos(x, p)
    Gradient:   \partial\ell/\partial \cos(x, p_y) = -2 / T,\; \partial\ell/\partial \cos(x, p_z) = 2 q_z / T,
                q the softmax over the other proxies
    Use when:   embeddings for retrieval are learned from class labels, and a batch holds few rows of a class.
    Avoid when: classes have subgroups, or most appear once; relations between rows count (proxy_anchor_loss, triplets).
    Shape:      input (*, D), proxies (C, D), target (*) -> () or (*)
    Args:
        temperature: T > 0, a number or a 0-d tensor, which gets a gradient. 1 is the paper's, 1/9 ProxyNCA++'s; a
            "scale" or "softmax scale" of other libraries is 1/T.
        include_positive: True puts the class's own proxy into the denominator too: ProxyNCA++'s probability, with a loss >= 0.
            Without it the loss has no such floor (-4/T + ln(C - 1) at least), and pulls as hard at rows that are right.
        weight: (C,) what each class counts for; the mean divides by the sum over the targets.
        ignore_index: rows with this target count nothing, and may be NaN.
        normalizer: replaces the mean's denominator, e.g. by the number of rows in all micro-batches.
        memory: bytes for scores, 256 MiB by default (CUDA: 1 GiB); one row is the least. Beside it are the proxies of length
            one, in float32, and their gradient.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64). A row without a direction has no gradient.
    Raises:     ShapeError, also for one proxy without include_positive; TypeError; IndexError for a target outside of [0, C)
                on CPU; ValueError for temperature <= 0.
    Reference:  Movshovitz-Attias et al. 2017, arXiv:1703.07464; ProxyNCA++: Teh et al. 2020, arXiv:2004.01113
    Example:
        >>> x, proxies = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> losskit.proxy_nca_loss(x, proxies, torch.tensor([0]))  # 0 from its own, 2 from both others: ln 2 - 2
        tensor(-1.3069)
    """
    choice("reduction", reduction, ("none", "mean", "sum"))
    positive_number("temperature", temperature)
    if len(proxies) < 2 and not include_positive:
        raise ShapeError(f'"proxies" has shape {tuple(proxies.shape)}, expected 2 or more rows: without include_positive=True '
                         "a row is compared with the proxies of other classes")  # fmt: skip
    rows, proxies = working(input.reshape(target.numel(), input.shape[-1]), proxies)
    index, counts = class_rows(target.reshape(-1), len(proxies), ignore_index, rows.dtype)
    counts = row_weight(weight, index, counts, rows.dtype)
    kept = None if counts is None else counts != 0
    steep = 2 / (temperature.to(rows.dtype) if isinstance(temperature, Tensor) else temperature)
    rows = unit(rows if kept is None else torch.where(kept.unsqueeze(1), rows, 0)) * steep
    call = Projected(rows, unit(proxies), None, index, kept, memory=budget(memory, rows.device))
    if include_positive and reduction != "none" and wants_gradient(call, counts):
        each = rows.new_ones(len(rows)) if counts is None else counts
        total = linear_total(call, Head("nll", (), each))
        return reduce_total(total.to(rows.dtype), each.sum(), reduction, normalizer)
    own, rest, *_ = linear_margin(call)
    value = -F.logsigmoid(own - rest) if include_positive else rest - own
    shaped = None if counts is None else counts.reshape(target.shape)
    return reduce(value.to(rows.dtype).reshape(target.shape), shaped, reduction, normalizer)


class ProxyNCALoss(Loss, function=proxy_nca_loss):
    """Module of :func:`proxy_nca_loss`; the proxies are an nn.Parameter of yours, given at each call."""

    temperature: Tensor | float = 1.0
    include_positive: bool = False
    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    memory: int | None = None


def _paper_anchor(
    input: Tensor, proxies: Tensor, target: Tensor, *, margin: float = 0.1, alpha: float = 32.0, memory: int | None = None
) -> Tensor:
    """Mean over proxies with rows of log(1 + sum exp(-a (s - m))), plus mean over all of log(1 + sum exp(a (s + m)))."""
    cosine = _unit64(input).reshape(-1, input.shape[-1]) @ _unit64(proxies).T
    mine = F.one_hot(target.reshape(-1), len(proxies)).bool()
    near = torch.where(mine, torch.exp(-alpha * (cosine - margin)), 0).sum(0)
    far = torch.where(mine, 0, torch.exp(alpha * (cosine + margin))).sum(0)
    return (near + 1).log()[mine.any(0)].mean() + (far + 1).log().mean()


def _chance_anchor(num_classes: int, target: Tensor, margin: float = 0.1, alpha: float = 32.0) -> float:
    own = torch.bincount(target.reshape(-1), minlength=num_classes).double()
    near, far = (torch.log1p(n * math.exp(alpha * margin)) for n in (own, own.sum() - own))
    return float(near[own > 0].mean() + far.mean())


def _of_others(rows: Tensor, proxies: Tensor, index: Tensor, valid: Tensor, *, alpha: float) -> Tensor:
    """logsumexp over rows that are not a proxy's own of alpha times the cosine, (1, C)."""
    scores = alpha * product(rows, proxies.T)
    hidden = (index.unsqueeze(1) == torch.arange(len(proxies), device=index.device)) | ~valid.unsqueeze(1)
    return log_sum(scores.masked_fill(hidden, -torch.inf)).unsqueeze(0)


def _of_own(values: Tensor, index: Tensor, valid: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """logsumexp of the values of each class's rows, and how many these are, (C,) each; -inf where there is none."""
    values = values.masked_fill(~valid, -torch.inf)
    top = values.new_full((classes,), -torch.inf).scatter_reduce(0, index, values.detach(), "amax")
    top = torch.where(top == -torch.inf, 0, top)
    total = torch.zeros_like(top).index_add(0, index, torch.exp(values - top[index]))
    count = torch.zeros_like(top).index_add(0, index, valid.to(top.dtype))
    none = total == 0
    return torch.where(none, -torch.inf, torch.where(none, 1, total).log() + top), count


@loss(
    task="embedding",
    sample={
        "input": Embeddings(),
        "proxies": _PROXIES,
        "target": ClassIndex(),
        "mask": Mask(meaning="True where a row is there"),
    },
    reference=_paper_anchor,
    laws=("whole_batch", "nonnegative"),
    variants=({}, {"margin": 0.5, "alpha": 4.0, "memory": 500}),
    chance=_chance_anchor,
)
def proxy_anchor_loss(
    input: Tensor,
    proxies: Tensor,
    target: Tensor,
    *,
    margin: float = 0.1,
    alpha: float = 32.0,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    memory: int | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Each class's proxy pulls its farthest rows and pushes the nearest rows of others: hard examples without mining.

    Formula:    \ell = \frac{1}{|P_+|} \sum_{p \in P_+} \log(1 + \sum_{x \in X_p} e^{-\alpha (s(x, p) - m)})
                + \frac{1}{C} \sum_p \log(1 + \sum_{x \notin X_p} e^{\alpha (s(x, p) + m)}),\; s the cosine,
                X_p the batch's rows of a proxy's class, P_+ the proxies that have some
    Gradient:   \partial\ell/\partial s(x, p) = -\frac{\alpha}{|P_+|} h_x for its own rows, \frac{\alpha}{C} h_x for others;
                h_x = e^{\cdot} / (1 + \sum e^{\cdot}) is large for the row that is worst off
    Use when:   embeddings for retrieval are learned from class labels, and relations between the rows of a batch are to count.
    Avoid when: classes are so many that all proxies against all rows is too much work, or most appear once.
    Shape:      input (*, D), proxies (C, D), target (*), all leading axes are the batch -> ()
    Args:
        margin: m, how much nearer than a right angle own rows must be, and others farther; 0.1 in the paper.
        alpha: > 0, how much the hardest row leads; 32 in the paper.
        mask: (*) bool, True where a row is there; what is masked may be NaN.
        ignore_index: rows with this target are not there either.
        reduction: a batch is one sample that counts one, so that "mean", "sum" and "none" are the same 0-d value.
        normalizer: divides the value.
        memory: bytes for scores, 256 MiB by default (CUDA: 1 GiB); one row is the least. Scores that fit are kept for
            backward, otherwise they are computed again block by block.
        group: the ranks that hold the batch together: each proxy sees the rows of all of them. C numbers travel, no rows.
    Returns:    0-d, in float32 (float64 for float64).
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU; ValueError for alpha <= 0.
    Reference:  Kim et al. 2020, arXiv:2003.13911
    Example:
        >>> x, proxies = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
        >>> losskit.proxy_anchor_loss(x, proxies, torch.tensor([0]), margin=0.0)  # right angles: ln 2 + (0 + ln 2) / 2
        tensor(1.0397)
    """
    at_least("alpha", alpha, 0, strict=True)
    at_least("margin", margin, -math.inf)
    rows, proxies = working(input.reshape(target.numel(), input.shape[-1]), proxies)
    shown = target if mask is None else torch.where(mask, target.long(), 0)
    index, counts = class_rows(shown.reshape(-1), len(proxies), ignore_index, rows.dtype)
    valid = torch.ones_like(index, dtype=torch.bool) if counts is None else counts != 0
    valid = valid if mask is None else valid & mask.reshape(-1)
    rows, proxies = unit(torch.where(valid.unsqueeze(1), rows, 0)), unit(proxies)
    near, own = _of_own(alpha * (margin - (rows * proxies[index]).sum(-1)), index, valid, len(proxies))
    piece = functools.partial(_of_others, alpha=alpha)
    row_bytes = 6 * len(proxies) * rows.itemsize  # as counted: scores, what is made of them, their gradients
    far = in_blocks(piece, rows, proxies, index, valid, row_bytes=row_bytes, memory=budget(memory, rows.device))
    near, far = (logsumexp_over_ranks(t, group) for t in (near, log_sum(far) + alpha * margin))
    present = sum_over_ranks(own, group) > 0
    value = -F.logsigmoid(-near).sum() / present.sum().clamp(min=1) - F.logsigmoid(-far).mean()
    return reduce(value, present.any().to(value.dtype), reduction, normalizer)


class ProxyAnchorLoss(Loss, function=proxy_anchor_loss):
    """Module of :func:`proxy_anchor_loss`; the proxies are an nn.Parameter of yours, given at each call."""

    margin: float = 0.1
    alpha: float = 32.0
    mask: Tensor | None = None
    ignore_index: int = -100
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    memory: int | None = None
    group: dist.ProcessGroup | None = None
