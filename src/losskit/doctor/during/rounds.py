"""The rounds of a live run's doctor: when the rules are asked, what they are shown, what is said of the answer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch.distributed as dist
from torch import Tensor

from ..before.facts import look_at_batch
from ..evidence import Evidence, Settings
from ..evidence.calls import Batch, Level, LossCall
from ..evidence.probes import Probes
from ..evidence.run import Run
from ..examine import examine, fold
from ..finding import Finding
from ..levels import levels_of_facts
from ..report import Case
from .curves import Curves
from .gradients import Gradients
from .looks import Looks
from .ring import Row
from .targets import Targets
from .teller import Teller
from .trouble import Trouble

__all__ = ["Rounds"]

FIRST = 50  # steps before the curves are looked at: the start of a run is not like the rest of it
RATIO = 1.2  # steps of a round over those of the round before: few looks, few false alarms
EARLY = 1.05  # the same where the loss is rising
SHARE = 0.003  # of the time of the run goes into rounds at most
FREE = 0.5  # seconds of them that are not counted


class Rounds:
    """Gathers what the parts of a monitor saw, asks the rules, and has the answers told."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        facts: Mapping[str, Any],
        events: tuple[tuple[int, str], ...],
        *,
        gradients: Gradients,
        looks: Looks,
        trouble: Trouble,
        teller: Teller,
    ) -> None:
        ranks = {"world_size": dist.get_world_size()} if dist.is_available() and dist.is_initialized() else {}
        self.name, self.settings, self.facts, self.events = name, settings, {**ranks, **facts}, events
        self.gradients, self.looks, self.trouble, self.teller = gradients, looks, trouble, teller
        self.curves, self.targets = Curves(), Targets()
        self._calls: tuple[LossCall, ...] = ()
        self._batch: Batch | None = None
        self._total: float | None = None
        self._early: tuple[Finding, ...] = ()
        """What the calls of the first step showed; they are let go then, since they hold the logits of a batch."""
        self.heard = False
        self.part_names: tuple[str, ...] = ()
        self.finished: bool | None = None
        self.bad_ranks: tuple[int, ...] = ()
        self._parts: dict[str, list[float]] = {}
        self._weighed = 0
        self._levels: tuple[Level, ...] | None = None
        self._next, self._last = FIRST, 0
        self._steps = 0
        self._cost = self._spent = 0.0
        self._began = self._ended = time.perf_counter()

    # ------------------------------------------------------------------ what comes in

    def hear(self, calls: tuple[LossCall, ...], total: float | None, batch: Any) -> None:
        """The losses that were called for the first batch."""
        if calls and not self.heard:
            self.heard, self._calls, self._total = True, turned(calls, total), total
            try:
                self._batch = None if batch is None else look_at_batch(batch)
            except Exception as problem:  # a batch of a make that is not known
                self.teller.fault("batch", problem)
            self.teller.safely("targets", lambda: self.targets.know(calls, total, self._batch))

    def add(self, row: Row) -> None:
        """A step's numbers, of all ranks."""
        loss, norm, scale, *parts = row.shared
        self._steps += 1
        self.curves.add("loss", "train_loss", row.step, loss)
        searching = self.trouble.searching and not math.isfinite(norm)
        if norm != -1.0 and not searching:  # -1 is not measured; a scaler's overflows are no news
            self.curves.add("gradient norm", "grad_norm", row.step, norm)
        if scale != -1.0:
            self.curves.add("loss scale", "loss_scale", row.step, scale)
        for name, value in zip(self.part_names, parts, strict=True):
            self.curves.add(name if name == self.targets.series else f"part: {name}", "metric", row.step, value)
        if row.ranks and not math.isfinite(loss + norm):
            self.bad_ranks = self.bad_ranks or row.ranks
            self.trouble.elsewhere(row.step)

    def evaluated(self, step: int, value: float) -> None:
        """An evaluation's loss."""
        self.curves.add("eval loss", "eval_loss", step, value)
        if self._worth():
            self.look()

    def weigh_parts(self, parts: Mapping[str, Tensor | float], total: Tensor | float) -> None:
        """Parts that need no gradient beside parts that do; all of them detached is how people log."""
        if not parts or self._weighed >= 3:
            return
        self._weighed += 1
        tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        if any(part.requires_grad for part in tensors.values()):
            for name, part in tensors.items():
                if not part.requires_grad:
                    self._parts.setdefault(name, []).append(abs(float(part)) / max(abs(float(total)), 1e-30))

    def with_target(self, parts: Mapping[str, Tensor | float], batch: Any) -> Mapping[str, Tensor | float]:
        """The parts, and what the best constant would have cost this batch."""
        series = self.targets.series if self.settings.accumulate == 1 else ""
        return {**parts, series: self.targets.cost(batch)} if series else parts

    # ------------------------------------------------------------------ when

    def tick(self, step: int) -> None:
        """After each step: ask the rules if it is time."""
        if not self.heard and self.looks.calls:
            self.hear(self.looks.calls, self.looks.total, None)
        due = self._steps >= self._next or bool(self._calls) or self.gradients.order.news()
        if not due and self._steps >= max(FIRST, EARLY * self._last) and self._steps % 10 == 0:
            due = self._worth() and self.curves.rising(20)
        if due:
            self.look()

    def _worth(self) -> bool:
        """Whether another round costs less than its share of the time."""
        return self._spent <= FREE or self._cost <= SHARE * (time.perf_counter() - self._ended)

    def look(self) -> tuple[Finding, ...]:
        """Ask the rules, tell what is new; all that they found."""
        start = time.perf_counter()
        findings = self._found()
        if self._speaks():
            self.teller.tell(findings)
        self._ended = time.perf_counter()
        self._cost, self._last = self._ended - start, self._steps
        self._spent += self._cost
        a_step = (self._ended - self._began) / max(self._steps, 1)
        wait = math.ceil(self._cost / (SHARE * a_step)) if self._spent > FREE else 0
        self._next = max(FIRST, math.ceil(RATIO * self._steps), self._steps + wait)
        return findings

    def _found(self) -> tuple[Finding, ...]:
        """What the rules find now, with what the first batch showed."""
        findings, faults = examine(self.evidence())
        for fault in faults:
            self.teller.fault(fault.where, fault.problem)
        if self._calls:
            self._known_levels()
            flat = [one for top in findings for one in (top, *top.consequences)]
            self._early = tuple(replace(one, consequences=()) for one in flat)
            self._calls, self._batch = (), None
            return findings
        now = [replace(one, consequences=()) for top in findings for one in (top, *top.consequences)]
        seen = {one.code for one in now}
        return fold([*(one for one in self._early if one.code not in seen), *now])

    def _speaks(self) -> bool:
        """Rank 0 speaks for all, and a rank that has found where its own trouble begins."""
        alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        return alone or dist.get_rank() == 0 or self.trouble.replay is not None

    # ------------------------------------------------------------------ what the rules are shown

    def evidence(self) -> Evidence:
        """All that was seen so far."""
        return Evidence(
            "during",
            self.settings,
            calls=self._calls,
            total=self._total,
            batch=self._batch,
            probes=self._probes(),
            replay=self.trouble.replay,
            run=self.run(),
        )

    def _probes(self) -> Probes:
        seen, trouble = self.gradients, self.trouble
        cut = {name: shares for name, shares in self._parts.items() if len(shares) == self._weighed}
        return Probes(
            looks=tuple(self.looks.kept),
            clip_ratios=seen.clip_ratios,
            clipped_scaled=seen.clipped_scaled,
            cleared_between=seen.cleared_between,
            grads_before=seen.grads_before,
            steps=self._steps,
            skipped=trouble.left_out,
            parts_without_grad=tuple((name, sum(shares) / len(shares)) for name, shares in cut.items()),
            first_bad=trouble.first_bad,
            late=seen.order.late,
            late_cleared=seen.order.cleared,
            order_looked=seen.order.looked,
        )

    def run(self) -> Run:
        """The curves, with the levels where the loss may stand."""
        return self.curves.run(
            self.name, levels=self._known_levels(), facts=self.facts, events=self.events, finished=self.finished
        )

    def _known_levels(self) -> tuple[Level, ...]:
        """Of the call that made the whole loss, else of the facts."""
        if self._levels is None or (not self._levels and self._calls):
            total = math.nan if self._total is None else self._total
            mains = [c for c in self._calls if c.value is not None and c.value.numel() == 1]
            whole = [c for c in mains if math.isclose(float(c.value or 0.0), total, rel_tol=1e-3)]
            try:
                self._levels = whole[-1].levels if whole else averaged(mains, total) or levels_of_facts(self.facts)
            except Exception as problem:  # facts that make no sense are no reason to be blind
                self.teller.fault("levels", problem)
                self._levels = ()
        return self._levels

    def case(self) -> Case:
        """The run as a case, with what was told on the way."""
        findings = self._found()
        run, looks = self.run(), self.looks
        looked = [f"{self._steps} steps", f"{looks.done} looks at one batch"]
        if self.trouble.replay is not None:
            looked.append(f"the batch of step {self.trouble.replay.step} run again")
        left_out = (("batches evaluated once more", looks.why_not),) if looks.why_not else ()
        return Case(
            self.name,
            "during",
            self.teller.all_of(findings),
            self._facts(run),
            tuple(looked),
            left_out,
            run.levels,
            run,
            faults=tuple(self.teller.faults.values()),
        )

    def _facts(self, run: Run) -> dict[str, Any]:
        """What was measured, for a person."""
        facts: dict[str, Any] = dict(self.facts)
        loss = run.main("train_loss")
        if loss is not None and len(loss):
            facts["loss at the start"], facts["loss now"] = float(loss.values[0]), float(loss.values[-1])
        chance = next((level for level in run.levels if level.kind == "chance"), None)
        if chance is not None:
            facts["expected at the start"] = f"{chance.value:.4g} ({chance.name})"
        if self.trouble.left_out:
            facts["steps left out"] = self.trouble.left_out
        if self.trouble.bad > 1:
            facts["steps that are not finite"] = self.trouble.bad  # the first of them was run again
        if self.gradients.steps and (several := round(self._steps / self.gradients.steps)) > 1:
            facts["calls of step() for each step of the optimizer"] = several  # to be told as accumulate=
        if self.bad_ranks:
            facts["ranks that are not finite"] = ", ".join(str(rank) for rank in self.bad_ranks)
        return facts


def turned(calls: tuple[LossCall, ...], total: float | None) -> tuple[LossCall, ...]:
    """The calls, with a slope of -1 for one whose value is minus the whole loss; the graph that would say so is used up."""
    if total is None or not total < 0:
        return calls
    opposite = [
        c.value is not None and c.value.numel() == 1 and math.isclose(float(c.value), -total, rel_tol=1e-3) for c in calls
    ]
    return tuple(replace(c, slope=-1.0) if o and c.slope is None else c for c, o in zip(calls, opposite, strict=True))


def averaged(calls: Sequence[LossCall], total: float) -> tuple[Level, ...]:
    """The levels of one loss, called several times and averaged: rows and columns of a contrastive loss, several crops."""
    values = [float(c.value) for c in calls if c.value is not None]
    alike = len(values) > 1 and all(c.name == calls[0].name and c.levels == calls[0].levels for c in calls)
    return calls[0].levels if alike and math.isclose(sum(values) / len(values), total, rel_tol=1e-3) else ()
