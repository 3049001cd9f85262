"""The torch ops of pair statistics: what the differentiable face of :mod:`pairs` runs and saves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import pair_lse as eager
from . import pair_sums as eager_sums
from .autograd import define, without_autocast
from .pair_sets import Who
from .pair_sums import Sums
from .pair_tiles import Call, Gate

__all__ = ["BODIES", "pair_lse", "pair_lse_gradient", "pair_sum", "pair_sum_gradient", "pair_total"]

_CPU_MEMORY = 8 << 20  # two tiles of 1024 x 1024 float32: the smallest, as measured, that cost the products little
_CUDA_MEMORY = 1 << 30
_PAIRS = "Tensor x, Tensor y, Tensor row_id, Tensor col_id, Tensor row_slot, Tensor col_slot"
_GATE = "Tensor? gate_x, Tensor? gate_y, Tensor? row_limit, Tensor? col_limit"
_CURVE = "bool same, str curve, float[] params, str narrow, int memory"


def _gate(*tensors: Tensor | None) -> Gate | None:
    x, y, row_limit, col_limit = tensors
    if x is None or y is None or row_limit is None or col_limit is None:
        return None
    return Gate(x, y, row_limit, col_limit)


def _lse_call(given: Sequence[Any]) -> Call:
    x, y, a, b, c, d, *gate = given[:10]
    same, curve, params, narrow, memory = given[10:15]
    memory = memory or _memory(x, plain=not curve and gate[0] is None)
    return Call(x, y, Who(a, b, c, d, same), memory, curve, params, _gate(*gate), narrow)


def _memory(x: Tensor, *, plain: bool) -> int:
    if x.device.type != "cpu":
        return _CUDA_MEMORY
    return _CPU_MEMORY if plain else _CPU_MEMORY // 4  # a curve makes several sheets of a tile: all shall lie in the cache


def _lse(*given: Any) -> tuple[Tensor, Tensor]:
    return eager.lse(_lse_call(given), given[15])


def _lse_gradient(by_rows: Tensor, by_cols: Tensor, rows: Tensor, cols: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
    return eager.gradient_of_lse(_lse_call(given), by_rows, by_cols, rows, cols, given[15])


def _sum_call(given: Sequence[Any]) -> tuple[Call, Sums]:
    x, y, a, b, c, d, t, u = given[:8]
    same, curve, params, narrow, memory = given[8:13]
    none = x.new_empty(0)
    sums = Sums(curve, none if t is None else t.to(x.dtype), none if u is None else u.to(x.dtype))
    return Call(x, y, Who(a, b, c, d, same), memory or _memory(x, plain=False), "", params, None, narrow), sums


def _sum_rows(*given: Any) -> Tensor:
    return eager_sums.row_sums(*_sum_call(given))


def _sum_gradient(by_rows: Tensor, *given: Any) -> tuple[Tensor, ...]:
    return eager_sums.gradient_of_sum(*_sum_call(given), by_rows, given[13])[1:]


def _total(weight: Tensor, *given: Any) -> tuple[Tensor, ...]:
    rows, *gradients = eager_sums.gradient_of_sum(*_sum_call(given), weight, given[13])
    return (weight.double() @ rows, *gradients)


def _empty(like: Tensor | None, need: bool, x: Tensor) -> Tensor:
    return x.new_empty(like.shape if need and like is not None else (0,))


def _lse_fake(*given: Any) -> tuple[Tensor, Tensor]:
    x, y = given[:2]
    return x.new_empty(len(x), dtype=torch.float64), x.new_empty(len(y) if given[15] else 0, dtype=torch.float64)


def _lse_gradient_fake(*given: Any) -> tuple[Tensor, ...]:
    x, y, needs = given[4], given[5], given[19]
    return _empty(x, needs[0], x), _empty(y, needs[1], x)


def _sum_fake(x: Tensor, *given: Any) -> Tensor:
    return x.new_empty(len(x), dtype=torch.float64)


def _sum_gradient_fake(by: Tensor, *given: Any) -> tuple[Tensor, ...]:
    x, y, t, u, needs = given[0], given[1], given[6], given[7], given[13]
    return tuple(_empty(like, need, x) for like, need in zip((x, y, t, u), needs, strict=True))


def _total_fake(weight: Tensor, *given: Any) -> tuple[Tensor, ...]:
    return (weight.new_empty((), dtype=torch.float64), *_sum_gradient_fake(weight, *given))


_TWO, _FOUR = "(Tensor, Tensor)", "(Tensor, Tensor, Tensor, Tensor)"
_SUM = f"{_PAIRS}, Tensor? t, Tensor? c, {_CURVE}"
pair_lse = define("pair_lse", f"({_PAIRS}, {_GATE}, {_CURVE}, bool columns) -> {_TWO}", _lse, _lse_fake)
pair_lse_gradient = define(
    "pair_lse_gradient",
    f"(Tensor by_rows, Tensor by_cols, Tensor rows, Tensor cols, {_PAIRS}, {_GATE}, {_CURVE}, bool[] needs) -> {_TWO}",
    _lse_gradient,
    _lse_gradient_fake,
)
pair_sum = define("pair_sum", f"({_SUM}) -> Tensor", _sum_rows, _sum_fake)
pair_sum_gradient = define(
    "pair_sum_gradient", f"(Tensor by, {_SUM}, bool[] needs) -> {_FOUR}", _sum_gradient, _sum_gradient_fake
)
pair_total = define(
    "pair_total", f"(Tensor weight, {_SUM}, bool[] needs) -> (Tensor, Tensor, Tensor, Tensor, Tensor)", _total, _total_fake
)


@functools.cache
def _kernels() -> Any:
    """Triton's, of log-sum-exps and of sums; None where there is no Triton; loaded by the first call on CUDA."""
    try:
        from .triton import pair_sums, pairs
    except ImportError:
        return None
    return pairs, pair_sums


