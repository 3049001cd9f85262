"""Softmax over cosines with a margin on the right class: SphereFace, ArcFace, CosFace, with sub-centres."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, choice, working
from ..core.domain import CLASS_WEIGHT, ClassIndex, Domain, Embeddings, LinearWeight, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce
from ..ops.blocks import product, slabs
from ..ops.in_blocks import in_blocks
from ..ops.linear_call import budget
from ..ops.linear_margin import Projected, linear_margin
from ..ops.margin import class_rows, margin, row_weight
from ..ops.unit import unit
from .linear_cross_entropy import linear_cross_entropy

__all__ = ["MarginSoftmaxLoss", "margin_softmax_loss"]

_PIECE = 1024  # rows of float64 at a time


@dataclass(frozen=True)
class _Centres(LinearWeight):
    """One vector for each class, or K of them."""

    meaning: str = "one vector for each class, (C, D), or K of them, (C, K, D)"

    def narrow(self, value: Tensor) -> Domain:
        """The domain of this very tensor."""
        return _Centres("C K D") if value.ndim == 3 else self


def _bend(cosine: Tensor, multiplicative: float, angular: float, additive: float, resolution: float) -> Tensor:
    """cos(m1 t + m2) - m3 of t = arccos(cosine), going on downwards where m1 t + m2 passes pi."""
    above = (1 - cosine) * (1 + cosine)
    clear = above > resolution**2
    # closer to 0 or pi than rows can tell, the sine has no slope: the true one is infinite, and rounding its direction
    sine = torch.where(clear, torch.where(clear, above, 1).sqrt(), above.detach().clamp(min=0).sqrt())
    if multiplicative == 1:
        turned = math.cos(angular) * cosine - math.sin(angular) * sine
        return torch.where(cosine < -math.cos(angular), cosine - angular * math.sin(angular), turned) - additive
    angle = multiplicative * torch.atan2(sine, cosine) + angular
    halves = (angle.detach() / math.pi).floor()
    return (1 - 2 * (halves % 2)) * torch.cos(angle) - 2 * halves - additive


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of rows whose length is 1 up to rounding, in float64: near 1 that rounding would be all of the angle."""
    a, b = a.double(), b.double()
    length = (a.detach().square().sum(-1) * b.detach().square().sum(-1)).sqrt()
    return (a * b).sum(-1) / torch.where(length == 0, 1, length)


def _lengths(a: Tensor, b: Tensor, index: Tensor) -> Tensor:
    """|a_n| |b_index_n|, 1 up to rounding (1 where a row has no direction), without float64 copies of the rows."""
    parts = [a.new_ones(0, dtype=torch.float64)]
    for at in slabs(len(a), _PIECE):
        square = a.detach()[at].double().square().sum(-1) * b.detach()[index[at]].double().square().sum(-1)
        parts.append(torch.where(square == 0, 1, square).sqrt())
    return torch.cat(parts)


def _nearest(rows: Tensor, centres: Tensor, index: Tensor, *, scale: float) -> Tensor:
    """The cosine to the target's nearest centre, and logsumexp of the other classes' scores of theirs, (n, 2)."""
    cosines = product(rows, centres.flatten(0, 1).T).unflatten(1, centres.shape[:2])  # (n, C, K)
    best, which = cosines.max(-1)
    place = which.gather(1, index.unsqueeze(1)).squeeze(1)
    own = _cosine(rows, centres[index, place])
    return torch.stack([own, margin(scale * best, index)[1]], 1)


