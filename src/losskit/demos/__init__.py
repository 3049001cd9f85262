"""Small experiments on data that is already on disk, each one file here: `losskit demo` runs and shows them.

A demo is a module of this package with one function under :func:`demo`; nothing else has to know of it.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from time import perf_counter
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec

import torch
from torch import Tensor

from .chapter import Chapter
from .watched import ward

__all__ = [
    "DEMOS",
    "Chart",
    "Column",
    "Demo",
    "Figure",
    "Mark",
    "Measure",
    "Ran",
    "Result",
    "Series",
    "Table",
    "Tick",
    "demo",
    "discover",
    "facts",
    "generator",
    "measure",
    "need",
    "run",
    "select",
]

P = ParamSpec("P")
Tick = Callable[[float], None]
"""Called by a demo with the share of its work that is done, from 0 to 1."""


@dataclass(frozen=True)
class Measure:
    """A number measured over several seeds."""

    mean: float
    spread: float
    """Standard deviation over the seeds."""
    seeds: int


Cell = str | float | Measure


@dataclass(frozen=True)
class Column:
    """A column of a table: ``format`` is Python's, for the numbers in it."""

    name: str
    format: str = ".2f"
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of measured numbers under named columns."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Series:
    """One line (or set of dots) of a chart; ``low`` and ``high`` are a band around ``y``."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    shape: Literal["line", "dots"] = "line"


@dataclass(frozen=True)
class Mark:
    """A straight reference line at a value of one axis."""

    axis: Literal["x", "y"]
    value: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Series over two axes; ``name`` is what tells it from the other charts of its figure.

    ``names`` are what stands at 1, 2, ... of the x axis: they say what a series is, which needs no colour and no legend then.
    """

    name: str
    x: str
    y: str
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    log_x: bool = False
    log_y: bool = False
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """Charts of which one is seen at a time, the one at ``first`` to begin with, and what to see in them."""

    title: str
    reading: str
    charts: Sequence[Chart]
    first: int = 0


@dataclass(frozen=True)
class Result:
    """What a demo found: the answer with its figures, the numbers behind it, and what they do not show."""

    answer: str
    method: str
    figures: Sequence[Figure]
    tables: Sequence[Table]
    code: str
    limits: Sequence[str]
    facts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Every number the answer rests on, all finite: the same seeds give the same numbers."""
    chapter: Chapter | None = None
    """Its part in the story of the six tasks."""


@dataclass(frozen=True)
class Demo:
    """A question, and the function that answers it by measuring."""

    name: str
    title: str
    question: str
    order: int
    function: Callable[[Tick], Result]


class Ran(NamedTuple):
    """A demo, what it found, and how long it took."""

    demo: Demo
    result: Result
    seconds: float


DEMOS: dict[str, Demo] = {}


def demo(
    name: str, *, title: str, question: str, order: int
) -> Callable[[Callable[Concatenate[Tick, P], Result]], Callable[Concatenate[Tick, P], Result]]:
    """Register the function below as a demo; ``order`` is its place among the others. The doctor watches its trainings."""

    def register(function: Callable[Concatenate[Tick, P], Result]) -> Callable[Concatenate[Tick, P], Result]:
        @functools.wraps(function)
        def looked_after(tick: Tick, /, *args: P.args, **options: P.kwargs) -> Result:
            with ward() as patients:
                result = function(tick, *args, **options)
            said, counted = patients.judged()
            return replace(result, method=f"{result.method} {said}".strip(), facts={**result.facts, **counted})

        DEMOS[name] = Demo(name, title, question, order, looked_after)
        return looked_after

    return register


def discover() -> list[Demo]:
    """Every demo there is, in order: each module of this package is imported once."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        import_module(module.name)
    return sorted(DEMOS.values(), key=lambda d: (d.order, d.name))


def select(names: Iterable[str] = ()) -> list[Demo]:
    """The demos of these names, or all of them for none; "_" and "-" are the same.

    Raises:     ValueError for an unknown name; it lists the known ones.
    """
    known = {d.name: d for d in discover()}
    wanted = [name.replace("_", "-") for name in names]
    for name in wanted:
        if name not in known:
            raise ValueError(f"no demo is called {name!r}: there are {', '.join(known)}")
    return [d for d in known.values() if not wanted or d.name in wanted]


def run(names: Iterable[str] = (), progress: Callable[[str, float], None] | None = None) -> list[Ran]:
    """Run the demos of these names (all for none); ``progress`` is called with a name and the share done.

    Raises:     ValueError for an unknown name; ImportError that names the extra if scikit-learn is missing.
    """
    done: list[Ran] = []
    for one in select(names):

        def tick(share: float, name: str = one.name) -> None:
            if progress is not None:
                progress(name, share)

        start = perf_counter()
        tick(0.0)
        result = one.function(tick)
        tick(1.0)
        done.append(Ran(one, result, perf_counter() - start))
    return done


def facts(ran: Iterable[Ran]) -> dict[str, float]:
    """All facts of all results under "demo.fact"; what two runs must agree on."""
    return {f"{one.demo.name}.{key}": value for one in ran for key, value in one.result.facts.items()}


def measure(values: Tensor) -> Measure:
    """Mean and standard deviation over the seeds, which are the elements of ``values``."""
    values = values.double().flatten()
    spread = float(values.std()) if len(values) > 1 else 0.0
    return Measure(float(values.mean()), spread, len(values))


def need(module: str) -> Any:
    """Import a module that only the demos need.

    Raises:     ImportError that names the extra.
    """
    try:
        return import_module(module)
    except ImportError as missing:
        raise ImportError(f"losskit demo needs {module.split('.')[0]}: pip install 'losskit[demo]'") from missing


def generator(seed: int) -> torch.Generator:
    """A source of random numbers of its own: the global one is left alone."""
    return torch.Generator().manual_seed(seed)
