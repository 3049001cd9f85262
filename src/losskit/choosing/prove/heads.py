"""Between a small model and a loss: how many outputs the loss needs, how it is called on them, and what they predict."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...core.card import CATALOGUE, Card
from ...core.domain import Logits
from ...losses import lambda_weights
from ..advice import Candidate

__all__ = ["Guess", "Head", "Scale", "classes_head", "labels_head", "number_head", "options", "scores_head"]

PAIRED = ("auc_", "aucm_", "aum_", "pairwise_")  # they compare rows: their scores have no threshold and no probability
LINKED = ("poisson_deviance_loss", "gamma_deviance_loss", "tweedie_deviance_loss", "negative_binomial_nll_loss")
MOST_COUNTS = 50  # classes that a count may be cut into


@dataclass(frozen=True)
class Guess:
    """What a model says of its units; None where it says no such thing."""

    score: Tensor
    """(n,) or (n, C) or (n, L): more is more likely; or the number itself"""
    share: Tensor | None = None
    """Probabilities, (n,), (n, C) or (n, L)"""
    spread: Tensor | None = None
    """(n, K): one number for each quantile"""


@dataclass(frozen=True)
class Scale:
    """What a fold's training targets tell about their size."""

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
        paired = candidate.loss.startswith(PAIRED)
        lists = card.task == "ranking"

        def one(z: Tensor, y: Tensor, reduction: str) -> Tensor:
            scores, target = (z[:, 0][None], y.float()[None]) if lists else (z[:, 0], y.float())
            return function(scores, target, reduction=reduction, **given)

        return Head(1, one, _read_score if paired or lists else _read_one)

    def each(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        return _settled(function(z, _as_shares(y, classes, False), reduction="none", **given).mean(1), reduction)

    return Head(classes, each, lambda z: Guess(z, z.sigmoid() / z.sigmoid().sum(1, keepdim=True)))


def labels_head(candidate: Candidate, labels: int) -> Head:
    """Of labels of which a row may have several, or none."""
    card, given = CATALOGUE[candidate.loss], options(candidate)
    function, one_of_them = card.function, isinstance(card.sample[card.tensors[0]], Logits)

    def call(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        if one_of_them:  # softmax: a row's labels share its probability, a row without labels teaches nothing
            has = y.sum(1, keepdim=True)
            value = function(z, torch.where(has > 0, y / has.clamp(min=1), 1 / labels), reduction="none", **given)
            return _settled(value * (has[:, 0] > 0), reduction)
        shown = z.sigmoid() if card.task == "regression" else z
        return _settled(function(shown, y.to(z.dtype), reduction="none", **given).mean(1), reduction)

    return Head(labels, call, _read_softmax if one_of_them else lambda z: Guess(z, z.sigmoid()))


def number_head(candidate: Candidate, scale: Scale, *, largest: float) -> Head:
    """Of a number, or of a number and how sure it is; ``largest`` is the largest target."""
    head = _number(candidate, scale, largest)
    # float32 would round away what targets of 1e9 differ by, and square 1e20 to infinity
    return Head(head.outputs, lambda z, y, r: head.call(z.double(), y, r), lambda z: head.read(z.double()))


def _number(candidate: Candidate, scale: Scale, largest: float) -> Head:
    name, card, given = candidate.loss, CATALOGUE[candidate.loss], options(candidate)
    function = card.function
    if name in LINKED:
        return _linked(function, given, name, scale)
    if isinstance(card.sample[card.tensors[0]], Logits):
        return _counted(function, given, largest)
    if card.task in ("classification", "imbalance"):  # a share between 0 and 1

        def share(z: Tensor, y: Tensor, reduction: str) -> Tensor:
            return function(z[:, 0], y.to(z.dtype), reduction=reduction, **given)

        return Head(1, share, lambda z: Guess(z[:, 0].sigmoid()))
    if name == "msle_loss":  # it refuses predictions of -1 and less

        def positive(z: Tensor) -> Tensor:
            return (1 + max(scale.middle, 0)) * z[:, 0].clamp(-30, 30).exp() - 1

        return Head(1, lambda z, y, r: function(positive(z), y.to(z.dtype), reduction=r, **given), lambda z: Guess(positive(z)))
    if (levels := given.get("quantiles")) is not None:
        at = int((levels - 0.5).abs().argmin())

        def spread(z: Tensor) -> Tensor:
            return scale.middle + scale.spread * z

        return Head(
            len(levels),
            lambda z, y, r: function(spread(z), y.to(z.dtype), reduction=r, **given),
            lambda z: Guess(spread(z)[:, at], spread=spread(z)),
        )
    return _with_doubt(card, given, scale)


def scores_head(candidate: Candidate, largest: float) -> Head:
    """Of lists: a score for each item, (B, L) with a mask in the last place of the targets, (B, L, 2)."""
    card, given = CATALOGUE[candidate.loss], options(candidate)
    function = card.function

    def call(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        grades, mask = y[..., 0].to(z.dtype), y[..., 1] > 0
        if card.task == "ranking":
            return function(z[..., 0], grades, mask=mask, reduction=reduction, **given)
        aim = grades if card.task == "regression" else grades / max(largest, 1)
        value = function(z[..., 0], aim, mask=mask, reduction="none", **given)
        return _settled((value * mask).sum(1) / mask.sum(1).clamp(min=1), reduction)

    return Head(1, call, lambda z: Guess(z[..., 0]))


def _linked(function: Callable[..., Tensor], given: dict[str, Any], name: str, scale: Scale) -> Head:
    """The model says the log of a mean."""
    base = math.log(max(scale.mean, 1e-12))
    learned = name == "negative_binomial_nll_loss" and "log_dispersion" not in given

    def call(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        doubt = {"log_dispersion": z[:, 1]} if learned else {}
        return function(base + z[:, 0], y.to(z.dtype), reduction=reduction, **given, **doubt)

    return Head(2 if learned else 1, call, lambda z: Guess((base + z[:, 0]).clamp(-30, 30).exp()))


def _counted(function: Callable[..., Tensor], given: dict[str, Any], largest: float) -> Head:
    """A count as one of so many classes, as people do it; the prediction is the mean of the classes."""
    if largest > MOST_COUNTS:
        raise ValueError(f"a count up to {largest:g} would be {largest + 1:g} classes")
    size = int(largest) + 1
    return Head(
        size,
        lambda z, y, r: function(z, y.long().clamp(0, size - 1), reduction=r, **given),
        lambda z: Guess(z.softmax(-1) @ torch.arange(size, dtype=z.dtype)),
    )


def _with_doubt(card: Card, given: dict[str, Any], scale: Scale) -> Head:
    """A number in units of the target; a parameter of the spread that is required and not given is a second output."""
    parameters = inspect.signature(card.function).parameters.values()
    asked = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    if "log_var" in card.options:
        asked.add("log_var")
    extra = [name for name in ("log_var", "log_scale") if name in asked and name not in given and "var" not in given]
    fixed: Mapping[str, Any] = {"df": 4.0} if "df" in asked and "df" not in given else {}
    base = {"log_var": 2 * math.log(scale.spread), "log_scale": math.log(scale.spread)}

    def point(z: Tensor) -> Tensor:
        return scale.middle + scale.spread * z[:, 0]

    def call(z: Tensor, y: Tensor, reduction: str) -> Tensor:
        doubt = {name: base[name] + z[:, 1] for name in extra}
        return card.function(point(z), y.to(z.dtype), reduction=reduction, **given, **fixed, **doubt)

    return Head(1 + len(extra), call, lambda z: Guess(point(z)))


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
