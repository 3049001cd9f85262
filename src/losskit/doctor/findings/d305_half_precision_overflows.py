"""D305: a float16 activation is beyond 65504, or close to it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from ..evidence import Evidence
from ..evidence.precision import Module
from ..evidence.replay import Replay
from ..finding import Hit, finding

__all__ = ["half_precision_overflows"]

LIMIT = torch.finfo(torch.float16).max  # 65504
CLOSE = 0.5  # of it: one doubling is left; a mask of exactly -65504 is no activation
POLES = ("log", "log2", "log10", "log1p", "div", "reciprocal", "rsqrt", "sqrt")  # infinite at 0, whatever the format


@finding(
    "D305",
    severity="error",
    phases=("before", "during"),
    explains=("D301", "D303", "D304", "D302", "D501", "D502", "D901", "D904"),
)
def half_precision_overflows(evidence: Evidence) -> Iterator[Hit]:
    """An activation does not fit float16, which ends at 65504; in float32 the same batch is finite.

    Cause:       float16 has 5 bits of exponent: squares of 256 and sums of many terms overflow to inf, and inf - inf is
                 NaN. A gradient scaler does not help, it scales gradients, not activations.
    Rule:        Error: a module's output in float16 is not finite, its input was, and the batch's loss is finite in float32
                 (or the replay of the bad batch overflows in float16 and not in float32). Warning: the largest magnitude is
                 above half of 65504.
    Silent when: the format is bfloat16, which has the range of float32; float32 is not finite either; the value is a mask
                 of exactly 65504.
    Fix:         torch.autocast(device, dtype=torch.bfloat16); or keep that module in float32: with torch.autocast(device,
                 enabled=False).
    Confirm:     the largest magnitude of that module's output in float32 is above 65504.
    Reference:   Micikevicius et al. 2018, arXiv:1710.03740.
    Example:
        (x.half() * 300) @ (w.half() * 300)          # sick
        (x.bfloat16() * 300) @ (w.bfloat16() * 300)  # healthy
    """
    if (hit := _replayed(evidence.replay)) is not None:
        yield hit
        return
    seen = evidence.precision
    looks = evidence.probes.looks if evidence.probes is not None else ()
    modules = seen.modules if seen is not None else looks[-1].modules if looks else ()
    step = None if seen is not None or not looks else looks[-1].step
    half = [module for module in modules if module.dtype == "float16"]
    first = next((module for module in half if not module.finite and module.inputs_finite), None)
    if first is not None and seen is not None and seen.loss_float32 is not None and math.isfinite(seen.loss_float32):
        said = f'the output of "{first.name}" ({first.kind}) overflows float16'
        yield Hit(
            f"{said}; in float32 the loss of the batch is {seen.loss_float32:.4g}",
            {"limit": LIMIT, "loss_float32": seen.loss_float32},
            where=first.name,
            step=step,
        )
        return
    close = max((m for m in half if m.finite and CLOSE * LIMIT < m.largest < LIMIT), key=_largest, default=None)
    if close is not None:
        said = f'the output of "{close.name}" ({close.kind}) reaches {close.largest:.5g} in float16, which ends at {LIMIT:.0f}'
        yield Hit(said, {"largest": close.largest, "limit": LIMIT}, where=close.name, step=step, severity="warning")


def _largest(module: Module) -> float:
    return module.largest


def _replayed(replay: Replay | None) -> Hit | None:
    """The first bad value of the replayed batch is an overflow that float32 does not have."""
    if replay is None or replay.dtype.removeprefix("torch.") != "float16" or "float32" not in replay.finite_in:
        return None
    if replay.kind not in ("forward", "loss") or not math.isinf(replay.value) or replay.op.removesuffix("_") in POLES:
        return None
    place = replay.where or replay.module or replay.op
    grown = f" from inputs up to {replay.largest_before:.4g}" if replay.largest_before is not None else ""
    said = f"{replay.op or 'an operation'} at {place} overflows float16{grown} (it ends at {LIMIT:.0f}), float32 does not"
    numbers = {"limit": LIMIT} if replay.largest_before is None else {"limit": LIMIT, "largest_before": replay.largest_before}
    return Hit(said, numbers, where=place, step=replay.step)
