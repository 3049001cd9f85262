"""Distillation: a student's class distribution against a teacher's, whole or known only in its top classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, choice, visible
from ..core.domain import Logits, Mask, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.blocks import row_blocks
from ..ops.divergence import ROW, Kind, log_softened, row_values
from ..ops.first_order import Found, first_order

__all__ = ["JSDivLoss", "KLDivLoss", "js_div_loss", "kl_div_loss"]

Direction = Literal["forward", "reverse"]

_SAMPLE = {
    "input": Logits(meaning="the student's scores, one for each class, classes last"),
    "target": Logits(meaning="the teacher's scores, one for each class of the student"),
    "weight": Weight(meaning="one weight for each row"),
    "mask": Mask(meaning="True where a row counts"),
}
_HOTTEST = 1e100  # T^2 is still a float
_MEMORY = 6 << 20  # bytes of one block of rows: what is freed and taken again beyond that is fresh memory each time


def _paper(input: Tensor, target: Tensor, *, temperature: float = 1.0, direction: str = "forward") -> Tensor:
    """T^2 sum_c p log(p / q) of the two softmaxes at temperature T."""
    q, p = ((z.double() / temperature).softmax(-1) for z in (input, target))
    p, q = (p, q) if direction == "forward" else (q, p)
    return temperature**2 * torch.where(p > 0, p * (p.log() - q.log()), 0).sum(-1)


def _paper_js(input: Tensor, target: Tensor, *, beta: float = 0.5, temperature: float = 1.0) -> Tensor:
    """T^2 (H(m) - beta H(p) - (1 - beta) H(q)): the entropy of the mixture above that of its parts."""
    q, p = ((z.double() / temperature).softmax(-1) for z in (input, target))
    whole, teacher, student = (_entropy(r) for r in (torch.lerp(q, p, beta), p, q))
    return temperature**2 * (whole - beta * teacher - (1 - beta) * student)


def _entropy(p: Tensor) -> Tensor:
    return torch.where(p > 0, -p * p.log(), 0).sum(-1)


def _chance(target: Tensor, temperature: float = 1.0, direction: str = "forward") -> float:
    """Against a student that gives every class 1 / C."""
    log_p = log_softened(target.double(), temperature)
    forward = (log_p.exp() * log_p).sum(-1) + math.log(target.shape[-1])
    reverse = -log_p.mean(-1) - math.log(target.shape[-1])
    return temperature**2 * float((forward if direction == "forward" else reverse).mean())


def _constant(target: Tensor, temperature: float = 1.0, direction: str = "forward") -> float:
    """Against the mean of the teacher's rows; in reverse against their geometric mean."""
    log_p = log_softened(target.double(), temperature).flatten(0, -2)
    if direction == "reverse":
        return -(temperature**2) * float(log_p.mean(0).logsumexp(-1))
    p = log_p.exp()
    return temperature**2 * float(_entropy(p.mean(0)) - _entropy(p).mean())


def _chance_js(target: Tensor, beta: float = 0.5, temperature: float = 1.0) -> float:
    return float(_paper_js(torch.zeros_like(target), target, beta=beta, temperature=temperature).mean())


def warm(temperature: float) -> None:
    """Raise unless ``temperature`` is a number > 0 whose square is a number too."""
    at_least("temperature", temperature, 0, strict=True)
    if temperature > _HOTTEST:
        raise ValueError(f'"temperature" must be <= {_HOTTEST:g}, got {temperature!r}')


def _rowwise(kind: Kind, share: float, input: Tensor, target: Tensor, temperature: float) -> Tensor:
    """T^2 times the divergence of each row (*, C) -> (*), in float64 where the device has it, a block of rows at a time.

    Of all that is made on the way only the gradient is kept, in the dtype of ``input``.
    """

    def formula(input: Tensor, target: Tensor) -> Tensor:
        return (temperature**2 * row_values(kind, share, temperature, input, target).value).to(input.dtype)

    def kernel(input: Tensor, target: Tensor) -> Found:
        slope, values = input.new_empty(input.shape), [input.new_empty(0)]
        for own, other, out in _blocks(input, target, slope):
            found = row_values(kind, share, temperature, own, other)
            torch.mul(found.student(), temperature, out=out)
            values.append((temperature**2 * found.value).to(input.dtype))
        return torch.cat(values).reshape(input.shape[:-1]), (slope,), _pull

    if torch.compiler.is_compiling() or not input.numel():
        return formula(input, target)
    if not (input.requires_grad or target.requires_grad):
        return torch.cat([formula(*both) for both in _blocks(input, target)]).reshape(input.shape[:-1])
    return first_order(formula, kernel, input, target)


