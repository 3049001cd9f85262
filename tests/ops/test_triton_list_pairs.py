"""The kernel of pairs of a list, run by Triton's interpreter on CPU."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import interpreted
import list_pair_loops
import pytest
import torch
from list_pair_loops import FORMS, LAMBDAS, drawn, looped, widened

from losskit.ops.list_tile_forms import Form
from losskit.ops.list_tiles import Call

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not made for this platform")
Run = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with interpreted.process(TRITON_INTERPRET="1") as call:
        yield lambda given: call(list_pair_loops.by_kernel, given)


def single(*given: Any, **options: Any) -> Call:
    call = drawn(*given, **options)
    return call._replace(scores=call.scores.float(), weight=None if call.weight is None else call.weight.float())


def agree(run: Run, call: Call, tolerance: float = 1e-6) -> None:
    value, gradient = looped(widened(call))
    mine, slope = run(call)
    assert (mine.dtype, slope.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(mine, value, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(slope.double(), gradient, rtol=0, atol=tolerance * (1 + float(gradient.abs().max())))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_its_double_loop(run: Run, form: Form) -> None:
    agree(run, single(2, 20, form))
    agree(run, single(1, 20, form, weighted=True, half=True, topk=3))


@pytest.mark.parametrize("lam", LAMBDAS)
def test_every_lambda_is_its_double_loop(run: Run, lam: str) -> None:
    agree(run, single(2, 20, lam=lam))
    agree(run, single(1, 20, "squared_hinge", lam=lam, weighted=True, topk=2))


def test_gains_and_grades_with_a_large_offset_keep_their_differences(run: Run) -> None:
    call = single(2, 20, lam="gain")
    assert call.lam is not None
    agree(run, call._replace(lam=call.lam._replace(gain=call.lam.gain + 1.7e9)))
    call = single(2, 20, "mse")
    agree(run, call._replace(relevance=call.relevance + 1.7e9))


@pytest.mark.parametrize("size", [1, 32, 70])
def test_lists_of_any_length(run: Run, size: int) -> None:
    agree(run, single(2, size, half=True))


def test_no_item_is_no_sum(run: Run) -> None:
    value, gradient = run(single(2, 0))
    assert (value.tolist(), gradient.shape) == ([0.0, 0.0], (2, 0))


def test_scores_far_apart(run: Run) -> None:
    agree(run, single(1, 12, spread=1e4))


def test_the_smallest_losses_keep_their_digits(run: Run) -> None:
    scores = torch.tensor([[60.0, 0.0]])
    value, gradient = run(Call(scores, scores.double(), torch.ones(1, 2).bool(), None, "logistic"))
    assert value.item() == pytest.approx(math.exp(-60), rel=1e-5)
    assert gradient[0, 1].item() == pytest.approx(math.exp(-60), rel=1e-5)


def test_the_kernel_compiles_for_a_gpu(tmp_path: Path) -> None:
    """The interpreter takes Python that a compiler does not."""
    with interpreted.process(TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path)) as call:
        for form in range(len(FORMS)):
            assert ".entry" in call(list_pair_loops.compiled, form, 0b11111 if form % 2 else 0)
