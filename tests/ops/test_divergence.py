"""The ops of distillation between heads: opcheck, what their outputs mean, and the digits of the row pass."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from losskit.ops import divergence
from losskit.ops.divergence import Form, row_values, softmax, visit
from losskit.ops.divergence_heads import Tower
from losskit.ops.divergence_listed import Listed, listed_scores
from losskit.ops.divergence_ops import Pair, Side, divergence_total, divergences
from projections import off

OP, SCORES, SLOPES = (getattr(torch.ops.losskit, n).default for n in ("divergence", "listed_scores", "listed_slopes"))
N, D, E, C, K = 7, 5, 3, 11, 4
KINDS = [("forward", 0.0), ("reverse", 0.0), ("mixture", 0.3)]


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def heads(bias: bool, dtype: torch.dtype = torch.float64) -> list[Tensor | None]:
    """Input, weight and bias of the student, then of the teacher."""
    biases = (normal(C, dtype=dtype), normal(C, dtype=dtype, seed=1)) if bias else (None, None)
    return [
        normal(N, D, dtype=dtype),
        normal(C, D, dtype=dtype),
        biases[0],
        normal(N, E, dtype=dtype),
        normal(C, E, dtype=dtype),
        biases[1],
    ]


def pair(kind: str, share: float, *, bias: bool = True, softcap: float = 0.0, kept: bool = False, memory: int = 2000) -> Pair:
    """A call of several blocks, every tensor a leaf."""
    tensors = [None if t is None else t.requires_grad_() for t in heads(bias)]
    chosen = torch.arange(N) % 3 != 1 if kept else None
    return Pair(Side(*tensors[:3], softcap), Side(*tensors[3:], softcap), chosen, kind, share, 0.7, memory)


def scores(side: Side) -> Tensor:
    z = side.input @ side.weight.T
    z = z if side.bias is None else z + side.bias
    return side.softcap * torch.tanh(z / side.softcap) if side.softcap else z


def paper(call: Pair) -> Tensor:
    """T^2 KL(p || q), KL(q || p) or b KL(p || m) + (1 - b) KL(q || m), b the teacher's share of m."""
    q, p = ((scores(side) / call.temperature).softmax(-1) for side in (call.student, call.teacher))
    b = {"forward": 1.0, "reverse": 0.0}.get(call.kind, call.share)
    m = b * p + (1 - b) * q if call.kind == "mixture" else (q if b else p)
    value = b * (p * (p / m).log()).sum(-1) + (1 - b) * (q * (q / m).log()).sum(-1)
    return call.temperature**2 * (value if call.kept is None else value * call.kept)


