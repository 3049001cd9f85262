"""What is made of one score before it is added up over pairs: elementwise curves with their slopes, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BENDS", "FORMS", "Bend", "Form", "distance"]


Params = Sequence[float]
Slopes = tuple[Tensor, "Tensor | None", "Tensor | None"]


class Bend(NamedTuple):
    """A curve of the score inside a log-sum-exp."""

    value: Callable[[Tensor, Params], Tensor]
    slope: Callable[[Tensor, Params], Tensor]


class Form(NamedTuple):
    """A curve of the score, of a number t of its row and a number c of its column, inside a sum."""

    value: Callable[[Tensor, Tensor, Tensor, Params], Tensor]
    slopes: Callable[[Tensor, Tensor, Tensor, Params], Slopes]
    """By score, by t, by c; None for one that it does not know."""


def distance(cosine: Tensor) -> Tensor:
    """The Euclidean distance of unit vectors; 0, without a slope, where they are the same up to rounding."""
    squared = 2 - 2 * cosine
    near = squared <= 16 * torch.finfo(cosine.dtype).eps
    return torch.where(near, 0, torch.sqrt(torch.where(near, 1, squared)))


def _nearing(cosine: Tensor) -> Tensor:
    """The slope of -distance."""
    d = distance(cosine)
    return torch.where(d > 0, 1 / torch.where(d > 0, d, 1), 0)


def _softplus(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Tensor:
    return -F.logsigmoid(-(s + t))


def _softplus_slopes(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Slopes:
    found = torch.sigmoid(s + t)
    return found, found, None


def _pull_cosine(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Tensor:
    return (1 - s).square() / 2


def _pull_cosine_slopes(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Slopes:
    return s - 1, None, None


def _push_cosine(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Tensor:
    return F.relu(p[0] - (1 - s)).square() / 2


def _push_cosine_slopes(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Slopes:
    return F.relu(p[0] - (1 - s)), None, None


def _pull_euclidean(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Tensor:
    return 1 - s


def _pull_euclidean_slopes(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Slopes:
    return torch.full_like(s, -1), None, None


def _push_euclidean(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Tensor:
    return F.relu(p[0] - distance(s)).square() / 2


def _push_euclidean_slopes(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Slopes:
    return F.relu(p[0] - distance(s)) * _nearing(s), None, None


def _lifted(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Tensor:
    return F.relu(torch.logaddexp(t, c) + distance(s)).square() / 2


def _lifted_slopes(s: Tensor, t: Tensor, c: Tensor, p: Params) -> Slopes:
    up, share = F.relu(torch.logaddexp(t, c) + distance(s)), torch.sigmoid(t - c)
    return -up * _nearing(s), up * share, up * (1 - share)


def _circle_negative(s: Tensor, p: Params) -> Tensor:
    return p[0] * F.relu(s.detach() + p[1]) * (s - p[1])


def _circle_negative_slope(s: Tensor, p: Params) -> Tensor:
    return p[0] * F.relu(s + p[1])


def _circle_positive(s: Tensor, p: Params) -> Tensor:
    return -p[0] * F.relu(1 + p[1] - s.detach()) * (s - 1 + p[1])


def _circle_positive_slope(s: Tensor, p: Params) -> Tensor:
    return -p[0] * F.relu(1 + p[1] - s)


def _closeness(s: Tensor, p: Params) -> Tensor:
    return p[0] - distance(s)


def _closeness_slope(s: Tensor, p: Params) -> Tensor:
    return _nearing(s)


FORMS: dict[str, Form] = {
    "softplus": Form(_softplus, _softplus_slopes),
    # halves of squares: of the distance, and of what is missing to a margin
    "pull_cosine": Form(_pull_cosine, _pull_cosine_slopes),
    "push_cosine": Form(_push_cosine, _push_cosine_slopes),
    "pull_euclidean": Form(_pull_euclidean, _pull_euclidean_slopes),
    "push_euclidean": Form(_push_euclidean, _push_euclidean_slopes),
    "lifted": Form(_lifted, _lifted_slopes),
}

BENDS: dict[str, Bend] = {
    # p: gamma, margin; the weights are constants of the gradient, as in the paper of circle loss
    "circle_negative": Bend(_circle_negative, _circle_negative_slope),
    "circle_positive": Bend(_circle_positive, _circle_positive_slope),
    "minus_distance": Bend(_closeness, _closeness_slope),
}
