"""What a classifier claimed and what happened, one number each a row: the common ground of every calibration measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...core.call import verify, whole_number
from ...core.check import ShapeError, choice, first_place, peek, wide, working
from ...core.domain import ClassIndex, Distribution, Domain, Interval, Logits, Mask, Real, Weight
from ...core.reduce import valid_weight
from ...ops.margin import class_last, class_rows

__all__ = ["Claim", "Given", "InputKind", "Question", "claims", "each_class", "given", "row_blocks", "visible"]

InputKind = Literal["logits", "probabilities"]
Claim = Literal["top", "positive"]

_BLOCK = 2**18  # scores at a time: 2 MiB in float64, near the cores, whatever the number of rows


class Question(NamedTuple):
    """Checked arguments, rows flattened: scores (N, C) and classes (N,), or binary scores (N,) and 0 or 1 (N,)."""

    input: Tensor
    target: Tensor
    weight: Tensor
    """(N,) float64: 0 where the row does not count, NaN where the target is no class and nobody could look."""
    kind: InputKind

    @property
    def binary(self) -> bool:
        """Whether each row is one yes-or-no question."""
        return self.input.ndim == 1

    @property
    def edges_dtype(self) -> torch.dtype:
        """What edges of bins are rounded to: a float32 0.3 is on the edge 3/10, though it is above the float64 one."""
        return self.input.dtype if self.kind == "probabilities" else self.weight.dtype


class Given(NamedTuple):
    """Of each row, (N,) float64; ``confidence`` is a probability, ``happened`` 1 where what it claims is true."""

    confidence: Tensor
    happened: Tensor
    squared: Tensor
    """The row's Brier score: over all classes, or of the positive class if binary."""
    weight: Tensor


def given(
    input: Tensor,
    target: Tensor,
    *,
    input_kind: InputKind,
    ignore_index: int,
    class_dim: int,
    weight: Tensor | None,
    mask: Tensor | None,
) -> Question:
    """The arguments of one call, checked; 1-d scores against 1-d targets are binary.

    Shape:      input (*, C), target (*); or input (N,), target (N,)
    """
    choice("input_kind", input_kind, ("logits", "probabilities"))
    whole_number("ignore_index", ignore_index)
    whole_number("class_dim", class_dim)
    shapes = _shape(input), _shape(target)
    binary = [len(shape or ()) for shape in shapes] == [1, 1]
    if binary and target.dtype == torch.bool:
        target = target.to(torch.uint8)
    if not binary:
        _refuse_what_is_not_classes(*shapes, class_dim)
    class_dim = -1 if binary else class_dim
    tensors = {"input": input, "target": target, "weight": weight, "mask": mask, "class_dim": class_dim}
    verify(_domains(binary, input_kind), tensors, ignore_index, class_dim)
    scores = input.detach() if binary else class_last(input.detach(), class_dim)
    rows = scores.shape if binary else scores.shape[:-1]
    counts = wide(torch.ones(rows, device=input.device))
    given_weight = valid_weight(weight, mask, counts.dtype)
    counts = counts if given_weight is None else given_weight.detach()
    index, counts = _targets(target, counts, None if binary else scores.shape[-1], ignore_index)
    flat = scores if binary else scores.reshape(-1, scores.shape[-1])
    question = Question(flat, index.reshape(-1), counts.reshape(-1), input_kind)
    return question._replace(weight=_summing_to_one(question, rows)) if input_kind == "probabilities" else question


def _domains(binary: bool, kind: InputKind) -> dict[str, Domain]:
    score: Domain
    if binary:
        target: Domain = Interval(low=0, high=1, whole=True, meaning="0 or 1, one for each score")
        score = Real("*") if kind == "logits" else Interval(kind="float", low=0, high=1, meaning="the probability of 1")
    else:
        target = ClassIndex()
        score = Logits() if kind == "logits" else Distribution()
    return {"input": score, "target": target, "weight": Weight(), "mask": Mask()}


def _shape(value: object) -> tuple[int, ...] | None:
    """None for what verify will refuse."""
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _refuse_what_is_not_classes(input: tuple[int, ...] | None, target: tuple[int, ...] | None, class_dim: int) -> None:
    if not input:
        return
    if input == target:
        raise ShapeError(
            f'"target" has shape {target} like "input", expected {input[:-1]}: class indices (target.argmax(-1) of a one-hot '
            "target); flatten both if each element is a yes-or-no question of its own"
        )
    if -len(input) <= class_dim < len(input) and input[class_dim] == 1:
        remedy = f"use input.squeeze({class_dim})"
        raise ShapeError(f'"input" has shape {input}, expected at least two classes, or (N,) for binary: {remedy}')


