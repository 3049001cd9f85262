"""A live run under observation: ``Monitor`` costs next to nothing as long as all is well, and speaks once when it is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from torch import Tensor, nn
from typing_extensions import Self

from ..arguments import checked_loss, monitored
from ..evidence import Settings
from ..evidence.run import Run
from ..finding import Finding, rules
from ..report import Report
from ..step import Step
from . import probes
from .count import Count
from .gradients import Gradients
from .looks import ONLY_LOOKS, Looks
from .ring import Ring, Row
from .rounds import Rounds
from .sinks import as_sinks
from .spying import LiveSpy
from .teller import Teller
from .trouble import NonFiniteError, Trouble

__all__ = ["Monitor", "NonFiniteError", "OnNonFinite"]

OnNonFinite = Literal["warn", "skip", "raise", "snapshot"]
SPIED = 3  # first steps whose losses are looked at as the user's code calls them
LOOK = 10  # times "every": steps between two looks at one batch


class Monitor:
    """Watches a training run: curves, gradients, modules and losses, and the batch that makes the first NaN.

    Call ``step`` once a batch, after ``backward()`` and before ``optimizer.step()``::

        with losskit.doctor.Monitor(model, optimizer, loss_fn) as monitor:
            for batch in data:
                optimizer.zero_grad()
                loss = loss_fn(model(batch[0]), batch[1])
                loss.backward()
                monitor.step(loss, batch=batch)
                optimizer.step()

    On a device nothing is waited for: numbers are read at most 2 ``every`` steps later (except with ``on_nonfinite="raise"``).
    Over ranks there is one all-reduce every ``every`` steps; each rank calls ``step`` equally often, and rank 0 speaks for all.

    Args:
        model: what is trained; compiled, DDP and FSDP models too.
        optimizer: of torch or a wrapper of one. Without it the order of backward, zero_grad and step is not watched.
        loss_fn, step: how a batch becomes a loss, as in :func:`losskit.doctor.check`. Needed to look at a batch again: a sick
            one, and every 10 ``every`` steps a healthy one. Not needed if ``model(**batch)`` returns its loss.
        every: steps between two readings of a device, and between two all-reduces.
        on_nonfinite: "warn" tells; "skip" keeps such a step from the weights; "raise" ends the run before it; "snapshot" keeps
            weights that were good every 10 ``every`` steps, and goes back to them.
        sinks: who is told: "terminal", "wandb", a path ending in ".jsonl", a SummaryWriter, any function of a finding.
        objective: "mining" or "adversarial" for a loss that need not fall.
        accumulate: batches whose gradients are added up before a step; call ``step`` for each of them.
        facts: what is known of the run, e.g. {"num_classes": 10, "max_steps": 10_000}.
        events: what is going to happen: [(3000, "stage 2")].
        scaler: the GradScaler, if there is one; then give ``step`` the loss before it is scaled.
        from_scratch: whether the weights are fresh.
        snapshot: a file for the good weights; without it they are kept in memory.
        looks: False if computing a loss has side effects; then only a sick batch is run again.
        name: of the run in reports.
    Raises:     NonFiniteError with on_nonfinite="raise"; ValueError for an argument that is not one of the above.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any = None,
        loss_fn: Callable[..., Any] | None = None,
        *,
        step: Callable[[nn.Module, Any], Any] | None = None,
        every: int = 10,
        on_nonfinite: OnNonFinite = "warn",
        sinks: Sequence[Any] = ("terminal",),
        objective: Literal["mining", "adversarial"] | None = None,
        accumulate: int = 1,
        facts: Mapping[str, Any] | None = None,
        events: Sequence[tuple[int, str]] = (),
        scaler: Any = None,
        from_scratch: bool | None = None,
        snapshot: str | Path | None = None,
        looks: bool = True,
        name: str = "live run",
    ) -> None:
        monitored(locals())
        self.model, self.every, self.accumulate = model, every, accumulate
        self._seen: Any = None
        scaler = getattr(optimizer, "scaler", None) if scaler is None else scaler  # accelerate's optimizer has one
        self._gradients = Gradients(model, optimizer, scaler)
        self._spy = LiveSpy(model, loss_fn)
        self._looks = Looks(Step(model, loss_fn, step), self._gradients, self._spy, LOOK * every)
        teller = Teller(as_sinks(sinks))
        self._trouble = Trouble(Step(probes.eager(model), loss_fn, step), self._gradients, on_nonfinite, snapshot, teller)
        known: dict[str, Any] = {"optimizer": type(self._gradients.optimizer).__name__} if optimizer is not None else {}
        known |= {"maximize": True} if self._gradients.maximizes else {}
        if not looks:
            self._looks.why_not = f"looks=False, and only looks find {', '.join(ONLY_LOOKS)}"
        self._rounds = Rounds(
            name,
            Settings(from_scratch=from_scratch, objective=objective, accumulate=accumulate),
            {**known, **(facts or {})},
            tuple(events),
            gradients=self._gradients,
            looks=self._looks,
            trouble=self._trouble,
            teller=teller,
        )
        self._ring: Ring | None = None
        self._open = False
        self._calls = 0
        self._count = Count()
        self._micro: list[Tensor | float] = []
        self._listens = False

    # ------------------------------------------------------------------ on and off

    def __enter__(self) -> Self:
        self.open()
        self._listens = True  # __exit__ is sure to come
        self._spy.arm()
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.close(finished=kind is None)

    def open(self) -> None:
        """Begin to watch; ``with`` and the first ``step`` do it. Only in a ``with`` block are losses heard as they are called."""
        if self._open:
            return
        self._open = True
        rules()  # imported before the first step, which is not to wait for them
        self._gradients.open()
        if not self._calls:
            self._spy.note_modes()

    def close(self, *, finished: bool = True) -> None:
        """Stop watching, take all hooks away and look at the whole run once more."""
        if not self._open:
            return
        self._open = False
        self._rounds.hear(self._spy.disarm() or (), None, None)  # a first loss that raised: what it was given says why
        self._spy.forget_modes()
        self._looks.finish()
        self._gradients.close()
        if self._ring is not None and (finished or not self._ring.shared):
            self._take(self._ring.flush(), quiet=not finished)
        self._trouble.close()
        self._rounds.finished = finished
        self._rounds.look()

    # ------------------------------------------------------------------ the loop

    def step(
        self,
        loss: Tensor | float,
        *,
        batch: Any = None,
        parts: Mapping[str, Tensor | float] | None = None,
        at: int | None = None,
    ) -> bool:
        """One batch, after its backward pass and before the optimizer's step.

        Args:
            loss: of this batch, before a gradient scaler and before a division by ``accumulate``.
            batch: what the loss was computed from, so that a sick batch can be run again; a reference is kept, no copy.
            parts: what the loss is made of, by name, not detached.
            at: the number of this step if it is not the next one.
        Returns:    False if it is known already that the step would spoil the weights.
        """
        value = checked_loss(loss, parts or {})
        self.open()
        self._looks.finish(waiting=True)
        self._trouble.teller.safely("order of the calls", self._gradients.order.asked)
        self._calls += 1
        if batch is not None:
            self.saw(batch)
        batch, self._seen = self._seen, None
        self._hear(value, batch)
        self._micro.append(value)
        if len(self._micro) < self.accumulate:
            return True
        step = self._count.take(at)
        self._trouble.number(step, self.every)
        total: Tensor | float = self._micro[0] if self.accumulate == 1 else sum(self._micro) / self.accumulate
        self._micro = []
        return self._measured(step, total, batch, self._rounds.with_target(parts or {}, batch))

    def saw(self, batch: Any) -> None:
        """A batch of the step that is going on, for a host that learns of it apart from the loss, or of several before a step."""
        self._seen = batch
        self._trouble.keep(batch)

    def evaluated(self, loss: Tensor | float, step: int | None = None) -> None:
        """An evaluation's loss, at the step that was reached."""
        self._rounds.evaluated(self._count.place(step), float(checked_loss(loss)))

    def _measured(self, step: int, total: Tensor | float, batch: Any, parts: Mapping[str, Tensor | float]) -> bool:
        """Gradients, ring and looks of one step of the optimizer."""
        norm = self._trouble.teller.safely("norm of the gradients", self._gradients.norm)
        self._rounds.weigh_parts(parts, total)
        if self._ring is None:
            self._rounds.part_names = tuple(parts)
            self._ring = Ring.of((total, norm, None, *parts.values()), self.every)
        fine = self._trouble.guard(step, total, norm)
        scale = self._gradients.scale()
        named = [parts.get(name, math.nan) for name in self._rounds.part_names]
        values = [total, -1.0 if norm is None else norm, -1.0 if scale is None else scale, *named]
        if (rate := self._gradients.rate()) is not None:
            self._rounds.curves.add("lr", "lr", step, rate)
        rows = self._ring.push(step, values)
        early = self._ring.shared and not self._ring.delayed  # this rank's own numbers are known before those of the others
        fine = fine and (not early or self._trouble.check(step, float(values[0]), float(values[1])))
        taken = self._take(rows, checked=early)
        fine = fine and (taken or self._ring.delayed)
        if fine and self._looks.due(step) and isinstance(total, Tensor):
            self._looks.begin(step, batch)
            self._trouble.teller.safely("gradients", self._gradients.arm)
        self._trouble.snapshot(step)
        self._rounds.tick(step)
        return fine

    def _take(self, rows: Sequence[Row], *, checked: bool = False, quiet: bool = False) -> bool:
        """Rows that have arrived, into the curves; whether all are finite."""
        fine = True
        for row in rows:
            if not checked and not quiet:
                fine = self._trouble.check(row.step, row.own[0], row.own[1]) and fine
            self._rounds.add(row)
        if self._trouble.news:
            self._trouble.news = False
            found = self._rounds.look()
            self._trouble.end_the_run(found)
        return fine

    def _hear(self, value: Tensor | float, batch: Any) -> None:
        """What the user's own code called, in the first steps."""
        if self._calls > SPIED + 1:
            return
        if self._calls == SPIED:
            self._spy.forget_modes()
        self._rounds.hear(self._spy.disarm() or (), float(value), batch)
        self._trouble.autocast = self._spy.autocast
        if self._listens and self._calls < SPIED and not self._rounds.heard:
            self._spy.arm()

    @contextmanager
    def listening(self) -> Generator[Callable[[Tensor], None], None, None]:
        """Hear the losses that are called in the block, if none were heard before; for hosts whose loop is no ``with`` block.

        Returns:    a function to tell the loss that they made.
        """
        totals: list[float] = []
        if self._rounds.heard or self._calls >= SPIED:
            yield lambda _: None
            return
        self._spy.arm()
        try:
            yield lambda loss: totals.append(float(loss.detach()))
        finally:
            calls = self._spy.disarm() or ()
            self._rounds.hear(calls, totals[0] if totals else None, self._seen)
            if any(call.error for call in calls):
                self._rounds.look()  # what the loss was given says why it raised

    # ------------------------------------------------------------------ what was seen

    @property
    def looking(self) -> bool:
        """Whether the model is called by the monitor itself at the moment; hooks of a host stand aside then."""
        return self._gradients.muted

    @property
    def run(self) -> Run:
        """The curves so far."""
        return self._rounds.run()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far, in order."""
        return self._rounds.case().findings

    @property
    def poisoned(self) -> bool:
        """Whether weights or the optimizer's state are not finite now: do not write a checkpoint over a good one."""
        return self._trouble.poisoned

    def report(self) -> Report:
        """Everything, as of now."""
        return Report((self._rounds.case(),))
