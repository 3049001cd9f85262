"""Every tensor of one call against its domain: type, dtype, device, shape, and values where they can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .check import ShapeError, class_error, debugging, first_place, peek, shape_text
from .domain import ClassIndex, Domain, Interval, Sizes
from .list_domain import Relevance

__all__ = ["verify", "whole_number"]

_INTEGERS = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


def whole_number(name: str, value: object) -> None:
    """Raise unless ``value`` is an int that a tensor can hold."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'"{name}" must be an int, got {type(value).__name__}')
    if not -(2**63) <= value < 2**63:
        raise ValueError(f'"{name}" must fit in 64 bits, got an int of {value.bit_length()} bits')


def verify(domains: Mapping[str, Domain], given: Mapping[str, object], ignore_index: int | None, class_dim: int) -> None:
    """Check every tensor of one call against its domain: type, dtype, device, shape, and values where they can be seen."""
    sizes = Sizes(None, {})
    first: Tensor | None = None
    for name, domain in domains.items():
        value = given.get(name)
        if not isinstance(value, Tensor):
            _accept_scalar(name, domain, value)
            continue
        domain = domain.narrow(value)
        _check_dtype(name, domain, value)
        if first is None:
            first = value
        elif value.device != first.device:
            raise ValueError(f'"{name}" is on {value.device}, expected {first.device} like the other tensors: move it with .to()')
        one_for_all = domain.scalar and value.ndim == 0
        if not one_for_all and not _bind(domain, value.shape, sizes, class_dim):
            raise _misfit(name, domain, value, sizes, given, class_dim)
        domain.bound(name, value, sizes)
        if sizes.named.get("C") == 0:
            raise ShapeError(f'"{name}" has shape {tuple(value.shape)}, expected at least one class')
        if (domain.checked and value.numel() and not _inside(domain, value)) or debugging():
            _check_values(name, domain, value, sizes, _Hiding(domains, given, ignore_index, class_dim))


def _inside(domain: Domain, value: Tensor) -> bool:
    """False only where somebody looked and saw a value outside, or a NaN."""
    if torch.compiler.is_compiling() or value.device.type != "cpu":
        return True
    try:
        return domain.within(value)
    except RuntimeError:  # vmap and fake tensors have no value to look at
        return True


def _accept_scalar(name: str, domain: Domain, value: object) -> None:
    """None for an optional argument, or a plain number where the domain takes one in place of a tensor."""
    if value is None and domain.optional:
        return
    if not domain.scalar or isinstance(value, bool) or not isinstance(value, (int, float)):
        wanted = "a number or a Tensor" if domain.scalar else "a Tensor"
        raise TypeError(f'"{name}" must be {wanted} ({domain.meaning}), got {type(value).__name__}')
    if value != value:
        raise ValueError(f'"{name}" is nan, expected a number: {domain.meaning}')
    if isinstance(domain, Interval) and bool(domain.outside(torch.tensor(float(value)), Sizes(None, {}))):
        raise ValueError(f'"{name}" is {value!r}, expected a number in {domain}')


def _check_dtype(name: str, domain: Domain, value: Tensor) -> None:
    dtype, kind = value.dtype, domain.kind
    if value.layout != torch.strided:
        raise TypeError(f'"{name}" has layout {value.layout}, expected a dense tensor: use {name}.to_dense()')
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
    if lead:
        sizes.lead = dims[:split] if sizes.lead is None else sizes.lead
        if sizes.lead != dims[:split]:
            return False
    return all(sizes.named.setdefault(n, d) == d for n, d in zip(names, dims[split:], strict=True))


def _misfit(name: str, domain: Domain, value: Tensor, sizes: Sizes, given: Mapping[str, object], class_dim: int) -> ShapeError:
    """The error of a shape that does not fit: got, expected, of what, and the remedy where one is likely."""
    got, expected = tuple(value.shape), domain.size(sizes)
    if all(domain.axes) and not -len(got) <= class_dim < len(got) and len(got) > 1:
        return ShapeError(f'"class_dim" is {class_dim}, expected an axis of "{name}" {got}, in [{-len(got)}, {len(got) - 1}]')
    if expected is None:
        return _unknown(name, domain, got, sizes, given)
    if class_dim != -1 and domain.axes[0] and domain.axes[1]:
        at = class_dim % len(expected)
        expected = (*expected[:at], expected[-1], *expected[at:-1])
    leader = next((f'"{n}" {shape_text(t.shape)}' for n, t in given.items() if isinstance(t, Tensor) and n != name), "")
    remedy = _remedy(name, domain, got, expected, sizes, given, class_dim)
    return ShapeError(f'"{name}" has shape {got}, expected {expected} to fit {leader}: {domain.meaning}{remedy}')


