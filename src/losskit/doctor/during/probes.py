"""What can be read from one batch of a live run: modules, embeddings, classes, the gradient's noise."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..before.modules import Watched, watch_modules
from ..before.spy import Spy
from ..evidence.calls import LossCall
from ..evidence.precision import Module

__all__ = [
    "as_it_was",
    "class_shares",
    "eager",
    "embeddings_of",
    "evaluate",
    "noise_scale",
    "slice_batch",
    "supervised_rows",
    "temperature",
    "unmixed",
]

MOST_CLASSES = 1000  # shares of a vocabulary are no use to a rule, and heavy
TEMPERATURES = ("logit_scale", "log_logit_scale", "temperature", "log_temperature", "tau", "scale")
LN_100 = math.log(100.0)  # where CLIP clamps its logit_scale, Radford et al. 2021
EMBEDDINGS = {
    "triplet_margin_loss": ("anchor", "positive", "negative"),
    "triplet_margin_with_distance_loss": ("anchor", "positive", "negative"),
    "cosine_embedding_loss": ("input1", "input2"),
}


def eager(model: nn.Module) -> nn.Module:
    """The module itself: out of ``torch.compile`` and ``DistributedDataParallel``, whose own forward is not ours to call."""
    while True:
        inside = getattr(model, "_orig_mod", None)
        if inside is None and type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            inside = model.module
        if not isinstance(inside, nn.Module):
            return model
        model = inside


# ---------------------------------------------------------------------- one forward pass of our own


@contextlib.contextmanager
def as_it_was(model: nn.Module) -> Generator[None, None, None]:
    """Random numbers and buffers (running moments of batch norms) come back; a forward does not touch weights and gradients."""
    buffers = [(b, b.clone()) for b in model.buffers()]
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        with torch.no_grad():
            for buffer, old in buffers:
                buffer.copy_(old)


def evaluate(
    loss: Callable[[], Tensor],
    model: nn.Module,
    *,
    seed: int,
    autocast: tuple[str, torch.dtype] | None,
    modules: bool = False,
    spy: bool = False,
    graph: bool = False,
) -> tuple[float, tuple[Module, ...], tuple[LossCall, ...]]:
    """The loss of a batch, with what the modules made of it and which losses were called; nothing is left changed.

    A loss that takes gradients itself has its graph.
    """
    try:
        return _evaluated(loss, model, seed, autocast, modules=modules, spy=spy, graph=graph)
    except RuntimeError as problem:
        if graph or "does not require grad" not in str(problem):
            raise
    return _evaluated(loss, model, seed, autocast, modules=modules, spy=spy, graph=True)


def _evaluated(
    loss: Callable[[], Tensor],
    model: nn.Module,
    seed: int,
    autocast: tuple[str, torch.dtype] | None,
    *,
    modules: bool,
    spy: bool,
    graph: bool,
) -> tuple[float, tuple[Module, ...], tuple[LossCall, ...]]:
    seen: Watched | None = None
    spied: Spy | None = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(as_it_was(model))
        stack.enter_context(torch.set_grad_enabled(graph))
        torch.manual_seed(seed)  # the same dropout before and after a step
        if autocast is not None:
            stack.enter_context(torch.autocast(autocast[0], dtype=autocast[1]))
        compiled = any(getattr(m, "_compiled_call_impl", None) is not None for m in model.modules())
        stack.enter_context(torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext())
        if modules:
            seen = stack.enter_context(watch_modules(model))
        if spy:
            spied = stack.enter_context(Spy())
        total = loss()
        value = float(total.detach())
        calls = () if spied is None else tuple(spied.finish(total)) if graph else _as_they_were(spied)
    return value, () if seen is None else seen.modules(), calls


def _as_they_were(spy: Spy) -> tuple[LossCall, ...]:
    """The calls with their arguments alone: a second call sample by sample costs more than what a look reads of it."""
    recorded, spy.calls = spy.calls, []
    return tuple(LossCall(one.name, one.home, one.tensors, one.options, one.value) for one in recorded)


# ---------------------------------------------------------------------- what the losses were given


def embeddings_of(calls: Sequence[LossCall]) -> tuple[tuple[str, float, float], ...]:
    """Of each tensor of embeddings: its name, the spread of its unit rows, and the mean cosine of different rows."""
    found: list[tuple[str, float, float]] = []
    for call in calls:
        for name in _embedding_names(call):
            value = call.tensors.get(name)
            if value is None or value.dim() < 2 or value.numel() == 0:
                continue
            rows = nn.functional.normalize(value.detach().double().reshape(-1, value.shape[-1]), dim=-1)
            count = rows.shape[0]
            if count < 4:  # too few to speak of a spread
                continue
            mean = rows.mean(0)
            cosine = (count * float(mean @ mean) - 1) / (count - 1)  # sum over i != j of <r_i, r_j> = |sum r|^2 - n
            found.append((name, float(rows.std(0, correction=0).mean()), cosine))
    return tuple(found)


def _embedding_names(call: LossCall) -> Iterator[str]:
    if call.home != "losskit":
        yield from EMBEDDINGS.get(call.name, ())
        return
    from ...core.card import CATALOGUE
    from ...core.domain import Embeddings

    card = CATALOGUE.get(call.name)
    for name, domain in (card.sample if card else {}).items():
        if isinstance(domain, Embeddings):
            yield name


def _classes(calls: Sequence[LossCall]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Scores (*, C), class indices (N,) and which of them count, of the first loss that has them."""
    for call in calls:
        scores, target = call.tensors.get("input"), call.tensors.get("target")
        if call.name not in ("cross_entropy", "nll_loss") and call.home == "torch":
            continue
        if scores is None or target is None or target.is_floating_point() or target.dim() != scores.dim() - 1 or scores.dim() < 2:
            continue
        axis = 1 if call.home == "torch" else int(call.options.get("class_dim") or -1)
        rows = scores.movedim(axis, -1)
        if rows.shape[:-1] != target.shape:
            continue
        flat = target.reshape(-1)
        valid = (flat != call.options.get("ignore_index", -100)) & (flat >= 0) & (flat < rows.shape[-1])
        return rows, flat, valid
    return None