@pytest.mark.parametrize(("kind", "share"), KINDS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_opcheck_of_two_heads(kind: str, share: float, bias: bool, dtype: torch.dtype) -> None:
    for kept, weight in (
        (None, None),
        (torch.arange(N) % 2 == 0, torch.linspace(0, 2, N)),
        (torch.zeros(N).bool(), torch.ones(N)),
    ):
        needs = [weight is not None, weight is not None and not bias, bias] * 2
        torch.library.opcheck(OP, (*heads(bias, dtype), kept, weight, kind, share, 0.7, [2.0, 0.0], 2000, needs))


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_opcheck_of_listed_classes(others: bool, dtype: torch.dtype) -> None:
    call, listed = listing(dtype)
    for kept in (None, listed.any(-1)):
        given = (*call.head[:3], call.classes, listed, kept, 0.7, 2.0, 2000, others)
        torch.library.opcheck(SCORES, given)
        by = normal(N, K), normal(N if others else 0)
        torch.library.opcheck(SLOPES, (*by, *given, [True, not others, True]))


@pytest.mark.parametrize(("kind", "share"), KINDS)
@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("kept", [False, True])
def test_values_and_gradients_are_those_of_the_definition(kind: str, share: float, softcap: float, kept: bool) -> None:
    call, weight = pair(kind, share, softcap=softcap, kept=kept), torch.linspace(0.5, 2, N, dtype=torch.float64)
    leaves = [t for t in call.tensors if t is not None]
    right = torch.autograd.grad((weight * paper(call)).sum(), leaves)
    assert torch.allclose(divergences(call), paper(call))
    total = divergence_total(call, weight)
    assert torch.allclose(total, (weight * paper(call)).sum())
    for value in (total, (weight * divergences(call)).sum()):
        for got, wanted in zip(torch.autograd.grad(value, leaves, retain_graph=True), right, strict=True):
            assert wanted.any()
            assert off(got, wanted) < 1e-12


@pytest.mark.parametrize(("kind", "share"), KINDS)
def test_only_the_gradients_that_are_wanted_are_computed(kind: str, share: float) -> None:
    given = (*heads(True), None, torch.ones(N), kind, share, 0.7, [0.0, 0.0], 2000)
    every = OP(*given, [True] * 6)[1:]
    for i, wanted in enumerate(every):
        found = OP(*given, [j == i for j in range(6)])[1:]
        assert wanted.any()
        assert off(found[i], wanted) < 1e-12
        assert sum(t.numel() for j, t in enumerate(found) if j != i) == 0


@pytest.mark.parametrize(("kind", "share"), KINDS)
def test_derivatives_by_autograd_and_by_torch_func(kind: str, share: float) -> None:
    call, weight = pair(kind, share), torch.linspace(0.5, 2, N, dtype=torch.float64)
    leaves = [t.detach() for t in call.tensors if t is not None]

    def total(*tensors: Tensor) -> Tensor:
        return divergence_total(call._replace(student=Side(*tensors[:3]), teacher=Side(*tensors[3:])), weight)

    def each(*tensors: Tensor) -> Tensor:
        return divergences(call._replace(student=Side(*tensors[:3]), teacher=Side(*tensors[3:])))

    ready = [t.requires_grad_() for t in leaves]
    for function in (total, each):
        assert torch.autograd.gradcheck(function, ready)
        assert torch.autograd.gradgradcheck(function, ready)
        plain = torch.autograd.grad(function(*ready).sum(), ready)
        functional = torch.func.grad(lambda *t, f=function: f(*t).sum(), argnums=tuple(range(6)))(*leaves)
        for got, wanted in zip(functional, plain, strict=True):
            assert wanted.any()
            assert torch.allclose(got, wanted)


def test_forward_mode_raises_instead_of_returning_zeros() -> None:
    call = pair("forward", 0.0)
    for function in (divergences, lambda c: divergence_total(c, torch.ones(N))):
        with pytest.raises((NotImplementedError, RuntimeError)):
            torch.func.jvp(
                lambda x, f=function: f(call._replace(student=call.student._replace(input=x))),
                (call.student.input.detach(),), (torch.ones(N, D, dtype=torch.float64),),
            )  # fmt: skip


def test_both_blocks_come_out_of_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    opened = Tower.open
    monkeypatch.setattr(Tower, "open", lambda self, block: (seen.append(block.stop - block.start), opened(self, block))[1])
    n, c, memory = 64, 500, 200_000
    x, w = normal(n, D, dtype=torch.float32).requires_grad_(), normal(c, D, dtype=torch.float32)
    call = Pair(
        Side(x, w), Side(normal(n, E, dtype=torch.float32), normal(c, E, dtype=torch.float32)), None, "forward", memory=memory
    )
    torch.autograd.grad(divergence_total(call, torch.ones(n)), x)
    assert sum(seen) == 2 * n
    assert max(seen) * c * 4 * 2 <= memory
    assert len(seen) == 2 * 2
    seen.clear()
    divergences(call._replace(memory=1))
    assert seen == [1] * (2 * n)


def test_a_softmax_sums_to_one_however_many_classes() -> None:
    """torch's own is 5e-6 away from it at 150,000 of them."""
    z = 3 * normal(3, 150_000, dtype=torch.float32)
    p, lse = softmax(z)
    assert float((p.double().sum(1) - 1).abs().max()) < 2e-7
    assert float((lse - z.double().logsumexp(1)).abs().max()) < 2e-7
    assert off(p, z.double().softmax(1)) < 3e-7


@pytest.mark.parametrize("kind", ["forward", "reverse"])
@pytest.mark.parametrize("size", [2.0, 0.5, 0.2])
def test_float32_rows_are_right_to_a_millionth(kind: str, size: float) -> None:
    teacher = 2 * normal(20, 3000, dtype=torch.float32)
    student = teacher + size * normal(20, 3000, dtype=torch.float32, seed=1) + 1
    form = Form(kind, 0.0, 1.0, (True, True), None)
    exact = row_values(kind, 0.0, 1.0, student, teacher)
    seen = visit(form, student, teacher)
    assert float(((seen.value - exact.value) / exact.value).abs().max()) < 1e-6
    for got, wanted in ((seen.student, exact.student()), (seen.teacher, exact.teacher())):
        assert got is not None
        assert off(got, wanted) < 1e-6


def test_near_rows_and_no_others_are_worked_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    exact = vars(divergence)["_exact"]
    monkeypatch.setattr(divergence, "_exact", lambda form, s, t: (seen.append(len(s)), exact(form, s, t))[1])
    teacher = 2 * normal(6, 50, dtype=torch.float32)
    student = normal(6, 50, dtype=torch.float32, seed=1)
    student[2], student[4] = teacher[2], teacher[4] + 1e-3 * student[4]
    ruled_out = torch.arange(50) == 7  # by both: no reason to look closer
    student[:, 7] = teacher[:, 7] = -math.inf
    found = visit(Form("forward", 0.0, 1.0, (True, True), ruled_out), student, teacher)
    assert seen == [2]
    assert found.student is not None
    assert found.teacher is not None
    assert (float(found.value[2]), bool(found.student[2].any()), bool(found.teacher[2].any())) == (0.0, False, False)
    right = row_values("forward", 0.0, 1.0, student, teacher)
    assert torch.allclose(found.value, right.value, rtol=1e-6, atol=0)
    assert off(found.student[4], right.student()[4]) < 1e-6


def listing(dtype: torch.dtype = torch.float64) -> tuple[Listed, Tensor]:
    """A head, four classes a row of which some are not there, and one row without any."""
    generator = torch.Generator().manual_seed(1)
    classes = torch.rand(N, C, generator=generator).argsort(-1)[:, :K]
    listed = torch.rand(N, K, generator=generator) < 0.7
    listed[:, 0] = True
    listed[3] = False
    head = Side(normal(N, D, dtype=dtype), normal(C, D, dtype=dtype), normal(C, dtype=dtype), 2.0)
    return Listed(head, classes, listed, listed.any(-1), 0.7, 2000), listed


@pytest.mark.parametrize("others", [False, True])
def test_listed_scores_and_the_rest(others: bool) -> None:
    call, listed = listing()
    leaves = [t.requires_grad_() for t in call.head[:3]]
    z = scores(call.head) / call.temperature
    wanted = [torch.where(listed, z.gather(1, call.classes), 0)]
    unlisted = z.scatter(1, call.classes, torch.where(listed, -math.inf, z.gather(1, call.classes)))
    wanted.append(torch.where(listed.any(-1), unlisted.logsumexp(1), 0))
    found = listed_scores(call, others=others)
    by = [normal(N, K), normal(N)]
    for got, right in zip(found[: 1 + others], wanted, strict=False):
        assert torch.allclose(got, right)
    slopes = [
        torch.autograd.grad(sum((a * b).sum() for a, b in zip(t[: 1 + others], by, strict=False)), leaves)
        for t in (found, wanted)
    ]
    for got, right in zip(*slopes, strict=True):
        assert right.any()
        assert off(got, right) < 1e-12
    everything: Any = [t.detach().requires_grad_() for t in leaves]
    assert torch.autograd.gradgradcheck(
        lambda *t: listed_scores(call._replace(head=Side(*t, 2.0)), others=others)[: 1 + others], everything
    )


def test_the_rest_of_a_row_whose_classes_are_all_listed() -> None:
    """Nothing is left: its log is -inf, and it pushes nobody."""
    call, _ = listing()
    everything = torch.arange(C).expand(N, C)
    x = call.head.input.requires_grad_()
    call = call._replace(head=Side(x, *call.head[1:]), classes=everything, listed=torch.ones(N, C).bool(), kept=None)
    own, rest = listed_scores(call, others=True)
    assert torch.allclose(own, scores(call.head) / call.temperature)
    assert bool((rest == -math.inf).all())
    by_own, by_both = (
        torch.autograd.grad((own, rest), x, (torch.ones_like(own), by * torch.ones(N).double()), retain_graph=True)[0]
        for by in (0, 1)
    )
    assert by_own.any()
    assert torch.equal(by_own, by_both)
