"""How far one class distribution is from another: the definitions, and a pass over rows of scores that keeps their digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..core.check import wide

__all__ = [
    "ROW",
    "Form",
    "Kind",
    "Seen",
    "Terms",
    "divergence",
    "log_ratio",
    "log_softened",
    "row_values",
    "rows_at_a_time",
    "softmax",
    "terms",
    "visit",
]

Kind = Literal["forward", "reverse", "mixture"]
Measure = Callable[[Tensor, Tensor, Tensor], Tensor]

ROW = 96  # bytes a score where a row is worked in float64: a dozen intermediates
_HUGE = 1e30  # stands for an infinite log where its weight is 0; float32 holds it too
_STEEP = 80.0  # expm1 of more leaves float32
_CACHED = 1 << 20  # bytes of scores worked on at a time: five such buffers are in use (measured best of 512 KiB to 4 MiB)
_NEAR = 0.02  # nats: float32 is 2e-8 off in the value of a row, which of less than this is more than 1e-6


class Terms(NamedTuple):
    """Of rows (*, C): how far student and teacher are apart, and its gradient with respect to the scores of each."""

    value: Tensor
    student: Callable[[], Tensor]
    teacher: Callable[[], Tensor]


def log_softened(scores: Tensor, temperature: float) -> Tensor:
    """log softmax(scores / temperature)."""
    return (scores if temperature == 1 else scores / temperature).log_softmax(-1)


def log_ratio(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log(q / p); 0 for a class that both rule out."""
    # where() would say the same in forty times as long
    return torch.nan_to_num(log_q - log_p, nan=0.0, posinf=math.inf, neginf=-math.inf)


def divergence(p: Tensor, q: Tensor, ratio: Tensor) -> Tensor:
    """KL(p || q) of distributions (*, C) -> (*), given ratio = log(q / p) to all its digits.

    q - p = p expm1(ratio) sums to zero, so it may be added to each term: p (expm1(ratio) - ratio) is never negative, and
    nothing cancels in the sum however near the two are. Beyond ratio = 1, where q > e p, the same is written from q.
    """
    spread = torch.expm1(ratio.clamp(max=1)) - ratio.clamp(max=_HUGE)  # 0 log 0 = 0
    return (p * spread + torch.sub(q, p, alpha=math.e).relu()).sum(-1)


def _expected(p: Tensor, q: Tensor, ratio: Tensor) -> Tensor:
    """The same as it is defined: right to some units of rounding, whatever its own size is."""
    return -(p * ratio).sum(-1)


