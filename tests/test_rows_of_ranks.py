"""Gathering and adding over 1, 2 and 3 ranks: values and gradients are those of one process that has all rows."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from embedding_ranks import SHARES, Found, part, ranks
from losskit.core.check import ShapeError
from losskit.parallel import gather_rows, logsumexp_over_ranks, sum_over_ranks

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
WORLDS = tuple(SHARES)
FoundAt = Callable[[int], list[Found]]
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
OTHERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}  # one rounding


def rows_of(world: int, share: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(world)
    rows = torch.randn(sum(share), 3, generator=generator, dtype=torch.float64)
    return rows.to(dtype) if dtype.is_floating_point else (rows * 10).int().abs().to(dtype)


def weight_of(rank: int, rows: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """What a rank's own loss makes of all rows."""
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(100 + rank), dtype=torch.float64).to(dtype)


def mixed(rows: Tensor, weight: Tensor) -> Tensor:
    """A loss that is not linear, so that its gradient has a gradient."""
    return (weight * rows * rows.flip(0)).sum()


def refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except (ValueError, TypeError) as problem:
        return f"{type(problem).__name__}: {problem}"
    return "nothing was raised"


def gathering(rank: int, world: int) -> Found:
    group, found = dist.group.WORLD, Found()
    for share in SHARES[world]:
        for dtype in (*FLOATS, *OTHERS):
            mine = rows_of(world, share, dtype)[part(share, rank)]
            if not dtype.is_floating_point:
                found[f"{share} {dtype}"] = gather_rows(mine, group)
                continue
            mine = mine.clone().requires_grad_()
            every, start = gather_rows(mine, group)
            (grad,) = torch.autograd.grad(mixed(every, weight_of(rank, sum(share), dtype)), mine, create_graph=True)
            (twice,) = torch.autograd.grad((grad * grad).sum(), mine)
            found[f"{share} {dtype}"] = every.detach(), start, grad.detach(), twice
    return found


@pytest.mark.parametrize("world", WORLDS)
def test_gathered_rows_and_their_gradients_are_those_of_one_process(world: int, found_at: FoundAt) -> None:
    found = [f["gathering"] for f in found_at(world)]
    for share in SHARES[world]:
        for dtype in OTHERS:
            rows = rows_of(world, share, dtype)
            for rank in range(world):
                assert torch.equal(found[rank][f"{share} {dtype}"].rows, rows), (share, dtype)
        for dtype in FLOATS:
            rows = rows_of(world, share, dtype).requires_grad_()
            wide = rows.double()
            weights = [weight_of(rank, sum(share), dtype).double() for rank in range(world)]
            (grad,) = torch.autograd.grad(sum(mixed(wide, w) for w in weights), rows, create_graph=True)
            (twice,) = torch.autograd.grad((grad * grad).sum(), rows)
            close = functools.partial(torch.testing.assert_close, rtol=4 * TOLERANCE[dtype], atol=16 * TOLERANCE[dtype])
            for rank, (every, start, mine, again) in enumerate(x[f"{share} {dtype}"] for x in found):
                here = part(share, rank)
                assert torch.equal(every, rows.detach())
                assert start == here.start
                close(mine, grad[here].detach())
                close(again, twice[here])
            assert sum(share) == 0 or grad.any()


def adding(rank: int, world: int) -> Found:
    group, found = dist.group.WORLD, Found()
    for dtype in FLOATS:
        for value in (weight_of(rank, 2, dtype), weight_of(rank, 1, dtype)[0, 0], weight_of(rank, 2, dtype).T):
            leaf = value.clone().requires_grad_()
            total = sum_over_ranks(leaf * leaf, group)
            (grad,) = torch.autograd.grad(((rank + 1) * total**2).sum(), leaf, create_graph=True)
            (twice,) = torch.autograd.grad(grad.sum(), leaf)
            found[f"{dtype} {tuple(value.shape)}"] = total.detach(), grad.detach(), twice
    found["counts"] = sum_over_ranks(torch.tensor(2**24 + 1 + rank), group)
    return found


@pytest.mark.parametrize("world", WORLDS)
def test_a_sum_over_ranks_has_the_gradient_of_all_ranks_losses(world: int, found_at: FoundAt) -> None:
    found = [f["adding"] for f in found_at(world)]
    for dtype in FLOATS:
        for shape in ((2, 3), (), (3, 2)):
            values = [weight_of(r, 2 if shape else 1, dtype).double() for r in range(world)]
            values = [v if shape == (2, 3) else v.T if shape else v[0, 0] for v in values]
            leaves = [v.clone().requires_grad_() for v in values]
            total = torch.stack([v * v for v in leaves]).sum(0)
            grads = torch.autograd.grad(sum(((r + 1) * total**2).sum() for r in range(world)), leaves, create_graph=True)
            second = torch.autograd.grad(sum(g.sum() for g in grads), leaves)
            close = functools.partial(torch.testing.assert_close, rtol=16 * TOLERANCE[dtype], atol=0, check_dtype=False)
            for rank in range(world):
                got, grad, twice = found[rank][f"{dtype} {shape}"]
                close(got.double(), total.detach())
                close(grad.double(), grads[rank].detach())
                close(twice.double(), second[rank])
                assert grads[rank].any()
    assert all(int(f["counts"]) == sum(2**24 + 1 + r for r in range(world)) for f in found)


def least(rank: int, world: int) -> Tensor:
    """-inf on the first rank, on all ranks, nowhere; large where exp is inf; 0-d is the first."""
    value = weight_of(rank, 2).flatten()
    value[0] = -torch.inf if rank == 0 else value[0]
    value[1] = -torch.inf
    value[2] = 1000 + rank
    value[3] = -1000 + rank
    return value