def _statistics(
    rows: Tensor, centres: Tensor, index: Tensor, kept: Tensor | None, scale: float, memory: int
) -> tuple[Tensor, Tensor]:
    """The cosine to the target, and logsumexp of the other classes' scores, each (N,) in float64."""
    if centres.ndim == 2:
        own, rest, *_ = linear_margin(Projected(rows, centres, None, index, kept, scale, None, memory))
        return own / (scale * _lengths(rows, centres, index)), rest
    classes, number, features = centres.shape
    # as counted: products and their gradient, a few tensors of one number a class, two rows in float64
    row_bytes = rows.itemsize * classes * (2 * number + 8) + 48 * features
    piece = functools.partial(_nearest, scale=scale)
    own, rest = in_blocks(piece, rows, centres, index, row_bytes=row_bytes, memory=memory).unbind(1)
    return own, rest


def _paper(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    multiplicative: float = 1.0,
    angular: float = 0.0,
    additive: float = 0.0,
    weight: Tensor | None = None,
    logit_scale: float = 64.0,
    memory: int | None = None,
) -> Tensor:
    """Cross-entropy of s cos t, the target's t bent, by arccos."""
    x, w = (t.double() / t.double().norm(dim=-1, keepdim=True) for t in (input, linear_weight))
    cosine = torch.einsum("...d,ckd->...ck", x, w if w.ndim == 3 else w[:, None]).amax(-1)
    own = cosine.gather(-1, target[..., None])[..., 0]
    angle = multiplicative * own.clamp(-1, 1).acos() + angular
    halves = torch.div(angle, math.pi, rounding_mode="floor")
    bent = torch.where(halves % 2 == 0, angle.cos(), -angle.cos()) - 2 * halves
    if multiplicative == 1:
        bent = torch.where(halves == 0, angle.cos(), own - angular * math.sin(angular))
    scores = logit_scale * cosine.scatter(-1, target[..., None], (bent - additive)[..., None])
    value = -scores.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    return value if weight is None else value * weight.double()[target]


def _chance(
    num_classes: int, multiplicative: float = 1.0, angular: float = 0.0, additive: float = 0.0, logit_scale: float = 64.0
) -> float:
    bent = _bend(torch.zeros((), dtype=torch.float64), multiplicative, angular, additive, 0.0)
    others = torch.full((num_classes - 1,), 0.0, dtype=torch.float64)
    return float(F.softplus(others.logsumexp(0) - logit_scale * bent, threshold=700))


