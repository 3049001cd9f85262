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

BEYOND = 10  # rows on the far side of a quantile, below which it is the luck of a few: their number scatters by a third
_SAID = {"mean": "The mean is wanted.", "median": "The median is wanted.", "robust": "The mean of the good ones is wanted."}


def wanted(
    want: Want | None, choice: Choice, values: Tensor | None, robust: Candidate | None = None, *, amounts: bool = False
) -> Choice:
    """The choice in the order of the want.

    Args:
        want: None for the choice as it is.
        choice: what the task chose without a want.
        values: the targets, None without data or where there are several a row.
        robust: Huber's loss with its delta.
        amounts: whether mean and median are apart, so that a loss of one is wrong for the other.
    """
    if want is None:
        return choice
    former = choice.first
    made = {
        "mean": lambda: former if amounts else mse("", values),
        "median": lambda: l1("", values),
        "quantile": lambda: elements("quantile_loss", "", values, {"quantile": want.level}, scaled=False),
        "robust": lambda: robust or former,
    }[want.word]()
    made = former if made.loss == former.loss else made
    reason = f"{_SAID.get(want.word) or _bound(want.level)} {made.reason}"
    first = replace(made, reason=reason, warning=_warning(want, made, choice, values) or made.warning)
    others = [one for one in (former, *choice.alternatives) if one.loss != first.loss]
    avoid = [one for one in choice.avoid if one.loss != first.loss]
    if not amounts:
        others = [again(former, "Where the middle is wanted after all.")] if want.word == "quantile" else others
        return Choice(first, others, avoid)
    return _apart(want, Choice(first, others, avoid), former, values)


def _apart(want: Want, choice: Choice, former: Candidate, values: Tensor | None) -> Choice:
    """Of amounts and counts, where the median is below the mean: who finds the other is wrong."""
    numbers = ("", "") if values is None else (f", {quantiles(values, [0.5])[0]:.4g}", f", {float(values.mean()):.4g}")
    if want.word == "mean":
        median = replace(l1("", values), reason=f"Its answer is the median{numbers[0]}, and not the mean{numbers[1]}.")
        return choice._replace(
            alternatives=[one for one in choice.alternatives if one.loss != "l1_loss"], avoid=[*choice.avoid, median]
        )
    kept = [one for one in choice.alternatives if one.loss == "l1_loss" and want.word == "robust"]
    others = {"quantile": "a bound", "median": f"the median{numbers[0]}", "robust": "that of the good ones"}
    wrong = f"and not {others[want.word]}"
    avoid = [replace(one, reason=f"Its answer is the mean{numbers[1]}, {wrong}.") for one in choice.avoid]
    return choice._replace(alternatives=[again(former, "Where the mean is wanted after all, as for sums."), *kept], avoid=avoid)


def _bound(level: float) -> str:
    return f"A bound is wanted that {rounded(100 * (1 - level)):g} % of the targets exceed."


def _warning(want: Want, made: Candidate, choice: Choice, values: Tensor | None) -> str:
    if made.loss == "mse_loss":  # without the want it may be one to avoid
        return next((f"A mean follows its farthest values. {one.reason}" for one in choice.avoid if one.loss == "mse_loss"), "")
    if values is None:
        return ""
    if want.word == "median" and int((values == 0).sum()) > 0.5 * len(values):
        return f"{int((values == 0).sum()):,} of {len(values):,} targets are 0: the median of most rows is 0."
    beyond = len(values) * min(want.level, 1 - want.level) if want.word == "quantile" else BEYOND
    if beyond < BEYOND:
        return f"Of {len(values):,} rows about {beyond:.2g} lie beyond that bound: below about {BEYOND} it is the luck of a few."
    return ""