def _log_mixed(ratio: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """log(m / p) and log(m / q) for m = share p + (1 - share) q: exact near 0, and finite however large the ratio is."""
    steep = ratio.clamp(max=_STEEP)
    to_p = torch.log1p((1 - share) * torch.expm1(steep))
    return to_p + (ratio - _STEEP).relu(), to_p - steep


def terms(kind: Kind, share: float, p: Tensor, q: Tensor, ratio: Tensor, measure: Measure = divergence) -> Terms:
    """Teacher p against student q (*, C), given ratio = log(q / p): the scores are those whose softmax p and q are.

    "forward" is KL(p || q), "reverse" KL(q || p), "mixture" share KL(p || m) + (1 - share) KL(q || m) with the mixture
    m = share p + (1 - share) q.
    """
    if kind == "reverse":
        found = terms("forward", share, q, p, -ratio, measure)
        return Terms(found.value, found.teacher, found.student)
    if kind == "forward":
        value = measure(p, q, ratio)
        return Terms(value, lambda: q - p, lambda: _pull(p, ratio, value, -1.0))
    m, (to_p, to_q) = torch.lerp(q, p, share), _log_mixed(ratio, share)
    teacher, student = divergence(p, m, to_p), divergence(q, m, to_q)
    value = share * teacher + (1 - share) * student
    return Terms(value, lambda: _pull(q, to_q, student, share - 1), lambda: _pull(p, to_p, teacher, -share))


def _pull(p: Tensor, ratio: Tensor, value: Tensor, by: float) -> Tensor:
    """by p (ratio + value): -1 times the gradient of KL(p || .) with respect to the scores of p, times ``by``."""
    return (ratio.clamp(-_HUGE, _HUGE) + value.unsqueeze(-1)).mul_(p).mul_(by)


def row_values(kind: Kind, share: float, temperature: float, student: Tensor, teacher: Tensor) -> Terms:
    """``terms`` of two rows of scores (*, C), in float64 where the device has it: without T^2 or T."""
    log_q, log_p = (log_softened(wide(z), temperature) for z in (student, teacher))
    return terms(kind, share, log_p.exp(), log_q.exp(), log_ratio(log_p, log_q))


def softmax(scores: Tensor) -> tuple[Tensor, Tensor]:
    """softmax (n, C), and the log-sum-exp (n,) in float64, both to the last digit.

    torch's own sums in float32, which leaves a row of 150,000 classes 5e-6 away from one.
    """
    p = torch.softmax(scores, -1)
    total = p.sum(-1, dtype=torch.float64)
    lse = scores.amax(-1).double() + (total / p.amax(-1).double()).log()
    return p.mul_(total.reciprocal().to(p.dtype).unsqueeze(-1)), lse


class Form(NamedTuple):
    """What is asked of rows of scores."""

    kind: Kind
    share: float
    temperature: float
    slopes: tuple[bool, bool]
    """Whether the gradients of student and teacher are wanted."""
    ruled_out: Tensor | None
    """(C,) the classes that -inf rules out for both; None if there is none."""


def rows_at_a_time(classes: int, dtype: torch.dtype, device: torch.device, limit: int) -> int:
    """How many rows a visit takes: on a CPU what the cache holds, elsewhere as many as ``limit`` bytes do."""
    rows = limit // (classes * ROW)
    return max(1, min(rows, _CACHED // (classes * dtype.itemsize)) if device.type == "cpu" else rows)


class Seen(NamedTuple):
    """Of some rows: T^2 times how far the two are apart (n,) in float64, and its gradients / T, (n, C) or None."""

    value: Tensor
    student: Tensor | None
    teacher: Tensor | None


def visit(form: Form, student: Tensor, teacher: Tensor) -> Seen:
    """Student and teacher scores (n, C), float32 or float64, compared in float64 where float32 would lose digits."""
    square = form.temperature**2
    # a mixture is often within _NEAR of either, and flat at its bound; elsewhere than on a CPU to look would be to wait
    if student.dtype == torch.float64 or form.kind == "mixture" or student.device.type != "cpu":
        return _exact(form, student, teacher)
    found = _swift(form, student, teacher)
    seen = Seen(square * found.value.double(), *_wanted(form, found))
    near = (~(found.value >= _NEAR)).nonzero().squeeze(1)  # not a number, too: 0 times an infinite ratio
    if len(near):
        exact = _exact(form, student.index_select(0, near), teacher.index_select(0, near))
        for all_rows, some in zip(seen, exact, strict=True):
            if all_rows is not None and some is not None:
                all_rows.index_copy_(0, near, some)
    return seen


def _exact(form: Form, student: Tensor, teacher: Tensor) -> Seen:
    """In float64 where the device has it; on a CPU so few rows at a time that their temporaries stay in the cache."""
    size = max(1, _CACHED // 2 // (8 * student.shape[1])) if student.device.type == "cpu" else max(len(student), 1)
    value = student.new_empty(len(student), dtype=torch.float64)
    slopes = [torch.empty_like(student) if wanted else None for wanted in form.slopes]
    for at in range(0, len(student), size):
        rows = slice(at, at + size)
        found = row_values(form.kind, form.share, form.temperature, student[rows], teacher[rows])
        torch.mul(found.value, form.temperature**2, out=value[rows])
        for slope, right in zip(slopes, _wanted(form, found), strict=True):
            if slope is not None and right is not None:
                slope[rows] = right
    return Seen(value, slopes[0], slopes[1])


def _wanted(form: Form, found: Terms) -> tuple[Tensor | None, Tensor | None]:
    student, teacher = form.slopes
    return found.student() if student else None, found.teacher() if teacher else None


def _swift(form: Form, student: Tensor, teacher: Tensor) -> Terms:
    """``row_values`` in float32, right to 1e-7: the log ratio comes from the difference of the scores, whose digits it keeps."""
    soft = form.temperature
    (q, lse_q), (p, lse_p) = (softmax(z if soft == 1 else z / soft) for z in (student, teacher))
    ratio = student - teacher
    if soft != 1:
        ratio.div_(soft)
    offset = lse_q - lse_p
    high = offset.float()
    ratio.sub_(high.unsqueeze(-1)).sub_((offset - high).float().unsqueeze(-1))
    if form.ruled_out is not None:
        ratio.masked_fill_(form.ruled_out, 0)
    return terms(form.kind, form.share, p, q, ratio, _expected)
