"""Distillation from stored top-k: the teacher's log-probabilities are known for a few classes of each row only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from ..core.card import loss
from ..core.check import ShapeError, choice, first_place, peek, wide, working
from ..core.domain import ClassIndex, Domain, Logits, Mask, Sizes, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.divergence import divergence, log_ratio
from ..ops.divergence_listed import unlisted
from .distillation import warm

__all__ = ["SparseKLDivLoss", "sparse_kl_div_loss"]

Tail = Literal["bucket", "drop", "renormalize"]
_ROUNDING = 0.01  # what rounding may add to a row's probabilities: bfloat16 is off by 2^-9 of |log p|, 5 nats of entropy


@dataclass(frozen=True)
class TopClasses(ClassIndex):
    """K different classes for each row; those without probability may be anything, so the loss itself checks them."""

    shape: str = "* K"
    meaning: str = "the classes whose teacher log-probability is known, K for each row"

    @override
    def outside(self, value: Tensor, sizes: Sizes) -> None:
        return None

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        *lead, known = self.size(sizes) or (1,)
        return torch.rand((*lead, sizes.named["C"]), generator=generator).argsort(-1)[..., :known]


@dataclass(frozen=True)
class LogProbability(Domain):
    """Log-probabilities of K classes among others."""

    shape: str = "* K"
    extreme: float = 0.0  # no number of any size: together the K have a probability of one at most
    meaning: str = 'the teacher\'s log-probability of each class in "index", -inf for an entry that is not there'

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        *lead, known = self.size(sizes) or (1,)
        scores = 2 * torch.randn((*lead, known + 1), generator=generator, dtype=dtype)
        return scores.log_softmax(-1)[..., :-1]


def sparse_paper(input: Tensor, index: Tensor, log_prob: Tensor, *, tail: str = "bucket", temperature: float = 1.0) -> Tensor:
    """T^2 sum_i p_i log(p_i / q_i) over the known classes, and the term of all others as one, or both made to sum to one."""
    q = (input.double() / temperature).softmax(-1).gather(-1, index)
    p = log_prob.double().exp()
    if tail == "renormalize":
        q, p = q / q.sum(-1, keepdim=True), p / p.sum(-1, keepdim=True)
    value = (p * (p / q).log()).sum(-1)
    if tail == "bucket":
        others, theirs = 1 - p.sum(-1), 1 - q.sum(-1)
        value = value + others * (others / theirs).log()
    return temperature**2 * value


@loss(
    task="language",
    sample={
        "input": Logits(meaning="the student's scores, one for each class, classes last"),
        "index": TopClasses(),
        "log_prob": LogProbability(),
        "weight": Weight(meaning="one weight for each row"),
        "mask": Mask(meaning="True where a row counts"),
    },
    reference=sparse_paper,
    laws=("shift_invariant",),
    variants=({}, {"tail": "drop"}, {"tail": "renormalize"}, {"temperature": 3.0}),
)
def sparse_kl_div_loss(
    input: Tensor,
    index: Tensor,
    log_prob: Tensor,
    *,
    tail: Tail = "bucket",
    temperature: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Distillation from a teacher of which only the top classes of each row were stored: 50 numbers instead of 150,000.

    Formula:    \ell = T^2 (\sum_i p_i \log \frac{p_i}{q_i} + r \log \frac{r}{1 - \sum_i q_i}),\; r = 1 - \sum_i p_i
    Gradient:   \partial\ell/\partial s_i = T (q_i - p_i); every other class is pushed by its share of T (1 - \sum_i q_i - r)
    Use when:   the teacher's outputs were computed once and stored, or come from a service that returns its top classes.
    Avoid when: all of the teacher's scores are at hand (kl_div_loss).
    Shape:      input (*, C) the student, index (*, K) class indices, log_prob (*, K) -> () or (*)
    Args:
        tail: what is made of the classes that are not listed. "bucket": they are one more class, whose probability the student
            must match in sum. "drop": only the K terms are taken; that is no divergence: it can be negative, and pushes every
            unlisted class towards 0. "renormalize": both are made to sum to one over the K classes, so
            nothing is said about the others.
        temperature: T > 0, divides the student's scores. log_prob must be the teacher's at that temperature,
            log_softmax(t / T): it cannot be changed when most classes are unknown. The value carries T^2.
        weight: (*) what each row counts for; the mean divides by the sum.
        mask: (*) bool, True where a row counts; what is masked may be anything.
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches.
    Returns:    0-d, or (*) for reduction="none". An entry with a log_prob of -inf is not listed, whatever its index: this
                pads rows of fewer classes, and a row without any costs 0. Probabilities that sum to more than one by rounding
                (up to 1.01) are scaled down for "bucket".
    Raises:     ShapeError; TypeError; IndexError for a class outside of [0, C); ValueError for a class listed twice in a row,
                for probabilities that sum to more than 1.01, or for an option out of range. On CPU: elsewhere the row is NaN.
    Reference:  Hinton et al. 2015, arXiv:1503.02531; the bias of top-k: Anshumann et al. 2025, arXiv:2503.16870
    Example:
        >>> index, log_prob = torch.tensor([[2, 0]]), torch.tensor([[0.5, 0.3]]).log()  # 0.2 is left for classes 1 and 3
        >>> losskit.sparse_kl_div_loss(torch.zeros(1, 4), index, log_prob)  # 0.5 ln 2 + 0.3 ln(6/5) + 0.2 ln(2/5)
        tensor(0.2180)
    """
    choice("tail", tail, ("bucket", "drop", "renormalize"))
    warm(temperature)
    if not index.shape[-1]:
        raise ShapeError(f'"index" has shape {tuple(index.shape)}, expected at least one class for each row')
    weight = valid_weight(weight, mask, input.dtype)
    input, log_prob = working(input, log_prob)
    listed = log_prob != -torch.inf
    if weight is not None:
        seen = weight.unsqueeze(-1) != 0
        listed, input = listed & seen, torch.where(seen, input, 0)
    log_p = torch.where(listed, wide(log_prob), -torch.inf)
    index, broken = checked(index, listed, log_p, input.shape[-1])
    own = torch.where(listed, wide(input.gather(-1, index)) / temperature, -torch.inf)
    if tail == "renormalize":
        value = of_known(own, log_p, listed)
    else:
        value = of_all(own, unlisted(input, index, listed, temperature), log_p, tail)
    value = torch.where(broken, torch.nan, temperature**2 * value)
    return reduce(value.to(input.dtype), weight, reduction, normalizer)


