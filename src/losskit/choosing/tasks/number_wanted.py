"""What a want makes of the choice for a number: mean, median, a quantile, or the mean of the good ones."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..advice import Candidate
from ..candidates import rounded
from ..profile_numbers import quantiles
from ..seen import Choice, again
from ..wants import Want
from .elements import elements, l1, mse

__all__ = ["wanted"]

_MIDDLE = ("l1_loss", "huber_loss", "cauchy_loss")  # of errors that lean to one side they do not find the mean
BEYOND = 10  # rows on the far side of a quantile, below which it is the luck of a few: their number scatters by a third
_SAID = {"mean": "The mean is wanted.", "median": "The median is wanted.", "robust": "The mean of the good ones is wanted."}


def wanted(
    want: Want | None, choice: Choice, values: Tensor | None, robust: Candidate | None = None, *, apart: bool = False
) -> Choice:
    """The choice in the order of the want.

    Args:
        want: None for the choice as it is.
        choice: what the task chose without a want.
        values: the targets, None without data or where there are several a row.
        robust: Huber's loss with its delta.
        apart: whether mean and median are apart, so that a loss of one is wrong for the other.
    """
    if want is None:
        return choice
    former = choice.first
    made = {
        "mean": lambda: mse("", values) if former.loss in _MIDDLE else former,
        "median": lambda: l1("", values),
        "quantile": lambda: elements("quantile_loss", "", values, {"quantile": want.level}, scaled=False),
        "robust": lambda: robust or former,
    }[want.word]()
    made = former if made.loss == former.loss else made
    reason = f"{_SAID.get(want.word) or _bound(want.level)} {made.reason}"
    first = replace(made, reason=reason, warning=_warning(want, made, choice, values) or made.warning)
    others = [one for one in (former, *choice.alternatives) if one.loss != first.loss]
    avoid = [one for one in choice.avoid if one.loss != first.loss]
    if not apart:
        others = [_back(former)] if want.word == "quantile" else others
        return Choice(first, others, avoid)
    return _apart(want, Choice(first, others, avoid), former, values)


def _apart(want: Want, choice: Choice, former: Candidate, values: Tensor | None) -> Choice:
    """Of amounts, counts and errors that lean to one side, where the median is not the mean: who finds the other is wrong."""
    numbers = ("", "") if values is None else (f", {quantiles(values, [0.5])[0]:.4g}", f", {float(values.mean()):.4g}")
    if want.word == "mean":
        median = replace(l1("", values), reason=f"Its answer is the median{numbers[0]}, and not the mean{numbers[1]}.")
        return choice._replace(
            alternatives=[one for one in choice.alternatives if one.loss not in _MIDDLE], avoid=[*choice.avoid, median]
        )
    kept = [] if former.loss == choice.first.loss else [_back(former)]
    kept += [one for one in choice.alternatives if one.loss == "l1_loss" != former.loss and want.word == "robust"]
    others = {"quantile": "a bound", "median": f"the median{numbers[0]}", "robust": "that of the good ones"}
    wrong = f"and not {others[want.word]}"
    avoid = [replace(one, reason=f"Its answer is the mean{numbers[1]}, {wrong}.") for one in choice.avoid]
    return choice._replace(alternatives=kept, avoid=avoid)


def _back(former: Candidate) -> Candidate:
    """What was first without the want."""
    middle = former.loss in _MIDDLE
    return again(former, f"Where the {'middle' if middle else 'mean'} is wanted after all{'' if middle else ', as for sums'}.")


def _bound(level: float) -> str:
    return f"A bound is wanted that {rounded(100 * (1 - level)):g} % of the targets exceed."


def _warning(want: Want, made: Candidate, choice: Choice, values: Tensor | None) -> str:
    if made.loss == "mse_loss":  # without the want it may be one to avoid
        return next((f"A mean follows its farthest values. {one.reason}" for one in choice.avoid if one.loss == "mse_loss"), "")
    if values is None:
        return ""
    level = {"quantile": want.level, "median": 0.5}.get(want.word, 1.0)
    zeros = int((values == 0).sum())
    if zeros > level * len(values) > int((values < 0).sum()):
        what = "median" if want.word == "median" else f"quantile {level:g}"
        return f"{zeros:,} of {len(values):,} targets are 0: the {what} of most rows is 0."
    beyond = len(values) * min(want.level, 1 - want.level) if want.word == "quantile" else BEYOND
    if beyond < BEYOND:
        return f"Of {len(values):,} rows about {beyond:.2g} lie beyond that bound: below about {BEYOND} it is the luck of a few."
    return ""
