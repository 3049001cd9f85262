"""Row passes side by side: in float64 written plainly, eager, and the Triton kernels where there is no GPU.

Whether Triton interprets its kernels is settled when it is first imported, and torch.compile imports it too: the kernels
run in a process of their own, which sends its answers back.
"""

from __future__ import annotations

import functools
import math
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.ops.rows import Coefficients, Form, Found
from projections import off

__all__ = ["EVERYTHING", "Case", "Seen", "agree", "drawn", "eager", "ended", "process", "ptx", "seen", "triton", "truth", "whole"]

EVERYTHING: dict[str, Any] = {"bias": True, "scale": 0.7, "softcap": 5.0, "tilt": True, "entropy": True, "top": True}


class Case(NamedTuple):
    """One sweep. What ``by`` is not given for is a pass over statistics."""

    block: Tensor
    index: Tensor
    by: Coefficients | None = None
    result: torch.dtype = torch.float32
    scale: float = 1.0
    softcap: float | None = None
    bias: Tensor | None = None
    tilt: Tensor | None = None
    entropy: bool = False
    top: bool = False


class Seen(NamedTuple):
    found: Found
    visits: list[slice]
    gradient: Tensor
    shared: bool
    """Whether the gradient starts where the block does."""
    slope: Tensor
    memory: Tensor
    """All of the block's storage afterwards."""


def drawn(
    n: int, v: int, *, std: float = 3.0, bias: bool = False, tilt: bool = False, entropy: bool = False, **options: Any
) -> Case:
    """Normal scores, and coefficients for everything that the options ask for."""
    generator = torch.Generator().manual_seed(n + v)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    others, own, spread, tilted = normal(4, n).double()
    return Case(
        normal(n, v) * std, torch.randint(v, (n,), generator=generator),
        Coefficients(others, own, spread if entropy else None, tilted if tilt else None),
        bias=normal(v) if bias else None, tilt=normal(v) / v if tilt else None, entropy=entropy, **options,
    )  # fmt: skip


def truth(case: Case) -> tuple[Found, Tensor]:
    """What a sweep finds, and its gradient, as the formulas say it."""
    z, steep = case.block.double(), torch.ones(())
    z = case.scale * (z if case.bias is None else z + case.bias.double())
    if case.softcap is not None:
        z, steep = case.softcap * torch.tanh(z / case.softcap), torch.cosh(z / case.softcap) ** -2
    own = torch.arange(z.shape[1]) == case.index.unsqueeze(1)
    others = z.masked_fill(own, -math.inf)
    rest = others.logsumexp(1)
    q = torch.where(rest.unsqueeze(1) == -math.inf, 0, (others - rest.unsqueeze(1)).exp())
    found = Found(
        rest,
        torch.special.entr(q).sum(1) if case.entropy else None,
        None if case.tilt is None else (z * case.tilt.double()).sum(1),
        others.argmax(1) if case.top else None,
        others.amax(1) if case.top else None,
    )
    if case.by is None:
        return found, case.block
    by = Coefficients(*(None if t is None else t.unsqueeze(1) for t in case.by))
    gradient = by.others * q
    if by.spread is not None:
        gradient = gradient + by.spread * torch.special.entr(q)
    if by.tilt is not None and case.tilt is not None:
        gradient = gradient + by.tilt * case.tilt
    gradient = gradient * steep
    return found, gradient if by.own is None else gradient + torch.where(own, by.own, 0)


def seen(sweep: Callable[..., Tensor], case: Case) -> Seen:
    """A sweep over ``case``, two rows at a time where it goes by rows."""
    form = Form(
        dtype=torch.promote_types(case.block.dtype, torch.float32), result=case.result, scale=case.scale, softcap=case.softcap,
        bias=case.bias, tilt=case.tilt, entropy=case.entropy, top=case.top, rows=2, scratch=[],
    )  # fmt: skip
    visits: list[tuple[slice, Found]] = []

    def visit(rows: slice, found: Found) -> Coefficients | None:
        visits.append((rows, Found(*(None if t is None else t.clone() for t in found))))
        if case.by is None:
            return None
        return Coefficients(*(None if t is None else t[rows] for t in case.by))

    slope = case.block.new_zeros(case.block.shape[1], dtype=form.dtype)
    gradient = sweep(case.block, None, form, case.index, visit, None if case.by is None else slope)
    columns = list(zip(*(found for _, found in visits), strict=True)) or [(torch.empty(0),)] * len(Found._fields)
    found = Found(*(None if column[0] is None else torch.cat(column) for column in columns))
    memory = case.block.new_empty(0).set_(case.block.untyped_storage())
    return Seen(found, [rows for rows, _ in visits], gradient, gradient.data_ptr() == case.block.data_ptr(), slope, memory)