@loss(
    task="embedding",
    sample={
        "input": Embeddings(),
        "linear_weight": _Centres(),
        "target": ClassIndex(),
        "weight": CLASS_WEIGHT,
    },
    reference=_paper,
    laws=("nonnegative",),
    variants=(
        {},
        {"angular": 0.5, "logit_scale": 8.0},
        {"additive": 0.35, "weight": Weight("C"), "memory": 100},
        {"multiplicative": 4.0, "logit_scale": 4.0},
        {"multiplicative": 1.2, "angular": 0.4, "additive": 0.2, "logit_scale": 4.0, "linear_weight": LinearWeight("C K D")},
        {"angular": 0.5, "logit_scale": 8.0, "linear_weight": LinearWeight("C K D"), "memory": 100},
    ),
    chance=_chance,
)
def margin_softmax_loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    multiplicative: float = 1.0,
    angular: float = 0.0,
    additive: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    logit_scale: float = 64.0,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    memory: int | None = None,
) -> Tensor:
    r"""Cross-entropy over cosines that asks more of the right class: faces and other classes that are told apart by angles.

    Formula:    \ell = -\log \frac{e^{s \psi(\theta_y)}}{e^{s \psi(\theta_y)} + \sum_{j \ne y} e^{s \cos \theta_j}},\;
                \psi(\theta) = \cos(m_1 \theta + m_2) - m_3,\; \theta_j the angle between x and the vector of class j
    Gradient:   \partial\ell/\partial \cos\theta_y = -s (1 - p_y) \psi'(\theta_y) / (-\sin\theta_y),\;
                \partial\ell/\partial \cos\theta_j = s\, p_j
    Use when:   embeddings are compared by cosine later (verification, retrieval), and classes are known in training. ArcFace is
                angular=0.5, CosFace additive=0.35, SphereFace multiplicative=4 (here with features of length one).
    Avoid when: probabilities are needed (cross_entropy), or classes have an example or two (supervised_contrastive_loss).
    Shape:      input (*, D), linear_weight (C, D) or (C, K, D), target (*) -> () or (*)
    Args:
        multiplicative: m1 >= 1, SphereFace's.
        angular: m2 in [0, pi], in radians, ArcFace's. Where theta + m2 passes pi the value goes on as
            \cos\theta - m_2 \sin m_2 (as in the authors' code). With m1 other than 1 it goes on by SphereFace's rule,
            (-1)^k \cos(m_1 \theta + m_2) - 2 k after k half turns.
        additive: m3 >= 0, CosFace's. With all three off this is linear_cross_entropy of vectors of length one.
        weight: (C,) what each class counts for; the mean divides by the sum over the targets.
        ignore_index: rows with this target count nothing, and may be NaN.
        logit_scale: s > 0, multiplies the cosines; 64 in ArcFace and CosFace.
        normalizer: replaces the mean's denominator, e.g. by the number of rows in all micro-batches.
        memory: bytes for scores, 256 MiB by default (CUDA: 1 GiB); one row is the least. Beside it are the vectors of length one,
            in float32, and their gradient.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64). With (C, K, D) a class has K centres, of
                which the nearest counts (sub-centre ArcFace: K = 3 keeps mislabelled faces out of the main one). Where a
                row is its class's own vector the gradient is finite; without a direction it has cosine 0 and no gradient.
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU; ValueError for an option out of range.
    Reference:  Deng et al. 2019, arXiv:1801.07698; Wang et al. 2018, arXiv:1801.09414; Liu et al. 2017, arXiv:1704.08063;
                sub-centres: Deng et al. 2020 (ECCV)
    Example:
        >>> face, people = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> losskit.margin_softmax_loss(face, people, torch.tensor([0]), additive=1.0)  # the margin takes all of it: ln 2
        tensor(0.6931)
    """
    choice("reduction", reduction, ("none", "mean", "sum"))
    at_least("multiplicative", multiplicative, 1)
    between("angular", angular, 0, math.pi)
    at_least("additive", additive, 0)
    at_least("logit_scale", logit_scale, 0, strict=True)
    input, centres = working(input, linear_weight)
    rows = input.reshape(input.shape[:-1].numel(), input.shape[-1])  # -1 is ambiguous without features
    index, counts = class_rows(target.reshape(-1), len(centres), ignore_index, rows.dtype)
    counts = row_weight(weight, index, counts, rows.dtype)
    kept = None if counts is None else counts != 0
    rows = unit(rows if kept is None else torch.where(kept.unsqueeze(1), rows, 0))
    centres = unit(centres)
    if centres.ndim == 2 and multiplicative == 1 and not angular and not additive:
        return linear_cross_entropy(
            rows.reshape(input.shape), centres, target,
            weight=weight, ignore_index=ignore_index, logit_scale=logit_scale,
            reduction=reduction, normalizer=normalizer, memory=memory,
        )  # fmt: skip
    cosine, rest = _statistics(rows, centres, index, kept, float(logit_scale), budget(memory, rows.device))
    bent = _bend(cosine, multiplicative, angular, additive, 8 * torch.finfo(rows.dtype).eps)
    value = -F.logsigmoid(logit_scale * bent - rest)
    shaped = None if counts is None else counts.reshape(target.shape)
    return reduce(value.to(rows.dtype).reshape(target.shape), shaped, reduction, normalizer)


class MarginSoftmaxLoss(Loss, function=margin_softmax_loss):
    """Module of :func:`margin_softmax_loss`."""

    multiplicative: float = 1.0
    angular: float = 0.0
    additive: float = 0.0
    weight: Tensor | None = None
    ignore_index: int = -100
    logit_scale: float = 64.0
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    memory: int | None = None
