"""The probes of check(), one after the other: each from the same state and in the time that is left."""

from __future__ import annotations

import math
import random
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..during.replay import replay
from ..evidence import Evidence, Settings
from ..evidence.overfit import Overfit
from ..evidence.wiring import Wiring
from ..finding import Fault, Finding
from ..report import Case
from ..step import Step
from .dependence import look_at_dependence
from .facts import look_at_batch
from .inner import Inner, watch_inner
from .keep import Kept
from .measured import listed, measured, said_by
from .modes import look_at_modes
from .overfit import overfit_one_batch, verdict
from .precision import look_at_precision
from .spy import Spy
from .wiring import look_at_wiring

__all__ = ["Phases"]

T = TypeVar("T")
_OURS = str(Path(__file__).parent.parent)
_OWN_STEP = "step() runs backward() itself: let it return the loss before that, and these are looked at as well"


@dataclass
class Phases:
    """One checkup: its arguments, and what it has seen so far."""

    step: Step
    batch: Any
    optimizers: list[Any]
    scaler: Any
    tokenizer: Any
    settings: Settings
    overfit: bool = True
    budget_s: float = 30.0
    seed: int = 0
    seen: dict[str, Any] = field(default_factory=dict)
    looked_at: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    problem: str = ""
    began: float = 0.0
    one_pass: float = 0.0
    """Seconds of the first evaluation of the loss."""

    def run(self, kept: Kept) -> None:
        """All probes in order."""
        self.began = time.perf_counter()
        self.kept = kept
        self.seen["batch"] = self._probe("the batch", lambda: look_at_batch(self.batch, self.tokenizer))
        inner = self._losses()
        if self.problem or "total" not in self.seen:
            return
        if inner.ran:
            self._own_step()
            return
        optimizer = self.optimizers[0] if self.optimizers else None
        self._wiring()
        if not self._healthy():
            self.seen["replay"] = self._probe("replay", lambda: replay(self.step, self.batch, optimizer=optimizer), passes=2)
        self.seen["modes"] = self._probe(
            "train and eval mode", lambda: look_at_modes(self.step, self.batch, seed=self.seed), passes=4, as_it_came=True
        )
        self.seen["dependence"] = self._probe("dependence", lambda: look_at_dependence(self.step, self.batch), passes=6)
        if (seen := self.seen["dependence"]) is not None and seen.why_not:
            self.left_out.append(("dependence", seen.why_not))
        self.seen["precision"] = self._probe(
            "precision", lambda: look_at_precision(self.step, self.batch, optimizer, self.scaler, seed=self.seed), passes=1
        )
        self._overfit(optimizer if len(self.optimizers) < 2 else None)

    def evidence(self) -> Evidence:
        """What the rules may look at."""
        return Evidence("before", self.settings, **{name: one for name, one in self.seen.items() if one is not None})

    def case(self, subject: str, found: tuple[Finding, ...], faults: tuple[Fault, ...]) -> Case:
        """All of it for a person; a loss that raised and that a finding explains is no problem of reading."""
        explained = any(one.severity == "error" for one in found)
        return Case(
            subject,
            "before",
            found,
            facts=measured(self.seen, time.perf_counter() - self.began),
            looked_at=tuple(self.looked_at),
            left_out=tuple(self.left_out),
            levels=tuple(level for call in self.seen.get("calls", ()) for level in call.levels),
            problem="" if explained else self.problem,
            faults=(*self.faults, *faults),
        )

    def _losses(self) -> Inner:
        """The loss of the batch, every call of a loss in it, and whether step() optimizes by itself."""
        named = dict(self.step.model.named_parameters())
        spy = Spy(guard=True)
        self._fresh()
        total: Tensor | None = None
        began = time.perf_counter()
        with watch_inner(named) as inner:
            try:
                with spy:
                    total = self.step(self.batch)
            except Exception as problem:  # whatever the user's code raises is what is looked for
                if not inner.ran or not isinstance(problem, TypeError):
                    self.problem = said_by(problem)
        self.one_pass = time.perf_counter() - began
        calls = self._safely("the calls of losses", lambda: spy.finish(None if inner.ran else total)) or ()
        self.seen["calls"] = calls
        self.looked_at.append(f"the loss: {listed(calls)}")
        if total is not None or inner.ran:
            value = float("nan") if total is None else self._safely("the loss", lambda: float(total.detach()))
            self.seen |= {} if value is None else {"total": value}
        return inner

    def _own_step(self) -> None:
        """A second step of a training loop that runs in step(): are gradients there before it, are they gone in between."""
        named = dict(self.step.model.named_parameters())
        function = self.step.step

        def twice() -> Wiring:
            assert function is not None  # only step() can have run backward
            function(self.step.model, self.batch)
            with watch_inner(named) as inner:
                function(self.step.model, self.batch)
            return inner.wiring(named)

        self.seen["wiring"] = self._probe("two steps of step()", twice)
        self.looked_at.append("two steps as step() makes them")
        if not math.isfinite(self.seen["total"]):
            self.seen.pop("total")  # it returned no tensor
        self.left_out.append(("modes, dependence, precision, one batch by heart", _OWN_STEP))

    def _wiring(self) -> None:
        wiring = self._probe(
            "wiring",
            lambda: look_at_wiring(
                self.step, self.batch, self.optimizers, scaler=self.scaler, seed=self.seed, budget_s=self._time_left() / 3
            ),
            passes=3,
        )
        self.seen["wiring"] = wiring
        if wiring is not None:
            with_grad = sum(p.grad not in ("none", "non-finite") for p in wiring.parameters)
            passes = "one backward pass" if wiring.passes == 1 else f"{wiring.passes} backward passes"
            self.looked_at.append(f"{passes}: {with_grad} of {len(wiring.parameters)} parameters have a gradient")
            if wiring.step_error:
                self.left_out.append((f"one step of {wiring.optimizer}", f"its step() raised {wiring.step_error}"))
            if wiring.slope_of_step is not None:
                self.looked_at.append(f"one step of {wiring.optimizer}, taken back")

    def _healthy(self) -> bool:
        wiring: Wiring | None = self.seen.get("wiring")
        bad = wiring is not None and any(p.grad == "non-finite" for p in wiring.parameters)
        return math.isfinite(self.seen["total"]) and not bad

    def _overfit(self, optimizer: Any) -> None:
        wiring: Wiring | None = self.seen.get("wiring")
        reason = "" if self.overfit else "overfit=False"
        if self.settings.objective == "adversarial":
            reason = "an adversarial loss need not fall"
        elif not self._healthy():
            reason = "loss or gradient is not finite"
        elif wiring is not None and not wiring.loss_requires_grad:
            reason = "the loss needs no gradient"
        if reason:
            self.left_out.append(("one batch by heart", reason))
            return
        found: Overfit | None = self._probe(
            "one batch by heart",
            lambda: overfit_one_batch(
                self.step, self.batch, optimizer, floor=self._floor(), budget_s=0.9 * self._time_left(), seed=self.seed
            ),
            passes=6,
        )
        self.seen["overfit"] = found
        if found is not None:
            self.looked_at += [verdict(found, one) for one in (found.own, found.adam) if one is not None]

    def _floor(self) -> float:
        """What the loss can come to at best, by the floors of its calls; 0 where these are not all of it."""
        calls = [c for c in self.seen["calls"] if c.slope and c.value is not None and c.value.numel() == 1]
        floors = [next((level.value for level in c.levels if level.kind == "floor"), 0.0) * c.slope for c in calls]
        whole = sum(float(c.value) * c.slope for c in calls)
        total = self.seen["total"]
        return sum(floors) if calls and abs(whole - total) <= 1e-3 * abs(total) else 0.0

    def _probe(self, name: str, look: Callable[[], T], *, passes: int = 0, as_it_came: bool = False) -> T | None:
        """What one probe sees, from the state at the start; None if it fails, comes too late, or takes too many passes."""
        if 0 < self._time_left() < passes * self.one_pass:
            need = f"its {passes} passes take about {passes * self.one_pass:.1f} s"
            self.left_out.append((name, f"{need}, and {self._time_left():.1f} s of {self.budget_s:g} s are left"))
            return None
        if self._time_left() <= 0:
            self.left_out.append((name, f"the budget of {self.budget_s:g} s was spent"))
            return None
        self._fresh(as_it_came=as_it_came)
        return self._safely(name, look)

    def _safely(self, name: str, look: Callable[[], T]) -> T | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the user has heard them in the first pass
                return look()
        except Exception as problem:  # a probe that fails takes nothing else with it
            frames = traceback.extract_tb(problem.__traceback__)
            if frames and frames[-1].filename.startswith(_OURS):
                self.faults.append(Fault(name, said_by(problem)))
            else:
                self.left_out.append((name, said_by(problem)))
            return None

    def _fresh(self, *, as_it_came: bool = False) -> None:
        """The state at the start, fixed random numbers; a model in eval mode goes to train mode, for that is what is checked."""
        self.kept.restore()
        if not as_it_came and not self.step.model.training:
            self.step.model.train()
        random.seed(self.seed)
        torch.manual_seed(self.seed)

    def _time_left(self) -> float:
        return self.budget_s - (time.perf_counter() - self.began)