def joining(rank: int, world: int) -> Found:
    group, found = dist.group.WORLD, Found()
    leaf = least(rank, world).requires_grad_()
    value = logsumexp_over_ranks(leaf, group)
    (grad,) = torch.autograd.grad(((rank + 1) * value[value.isfinite()] ** 2).sum(), leaf, create_graph=True)
    (twice,) = torch.autograd.grad(grad.square().sum(), leaf)
    found["all"] = value.detach(), grad.detach(), twice
    found["none"] = logsumexp_over_ranks(torch.tensor(-torch.inf), group)
    found["inf"] = logsumexp_over_ranks(torch.tensor(torch.inf if rank == 0 else 0.0), group)
    found["nan"] = logsumexp_over_ranks(torch.tensor(torch.nan if rank == 0 else 0.0), group)
    return found


@pytest.mark.parametrize("world", WORLDS)
def test_logsumexp_over_ranks_is_finite_wherever_it_can_be(world: int, found_at: FoundAt) -> None:
    found = [f["joining"] for f in found_at(world)]
    leaves = [least(rank, world).requires_grad_() for rank in range(world)]
    kept = torch.stack([leaf[2:] for leaf in leaves])
    first = torch.stack([leaf[0] for leaf in leaves[1:]]).logsumexp(0, keepdim=True) if world > 1 else kept.new_zeros(0)
    value = torch.cat([first, kept.logsumexp(0)])
    grads = torch.autograd.grad(sum(((r + 1) * value**2).sum() for r in range(world)), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in grads), leaves)
    for rank, (got, grad, twice) in enumerate(f["all"] for f in found):
        assert got[1] == -torch.inf
        assert grad.any()
        torch.testing.assert_close(got[got.isfinite()], value.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(grad, grads[rank].detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(twice, second[rank], rtol=1e-10, atol=1e-10)
    assert all(f["none"] == -torch.inf and f["inf"] == torch.inf and f["nan"].isnan() for f in found)


def oddities(rank: int, world: int) -> Found:
    group, found = dist.group.WORLD, Found()
    found["axes"] = refusal(lambda: gather_rows(torch.zeros(rank, 4 + rank), group))
    found["flat"] = refusal(lambda: gather_rows(torch.zeros(0) if rank else torch.zeros(2, 4), group))
    found["dtype"] = refusal(lambda: gather_rows(torch.zeros(1, 4, dtype=FLOATS[rank]), group))
    frozen = torch.ones(2, 3, requires_grad=rank == 1)  # only the second rank has something to learn
    every, _ = gather_rows(frozen, group)
    every.square().sum().backward()
    found["one rank's gradient"] = frozen.grad
    found["func"] = torch.func.grad(lambda t: sum_over_ranks(gather_rows(t, group).rows.square().sum(), group))(frozen.detach())
    compiled = torch.compile(lambda t: sum_over_ranks(gather_rows(t * 2, group).rows.sum(), group) * 3, backend="aot_eager")
    found["compiled"] = compiled(torch.ones(rank, 3))
    ours = dist.new_group([0])
    if rank:
        found["stranger"] = refusal(lambda: gather_rows(torch.zeros(1, 4), ours))
        found["stranger's sum"] = refusal(lambda: sum_over_ranks(torch.zeros(()), ours))
    return found


def test_ranks_that_do_not_fit_are_told_so_and_the_others_go_on(found_at: FoundAt) -> None:
    found = [f["oddities"] for f in found_at(2)]
    for rank in range(2):
        said = found[rank]
        assert said["axes"].startswith(
            "ShapeError: rows have shape (0, 4) on rank 0 and (1, 5) on rank 1, expected the same axes"
        )
        assert "torch.empty(0, 4)" in said["flat"]
        assert said["dtype"] == (
            "TypeError: rows have dtype torch.float64 on rank 0 and torch.float32 on rank 1, expected one dtype on all ranks"
        )
        assert torch.equal(said["func"], torch.full((2, 3), 8.0))  # 2 t, summed over two ranks by each of both functions
        assert said["compiled"] == 2 * 3 * 3 * (0 + 1) * 2
    assert found[0]["one rank's gradient"] is None
    assert torch.equal(found[1]["one rank's gradient"], torch.full((2, 3), 4.0))
    assert "does not hold this rank" in found[1]["stranger"]
    assert "does not hold this rank" in found[1]["stranger's sum"]


def test_without_a_group_everything_is_its_own_input() -> None:
    rows = torch.randn(2, 3, requires_grad=True)
    assert gather_rows(rows, None) == (rows, 0)
    assert sum_over_ranks(rows, None) is rows
    assert logsumexp_over_ranks(rows, None) is rows


def test_a_tensor_without_rows_or_with_too_many_axes_is_refused(found_at: FoundAt) -> None:
    found = found_at(1)[0]["too_many"]
    assert found["none"].startswith(ShapeError.__name__)
    assert found["many"] == "ShapeError: rows have shape (1, 1, 1, 1, 1, 1, 1, 1), expected 1 to 7 axes"


def too_many(rank: int, world: int) -> Found:
    group = dist.group.WORLD
    return {
        "none": refusal(lambda: gather_rows(torch.zeros(()), group)),
        "many": refusal(lambda: gather_rows(torch.zeros([1] * 8), group)),
    }


def everything(rank: int, world: int) -> Found:
    """All of the above in one meeting: to start a process takes longer than all that it does."""
    works = [gathering, adding, joining, *{1: [too_many], 2: [oddities]}.get(world, [])]
    return {work.__name__: work(rank, world) for work in works}


@pytest.fixture(scope="module")
def found_at(tmp_path_factory: pytest.TempPathFactory) -> FoundAt:
    return functools.cache(lambda world: ranks(everything, world, tmp_path_factory.mktemp(f"ranks{world}")))
