"""What an argument may be: a domain checks a tensor, draws a sample of itself, and says what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from typing_extensions import override

__all__ = [
    "CLASS_WEIGHT",
    "ELEMENTS",
    "ROWS",
    "Binary",
    "ClassIndex",
    "ClassTarget",
    "Distribution",
    "Domain",
    "Embeddings",
    "Interval",
    "Labels",
    "LinearWeight",
    "Logits",
    "Mask",
    "Real",
    "Sizes",
    "Weight",
]


@dataclass
class Sizes:
    """What the axes of a call are: the leading ones (None while unknown), and the named ones."""

    lead: tuple[int, ...] | None
    named: dict[str, int]


@dataclass(frozen=True)
class Domain:
    """A tensor argument. ``shape`` names its axes: "*" any leading axes, then letters, e.g. "* C".

    ``kind`` is "float" (gradients flow), "number" (any real dtype), "integer" or "bool". ``optional`` admits None,
    ``scalar`` a plain number in place of the tensor.
    """

    shape: str = "*"
    kind: str = "float"
    meaning: str = "any numbers"
    optional: bool = False
    scalar: bool = False
    extreme: float = 1e4  # the law of extreme inputs goes this far: less where the value itself leaves the floats

    axes: tuple[bool, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    """Whether there are leading axes, and the names of the last ones."""

    def __post_init__(self) -> None:
        names = tuple(self.shape.split())
        object.__setattr__(self, "axes", (names[:1] == ("*",), tuple(n for n in names if n != "*")))

    def size(self, sizes: Sizes) -> tuple[int, ...] | None:
        """The shape this argument must have, or None while an axis is still unknown."""
        lead, names = self.axes
        if (lead and sizes.lead is None) or any(n not in sizes.named for n in names):
            return None
        return (*((sizes.lead or ()) if lead else ()), *(sizes.named[n] for n in names))

    def narrow(self, value: Tensor) -> Domain:
        """The domain of this very tensor, where its dtype or shape decides between several."""
        return self

    def bound(self, name: str, value: Tensor, sizes: Sizes) -> None:
        """Called once the shape of ``value`` fits: what it says of the shapes of the arguments after it."""

    @property
    def checked(self) -> bool:
        """Whether values are looked at on every call (on CPU), not just inside debug()."""
        return False

    def within(self, value: Tensor) -> bool:
        """Cheaply, whether all of a tensor with elements is inside; a NaN is not."""
        return True

    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        """Where ``value`` is not in the domain (bool, same shape), or None if there is nothing to check."""
        return None

    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        """A random member: what the laws, the gallery and the examples feed to a loss."""
        return torch.randn(self.size(sizes) or (), generator=generator, dtype=dtype)


@dataclass(frozen=True)
class Real(Domain):
    """Any finite numbers."""

    meaning: str = "one number for each element"


@dataclass(frozen=True)
class Logits(Domain):
    """Scores before the softmax or the sigmoid: any numbers, and -inf for a class that is ruled out."""

    shape: str = "* C"
    meaning: str = "scores, one for each class, classes last"

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return 2 * super().draw(generator, sizes, dtype)


@dataclass(frozen=True)
class LinearWeight(Domain):
    """A projection from features to classes."""

    shape: str = "C D"
    meaning: str = "the projection, one vector for each class"


@dataclass(frozen=True)
class Embeddings(Domain):
    """Rows of features, of which only angles and distances matter."""

    shape: str = "* D"
    meaning: str = "one vector for each row, features last"


@dataclass(frozen=True)
class Labels(Domain):
    """Integers that say who is the same thing: only whether two are equal matters."""

    kind: str = "integer"
    meaning: str = "integers, equal for rows of the same thing"

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randint(-1, 2, self.size(sizes) or (), generator=generator)


@dataclass(frozen=True)
class Interval(Domain):
    """Numbers between two bounds; ``open_low`` and ``open_high`` leave the bound itself out."""

    kind: str = "number"
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False
    meaning: str = "one number for each element"

    @property
    @override
    def checked(self) -> bool:
        return self.whole or self.low > -math.inf or self.high < math.inf

    @override
    def within(self, value: Tensor) -> bool:
        low, high = (float(edge) for edge in torch.aminmax(value.detach()))
        above = low > self.low if self.open_low else low >= self.low
        below = high < self.high if self.open_high else high <= self.high
        return above and below and not (self.whole and bool((value != value.floor()).any()))

    @override
    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        below = value <= self.low if self.open_low else value < self.low
        above = value >= self.high if self.open_high else value > self.high
        return below | above | (value != value.floor()) if self.whole else below | above

    def __str__(self) -> str:
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}".replace(
            f"{self.high:g}]", "inf)" if math.isinf(self.high) else f"{self.high:g}]"
        )

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        uniform = torch.rand(self.size(sizes) or (), generator=generator, dtype=dtype) * 0.9 + 0.05
        if math.isinf(self.low):
            return torch.logit(uniform)
        drawn = (
            self.low - 2 * torch.log(uniform)
            if math.isinf(self.high)
            else torch.lerp(torch.tensor(self.low, dtype=dtype), torch.tensor(self.high, dtype=dtype), uniform)
        )
        return drawn.round() if self.whole else drawn


@dataclass(frozen=True)
class Binary(Interval):
    """0 or 1, as numbers or bools."""

    low: float = 0.0
    high: float = 1.0
    whole: bool = True
    meaning: str = "1 or True for a positive, 0 or False for a negative"

    @override
    def within(self, value: Tensor) -> bool:
        return bool(((value == 0) | (value == 1)).all())

    @override
    def outside(self, value: Tensor, sizes: Sizes) -> Tensor:
        return (value != 0) & (value != 1) & (value == value)

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        shape = self.size(sizes) or ()
        first = torch.randint(2, (), generator=generator)
        return ((torch.arange(math.prod(shape)) + first) % 2).reshape(shape).to(dtype)  # any two neighbours are a pair


@dataclass(frozen=True)
class Distribution(Interval):
    """Class probabilities, one for each score. Whether rows sum to one is not checked."""

    shape: str = "* C"
    low: float = 0.0
    high: float = 1.0
    meaning: str = "class probabilities (floats), one for each score"

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return Real(self.shape).draw(generator, sizes, dtype).softmax(-1)


@dataclass(frozen=True)
class ClassIndex(Domain):
    """Class indices in [0, C), and ``ignore_index``; ``below`` names the axis that says how many classes there are."""

    kind: str = "integer"
    below: str = "C"
    meaning: str = 'class indices, one for each row of "input"'

    @override
    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        return (value < 0) | (value >= sizes.named[self.below])

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randint(sizes.named[self.below], self.size(sizes) or (), generator=generator)


@dataclass(frozen=True)
class ClassTarget(ClassIndex):
    """Class indices (integers, one a row) or class probabilities (floats, one a class)."""

    meaning: str = 'class indices, one for each row of "input" (or floats of the shape of "input": probabilities)'

    @override
    def narrow(self, value: Tensor) -> Domain:
        """The domain of this very tensor: its dtype says which of the two it is."""
        if not value.is_floating_point():
            return self
        return Distribution(f"{self.shape} {self.below}")


@dataclass(frozen=True)
class Mask(Domain):
    """True where an element counts."""

    kind: str = "bool"
    optional: bool = True
    meaning: str = "True where an element counts"

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.rand(self.size(sizes) or (), generator=generator) < 0.6


@dataclass(frozen=True)
class Weight(Interval):
    """Importance, zero or more: of elements ("*"), of rows, of classes ("C")."""

    low: float = 0.0
    open_high: bool = True
    optional: bool = True
    meaning: str = "one weight for each element"

    @override
    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        return ~((value >= 0) & (value < math.inf))


CLASS_WEIGHT = Weight("C", meaning="one weight for each class")
ELEMENTS: Mapping[str, Domain] = {"input": Real(), "target": Interval(), "weight": Weight(), "mask": Mask()}
"""The arguments of a loss of numbers, element by element."""
ROWS: Mapping[str, Domain] = {"input": Logits(), "target": ClassIndex(), "weight": CLASS_WEIGHT}
"""The arguments of a loss of class scores, row by row."""
