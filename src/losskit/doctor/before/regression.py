"""Losses that compare numbers with numbers: whether a call is one, and how far its targets are from its outputs."""

from __future__ import annotations

from torch import Tensor

from ..evidence.calls import LossCall
from ..levels_ask import cards
from ..levels_torch import NAMESAKES

__all__ = ["OUTSIZED", "compares_elements", "is_regression", "outsized", "predicted", "root_mean_square"]

OUTSIZED = 1e2  # root mean square of targets to that of outputs: Adam at 1e-3 moves an output by some hundredths a step
# torch's own that have no card, or one with other arguments, but take input and target of one shape
_TORCH = ("gaussian_nll_loss", "poisson_nll_loss", "kl_div", "hinge_embedding_loss")
FRESH = 1.0  # about the outputs of fresh models: a last layer that starts small soon leaves that behind
_PREDICTED = ("input", "mean")


def predicted(call: LossCall) -> Tensor | None:
    """What the model put out."""
    return next((call.tensors[n] for n in _PREDICTED if n in call.tensors), None)


def compares_elements(call: LossCall) -> bool:
    """Whether the loss pairs each element of its input with one of its target: both have the shape "*" on the card."""
    if call.home == "torch" and call.name in _TORCH:
        return True
    card = cards().get(NAMESAKES.get(call.name, call.name) if call.home == "torch" else call.name)
    if card is None or (call.home == "torch" and call.name not in NAMESAKES) or "target" not in card.sample:
        return False
    first = next((card.sample[n] for n in _PREDICTED if n in card.sample), None)
    return first is not None and first.shape == card.sample["target"].shape == "*"


def outsized(call: LossCall) -> tuple[float, float] | None:
    """Root mean squares of targets and outputs of a regression whose targets are 100 times the outputs, and 1, or more."""
    output, target = predicted(call), call.tensors.get("target")
    if not is_regression(call) or output is None or target is None or not output.numel() or not target.numel():
        return None
    large, small = root_mean_square(target), root_mean_square(output)
    return (large, small) if large > OUTSIZED * max(small, FRESH) else None


def is_regression(call: LossCall) -> bool:
    """Whether the card says so."""
    card = cards().get(NAMESAKES.get(call.name, "") if call.home == "torch" else call.name)
    return card is not None and card.task == "regression" and compares_elements(call)


def root_mean_square(values: Tensor) -> float:
    """In float64."""
    return float(values.detach().double().square().mean().sqrt())
