"""Pair statistics on a real GPU: the compiled kernels against float64, half precision, and the losses made of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pair_kernels import crowd, drawn, everybody, truth
from test_cuda_head import watched
from torch import Tensor

import losskit
from losskit.ops.pair_sets import Who
from losskit.ops.pair_tiles import Call
from losskit.ops.pairs import Pairs, pair_logsumexp
from projections import off

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
# the statistics, then the gradients; operands of half precision lose 2^-9 or 2^-12 of themselves, at random
BARS = {"": (2e-6, 3e-6), "bfloat16": (2e-2, 8e-3), "float16": (3e-3, 1e-3)}


def moved(who: Who) -> Who:
    return Who(*(t.to(DEVICE) for t in who[:4]), who.same)


def found(x: Tensor, y: Tensor, who: Who, narrow: str, by_rows: Tensor, by_cols: Tensor, **options: Any) -> list[Tensor]:
    """Statistics and gradients through the differentiable face."""
    x, y = (t.detach().to(DEVICE).requires_grad_() for t in (x, y))
    rows, cols = pair_logsumexp(Pairs(x, y, moved(who), narrow=narrow, **options), columns=True)
    value = sum((torch.where(t.isfinite(), t, 0) * by.to(DEVICE)).sum() for t, by in ((rows, by_rows), (cols, by_cols)))
    return [t.detach().cpu() for t in (rows, cols, *torch.autograd.grad(value, (x, y)))]


@pytest.mark.parametrize("narrow", ["", "bfloat16", "float16"])
@pytest.mark.parametrize(("n", "m", "d"), [(2, 5, 3), (33, 129, 8), (700, 1300, 64), (5000, 3000, 200)])
def test_everybody_against_everybody(n: int, m: int, d: int, narrow: str) -> None:
    x, y, by_rows, by_cols = drawn(n, m, d)
    got = found(x, y, everybody(n, m, x.device), narrow, by_rows, by_cols, memory=1 << 22)
    wanted = truth(Call(x, y, everybody(n, m, x.device), 1 << 23), by_rows, by_cols, True)
    for mine, right, bar in zip(got, wanted, BARS[narrow][:1] * 2 + BARS[narrow][1:] * 2, strict=True):
        assert off(mine.double(), right) < bar


@pytest.mark.parametrize("narrow", ["", "bfloat16"])
@pytest.mark.parametrize("same", [True, False])
def test_ids_and_slots_say_who_counts(same: bool, narrow: str) -> None:
    x, y, by_rows, by_cols = drawn(400, 700, 32)
    who = crowd(400, 700, 3, same)
    got = found(x, y, who, narrow, by_rows, by_cols)
    wanted = truth(Call(x, y, who, 1 << 23), *(torch.where(t == t, t, 0) for t in (by_rows, by_cols)), True)
    for mine, right in zip(got[:2], wanted[:2], strict=True):
        assert torch.equal(mine == -math.inf, right == -math.inf)
        finite = right.isfinite()
        assert off(mine[finite], right[finite]) < BARS[narrow][0]
    for mine, right in zip(got[2:], wanted[2:], strict=True):
        assert off(mine.double(), right) < BARS[narrow][1]


LOSSES: dict[str, dict[str, Any]] = {
    "info_nce_loss": {"directions": "joint"},
    "clip_loss": {"logit_scale": 100.0},
    "siglip_loss": {},
    "nt_xent_loss": {},
    "multiple_negatives_ranking_loss": {},
}


def plain_rows(query: Tensor, key: Tensor) -> Tensor:
    """clip_loss of each pair as it is usually typed, at the precision of what is given, with a scale of 100."""
    scores = 100 * F.normalize(query, dim=1) @ F.normalize(key, dim=1).T
    own = torch.arange(len(query), device=query.device)
    return (F.cross_entropy(scores.float(), own, reduction="none") + F.cross_entropy(scores.T.float(), own, reduction="none")) / 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(1, 6))
def test_rows_at_a_scale_of_100_are_no_further_off_than_plain_torch(dtype: torch.dtype, seed: int) -> None:
    """Row by row: in the mean of so confident pairs (0.002) errors of a few rows may cancel, or not."""
    g = torch.Generator().manual_seed(seed)
    query = torch.randn(900, 64, generator=g)
    query, key = ((query + noise).to(dtype) for noise in (0, torch.randn(900, 64, generator=g)))
    truth = losskit.clip_loss(query.double(), key.double(), logit_scale=100.0, reduction="none")
    ours = losskit.clip_loss(query.to(DEVICE), key.to(DEVICE), logit_scale=100.0, reduction="none")
    typed = plain_rows(query.to(DEVICE), key.to(DEVICE))
    assert off(ours.double().cpu(), truth) <= off(typed.double().cpu(), truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_the_cpu(name: str, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(1)
    query = torch.randn(900, 64, generator=g)
    key = (query + torch.randn(900, 64, generator=g)).to(dtype)
    query = query.to(dtype)
    seen: list[list[Tensor]] = []
    for device, working in ((DEVICE, dtype), ("cpu", torch.float64)):
        leaves = [t.to(device, working).requires_grad_() for t in (query, key)]
        value = getattr(losskit, name)(*leaves, **LOSSES[name])
        seen.append([t.detach().double().cpu() for t in (value, *torch.autograd.grad(value, leaves))])
    # a confident clip_loss of 0.0016 is a difference of two sums of 14: in half precision judged by its rows above
    bars = (5e-6, 1e-5) if dtype == torch.float32 else (5e-3, 2e-2)
    if name != "clip_loss" or dtype == torch.float32:
        assert off(seen[0][0], seen[1][0]) < bars[0]
    for mine, right in zip(seen[0][1:], seen[1][1:], strict=True):
        assert off(mine, right) < bars[1]


def test_a_training_step_never_waits() -> None:
    query, key = (torch.randn(3000, 128, device=DEVICE, requires_grad=True) for _ in range(2))
    losskit.clip_loss(query, key).backward()  # compiles
    losskit.siglip_loss(query, key).backward()
    torch.cuda.synchronize()
    with watched("error"):
        losskit.clip_loss(query, key).backward()
        losskit.siglip_loss(query, key).backward()


def test_the_scores_are_never_kept() -> None:
    n = 65536
    query, key = (torch.randn(n, 64, device=DEVICE, requires_grad=True) for _ in range(2))
    losskit.clip_loss(query, key).backward()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    losskit.clip_loss(query, key).backward()
    assert torch.cuda.max_memory_allocated() - before < n * n  # a quarter of the scores' bytes
