"""The two small kernels of CUDA, run by Triton's interpreter on CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import interpreted
import pytest
import torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not made for this platform")
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(scope="module")
def call() -> Iterator[Callable[..., Any]]:
    with interpreted.process(TRITON_INTERPRET="1") as call:
        yield call


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(0, 5), (1, 1), (7, 31), (3, 2500)])
@pytest.mark.parametrize("turned", [False, True])
def test_the_scores_of_targets_are_float64(call: Callable[..., Any], dtype: torch.dtype, n: int, d: int, turned: bool) -> None:
    generator = torch.Generator().manual_seed(n + d)
    x, w = (torch.randn(*shape, generator=generator).to(dtype) for shape in ((n, d), (11, d)))
    w = w.T.contiguous().T if turned else w
    index = torch.randint(11, (n,), generator=generator)
    got, _ = call(interpreted.ended, "row_dots", x, w, index)
    assert got.dtype == torch.float64
    assert torch.allclose(got, (x.double() * w[index].double()).sum(1), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (3, 4099)])
def test_a_scaled_gradient_is_rounded_once(call: Callable[..., Any], shape: tuple[int, int]) -> None:
    """To float16: to bfloat16 the interpreter cuts, which a GPU does not (test_cuda_ends.py)."""
    gradient, factor = torch.randn(shape, generator=torch.Generator().manual_seed(0)), torch.tensor(0.3)
    _, got = call(interpreted.ended, "scale", gradient, factor, torch.full(shape, 7.0, dtype=torch.float16))
    assert torch.equal(got, (gradient * factor).half())
