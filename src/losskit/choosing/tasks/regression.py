"""A number a row: its errors say which loss."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ..advice import Advice, Candidate, Fact, Question
from ..candidates import candidate, rounded
from ..profile_numbers import FEW, NORMAL_TAIL, UNIT, Shape, quantiles, residuals, shape_of, too_far, unit_of
from ..seen import Seen

__all__ = ["advise"]

SHAPES = "prediction and target (N,) or (N, D)"
AMOUNTS = "log_mean (N,): the log of the predicted mean; target (N,)"
SPREADS = "spread = 1.4826 * (target - target.median(0).values).abs().median(0).values  # of all of the training data"
HUBER = 1.345  # card of huber_loss: so many standard deviations of the good errors lose 5 % on clean normal data
ZEROS = 0.05  # a share of exact zeros, among amounts that hardly repeat
SPAN = 3.0  # q97.5 / q2.5: below, a percentage and an absolute error are nearly the same thing
TAME = 1.25 * NORMAL_TAIL  # logarithms of gamma amounts have tails up to 1.15 times those of a normal
SEARCHED = 200_000


def advise(seen: Seen) -> Advice:
    """Squared error, unless tails are heavy, values far off, or targets amounts whose errors are percentages."""
    if seen.target is None or seen.columns is None:
        others = [_l1("", None), _huber("", 1.0, None)]
        return seen.advice(_mse("", None), others, [])
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
    if _many_zeros(column):
        return _zeros(seen, column, facts, [*warnings, *_large_mean(column)])
    if _amounts(column, shape):
        return _skewed(seen, column, facts, [*warnings, *_large_mean(column)])
    return _symmetric(seen, column, shape, facts, [*warnings, *_far_scale(column)], left is not None)


def _symmetric(seen: Seen, values: Tensor, shape: Shape, facts: list[Fact], warnings: list[str], fitted: bool) -> Advice:
    delta = rounded(HUBER * shape.sigma) if shape.sigma > 0 else 1.0
    of = "the errors of a linear fit" if fitted else "the targets"
    huber = _huber(f"delta is 1.345 standard deviations of {of} without their tails: 1.345 x {shape.sigma:.4g}.", delta, values)
    if shape.heavy:
        heavy = _strongest(shape, of)
        first = _l1(heavy, values)
        more = [_cauchy(shape, values)] if shape.outliers else []
        return seen.advice(first, [huber, *more], [_mse(heavy, values, avoid=True)], facts, warnings, [_mean_or_median()])
    if shape.outliers:
        far = _far(shape, of)
        huber = _huber(f"{far} delta is 1.345 x {shape.sigma:.4g}.", delta, values)
        return seen.advice(huber, [_l1(far, values)], [_mse(far, values, avoid=True)], facts, warnings)
    why = f"{shape.count} rows cannot tell how heavy the tails are." if shape.few else f"The tails of {of} are those of a normal."
    return seen.advice(_mse(why, values), [_l1("", values), huber], [], facts, warnings)


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


def _skewed(seen: Seen, values: Tensor, facts: list[Fact], warnings: list[str]) -> Advice:
    low, median, high = quantiles(values, [0.025, 0.5, 0.975])
    spread = f"Positive, and leaning to the right: half are below {median:.4g}, the mean is {float(values.mean()):.4g}."
    first = candidate("gamma_deviance_loss", spread, shapes=AMOUNTS, arguments=["log_mean", "target"], facts={"target": values})
    question = Question(
        "Is it the mean that is wanted, as for sums and budgets, the typical value, or a bound?",
        {
            "the mean": "gamma_deviance_loss, or mse_loss where an error counts the same at any size",
            "the typical value (median)": "l1_loss, or mse_loss of the logarithm",
            "a bound": "quantile_loss, as with quantile=0.9 for a value that one in ten exceeds",
        },
    )
    reach = f"95 % of the targets lie between {low:.4g} and {high:.4g}."
    avoid = [_mse(f"{reach} The large ones would lead.", values, avoid=True, raw=True)]
    return seen.advice(first, [_l1("The median in place of the mean.", values, raw=True)], avoid, facts, warnings, [question])


def _zeros(seen: Seen, values: Tensor, facts: list[Fact], warnings: list[str]) -> Advice:
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
    return seen.advice(
        first,
        [
            candidate(
                "poisson_deviance_loss",
                "The same mean, with a variance that grows with it and not faster.",
                shapes=AMOUNTS,
                arguments=["log_mean", "target"],
                facts={"target": values},
            )
        ],
        [
            _mse(
                "Large amounts scatter more than small ones, and squared error listens to them most.",
                values,
                avoid=True,
                raw=True,
            )
        ],
        [*facts, Fact("zero inflation", share, f"{share:.1%} are exactly zero, the others are positive")],
        warnings,
    )


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
        divided = candidate("huber_loss", "After dividing each target by its spread.", shapes=SHAPES, before=[SPREADS],
                            arguments=["prediction / spread", "target / spread"], options={"delta": HUBER},
                            facts={"delta": HUBER})  # fmt: skip
        return seen.advice(_l1(why, None), [divided], [_mse(why, None, avoid=True)], facts, warnings)
    first = candidate("mse_loss", f"{len(shapes)} numbers a row.", shapes=SHAPES, arguments=["prediction", "target"], facts={})
    return seen.advice(first, [_l1("", None)], [], facts, warnings)


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
    facts = [Fact("range", high - low, f"{low:.4g} to {high:.4g}, median {median:.4g}"), tail]
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


def _mse(why: str, values: Tensor | None, avoid: bool = False, raw: bool = False) -> Candidate:
    return _elements("mse_loss", why, values, card="avoid" if avoid else "use", raw=raw)


def _l1(why: str, values: Tensor | None, raw: bool = False) -> Candidate:
    return _elements("l1_loss", why, values, raw=raw)


def _huber(why: str, delta: float, values: Tensor | None) -> Candidate:
    return _elements("huber_loss", why, values, {"delta": delta})


def _cauchy(shape: Shape, values: Tensor) -> Candidate:
    return _elements("cauchy_loss", f"The farthest is {shape.farthest:.3g} spreads off.", values, {"scale": rounded(shape.sigma)})


def _elements(
    loss: str, why: str, values: Tensor | None, options: dict[str, Any] | None = None, card: Any = "use", raw: bool = False
) -> Candidate:
    """A loss of prediction - target. Far from 0 or 1 the code standardises, with ``options`` in the target's own unit, unless
    ``raw``: beside a log link, which takes the target as it is."""
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
        computed = {name: f"{value!r} / spread" for name, value in facts.items()}
        facts = {name: value / spread for name, value in facts.items()}
    searched = loss == "huber_loss"  # its best constant is found by 200 passes over the targets
    if values is not None and loss != "cauchy_loss" and not (searched and len(values) > SEARCHED):
        facts["target"] = values
    return candidate(loss, why, shapes=SHAPES, arguments=["prediction", "target"], options=options, computed=computed,
                     before=before, facts=facts, card=card)  # fmt: skip


def _mean_or_median() -> Question:
    return Question(
        "With tails as heavy as these, is it the mean that is wanted or the typical value?",
        {
            "the typical value (median)": "l1_loss",
            "the mean of the good ones": "huber_loss",
            "the mean, whatever it costs": "mse_loss",
        },
    )
