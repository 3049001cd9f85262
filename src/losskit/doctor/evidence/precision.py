"""What the number formats of model, activations and optimizer can hold."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Module", "Precision"]


@dataclass(frozen=True)
class Module:
    """One module's output in one forward pass."""

    name: str
    kind: str
    """Class name: "Linear"."""
    dtype: str
    largest: float
    """Largest finite magnitude of its output."""
    finite: bool
    inputs_finite: bool
    zeros: float
    """Share of exact zeros."""
    dead: float
    """Share of units that are zero for every row."""
    saturated: float
    """Share of a tanh's or sigmoid's outputs within 1 % of its bound."""
    rows: int
    """How many values each unit was seen with."""
    silent: float = 0.0
    """Share of these in which every unit is zero."""
    units: int = 0
    """How many it has; 0 if unknown."""
    feeds: bool = False
    """Whether its output went into a module with parameters of its own right after."""


@dataclass(frozen=True)
class Precision:
    """Modules in the order of their calls, and the loss in the model's format beside float32."""

    modules: tuple[Module, ...] = ()
    loss: float | None = None
    loss_float32: float | None = None
    """The same batch in float32, where that was possible."""
    epsilons: tuple[tuple[float, str], ...] = ()
    """The optimizer's eps and the format in which it adds it."""
    masked_rows: int = 0
    """Rows of a softmax (attention) in which everything is masked."""
    masked_where: str = ""
    scale: float | None = None
    """The gradient scaler's factor."""