def _lse_kernels(call: Call) -> Any:
    found = _kernels()
    return found[0] if found is not None and found[0].fits(call) else eager


def _sum_kernels(call: Call, sums: Sums) -> Any:
    found = _kernels()
    return found[1] if found is not None and found[1].fits(call, sums) else eager_sums


def _cuda_lse(*given: Any) -> Any:
    call = _lse_call(given)
    return _lse_kernels(call).lse(call, given[15])


def _cuda_lse_gradient(by_rows: Tensor, by_cols: Tensor, rows: Tensor, cols: Tensor, *given: Any) -> Any:
    call = _lse_call(given)
    return _lse_kernels(call).gradient_of_lse(call, by_rows, by_cols, rows, cols, given[15])


def _cuda_sum(*given: Any) -> Any:
    call, sums = _sum_call(given)
    return _sum_kernels(call, sums).row_sums(call, sums)


def _cuda_sum_gradient(by_rows: Tensor, *given: Any) -> Any:
    call, sums = _sum_call(given)
    return _sum_kernels(call, sums).gradient_of_sum(call, sums, by_rows, given[13])[1:]


def _cuda_total(weight: Tensor, *given: Any) -> Any:
    call, sums = _sum_call(given)
    rows, *gradients = _sum_kernels(call, sums).gradient_of_sum(call, sums, weight, given[13])
    return (weight.double() @ rows, *gradients)


# what each op runs on CPU, and on CUDA
BODIES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "lse": (_lse, _cuda_lse),
    "lse_gradient": (_lse_gradient, _cuda_lse_gradient),
    "sum": (_sum_rows, _cuda_sum),
    "sum_gradient": (_sum_gradient, _cuda_sum_gradient),
    "total": (_total, _cuda_total),
}
for _name, _op in (
    ("lse", pair_lse),
    ("lse_gradient", pair_lse_gradient),
    ("sum", pair_sum),
    ("sum_gradient", pair_sum_gradient),
    ("total", pair_total),
):
    _op.register_kernel("cuda", without_autocast(BODIES[_name][1]))
