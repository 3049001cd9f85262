"""The ops of a projection whose scores are never kept: statistics, their gradient, and sums with the gradient in forward."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .autograd import define, without_autocast
from .heads import Row, objective, slopes
from .rows import Coefficients, Found, sweep
from .tiles import tiled, tiles_fit
from .work import Sweep, Work

__all__ = ["rows", "rows_gradient", "total"]


def _rows(
    pass_over: Sweep,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    index: Tensor,
    kept: Tensor | None,
    tilt: Tensor | None,
    scale: float,
    softcap: float,
    memory: int,
    entropy: bool,
    top: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """own, rest, drift, entropy, top, each (N,); the last three empty unless asked for."""
    work = Work(x, w, bias, index, kept, tilt, scale, softcap, memory, entropy=entropy, top=top)
    if tilt is None and not entropy and tiles_fit(work.x, len(w)):
        return _tiled_rows(work, memory, top)
    count = len(work.x)
    rest = work.own.new_empty(count)
    spread = work.own.new_empty(count if entropy else 0)
    drift = work.own.new_empty(count if tilt is not None else 0)
    best = index.new_empty(count if top else 0)

    def visit(at: slice, found: Found) -> None:
        rest[at] = found.rest
        if found.spread is not None:
            spread[at] = found.spread
        if found.drift is not None:
            drift[at] = found.drift
        if found.top is not None and found.peak is not None:
            best[at] = torch.where(work.own[at] >= found.peak, work.index[at], found.top)

    work.run(pass_over, visit, (False, False, False))
    own, whole = work.own + work.shift, rest + work.shift
    drift = drift if tilt is None else drift + work.shift * tilt.double().sum()
    h = _entropy(work.own, rest, spread) if entropy else spread
    return (
        work.scattered(own),
        work.scattered(whole),
        work.scattered(drift) if tilt is not None else drift,
        work.scattered(h) if entropy else h,
        work.scattered(best) if top else best,
    )


def _tiled_rows(work: Work, memory: int, top: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The same from tiles of classes."""
    found = tiled(work.x, work.w, work.form.bias, work.index, work.scale, work.softcap, memory)
    best = torch.where(work.own >= found.peak, work.index, found.top) if top else work.index.new_empty(0)
    none = work.own.new_empty(0)
    own, rest = work.scattered(work.own + work.shift), work.scattered(found.rest + work.shift)
    return own, rest, none, none.clone(), work.scattered(best) if top else best


def _entropy(own: Tensor, rest: Tensor, spread: Tensor) -> Tensor:
    """Of the whole row: of the split into target and others, and within the others."""
    p, q = torch.sigmoid(own - rest), torch.sigmoid(rest - own)
    whole: Tensor = torch.special.entr(p) + torch.special.entr(q) + q * spread
    return whole


