"""A function of rows block by block is the function of all rows, and keeps nothing but its arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from losskit.ops.in_blocks import in_blocks


def piece(x: Tensor, w: Tensor, index: Tensor) -> Tensor:
    """Something of each row that no other row knows of."""
    scores = x @ w.T
    return torch.stack([scores.logsumexp(1), scores.gather(1, index.unsqueeze(1)).squeeze(1)], 1)


def columns(x: Tensor, w: Tensor, index: Tensor) -> Tensor:
    """One row for each block."""
    return (x @ w.T).logsumexp(0).unsqueeze(0)


def drawn(rows: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    x, w = (torch.randn(n, 3, generator=generator, dtype=torch.float64).requires_grad_() for n in (rows, 5))
    return x, w, torch.randint(5, (rows,), generator=generator)


def test_blocks_give_the_value_and_the_gradients_of_the_whole() -> None:
    x, w, index = drawn()
    whole = piece(x, w, index)
    wanted = torch.autograd.grad(whole.square().sum(), (x, w))
    for rows in (1, 2, 3, 7):
        got = in_blocks(piece, x, w, index, row_bytes=10, memory=10 * rows)
        torch.testing.assert_close(got, whole, rtol=1e-14, atol=1e-14)
        for found, slope in zip(torch.autograd.grad(got.square().sum(), (x, w)), wanted, strict=True):
            torch.testing.assert_close(found, slope, rtol=1e-13, atol=1e-13)
            assert slope.all()


def test_a_result_for_each_block_has_its_own_gradient() -> None:
    x, w, index = drawn()
    got = in_blocks(columns, x, w, index, row_bytes=1, memory=3).logsumexp(0)
    assert got.shape == (5,)
    for found, slope in zip(
        torch.autograd.grad(got.square().sum(), (x, w)),
        torch.autograd.grad((x @ w.T).logsumexp(0).square().sum(), (x, w)),
        strict=True,
    ):
        torch.testing.assert_close(found, slope, rtol=1e-13, atol=1e-13)


def test_only_the_gradient_that_is_wanted_is_computed() -> None:
    x, w, index = drawn()
    both = torch.autograd.grad(piece(x, w, index).sum(), (x, w))
    for leaf, slope, given in ((x, both[0], (x, w.detach())), (w, both[1], (x.detach(), w))):
        (found,) = torch.autograd.grad(in_blocks(piece, *given, index, row_bytes=1, memory=2).sum(), leaf)
        torch.testing.assert_close(found, slope, rtol=1e-13, atol=1e-13)


def test_second_derivatives_and_torch_func_go_through() -> None:
    x, w, index = drawn(4)

    def run(x: Tensor, w: Tensor) -> Tensor:
        return in_blocks(piece, x, w, index, row_bytes=1, memory=2)

    assert torch.autograd.gradcheck(run, (x, w))
    assert torch.autograd.gradgradcheck(run, (x, w))
    slope = torch.func.grad(lambda x: run(x, w).sum())(x)
    torch.testing.assert_close(slope, torch.autograd.grad(piece(x, w, index).sum(), x)[0], rtol=1e-13, atol=1e-13)


def test_the_insides_are_not_kept() -> None:
    x, w, index = drawn()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.data_ptr()), t)[1], lambda t: t):
        in_blocks(piece, x, w, index, row_bytes=1, memory=2)
    assert kept == [t.data_ptr() for t in (x, w, index)]


def test_no_rows_are_one_empty_block() -> None:
    x, w, index = drawn(0)
    got = in_blocks(piece, x, w, index, row_bytes=1, memory=1)
    assert got.shape == (0, 2)
    assert not torch.autograd.grad(got.sum(), w)[0].any()


def test_a_compiled_function_takes_any_number_of_rows() -> None:
    def loss(x: Tensor, w: Tensor, index: Tensor) -> Tensor:
        return in_blocks(piece, x, w, index, row_bytes=10, memory=25).square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for rows in (6, 7, 12):  # from the second number on, it is a symbol
        x, w, index = drawn(rows)
        got, wanted = (torch.autograd.grad(f(x, w, index), (x, w)) for f in (compiled, loss))
        for found, slope in zip(got, wanted, strict=True):
            torch.testing.assert_close(found, slope, rtol=1e-13, atol=1e-13)
            assert slope.any()
