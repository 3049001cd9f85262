"""Same input, who is right? Single numbers where torch, or the formula as usually typed, is off."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

from .claim import Answer, Claim

__all__ = ["claims"]


def _slope(loss: Callable[[Tensor], Tensor], at: float) -> float:
    x = torch.tensor([at], requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(x).sum(), x)
    return float(gradient)


def _binary(z: float, y: float) -> tuple[Callable[[], Answer], Callable[[], Answer]]:
    x, t = torch.tensor([z]), torch.tensor([y])
    return lambda: float(losskit.binary_cross_entropy_with_logits(x, t)), lambda: float(F.binary_cross_entropy_with_logits(x, t))


def _tails() -> list[Claim]:
    found = [
        Claim("tails", f"binary cross-entropy, logit {z:g}, target {y:g}, float32", math.log1p(math.exp(-abs(z))), *_binary(z, y))
        for z, y in ((-12.0, 0.0), (-16.0, 0.0), (16.0, 1.0), (-80.0, 0.0), (80.0, 1.0))
    ]
    one = torch.ones(1)
    return [
        *found,
        Claim(
            "tails",
            "its gradient, logit 16, target 1, float32",
            -1 / (1 + math.exp(16)),
            lambda: _slope(lambda x: losskit.binary_cross_entropy_with_logits(x, one), 16.0),
            lambda: _slope(lambda x: F.binary_cross_entropy_with_logits(x, one), 16.0),
        ),
    ]


def _confident() -> list[Claim]:
    scores = torch.randn(1, 32000, generator=torch.Generator().manual_seed(0))
    scores[0, 7] = scores.logsumexp(-1).item() + 14
    target = torch.tensor([7])
    others = scores.double().clone()
    others[0, 7] = -torch.inf
    u = float(scores[0, 7].double() - others.logsumexp(-1))

    def slope(loss: Callable[[Tensor, Tensor], Tensor]) -> float:
        x = scores.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x, target), x)
        return float(gradient[0, 7])

    return [
        Claim(
            "confident rows",
            "cross-entropy, 32,000 classes, the target 14 above the rest, float32",
            math.log1p(math.exp(-u)),
            lambda: float(losskit.cross_entropy(scores, target)),
            lambda: float(F.cross_entropy(scores, target)),
        ),
        Claim(
            "confident rows",
            "its gradient at the target",
            -1 / (1 + math.exp(u)),
            lambda: slope(losskit.cross_entropy),
            lambda: slope(F.cross_entropy),
        ),
    ]


def _all_ignored(loss: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    scores = torch.zeros(2, 3, requires_grad=True)
    value = loss(scores, torch.tensor([-100, -100]))
    return f"{value.item():g} {'with' if value.requires_grad else 'without'} a graph"


def _contract() -> list[Claim]:
    column, row = torch.arange(4.0)[:, None], torch.arange(4.0)
    ones = torch.ones(4)
    return [
        Claim(
            "contract",
            "squared error of (4, 1) against (4,), equal values",
            "raises ShapeError",
            lambda: float(losskit.mse_loss(column, row)),
            lambda: float(F.mse_loss(column, row)),
        ),
        Claim(
            "contract",
            "Gaussian likelihood of (4, 1) against (4,)",
            "raises ShapeError",
            lambda: float(losskit.gaussian_nll_loss(column, row, var=torch.ones(4, 1))),
            lambda: float(F.gaussian_nll_loss(column, row, ones[:, None])),
        ),
        Claim(
            "contract",
            "Poisson loss of (4, 1) against (4,)",
            "raises ShapeError",
            lambda: float(losskit.poisson_deviance_loss(column, row)),
            lambda: float(F.poisson_nll_loss(column, row)),
        ),
    ]


def _means() -> list[Claim]:
    weight = torch.tensor([1.0, 3.0])
    error = (torch.tensor([2.0, 4.0]), torch.zeros(2))
    torch_huber: Callable[..., Tensor] = F.huber_loss  # its stub does not know of weight
    return [
        Claim(
            "contract",
            "cross-entropy when every row is ignored",
            "0 with a graph",
            lambda: _all_ignored(losskit.cross_entropy),
            lambda: _all_ignored(F.cross_entropy),
        ),
        Claim(
            "contract",
            "weighted mean of Huber: errors 2, 4 with weights 1, 3 (1 * 1.5 + 3 * 3.5) / (1 + 3)",
            (1 * 1.5 + 3 * 3.5) / 4,
            lambda: float(losskit.huber_loss(*error, weight=weight)),
            lambda: float(torch_huber(*error, weight=weight)),
        ),
    ]


def _formulas() -> list[Claim]:
    """Beside the formula as usually typed, where torch has no such loss."""
    wrong = 1 / (1 + math.exp(20))
    small, zero, one = torch.tensor([1e-4]), torch.zeros(1), torch.ones(1)

    def typed_focal() -> float:
        return _slope(lambda x: (1 - x.sigmoid()) ** 0.5 * F.softplus(-x), 20.0)

    def typed_barron() -> float:
        alpha = torch.tensor(1e-6)
        return float((alpha - 2).abs() / alpha * ((0.5**2 / (alpha - 2).abs() + 1) ** (alpha / 2) - 1))

    return [
        Claim(
            "formulas as usually typed",
            "log-cosh of an error of 1e-4, float32",
            0.5e-8 - 1e-16 / 12,
            lambda: float(losskit.log_cosh_loss(small, zero)),
            lambda: float(small.cosh().log()),
        ),
        Claim(
            "formulas as usually typed",
            "log-cosh of an error of 700, float32",
            700 - math.log(2),
            lambda: float(losskit.log_cosh_loss(700 * one, zero)),
            lambda: float((700 * one).cosh().log()),
        ),
        Claim(
            "formulas as usually typed",
            "Barron's loss, alpha 1e-6, error 0.5, float32",
            2 / 1e-6 * math.expm1(0.5e-6 * math.log1p(0.125)),
            lambda: float(losskit.general_robust_loss(torch.tensor([0.5]), zero, alpha=1e-6)),
            typed_barron,
            3e-6,  # |alpha - 2| and log1p(x^2 / 2) themselves move by 1e-6
        ),
        Claim(
            "formulas as usually typed",
            "focal gradient, gamma 0.5, logit 20, target 1, float32",
            -math.sqrt(wrong) * (wrong - 0.5 * (1 - wrong) * math.log1p(-wrong)),
            lambda: _slope(lambda x: losskit.binary_focal_loss(x, one, gamma=0.5), 20.0),
            typed_focal,
            3e-6,  # of exp(-10) in float32
        ),
    ]


def claims() -> list[Claim]:
    """All of them, in the order of the table."""
    return [*_tails(), *_confident(), *_contract(), *_means(), *_formulas()]
