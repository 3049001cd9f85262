"""What an argument may be: a domain checks a tensor, draws a sample of itself, and says what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .check import ShapeError, debugging, peek, shape_text

__all__ = [
    "ClassIndex",
    "ClassTarget",
    "Distribution",
    "Domain",
    "Interval",
    "Logits",
    "Mask",
    "Real",
    "Sizes",
    "Weight",
    "verify",
]

Sizes = dict[str, "tuple[int, ...] | int"]
"""What the axes of a call are: "*" is the tuple of leading axes, every other name one number."""

_INTEGERS = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


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
        if (lead and "*" not in sizes) or any(n not in sizes for n in names):
            return None
        return (*(sizes["*"] if lead else ()), *(sizes[n] for n in names))  # pyright: ignore  # "*" is a tuple, letters are numbers

    @property
    def checked(self) -> bool:
        """Whether values are looked at on every call (on CPU), not just inside debug()."""
        return False

    def within(self, value: Tensor) -> Tensor | None:
        """Cheaply, whether all of a tensor with elements is inside (0-d bool; NaN is not)."""
        return None

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

    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return 2 * super().draw(generator, sizes, dtype)


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
    def checked(self) -> bool:
        return self.whole or math.isfinite(self.low) or math.isfinite(self.high)

    def within(self, value: Tensor) -> Tensor | None:
        low, high = torch.aminmax(value)
        inside = (low > self.low if self.open_low else low >= self.low) & (
            high < self.high if self.open_high else high <= self.high
        )
        return inside & (value == value.floor()).all() if self.whole else inside

    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        below = value <= self.low if self.open_low else value < self.low
        above = value >= self.high if self.open_high else value > self.high
        return below | above | (value != value.floor()) if self.whole else below | above

    def __str__(self) -> str:
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}".replace(
            f"{self.high:g}]", "inf)" if math.isinf(self.high) else f"{self.high:g}]"
        )

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
class Distribution(Interval):
    """Class probabilities, one for each score; rows sum to one."""

    shape: str = "* C"
    low: float = 0.0
    high: float = 1.0
    meaning: str = "class probabilities (floats), one for each score"

    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return Real(self.shape).draw(generator, sizes, dtype).softmax(-1)


@dataclass(frozen=True)
class ClassIndex(Domain):
    """Class indices in [0, C), and ``ignore_index``; ``below`` names the axis that says how many classes there are."""

    kind: str = "integer"
    below: str = "C"
    meaning: str = 'class indices, one for each row of "input"'

    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        return (value < 0) | (value >= int(sizes[self.below]))  # pyright: ignore  # a letter is a number

    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randint(int(sizes[self.below]), self.size(sizes) or (), generator=generator)  # pyright: ignore  # as above


@dataclass(frozen=True)
class ClassTarget(ClassIndex):
    """Class indices (integers, one a row) or class probabilities (floats, one a class)."""

    meaning: str = 'class indices, one for each row of "input" (or floats of the shape of "input": probabilities)'

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

    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.rand(self.size(sizes) or (), generator=generator) < 0.6


@dataclass(frozen=True)
class Weight(Interval):
    """Importance, zero or more: of elements ("*"), of rows, of classes ("C")."""

    low: float = 0.0
    optional: bool = True
    meaning: str = "one weight for each element"

    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        return ~((value >= 0) & (value < math.inf))


def verify(domains: Mapping[str, Domain], given: Mapping[str, object], ignore_index: int | None, class_dim: int) -> None:
    """Check every tensor of one call against its domain: type, dtype, device, shape, and values where they can be seen."""
    sizes: Sizes = {}
    first: Tensor | None = None
    for name, domain in domains.items():
        value = given.get(name)
        if not isinstance(value, Tensor):
            _accept_scalar(name, domain, value)
            continue
        if isinstance(domain, ClassTarget):
            domain = domain.narrow(value)
        _check_dtype(name, domain, value)
        if first is None:
            first = value
        elif value.device != first.device:
            raise ValueError(f'"{name}" is on {value.device}, expected {first.device} like the other tensors: move it with .to()')
        if not _bind(domain, value.shape, sizes, class_dim):
            raise _misfit(name, domain, value, sizes, given, class_dim)
        if (domain.checked and value.numel() and not _inside(domain, value)) or debugging():
            _check_values(name, domain, value, sizes, given, ignore_index, class_dim)


def _inside(domain: Domain, value: Tensor) -> bool:
    """False only where somebody looked and saw a value outside, or a NaN."""
    if torch.compiler.is_compiling() or value.device.type != "cpu":
        return True
    inside = domain.within(value)
    return inside is None or peek(inside) is not False


def _accept_scalar(name: str, domain: Domain, value: object) -> None:
    if (value is None and domain.optional) or (domain.scalar and isinstance(value, (int, float)) and not isinstance(value, bool)):
        if (
            isinstance(domain, Interval)
            and isinstance(value, (int, float))
            and bool(domain.outside(torch.tensor(float(value)), {}))
        ):
            raise ValueError(f'"{name}" is {value!r}, expected a number in {domain}')
        return
    wanted = "a number or a Tensor" if domain.scalar else "a Tensor"
    raise TypeError(f'"{name}" must be {wanted} ({domain.meaning}), got {type(value).__name__}')


def _check_dtype(name: str, domain: Domain, value: Tensor) -> None:
    dtype, kind = value.dtype, domain.kind
    if kind == "float" and not dtype.is_floating_point:
        remedy = "losskit takes real numbers only" if dtype.is_complex else f"use {name}.float()"
        raise TypeError(f'"{name}" has dtype {dtype}, expected a floating-point dtype: {remedy}')
    if kind == "number" and dtype.is_complex:
        raise TypeError(f'"{name}" has dtype {dtype}, expected real numbers: {domain.meaning}')
    if kind == "integer" and dtype not in _INTEGERS:
        raise TypeError(f'"{name}" has dtype {dtype}, expected integers: {domain.meaning}')
    if kind == "bool" and dtype != torch.bool:
        raise TypeError(f'"{name}" has dtype {dtype}, expected torch.bool: {domain.meaning}; use {name}.bool()')


def _bind(domain: Domain, shape: torch.Size, sizes: Sizes, class_dim: int) -> bool:
    """Match a shape to the named axes, learning the sizes that are still unknown. False if it does not fit."""
    lead, names = domain.axes
    split = len(shape) - len(names)
    if split < 0 or (split > 0 and not lead):
        return False
    dims: tuple[int, ...] = tuple(shape)
    if lead and names and class_dim != -1:
        if not -len(dims) <= class_dim < len(dims):
            return False
        at = class_dim % len(dims)
        dims = (*dims[:at], *dims[at + 1 :], dims[at])
    if lead and sizes.setdefault("*", dims[:split]) != dims[:split]:
        return False
    return all(sizes.setdefault(n, d) == d for n, d in zip(names, dims[split:], strict=True))


def _misfit(name: str, domain: Domain, value: Tensor, sizes: Sizes, given: Mapping[str, object], class_dim: int) -> ShapeError:
    """The error of a shape that does not fit: got, expected, of what, and the remedy where one is likely."""
    got, expected = tuple(value.shape), domain.size(sizes)
    if expected is None or len(sizes) == 0:
        return ShapeError(f'"{name}" has shape {got}, expected ({domain.shape.replace(" ", ", ")}): {domain.meaning}')
    if class_dim != -1 and domain.axes[0] and domain.axes[1]:
        at = class_dim % len(expected)
        expected = (*expected[:at], expected[-1], *expected[at:-1])
    leader = next((f'"{n}" {shape_text(t.shape)}' for n, t in given.items() if isinstance(t, Tensor) and n != name), "")
    remedy = ""
    if got == (*expected, 1):
        remedy = f"; use {name}.squeeze(-1)"
    elif (*got, 1) == expected:
        remedy = f"; use {name}.unsqueeze(-1)"
    elif (
        "class_dim" in given
        and class_dim == -1
        and isinstance(t := given.get("input"), Tensor)
        and t.ndim > 2
        and got == (t.shape[0], *t.shape[2:])
    ):
        remedy = "; if the classes of the input are in its second axis, pass class_dim=1"
    return ShapeError(f'"{name}" has shape {got}, expected {expected} to fit {leader}: {domain.meaning}{remedy}')


def _check_values(
    name: str, domain: Domain, value: Tensor, sizes: Sizes, given: Mapping[str, object], ignore_index: int | None, class_dim: int
) -> None:
    """Raise at the first value outside of the domain that counts; inside debug() also at the first NaN."""
    wrong = _wrong(domain, value, sizes)
    if wrong is None:
        return
    if not peek(wrong.any()):
        return
    if domain.kind == "integer" and ignore_index is not None:
        wrong = wrong & (value != ignore_index)
    for silent in ("mask", "weight"):
        hide = given.get(silent)
        if isinstance(hide, Tensor) and silent != name and hide.shape == wrong.shape:
            wrong = wrong & (hide != 0)
    if not peek(wrong.any()):
        return
    where = tuple(int(i) for i in wrong.nonzero()[0])
    place = where[0] if len(where) == 1 else where
    bad = value[where].item()
    if bad != bad:
        raise ValueError(f'"{name}" is nan at index {place}, expected a number: mask it, or find what made it')
    if domain.kind == "integer":
        raise IndexError(
            f'"{name}" is {bad} at index {place}, expected a class in [0, {sizes["C"]}) or ignore_index={ignore_index}'
        )
    raise ValueError(
        f'"{name}" is {bad:g} at index {place}, expected {domain if isinstance(domain, Interval) else "a finite number"}: {domain.meaning}'
    )


def _wrong(domain: Domain, value: Tensor, sizes: Sizes) -> Tensor | None:
    if not debugging():
        return domain.outside(value, sizes)
    nan = value != value
    outside = domain.outside(value, sizes)
    return nan if outside is None else nan | outside
