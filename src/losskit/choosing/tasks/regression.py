"""A number a row: its errors say which loss."""

from __future__ import annotations

import math

from torch import Tensor

from ..advice import Advice, Answer, Candidate, Fact, Question
from ..candidates import candidate, spelt
from ..profile_numbers import FEW, NORMAL_TAIL, UNIT, Shape, quantiles, residuals, shape_of, too_far, unit_of
from ..seen import Choice, Seen
from .elements import SHAPES, cauchy, delta_of, divided, huber, l1, mse
from .number_wanted import wanted

__all__ = ["advise"]

AMOUNTS = "log_mean (N,): the log of the predicted mean; target (N,)"
ZEROS = 0.05  # a share of exact zeros, among amounts that hardly repeat
SPAN = 3.0  # q97.5 / q2.5: below, a percentage and an absolute error are nearly the same thing
LEANING = 0.1  # quartile skewness from which mean and median are apart: an exponential has 0.26
TAME = 1.25 * NORMAL_TAIL  # logarithms of gamma amounts have tails up to 1.15 times those of a normal


def advise(seen: Seen) -> Advice:
    """Squared error, unless tails are heavy, values far off, or targets amounts whose errors are percentages."""
    if seen.target is None or seen.columns is None:
        robust = huber("", 1.0, None)
        return seen.advice(*wanted(seen.want, Choice(mse("", None), [l1("", None), robust], []), None, robust))
    values = seen.target.values
    wide = values.reshape(len(values), -1)
    fixed = int((wide.amin(0) == wide.amax(0)).sum())
    if fixed == wide.shape[1]:
        which = (
            f"All {len(values)} known targets are {float(wide[0, 0]):g}" if fixed == 1 else f"All {fixed} targets are constant"
        )
        return seen.refused(f"{which}: there is nothing to learn.")
    if size := too_far(wide):
        return seen.refused(size)
    if wide.shape[1] > 1:
        return _several(seen, wide, fixed)
    column = wide[:, 0]
    left = residuals(seen.columns, column, seen.target.rows)
    shape = shape_of(column if left is None else left - quantiles(left, [0.5])[0])
    facts, warnings = _facts(column, shape, left is not None), _nearly_constant(column)
    zeros = _many_zeros(column)
    if zeros or _amounts(column, shape):
        linked = seen.want is None or seen.want.word == "mean"
        warnings += _large_mean(column) if linked else _far_scale(column)
        robust = huber(f"delta is 1.345 x {shape.sigma:.4g}.", delta_of(shape), column)
        return (_zeros if zeros else _skewed)(seen, column, facts, warnings, robust)
    return _symmetric(seen, column, shape, facts, [*warnings, *_far_scale(column)], left is not None)


def _symmetric(seen: Seen, values: Tensor, shape: Shape, facts: list[Fact], warnings: list[str], fitted: bool) -> Advice:
    delta = delta_of(shape)
    of = "the errors of a linear fit" if fitted else "the targets"
    robust = huber(f"delta is 1.345 standard deviations of {of} without their tails: 1.345 x {shape.sigma:.4g}.", delta, values)
    questions: list[Question] = []
    if shape.heavy:
        heavy = _strongest(shape, of)
        more = [cauchy(shape, values)] if shape.outliers else []
        choice = Choice(l1(heavy, values), [robust, *more], [mse(heavy, values, avoid=True)])
        questions = [_mean_or_median()] if seen.want is None else []
    elif shape.outliers:
        far = _far(shape, of)
        robust = huber(f"{far} delta is 1.345 x {shape.sigma:.4g}.", delta, values)
        choice = Choice(robust, [l1(far, values)], [mse(far, values, avoid=True)])
    else:
        few = f"{shape.count} rows cannot tell how heavy the tails are."
        why = few if shape.few else f"The tails of {of} are those of a normal."
        choice = Choice(mse(why, values), [l1("", values), robust], [])
    apart = shape.skewed and abs(shape.skew) > LEANING
    return seen.advice(*wanted(seen.want, choice, values, robust, apart=apart), facts, warnings, questions)


def _far(shape: Shape, of: str) -> str:
    return (
        f"{shape.outliers} of {shape.count} of {of} lie more than {shape.far:.1f} standard deviations off, "
        f"the farthest {shape.farthest:.3g}."
    )


