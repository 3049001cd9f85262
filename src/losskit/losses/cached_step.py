"""A batch larger than an encoder's memory, with the gradient of the whole batch: GradCache."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..core.call import whole_number
from ..core.check import ShapeError, at_least, debugging
from ..core.pieces import count_rows, leaves, pieces
from ..ops.autograd import apply

__all__ = ["CachedStep"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class CachedStep:
    r"""A loss whose rows know each other, on a batch that its encoders only hold in chunks; the gradient is exact.

    ``value = step((encoder, batch), ...)`` encodes every batch chunk by chunk without keeping what backward needs, and calls
    the loss once, on all embeddings. ``value`` is an ordinary 0-d tensor: ``value.backward()`` differentiates the loss, encodes
    each chunk a second time and brings the gradient of its embeddings into the encoder's ``.grad``. So the loop around it
    stays as it is: GradScaler, gradient accumulation, clipping, a sum with another loss, ``accelerator.backward``.
    Memory is that of one chunk and all embeddings, time two forward passes and a backward pass.

    Random numbers (dropout) and autocast in the second pass are those of the first; the generators are left as the first pass
    left them. Under DistributedDataParallel the gradients of a step travel once. The loss may have a ``group``, parameters of its
    own (a temperature) and tiles of its own: chunks are the encoders' business alone.
    Python's and numpy's generators are not rewound, and gradients reach ``.grad`` only: ``torch.autograd.grad`` finds no
    encoder. Inside ``losskit.debug()`` a second pass that gives other embeddings than the first raises.

    Use when:   a contrastive loss wants more negatives than the encoder's activations leave room for.
    Avoid when: the rows of the loss do not know each other: accumulate gradients, which costs one forward pass, not two.
    Shape:      each encoder: a chunk of n rows -> (n, ...); loss: what they make of all rows -> ()
    Args:
        loss: called as ``loss(*embeddings, **options)``; a function or a module.
        chunk_size: >= 1, the rows an encoder sees at once.
    Returns:    what the loss returns.
    Raises:     TypeError; ValueError for a batch without rows; ShapeError for tensors of a batch that differ in rows.
    Warns:      UserWarning, once, for BatchNorm in train mode: it sees chunks, not the batch. In backward for encoders that
                have parameters but all of whose embeddings have no graph, as of ``model.encode``.
    Reference:  Gao et al. 2021, arXiv:2101.06983
    Example:
        >>> encoder = torch.nn.Linear(4, 2)
        >>> images, texts = torch.randn(100, 4), torch.randn(100, 4)
        >>> step = losskit.CachedStep(losskit.clip_loss, chunk_size=32)
        >>> step((encoder, images), (encoder, texts)).backward()
        >>> encoder.weight.grad.shape
        torch.Size([2, 4])
    """

    def __init__(self, loss: Callable[..., Tensor], chunk_size: int) -> None:
        whole_number("chunk_size", chunk_size)
        at_least("chunk_size", chunk_size, 1)
        if not callable(loss):
            raise TypeError(f'"loss" must be a function or a module, got {type(loss).__name__}')
        self.loss, self.chunk_size, self._warned = loss, chunk_size, False

    def __call__(self, *towers: Any, **options: Any) -> Tensor:
        """The loss of the embeddings; every (encoder, batch), by place or by name, becomes one tensor; all else stays (labels).

        An encoder is called with pieces of its batch of the same make: a tensor, a tuple, list or dict of tensors, nested or
        not, a BatchEncoding. What has no rows (None, numbers, 0-d tensors) is in every piece; a list without tensors (texts)
        is one entry a row. For anything else: ``lambda batch: model(**batch).last_hidden_state[:, 0]``.
        """
        pairs = [given for given in (*towers, *options.values()) if _is_tower(given)]
        if not pairs:
            raise TypeError("CachedStep takes (encoder, batch) tuples, got none: step((encoder, batch), ...)")
        embeddings = iter(self.encode(*pairs))
        placed = [next(embeddings) if _is_tower(given) else given for given in towers]
        return self.loss(*placed, **{name: next(embeddings) if _is_tower(given) else given for name, given in options.items()})

    def encode(self, *towers: tuple[Callable[..., Tensor], Any]) -> tuple[Tensor, ...]:
        """The embeddings alone, one tensor for each (encoder, batch), for a loss that is called elsewhere.

        All of a step belong into one call: it is what says which chunk is the last, whose gradients travel.
        """
        ready = [_Tower(encoder, batch, self.chunk_size, f"batch {i}") for i, (encoder, batch) in enumerate(towers)]
        self._warn(module for tower in ready for module in tower.modules)
        encode = cast("Callable[..., tuple[Tensor, ...]]", torch.compiler.disable(_encode))
        return encode(ready)

    def _warn(self, modules: Iterator[nn.Module]) -> None:
        if self._warned or not any(isinstance(m, _NORMS) and m.training for m in modules):
            return
        self._warned = True
        warnings.warn(
            f"BatchNorm in train mode sees {self.chunk_size} rows, not the batch, and updates its statistics twice: the step is"
            " not exact; call .eval() on those layers, or take LayerNorm or GroupNorm",
            UserWarning,
            stacklevel=4,
        )


@dataclass
class _Tower:
    """One encoder and its batch: what to run, and under which conditions."""

    encoder: Callable[..., Tensor]
    batch: Any
    chunk_size: int
    name: str
    chunks: list[slice] = field(init=False)
    modules: list[nn.Module] = field(init=False)
    learns: bool = field(init=False)
    frozen: bool = field(init=False)
    devices: list[torch.device] = field(init=False)
    autocast: list[tuple[str, torch.dtype, bool]] = field(init=False)
    states: list[list[Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        rows = count_rows(self.batch, self.name)
        self.chunks = [slice(i, min(i + self.chunk_size, rows)) for i in range(0, rows, self.chunk_size)]
        self.modules = [m for top in _called(self.encoder) for m in top.modules()]
        given = [leaf for _, leaf in leaves(self.batch, self.name) if isinstance(leaf, Tensor)]
        held = [t for m in self.modules for t in chain(m.parameters(recurse=False), m.buffers(recurse=False))]
        if made := [t for t in given if t.grad_fn is not None]:
            raise ValueError(
                f'"{self.name}" holds a tensor {tuple(made[0].shape)} with a graph, expected data: make it in the encoder'
            )
        self.learns = any(t.requires_grad for t in chain(given, held))
        # what a function may learn besides modules is not known
        self.frozen = isinstance(self.encoder, nn.Module) and not self.learns
        self.devices = list({t.device for t in chain(given, held) if t.device.type not in ("cpu", "meta")})
        kinds = sorted({"cpu", *(d.type for d in self.devices)})
        self.autocast = [(k, torch.get_autocast_dtype(k), torch.is_autocast_enabled(k)) for k in kinds]
        self.states = []

    def first(self) -> Tensor:
        """All embeddings, without a graph; the random numbers that each chunk met are remembered."""
        found: list[Tensor] = []
        with torch.no_grad(), self.conditions():
            for piece, rows in zip(pieces(self.batch, self.chunks), self.chunks, strict=True):
                self.states.append(_random(self.devices))
                found.append(self.run(piece, rows))
        return torch.cat(found)

    def second(self, chunk: int, piece: Any, grad: Tensor, first: Tensor | None) -> bool:
        """Encode a chunk as it was encoded before, and bring the gradient of its embeddings to whatever learns, if anything."""
        rows, now = self.chunks[chunk], _random(self.devices)
        try:
            with torch.enable_grad(), self.conditions():
                _rewind(self.devices, self.states[chunk])
                out = self.run(piece, rows)
        finally:
            _rewind(self.devices, now)
        if first is not None and not torch.allclose(out, first[rows], rtol=1e-3, atol=1e-5, equal_nan=True):
            raise RuntimeError(f'the encoder of "{self.name}" gave other embeddings the second time: is it random without torch?')
        if out.requires_grad:
            torch.autograd.backward(out, grad[rows])
        return out.requires_grad

    def run(self, piece: Any, rows: slice) -> Tensor:
        out: Any = self.encoder(piece)
        if not isinstance(out, Tensor):
            remedy = "wrap it: lambda batch: model(**batch).last_hidden_state[:, 0]"
            raise TypeError(f'the encoder of "{self.name}" returned {type(out).__name__}, expected a Tensor; {remedy}')
        if out.ndim == 0 or len(out) != rows.stop - rows.start:
            wanted = f"({rows.stop - rows.start}, ...)"
            raise ShapeError(
                f'the encoder of "{self.name}" returned {tuple(out.shape)}, expected {wanted}: as many rows as it got'
            )
        return out

    def conditions(self) -> ExitStack:
        """The autocast of the first pass, without its cache, where older torch finds weights that have no graph."""
        stack = ExitStack()
        for kind, dtype, enabled in self.autocast:
            stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False))
        return stack


def _encode(towers: list[_Tower]) -> tuple[Tensor, ...]:
    learning = [tower for tower in towers if not tower.frozen]
    # backward is called on what has an input that learns: here a number of no other use
    found = iter(apply(_Encode, torch.zeros((), requires_grad=True), learning) if learning else ())
    return tuple(tower.first() if tower.frozen else next(found) for tower in towers)


class _Encode(torch.autograd.Function):
    """All encoders of a step as one node, so that its backward knows which chunk is the last."""

    @staticmethod
    def forward(ctx: Any, learns: Tensor, towers: list[_Tower]) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.towers = towers
        found = tuple(tower.first() for tower in towers)
        ctx.first = [t.clone() if debugging() else None for t in found]
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("CachedStep has no second derivative: call backward() without create_graph=True")
        reached = False
        used = [x for x in zip(ctx.towers, grads, ctx.first, strict=True) if x[1] is not None]
        last: dict[nn.Module, tuple[int, int]] = {}
        for at, (tower, *_) in enumerate(used):
            last.update({m: (at, len(tower.chunks) - 1) for m in _waiting(tower)})
        for at, (tower, grad, first) in enumerate(used):
            with torch.enable_grad():  # a batch may learn, too
                cut = pieces(tower.batch, tower.chunks)
            for chunk, piece in enumerate(cut):
                with ExitStack() as stack:  # around forward and backward, as DistributedDataParallel wants it
                    for module in _waiting(tower):
                        if last[module] != (at, chunk):
                            stack.enter_context(module.no_sync())
                    reached |= tower.second(chunk, piece, grad, first)
        if not reached and any(tower.learns for tower, *_ in used):
            warnings.warn(
                "no encoder of this step learns, though there are parameters that could: their embeddings have no graph;"
                " call the model itself, not a method under torch.no_grad (as .encode() is)",
                UserWarning,
                stacklevel=2,
            )
        return None, None


def _waiting(tower: _Tower) -> list[DistributedDataParallel]:
    """The modules whose gradients travel."""
    return [m for m in tower.modules if isinstance(m, DistributedDataParallel)]


def _random(devices: list[torch.device]) -> list[Tensor]:
    """The states of the random generators: CPU, then each device."""
    return [torch.get_rng_state(), *(torch.get_device_module(d).get_rng_state(d) for d in devices)]


def _rewind(devices: list[torch.device], states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for device, state in zip(devices, states[1:], strict=True):
        torch.get_device_module(device).set_rng_state(state, device)


def _is_tower(argument: Any) -> bool:
    return isinstance(argument, tuple) and len(argument) == 2 and callable(argument[0])


def _called(encoder: Any) -> list[nn.Module]:
    """The modules that an encoder is or, as far as a function's code tells, calls: by name, or as an attribute by name."""
    if isinstance(encoder, nn.Module):
        return [encoder]
    if isinstance(encoder, functools.partial):
        return [m for part in (encoder.func, *encoder.args, *encoder.keywords.values()) for m in _called(part)]
    if inspect.ismethod(encoder):
        owner, code = encoder.__self__, encoder.__func__.__code__
        return [owner] if isinstance(owner, nn.Module) else _named(code.co_names, [owner])
    if inspect.isfunction(encoder):
        seen = inspect.getclosurevars(encoder)
        values = [*seen.nonlocals.values(), *seen.globals.values()]
        return [v for v in values if isinstance(v, nn.Module)] + _named(encoder.__code__.co_names, values)
    return [v for v in getattr(encoder, "__dict__", {}).values() if isinstance(v, nn.Module)]


def _named(names: Sequence[str], owners: Sequence[Any]) -> list[nn.Module]:
    found = [vars(owner).get(name) for owner in owners if hasattr(owner, "__dict__") for name in names]
    return [m for m in found if isinstance(m, nn.Module)]
