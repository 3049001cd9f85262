"""The robust loss whose shape and scale are learned with the model: Barron's adaptive loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..core.call import verify, whole_number
from ..core.check import ShapeError, at_least, between, choice, visible
from ..core.domain import ELEMENTS
from ..core.reduce import Reduction, reduce, valid_weight
from .robust import robust

__all__ = ["AdaptiveRobustLoss"]

_STEP, _LAST = 1 / 16, 24.0  # of the trapezoid rule: 1e-9 of the integral, for every alpha in [0, 2]


def log_partition(alpha: Tensor) -> Tensor:
    """log of the integral of exp(-robust(x, alpha)) over all x, for alpha in [0, 2]; differentiable.

    With x = sinh(s) the integrand falls off exponentially in s even for the Cauchy-like tails of alpha = 0, and is smooth,
    so that the trapezoid rule converges geometrically. Shape: (*) -> (*)
    """
    nodes = torch.arange(0, _LAST, _STEP, dtype=alpha.dtype, device=alpha.device)
    # log(2 h cosh(s)), and half of that at 0, which the two half-lines share
    weights = nodes + torch.log1p(torch.exp(-2 * nodes)) + math.log(_STEP) - math.log(2) * (nodes == 0)
    grid = alpha.unsqueeze(-1).expand(*alpha.shape, len(nodes))
    return torch.logsumexp(weights - robust(torch.sinh(nodes).expand_as(grid), grid), -1)


class AdaptiveRobustLoss(nn.Module):
    r"""Learns how heavy the tails of the errors are: the negative log-likelihood of errors with a learned shape and scale.

    general_robust_loss with a learned alpha would always choose the alpha that costs least, and call everything an
    outlier. As a likelihood it pays for heavy tails by log Z(alpha), so that alpha goes to 2 for normal errors and towards
    0 for Cauchy-like ones. Give ``parameters()`` of this module to the optimizer together with those of the model.

    Formula:    \ell = \rho(e / c, \alpha) + \log c + \log Z(\alpha),\; Z(\alpha) = \int e^{-\rho(x, \alpha)} dx,\; \rho as in
                general_robust_loss
    Gradient:   \partial\ell/\partial \hat y = \rho'(e / c, \alpha) / c;\;
                \partial\ell/\partial \log c = 1 - (e / c)\, \rho'(e / c, \alpha)
    Use when:   it is not known which outputs have outliers, or each has its own kind (num_dims): losses in a latent space,
                several sensors in one vector.
    Avoid when: the loss must be comparable between runs or at least 0: it is a density's logarithm, lower by ln 10 for errors
                ten times smaller, and negative for small ones.
    Shape:      input (*) or (*, D), target of the same shape -> () or that shape
    Args:
        num_dims: 1: one alpha and one scale for all elements; D: one pair for each entry of the last axis.
        alpha: where alpha starts, in (0, 2); it stays there, as 2 * sigmoid(alpha_logit).
        scale: where the scale c starts, above min_scale; it stays there, as min_scale + exp(log_scale).
        min_scale: > 0, what keeps the likelihood finite if the model fits its targets exactly.
        reduction: as in every loss.
    Returns:    0-d, or the shape of the input for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Barron 2019, A general and adaptive robust loss function, arXiv:1701.03077
    Example:
        >>> loss = losskit.AdaptiveRobustLoss(alpha=1.0, scale=1.0)
        >>> round(loss(torch.zeros(3), torch.zeros(3)).item(), 4)  # log Z(1) = log(2 e K_1(1))
        1.1855
    """

    def __init__(
        self,
        num_dims: int = 1,
        *,
        alpha: float = 1.0,
        scale: float = 1.0,
        min_scale: float = 1e-5,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        whole_number("num_dims", num_dims)
        at_least("num_dims", num_dims, 1)
        between("alpha", alpha, 0, 2, strict=True)
        at_least("min_scale", min_scale, 0, strict=True)
        at_least("scale", scale, min_scale, strict=True)
        choice("reduction", reduction, ("none", "mean", "sum"))
        self.num_dims, self.min_scale = num_dims, min_scale
        self.reduction: Reduction = reduction
        self.alpha_logit = nn.Parameter(torch.full((num_dims,), math.log(alpha / (2 - alpha))))
        self.log_scale = nn.Parameter(torch.full((num_dims,), math.log(scale - min_scale)))

    @property
    def alpha(self) -> Tensor:
        """(D,) the shape now, in (0, 2): 2 for normal errors, towards 0 for Cauchy-like tails."""
        return 2 * torch.sigmoid(self.alpha_logit)

    @property
    def scale(self) -> Tensor:
        """(D,) the scale now, in the units of the target."""
        return self.min_scale + torch.exp(self.log_scale)

    def forward(
        self,
        input: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
        normalizer: Tensor | float | None = None,
    ) -> Tensor:
        """The negative log-likelihood of the errors; ``weight``, ``mask`` and ``normalizer`` as in every loss."""
        verify(ELEMENTS, {"input": input, "target": target, "weight": weight, "mask": mask}, None, -1)
        if self.num_dims > 1 and input.shape[-1:] != (self.num_dims,):
            expected = f"(*, {self.num_dims}) to fit num_dims={self.num_dims}"
            raise ShapeError(f'"input" has shape {tuple(input.shape)}, expected {expected}')
        weight = valid_weight(weight, mask, input.dtype)
        input, target = visible(weight, input, target)
        alpha, scale = self.alpha.to(input.dtype), self.scale.to(input.dtype)
        constant = torch.log(scale) + log_partition(alpha)
        if self.num_dims == 1:  # 0-d, so that it fits a 0-d input as well
            alpha, scale, constant = alpha[0], scale[0], constant[0]
        value = robust((input - target) / scale, alpha.expand_as(input)) + constant
        return reduce(value, weight, self.reduction, normalizer)

    def extra_repr(self) -> str:
        """How many pairs are learned, and the options."""
        return f"num_dims={self.num_dims}, min_scale={self.min_scale:g}, reduction={self.reduction!r}"