def _unknown(name: str, domain: Domain, got: tuple[int, ...], sizes: Sizes, given: Mapping[str, object]) -> ShapeError:
    """The error where an axis of the domain could have any size."""
    lead, names = domain.axes
    if not lead or sizes.lead is None:
        return ShapeError(f'"{name}" has shape {got}, expected ({domain.shape.replace(" ", ", ")}): {domain.meaning}')
    first, known = next((n, tuple(t.shape)) for n, t in given.items() if isinstance(t, Tensor))
    wanted = ", ".join(map(str, (*sizes.lead, *names)))
    remedy = f"; use {name}.unsqueeze(-1)" if got == sizes.lead else ""
    if sizes.lead[-1:] == (1,) and got[:-1] == sizes.lead[:-1]:
        remedy = f"; use {first}.squeeze(-1)"
    return ShapeError(f'"{name}" has shape {got}, expected ({wanted}) to fit "{first}" {known}: {domain.meaning}{remedy}')


def _remedy(
    name: str,
    domain: Domain,
    got: tuple[int, ...],
    expected: tuple[int, ...],
    sizes: Sizes,
    given: Mapping[str, object],
    class_dim: int,
) -> str:
    """What is likely to help, as the end of a sentence."""
    first = given.get("scores")
    if domain.axes[1] == ("L",) and sizes.named.get("L") == 1 and isinstance(first, Tensor) and first.ndim > 1:
        return "; the last axis holds the items of a list: use scores.squeeze(-1)"
    if got == (*expected, 1):
        return f"; use {name}.squeeze(-1)"
    if (*got, 1) == expected:
        return f"; use {name}.unsqueeze(-1)"
    first = given.get("input")
    images = "class_dim" in given and class_dim == -1
    if images and isinstance(first, Tensor) and first.ndim > 2 and got == (first.shape[0], *first.shape[2:]):
        return "; if the classes of the input are in its second axis, pass class_dim=1"
    return ""


class _Hiding(NamedTuple):
    """What says that a value does not count: a mask, weights of elements, class indices that are ignored."""

    domains: Mapping[str, Domain]
    given: Mapping[str, object]
    ignore_index: int | None
    class_dim: int

    def counted(self, name: str, domain: Domain, wrong: Tensor) -> Tensor:
        """``wrong`` where the value counts, in the axes of the tensor as it was given."""
        lead, names = domain.axes
        if not lead:  # of classes, not of rows: nothing hides it
            return wrong
        axis = self.class_dim if names and wrong.ndim else -1
        wrong = wrong if axis == -1 else wrong.movedim(axis, -1)
        for other in ("mask", "weight", "query_weight", "target"):
            seen = self._seen(other, names)
            if (
                other == "query_weight"
                and names
                and seen is not None
                and isinstance(offsets := self.given.get("offsets"), Tensor)
            ):
                seen = _of_items(seen, offsets, wrong.shape[-1])
            if seen is None or other == name != "target" or wrong.shape[: seen.ndim] != seen.shape:
                continue
            wrong = wrong & seen.reshape(*seen.shape, *[1] * (wrong.ndim - seen.ndim))
        return wrong if axis == -1 else wrong.movedim(-1, axis)

    def _seen(self, name: str, names: tuple[str, ...]) -> Tensor | None:
        """Where this argument says that a row, or an item with these axes, counts; None if it says nothing of them."""
        value, domain = self.given.get(name), self.domains.get(name)
        if not isinstance(value, Tensor) or (domain is not None and domain.axes not in ((True, ()), (True, names))):
            return None
        if name != "target":
            return value != 0
        return None if value.is_floating_point() or self.ignore_index is None else value != self.ignore_index


def _of_items(seen: Tensor, offsets: Tensor, items: int) -> Tensor | None:
    """What holds for each ragged list, for each of its items; None if the offsets do not fit."""
    sizes = offsets.diff()
    fits = len(sizes) == len(seen) and int(offsets[0]) == 0 and int(sizes.sum()) == items and not bool((sizes < 0).any())
    return seen.repeat_interleave(sizes) if fits else None


def _check_values(name: str, domain: Domain, value: Tensor, sizes: Sizes, hiding: _Hiding) -> None:
    """Raise at the first value outside of the domain that counts; inside debug() also at the first NaN."""
    wrong = _wrong(domain, value, sizes)
    if wrong is None or not peek(wrong.any()):
        return
    wrong = hiding.counted(name, domain, wrong)
    if not peek(wrong.any()):
        return
    at, place = first_place(wrong)
    bad = value[at].item()
    if bad != bad:
        raise ValueError(f'"{name}" is nan{place}, expected a number: mask it, or find what made it')
    if isinstance(domain, ClassIndex):
        raise class_error(name, value, wrong, sizes.named["C"], hiding.ignore_index)
    padding = isinstance(domain, Relevance) and bad == -1
    hint = "; if it is padding, losskit.mask_from_sentinel(relevance) is the mask" if padding else ""
    raise ValueError(f'"{name}" is {bad:g}{place}, expected {domain}: {domain.meaning}{hint}')


def _wrong(domain: Domain, value: Tensor, sizes: Sizes) -> Tensor | None:
    if not debugging():
        return domain.outside(value, sizes)
    nan = value != value
    outside = domain.outside(value, sizes)
    return nan if outside is None else nan | outside