def of_known(own: Tensor, log_p: Tensor, listed: Tensor) -> Tensor:
    """KL of the two over the listed classes alone; 0 where there is none."""
    some = listed.any(-1, keepdim=True)
    log_q, log_p = (torch.where(some, z, 0).log_softmax(-1) for z in (own, log_p))
    return divergence(log_p.exp(), log_q.exp(), log_ratio(log_p, log_q))


def of_all(own: Tensor, rest: Tensor, log_p: Tensor, tail: Tail) -> Tensor:
    """KL with the student's ``rest`` as one more score beside its K own ones."""
    log_q = torch.cat([own, rest], -1).log_softmax(-1)
    mass = log_p.exp().sum(-1, keepdim=True)
    if tail == "drop":
        log_q, p = log_q[..., :-1], log_p.exp()
        return -(p * torch.where(p == 0, 0, log_q - log_p)).sum(-1)
    # where the student has no other class, a teacher's rest of the size of rounding is none
    left = (mass < 1) & ((rest != -torch.inf) | (mass < 1 - _ROUNDING))
    others = torch.where(left, torch.log1p(-torch.where(left, mass, 0)), -torch.inf)
    log_p = torch.cat([log_p, others], -1).log_softmax(-1)
    return divergence(log_p.exp(), log_q.exp(), log_ratio(log_p, log_q))


def checked(index: Tensor, listed: Tensor, log_p: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The indices, safe to gather with, and the rows that are broken: raised where that can be seen."""
    index = index.long()
    outside = listed & ((index < 0) | (index >= classes))
    # entries that are not there become classes beyond the last, each its own
    apart = torch.where(listed & ~outside, index, classes + torch.arange(index.shape[-1], device=index.device))
    ordered = apart.sort(-1).values
    twice = (ordered[..., 1:] == ordered[..., :-1]).any(-1)
    mass = log_p.detach().exp().sum(-1)
    excess = mass > 1 + _ROUNDING
    broken = outside.any(-1) | twice | excess
    if peek(broken.any()):
        if outside.any():
            at, place = first_place(outside)
            raise IndexError(
                f'"index" is {int(index[at])}{place}, expected a class in [0, {classes}), or a "log_prob" of -inf '
                "for an entry that is not there"
            )
        at, place = first_place(twice if twice.any() else excess)
        if twice.any():
            raise ValueError(f'"index"{place} is {index[at].tolist()}, expected different classes: one of them is listed twice')
        raise ValueError(
            f'"log_prob"{place} sums to {float(mass[at]):.4g} in probability, expected at most 1: use log_softmax over all '
            "classes of the teacher before its top ones are taken"
        )
    return torch.where(listed & ~outside, index, 0), broken


class SparseKLDivLoss(Loss, function=sparse_kl_div_loss):
    """Module of :func:`sparse_kl_div_loss`."""

    tail: Tail = "bucket"
    temperature: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
