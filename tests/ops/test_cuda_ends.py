"""The targets' scores and the last rounding of a gradient on a real GPU, and that they are what runs there."""

from __future__ import annotations

import pytest
import torch

from losskit.ops.cuda import ends

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("turned", [False, True])
def test_the_scores_of_targets_are_float64_on_cuda(dtype: torch.dtype, turned: bool) -> None:
    x, w = torch.randn(300, 2500, device="cuda").to(dtype), torch.randn(1031, 2500, device="cuda").to(dtype)
    w = w.T.contiguous().T if turned else w
    index = torch.randint(1031, (300,), device="cuda")
    kernels = ends(x)
    assert kernels is not None
    got = kernels.row_dots(x, w, index)
    assert torch.allclose(got, (x.double() * w[index].double()).sum(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_scaled_gradient_is_rounded_to_nearest_on_cuda(dtype: torch.dtype) -> None:
    gradient, factor = torch.randn(1031, 4099, device="cuda"), torch.tensor(0.3, device="cuda")
    out = torch.full_like(gradient, 7.0, dtype=dtype)
    kernels = ends(gradient)
    assert kernels is not None
    kernels.scale(gradient, factor, out)
    assert torch.equal(out, (gradient * factor).to(dtype))


def test_a_scaled_gradient_of_more_than_two_to_the_31_numbers_has_its_end_on_cuda() -> None:
    if torch.cuda.mem_get_info()[0] < 14 << 30:
        pytest.skip("2^31 float32 numbers take 8.6 GB, and their float16 ones 4.3")
    gradient = torch.ones((1 << 31) + 5000, device="cuda")
    out = torch.zeros_like(gradient, dtype=torch.float16)
    kernels = ends(gradient)
    assert kernels is not None
    kernels.scale(gradient, torch.tensor(0.5, device="cuda"), out)
    assert bool((out[-10000:] == 0.5).all())
