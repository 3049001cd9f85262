"""Losses of prediction - target, of regression and of counts, in units that a network can reach."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..advice import Candidate
from ..candidates import candidate, rounded
from ..profile_numbers import Shape, unit_of

__all__ = ["HUBER", "SHAPES", "cauchy", "delta_of", "divided", "elements", "huber", "l1", "mse"]

SHAPES = "prediction and target (N,) or (N, D)"
SPREADS = "spread = 1.4826 * (target - target.median(0).values).abs().median(0).values  # of all of the training data"
HUBER = 1.345  # card of huber_loss: so many standard deviations of the good errors lose 5 % on clean normal data
SEARCHED = 200_000


def delta_of(shape: Shape) -> float:
    """Where Huber's loss turns from squares to absolute errors."""
    return rounded(HUBER * shape.sigma) if shape.sigma > 0 else 1.0


def divided() -> Candidate:
    """Huber's loss of several numbers a row."""
    return candidate("huber_loss", "After dividing each target by its spread.", shapes=SHAPES, before=[SPREADS],
                     arguments=["prediction / spread", "target / spread"], options={"delta": HUBER},
                     facts={"delta": HUBER})  # fmt: skip


def mse(why: str, values: Tensor | None, avoid: bool = False, raw: bool = False) -> Candidate:
    """Squared error: the mean."""
    return elements("mse_loss", why, values, card="avoid" if avoid else "use", raw=raw)


def l1(why: str, values: Tensor | None, raw: bool = False) -> Candidate:
    """Absolute error: the median."""
    return elements("l1_loss", why, values, raw=raw)


def huber(why: str, delta: float, values: Tensor | None) -> Candidate:
    """Huber's loss: the mean of what is not far off."""
    return elements("huber_loss", why, values, {"delta": delta})


def cauchy(shape: Shape, values: Tensor) -> Candidate:
    """For values that are very far off."""
    return elements("cauchy_loss", f"The farthest is {shape.farthest:.3g} spreads off.", values, {"scale": rounded(shape.sigma)})


def elements(
    loss: str,
    why: str,
    values: Tensor | None,
    options: dict[str, Any] | None = None,
    card: Any = "use",
    raw: bool = False,
    scaled: bool = True,
) -> Candidate:
    """A loss of prediction - target. Far from 0 or 1 the code standardises, unless ``raw``: beside a log link, which takes the
    target as it is. ``options`` are in the target's own unit, or have none and are not ``scaled``."""
    facts: dict[str, Any] = dict(options or {})
    before: list[str] = []
    computed: dict[str, str] = {}
    if values is not None and values.ndim == 1 and not raw and (unit := unit_of(values)):
        centre, spread = unit
        before = [
            f"centre, spread = {centre!r}, {spread!r}  # median and 1.4826 MAD of the target",
            "target = (target - centre) / spread  # in use: centre + spread * prediction",
        ]
        values = (values - centre) / spread
        if scaled:
            computed = {name: f"{value!r} / spread" for name, value in facts.items()}
            facts = {name: value / spread for name, value in facts.items()}
    searched = loss == "huber_loss"  # its best constant is found by 200 passes over the targets
    if values is not None and loss != "cauchy_loss" and not (searched and len(values) > SEARCHED):
        facts["target"] = values
    return candidate(loss, why, shapes=SHAPES, arguments=["prediction", "target"], options=options, computed=computed,
                     before=before, facts=facts, card=card)  # fmt: skip
