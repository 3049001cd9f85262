"""The doctor inside of transformers' Trainer: ``Trainer(..., callbacks=[MonitorCallback()])``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import wraps
from inspect import currentframe
from threading import get_ident
from types import CodeType
from typing import Any
from weakref import WeakMethod, finalize

from torch import Tensor, is_grad_enabled, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import Self, override

from ..doctor.during.live import Monitor
from ..doctor.report import Report

try:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.utils import logging
except ImportError as problem:
    raise ImportError("losskit.integrations.hf needs transformers: pip install 'losskit[hf]'") from problem

__all__ = ["MonitorCallback"]

_LOOP = "_inner_training_loop"  # the part of train() that a trainer runs anew when memory was short
_OURS = "_closes_a_monitor"


class MonitorCallback(TrainerCallback):
    """A :class:`losskit.doctor.Monitor` of a Trainer's run, with the loss as the model returns it.

    What a Trainer logs is not that loss: ``logging_nan_inf_filter`` (on by default) puts the running average in the place of
    losses that are not finite. This callback takes the loss where the model is called; for a Trainer that computes it elsewhere
    (``compute_loss_func``, label smoothing, its own ``compute_loss``) call ``attach(trainer)``. A checkpoint whose weights
    are not finite is not written, be it due at a step or at the end of an epoch.

    A callback is not told that ``train()`` has raised. ``with callback:`` and ``attach(trainer)`` take the hooks away then;
    without either they go by themselves when the model is next called outside of the loop, or when nobody holds callback and
    Trainer any longer.

    Args:
        options: of :class:`losskit.doctor.Monitor`, e.g. ``sinks=["terminal", "doctor.jsonl"], on_nonfinite="skip"``.
    Raises:     ImportError without transformers; what Monitor raises.
    Example:
        callback = MonitorCallback()
        with callback:  # takes the hooks away if train() raises; so does attach(trainer)
            Trainer(model, args, train_dataset=data, callbacks=[callback]).train()
        print(callback.report())
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.monitor: Monitor | None = None
        self._handles: list[RemovableHandle] = []
        self._gone: finalize[..., Any] | None = None
        self._loop: tuple[int, CodeType] | None = None
        self._losses: list[Tensor] = []
        self._adds_up, self._ranks = False, 1
        self._tell: Callable[[Tensor], None] = lambda _: None
        self._trainer: Trainer | None = None
        self._compute_loss: Callable[..., Any] | None = None
        self._stack = ExitStack()
        self._warned = False

    def attach(self, trainer: Trainer) -> Self:
        """Take the loss from ``trainer.compute_loss`` rather than from the model's output, and close if ``train()`` raises."""
        self._trainer = trainer
        inner = getattr(trainer, _LOOP, None)
        if inner is not None and not hasattr(inner, _OURS):
            vars(trainer)[_LOOP] = self._closing(inner)
        return self

    def close(self) -> None:
        """Take all hooks away, in case ``train()`` has raised: a callback is not told of that."""
        self._close(finished=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _closing(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(inner)
        def _inner_training_loop(*args: Any, **kwargs: Any) -> Any:
            try:
                return inner(*args, **kwargs)
            finally:
                self.close()  # nothing is left to close where it has come to its end

        setattr(_inner_training_loop, _OURS, True)
        return _inner_training_loop

    def report(self) -> Report:
        """What was found; of an empty run before training."""
        return self.monitor.report() if self.monitor is not None else Report(())

    # ------------------------------------------------------------------ events of the Trainer

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        model, optimizer = kwargs["model"], kwargs.get("optimizer")
        self._close(finished=False)
        options: dict[str, Any] = {"name": args.run_name or args.output_dir or "trainer", **self.options}
        options["facts"] = {**_facts(args, state, model), **(options.get("facts") or {})}
        trainer = self._trainer
        if trainer is not None:
            self._compute_loss = original = trainer.compute_loss
            own = type(trainer).compute_loss is not Trainer.compute_loss

            def again(model: nn.Module, batch: Any) -> Any:
                return original(model, dict(batch))  # a copy, since compute_loss may take the labels out

            options.setdefault("step", again)
            options.setdefault("looks", not own)  # a compute_loss of the user's own may count or log
        self.monitor = Monitor(model, optimizer, **options)
        self.monitor.open()
        self._ranks = args.world_size if args.average_tokens_across_devices else 1
        if trainer is None:
            self._loop = _loop_above()
            self._handles = [
                model.register_forward_pre_hook(_weakly(self._before_forward), with_kwargs=True),
                model.register_forward_hook(_weakly(self._after_forward), with_kwargs=True, always_call=True),
            ]
            self._gone = finalize(self, _let_go, self._handles, self.monitor)
            self._gone.atexit = False
        else:
            vars(trainer)["compute_loss"] = self._heard_loss  # of this instance, not of the class

    @override
    def on_pre_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.monitor is None or not self._losses:
            return
        count = 1 if self._adds_up else len(self._losses)
        total = self._losses[0] if len(self._losses) == 1 else sum(self._losses[1:], self._losses[0]) / count
        self._losses = []
        fine = self.monitor.step(total, at=state.global_step)
        if not fine and not self._warned and args.logging_nan_inf_filter:
            self._warned = True
            logging.get_logger(__name__).warning(
                f"step {state.global_step} is not finite, and logging_nan_inf_filter=True hides that in the log of the Trainer:"
                " give TrainingArguments(logging_nan_inf_filter=False)"
            )

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if control.should_save and self.monitor is not None and self.monitor.poisoned:
            control.should_save = False

    @override
    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.on_step_end(args, state, control, **kwargs)

    @override
    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss = (kwargs.get("metrics") or {}).get("eval_loss")
        if loss is not None and self.monitor is not None:
            self.monitor.evaluated(float(loss), state.global_step)

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._close(finished=True)

    def _close(self, *, finished: bool) -> None:
        if self._gone is not None:
            self._gone.detach()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._stack.close()
        if self._trainer is not None and self._compute_loss is not None:
            del vars(self._trainer)["compute_loss"]  # the class's own is there again
            self._compute_loss = None
        if self.monitor is not None:
            self.monitor.close(finished=finished)

    # ------------------------------------------------------------------ where the loss comes from

    def _before_forward(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._loop is not None and not _runs(*self._loop):
            self.close()  # train() has raised, and this is somebody else's call
            return
        if model.training and is_grad_enabled() and self.monitor is not None and not self.monitor.looking:
            self._tell = self._stack.enter_context(self.monitor.listening())

    def _after_forward(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self.monitor is None or self.monitor.looking:
            return
        loss = _loss_of(output)
        if model.training and is_grad_enabled() and loss is not None:
            self._adds_up = kwargs.get("num_items_in_batch") is not None
            self.monitor.saw({name: value for name, value in kwargs.items() if name != "num_items_in_batch"})
            # a share of the tokens of all ranks, which the Trainer multiplies later
            self._losses.append(loss.detach() * (self._ranks if self._adds_up else 1))
            self._tell(loss)
        self._stack.close()

    def _heard_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        assert self._compute_loss is not None  # between on_train_begin and _close
        if not model.training or self.monitor is None:
            return self._compute_loss(model, inputs, *args, **kwargs)
        batch = dict(inputs)  # compute_loss takes the labels out
        self.monitor.saw(batch)
        with self.monitor.listening() as tell:
            found = self._compute_loss(model, inputs, *args, **kwargs)
            loss = found[0] if isinstance(found, tuple) else found
            tell(loss)
        self._adds_up = kwargs.get("num_items_in_batch") is not None and self._scaled()
        self._losses.append(loss.detach())
        return found

    def _scaled(self) -> bool:
        """Whether losses of the accumulated batches are shares of one sum."""
        return bool(
            getattr(self._trainer, "model_accepts_loss_kwargs", False) or getattr(self._trainer, "compute_loss_func", None)
        )


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    """A hook that does not keep its callback alive: the model may outlive both."""
    found = WeakMethod(method)

    def hook(*args: Any) -> None:
        if (call := found()) is not None:
            call(*args)

    return hook


def _let_go(handles: list[RemovableHandle], monitor: Monitor) -> None:
    """What a callback that nobody holds any longer leaves behind."""
    for handle in handles:
        handle.remove()
    monitor.close(finished=False)


def _loop_above() -> tuple[int, CodeType] | None:
    """Thread and code of the training loop that this is called from; None if it is not the Trainer's."""
    return next(((get_ident(), code) for code in _callers() if code.co_name in (_LOOP, "train")), None)


def _runs(thread: int, loop: CodeType) -> bool:
    """Whether the loop is among the callers; in another thread, as replicas of a model have, nobody can tell."""
    return get_ident() != thread or any(code is loop for code in _callers())


def _callers() -> Iterator[CodeType]:
    frame = currentframe()
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _loss_of(output: Any) -> Tensor | None:
    """The loss that a model of transformers returns first; None for logits."""
    found = output.get("loss") if isinstance(output, Mapping) else output[0] if isinstance(output, tuple) and output else None
    return found if isinstance(found, Tensor) and found.numel() == 1 else None


def _facts(args: TrainingArguments, state: TrainerState, model: nn.Module) -> dict[str, Any]:
    """What is known of the run before it begins."""
    config: Any = getattr(model, "config", None)
    known = {name: getattr(config, name, None) for name in ("vocab_size", "num_labels")}
    if known["num_labels"] and "ForSequenceClassification" not in type(model).__name__:
        known["num_labels"] = None  # every config has it, with a default of 2
    steps = state.max_steps if state.max_steps and state.max_steps > 0 else None
    known |= {"max_steps": steps, "batch_size": args.train_batch_size, "accumulate": args.gradient_accumulation_steps}
    if args.label_smoothing_factor:
        known["label_smoothing"] = args.label_smoothing_factor
    return {name: value for name, value in known.items() if value}
