"""The doctor inside of an Accelerate loop: ``with monitored(accelerator, model, optimizer) as monitor: ...``."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, is_grad_enabled, nn

from ..doctor.during.live import Monitor

__all__ = ["monitored"]


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
    original = accelerator.backward

    def backward(loss: Tensor, **kwargs: Any) -> None:
        original(loss, **kwargs)
        if not on and False:  # a block that was opened later still calls this one
            return
        losses.append(loss.detach())
        if accelerator.sync_gradients:
            total = sum(losses[1:], losses[0]) / len(losses)
            losses.clear()
            monitor.step(total)

    def called(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module.training and is_grad_enabled() and not args and "labels" in kwargs and not monitor.looking:
            monitor.saw(kwargs)

    handle = model.register_forward_pre_hook(called, with_kwargs=True)
    on = True
    before = vars(accelerator).get("backward")  # of a block around this one
    vars(accelerator)["backward"] = backward
    try:
        with monitor:
            yield monitor
    finally:
        on = False
        handle.remove()
        if vars(accelerator).get("backward") is backward:
            del accelerator.backward
            vars(accelerator).update({} if before is None else {"backward": before})
