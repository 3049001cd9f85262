"""What is done about a step that is not finite: find its origin while the weights are good, keep it from them, say so."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..evidence.replay import Replay
from ..finding import Finding
from ..step import Step, tensors_in
from .gradients import Gradients
from .guard import Guard
from .probes import as_it_was
from .replay import replay
from .teller import Teller

__all__ = ["NonFiniteError", "Trouble"]

MOST_BYTES = 256 * 2**20  # of batches on a device that are kept until their numbers have arrived
BETWEEN = 10  # times "every": steps between two snapshots; looks may be further apart, since they are as dear as steps
MOST_BATCHES = 64  # of one step, the newest: a loop that calls saw() and never step() must not fill the memory
SEARCH = 30  # skipped steps in a row after which a gradient scaler is not searching any more: 2^16 to 2^-14


class NonFiniteError(ArithmeticError):
    """Raised with ``on_nonfinite="raise"`` before the step that would spoil the weights."""


class Trouble:
    """Checks each step's numbers and acts on the first that is not finite."""

    def __init__(self, step: Step, gradients: Gradients, mode: str, snapshot: str | Path | None, teller: Teller) -> None:
        self.step, self.gradients, self.mode, self.teller = step, gradients, mode, teller
        self.first_bad: tuple[int, str] | None = None
        self.replay: Replay | None = None
        self.bad = self.skipped = 0
        self.news = False
        """Something was found that nobody has been told of."""
        self.autocast: tuple[str, torch.dtype] | None = None
        self._in_a_row = 0
        self._late = False
        """Numbers arrive after the step that they are of."""
        self._every, self._next_snapshot = 1, 0
        self._batches: deque[tuple[int, Any]] = deque()
        self._unnumbered: deque[Any] = deque(maxlen=MOST_BATCHES)
        optimizer = gradients.optimizer
        known = isinstance(optimizer, torch.optim.Optimizer)
        self._guard = Guard(optimizer, step.model, path=snapshot) if known and mode in ("skip", "snapshot") else None

    def close(self) -> None:
        """Take the guard's hook away, forget the batches."""
        if self._guard is not None:
            self._guard.close()
        self._batches.clear()
        self._unnumbered.clear()

    # ------------------------------------------------------------------ batches

    def keep(self, batch: Any) -> None:
        """A batch of the step that is going on."""
        if batch is not None:
            self._unnumbered.append(batch)

    def number(self, step: int, every: int) -> None:
        """All batches since the last call were of this step; those whose numbers have arrived are forgotten."""
        self._every = every
        self._batches.extend((step, batch) for batch in self._unnumbered)
        sizes = [t.numel() * t.element_size() for batch in self._unnumbered for t in tensors_in(batch) if t.device.type != "cpu"]
        lag = min(2 * every, MOST_BYTES // max(sum(sizes), 1)) if sizes else 0
        self._unnumbered.clear()
        while self._batches and self._batches[0][0] < step - lag:
            self._batches.popleft()

    # ------------------------------------------------------------------ before the optimizer's step

    def guard(self, step: int, total: Tensor | float, norm: Tensor | None) -> bool:
        """What can be done without waiting: on a device the optimizer itself leaves the step out."""
        numbers = [n for n in (total, norm) if isinstance(n, Tensor)]
        self._late = self._late or any(n.device.type != "cpu" for n in numbers)
        if not self._late or not numbers:
            return True  # check() is asked before the step anyway
        if self.mode == "raise":
            return self.check(step, float(total), -1.0 if norm is None else float(norm))
        if self.mode == "skip" and self._guard is not None:
            device = numbers[0].device
            fine = torch.stack([torch.isfinite(n.to(device)).all() for n in numbers]).all()
            self._guard.arm(~fine)
        return True

    def check(self, step: int, loss: float, norm: float) -> bool:
        """Whether a step's loss and gradient are finite; on the first that are not, find out why."""
        if math.isfinite(loss) and math.isfinite(norm):
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        if self.gradients.scales:
            self.skipped += 1  # by the scaler itself
            if math.isfinite(loss) and self.searching:
                return True  # an overflow of the scaled gradients: the scale comes down
        self.bad += 1
        if self.first_bad is None:
            self.first_bad = step, "gradient" if math.isfinite(loss) else "loss"
            self.news = True
            self._find_origin(step)
        self._protect()
        return False

    @property
    def left_out(self) -> int:
        """Steps that the optimizer did not take or that moved nothing; waits for the device."""
        return self.skipped + (0 if self._guard is None else self._guard.skipped)

    @property
    def searching(self) -> bool:
        """Whether gradients that are not finite may be a gradient scaler's search for its scale."""
        return self.gradients.scales and self._in_a_row <= SEARCH

    def elsewhere(self, step: int) -> None:
        """Another rank's loss or gradient was not finite; that rank finds out why."""
        if self.first_bad is None:
            self.first_bad, self.news = (step, "loss"), True

    def _protect(self) -> None:
        """Keep the weights good: gradients that are gone move nothing; weights that are spoilt go back."""
        if self.mode not in ("skip", "snapshot"):
            return
        if not self.gradients.scales and not self._late:
            for p in self.gradients.model.parameters():
                p.grad = None
            self.skipped += 1
        if self._goes_back and self._guard is not None and self.poisoned:
            try:
                self._guard.restore()
            except Exception as problem:  # e.g. the run was bad before the first snapshot
                self.teller.fault("going back to good weights", problem)

    def _find_origin(self, step: int) -> None:
        """Run the batches of the step again, one by one, until one of them shows where it begins."""
        model, optimizer = self.step.model, self.gradients.optimizer
        optimizer = optimizer if isinstance(optimizer, torch.optim.Optimizer) else None
        grads = [(p, p.grad) for p in model.parameters()]
        mode = torch.autocast(self.autocast[0], dtype=self.autocast[1]) if self.autocast else contextlib.nullcontext()
        for batch in [kept for number, kept in self._batches if number == step]:
            self.gradients.muted = True
            try:
                with as_it_was(model), mode, torch.enable_grad():
                    found = replay(self.step, batch, optimizer=optimizer, at=step)
            except Exception as problem:  # that the batch cannot be run again is no reason to end the training
                self.teller.fault("replay", problem)
                continue
            finally:
                self.gradients.muted = False
                for p, grad in grads:
                    p.grad = grad
            if self.replay is None or self.replay.kind == "not reproduced":
                self.replay = found

    # ------------------------------------------------------------------ afterwards

    def snapshot(self, step: int) -> None:
        """Every so many steps keep the weights of now, if they are good and somebody wants to go back to them."""
        if self._goes_back and self._guard is not None and step >= self._next_snapshot:
            self._next_snapshot = step + BETWEEN * self._every
            try:
                self._guard.snapshot(step)
            except Exception as problem:  # e.g. a full disk
                self.teller.fault("snapshot", problem)

    @property
    def _goes_back(self) -> bool:
        """Whether good weights are kept: also for "skip" on a device, where an optimizer that is not fused takes the bad step."""
        helpless = self.mode == "skip" and self._late and self._guard is not None and not self._guard.honours
        return self.mode == "snapshot" or helpless

    @property
    def poisoned(self) -> bool:
        """Whether a weight, a buffer or the optimizer's state is not finite."""
        if self._guard is not None:
            return self._guard.poisoned
        with torch.no_grad():
            tensors = [t for t in (*self.step.model.parameters(), *self.step.model.buffers()) if t.is_floating_point()]
            return not all(bool(torch.isfinite(t).all()) for t in tensors)

    def end_the_run(self, findings: tuple[Finding, ...]) -> None:
        """Raise if that was asked for.

        Raises:     NonFiniteError, with what was found out.
        """
        if self.mode != "raise" or self.first_bad is None:
            return
        step, what = self.first_bad
        why = next((f for f in findings if f.code.startswith("D3")), None)
        said = f": {why.code} {why.hit.said}" if why is not None else ""
        raise NonFiniteError(f"the {what} of step {step} is not finite{said}")
