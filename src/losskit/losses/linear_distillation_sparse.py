"""Distillation of a projection whose scores are never kept from a teacher whose top classes were stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import ShapeError, choice
from ..core.domain import LinearWeight, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.divergence_listed import Listed, listed_scores
from ..ops.linear_call import budget
from .distillation import warm
from .distillation_sparse import LogProbability, Tail, TopClasses, checked, of_all, of_known, sparse_paper
from .linear_distillation import head

__all__ = ["LinearSparseKLDivLoss", "linear_sparse_kl_div"]


def _paper(
    student: Tensor,
    student_weight: Tensor,
    index: Tensor,
    log_prob: Tensor,
    *,
    student_bias: Tensor | None = None,
    student_softcap: float | None = None,
    memory: int | None = None,
    **options: Any,
) -> Tensor:
    """The same as for the scores of the head."""
    scores = torch.einsum("...d,cd->...c", student.double(), student_weight.double())
    scores = scores if student_bias is None else scores + student_bias.double()
    scores = scores if student_softcap is None else student_softcap * torch.tanh(scores / student_softcap)
    return sparse_paper(scores, index, log_prob, **options)


@loss(
    task="language",
    sample={
        "student": Real("* D", meaning="the student's hidden vectors, one for each row"),
        "student_weight": LinearWeight(meaning="the student's projection, one vector for each class"),
        "index": TopClasses(),
        "log_prob": LogProbability(),
        "student_bias": Real("C", optional=True, meaning="one number for each class"),
        "weight": Weight(meaning="one weight for each row"),
        "mask": Mask(meaning="True where a row counts"),
    },
    reference=_paper,
    variants=(
        {},
        {"tail": "drop", "student_bias": Real("C"), "memory": 100},
        {"tail": "renormalize", "student_softcap": 2.0, "student_bias": Real("C"), "memory": 100},
        {"temperature": 3.0, "student_softcap": 3.0},
    ),
)
def linear_sparse_kl_div(
    student: Tensor,
    student_weight: Tensor,
    index: Tensor,
    log_prob: Tensor,
    *,
    tail: Tail = "bucket",
    student_bias: Tensor | None = None,
    student_softcap: float | None = None,
    temperature: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    memory: int | None = None,
) -> Tensor:
    r"""Distillation from a teacher's stored top classes into a head whose N x C scores are never kept.

    Formula:    \ell = T^2 (\sum_i p_i \log \frac{p_i}{q_i} + r \log \frac{r}{1 - \sum_i q_i}),\; r = 1 - \sum_i p_i,\;
                q = \mathrm{softmax}(W x / T)
    Gradient:   \partial\ell/\partial x = W^T g,\; g_i = T (q_i - p_i); every other class is pushed by its share of
                T (1 - \sum_i q_i - r)
    Use when:   the teacher's outputs were computed once and stored, or come from a service, and the vocabulary is large. The
                value is that of sparse_kl_div_loss on the scores.
    Avoid when: the student's scores are at hand (sparse_kl_div_loss), or the teacher's hidden vectors and projection are
                (linear_kl_div).
    Shape:      student (*, D), student_weight (C, D), index (*, K) class indices, log_prob (*, K) -> () or (*)
    Args:
        tail: what is made of the classes that are not listed. "bucket": they are one more class, whose probability the student
            must match in sum. "drop": only the K terms are taken, which is no divergence. "renormalize": both are made to sum to
            one over the K classes; then only the listed rows of the weight are read, and the cost does not grow with C.
        student_bias: (C,) added to the products.
        student_softcap: > 0, bends the scores into (-softcap, softcap).
        temperature: T > 0, divides the student's scores. log_prob must be the teacher's at that temperature. The value
            carries T^2.
        weight: (*) what each row counts for; the mean divides by the sum.
        mask: (*) bool, True where a row counts; the others are dropped before the first product and may be anything.
        reduction: whatever it is, the backward pass computes the scores again, those of the listed classes alone for
            "renormalize".
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches.
        memory: bytes for scores and row buffers, 256 MiB by default (CUDA: 1 GiB); one row is the least.
            Half-precision gradients are gathered in float32 beside it.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64). An entry with a log_prob of -inf is not
                listed, whatever its index, and a row without any costs 0. The backward pass computes the scores again.
    Raises:     ShapeError; TypeError; IndexError for a class outside of [0, C); ValueError for a class listed twice in a row,
                for probabilities that sum to more than 1.01, or for an option out of range. On CPU: elsewhere the row is NaN.
    Reference:  Hinton et al. 2015, arXiv:1503.02531; the bias of top-k: Anshumann et al. 2025, arXiv:2503.16870
    Example:
        >>> index, log_prob = torch.tensor([[2, 0]]), torch.tensor([[0.5, 0.3]]).log()  # 0.2 is left for classes 1 and 3
        >>> x, w = torch.zeros(1, 8), torch.randn(4, 8)  # 0.5 ln 2 + 0.3 ln(6/5) + 0.2 ln(2/5)
        >>> losskit.linear_sparse_kl_div(x, w, index, log_prob)
        tensor(0.2180)
    """
    choice("reduction", reduction, ("none", "mean", "sum"))
    choice("tail", tail, ("bucket", "drop", "renormalize"))
    warm(temperature)
    known = index.shape[-1]
    if not known:
        raise ShapeError(f'"index" has shape {tuple(index.shape)}, expected at least one class for each row')
    own_head = head("student", student.reshape(-1, student.shape[-1]), student_weight, student_bias, student_softcap)
    dtype = torch.promote_types(torch.promote_types(student.dtype, log_prob.dtype), torch.float32)
    weight = valid_weight(weight, mask, dtype)
    listed = log_prob != -torch.inf
    listed = listed if weight is None else listed & (weight != 0).unsqueeze(-1)
    log_p = torch.where(listed, log_prob.double(), -torch.inf)
    index, broken = checked(index, listed, log_p, len(student_weight))
    flat = [t.reshape(-1, known) for t in (index, listed, log_p)]
    call = Listed(own_head, flat[0], flat[1], flat[1].any(-1), temperature, budget(memory, student.device))
    own, rest = listed_scores(call, others=tail != "renormalize")
    own = torch.where(flat[1], own, -torch.inf)
    value = of_known(own, flat[2], flat[1]) if tail == "renormalize" else of_all(own, rest.unsqueeze(-1), flat[2], tail)
    value = torch.where(broken, torch.nan, temperature**2 * value.reshape(broken.shape))
    return reduce(value.to(dtype), weight, reduction, normalizer)


class LinearSparseKLDivLoss(Loss, function=linear_sparse_kl_div):
    """Module of :func:`linear_sparse_kl_div`."""

    tail: Tail = "bucket"
    student_bias: Tensor | None = None
    student_softcap: float | None = None
    temperature: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    memory: int | None = None
