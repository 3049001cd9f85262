"""One batch in train and in eval mode, and the moments of its batch norms beside the running ones."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...core.pieces import pieces
from ..evidence.modes import Modes, Norm
from ..step import Step
from .entries import DROPOUTS, NORMS, entries, first_samples, loss_of, modes_kept, without_dropout

__all__ = ["look_at_modes", "mixed_modes"]

_PIECES = 8  # of the batch, whose losses give the standard error of the whole


def look_at_modes(step: Step, batch: Any, *, seed: int = 0) -> Modes:
    """The loss in three modes, no gradient; modes and buffers are left as they were."""
    model = step.model
    training, mixed = model.training, mixed_modes(model)
    with modes_kept(model):
        _train(model, mixed)
        with _norms_of(model) as norms:
            train = loss_of(step, batch, seed)
        found = norms()
    with modes_kept(model):
        _train(model, mixed)
        without_dropout(model)
        calm = loss_of(step, batch, seed)
    with modes_kept(model):
        model.eval()
        evaluation = loss_of(step, batch, seed)
        spread = _spread(step, batch, evaluation, seed)
    return Modes(train, evaluation, calm, spread, found, mixed, training)


def mixed_modes(model: nn.Module) -> tuple[str, ...]:
    """Modules that carry on otherwise than the model does: dropouts and batch norms, for which the mode matters."""
    return tuple(name for name, m in model.named_modules() if isinstance(m, (*NORMS, *DROPOUTS)) and m.training != model.training)


def _train(model: nn.Module, mixed: tuple[str, ...]) -> None:
    """Train mode, but for the modules that the user has put into eval mode within a model in train mode."""
    kept = mixed if model.training else ()
    model.train()
    for name in kept:
        model.get_submodule(name).eval()


@contextmanager
def _norms_of(model: nn.Module) -> Generator[Callable[[], tuple[Norm, ...]], None, None]:
    """Watch the batch norms of one pass in train mode."""
    found: list[Norm] = []
    handles: list[Any] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if module.training and isinstance(inputs[0], Tensor):
                found.append(_norm(name, module, inputs[0].detach()))

        return look

    for name, module in model.named_modules():
        if isinstance(module, NORMS) and isinstance(module.running_mean, Tensor):
            handles.append(module.register_forward_pre_hook(watch(name)))
    try:
        yield lambda: tuple(found)
    finally:
        for handle in handles:
            handle.remove()


def _norm(name: str, module: nn.Module, x: Tensor) -> Norm:
    kept: dict[str, Tensor] = dict(module.named_buffers(recurse=False))
    mean, var = kept["running_mean"].double(), kept["running_var"].double() + float(getattr(module, "eps", 0.0))
    rows = x.transpose(0, 1).reshape(x.shape[1], -1).double()
    shift = ((rows.mean(1) - mean).abs() / var.sqrt()).max()
    own = rows.var(1) + float(getattr(module, "eps", 0.0)) if rows.shape[1] > 1 else var
    ratio = (own / var).log().abs().max().exp()
    steps = int(kept["num_batches_tracked"]) if "num_batches_tracked" in kept else None
    return Norm(name, float(shift), float(ratio), steps, rows.shape[1])


def _spread(step: Step, batch: Any, whole: float, seed: int) -> float:
    """Standard error of the loss, from the losses of pieces of the batch; NaN where it cannot be cut."""
    n = max((len(tensor) for _, tensor in entries(batch)), default=0)
    _, rows = first_samples(batch, max(n - 1, 1))
    if rows == n or n < 2:
        return float("nan")
    count = min(_PIECES, n)
    bounds = [n * i // count for i in range(count + 1)]
    try:
        parts = [loss_of(step, piece, seed) for piece in pieces(batch, [slice(a, b) for a, b in pairwise(bounds)])]
    except (RuntimeError, ValueError, TypeError, IndexError):  # a batch that only makes sense whole
        return float("nan")
    values = torch.tensor(parts, dtype=torch.float64)
    factor = count if abs(float(values.sum()) - whole) < abs(float(values.mean()) - whole) else 1  # a sum has no mean
    return float(values.std() * factor / count**0.5)
