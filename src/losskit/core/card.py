"""@loss, Card, CATALOGUE, reference(): what is known about a loss besides its value, written once."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec

from torch import Tensor

from .call import verify, whole_number
from .domain import Domain
from .watch import watched

__all__ = ["CATALOGUE", "SECTIONS", "TASKS", "Card", "Levels", "loss", "reference"]

P = ParamSpec("P")
Level = Callable[..., float]

TASKS = ("classification", "imbalance", "segmentation", "regression", "distribution", "embedding", "ranking", "language")
SECTIONS = ("Formula", "Gradient", "Use when", "Avoid when", "Shape", "Args", "Returns", "Raises", "Reference", "Example")
_LAYOUT = frozenset({"class_dim", "ignore_index"})  # options that say how the data lies, not what the loss is
_HEADING = re.compile(rf"^\s*({'|'.join(SECTIONS)}):[ \t]*", re.MULTILINE)


class Levels(NamedTuple):
    """The numbers a person should see; None where the facts given do not determine it."""

    chance: float | None
    """Of a model that knows nothing, e.g. right after initialisation."""
    constant: float | None
    """Of the best prediction that ignores the input: the prior, the mean, the median."""
    floor: float | None
    """At best."""


@dataclass
class Card:
    """All that is known about one loss: read by the docs, the chooser, the doctor and the tests."""

    function: Callable[..., Tensor]
    task: str
    sample: Mapping[str, Domain]
    reference: Callable[..., Tensor]
    laws: frozenset[str]
    variants: Sequence[Mapping[str, Any]]
    chance: Level | None
    constant: Level | None
    floor: Level | None
    module: type | None = None

    @property
    def name(self) -> str:
        """The function's name, e.g. "focal_loss"."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())

    @functools.cached_property
    def sections(self) -> dict[str, str]:
        """The docstring's sections, by heading, without their indentation."""
        pieces = _HEADING.split(inspect.getdoc(self.function) or "")
        return {head: inspect.cleandoc(text) for head, text in zip(pieces[1::2], pieces[2::2], strict=True)}

    @property
    def tensors(self) -> list[str]:
        """The names of the positional arguments."""
        parameters = inspect.signature(self.function).parameters.values()
        return [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]

    @property
    def options(self) -> dict[str, Any]:
        """The keyword options and their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


CATALOGUE: dict[str, Card] = {}


def loss(
    *,
    task: str,
    sample: Mapping[str, Domain],
    reference: Callable[..., Tensor],
    laws: Sequence[str] = (),
    variants: Sequence[Mapping[str, Any]] = ({},),
    chance: Level | None = None,
    constant: Level | None = None,
    floor: Level | None = None,
) -> Callable[[Callable[P, Tensor]], Callable[P, Tensor]]:
    """Put a loss into CATALOGUE and check its tensors against ``sample`` at every call.

    ``sample`` maps each tensor argument to its domain. ``reference`` is the unreduced value in plain float64, written
    from the paper. ``laws`` are the properties the loss claims, each proved by a test. ``variants`` are the options
    the laws run under; a Domain among their values is drawn. ``chance``, ``constant`` and ``floor`` compute the levels
    of ``Levels`` from the facts they name as parameters.
    """

    def register(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
        parameters = inspect.signature(function).parameters
        positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
        whole = {n: parameters[n].default for n in ("ignore_index", "class_dim") if n in parameters}

        @functools.wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> Tensor:
            # too many arguments: the call below says so
            given: dict[str, Any] = {**whole, **dict(zip(positional, args, strict=False)), **options}
            for name in whole:
                whole_number(name, given[name])

            def call() -> Tensor:
                verify(sample, given, given.get("ignore_index"), given.get("class_dim", -1))
                return function(*args, **options)

            return watched(function.__name__, given, call)

        CATALOGUE[function.__name__] = Card(checked, task, sample, reference, frozenset(laws), variants, chance, constant, floor)
        return checked

    return register


def reference(name: str, /, **facts: Any) -> Levels:
    """The numbers a person should see for a loss: at chance, for the best constant, at best.

    ``facts`` are options of the loss (``label_smoothing=0.1``) and what is known of the data: ``num_classes``,
    ``prior`` (class frequencies), ``target`` (a tensor of what is to be predicted). A level is None if it needs a fact
    that is not given, or is given an option that it does not know of.

    Raises:     ValueError for an unknown loss; TypeError for a fact that no level of this loss takes.
    Example:
        >>> losskit.reference("cross_entropy", num_classes=10).chance  # ln 10
        2.302585092994046
        >>> losskit.reference("cross_entropy", num_classes=10, label_smoothing=0.1).floor
        0.5002880350577577
    """
    if name not in CATALOGUE:
        raise ValueError(f'"name" is {name!r}, expected the name of a loss: losskit list names them all')
    card = CATALOGUE[name]
    levels = {"chance": card.chance, "constant": card.constant, "floor": card.floor}
    wanted = {k: inspect.signature(f).parameters for k, f in levels.items() if f is not None}
    known = set(card.options).union(*wanted.values())
    if unknown := facts.keys() - known:
        raise TypeError(f"{name} has no fact {', '.join(sorted(unknown))}: it takes {', '.join(sorted(known))}")
    values: dict[str, float | None] = dict.fromkeys(levels)
    changed = {n for n in facts.keys() & card.options.keys() - _LAYOUT if not _is(facts[n], card.options[n])}
    for level, parameters in wanted.items():
        compute = levels[level]
        needed = {n for n, p in parameters.items() if p.default is p.empty}
        # a level without parameters is the same under every option
        if compute is None or needed - facts.keys() or (parameters and changed - parameters.keys()):
            continue
        number = float(compute(**{n: facts[n] for n in parameters if n in facts}))
        values[level] = None if math.isnan(number) else number
    return Levels(**values)


def _is(given: object, default: object) -> bool:
    """Whether an option is at its default."""
    return given is default or (not isinstance(given, Tensor) and given == default)