def _targets(target: Tensor, counts: Tensor, classes: int | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Targets that are safe to gather with, and what each row counts."""
    if target.is_floating_point():
        fine = (target == 0) | (target == 1)
        return torch.where(fine, target, 0).long(), torch.where(fine | (counts == 0), counts, torch.nan)
    # a row of weight 0 may hold any target; -100 is 156 in uint8
    target = torch.where(counts != 0, target.long(), ignore_index)
    index, kept = class_rows(target, classes or 2, ignore_index, counts.dtype)
    # not a product alone: an ignored row may have a weight of its own that is no number
    return index, counts if kept is None else torch.where(kept != 0, counts * kept, 0)


def _summing_to_one(question: Question, shape: torch.Size) -> Tensor:
    """What each row counts: NaN for probabilities out of range or not summing to 1, where nobody can look."""
    p, weight = question.input, question.weight
    if question.binary:
        fine, total = (p >= 0) & (p <= 1), p
    else:
        total, outside = _by_rows(_sum_and_outside, 2, weight, p)
        # rounding moves a sum by half an eps at most; three decimals are what printed probabilities keep
        fine = (outside == 0) & ((total - 1).abs() <= max(1e-3, 4 * torch.finfo(p.dtype).eps))
    wrong = ~fine & (weight != 0)
    if peek(wrong.any()):
        at, place = first_place(wrong.reshape(shape))
        what, remedy = ("is", "a probability") if question.binary else ("sums to", "1 over the classes")
        number = float(total.reshape(shape)[at])
        raise ValueError(f'"input" {what} {number:g}{place}, expected {remedy}; pass input_kind="logits" if these are scores')
    return torch.where(wrong, torch.nan, weight)


def _sum_and_outside(p: Tensor) -> tuple[Tensor, ...]:
    return wide(p).sum(-1), ((p < 0) | (p > 1)).any(-1)


def row_blocks(scores: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of scores (N, C) and of what belongs to them, a bounded number of scores at a time."""
    rows = max(1, _BLOCK // max(1, scores.shape[-1]))
    return zip(*(t.split(rows) for t in (scores, *others)), strict=True)


def claims(question: Question, claim: Claim) -> Given:
    """Confidence, outcome and Brier score of each row: of the class with the largest score ("top"), or of 1 ("positive")."""
    score: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    if question.binary:
        logit = question.kind == "logits"
        confidence, happened, squared = _binary(visible(question.input, question.weight), question.target, logit, claim)
        return Given(confidence, happened, squared, question.weight)
    score = _top_of_logits if question.kind == "logits" else _top_of_probabilities

    def block(z: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return score(visible(z, w), y)

    confidence, happened, squared = _by_rows(block, 3, question.weight, question.input, question.target, question.weight)
    return Given(confidence, happened, squared, question.weight)


def _by_rows(compute: Callable[..., tuple[Tensor, ...]], columns: int, like: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """What ``compute`` makes of rows, block by block: ``columns`` numbers a row, each (N,)."""
    # one tensor for all: small results kept between large temporaries cost as much memory as the scores
    found, done = like.new_empty(columns, len(like)), 0
    for block in row_blocks(*tensors):
        found[:, done : done + len(block[0])] = torch.stack([column.to(found.dtype) for column in compute(*block)])
        done += len(block[0])
    return found.unbind()


def each_class(question: Question) -> Iterator[Given]:
    """The probability of each class in turn, against whether it is the target; never all of them in float64 at once."""
    logit = question.kind == "logits"
    weight = question.weight
    scale = _by_rows(_normaliser, 1, weight, question.input, weight)[0] if logit else None
    for index in range(question.input.shape[-1]):
        score = visible(question.input[:, index], weight)
        p = score if scale is None else (score - scale).exp()
        y = (question.target == index).to(p.dtype)
        yield Given(p, y, (p - y).square(), weight)


def _normaliser(z: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    return (visible(z, weight).logsumexp(-1),)


def visible(scores: Tensor, weight: Tensor) -> Tensor:
    """In float64, and a number where the row does not count."""
    hidden = weight == 0 if scores.ndim == 1 else (weight == 0).unsqueeze(-1)
    return wide(working(scores)[0]).masked_fill(hidden, 0)  # a copy, which callers may overwrite


def _top_of_logits(z: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    top, guess = z.max(-1, keepdim=True)
    e = z.sub_(top).exp_()
    total = e.sum(-1)  # C for equal scores, so that their confidence is 1 / C to the last bit
    others = e.scatter_(-1, index.unsqueeze(-1), 0)
    rest = others.sum(-1)  # in units of total, 1 - p_y: nothing cancels
    squared = (others.square_().sum(-1) + rest.square()) / total.square()
    return 1 / total, guess.squeeze(-1) == index, squared


def _top_of_probabilities(p: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    confidence, guess = p.max(-1)
    own = p.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    squared = p.scatter(-1, index.unsqueeze(-1), 0).square().sum(-1) + (1 - own).square()
    return confidence, guess == index, squared


def _binary(score: Tensor, target: Tensor, logit: bool, claim: Claim) -> tuple[Tensor, ...]:
    positive = target == 1
    p = score.sigmoid() if logit else score
    squared = (torch.where(positive, -score, score).sigmoid() if logit else p - target).square()
    if claim == "positive":
        return p, positive.to(p.dtype), squared
    said = score > (0 if logit else 0.5)  # a tie is no: argmax of (0, z) says 0
    confidence = score.abs().sigmoid() if logit else torch.where(said, p, 1 - p)
    return confidence, (said == positive).to(p.dtype), squared
