"""The ops of a projection as torch sees them: opcheck, what their outputs mean, fakes, threads."""

from __future__ import annotations

import itertools
import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from losskit.ops import linear_ops
from projections import off

ROWS, GRADIENT, TOTAL = linear_ops.rows, linear_ops.rows_gradient, linear_ops.total
N, D, V = 7, 5, 11


def operands(bias: bool, kept: bool, tilt: bool, dtype: torch.dtype = torch.float64) -> dict[str, Tensor | None]:
    """Of one call, by the names of the schema."""
    generator = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "x": normal(N, D), "w": normal(V, D), "bias": normal(V) if bias else None,
        "index": torch.randint(V, (N,), generator=generator), "kept": torch.arange(N) % 3 != 1 if kept else None,
        "tilt": torch.rand(V, generator=generator, dtype=torch.float64) if tilt else None,
    }  # fmt: skip


def form(softcap: float) -> dict[str, Any]:
    """Three rows a block, so that there is more than one."""
    return {"scale": 0.7, "softcap": softcap, "memory": 3 * V * 8 + V * 8}


def scores(call: dict[str, Tensor | None], softcap: float, scale: float = 0.7) -> Tensor:
    z = call["x"] @ call["w"].T
    z = scale * (z if call["bias"] is None else z + call["bias"])
    return softcap * torch.tanh(z / softcap) if softcap else z


CALLS = list(itertools.product((False, True), (False, True), (False, True), (0.0, 2.0)))
CALL = pytest.mark.parametrize(("bias", "kept", "tilt", "softcap"), CALLS)
# every pair of the four occurs: opcheck takes a tenth of a second
PAIRS = pytest.mark.parametrize(("bias", "kept", "tilt", "softcap"), [CALLS[i] for i in (0, 3, 6, 9, 13, 14)])


def gradient_call(call: dict[str, Tensor | None], softcap: float, entropy: bool, needs: list[bool]) -> dict[str, Any]:
    """A call of the gradient, with upstream gradients of which some are zero."""
    found = ROWS(**call, **form(softcap), entropy=entropy, top=False)
    generator = torch.Generator().manual_seed(5)
    by = [torch.randn(len(t), generator=generator, dtype=torch.float64) for t in found[:4]]
    by[0][:2] = 0
    return {
        **dict(zip(("by_own", "by_rest", "by_drift", "by_entropy"), by, strict=True)),
        "rest": found[1], "entropy": found[3], **call, **form(softcap), "needs": needs,
    }  # fmt: skip


def total_call(call: dict[str, Tensor | None], softcap: float, head: str, needs: list[bool]) -> dict[str, Any]:
    options = [2.0] if head == "focal" else []
    weight = torch.linspace(0, 2, N, dtype=torch.float64)
    return {**call, "weight": weight, "head": head, "options": options, "z_loss": 0.1, **form(softcap), "needs": needs}


@PAIRS
@pytest.mark.parametrize("entropy", [False, True])
def test_opcheck_of_the_statistics(bias: bool, kept: bool, tilt: bool, softcap: float, entropy: bool) -> None:
    call = operands(bias, kept, tilt)
    torch.library.opcheck(ROWS, (), {**call, **form(softcap), "entropy": entropy, "top": not entropy})


@PAIRS
@pytest.mark.parametrize("entropy", [False, True])
def test_opcheck_of_their_gradient(bias: bool, kept: bool, tilt: bool, softcap: float, entropy: bool) -> None:
    needs = [True, not kept, bias]
    torch.library.opcheck(GRADIENT, (), gradient_call(operands(bias, kept, tilt), softcap, entropy, needs))


