"""check(): one batch, looked at from all sides before a training is paid for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from ..arguments import checked
from ..evidence import Settings
from ..examine import examine
from ..report import Case, Report
from ..step import Step
from .company import company
from .keep import untouched
from .phases import Phases
from .refused import plain, refused

__all__ = ["check"]


def check(
    model: nn.Module,
    batch: Any,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Any = None,
    *,
    step: Callable[[nn.Module, Any], Any] | None = None,
    scheduler: Any = None,
    scaler: Any = None,
    task: str | None = None,
    from_scratch: bool | None = None,
    objective: Literal["mining", "adversarial"] | None = None,
    accumulate: int = 1,
    tokenizer: Any = None,
    overfit: bool = True,
    budget_s: float = 30.0,
    seed: int = 0,
) -> Report:
    """Look at a model, one batch and a loss before training: what is wrong, with the numbers and the fix.

    Forward, backward and steps are run and all taken back: weights, buffers, optimizer, random numbers, modes, hooks and
    gradients are as they were, also after an exception. Nothing is moved between devices, nothing is written.

    Args:
        model: as it would be trained.
        batch: (input, target), a mapping of arguments, or whatever ``step`` takes; on the model's device.
        loss_fn: ``loss_fn(model(input), target)``; left out for a model that returns its loss, or with ``step``.
        optimizer: the one that will train it, or a list of several.
        step: ``step(model, batch)`` returns the loss, for any other training loop. One that calls ``backward()`` and steps its
            optimizer itself is looked at too, for the order in which it does so.
        scheduler: restored as well; it is not stepped.
        scaler: the gradient scaler, if there is one.
        task: "language" for what a batch does not tell by itself.
        from_scratch: True for fresh weights: then the loss at the start is known, and compared.
        objective: "mining" or "adversarial" for a loss that need not fall.
        accumulate: batches whose gradients are added up before a step.
        tokenizer: for its special ids.
        overfit: whether one batch is learned by heart, the longest of the probes.
        budget_s: seconds for all probes; those that have no time left are named in ``report.cases[0].left_out``.
        seed: of the random numbers that the probes use.

    Returns:
        A report with one case; ``print(report)`` says it.

    Raises:
        TypeError, ValueError: for an argument that makes no sense.
    """
    optimizers = checked(locals())
    subject, whole = type(plain(model)).__name__, Step(plain(model), loss_fn, step)
    if problem := refused(whole, batch):
        return Report((Case(subject, "before", problem=problem),))
    settings = Settings(task, from_scratch, objective, accumulate)
    phases = Phases(whole, batch, optimizers, scaler, tokenizer, settings, overfit=overfit, budget_s=budget_s, seed=seed)
    extra = [*optimizers[1:], *company(whole)]
    with (
        _eager(),
        torch.enable_grad(),
        untouched(whole.model, optimizers[0] if optimizers else None, scheduler, scaler, extra, batch=batch) as kept,
    ):
        phases.run(kept)
        # the evidence holds tensors of the model and the batch: the rules look at them as they were
        kept.restore()
        found, faults = examine(phases.evidence())
    return Report((phases.case(subject, found, faults),))


def _eager() -> AbstractContextManager[Any]:
    """Compiled code hides its losses. Loading the compiler takes seconds: without it nothing can be compiled."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