def _blocks(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """The same few rows of every tensor, (n, C)."""
    flat = [t.reshape(-1, t.shape[-1]) for t in tensors]
    for rows in row_blocks(len(flat[0]), ROW * flat[0].shape[-1], _MEMORY):
        yield [t[rows] for t in flat]


def _pull(grad: Tensor, slope: Tensor) -> Tensor:
    return slope * grad.unsqueeze(-1)


@loss(
    task="language",
    sample=_SAMPLE,
    reference=_paper,
    laws=("nonnegative", "zero_at_target", "shift_invariant"),
    variants=({}, {"direction": "reverse"}, {"temperature": 4.0}, {"temperature": 0.5, "direction": "reverse"}),
    chance=_chance,
    constant=_constant,
    floor=lambda: 0.0,
)
def kl_div_loss(
    input: Tensor,
    target: Tensor,
    *,
    temperature: float = 1.0,
    direction: Direction = "forward",
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Makes a student give every class the probability its teacher gives to it; both as scores before the softmax.

    Formula:    \ell = T^2 \sum_c p_c (\log p_c - \log q_c),\; p = \mathrm{softmax}(t / T),\; q = \mathrm{softmax}(s / T)
    Gradient:   \partial\ell/\partial s = T (q - p); reverse: T q_c (\log q_c - \log p_c - \mathrm{KL})
    Use when:   a smaller model learns from a larger one, or a policy is held near another. forward covers all that the
                teacher does, reverse picks the modes that the student can do and leaves out the rest.
    Avoid when: only the teacher's top classes are stored (sparse_kl_div_loss), the gradient must stay small for tokens that
                one of the two finds impossible (js_div_loss), or the target is a class (cross_entropy).
    Shape:      input (*, C) the student, target (*, C) the teacher -> () or (*)
    Args:
        temperature: T > 0, divides both. The value carries T^2, so that gradients keep their size when T is changed.
        direction: "forward" is KL(teacher || student), "reverse" KL(student || teacher).
        weight: (*) what each row counts for; the mean divides by the sum.
        mask: (*) bool, True where a row counts; what is masked may be NaN.
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches.
    Returns:    0-d, or (*) for reduction="none". The mean is over rows. torch.nn.functional.kl_div is another function: it
                wants log-probabilities and then probabilities, and its "mean" divides by N C, that is C times too much.
                A class that -inf rules out for both costs nothing; one that only the student rules out costs inf.
                The teacher gets its gradient too: detach it, or run it under torch.no_grad().
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Kullback, Leibler 1951; temperature and T^2: Hinton et al. 2015, arXiv:1503.02531; reverse: Gu et al. 2023,
                arXiv:2306.08543
    Example:
        >>> teacher = torch.tensor([[0.9, 0.1]]).log()  # a log-probability is a score too
        >>> losskit.kl_div_loss(torch.zeros(1, 2), teacher)  # 0.9 ln(0.9 / 0.5) + 0.1 ln(0.1 / 0.5)
        tensor(0.3681)
    """
    warm(temperature)
    choice("direction", direction, ("forward", "reverse"))
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(None if weight is None else weight.unsqueeze(-1), input, target)
    return reduce(_rowwise(direction, 0.0, input, target, temperature), weight, reduction, normalizer)


class KLDivLoss(Loss, function=kl_div_loss):
    """Module of :func:`kl_div_loss`."""

    temperature: float = 1.0
    direction: Direction = "forward"
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="language",
    sample=_SAMPLE,
    reference=_paper_js,
    laws=("nonnegative", "zero_at_target", "shift_invariant", "bounded_gradient"),
    variants=({}, {"beta": 0.1}, {"beta": 0.9, "temperature": 2.0}),
    chance=_chance_js,
    floor=lambda: 0.0,
)
def js_div_loss(
    input: Tensor,
    target: Tensor,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Distillation that no single token can blow up: student and teacher are each compared with their mixture.

    Formula:    \ell = T^2 (\beta \mathrm{KL}(p \| m) + (1 - \beta) \mathrm{KL}(q \| m)),\; m = \beta p + (1 - \beta) q,\;
                p = \mathrm{softmax}(t / T),\; q = \mathrm{softmax}(s / T)
    Gradient:   \partial\ell/\partial s = T (1 - \beta) q_c (\log \frac{q_c}{m_c} - \mathrm{KL}(q \| m)): at most of size T
    Use when:   the student is trained on its own samples, or on tokens that the teacher finds impossible.
    Avoid when: student and teacher share no class at all: the loss is flat there (kl_div_loss).
    Shape:      input (*, C) the student, target (*, C) the teacher -> () or (*)
    Args:
        beta: in (0, 1), the teacher's share of the mixture. 1/2 is Jensen-Shannon, at most T^2 ln 2; divided by beta it tends to
            forward KL as beta goes to 0, divided by 1 - beta to reverse KL as it goes to 1.
        temperature: T > 0, divides both. The value carries T^2, which the authors' code leaves out.
        weight: (*) what each row counts for; the mean divides by the sum.
        mask: (*) bool, True where a row counts; what is masked may be NaN.
        normalizer: replaces the mean's denominator, e.g. by the number of tokens in all micro-batches.
    Returns:    0-d, or (*) for reduction="none"; finite also where one of the two rules out (-inf) what the other wants.
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Lin 1991; for distillation (GKD): Agarwal et al. 2024, arXiv:2306.13649
    Example:
        >>> apart = torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])
        >>> losskit.js_div_loss(*apart)  # nothing in common: ln 2
        tensor(0.6931)
    """
    between("beta", beta, 0, 1, strict=True)
    warm(temperature)
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(None if weight is None else weight.unsqueeze(-1), input, target)
    return reduce(_rowwise("mixture", beta, input, target, temperature), weight, reduction, normalizer)


class JSDivLoss(Loss, function=js_div_loss):
    """Module of :func:`js_div_loss`."""

    beta: float = 0.5
    temperature: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
