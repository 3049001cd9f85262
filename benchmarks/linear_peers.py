"""The contenders: losskit, the forms that torch offers, and the CUDA peers; each imports its library when it is asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from os import environ
from typing import Any

import torch
import torch.nn.functional as F
from linear_cases import DTYPES, Case, Problem
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Step = Callable[[], Any]
FLOORS = ("bare GEMMs, plain", "bare GEMMs, out=")


class AbsentError(Exception):
    """A contender that cannot take part, with the reason."""


@dataclass(frozen=True)
class Contender:
    """Somebody's mean cross-entropy of `input @ weight.T`."""

    name: str
    make: Callable[[], Loss]  # raises AbsentError
    module: str = "torch"
    devices: tuple[str, ...] = ("cpu", "cuda")
    dtypes: tuple[str, ...] = tuple(DTYPES)
    logits: int = 0  # how many float32 numbers a logit costs where all are kept
    compiled: bool = False
    slow: bool = False
    blocks: Callable[[Case, int], Loss] | None = None

    def suits(self, case: Case) -> bool:
        """Whether there is anything to measure; a slow one is spared where only the ratio of two of its own runs matters."""
        return case.device in self.devices and case.dtype in self.dtypes and not (self.slow and case.kind == "half ignored")

    def loss(self) -> Loss:
        """The function to call, or AbsentError."""
        if find_spec(self.module) is None:
            raise AbsentError(f"not installed: {self.module}")
        return self.make()


def plain(input: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(input, weight), target)


def upcast(input: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(input, weight).float(), target)


def compiled() -> Loss:
    if not torch.cuda.is_available() and not any(map(shutil.which, (environ.get("CXX", "g++"), "g++", "clang++"))):
        raise AbsentError("no C++ compiler for torch.compile")
    torch.compiler.reset()  # every case is a fresh compilation, never a recompilation that hits the limit
    return torch.compile(upcast, dynamic=False)


def chunked(**options: Any) -> Loss:
    if not hasattr(F, "linear_cross_entropy") or not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise AbsentError(f"torch {torch.__version__} has no chunked linear_cross_entropy")
    chosen = torch.nn.LinearCrossEntropyOptions(**options)
    return lambda x, w, t: F.linear_cross_entropy(x, w, t, options=chosen)


