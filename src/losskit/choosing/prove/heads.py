"""Between a small model and a loss: how many outputs the loss needs, how it is called on them, and what they predict."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...core.card import CATALOGUE
from ...core.domain import Logits
from ...losses import lambda_weights
from ..advice import Candidate
from ..candidates import PAIRED

__all__ = ["Guess", "Head", "Scale", "classes_head", "labels_head", "number_head", "options", "scores_head"]

LINKED = ("poisson_deviance_loss", "gamma_deviance_loss", "tweedie_deviance_loss", "negative_binomial_nll_loss")


@dataclass(frozen=True)
class Guess:
    """What a model says of its units; None where it says no such thing."""

    score: Tensor
    """(n,) or (n, C) or (n, L): more is more likely; or the number itself"""
    share: Tensor | None = None
    """Probabilities, (n,), (n, C) or (n, L)"""


@dataclass(frozen=True)
class Scale:
    """Where a model begins and how far one unit of its output goes: the middle and size of all targets.

    It is one for all folds: their models are trained side by side, and a start that a few rows more or less would move by a
    little tells nothing about them.
    """

    middle: float
    spread: float
    mean: float


@dataclass(frozen=True)
class Head:
    """How one candidate is trained."""

    outputs: int
    call: Callable[[Tensor, Tensor, str], Tensor]
    """(outputs (n, O), targets, reduction) -> loss"""
    read: Callable[[Tensor], Guess]


def options(candidate: Candidate) -> dict[str, Any]:
    """The candidate's options as the loss takes them: lists are tensors, a lambda weight is made from its code."""
    known = CATALOGUE[candidate.loss].options
    given = {k: v for k, v in candidate.options.items() if k in known and k not in ("reduction", "normalizer", "mask")}
    return {k: _option(k, v) for k, v in given.items()}


def _option(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return torch.tensor(value, dtype=torch.float32)
    if name != "lambda_weight" or not isinstance(value, str):
        return value
    call = ast.parse(value, mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError(f'"lambda_weight" is {value!r}, expected a call such as losskit.DeltaNDCG(k=10)')
    made = getattr(lambda_weights, ast.unparse(call.func).rpartition(".")[2])
    return made(**{word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg})


def classes_head(candidate: Candidate, classes: int, *, binary: bool) -> Head:
    """Of two or more classes that exclude each other."""
    card, given = CATALOGUE[candidate.loss], options(candidate)
    function = card.function
    if card.task == "regression":  # "as people do it": the error of a probability

        def squared(z: Tensor, y: Tensor, reduction: str) -> Tensor:
            p = z[:, 0].sigmoid() if binary else z.softmax(-1)
            value = function(p, _as_shares(y, classes, binary), reduction="none", **given)
            return _settled(value if binary else value.mean(1), reduction)

        return Head(1 if binary else classes, squared, _read_one if binary else _read_softmax)
    if isinstance(card.sample[card.tensors[0]], Logits):
        return Head(classes, lambda z, y, r: function(z, y, reduction=r, **given), _read_two if binary else _read_softmax)
    if binary:

        def one(z: Tensor, y: Tensor, reduction: str) -> Tensor:
            return function(z[:, 0], y.float(), reduction=reduction, **given)

        return Head(1, one, _read_score if candidate.loss.startswith(PAIRED) else _read_one)
    raise ValueError(f"it takes {', '.join(card.tensors)}, of which a proof has scores and classes only")


def labels_head(candidate: Candidate, labels: int) -> Head:
    """Of labels of which a row may have several, or none."""
    card, given = CATALOGUE[candidate.loss], options(candidate)
    function, one_of_them = card.function, isinstance(card.sample[card.tensors[0]], Logits)

    def call(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        if one_of_them:  # softmax: a row's labels share its probability, a row without labels teaches nothing
            has = y.sum(1, keepdim=True)
            value = function(z, torch.where(has > 0, y / has.clamp(min=1), 1 / labels), reduction="none", **given)
            return _settled(value * (has[:, 0] > 0), reduction)
        return _settled(function(z, y.to(z.dtype), reduction="none", **given).mean(1), reduction)

    return Head(labels, call, _read_softmax if one_of_them else lambda z: Guess(z, z.sigmoid()))


def number_head(candidate: Candidate, scale: Scale) -> Head:
    """Of a number."""
    head = _number(candidate, scale)
    # float32 would round away what targets of 1e9 differ by, and square 1e20 to infinity
    return Head(head.outputs, lambda z, y, r: head.call(z.double(), y, r), lambda z: head.read(z.double()))


def _number(candidate: Candidate, scale: Scale) -> Head:
    function, given = CATALOGUE[candidate.loss].function, options(candidate)
    if candidate.loss in LINKED:  # the model says the log of a mean
        base = math.log(max(scale.mean, 1e-12))
        return Head(
            1,
            lambda z, y, r: function(base + z[:, 0], y.to(z.dtype), reduction=r, **given),
            lambda z: Guess((base + z[:, 0]).clamp(-30, 30).exp()),
        )

    def point(z: Tensor) -> Tensor:
        return scale.middle + scale.spread * z[:, 0]

    return Head(1, lambda z, y, r: function(point(z), y.to(z.dtype), reduction=r, **given), lambda z: Guess(point(z)))


def scores_head(candidate: Candidate) -> Head:
    """Of lists: a score for each item, (B, L) with a mask in the last place of the targets, (B, L, 2)."""
    function, given = CATALOGUE[candidate.loss].function, options(candidate)

    def call(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        return function(z[..., 0], y[..., 0].to(z.dtype), mask=y[..., 1] > 0, reduction=reduction, **given)

    return Head(1, call, lambda z: Guess(z[..., 0]))


def _settled(value: Tensor, reduction: str) -> Tensor:
    return value if reduction == "none" else value.mean()


def _as_shares(y: Tensor, classes: int, binary: bool) -> Tensor:
    return y.float() if binary or y.ndim == 2 else one_hot(y.long(), classes).float()


def _read_one(z: Tensor) -> Guess:
    return Guess(z[:, 0], z[:, 0].double().sigmoid())


def _read_score(z: Tensor) -> Guess:
    return Guess(z[:, 0])


def _read_two(z: Tensor) -> Guess:
    return Guess(z[:, 1] - z[:, 0], (z[:, 1] - z[:, 0]).double().sigmoid())


def _read_softmax(z: Tensor) -> Guess:
    return Guess(z, z.double().softmax(-1))
