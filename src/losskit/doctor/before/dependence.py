"""Which outputs hang on which inputs: samples change places, one sample changes, the tokens after one change."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..evidence.dependence import Dependence
from ..step import Step
from .entries import Pass, changed, entries, first_samples, has_rows, modes_kept, outputs_of

__all__ = ["look_at_dependence", "next_tokens"]

_LARGE = 2**24  # numbers in the outputs: 128 MB in float64, of which three are kept
_SMALL = 0.02  # standard deviation of what stands in for weights that start at zero, as transformers are initialised


def look_at_dependence(step: Step, batch: Any) -> Dependence:
    """Run the batch and changed copies of it, in evaluation mode, with the same random numbers."""
    if not entries(batch):
        return Dependence(why_not="the batch has no tensors")
    if not has_rows(batch):
        return Dependence(why_not="a sparse tensor has no rows that could change places")
    with modes_kept(step.model), _awake(step.model):
        step.model.eval()
        first = outputs_of(step, batch)
        if sum(out.numel() for out in first.outputs) > _LARGE:
            batch = first_samples(batch, 4)[0]
            first = outputs_of(step, batch)
        plain, again = first.outputs, outputs_of(step, batch)
        if not plain or not all(out.isfinite().all() for out in plain):
            return Dependence(why_not="the model returned no finite floating tensor")
        if _largest(plain, again.outputs) > 0:
            return Dependence(why_not="the model gives another output for the same batch and the same random numbers")
        shuffled, why = _shuffled(step, batch, first)
        others, pair, why_others = _others(step, batch, first)
        future, token = _future(step, batch, plain)
    return Dependence(shuffled, others, pair, future, token, why or why_others, next_tokens(batch))


@contextmanager
def _awake(model: nn.Module) -> Generator[None, None, None]:
    """Weights that are zero throughout, as last layers and gates often start, as small random ones: they hide nothing then."""
    asleep = [p for p in model.parameters() if p.requires_grad and p.is_floating_point() and not p.detach().any()]
    made = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in asleep:
            p.copy_(torch.randn(p.shape, generator=made) * _SMALL)
    try:
        yield
    finally:
        with torch.no_grad():
            for p in asleep:
                p.zero_()


def _scale(out: Tensor) -> float:
    spread = float(out.std()) if out.numel() > 1 else 0.0
    return spread if spread > 0 else max(float(out.abs().max()), 1e-30)


def _largest(plain: list[Tensor], other: list[Tensor], rows: Callable[[Tensor], Tensor] = lambda x: x) -> float:
    """Largest change of any output, in spreads of that output; inf where even the shapes differ."""
    if [out.shape for out in plain] != [out.shape for out in other]:
        return float("inf")
    gaps = [(float((rows(b) - rows(a)).abs().max()) / _scale(a)) for a, b in zip(plain, other, strict=True) if rows(a).numel()]
    return max(gaps, default=0.0)


def _samples(batch: Any, plain: list[Tensor]) -> int | None:
    """Rows of the batch if every entry and every output has one a sample."""
    sizes = {len(tensor) for _, tensor in entries(batch)} | {len(out) if out.dim() else 0 for out in plain}
    return sizes.pop() if len(sizes) == 1 else None


def _shuffled(step: Step, batch: Any, first: Pass) -> tuple[float | None, str]:
    n = _samples(batch, first.outputs)
    if n is None or n < 2:
        return None, "not every entry of the batch and of the output has one row a sample"
    rolled = outputs_of(step, changed(batch, lambda _, tensor: tensor.roll(1, 0)))
    if _same_inputs(first, rolled):  # one sample many times, or a generator that draws its own input
        return None, "what the model is given does not depend on the samples"
    return _largest(first.outputs, rolled.outputs), ""


def _others(step: Step, batch: Any, first: Pass) -> tuple[float | None, tuple[int, int] | None, str]:
    """What the first and the last sample do to all the others."""
    plain = first.outputs
    n = _samples(batch, plain)
    if n is None or n < 2:
        return None, None, ""
    if any(tensor.dim() == 2 and tensor.shape[1] == n for tensor in [*plain, *(t for _, t in entries(batch))]):
        return None, None, "an entry or an output relates samples with samples"
    moved = {j: _with_row(step, batch, 0, j, source) for j, source in ((0, n - 1), (n - 1, 0))}
    worst, pair = _most_moved(first, moved, {j: [j] for j in moved})
    if worst > 0 and _drawn(step, batch, first):
        worst, pair = _most_moved(first, moved, {j: [j, *_rows_given_anew(first, one, n)] for j, one in moved.items()})
    if worst > 0 and _second_axis_is_apart(step, batch, plain):
        return None, None, "the second axis may be that of the samples"
    return worst, pair, ""


def _most_moved(
    first: Pass, moved: Mapping[int, Pass], left_out: Mapping[int, list[int]]
) -> tuple[float, tuple[int, int] | None]:
    """The largest change of another sample's output, in spreads, and the (i, j) of it."""
    worst, pair = 0.0, None
    for j, one in moved.items():
        for a, b in zip(first.outputs, one.outputs, strict=True):
            gaps = (b - a).abs().reshape(len(a), -1).amax(1) / _scale(a)
            gaps[left_out[j]] = 0
            if float(gaps.max()) > worst:
                worst, pair = float(gaps.max()), (int(gaps.argmax()), j)
    return worst, pair


