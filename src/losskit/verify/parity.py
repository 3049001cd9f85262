"""Where torch is right we equal it: every loss both have, value and gradient, float64 and float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

from .claim import Claim

__all__ = ["Parity", "claims", "measure"]

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Parity:
    """Largest errors of one loss: float64 against torch, float32 in units in the last place against the float64 truth."""

    name: str
    double: float
    ours_ulp: float
    torch_ulp: float


def _torch_gaussian(mean: Tensor, target: Tensor, variance: Tensor, reduction: str = "mean") -> Tensor:
    return F.gaussian_nll_loss(mean, target, variance, full=True, reduction=reduction)


def _pairs() -> list[tuple[str, Function, Function, list[Tensor]]]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return 3 * torch.randn(*shape, generator=generator)

    scores, labels = normal(512, 50), torch.randint(50, (512,), generator=generator)
    soft, weight = normal(512, 50).softmax(-1), torch.rand(50, generator=generator)
    x, y, hit = normal(4096), normal(4096), torch.rand(4096, generator=generator).round()
    var = torch.rand(4096, generator=generator) + 0.1

    def options(ours: Function, theirs: Function, **fixed: Any) -> tuple[Function, Function]:
        return lambda *t, **o: ours(*t, **fixed, **o), lambda *t, **o: theirs(*t, **fixed, **o)

    def gaussian(mean: Tensor, target: Tensor, variance: Tensor, **o: Any) -> Tensor:
        return losskit.gaussian_nll_loss(mean, target, var=variance, **o)

    return [
        ("cross_entropy", losskit.cross_entropy, F.cross_entropy, [scores, labels]),
        ("cross_entropy, weight", *options(losskit.cross_entropy, F.cross_entropy, weight=weight), [scores, labels]),
        (
            "cross_entropy, label_smoothing",
            *options(losskit.cross_entropy, F.cross_entropy, label_smoothing=0.1),
            [scores, labels],
        ),
        ("cross_entropy, probabilities", losskit.cross_entropy, F.cross_entropy, [scores, soft]),
        (
            "binary_cross_entropy_with_logits",
            losskit.binary_cross_entropy_with_logits,
            F.binary_cross_entropy_with_logits,
            [x, hit],
        ),
        ("mse_loss", losskit.mse_loss, F.mse_loss, [x, y]),
        ("l1_loss", losskit.l1_loss, F.l1_loss, [x, y]),
        ("huber_loss", *options(losskit.huber_loss, F.huber_loss, delta=1.5), [x, y]),
        ("smooth_l1_loss", *options(losskit.smooth_l1_loss, F.smooth_l1_loss, beta=0.5), [x, y]),
        ("gaussian_nll_loss", gaussian, _torch_gaussian, [x, y, var]),
    ]


def _both(loss: Function, tensors: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Every unreduced value and every entry of the gradient of their sum, in one float64 vector."""
    ready = [_fitting(loss, t.to(dtype) if t.is_floating_point() else t, dtype) for t in tensors]
    ready[0] = ready[0].clone().requires_grad_()
    value = loss(*ready, reduction="none")
    (gradient,) = torch.autograd.grad(value.sum(), ready[0])
    return torch.cat([value.detach().double().flatten(), gradient.double().flatten()])


def _fitting(loss: Function, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """``tensor``, and class weights inside of ``loss`` in the same dtype."""
    for cell in getattr(loss, "__closure__", None) or ():
        fixed = cell.cell_contents
        if isinstance(fixed, dict) and isinstance(fixed.get("weight"), Tensor):
            fixed["weight"] = fixed["weight"].to(dtype)
    return tensor


def measure() -> list[Parity]:
    """The table: for each loss that torch has too, the largest errors over a few thousand random inputs."""
    table: list[Parity] = []
    for name, ours, theirs, tensors in _pairs():
        truth = _both(ours, tensors, torch.float64)
        double = float(((truth - _both(theirs, tensors, torch.float64)).abs() / truth.abs().clamp(min=1)).max())
        near = truth.float()
        ulp = (torch.nextafter(near.abs(), torch.tensor(torch.inf)) - near.abs()).double().clamp(min=2.0**-149)
        wrong = [float(((_both(f, tensors, torch.float32) - truth).abs() / ulp).max()) for f in (ours, theirs)]
        table.append(Parity(name, double, *wrong))
    return table


def claims() -> list[Claim]:
    """Two claims a loss: float64 beside torch, float32 beside the float64 truth."""
    found: list[Claim] = []
    for row in measure():
        double, ours, theirs = (partial(float, n) for n in (row.double, row.ours_ulp, row.torch_ulp))
        found.append(
            Claim("where torch is right: float64, difference to torch", row.name, 1e-12, double, at_most=True, parity=True)
        )
        # two units in the last place, or as near as torch gets
        bound = max(2.0, row.torch_ulp)
        about = "where torch is right: float32, units in the last place"
        found.append(Claim(about, row.name, bound, ours, theirs, at_most=True, parity=True))
    return sorted(found, key=lambda c: c.group, reverse=True)