def _strongest(shape: Shape, of: str) -> str:
    """Why tails are heavy, first what is further beyond what a normal sample shows."""
    tails = f"The tails of {of} are {shape.tail / NORMAL_TAIL:.2g} times those of a normal."
    if not shape.outliers:
        return tails
    said = [tails, _far(shape, of)]
    return " ".join(said if shape.tail / shape.tail_bound > shape.farthest / shape.far else said[::-1])


def _skewed(seen: Seen, values: Tensor, facts: list[Fact], warnings: list[str], robust: Candidate) -> Advice:
    low, median, high = quantiles(values, [0.025, 0.5, 0.975])
    spread = f"Positive, and leaning to the right: half are below {median:.4g}, the mean is {float(values.mean()):.4g}."
    first = candidate("gamma_deviance_loss", spread, shapes=AMOUNTS, arguments=["log_mean", "target"], facts={"target": values})
    question = Question(
        "Is it the mean that is wanted, as for sums and budgets, the typical value, or a bound?",
        (
            Answer("the mean", "gamma_deviance_loss", {"want": "mean"}, taken=True),
            Answer("the typical value (median)", "l1_loss", {"want": "median"}),
            Answer("a bound", "quantile_loss, here for a value that one in ten exceeds", {"want": "quantile=0.9"}),
        ),
    )
    reach = f"95 % of the targets lie between {low:.4g} and {high:.4g}."
    avoid = [mse(f"{reach} The large ones would lead.", values, avoid=True, raw=True)]
    choice = Choice(first, [l1("The median in place of the mean.", values, raw=True)], avoid)
    questions = [question] if seen.want is None else []
    return seen.advice(*wanted(seen.want, choice, values, robust, apart=True), facts, warnings, questions)


def _zeros(seen: Seen, values: Tensor, facts: list[Fact], warnings: list[str], robust: Candidate) -> Advice:
    share = float((values == 0).double().mean())
    first = candidate(
        "tweedie_deviance_loss",
        f"{share:.1%} of the amounts are exactly zero, the others positive.",
        shapes=AMOUNTS,
        arguments=["log_mean", "target"],
        options={"power": 1.5},
        facts={"target": values, "power": 1.5},
    )
    warnings = [
        *warnings,
        f"{int((values == 0).sum()):,} targets are 0: errors in percent (mape_loss) do not exist there.",
    ]
    poisson = candidate(
        "poisson_deviance_loss",
        "The same mean, with a variance that grows with it and not faster.",
        shapes=AMOUNTS,
        arguments=["log_mean", "target"],
        facts={"target": values},
    )
    loud = "Large amounts scatter more than small ones, and squared error listens to them most."
    choice = Choice(first, [poisson], [mse(loud, values, avoid=True, raw=True)])
    facts = [*facts, Fact("zero inflation", share, f"{share:.1%} are exactly zero, the others are positive")]
    return seen.advice(*wanted(seen.want, choice, values, robust, apart=True), facts, warnings)


def _several(seen: Seen, wide: Tensor, fixed: int) -> Advice:
    """Several numbers a row: the heaviest tails of all decide."""
    shapes = [shape_of(wide[:, i]) for i in range(wide.shape[1])]
    heavy = [i for i, s in enumerate(shapes) if s.heavy]
    far = [i for i, s in enumerate(shapes) if s.outliers]
    sizes = [s.sigma for s in shapes if s.sigma > 0]
    facts = [
        Fact("targets", len(shapes), f"{len(shapes)} numbers a row; {len(heavy)} of them have heavy tails, {len(far)} outliers")
    ]
    warnings = [f"{fixed} of {len(shapes)} targets are constant: nothing is learned of them."] if fixed else []
    if sizes and max(sizes) > 10 * min(sizes):
        warnings.append(
            f"Targets spread from {min(sizes):.3g} to {max(sizes):.3g}: the widest leads. Divide each by its standard deviation."
        )
    why = f"{len(heavy) or len(far)} of {len(shapes)} targets have tails or values that a normal has not."
    if heavy or far:
        choice = Choice(l1(why, None), [divided()], [mse(why, None, avoid=True)])
    else:
        plain = candidate(
            "mse_loss", f"{len(shapes)} numbers a row.", shapes=SHAPES, arguments=["prediction", "target"], facts={}
        )
        choice = Choice(plain, [l1("", None)], [])
    return seen.advice(*wanted(seen.want, choice, None, divided()), facts, warnings)


