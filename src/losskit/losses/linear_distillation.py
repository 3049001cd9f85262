"""Distillation between two heads whose scores are never kept: the student's and the teacher's hidden rows go in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, choice
from ..core.domain import LinearWeight, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, reduce_total, valid_weight
from ..ops.divergence import Kind
from ..ops.divergence_heads import Side
from ..ops.divergence_ops import Pair, divergence_total, divergences, wants_gradient
from ..ops.linear_call import budget, operand
from .distillation import Direction, warm

__all__ = ["LinearJSDivLoss", "LinearKLDivLoss", "linear_js_div", "linear_kl_div"]

_SAMPLE = {
    "student": Real("* D", meaning="the student's hidden vectors, one for each row"),
    "student_weight": LinearWeight(meaning="the student's projection, one vector for each class"),
    "teacher": Real("* E", meaning="the teacher's hidden vectors, of any width, one for each row of the student"),
    "teacher_weight": LinearWeight("C E", meaning="the teacher's projection, one vector for each class of the student"),
    "student_bias": Real("C", optional=True, meaning="one number for each class"),
    "teacher_bias": Real("C", optional=True, meaning="one number for each class"),
    "weight": Weight(meaning="one weight for each row"),
    "mask": Mask(meaning="True where a row counts"),
}
_BIASES = {"student_bias": Real("C"), "teacher_bias": Real("C")}


def _distributions(
    student: Tensor,
    student_weight: Tensor,
    teacher: Tensor,
    teacher_weight: Tensor,
    *,
    temperature: float,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    student_softcap: float | None = None,
    teacher_softcap: float | None = None,
    memory: int | None = None,
) -> Iterator[Tensor]:
    """The student's class probabilities and then the teacher's, in float64."""
    for x, w, bias, softcap in (
        (student, student_weight, student_bias, student_softcap),
        (teacher, teacher_weight, teacher_bias, teacher_softcap),
    ):
        scores = torch.einsum("...d,cd->...c", x.double(), w.double())
        scores = scores if bias is None else scores + bias.double()
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        yield (scores / temperature).softmax(-1)


def _paper(*heads: Tensor, temperature: float = 1.0, direction: str = "forward", **options: Any) -> Tensor:
    """T^2 sum_c p log(p / q) of the two softmaxes at temperature T."""
    q, p = _distributions(*heads, temperature=temperature, **options)
    p, q = (p, q) if direction == "forward" else (q, p)
    return temperature**2 * (p * (p.log() - q.log())).sum(-1)


def _paper_js(*heads: Tensor, beta: float = 0.5, temperature: float = 1.0, **options: Any) -> Tensor:
    """T^2 (H(m) - beta H(p) - (1 - beta) H(q)): the entropy of the mixture above that of its parts."""
    q, p = _distributions(*heads, temperature=temperature, **options)
    whole, teacher, student = (_entropy(r) for r in (torch.lerp(q, p, beta), p, q))
    return temperature**2 * (whole - beta * teacher - (1 - beta) * student)


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum(-1)


class _Rows(NamedTuple):
    """What each row counts for, how the rows are reduced, and in how many bytes."""

    weight: Tensor | None
    mask: Tensor | None
    reduction: Reduction
    normalizer: Tensor | float | None
    memory: int | None


def _reduced(student: Side, teacher: Side, kind: Kind, share: float, temperature: float, rows: _Rows) -> Tensor:
    """The divergence of the rows, reduced; with its gradient on the way where that is all that is wanted."""
    choice("reduction", rows.reduction, ("none", "mean", "sum"))
    warm(temperature)
    shape = student.input.shape[:-1]
    student, teacher = (side._replace(input=side.input.reshape(-1, side.input.shape[-1])) for side in (student, teacher))
    dtype = torch.promote_types(torch.promote_types(student.input.dtype, teacher.input.dtype), torch.float32)
    weight = valid_weight(rows.weight, rows.mask, dtype)
    each = student.input.new_ones(len(student.input), dtype=dtype) if weight is None else weight.reshape(-1)
    kept, memory = None if weight is None else each != 0, budget(rows.memory, student.input.device)
    pair = Pair(student, teacher, kept, kind, share, temperature, memory)
    if rows.reduction in ("mean", "sum") and wants_gradient(pair, each):
        return reduce_total(divergence_total(pair, each).to(dtype), each.sum(), rows.reduction, rows.normalizer)
    return reduce(divergences(pair).to(dtype).reshape(shape), weight, rows.reduction, rows.normalizer)


def head(name: str, input: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None) -> Side:
    """A head of these tensors; float32 parameters meet half-precision rows in mixed precision."""
    if softcap is not None:
        at_least(f"{name}_softcap", softcap, 0, strict=True)
    bias = None if bias is None else operand(f"{name}_bias", bias, name, input)
    return Side(input, operand(f"{name}_weight", weight, name, input).to(input.dtype), bias, softcap or 0.0)


@loss(
    task="language",
    sample=_SAMPLE,
    reference=_paper,
    laws=("nonnegative",),
    variants=(
        {},
        {"direction": "reverse", "memory": 100, **_BIASES},
        {"temperature": 4.0, "student_bias": Real("C")},
        {"temperature": 0.5, "direction": "reverse", "student_softcap": 3.0, "teacher_softcap": 2.0, **_BIASES},
    ),
    floor=lambda: 0.0,
)
def linear_kl_div(
    student: Tensor,
    student_weight: Tensor,
    teacher: Tensor,
    teacher_weight: Tensor,
    *,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    student_softcap: float | None = None,
    teacher_softcap: float | None = None,
    temperature: float = 1.0,
    direction: Direction = "forward",
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    memory: int | None = None,
) -> Tensor:
    r"""Distillation of one language model into another that never holds the N x C scores of either.

    Formula:    \ell = T^2 \sum_c p_c (\log p_c - \log q_c),\; p = \mathrm{softmax}(V y / T),\; q = \mathrm{softmax}(W x / T)
    Gradient:   \partial\ell/\partial x = W^T g,\; \partial\ell/\partial W = g x^T,\; g = T (q - p); reverse:
                g = T q_c (\log q_c - \log p_c - \mathrm{KL})
    Use when:   the classes are many: a vocabulary of 128,256 and 8192 tokens are 3.9 GiB of float32 scores for each of the two,
                here 256 MiB together on CPU. The value is that of kl_div_loss on the scores.
    Avoid when: the scores themselves are at hand (kl_div_loss), or only the teacher's top classes are stored
                (linear_sparse_kl_div).
    Shape:      student (*, D), student_weight (C, D), teacher (*, E), teacher_weight (C, E) -> () or (*)
    Args:
        student_bias, teacher_bias: (C,) added to the products.
        student_softcap, teacher_softcap: > 0, bends the scores into (-softcap, softcap).
        temperature: T > 0, divides both. The value carries T^2, so that gradients keep their size when T is changed.
        direction: "forward" is KL(teacher || student), "reverse" KL(student || teacher).
        weight: (*) what each row counts for; the mean divides by the sum.
        mask: (*) bool, True where a row counts; the others are dropped before the first product and may be NaN, in both.
        reduction: "mean" and "sum" take the gradient along in the forward pass (four products of N x C x D with a teacher that is
            held fixed), "none" computes the scores again in the backward pass (six).
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches.
        memory: bytes for the scores of both and row buffers, 256 MiB by default (CUDA: 1 GiB); one row is the
            least. Half-precision gradients are gathered in float32 beside it.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64). The mean is over rows. Rows of less than
                0.02 nats (on CUDA all) are worked in float64, so that near models keep their digits and equal ones give 0.
                The teacher gets its gradient too where it requires one: run it under torch.no_grad().
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Hinton et al. 2015, arXiv:1503.02531; reverse: Gu et al. 2023, arXiv:2306.08543
    Example:
        >>> teacher_weight = torch.tensor([[0.9], [0.1]]).log()
        >>> x, y = torch.zeros(1, 8), torch.ones(1, 1)  # a student that knows nothing: 0.9 ln(0.9 / 0.5) + 0.1 ln(0.1 / 0.5)
        >>> losskit.linear_kl_div(x, torch.randn(2, 8), y, teacher_weight)
        tensor(0.3681)
    """
    choice("direction", direction, ("forward", "reverse"))
    own = head("student", student, student_weight, student_bias, student_softcap)
    other = head("teacher", teacher, teacher_weight, teacher_bias, teacher_softcap)
    return _reduced(own, other, direction, 0.0, temperature, _Rows(weight, mask, reduction, normalizer, memory))


class LinearKLDivLoss(Loss, function=linear_kl_div):
    """Module of :func:`linear_kl_div`."""

    student_bias: Tensor | None = None
    teacher_bias: Tensor | None = None
    student_softcap: float | None = None
    teacher_softcap: float | None = None
    temperature: float = 1.0
    direction: Direction = "forward"
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    memory: int | None = None


@loss(
    task="language",
    sample=_SAMPLE,
    reference=_paper_js,
    laws=("nonnegative",),
    variants=(
        {},
        {"beta": 0.1, "memory": 100, **_BIASES},
        {"beta": 0.9, "temperature": 2.0, "teacher_softcap": 3.0, "teacher_bias": Real("C")},
    ),
    floor=lambda: 0.0,
)
def linear_js_div(
    student: Tensor,
    student_weight: Tensor,
    teacher: Tensor,
    teacher_weight: Tensor,
    *,
    beta: float = 0.5,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    student_softcap: float | None = None,
    teacher_softcap: float | None = None,
    temperature: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    memory: int | None = None,
) -> Tensor:
    r"""Distillation that no single token can blow up, and that never holds the N x C scores of either model.

    Formula:    \ell = T^2 (\beta \mathrm{KL}(p \| m) + (1 - \beta) \mathrm{KL}(q \| m)),\; m = \beta p + (1 - \beta) q,\;
                p = \mathrm{softmax}(V y / T),\; q = \mathrm{softmax}(W x / T)
    Gradient:   \partial\ell/\partial x = W^T g,\; g = T (1 - \beta) q_c (\log \frac{q_c}{m_c} - \mathrm{KL}(q \| m))
    Use when:   the student is trained on its own samples, or on tokens that the teacher finds impossible, and the
                vocabulary is large. The value is that of js_div_loss on the scores.
    Avoid when: the scores themselves are at hand (js_div_loss), or the two share no class at all: the loss is flat there
                (linear_kl_div).
    Shape:      student (*, D), student_weight (C, D), teacher (*, E), teacher_weight (C, E) -> () or (*)
    Args:
        beta: in (0, 1), the teacher's share of the mixture. 1/2 is Jensen-Shannon, at most T^2 ln 2; divided by beta it tends to
            forward KL as beta goes to 0, divided by 1 - beta to reverse KL as it goes to 1.
        student_bias, teacher_bias: (C,) added to the products.
        student_softcap, teacher_softcap: > 0, bends the scores into (-softcap, softcap).
        temperature: T > 0, divides both. The value carries T^2, which the authors' code leaves out.
        weight: (*) what each row counts for; the mean divides by the sum.
        mask: (*) bool, True where a row counts; the others are dropped before the first product and may be NaN, in both.
        reduction: "mean" and "sum" take the gradient along in the forward pass, "none" computes the scores again in backward.
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches.
        memory: bytes for the scores of both and row buffers, 256 MiB by default (CUDA: 1 GiB); one row is the
            least. Half-precision gradients are gathered in float32 beside it.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64); finite also where a bias of -inf rules out
                for one of the two what the other wants.
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Lin 1991; for distillation (GKD): Agarwal et al. 2024, arXiv:2306.13649
    Example:
        >>> apart = 200 * torch.tensor([[1.0], [-1.0]])
        >>> losskit.linear_js_div(torch.ones(1, 1), apart, torch.ones(1, 1), -apart)  # nothing in common: ln 2
        tensor(0.6931)
    """
    between("beta", beta, 0, 1, strict=True)
    own = head("student", student, student_weight, student_bias, student_softcap)
    other = head("teacher", teacher, teacher_weight, teacher_bias, teacher_softcap)
    return _reduced(own, other, "mixture", beta, temperature, _Rows(weight, mask, reduction, normalizer, memory))


class LinearJSDivLoss(Loss, function=linear_js_div):
    """Module of :func:`linear_js_div`."""

    beta: float = 0.5
    student_bias: Tensor | None = None
    teacher_bias: Tensor | None = None
    student_softcap: float | None = None
    teacher_softcap: float | None = None
    temperature: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    memory: int | None = None
