"""Sums over the pairs of a list as a double loop in plain Python, and lists to try them on."""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor

from losskit.ops.lambda_pairs import Lambda
from losskit.ops.list_ranks import places
from losskit.ops.list_tile_forms import Form
from losskit.ops.list_tiles import Call

__all__ = ["FORMS", "LAMBDAS", "by_kernel", "compiled", "drawn", "lambda_of", "looped", "widened"]

FORMS: tuple[Form, ...] = get_args(Form)
LAMBDAS = ("gain", "place", "places", "distance", "both")


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _of(call: Call, d: float, wanted: float) -> tuple[float, float]:
    """A loss of d, and its derivative."""
    short = call.margin - d
    if call.form == "logistic":
        return max(-d, 0) + math.log1p(math.exp(-abs(d))), -_sigmoid(-d)
    if call.form == "soft_zero_one":
        return _sigmoid(-d), -_sigmoid(d) * _sigmoid(-d)
    if call.form == "exponential":
        return math.exp(-d), -math.exp(-d)
    if call.form == "mse":
        return (d - wanted) ** 2, 2 * (d - wanted)
    if call.form == "hinge":
        return max(0.0, short), -1.0 if short > 0 else 0.0
    return max(0.0, short) ** 2, -2 * max(0.0, short)


def _lambda(lam: Lambda, b: int, s: list[float], i: int, j: int) -> float:
    def at(t: Tensor | None, k: int) -> float:
        assert t is not None
        return float(t[b, k])

    place = 1.0 if lam.ordered is None and lam.rank is None else 0.0
    if lam.ordered is not None:
        place = at(lam.tied, i)
        if s[i] > s[j]:
            place = at(lam.ordered, i) - at(lam.ordered, j)
        elif s[i] < s[j]:
            place = at(lam.swapped, j) - at(lam.swapped, i)
    if lam.rank is not None:
        d = at(lam.apart, i) if s[i] == s[j] else abs(at(lam.rank, i) - at(lam.rank, j))
        place += lam.mu * (1 / math.log2(1 + d) - 1 / math.log2(2 + d))
    return (at(lam.gain, i) - at(lam.gain, j)) * place


def looped(call: Call) -> tuple[Tensor, Tensor]:
    """The sums, and their gradient."""
    batch, size = call.scores.shape
    value, gradient = torch.zeros(batch, dtype=torch.float64), torch.zeros(batch, size, dtype=torch.float64)
    for b in range(batch):
        s, y, there = call.scores[b].tolist(), call.relevance[b].tolist(), call.valid[b].tolist()
        w = [1.0] * size if call.weight is None else call.weight[b].tolist()
        items = [k for k in range(size) if there[k]]
        inside = {k: call.topk is None or sum(s[j] > s[k] for j in items) < call.topk for k in items}
        for i in items:
            for j in items:
                if not (inside[i] or inside[j]):
                    continue
                if y[i] > y[j]:
                    share = w[i] * (1.0 if call.lam is None else _lambda(call.lam, b, s, i, j))
                elif call.half and i != j and y[i] == y[j]:
                    share = (w[i] + w[j]) / 4  # half of (w_i + w_j) / 2, since j will be met with i too
                else:
                    continue
                loss, slope = _of(call, s[i] - s[j], y[i] - y[j])
                value[b] += share * loss
                gradient[b, i] += share * slope
                gradient[b, j] -= share * slope
    return value, gradient


def drawn(batch: int, size: int, form: Form = "logistic", *, seed: int = 0, spread: float = 1.0, **options: Any) -> Call:
    """Lists with ties in grades, and in scores unless ``ties`` is False; a fifth of the items is not there."""
    generator = torch.Generator().manual_seed(seed + size)

    def uniform() -> Tensor:
        return torch.rand(batch, size, generator=generator, dtype=torch.float64)

    valid = uniform() < 0.8
    scores = 16 * uniform() - 8
    scores = torch.where(valid, (scores.round() if options.pop("ties", True) else scores) * (spread / 2), 0)
    relevance = torch.where(valid, (uniform() * options.pop("grades", 4)).floor(), 0)
    weight = torch.where(valid, uniform(), 0) if options.pop("weighted", False) else None
    lam = lambda_of(options.pop("lam", None), scores, valid, uniform(), uniform())
    return Call(scores, relevance, valid, weight, form, options.pop("margin", 0.7), lam, **options)


def lambda_of(kind: str | None, scores: Tensor, valid: Tensor, gain: Tensor, other: Tensor) -> Lambda | None:
    """Weights with every combination of terms."""
    at = places(scores, valid)
    rank = at.above + (at.tied + 1) / 2.0
    table, tied, apart = 1 / torch.log2(1 + rank.double()), 0.01 * at.above.double() + 0.2, (at.tied.double() + 1) / 3
    terms: dict[str, dict[str, Any]] = {
        "gain": {},
        "place": {"ordered": table, "swapped": table.clone(), "tied": tied},
        "places": {"ordered": table, "swapped": other, "tied": tied},
        "distance": {"rank": rank.double(), "apart": apart, "mu": 1.0},
        "both": {"ordered": table, "swapped": table, "tied": tied, "rank": rank.double(), "apart": apart, "mu": 3.0},
    }
    return None if kind is None else Lambda(gain, **terms[kind])


def widened(call: Call) -> Call:
    """The same numbers in float64."""
    return call._replace(scores=call.scores.double(), weight=None if call.weight is None else call.weight.double())


def by_kernel(call: Call) -> tuple[Tensor, Tensor]:
    """By Triton's kernel, to be run where it interprets."""
    from losskit.ops.triton import list_pairs

    assert list_pairs.fits(call)
    found = list_pairs.swept(call)
    return found.value, found.gradient


def compiled(form: int, parts: int) -> str:
    """The kernel compiled for Hopper, which takes no GPU. In a process of its own, one that does not interpret."""
    import triton as host
    from triton.backends.compiler import GPUTarget

    from losskit.ops.triton import list_pairs

    types = {"packed": "*fp32", "out": "*fp64", "size": "i32", "plane": "i32", "margin": "fp32", "mu": "fp32"}
    fixed = {"form": form, "parts": parts, "tall": 32, "wide": 64}
    names = list_pairs._pairs.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    source = host.compiler.ASTSource(list_pairs._pairs, signature, {(names.index(k),): v for k, v in fixed.items()})
    found: str = host.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
    return found
