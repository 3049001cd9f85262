"""Heads of language models: what a chunked loss loses in bfloat16, under a large bias, near the teacher; and what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

from .claim import Claim

__all__ = ["claims"]

_GROUP = "heads of language models"
Head = Callable[[Tensor, Tensor, Tensor], Tensor]


def _drawn(rows: int, width: int, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=generator)
    w = torch.randn(classes, width, generator=generator) / math.sqrt(width)
    y = torch.randint(classes, (rows,), generator=generator)
    return x.to(dtype).requires_grad_(), w.to(dtype).requires_grad_(), y


def _chunked(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    """torch's memory-efficient path, from 2.13 on."""
    call, options = vars(F)["linear_cross_entropy"], vars(torch.nn)["LinearCrossEntropyOptions"]()
    found: Tensor = call(x, w, y, options=options)
    return found


def _truth(x: Tensor, w: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """The mean loss, and its gradient with respect to the weights, from float64 scores."""
    weight = w.detach().double().requires_grad_()
    loss = F.cross_entropy(x.detach().double() @ weight.T, y)
    return float(loss.detach()), torch.autograd.grad(loss, weight)[0]


def _bfloat16() -> list[Claim]:
    """26,240 classes of width 64 have the shape of a small model with a large vocabulary: 256 chunks."""
    x, w, y = _drawn(1024, 64, 26240, torch.bfloat16)
    loss, slope = _truth(x, w, y)

    def off(head: Head) -> float:
        (found,) = torch.autograd.grad(head(x, w, y), w)
        return float((found.double() - slope).norm() / slope.norm())

    about = "bfloat16 head, 1,024 rows of width 64, 26,240 classes"
    return [
        Claim(
            _GROUP,
            f"{about}: mean loss",
            loss,
            lambda: float(losskit.linear_cross_entropy(x, w, y).detach()),
            lambda: float(_chunked(x, w, y).detach()),
            1e-5,
        ),
        Claim(
            _GROUP,
            "its weight gradient, relative error (the rounding to bfloat16 alone is 1.7e-3)",
            2.5e-3,
            lambda: off(losskit.linear_cross_entropy),
            lambda: off(_chunked),
            at_most=True,
        ),
    ]


def _shifted() -> Claim:
    x, w, y = _drawn(64, 32, 1000, torch.float32)
    bias = torch.full((1000,), 1e6)
    return Claim(
        _GROUP,
        "float32 head whose bias is 1e6 for every class",
        _truth(x, w, y)[0],
        lambda: float(losskit.linear_cross_entropy(x, w, y, linear_bias=bias).detach()),
        lambda: float(F.cross_entropy(F.linear(x, w, bias), y).detach()),
    )


def _kept(head: Head) -> float:
    """How many numbers autograd keeps for the backward pass, inputs apart."""
    x, w, y = _drawn(512, 16, 8192, torch.float32)
    inputs = {t.untyped_storage().data_ptr() for t in (x, w, y)}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in inputs:
            kept[storage.data_ptr()] = storage.nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = head(x, w, y)
    del loss
    return float(sum(kept.values()))


def _memory() -> Claim:
    rows, width, classes = 512, 16, 8192
    return Claim(
        _GROUP,
        "numbers kept for the backward pass, 512 rows of width 16, 8,192 classes: the two gradients",
        (rows + classes) * width + 2.0 * rows,
        lambda: _kept(losskit.linear_cross_entropy),
        lambda: _kept(lambda x, w, y: F.cross_entropy(F.linear(x, w), y)),
        at_most=True,
    )


def _near() -> list[Claim]:
    generator = torch.Generator().manual_seed(0)
    teacher, noise = (torch.randn(64, 1000, generator=generator) for _ in range(2))

    def claim(about: str, step: float, reduction: str) -> Claim:
        student = teacher + step * noise
        log_p, log_q = (z.double().log_softmax(-1) for z in (teacher, student))
        return Claim(
            _GROUP,
            about,
            float((log_p.exp() * (log_p - log_q)).sum(-1).mean()),
            lambda: float(losskit.kl_div_loss(student, teacher)),
            lambda: float(F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction=reduction)),
        )

    return [
        claim("KL divergence of a student 1e-4 from its teacher, float32", 1e-4, "batchmean"),
        claim('KL divergence of a student 1 from its teacher; torch\'s "mean" divides by the 1,000 classes too', 1.0, "mean"),
    ]


def _micro_batches() -> Claim:
    """Three rows and one: the gradient of the pieces, each over the count of all, against that of the batch."""
    x, w, y = _drawn(4, 8, 50, torch.float64)
    count = losskit.count_valid(y)
    (whole,) = torch.autograd.grad(losskit.linear_cross_entropy(x, w, y), w)

    def off(head: Callable[[Tensor, Tensor], Tensor]) -> float:
        found = sum(torch.autograd.grad(head(x[at], y[at]), w)[0] for at in (slice(0, 3), slice(3, 4)))
        return float(torch.linalg.vector_norm(found - whole) / whole.norm())

    return Claim(
        _GROUP,
        "micro-batches of 3 rows and 1: gradient less that of the batch, relative (beside: the mean of two means)",
        1e-12,
        lambda: off(lambda x, y: losskit.linear_cross_entropy(x, w, y, normalizer=count)),
        lambda: off(lambda x, y: F.cross_entropy(x @ w.T, y) / 2),
        at_most=True,
    )


def claims() -> list[Claim]:
    """All of them, in the order of the table."""
    return [*_bfloat16(), _shifted(), _memory(), *_near(), _micro_batches()]
