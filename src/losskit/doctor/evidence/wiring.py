"""What one backward pass and one step show of how loss, parameters and optimizer hang together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Parameter", "Wiring"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of the model or of the criterion."""

    name: str
    numel: int
    requires_grad: bool
    optimized: bool | None
    """Whether the optimizer holds it; None without an optimizer."""
    grad: str
    """After one backward: "none", "zero", "finite" or "non-finite"."""
    grad_norm: float
    weight_norm: float
    finite: bool
    """Whether the weights themselves are."""
    dtype: str
    moved: float | None = None
    """Norm of its change by one step; None if no step was made."""
    lost: float | None = None
    """Share of its elements whose update is too small for its dtype to change them."""
    lr: float | None = None
    fan_in: int = 0
    home: str = "model"
    """"model", "criterion", "hidden" (an unregistered attribute of the model), "loose" (in the loss's graph only) or "other"."""
    felt: float | None = None
    """Where there is no gradient: relative change of the loss when the values are changed. 0 if the loss does not use them."""
    twin: str = ""
    """Where there is no gradient: a parameter of the same shape and last name that has one, as in a student and its teacher."""


@dataclass(frozen=True)
class Wiring:
    """The model's parameters and what an optimizer makes of them."""

    parameters: tuple[Parameter, ...]
    loss_requires_grad: bool
    foreign: tuple[tuple[int, ...], ...] = ()
    """Shapes of parameters that the optimizer holds and the model has not."""
    grads_before: int | None = None
    """Parameters whose gradient was there before the backward pass of a new step; None if not looked at."""
    cleared_between: bool = False
    """Gradients were gone between backward and step."""
    step_error: str = ""
    """What optimizer.step() raised."""
    slope_of_step: float | None = None
    """<gradient, change by the step> / (norms): above 0 the step climbs."""
    learning_rates: tuple[float, ...] = ()
    optimizer: str = ""
    maximize: bool = False
    """Whether the optimizer is told to climb."""
    own_step: bool = False
    """Whether the user's step() runs backward() itself."""
    passes: int = 1
    """Backward passes with different random numbers; a gradient counts if one of them has it."""