def _rows_gradient(
    pass_over: Sweep,
    by_own: Tensor,
    by_rest: Tensor,
    by_drift: Tensor,
    by_entropy: Tensor,
    rest: Tensor,
    entropy: Tensor,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    index: Tensor,
    kept: Tensor | None,
    tilt: Tensor | None,
    scale: float,
    softcap: float,
    memory: int,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, w, bias (empty where not needed) from those of the statistics, the scores computed again."""
    work = Work(x, w, bias, index, kept, tilt, scale, softcap, memory, entropy=entropy.numel() > 0)
    own_by, rest_by, tilt_by = (_chosen(t, work.rows) for t in (by_own, by_rest, by_drift))
    spread_by: Tensor | None = None
    if entropy.numel():
        h_by, h = _chosen(by_entropy, work.rows), _chosen(entropy, work.rows)
        u = work.own + work.shift - _chosen(rest, work.rows)
        p, q = torch.sigmoid(u), torch.sigmoid(-u)
        # dH/dz_j = -p_j (log p_j + H), with p_j = q q_j for the others
        own_by = own_by - h_by * (torch.special.xlogy(p, p) + p * h)
        rest_by = rest_by - h_by * (torch.special.xlogy(q, q) + q * h)
        spread_by = h_by * q
    own_by = own_by if work.steep is None else own_by * work.steep
    given = Coefficients(rest_by, own_by, spread_by, tilt_by if tilt is not None else None)

    def visit(at: slice, found: Found) -> Coefficients:
        spread, tilt = (None if t is None else t[at] for t in (given.spread, given.tilt))
        return work.coefficients(given.others[at], own_by[at], spread, tilt)

    dx, dw, slope = work.run(pass_over, visit, (needs[0], needs[1], needs[2]))
    work.add_targets(own_by * scale, dx, dw, slope)
    return work.scattered(dx) if needs[0] else dx, dw, slope


def _chosen(values: Tensor, rows: Tensor | None) -> Tensor:
    return values if rows is None or not values.numel() else values[rows]


def _total(
    pass_over: Sweep,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    index: Tensor,
    kept: Tensor | None,
    tilt: Tensor | None,
    weight: Tensor,
    head: str,
    options: Sequence[float],
    z_loss: float,
    scale: float,
    softcap: float,
    memory: int,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum over rows of a head's objective less the drift along ``tilt``, and its gradients (empty where not needed)."""
    work = Work(x, w, bias, index, kept, tilt if softcap else None, scale, softcap, memory)
    weights = _chosen(weight, work.rows).double()
    smooth = None if tilt is None else tilt.double().sum()
    value, own_by = torch.empty_like(work.own), torch.empty_like(work.own)

    def visit(at: slice, found: Found) -> Coefficients:
        row = Row(head, options, work.own[at] + work.shift, found.rest + work.shift, weights[at], smooth, z_loss)
        value[at] = objective(row)
        by = slopes(row)
        own_by[at] = by.own if work.steep is None else by.own * work.steep[at]
        tilt_by = None
        if found.drift is not None:
            value[at] -= found.drift
            tilt_by = torch.full_like(by.rest, -1.0)
        return work.coefficients(by.rest, own_by[at], None, tilt_by)

    dx, dw, slope = work.run(pass_over, visit, (needs[0], needs[1], needs[2]))
    work.add_targets(own_by * scale, dx, dw, slope)
    result = value.sum()
    if tilt is not None and not softcap:
        result = result - work.add_drift(tilt, -1.0, dx, dw, slope)
    return result, work.scattered(dx) if needs[0] else dx, dw, slope


_CALL = "Tensor x, Tensor w, Tensor? bias, Tensor index, Tensor? kept, Tensor? tilt"
_FORM = "float scale, float softcap, int memory"
_SCHEMAS = {
    "rows": f"({_CALL}, {_FORM}, bool entropy, bool top) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "rows_gradient": (
        "(Tensor by_own, Tensor by_rest, Tensor by_drift, Tensor by_entropy, Tensor rest, Tensor entropy, "
        f"{_CALL}, {_FORM}, bool[] needs) -> (Tensor, Tensor, Tensor)"
    ),
    "total": (
        f"({_CALL}, Tensor weight, str head, float[] options, float z_loss, {_FORM}, bool[] needs) "
        "-> (Tensor, Tensor, Tensor, Tensor)"
    ),
}
_BODIES: dict[str, Callable[..., Any]] = {"rows": _rows, "rows_gradient": _rows_gradient, "total": _total}


@functools.cache
def _cuda_pass() -> Sweep:
    """Triton's row pass, the eager one where there is no Triton; loaded by the first call on CUDA."""
    try:
        from .triton.rows import sweep as fused
    except ImportError:
        return sweep
    return fused


def _gradients(x: Tensor, w: Tensor, needs: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.promote_types(x.dtype, torch.float32)
    return (
        x.new_empty(x.shape if needs[0] else (0,), dtype=dtype),
        w.new_empty(w.shape if needs[1] else (0,), dtype=dtype),
        w.new_empty(w.shape[:1] if needs[2] else (0,), dtype=dtype),
    )


def _rows_fake(x: Tensor, w: Tensor, bias: Any, index: Tensor, kept: Any, tilt: Any, *others: Any) -> Any:
    entropy, top = others[-2:]
    each = [x.new_empty(len(x) if wanted else 0, dtype=torch.float64) for wanted in (True, True, tilt is not None, entropy)]
    return (*each, index.new_empty(len(x) if top else 0))


def _rows_gradient_fake(
    by_own: Any, by_rest: Any, by_drift: Any, by_entropy: Any, rest: Any, entropy: Any, x: Tensor, w: Tensor, *others: Any
) -> Any:
    return _gradients(x, w, others[-1])


def _total_fake(x: Tensor, w: Tensor, *others: Any) -> Any:
    return (x.new_empty((), dtype=torch.float64), *_gradients(x, w, others[-1]))


_FAKES: dict[str, Callable[..., Any]] = {"rows": _rows_fake, "rows_gradient": _rows_gradient_fake, "total": _total_fake}


def _op(name: str) -> Any:
    """The op with the eager row pass everywhere, with Triton's on CUDA."""
    op = define(f"linear_{name}", _SCHEMAS[name], functools.partial(_BODIES[name], sweep), _FAKES[name])
    op.register_kernel("cuda", without_autocast(lambda *given: _BODIES[name](_cuda_pass(), *given)))
    return op


rows, rows_gradient, total = _op("rows"), _op("rows_gradient"), _op("total")