def _drawn(step: Step, batch: Any, first: Pass) -> bool:
    """Whether what the model is given hangs on random numbers: step() mixes, crops or corrupts samples as it means to."""
    other = outputs_of(step, batch, seed=1)
    return not _same_inputs(first, other)


def _same_inputs(one: Pass, other: Pass) -> bool:
    return len(one.inputs) == len(other.inputs) and all(map(torch.equal, one.inputs, other.inputs))


def _rows_given_anew(first: Pass, moved: Pass, n: int) -> list[int]:
    """Samples for which the model was given something else: what they put out says nothing of the model."""
    both = zip(first.inputs, moved.inputs, strict=False)
    pairs = [(a, b) for a, b in both if a.shape == b.shape and a.numel() and a.dim() and len(a) == n]
    return sorted({i for a, b in pairs for i in (a != b).reshape(n, -1).any(1).nonzero().flatten().tolist()})


def _with_row(step: Step, batch: Any, dim: int, place: int, source: int) -> Pass:
    """A pass of the batch in which one row of every entry is a copy of another row."""

    def replaced(_path: str, tensor: Tensor) -> Tensor:
        if tensor.dim() <= dim:
            return tensor
        index = torch.arange(tensor.shape[dim], device=tensor.device)
        index[place] = source
        return tensor.index_select(dim, index)

    return outputs_of(step, changed(batch, replaced))


def _second_axis_is_apart(step: Step, batch: Any, plain: list[Tensor]) -> bool:
    """Whether (time, samples, ...) is how this model reads: places of the second axis do not touch each other."""
    sizes = {t.shape[1] if t.dim() > 1 else 0 for _, t in entries(batch)} | {
        out.shape[1] if out.dim() > 2 else 0 for out in plain
    }
    size = sizes.pop()
    if sizes or size < 2:
        return False
    other = _with_row(step, batch, 1, 0, size - 1).outputs
    return _largest(plain, other, lambda out: out[:, 1:]) == 0


def _future(step: Step, batch: Any, plain: list[Tensor]) -> tuple[float | None, int | None]:
    """What tokens after the middle do to the outputs before."""
    out = plain[0]
    n = len(entries(batch)[0][1])
    lengths = {t.shape[1] for path, t in entries(batch) if t.dim() > 1 and len(t) == n and "mask" not in path}
    if len(lengths) != 1 or out.dim() != 3 or len(out) != n or out.shape[1] < 3:
        return None, None
    length = lengths.pop()
    if length - out.shape[1] not in (0, 1):
        return None, None
    token = out.shape[1] // 2
    before = slice(0, token + 1)

    def later(path: str, tensor: Tensor) -> Tensor:
        if "mask" in path or tensor.dim() < 2 or tensor.shape[:2] != (n, length):
            return tensor
        other = tensor.roll(1, 0) if n > 1 else tensor.flip(1)  # values that are legal here
        return torch.cat((tensor[:, before], other[:, token + 1 :]), 1)

    moved = changed(batch, later)
    if all(torch.equal(a, b) for (_, a), (_, b) in zip(entries(batch), entries(moved), strict=True)):
        return None, None
    return _largest(plain[:1], outputs_of(step, moved).outputs[:1], lambda out: out[:, before]), token


def next_tokens(batch: Any) -> bool:
    """Whether one entry is another one moved on by a token: the targets of a language model, shifted by the user."""
    wide = [tensor for _, tensor in entries(batch) if tensor.dim() > 1 and tensor.shape[1] > 2]
    return any(
        a is not b and a.shape == b.shape and bool((a[:, 1:] != a[:, :-1]).any()) and torch.equal(a[:, 1:], b[:, :-1])
        for a in wide
        for b in wide
    )
