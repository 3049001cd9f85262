"""Counts of events."""

from __future__ import annotations

import math

from torch import Tensor

from ...core.card import reference
from ..advice import Advice, Candidate, Fact
from ..candidates import avoid_when, candidate, rounded
from ..profile_counts import Scatter, scatter_of
from ..profile_numbers import too_far
from ..seen import Choice, Seen
from .number_wanted import wanted

__all__ = ["advise"]

SHAPES = "log_mean (N,): the log of the predicted mean; target (N,): counts"
WIDE = 1e-3  # an alpha below it makes no difference: 1 % of variance at a mean of 10


def advise(seen: Seen) -> Advice:
    """Poisson; negative binomial where counts scatter more than that, beyond luck."""
    if seen.target is None or seen.columns is None:
        first = candidate("poisson_deviance_loss", "Counts of events.", shapes=SHAPES, arguments=["log_mean", "target"], facts={})
        choice = Choice(first, [_negative_binomial("Where they come in bursts.", 1.0, None)], [_mse(None)])
        return seen.advice(*wanted(seen.want, choice, None, apart=True))
    values = seen.target.values
    if values.ndim != 1:
        return seen.refused("Several counts a row: choose for each of them alone.")
    if bool((values < 0).any()):
        return seen.refused(f"{int((values < 0).sum())} targets are negative, and a count is not: is it a regression?")
    if float(values.min()) == float(values.max()):
        return seen.refused(f"All {len(values)} known targets are {float(values[0]):g}: there is nothing to learn.")
    if size := too_far(values):
        return seen.refused(size)
    scatter = scatter_of(seen.columns, values, seen.target.rows)
    facts, warnings = _facts(scatter), [*_fractions(values), *_warnings(scatter)]
    poisson = _poisson(scatter, values)
    plain = not scatter.over or scatter.inflated
    more = f"The variance is {scatter.ratio:.3g} times the mean{_given(scatter)}."
    reason = more if scatter.over else "Where counts scatter more than these do."
    bursts = _negative_binomial(reason, max(scatter.alpha, WIDE), values)
    first, second = (poisson, bursts) if plain else (bursts, poisson)
    choice = wanted(seen.want, Choice(first, [second], [_mse(values)]), values, apart=True)
    return seen.advice(*choice, facts, warnings)


def _fractions(values: Tensor) -> list[str]:
    odd = int((values != values.round()).sum())
    if not odd:
        return []
    return [f"{odd:,} of {len(values):,} targets are no whole numbers: amounts rather than counts, task='regression'."]


def _given(scatter: Scatter) -> str:
    return ", given the inputs" if scatter.with_inputs else ""


def _facts(scatter: Scatter) -> list[Fact]:
    ratio = f"variance over mean{_given(scatter)} is {scatter.ratio:.3g}, a Poisson count has 1"
    if scatter.few:
        ratio += f": {scatter.count} rows cannot tell"
    elif scatter.over:
        ratio += f": {scatter.z:.1f} standard errors above it"
    else:
        ratio += ": no more than luck" if scatter.z < 3.5 else ": little more"
    if not scatter.with_inputs:
        ratio += ". What inputs explain would lower it: it is the scatter that is left that decides"
    zeros = (
        f"{scatter.zeros:.1%} are zero; Poisson counts of these means have {scatter.zeros_poisson:.1%}, "
        f"with this variance {scatter.zeros_expected:.1%}"
    )
    return [
        Fact("mean", scatter.mean, f"{scatter.mean:.4g} on average"),
        Fact("dispersion", scatter.ratio, ratio),
        Fact("zero inflation" if scatter.inflated else "zeros", scatter.zeros, zeros),
    ]


def _warnings(scatter: Scatter) -> list[str]:
    if not scatter.inflated:
        return []
    return [
        f"{scatter.zeros:.1%} zeros are more than any dispersion gives ({scatter.zeros_expected:.1%}): zeros and counts seem "
        "to have different causes. Either loss has the mean right; for the distribution, model them apart: "
        "binary_cross_entropy_with_logits for zero or not, and counts where there are any."
    ]


def _poisson(scatter: Scatter, values: Tensor) -> Candidate:
    if scatter.inflated:
        reason = "Its mean comes out right whatever the zeros are."
    elif scatter.over:
        reason = "Its mean comes out right too; only how sure it is does not."
    else:
        reason = f"Counts whose variance is {scatter.ratio:.3g} times the mean{_given(scatter)}, as Poisson counts have it."
    return candidate("poisson_deviance_loss", reason, shapes=SHAPES, arguments=["log_mean", "target"], facts={"target": values})


def _negative_binomial(reason: str, alpha: float, values: Tensor | None) -> Candidate:
    log_dispersion = rounded(math.log(alpha))
    return candidate(
        "negative_binomial_nll_loss",
        reason,
        shapes=f"{SHAPES}; alpha = {math.exp(log_dispersion):.3g} here: a parameter of its own learns it",
        arguments=["log_mean", "target"],
        options={"log_dispersion": log_dispersion},
        facts={"log_dispersion": log_dispersion} if values is None else {"log_dispersion": log_dispersion, "target": values},
    )


def _mse(values: Tensor | None) -> Candidate:
    best = "" if values is None else f" The best constant answer costs {reference('mse_loss', target=values).constant:.4g}."
    return candidate(
        "mse_loss",
        f"Large counts scatter more than small ones, and squared error listens to them most.{best} {avoid_when('mse_loss')}",
        shapes=SHAPES,
        arguments=["log_mean.exp()", "target"],
        card="none",
    )
