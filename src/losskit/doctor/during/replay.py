"""The bad batch once more, watched at every operation: where the first value that is not finite comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..evidence.replay import Replay
from ..step import Step
from .origin_batch import Entry, cleaned, cut, entries, only_sample, samples_of
from .origin_ops import Marks, Spots, spots
from .origin_pass import Pass, Patient, fails, finite_formats, observed
from .origin_state import first_bad
from .origin_trace import Op, Trace, origin

__all__ = ["replay"]

_NOWHERE = Spots(0, 0, math.nan, (), (), "")


def replay(step: Step, batch: Any, *, optimizer: torch.optim.Optimizer | None = None, at: int | None = None) -> Replay:
    """Run one batch from the weights that the model holds, and say what in it is the first that is not finite.

    In this order: weights and buffers, entries of the batch, an operation of the forward pass, one of the loss, one of the
    backward pass, the optimizer's step. Weights, gradients, buffers, random numbers and the optimizer are left as they were.
    """
    patient = Patient.of(step, optimizer)
    bad = first_bad(patient.modules, optimizer)
    if bad is not None:
        return replace(_of_state(patient, *bad), step=at)
    with patient.kept():
        seen = observed(patient, batch)
        late = first_bad(patient.modules, None) if seen.fine else None
        if late is not None:
            return replace(_of_state(patient, *late), step=at, op="forward pass")
    if seen.fine:
        return replace(_of_step(patient, seen), step=at)
    entry, seen, batch = _of_batch(patient, batch, seen)
    return replace(entry or _of_pass(patient, batch, seen), step=at)


def _of_state(patient: Patient, kind: str, name: str, tensor: Tensor) -> Replay:
    module = patient.owner(name.rpartition(" of ")[2])
    found = _numbers(tensor)
    return replace(found, kind=kind, name=name.replace("_orig_mod.", ""), module=module.name, module_kind=module.kind)


def _numbers(tensor: Tensor) -> Replay:
    found = spots(tensor)
    return Replay(None, "", value=found.value, index=found.index, bad=found.bad, numel=found.numel, dtype=found.dtype)


def _of_batch(patient: Patient, batch: Any, seen: Pass) -> tuple[Replay | None, Pass, Any]:
    """The entry that is to blame: with finite values in its place loss and gradients are finite. Else the pass without it."""
    found = entries(batch)
    hard = [e for e in found if (Marks.NAN | Marks.POSITIVE) & e.marks]
    soft = [e for e in found if e.marks == Marks.NEGATIVE]  # a mask of attention, if it is not to blame
    suspects: Sequence[Entry] = hard or ([] if seen.op is not None and seen.op.masked_row else soft)
    if not suspects:
        return None, seen, batch
    clean = cleaned(batch)
    with patient.kept():
        again = observed(patient, clean)
    if not again.fine:
        # what is wrong without them is the first thing; a batch that the model does not take says nothing
        return (None, seen, batch) if again.problem else (None, again, clean)
    entry = min(suspects, key=lambda e: e.target)
    numbers, rows = _numbers(entry.tensor), spots(entry.tensor).rows
    sample = rows[0] if len(rows) == 1 and samples_of(batch) is not None else None
    return replace(numbers, kind="target" if entry.target else "input", name=entry.name, sample=sample), seen, batch


def _of_pass(patient: Patient, batch: Any, seen: Pass) -> Replay:
    if seen.op is not None:
        found = _of_op(patient, batch, seen.op)
    elif seen.node is not None:
        found = _of_node(patient, batch, seen)
    elif seen.leaf:
        numbers = _numbers(seen.grad) if seen.grad is not None else Replay(None, "", value=seen.loss or math.nan)
        found = replace(numbers, kind="loss" if seen.grad is None else "backward", name=seen.leaf)
    else:
        found = Replay(None, "not reproduced")
    return replace(found, problem=seen.problem)


def _of_op(patient: Patient, batch: Any, op: Op) -> Replay:
    at = op.spots or _NOWHERE
    return Replay(
        None,
        "forward" if op.module.inside else "loss",
        op=op.name,
        module=op.module.name,
        module_kind=op.module.kind,
        where=op.where,
        name="a tensor from outside" if op.from_outside else "",
        value=op.marks.value_of,
        index=at.index,
        sample=_sample(patient, batch, op.shape, at.rows),
        bad=at.bad,
        numel=at.numel,
        largest_before=op.largest,
        lowest_before=op.lowest,
        finite_in=_formats(patient, batch, at.dtype, op.finite_in),
        dtype=at.dtype,
        masked_row=op.masked_row,
        empty_count=op.empty_count,
        trail=op.trail(),
    )


def _of_node(patient: Patient, batch: Any, seen: Pass) -> Replay:
    node, grad = seen.node, seen.grad
    if node is None or grad is None:
        return Replay(None, "not reproduced")
    numbers = _numbers(grad)
    return replace(
        numbers,
        kind="backward",
        op=node.name,
        module=seen.module.name,
        module_kind=seen.module.kind,
        where=node.where,
        name=seen.leaf,
        sample=_sample(patient, batch, tuple(grad.shape), spots(grad).rows),
        largest_before=node.largest,
        lowest_before=node.lowest,
        finite_in=_formats(patient, batch, numbers.dtype, ()),
    )


def _formats(patient: Patient, batch: Any, dtype: str, one: tuple[str, ...]) -> tuple[str, ...]:
    """Formats in which the whole batch is finite; those of the one operation where the model cannot be copied."""
    wider = {"float16": (torch.float32, torch.float64), "bfloat16": (torch.float32, torch.float64), "float32": (torch.float64,)}
    whole = finite_formats(patient, batch, wider.get(dtype, ()))
    # under autocast a model in float32 still computes in half: there the one operation knows more
    return one if whole is None else tuple(f for f in ("float32", "float64") if f in whole or (whole and f in one))


def _sample(patient: Patient, batch: Any, shape: Sequence[int], rows: Sequence[int]) -> int | None:
    """The one sample that is to blame: read off the rows that are bad where they are those of the batch, else by bisection."""
    count = samples_of(batch)
    if count is None or count < 2:
        return None
    if rows and shape[0] % count == 0:
        found = {row // (shape[0] // count) for row in rows}
        if len(found) == 1 and _alone(patient, batch, at := found.pop()):
            return at
    return only_sample(batch, lambda part: fails(patient, part))


def _alone(patient: Patient, batch: Any, at: int) -> bool:
    try:
        return fails(patient, cut(batch, at, at + 1))
    except Exception:  # e.g. a batch norm refuses one sample: the rows say enough
        return True


def _of_step(patient: Patient, seen: Pass) -> Replay:
    """Whether the optimizer's step makes weights of finite gradients that are not."""
    optimizer = patient.optimizer
    if optimizer is None or seen.grads is None:
        return Replay(None, "not reproduced")
    for group in optimizer.param_groups:
        if not math.isfinite(float(group.get("lr", 0.0))):
            return Replay(None, "optimizer", op="lr", name="lr", value=float(group["lr"]), bad=1, numel=1)
    trace = Trace([])
    with patient.kept():
        for name, leaf in patient.leaves().items():
            leaf.grad = seen.grads.get(name)
        try:
            with trace:
                optimizer.step()
        except Exception as problem:  # e.g. LBFGS, which wants a closure
            return Replay(None, "not reproduced", problem=f"{type(problem).__name__}: {problem}")
        bad = first_bad(patient.modules, optimizer)
        if bad is None:
            return Replay(None, "not reproduced")
        op = trace.of(bad[2])
        first = None if op is None else origin(op)
        found = replace(_of_state(patient, *bad), kind="optimizer", op="" if first is None else first.name)
        return found if first is None else replace(found, largest_before=first.largest, trail=first.trail())
