"""Cross-entropy of a projection whose scores are never kept: the head of a language model in a fixed number of bytes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, choice
from ..core.domain import CLASS_WEIGHT, ClassTarget, Distribution, LinearWeight, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, reduce_total
from ..ops.blocks import product
from ..ops.linear_call import Rows, linear_rows
from ..ops.linear_margin import Head, linear_margin, linear_total, wants_gradient
from ..ops.margin import row_weight

__all__ = ["LinearCrossEntropyLoss", "linear_cross_entropy"]


def _paper(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    memory: int | None = None,
) -> Tensor:
    """-sum_c w_c q_c log p_c of softmax(softcap tanh(scale (W x + b) / softcap)), q = (1 - eps) target + eps / C."""
    scores = torch.einsum("...d,cd->...c", input.double(), linear_weight.double())
    scores = logit_scale * (scores if linear_bias is None else scores + linear_bias.double())
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    classes = len(linear_weight)
    wanted = target.double() if target.is_floating_point() else F.one_hot(target, classes).double()
    wanted = (1 - label_smoothing) * wanted + label_smoothing / classes
    wanted = wanted if weight is None else wanted * weight.double()
    lse = scores.logsumexp(-1)
    return (wanted * (lse[..., None] - scores)).sum(-1) + z_loss * lse**2


def _chance(
    num_classes: int, label_smoothing: float = 0.0, weight: object = None, softcap: object = None, logit_scale: object = None
) -> float:
    """As for cross_entropy; it does not matter how equal scores are scaled."""
    return math.nan if label_smoothing and weight is not None else math.log(num_classes)


@loss(
    task="language",
    sample={
        "input": Real("* D", meaning="one hidden vector for each row"),
        "linear_weight": LinearWeight(),
        "target": ClassTarget(),
        "linear_bias": Real("C", optional=True, meaning="one number for each class"),
        "weight": CLASS_WEIGHT,
    },
    reference=_paper,
    laws=("nonnegative",),
    variants=(
        {},
        {"label_smoothing": 0.1, "weight": Weight("C")},
        {"linear_bias": Real("C"), "z_loss": 0.1, "label_smoothing": 0.2, "logit_scale": 0.5, "memory": 100},
        {"softcap": 3.0, "label_smoothing": 0.1, "linear_bias": Real("C")},
        {"target": Distribution(), "weight": Weight("C"), "linear_bias": Real("C"), "label_smoothing": 0.2, "z_loss": 0.1},
    ),
    chance=_chance,
    floor=lambda: 0.0,
)
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    memory: int | None = None,
) -> Tensor:
    r"""Cross-entropy of softmax(W x + b) that never holds the N x C scores: for the head of a language model.

    Formula:    \ell = -\log \mathrm{softmax}(s(Wx + b))_y,\; s(z) = c \tanh(k z / c)
    Gradient:   \partial\ell/\partial x = W^T (p - \mathrm{onehot}(y)),\; \partial\ell/\partial W = (p - \mathrm{onehot}(y)) x^T
    Use when:   the classes are many: a vocabulary of 128,256 and 8192 tokens are 3.9 GiB of float32 scores, here 256 MiB.
    Avoid when: the scores themselves are wanted (cross_entropy), or the classes are a thousand: the scores are small then.
    Shape:      input (*, D), linear_weight (C, D), target (*) of class indices or (*, C) of probabilities -> () or (*)
    Args:
        linear_bias: (C,) added to the products.
        weight: (C,) what each class counts for; the mean divides by the sum over the targets.
        ignore_index: rows with this target are dropped before the first product; what they hold does not matter.
        label_smoothing: eps in [0, 1]; the target becomes (1 - eps) of itself plus eps / C of every class.
        z_loss: adds this times logsumexp^2, which keeps the scores from drifting.
        logit_scale: > 0, multiplies the products (and the bias).
        softcap: > 0, bends the scores into (-softcap, softcap); class indices only. With label_smoothing and a weight that
            wants a gradient the scores are kept.
        reduction: "mean" and "sum" of class indices take the gradient along in the forward pass (three products of N x C x D),
            "none" computes the scores again in the backward pass (four). Probabilities take six, in float32.
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches (count_valid).
        memory: bytes for scores and row buffers, 256 MiB by default (CUDA: 1 GiB); one row is the least. Beside it are
            gradients, which half precision gathers in float32, and for probabilities some tensors of their size.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64).
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU (its row is NaN elsewhere);
                ValueError for an option out of range, or softcap with probabilities.
    Reference:  Wijmans et al. 2024, arXiv:2411.09009; z-loss: Chowdhery et al. 2022, arXiv:2204.02311; softcap: Gemma Team
                2024, arXiv:2408.00118
    Example:
        >>> losskit.linear_cross_entropy(torch.zeros(2, 8), torch.randn(50, 8), torch.tensor([3, -100]))  # ln 50
        tensor(3.9120)
    """
    choice("reduction", reduction, ("none", "mean", "sum"))
    between("label_smoothing", label_smoothing, 0, 1)
    at_least("z_loss", z_loss, 0)
    soft = target.is_floating_point()
    if soft and softcap is not None:
        raise ValueError('"softcap" takes class indices as "target", got probabilities: use cross_entropy on the scores')
    rows = linear_rows(
        input, linear_weight, target.detach().argmax(-1) if soft else target, linear_bias,
        ignore_index=-100 if soft else ignore_index, logit_scale=logit_scale, softcap=softcap, memory=memory,
    )  # fmt: skip
    if soft:
        return _of_probabilities(rows, target, weight, label_smoothing, z_loss, reduction, normalizer)
    counts = row_weight(weight, rows.call.target, rows.counts, rows.dtype)
    if not (label_smoothing or z_loss):
        rows = rows.keep(counts)
    tilt = _tilt(rows, weight, label_smoothing)
    each = rows.call.input.new_ones(len(rows.call.input), dtype=rows.dtype) if counts is None else counts
    if reduction in ("mean", "sum") and wants_gradient(rows.call, each, tilt):
        total = linear_total(rows.call, Head("nll", (), (1 - label_smoothing) * each, tilt, z_loss))
        return reduce_total(total.to(rows.dtype), each.sum(), reduction, normalizer)
    value = _each(rows, counts, tilt, label_smoothing, z_loss).to(rows.dtype)
    shaped = [None if t is None else t.reshape(rows.shape) for t in (value, rows.counts, counts)]
    assert shaped[0] is not None
    return reduce(shaped[0], shaped[1], reduction, normalizer, counts=shaped[2])


def _tilt(rows: Rows, weight: Tensor | None, label_smoothing: float) -> Tensor | None:
    """What smoothing asks of each class, eps / C w_c, (C,); None without smoothing."""
    classes = len(rows.call.weight)
    if not label_smoothing:
        return None
    wide = rows.call.weight.new_ones(classes, dtype=torch.float64) if weight is None else weight.double()
    return wide * (label_smoothing / classes)


def _each(rows: Rows, counts: Tensor | None, tilt: Tensor | None, label_smoothing: float, z_loss: float) -> Tensor:
    """The loss of each row, (N,) in float64."""
    call = rows.call
    bent = tilt if call.softcap is not None else None
    own, rest, drift, *_ = linear_margin(call, tilt=bent)
    value = (1 - label_smoothing) * -F.logsigmoid(own - rest)
    value = value if counts is None else counts * value
    lse = torch.logaddexp(own, rest)
    if tilt is not None:
        if drift is None:
            drift = call.scale * _drift(call.input, call.weight, call.bias, tilt, call.kept)
        value = value + tilt.sum() * lse - drift
    return value + z_loss * lse**2 if z_loss else value


def _drift(x: Tensor, w: Tensor, bias: Tensor | None, tilt: Tensor, kept: Tensor | None) -> Tensor:
    """tilt @ (W x + b) of each row, (N,), without the scores."""
    x = x if kept is None else torch.where(kept.unsqueeze(-1), x, 0)
    dtype = torch.promote_types(w.dtype, torch.float32)
    drift = product(x.double(), product(tilt.to(dtype), w.to(dtype)).double())
    return drift if bias is None else drift + torch.where(tilt == 0, 0, tilt * bias.double()).sum()


def _of_probabilities(
    rows: Rows,
    target: Tensor,
    weight: Tensor | None,
    label_smoothing: float,
    z_loss: float,
    reduction: Reduction,
    normalizer: Tensor | float | None,
) -> Tensor:
    """-sum_c w_c q_c log p_c; the most wanted class keeps its digits, the others are one product with W."""
    call, classes = rows.call, len(rows.call.weight)
    wanted = target.reshape(-1, classes).to(rows.dtype)
    counts = None if weight is None else (wanted * weight.to(rows.dtype)).sum(-1)
    wanted = torch.lerp(wanted, wanted.new_full((), 1 / classes), label_smoothing) if label_smoothing else wanted
    wanted = wanted if weight is None else wanted * weight.to(rows.dtype)
    # one cast for both ways to each operand: their gradients cancel, and are rounded once, after they have met
    bias = None if call.bias is None else call.bias.to(rows.dtype)
    call = call._replace(input=call.input.to(rows.dtype), weight=call.weight.to(rows.dtype), bias=bias, kept=None)
    own, rest, *_ = linear_margin(call)
    lse = torch.logaddexp(own, rest)
    top = call.target.unsqueeze(-1)
    first, others = wanted.gather(-1, top).squeeze(-1), wanted.scatter(-1, top, 0)
    scores = (call.input * product(others, call.weight)).sum(-1).double()
    added, level = (0.0, 0.0) if bias is None else _of_bias(bias, others)
    scores = call.scale * (scores + added)
    value = first * -F.logsigmoid(own - rest) + others.sum(-1) * (lse - call.scale * level) - scores
    value = value + z_loss * lse**2 if z_loss else value
    shaped = None if counts is None else counts.reshape(rows.shape)
    return reduce(value.to(rows.dtype).reshape(rows.shape), None, reduction, normalizer, counts=shaped)


def _of_bias(bias: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """wanted @ (bias - level), (N,), and the level, an offset that would take its digits; -inf costs where it is wanted."""
    wide = bias.double()
    level = wide.detach().nan_to_num(-torch.inf, -torch.inf, -torch.inf).amax()
    level = torch.where(level == -torch.inf, 0, level)
    out = wide == -torch.inf
    added = product(wanted, torch.where(out, 0, wide - level).to(wanted.dtype))
    return torch.where(product(wanted, out.to(wanted.dtype)) > 0, -torch.inf, added), level


class LinearCrossEntropyLoss(Loss, function=linear_cross_entropy):
    """Module of :func:`linear_cross_entropy`."""

    linear_bias: Tensor | None = None
    weight: Tensor | None = None
    ignore_index: int = -100
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    logit_scale: float = 1.0
    softcap: float | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    memory: int | None = None