def chunked_blocks(case: Case, blocks: int) -> Loss:
    return chunked(batch_chunk_size=-(-case.rows // blocks), chunking_method=None)


def ours(**options: Any) -> Loss:
    import losskit

    if not hasattr(losskit, "linear_cross_entropy"):
        raise AbsentError(f"losskit missing: losskit {losskit.__version__} has no linear_cross_entropy")
    return lambda x, w, t: losskit.linear_cross_entropy(x, w, t, **options)


def our_blocks(case: Case, blocks: int) -> Loss:
    """A budget for float32 logits of that many rows; how many GEMMs really ran is counted beside it."""
    return ours(memory=-(-case.rows // blocks) * case.classes * 4)


def liger(accumulate: torch.dtype | None = None) -> Loss:
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Liger

    # bias, class weights, ignore_index, z-loss, smoothing, reduction, softcap, return_z_loss, accum_dtype
    options = (None, None, -100, 0.0, 0.0, "mean", None, False, accumulate) if accumulate else ()

    def run(input: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        found = Liger.apply(input, weight, target, *options)
        return found[0] if isinstance(found, tuple) else found

    return run


def liger_sm90() -> Loss:
    if find_spec("cutlass") is None:
        raise AbsentError("not installed: nvidia-cutlass-dsl")
    from liger_kernel.ops.cutedsl.ops.fused_linear_cross_entropy_sm90 import liger_fused_linear_cross_entropy_sm90

    return liger_fused_linear_cross_entropy_sm90


def cut(implementation: str, **options: Any) -> Loss:
    from cut_cross_entropy import LinearCrossEntropyImpl, linear_cross_entropy

    if implementation.upper() not in LinearCrossEntropyImpl.__members__:
        raise AbsentError(f"this version has no {implementation}")
    return lambda x, w, t: linear_cross_entropy(x, w, t, impl=implementation, **options)


def quack(**options: Any) -> Loss:
    from quack.linear_cross_entropy import chunked_linear_cross_entropy

    # untuned: the tuner tries its configurations for minutes; the scaled-exp path has no use for it anyway
    return lambda x, w, t: chunked_linear_cross_entropy(x, w, t, tuned=False, **options)


def quack_plain() -> Loss:
    from quack.linear_cross_entropy import linear_cross_entropy_func

    return lambda x, w, t: linear_cross_entropy_func(x, w, None, t)


HALF, CUDA = ("bfloat16", "float16"), {"devices": ("cuda",)}
LIGER, CUT, QUACK = ({"module": m, **CUDA} for m in ("liger_kernel", "cut_cross_entropy", "quack"))
CONTENDERS = (
    Contender("losskit", ours, module="losskit", blocks=our_blocks),
    Contender("torch", lambda: plain, logits=2),
    Contender("torch, .float()", lambda: upcast, dtypes=HALF, logits=3),
    Contender("torch, chunked", chunked, slow=True, blocks=chunked_blocks),
    Contender("torch.compile", compiled, logits=2, compiled=True, slow=True),
    Contender("liger", liger, **LIGER),
    Contender("liger, float32 accumulation", lambda: liger(torch.float32), slow=True, **LIGER),
    Contender("liger, CuTe SM90", liger_sm90, dtypes=("bfloat16",), **LIGER),
    Contender("cut-cross-entropy", lambda: cut("cce"), dtypes=HALF, **CUT),
    Contender("cut-cross-entropy, no gradient filter", lambda: cut("cce", filter_eps=None), dtypes=HALF, slow=True, **CUT),
    Contender("cut-cross-entropy, kahan_full_c", lambda: cut("cce_kahan_full_c"), dtypes=HALF, slow=True, **CUT),
    Contender("cut-cross-entropy, exact", lambda: cut("cce_exact"), dtypes=HALF, slow=True, **CUT),
    Contender("cut-cross-entropy, torch_compile", lambda: cut("torch_compile"), logits=2, slow=True, compiled=True, **CUT),
    Contender("quack", quack, dtypes=HALF, **QUACK),
    Contender("quack, no scaled exp, untuned", lambda: quack(use_scaled_exp=False), dtypes=HALF, slow=True, **QUACK),
    Contender("quack, cross_entropy of logits", quack_plain, logits=2, slow=True, **QUACK),
)


def clear(given: Problem) -> None:
    given.input.grad = given.weight.grad = None


def step(loss: Loss, given: Problem, backward: bool = True, upstream: float = 1.0) -> Step:
    """One training step's share of the head: value and both gradients, or the value alone."""

    def run() -> Tensor:
        clear(given)
        value = loss(given.input, given.weight, given.target)
        value.backward(torch.full_like(value, upstream))
        return value.detach()

    def forward() -> Tensor:
        with torch.no_grad():
            return loss(given.input, given.weight, given.target)

    return run if backward else forward


def floors(given: Problem, backward: bool = True) -> dict[str, Step]:
    """The matrix products alone: as plain expressions, and into tensors made before."""
    x, w = given.input.detach(), given.weight.detach()
    z, dx, dw = x.new_empty(x.shape[0], w.shape[0]), torch.empty_like(x), torch.empty_like(w)

    def three() -> tuple[Tensor, Tensor, Tensor]:
        scores = x @ w.T
        return scores, scores @ w, scores.T @ x

    def three_out() -> None:
        torch.mm(x, w.T, out=z)
        torch.mm(z, w, out=dx)
        torch.mm(z.T, x, out=dw)

    if backward:
        return dict(zip(FLOORS, (three, three_out), strict=True))
    return dict(zip(FLOORS, (lambda: x @ w.T, lambda: torch.mm(x, w.T, out=z)), strict=True))
