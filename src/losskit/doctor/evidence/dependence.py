"""Which outputs hang on which inputs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Dependence"]


@dataclass(frozen=True)
class Dependence:
    """Largest changes of the output under changes of the input, relative to the output's own spread."""

    shuffled: float | None = None
    """The output of each place in the batch when the inputs of the samples change places: 0 if it ignores the input."""
    others: float | None = None
    """Outputs of sample i when sample j is changed, in evaluation mode; 0 if the samples are apart."""
    pair: tuple[int, int] | None = None
    """The (i, j) of the largest such change; i is the one that moved."""
    future: float | None = None
    """Outputs at tokens up to t when tokens after t are changed; None for a model without a time axis."""
    token: int | None = None
    why_not: str = ""
    """Why something was not looked at."""
    next_token: bool = False
    """One entry of the batch is another one moved on by a token."""