def agree(case: Case, got: Seen, slack: float = 1.0) -> None:
    """Every number against float64."""
    found, gradient = truth(case)
    for name, tolerance in (("rest", 5e-7), ("spread", 2e-6), ("drift", 1e-6), ("peak", 1e-6)):
        mine, right = getattr(got.found, name), getattr(found, name)
        assert (mine is None) == (right is None), name
        if right is not None:
            lowest = torch.where(right == -math.inf, torch.finfo(torch.float32).min, right)
            assert mine.dtype == torch.float64
            assert torch.allclose(mine, lowest, rtol=slack * tolerance, atol=slack * tolerance, equal_nan=True), (
                name,
                mine - lowest,
            )
    if found.top is not None:
        assert torch.equal(got.found.top, found.top)
    assert got.gradient.shape == case.block.shape
    assert got.shared
    if case.by is not None and gradient.numel():
        assert gradient.any()
        assert off(got.gradient, gradient) < slack * 1e-6
        assert (got.gradient - gradient).abs().max() < slack * 2e-6 * gradient.abs().max()
        assert off(got.slope, gradient.sum(0)) < slack * 2e-6


def eager(case: Case) -> Seen:
    from losskit.ops.rows import sweep

    return seen(sweep, case._replace(block=case.block.clone()))


def triton(case: Case) -> Seen:
    """To be run by :func:`process`."""
    from losskit.ops.triton.rows import sweep

    return seen(sweep, case)


def ended(name: str, *given: Tensor) -> Any:
    """A function of what comes before and after a pass, and its last argument. To be run by :func:`process`."""
    from losskit.ops.triton import ends

    return getattr(ends, name)(*given), given[-1]


def whole(name: str, operands: list[Tensor], options: dict[str, Any], reduce: str) -> tuple[Tensor, list[Tensor], int]:
    """losskit's own function over the kernels: its value, its gradients, and how many blocks they were. In a process of its own.

    ``reduce`` says which outputs are summed: names joined by blanks, or nothing for a function of one output.
    """
    import losskit
    from losskit.ops import linear_ops
    from losskit.ops.autograd import without_autocast
    from losskit.ops.triton.rows import sweep

    blocks: list[torch.Size] = []

    def counted(block: Tensor, *given: Any) -> Tensor:
        blocks.append(block.shape)
        return sweep(block, *given)

    for op in ("rows", "rows_gradient", "total"):
        getattr(linear_ops, op).register_kernel("cpu", without_autocast(functools.partial(linear_ops._BODIES[op], counted)))
    leaves = [t.detach().requires_grad_() if t.is_floating_point() else t for t in operands]
    out = getattr(losskit, name)(*leaves, **options)
    value = sum(getattr(out, n).sum() for n in reduce.split()) if reduce else out
    return value.detach(), list(torch.autograd.grad(value, [t for t in leaves if t.requires_grad])), len(blocks)


def ptx(kernel: str, result: str, features: dict[str, Any]) -> str:
    """A kernel compiled for Hopper, which takes no GPU. In a process of its own, one that does not interpret."""
    import triton as host
    from triton.backends.compiler import GPUTarget

    from losskit.ops.triton import rows

    types = {
        "block": "*fp32", "stride": "i32", "classes": "i32", "index": "*i64", "bias": "*fp32", "scale": "fp32",
        "softcap": "fp32", "tilt": "*fp32", "table": "*fp32", "best": "*i32", "out": f"*{result}",
    }  # fmt: skip
    function = getattr(rows, kernel)
    fixed = {(function.arg_names.index(name),): value for name, value in features.items() if name in function.arg_names}
    signature = {name: "constexpr" if name in features else types[name] for name in function.arg_names}
    source = host.compiler.ASTSource(function, signature, fixed)
    found: str = host.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8}).asm["ptx"]
    return found


@contextmanager
def process(**environment: str) -> Iterator[Callable[..., Any]]:
    """A process with these environment variables that calls functions of this file."""
    with ProcessPoolExecutor(1, get_context("spawn"), _prepare, (environment,)) as pool:

        def call(function: Callable[..., Any], *given: Any) -> Any:
            # bytes: torch's own way of sending tensors would share memory, and files with it
            return pickle.loads(pool.submit(_answer, pickle.dumps((function, given))).result())

        yield call


def _prepare(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    if environment.get("TRITON_INTERPRET") == "1":
        _mend_interpreter()


def _mend_interpreter() -> None:
    """Triton 3.6 asks numpy to make a number of an array of one element, which numpy 2.4 refuses."""
    import numpy
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched
    numpy.seterr(all="ignore")  # a GPU does not warn of infinities either


def _answer(asked: bytes) -> bytes:
    function, given = pickle.loads(asked)
    return pickle.dumps(function(*given))