def _facts(values: Tensor, shape: Shape, fitted: bool) -> list[Fact]:
    low, median, high = quantiles(values, [0, 0.5, 1])
    of = (
        "of the errors of a linear fit"
        if fitted
        else "of the targets; it is the errors that decide, and without inputs they are unknown"
    )
    if shape.few:
        tail = Fact("tails", "cannot tell", f"{shape.count} rows cannot tell tails from luck: below {FEW} nothing is said")
    else:
        said = "heavier than" if shape.heavy else "within"
        tail = Fact(
            "heavy tails" if shape.heavy else "tails",
            shape.tail,
            f"(q97.5 - q2.5) / (q75 - q25) = {shape.tail:.2f}, {of}; a normal has {NORMAL_TAIL:.2f}, "
            f"up to {shape.tail_bound:.2f} by luck in {shape.count:,} rows: {said} that",
        )
    facts = [Fact("range", high - low, f"{spelt(low)} to {spelt(high)}, median {spelt(median)}"), tail]
    if shape.outliers:
        facts.append(
            Fact(
                "outliers",
                shape.outliers,
                f"{shape.outliers} of {shape.count:,} lie more than {shape.far:.1f} standard deviations (1.4826 MAD) off, "
                f"the farthest {shape.farthest:.3g}",
            )
        )
    return facts


def _nearly_constant(values: Tensor) -> list[str]:
    (middle,) = quantiles(values, [0.5])
    top = int((values == middle).sum())
    if top > 0.5 * len(values) and middle != 0:  # what most values are is their median
        return [f"{top / len(values):.1%} of the targets are {middle:g}: nearly constant."]
    return []


def _far_scale(values: Tensor) -> list[str]:
    """Why the code standardises."""
    unit = unit_of(values)
    if unit is None:
        return []
    centre, spread = unit
    why = "float32 would round differences away" if abs(centre) > 1e4 * spread else "a network starts at 0 and in steps of 1"
    return [
        f"Targets lie around {centre:.4g} with a spread of {spread:.4g}, and {why}: the code standardises the target, and its "
        "numbers to expect are in those units."
    ]


def _large_mean(values: Tensor) -> list[str]:
    """A log link takes the target as it is; only the start is far off."""
    mean = float(values.mean())
    if 1 / UNIT < mean < UNIT:
        return []
    return [
        f"The mean is {mean:.4g}: start the bias of log_mean at its logarithm, {math.log(mean):.4g}, and leave the target as is."
    ]


def _many_zeros(values: Tensor) -> bool:
    """Amounts with a heap at exactly zero: no value below it, and the others hardly repeat."""
    zeros = int((values == 0).sum())
    if zeros < max(5, ZEROS * len(values)) or bool((values < 0).any()) or zeros == len(values):
        return False
    positive = values[values > 0]
    return len(positive.unique()) > 0.5 * len(positive) and bool((positive != positive.round()).any())


def _amounts(values: Tensor, shape: Shape) -> bool:
    """Positive, leaning to the right in its middle half, and less so as logarithms."""
    if not bool((values > 0).all()) or not shape.skewed or shape.skew < 0:
        return False
    low, high = quantiles(values, [0.025, 0.975])
    own = shape_of(values)
    logs = shape_of(values.log())
    # values that are far off as logarithms too are slips, not amounts
    return own.skewed and high > SPAN * low and abs(logs.skew) < own.skew and logs.tail < max(TAME, logs.tail_bound)


def _mean_or_median() -> Question:
    return Question(
        "With tails as heavy as these, is it the mean that is wanted or the typical value?",
        (
            Answer("the typical value (median)", "l1_loss", {"want": "median"}, taken=True),
            Answer("the mean of the good ones", "huber_loss", {"want": "robust"}),
            Answer("the mean, whatever it costs", "mse_loss", {"want": "mean"}),
        ),
    )
