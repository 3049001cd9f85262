"""The doctor inside of an Accelerate loop: ``with monitored(accelerator, model, optimizer) as monitor: ...``."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, is_grad_enabled, nn

from ..doctor.during.live import Monitor

__all__ = ["monitored"]

_LISTENERS, _BEFORE = "_losskit_listeners", "_losskit_before"  # of the function that stands in for accelerator.backward


@contextmanager
def monitored(
    accelerator: Any,
    model: nn.Module,
    optimizer: Any = None,
    loss_fn: Callable[..., Any] | None = None,
    **options: Any,
) -> Generator[Monitor, None, None]:
    """A :class:`losskit.doctor.Monitor` that is told of each ``accelerator.backward(loss)`` in the block.

    Losses of accumulated batches are averaged, and a step is counted where ``accelerator.sync_gradients`` is True. The batch is
    what the model was last called with, if that was by keywords, labels among them, as models of transformers are; otherwise
    call ``monitor.saw(batch)`` before backward if a sick batch is to be run again.

    Args:
        accelerator: an ``accelerate.Accelerator``, whose ``backward`` is watched.
        model, optimizer: as ``accelerator.prepare`` returned them.
        loss_fn, options: as in :class:`losskit.doctor.Monitor`.
    Returns:    the monitor; ``accelerator.backward`` is as before after the block.
    Raises:     what Monitor raises.
    Example:
        with monitored(accelerator, model, optimizer, loss_fn) as monitor:
            for batch in data:
                with accelerator.accumulate(model):
                    loss = loss_fn(model(batch[0]), batch[1])
                    monitor.saw(batch)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
        print(monitor.report())
    """
    facts = {"accumulate": accelerator.gradient_accumulation_steps, **(options.pop("facts", None) or {})}
    options.setdefault("scaler", accelerator.scaler)
    monitor = Monitor(model, optimizer, loss_fn, facts=facts, **options)
    losses: list[Tensor] = []

    def heard(loss: Tensor) -> None:
        losses.append(loss.detach())
        if accelerator.sync_gradients:
            total = sum(losses[1:], losses[0]) / len(losses)
            losses.clear()
            monitor.step(total)

    def called(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module.training and is_grad_enabled() and not args and "labels" in kwargs and not monitor.looking:
            monitor.saw(kwargs)

    handle = model.register_forward_pre_hook(called, with_kwargs=True)
    _listen(accelerator, heard)
    try:
        with monitor:
            yield monitor
    finally:
        _forget(accelerator, heard)
        handle.remove()


def _listen(accelerator: Any, listener: Callable[[Tensor], None]) -> None:
    """Tell this function of every loss after its backward pass: one patch for all blocks, which may end in any order."""
    listeners = getattr(accelerator.backward, _LISTENERS, None)
    if listeners is None:
        original, listeners = accelerator.backward, list[Callable[[Tensor], None]]()

        def backward(loss: Tensor, **kwargs: Any) -> None:
            original(loss, **kwargs)
            for one in tuple(listeners):
                one(loss)

        setattr(backward, _LISTENERS, listeners)
        setattr(backward, _BEFORE, vars(accelerator).get("backward"))
        accelerator.backward = backward
    listeners.append(listener)


def _forget(accelerator: Any, listener: Callable[[Tensor], None]) -> None:
    ours = accelerator.backward
    listeners = getattr(ours, _LISTENERS, None)
    if listeners is None:  # the user has set another one since; ours is called by nobody
        return
    listeners.remove(listener)
    if not listeners:
        before = getattr(ours, _BEFORE)
        del accelerator.backward
        vars(accelerator).update({} if before is None else {"backward": before})
