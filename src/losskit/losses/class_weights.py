"""What each class should count for, given how often it occurs; and the prior added to or taken off the logits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..core.call import verify
from ..core.check import ShapeError, at_least, between, choice
from ..core.domain import Logits

__all__ = ["adjust_logits", "class_weights"]

Method = Literal["inverse", "sqrt", "effective", "median", "log"]


def class_weights(
    counts: Tensor | Sequence[float],
    *,
    method: Method = "inverse",
    beta: float = 0.999,
    normalize: Literal["mean", "sum"] | None = "mean",
) -> Tensor:
    r"""Weights that make rare classes heard: give them to ``weight`` of any classification loss.

    Formula:    with n the count of a class and N their sum, before normalising:
                inverse 1 / n, sqrt 1 / \sqrt n, effective (1 - \beta) / (1 - \beta^n), median \mathrm{median}(n) / n,
                log 1 / \ln(1.02 + n / N)
    Use when:   classes are rare and each matters. sqrt and effective are the gentle ones; inverse is for a few times, not for
                a thousand times, rarer classes: one mislabelled rare row would lead.
    Shape:      counts (C,) -> (C,) float32
    Args:
        counts: how often each class occurs in the training data.
        method: see Formula.
        beta: in [0, 1), for "effective": 0 weighs all the same, 0.9999 is nearly "inverse".
        normalize: "mean" makes the weights of the classes that occur average 1, "sum" add up to 1, None leaves them.
    Returns:    (C,) float32; a class that never occurs gets 0, with a UserWarning that names it.
    Raises:     ShapeError; TypeError; ValueError for counts that are empty, negative, infinite, NaN or all zero, or an option
                out of range.
    Reference:  effective: Cui et al. 2019, arXiv:1901.05555; log: Paszke et al. 2016, arXiv:1606.02147
    Example:
        >>> losskit.class_weights([90, 10])
        tensor([0.2000, 1.8000])
    """
    choice("method", method, ("inverse", "sqrt", "effective", "median", "log"))
    choice("normalize", normalize, ("mean", "sum", None))
    between("beta", beta, 0, 1)
    if beta == 1:
        raise ValueError('"beta" must be in [0, 1), got 1: use method="inverse", which is its limit')
    n = _counted("counts", counts)
    occurs = n > 0
    if not bool(occurs.all()):
        missing = [i for i, there in enumerate(occurs.tolist()) if not there]
        warnings.warn(f"classes {missing} never occur: their weight is 0", UserWarning, stacklevel=2)
    weight = torch.where(occurs, _raw(n.clamp(min=torch.finfo(n.dtype).tiny), n[occurs], method, beta), 0)
    if normalize == "mean":
        weight = weight / weight[occurs].mean()
    elif normalize == "sum":
        weight = weight / weight.sum()
    return weight.float()


def _counted(name: str, counts: Tensor | Sequence[float]) -> Tensor:
    """The counts in float64, each finite and zero or more, not all zero."""
    given = f"a Tensor of {counts.dtype}" if isinstance(counts, Tensor) else type(counts).__name__
    if isinstance(counts, Tensor) and counts.is_complex():
        raise TypeError(f'"{name}" must be real numbers, one for each class, got {given}')
    try:
        n = torch.as_tensor(counts, dtype=torch.float64)
    except (TypeError, ValueError) as problem:
        raise TypeError(f'"{name}" must be real numbers, one for each class, got {given} ({problem})') from None
    if n.ndim != 1 or not n.numel():
        raise ShapeError(f'"{name}" has shape {tuple(n.shape)}, expected (C,): one number for each class')
    bad = ~((n >= 0) & n.isfinite())
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        raise ValueError(f'"{name}" is {n[first].item():g} at index {first}, expected a finite number, zero or more')
    if not bool(n.any()):
        raise ValueError(f'"{name}" must not be all zero: no class ever occurs')
    return n


def _raw(n: Tensor, present: Tensor, method: Method, beta: float) -> Tensor:
    if method == "inverse":
        return 1 / n
    if method == "sqrt":
        return n.rsqrt()
    if method == "median":
        return present.quantile(0.5) / n
    if method == "log":
        return 1 / torch.log(1.02 + n / present.sum())
    # 1 - beta^n without the cancellation that costs 0.6 % at beta = 0.999999, n = 1e6
    return (1 - beta) / -torch.expm1(n * math.log(beta)) if beta else torch.ones_like(n)


def adjust_logits(input: Tensor, prior: Tensor | Sequence[float], *, tau: float = 1.0) -> Tensor:
    r"""Take the prior off the scores of a finished model, so that its decisions treat all classes alike.

    Formula:    z - \tau \log \pi
    Use when:   the model was trained by plain cross-entropy on imbalanced data, and balanced accuracy is what counts. A model
                trained by logit_adjusted_loss needs no adjustment.
    Shape:      input (*, C), prior (C,) -> (*, C)
    Args:
        prior: how often each class occurs in the training data, counts or shares.
        tau: 1 is exact for calibrated scores, 0 leaves them.
    Raises:     ShapeError; TypeError; ValueError for a prior that is not positive, or tau < 0.
    Reference:  Menon et al. 2021, arXiv:2007.07314
    Example:
        >>> losskit.adjust_logits(torch.zeros(1, 2), [0.9, 0.1])
        tensor([[0.1054, 2.3026]])
    """
    at_least("tau", tau, 0)
    verify({"input": Logits()}, {"input": input}, None, -1)
    n = _counted("prior", prior)
    if n.shape != input.shape[-1:]:
        raise ShapeError(f'"prior" has shape {tuple(n.shape)}, expected {tuple(input.shape[-1:])}: one number for each class')
    if not bool((n > 0).all()):
        raise ValueError(f'"prior" is 0 at index {int((n == 0).nonzero()[0])}, expected a number above 0: add 1 to every count')
    return input - tau * (n / n.sum()).log().to(input)
