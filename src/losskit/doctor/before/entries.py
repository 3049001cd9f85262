"""Batches of any make, changed entry by entry, and passes over them that leave no trace."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...core.pieces import count_rows, pieces
from ..step import Step, output_tensor

__all__ = [
    "DROPOUTS",
    "NORMS",
    "Pass",
    "changed",
    "entries",
    "first_samples",
    "has_rows",
    "loss_of",
    "modes_kept",
    "outputs_of",
    "same_randomness",
    "spread_samples",
    "without_dropout",
    "without_graph",
]

T = TypeVar("T")

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def entries(batch: Any, path: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor with at least one axis, by its path: "0", "input_ids"."""
    if isinstance(batch, Tensor):
        return [(path or "0", batch)] if batch.dim() else []
    if isinstance(batch, Mapping):
        return [one for key, value in batch.items() for one in entries(value, f"{path}.{key}" if path else str(key))]
    if isinstance(batch, (list, tuple)):
        return [one for i, value in enumerate(batch) for one in entries(value, f"{path}.{i}" if path else str(i))]
    return []


def changed(batch: Any, change: Callable[[str, Tensor], Tensor], path: str = "") -> Any:
    """The batch of the same make with every tensor of it changed."""
    if isinstance(batch, Tensor):
        return change(path or "0", batch) if batch.dim() else batch
    if isinstance(batch, Mapping):
        values = {key: changed(value, change, f"{path}.{key}" if path else str(key)) for key, value in batch.items()}
        if type(batch) is dict:
            return values
        other: Any = copy.copy(batch)  # a BatchEncoding has attributes that a dict has not
        other.update(values)
        return other
    if isinstance(batch, (list, tuple)):
        row = [changed(value, change, f"{path}.{i}" if path else str(i)) for i, value in enumerate(batch)]
        return type(batch)(*row) if hasattr(batch, "_fields") else type(batch)(row)
    return batch


def has_rows(batch: Any) -> bool:
    """Whether every entry can be cut and moved by its rows: sparse tensors cannot."""
    return all(tensor.layout == torch.strided for _, tensor in entries(batch))


def first_samples(batch: Any, most: int) -> tuple[Any, int]:
    """The first samples of the batch, and how many; the whole batch where its entries have not one row a sample."""
    return _some(batch, most, lambda _: slice(most))


def spread_samples(batch: Any, most: int) -> tuple[Any, int]:
    """As first_samples, but from all over the batch, which may be sorted by class; neighbours stay together in pairs."""
    pairs = most // 2  # two views of a sample, or an anchor and its positive, may lie side by side
    return _some(batch, 2 * pairs, lambda rows: [2 * (i * (rows // 2) // pairs) + k for i in range(pairs) for k in range(2)])


def _some(batch: Any, most: int, places: Callable[[int], slice | list[int]]) -> tuple[Any, int]:
    """``most`` samples at the places that are made of their number, where there are more."""
    try:
        rows = count_rows(batch, "batch") if has_rows(batch) else None
    except (TypeError, ValueError):
        rows = None
    if rows is None:
        return batch, max((len(tensor) for _, tensor in entries(batch)), default=0)
    if rows <= most:
        return batch, rows
    return pieces(batch, [places(rows)])[0], most


@contextmanager
def same_randomness(seed: int = 0) -> Generator[None, None, None]:
    """The same random numbers in every such block; afterwards those that would have come."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def modes_kept(model: nn.Module) -> Generator[None, None, None]:
    """Train and eval flags, and buffers (the moments of batch norms), as they were."""
    flags = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def without_dropout(model: nn.Module) -> None:
    """Every dropout module into eval mode."""
    for module in model.modules():
        if isinstance(module, DROPOUTS):
            module.training = False


def loss_of(step: Step, batch: Any, seed: int = 0, *, anew: Callable[[], object] = lambda: None) -> float:
    """The loss without a graph, with the random numbers of the seed; ``anew`` is called before a second try."""

    def call() -> float:
        with same_randomness(seed):
            return float(step(batch).detach())

    return without_graph(call, anew)


def without_graph(call: Callable[[], T], anew: Callable[[], object] = lambda: None) -> T:
    """What the call returns without a graph, or with one if it takes gradients itself, as a gradient penalty does."""
    try:
        with torch.no_grad():
            return call()
    except RuntimeError as problem:
        if "does not require grad" not in str(problem):
            raise
    anew()
    with torch.enable_grad():
        return call()


@dataclass(frozen=True)
class Pass:
    """What went through the model in one evaluation of the loss."""

    outputs: list[Tensor]
    """What the model returned at each of its calls, in float64."""
    inputs: list[Tensor]
    """What it was given, labels left out."""


def outputs_of(step: Step, batch: Any, seed: int = 0) -> Pass:
    """One pass without gradients, with the random numbers of the seed."""
    outputs: list[Tensor] = []
    inputs: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        inputs.extend(t.detach() for path, t in (*entries(args), *entries(named)) if not path.startswith(("label", "target")))
        tensor = output_tensor(output)
        if tensor is not None:
            outputs.append(tensor.detach().double())

    def forget() -> None:
        outputs.clear()
        inputs.clear()

    handle = step.model.register_forward_hook(keep, with_kwargs=True)
    try:
        loss_of(step, batch, seed, anew=forget)
    finally:
        handle.remove()
    return Pass(outputs, inputs)