def class_shares(calls: Sequence[LossCall]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """For each class the share of rows for which it is the highest, and the share of rows that have it."""
    found = _classes(calls)
    if found is None or found[0].shape[-1] > MOST_CLASSES or not bool(found[2].any()):
        return (), ()
    rows, target, valid = found
    classes = rows.shape[-1]
    scores, target = rows.reshape(-1, classes)[valid], target[valid]
    count = len(target)
    predicted = torch.bincount(scores.argmax(-1), minlength=classes).double() / count
    true = torch.bincount(target, minlength=classes).double() / count
    return tuple(predicted.tolist()), tuple(true.tolist())


def supervised_rows(calls: Sequence[LossCall]) -> int | None:
    """Rows that the first loss over classes counted."""
    found = _classes(calls)
    return None if found is None else int(found[2].sum())


# ---------------------------------------------------------------------- what the model is


def temperature(model: nn.Module) -> tuple[str, float] | None:
    """A learned temperature by its name, and its value."""
    for name, p in model.named_parameters():
        if p.numel() == 1 and p.requires_grad and name.rsplit(".", 1)[-1] in TEMPERATURES:
            return name, float(p.detach())
    return None


def unmixed(model: nn.Module) -> tuple[str, ...]:
    """Modules whose mode is not that of the model."""
    return tuple(name for name, m in model.named_modules() if m.training != model.training)[:50]


# ---------------------------------------------------------------------- noise of the gradient


def slice_batch(batch: Any, start: int, stop: int, samples: int) -> Any:
    """The samples of a batch from start to stop; what has no sample axis is left as it is."""
    if isinstance(batch, Tensor):
        return batch[start:stop] if batch.dim() and batch.shape[0] == samples else batch
    if isinstance(batch, Mapping):
        return {name: slice_batch(value, start, stop, samples) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(slice_batch(value, start, stop, samples) for value in batch) if type(batch) in (list, tuple) else batch
    return batch


def noise_scale(halves: Sequence[Callable[[], Tensor]], model: nn.Module, size: int, *, seed: int) -> tuple[float, float]:
    """(tr Sigma, |G|^2) of McCandlish et al. 2018, both unbiased, from the gradients of two halves of ``size`` samples each."""
    weights = [p for p in model.parameters() if p.requires_grad]
    grads: list[list[Tensor]] = []
    with as_it_was(model), torch.enable_grad():
        for half in halves:
            torch.manual_seed(seed)
            grads.append(list(torch.autograd.grad(half(), weights, allow_unused=True, materialize_grads=True)))
    first, second = grads
    product = sum(float((a * b).sum(dtype=torch.float64)) for a, b in zip(first, second, strict=True))
    apart = sum(float((a - b).square().sum(dtype=torch.float64)) for a, b in zip(first, second, strict=True))
    return size * apart / 2, product
