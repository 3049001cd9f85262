"""The doctor inside of Lightning: ``Trainer(callbacks=[MonitorCallback()])``."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from ..doctor.during.live import Monitor
from ..doctor.report import Report

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as problem:
    raise ImportError("losskit.integrations.lightning needs lightning: pip install 'losskit[lightning]'") from problem

__all__ = ["MonitorCallback"]


class MonitorCallback(Callback):
    """A :class:`losskit.doctor.Monitor` of a Lightning run.

    Lightning divides the loss by ``accumulate_grad_batches`` before its hooks see it; here it is multiplied again. A sick
    batch is run once more through ``training_step`` with ``self.log`` switched off; healthy batches are not, since a training
    step may count or log: give ``looks=True`` if yours does neither. With several optimizers the first one is watched.

    No checkpoint is left out, since Lightning deletes the one before it either way: one whose weights are not finite has the
    entry "losskit: weights are not finite". ``on_nonfinite="skip"`` and "raise" keep the weights finite.

    Args:
        monitored: the logged value that is the validation loss; otherwise the first whose name has "val" and "loss" in it.
        options: of :class:`losskit.doctor.Monitor`.
    Raises:     ImportError without lightning; what Monitor raises.
    Example:
        callback = MonitorCallback(on_nonfinite="skip")
        Trainer(max_epochs=3, callbacks=[callback]).fit(module, data)
        print(callback.report())
    """

    def __init__(self, *, monitored: str | None = None, **options: Any) -> None:
        self.monitored, self.options = monitored, options
        self.monitor: Monitor | None = None
        self._tell: Callable[[Tensor], None] = lambda _: None
        self._losses: list[Tensor] = []
        self._listening: Any = None

    def report(self) -> Report:
        """What was found; of an empty run before training."""
        return self.monitor.report() if self.monitor is not None else Report(())

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        facts = {"max_steps": int(steps)} if isinstance(steps, int) or steps != float("inf") else {}
        facts["accumulate"] = trainer.accumulate_grad_batches
        options: dict[str, Any] = {"looks": False, "step": self._again, "name": type(pl_module).__name__, **self.options}
        options["facts"] = {**facts, **(options.get("facts") or {})}
        options.setdefault("scaler", getattr(trainer.precision_plugin, "scaler", None))
        optimizers = trainer.optimizers
        self.monitor = Monitor(pl_module, optimizers[0] if optimizers else None, **options)
        self.monitor.open()

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.monitor is not None:
            self.monitor.saw((batch, batch_idx))
            self._listening = self.monitor.listening()
            self._tell = self._listening.__enter__()

    def _heard(self, problem: BaseException | None = None) -> None:
        """Stop listening; the block's own end is in another hook."""
        listening, self._listening = self._listening, None
        if listening is not None and problem is None:
            listening.__exit__(None, None, None)
        elif listening is not None and problem is not None:
            # the same exception comes out again; it is Lightning's to raise
            try:
                listening.__exit__(type(problem), problem, problem.__traceback__)
            except BaseException as same:
                if same is not problem:
                    raise

    @override
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        value = loss.detach() * trainer.accumulate_grad_batches
        scale = getattr(getattr(trainer.precision_plugin, "scaler", None), "_scale", None)
        self._losses.append(value if scale is None else value / scale.to(value.device))
        self._tell(self._losses[-1])
        self._heard()

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        first = not trainer.optimizers or getattr(trainer.optimizers[0], "_optimizer", trainer.optimizers[0]) is optimizer
        if self.monitor is None or not self._losses or not first:
            return
        total = sum(self._losses[1:], self._losses[0]) / len(self._losses)
        self._losses = []
        self.monitor.step(total, at=trainer.global_step)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor is None or trainer.sanity_checking:
            return
        logged = trainer.callback_metrics
        named = [name for name in logged if "val" in name.lower() and "loss" in name.lower()]
        name = self.monitored or (named[0] if named else "")
        if name in logged:
            self.monitor.evaluated(logged[name], trainer.global_step)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._heard()
        if self.monitor is not None:
            self.monitor.close(finished=True)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._heard(exception)
        if self.monitor is not None:
            self.monitor.close(finished=False)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.monitor is not None and self.monitor.poisoned:
            checkpoint["losskit: weights are not finite"] = True

    def _again(self, module: nn.Module, batch: Any) -> Any:
        """The loss of a batch once more, without a word in the log."""
        assert isinstance(module, LightningModule)  # the model of this monitor
        with _silent(module):
            found = module.training_step(*batch)
        return found["loss"] if isinstance(found, dict) else found


def _nothing(*_: Any, **__: Any) -> None:
    """Takes the place of ``self.log``."""


@contextmanager
def _silent(module: LightningModule) -> Generator[None, None, None]:
    """``self.log`` and ``self.log_dict`` do nothing in the block."""
    names = ("log", "log_dict")
    for name in names:
        object.__setattr__(module, name, _nothing)
    try:
        yield
    finally:
        for name in names:
            object.__delattr__(module, name)
