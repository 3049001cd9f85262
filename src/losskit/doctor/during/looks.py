"""When a live run is looked at more closely, and what a look may cost."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..evidence.calls import LossCall
from ..evidence.precision import Module
from ..evidence.probes import Look
from ..step import Step, tensors_in
from . import probes
from .gradients import Gradients
from .outputs import outputs_seen, spread_of
from .spying import LiveSpy, unheard_warnings
from .weights import Weights

__all__ = ["ONLY_LOOKS", "Looks"]

ONLY_LOOKS = ("D311", "D312", "D503", "D504", "D508", "D606", "D701")
"""Findings that a live run has only from a batch that is evaluated once more."""

SHARE = 0.008  # of the time of the run goes into looks at most: less than half of what a monitor may cost
FREE = 1.0  # seconds that looks at a small model may take in all before they are counted: nobody misses one
SMALL = 1_000_000  # parameters: above, a look takes a fifth of a second or more, and is counted from the first
NOISE_EVERY = 5  # looks between two measurements of the gradient's noise, which cost a step each
KEPT = 400
FAILURES = 3
_REMEDY = "give loss_fn= or step=lambda model, batch: ... so that a sick batch can be run again"
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Looks:
    """Looks at one batch at the first step and then every ``every`` steps or more: they may cost 0.8 % of the run at most."""

    def __init__(self, step: Step, gradients: Gradients, spy: LiveSpy, every: int) -> None:
        self.step, self.gradients, self.spy, self.every = step, gradients, spy, every
        self.model = probes.eager(step.model)
        self.kept: deque[Look] = deque(maxlen=KEPT)
        self.calls: tuple[LossCall, ...] = ()
        """Of the first look, where the user's own call could not be heard."""
        self.total: float | None = None
        self.next = 0
        self.why_not = ""
        """Why no batch is evaluated."""
        self.done = 0
        if any("FullyShardedDataParallel" in type(m).__name__ or hasattr(m, "unshard") for m in self.model.modules()):
            self.why_not = "the model is sharded over ranks"
        self._pending: dict[str, Any] | None = None
        self._failures = 0
        self._outputs: list[Tensor] = []
        self._noise: list[tuple[float, float]] = []
        self._spent = self._total = 0.0
        self._clock: tuple[int, float] | None = None

    # ------------------------------------------------------------------ when

    def due(self, step: int) -> bool:
        """Whether this step is looked at."""
        return step >= self.next

    def _schedule(self, step: int) -> None:
        """The next look: after so many steps, or later if looks are dear beside steps."""
        now, wait = time.perf_counter(), self.every
        if self._clock is not None and step > self._clock[0]:
            a_step = max(now - self._clock[1] - self._spent, 0.0) / (step - self._clock[0])
            if (self._total > FREE or _size(self.model) > SMALL) and a_step > 0:
                wait = max(wait, min(math.ceil(self._spent / (SHARE * a_step)), 100 * self.every))
        self._total += self._spent
        self._clock, self._spent = (step, now), 0.0
        self.next = max(step - step % self.every + self.every, step + wait)

    # ------------------------------------------------------------------ what

    def begin(self, step: int, batch: Any) -> None:
        """Before the optimizer's step: evaluate the batch, copy the weights."""
        self._schedule(step)
        start = time.perf_counter()
        self.finish()
        seen: dict[str, Any] = {"step": step, "batch": batch, "weights": None, "steps": self.gradients.steps}
        seen["temperature"] = probes.temperature(self.model)  # as the clamp after the last step left it
        try:
            seen["weights"] = Weights(self.model, self.gradients.optimizer)
            if batch is not None and not self.why_not:
                seen["first"] = self._evaluated(batch, watched=True)
        except Exception as problem:  # the run goes on without this look
            self._failed(problem)
        self._pending = seen
        self.gradients.on_step = [self.finish]
        self._spent += time.perf_counter() - start

    def finish(self, *, waiting: bool = False) -> None:
        """After the optimizer's step: how far the weights moved, the same batch again.

        With ``waiting`` not before that step, which comes after more batches where gradients are added up.
        """
        if self._pending is None or (waiting and self._stepless(self._pending)):
            return
        seen, self._pending = self._pending, None
        start = time.perf_counter()
        try:
            self.kept.append(self._look(seen, stepped=not self._stepless(seen)))
            self.done += 1
        except Exception as problem:  # the run goes on without this look
            self._failed(problem)
        self._spent += time.perf_counter() - start

    def _stepless(self, seen: Mapping[str, Any]) -> bool:
        """Whether an optimizer that does step has not done so since the look began: weights that stand are no news then."""
        begun: int = seen["steps"]
        return 0 < self.gradients.steps == begun

    def _failed(self, problem: Exception) -> None:
        self._failures += 1
        if self._failures >= FAILURES:
            said = f"the batch cannot be evaluated once more: {type(problem).__name__}: {problem}"
            self.why_not = said if "give step=" in said else f"{said}: {_REMEDY}"

    def _evaluated(self, batch: Any, *, watched: bool) -> tuple[float, tuple[Module, ...], tuple[LossCall, ...]]:
        first = self.done == 0 and not self.spy.allowed  # else the user's own call was seen, with its graph
        self.gradients.muted = True
        try:
            with unheard_warnings(), outputs_seen(self.model) as self._outputs:
                return probes.evaluate(
                    lambda: self.step(batch, self.model),
                    self.model,
                    seed=self.done,
                    autocast=self.spy.autocast,
                    modules=watched,
                    spy=watched,
                    graph=watched and first,
                )
        finally:
            self.gradients.muted = False

    def _look(self, seen: dict[str, Any], *, stepped: bool) -> Look:
        first: tuple[float | None, tuple[Module, ...], tuple[LossCall, ...]] = seen.get("first", (None, (), ()))
        (value, modules, calls), outputs = first, self._outputs
        batch, after = seen["batch"], None
        if self.done == 0 and not self.spy.allowed:
            self.calls, self.total = calls, value
        if value is not None and self.done > 0 and stepped:
            after = self._evaluated(batch, watched=False)[0]
        size = _samples(batch)
        if value is not None and self.done % NOISE_EVERY == NOISE_EVERY - 1:
            self._measure_noise(batch, size)
        predicted, true = probes.class_shares(calls)
        return Look(
            step=seen["step"],
            modules=modules,
            parameters=seen["weights"].after() if seen["weights"] is not None and stepped else (),
            training=self.model.training,
            mixed=probes.unmixed(self.model),
            same_batch=(value, after) if value is not None and after is not None else None,
            embeddings=probes.embeddings_of(calls),
            predicted=predicted,
            true=true,
            temperature=self._temperature(seen["temperature"]),
            noise_scale=self._noise_scale(),
            batch_size=size,
            supervised=probes.supervised_rows(calls),
            outputs=spread_of(outputs, batch, calls) if value is not None else (),
        )

    def _temperature(self, found: tuple[str, float] | None) -> tuple[str, float, float | None] | None:
        """The learned temperature; at a bound if that is CLIP's, or if it was the same to the last bit in the look before."""
        if found is None:
            return None
        name, value = found
        before = self.kept[-1].temperature if self.kept else None
        still = before is not None and before[1] == value
        clip = name.endswith("logit_scale") and (abs(value - probes.LN_100) < 1e-3 or value == 100.0)
        return name, value, value if still or clip else None

    def _measure_noise(self, batch: Any, size: int) -> None:
        half = size // 2
        if half < 1 or any(isinstance(m, BATCH_NORMS) for m in self.model.modules()):
            return  # a batch norm makes the halves another loss than the whole
        halves = [probes.slice_batch(batch, 0, half, size), probes.slice_batch(batch, half, 2 * half, size)]
        losses = [lambda piece=piece: self.step(piece, self.model) for piece in halves]
        self.gradients.muted = True
        try:
            self._noise.append(probes.noise_scale(losses, self.model, half, seed=self.done))
        finally:
            self.gradients.muted = False

    def _noise_scale(self) -> float | None:
        """tr Sigma / |G|^2, each averaged over the last measurements, since one alone is noise itself."""
        if not self._noise:
            return None
        recent = self._noise[-10:]
        product = sum(square for _, square in recent)
        return sum(trace for trace, _ in recent) / product if product > 0 else math.inf


def _size(model: nn.Module) -> int:
    """Parameters, those of a lazy module that was never called left out."""
    return sum(p.numel() for p in model.parameters() if not nn.parameter.is_lazy(p))


def _samples(batch: Any) -> int:
    """The first dimension that most tensors of a batch share; 0 without any."""
    sizes = [t.shape[0] for t in tensors_in(batch) if t.dim() > 0]
    return max(set(sizes), key=sizes.count) if sizes else 0