@PAIRS
@pytest.mark.parametrize("head", ["nll", "focal"])
def test_opcheck_of_the_total(bias: bool, kept: bool, tilt: bool, softcap: float, head: str) -> None:
    needs = [not kept, True, bias]
    torch.library.opcheck(TOTAL, (), total_call(operands(bias, kept, tilt), softcap, head, needs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_opcheck_in_other_dtypes_and_without_rows(dtype: torch.dtype) -> None:
    call = operands(True, True, True, dtype)
    nobody = {**call, "kept": torch.zeros(N, dtype=torch.bool)}
    empty = {**call, **{n: call[n][:0] for n in ("x", "index", "kept")}}
    for some in (call, nobody, empty):
        torch.library.opcheck(ROWS, (), {**some, **form(0.0), "entropy": True, "top": True})
        torch.library.opcheck(GRADIENT, (), gradient_call(some, 0.0, True, [True, True, True]))
    torch.library.opcheck(TOTAL, (), total_call(call, 0.0, "nll", [True, True, True]))


@CALL
def test_the_statistics_are_those_of_the_scores(bias: bool, kept: bool, tilt: bool, softcap: float) -> None:
    call = operands(bias, kept, tilt)
    own, rest, drift, entropy, top = ROWS(**call, **form(softcap), entropy=True, top=True)
    z, seen = scores(call, softcap), torch.ones(N, dtype=torch.bool) if call["kept"] is None else call["kept"]
    column = call["index"][:, None]
    wanted = {
        "own": (own, z.gather(1, column)[:, 0]),
        "rest": (rest, z.scatter(1, column, -math.inf).logsumexp(1)),
        "entropy": (entropy, -(z.softmax(1) * z.log_softmax(1)).sum(1)),
        "top": (top, z.argmax(1)),
    }
    if call["tilt"] is not None:
        wanted["drift"] = drift, z @ call["tilt"]
    else:
        assert not drift.numel()
    for name, (got, right) in wanted.items():
        assert torch.allclose(got[seen].double(), right[seen].double()), name
        assert not got[~seen].any(), name


@CALL
def test_gradients_are_those_of_the_scores_and_only_where_needed(bias: bool, kept: bool, tilt: bool, softcap: float) -> None:
    call = operands(bias, kept, tilt)
    names = ["x", "w", "bias"] if bias else ["x", "w"]
    leaves = {n: call[n].clone().requires_grad_() for n in names}
    z = scores({**call, **leaves}, softcap)
    column = call["index"][:, None]
    log_p = z.log_softmax(1)
    given = gradient_call(call, softcap, True, [True, True, bias])
    seen = torch.ones(N) if call["kept"] is None else call["kept"].double()
    value = given["by_own"] * z.gather(1, column)[:, 0] + given["by_rest"] * z.scatter(1, column, -math.inf).logsumexp(1)
    value = value - given["by_entropy"] * (log_p.exp() * log_p).sum(1)
    value = value + given["by_drift"] * (z @ call["tilt"]) if tilt else value
    wanted = torch.autograd.grad((seen * value).sum(), list(leaves.values()))
    for got, right in zip(GRADIENT(**given), wanted, strict=False):
        assert right.any()
        assert off(got, right) < 1e-12
    for i, name in enumerate(names):
        one = GRADIENT(**{**given, "needs": [j == i for j in range(3)]})
        assert off(one[i], wanted[i]) < 1e-12, name
        assert [t.numel() for j, t in enumerate(one) if j != i] == [0, 0]


@CALL
@pytest.mark.parametrize("head", ["nll", "focal"])
def test_the_total_is_the_sum_of_its_terms(bias: bool, kept: bool, tilt: bool, softcap: float, head: str) -> None:
    """weight * head(own - rest) + z_loss lse^2 + sum(tilt) lse - tilt @ scores, and its gradient in the same call."""
    call = operands(bias, kept, tilt)
    names = ["x", "w", "bias"] if bias else ["x", "w"]
    leaves = {n: call[n].clone().requires_grad_() for n in names}
    given = total_call(call, softcap, head, [True, True, bias])
    z = scores({**call, **leaves}, softcap)
    lse, nll = z.logsumexp(1), -z.log_softmax(1).gather(1, call["index"][:, None])[:, 0]
    value = given["weight"] * ((1 - torch.exp(-nll)) ** 2 * nll if head == "focal" else nll) + 0.1 * lse**2
    value = value + call["tilt"].sum() * lse - z @ call["tilt"] if tilt else value
    total = (value if call["kept"] is None else value[call["kept"]]).sum()
    wanted = torch.autograd.grad(total, list(leaves.values()))
    got, *slopes = TOTAL(**given)
    assert float(got) == pytest.approx(float(total.detach()), rel=1e-12)
    for one, right in zip(slopes, wanted, strict=False):
        assert right.any()
        assert off(one, right) < 1e-12


def test_a_map_over_any_operand_is_a_loop() -> None:
    call = operands(True, False, False)
    many = {n: torch.stack([t, t.roll(1, 0)]) for n, t in call.items() if t is not None}
    for name, both in many.items():

        def one(values: Tensor, name: str = name) -> tuple[Tensor, ...]:
            return ROWS(**{**call, name: values}, **form(0.0), entropy=True, top=True)

        mapped = torch.func.vmap(one)(both)
        for i in range(2):
            for got, right in zip(mapped, one(both[i]), strict=True):
                assert torch.equal(got[i], right), name


def test_four_threads_get_the_answer_of_one() -> None:
    calls = [total_call(operands(b, k, False), 0.0, "nll", [True, True, False]) for b in (False, True) for k in (False, True)]
    alone = [TOTAL(**call) for call in calls]
    found: dict[int, Any] = {}

    def work(i: int) -> None:
        for _ in range(20):
            found[i] = TOTAL(**calls[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, right in enumerate(alone):
        for a, b in zip(found[i], right, strict=True):
            assert torch.equal(a, b)
