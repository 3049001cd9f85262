"""losskit.Perplexity against plain float64, and against what other streaming metrics get wrong."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluate_helpers_metric import batch, reference
from losskit import ShapeError
from losskit.evaluate.metric import Perplexity

HALF = (torch.float16, torch.bfloat16)


def of(logits: Tensor, target: Tensor, *, class_dim: int = -1, shift: bool = False) -> float:
    metric = Perplexity(class_dim=class_dim, shift=shift)
    metric.update(logits, target)
    return float(metric.compute())


@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.float16, 1e-6), (torch.bfloat16, 1e-6)]
)
def test_it_is_the_exponential_of_the_mean_over_tokens(dtype: torch.dtype, rel: float) -> None:
    logits, target = batch(dtype=dtype)
    assert of(logits, target) == pytest.approx(reference(logits, target), rel=rel)


def test_batches_of_unequal_size_weigh_by_their_tokens() -> None:
    logits, target = batch(dtype=torch.float64)
    metric = Perplexity()
    for cut in (slice(0, 1), slice(1, 3)):
        metric.update(logits[cut], target[cut])
    assert float(metric.compute()) == pytest.approx(reference(logits, target), rel=1e-14)


@pytest.mark.parametrize("block", [1, 2 * 11 * 8, 4 * 11 * 8])
def test_blocks_of_rows_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losskit.evaluate.nats._BLOCK", block)
    logits, target = batch(dtype=torch.float64)
    assert of(logits, target) == pytest.approx(reference(logits, target), rel=1e-14)
    assert of(logits.movedim(-1, 1), target, class_dim=1) == pytest.approx(reference(logits, target), rel=1e-14)


def test_a_token_of_120_nats_is_finite_in_float32() -> None:
    metric = Perplexity()
    metric.update(torch.tensor([[120.0, 0, 0, 0]]), torch.tensor([1]))
    assert metric.result().loss == pytest.approx(math.log(math.exp(120) + 3), rel=1e-12)


@pytest.mark.parametrize("gap", [17, 18, 90])
@pytest.mark.parametrize("dtype", HALF)
def test_a_token_beyond_17_nats_is_finite_in_half_precision(gap: int, dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 1000, dtype=dtype)
    logits[0, 0] = gap
    metric = Perplexity()
    metric.update(logits, torch.tensor([1]))
    assert metric.result().loss == pytest.approx(math.log(math.exp(gap) + 999), rel=1e-7)


def test_a_confident_token_keeps_its_digits() -> None:
    metric = Perplexity()
    metric.update(torch.tensor([[30.0, 0.0]]), torch.tensor([0]))
    assert metric.result().loss == pytest.approx(math.log1p(math.exp(-30)), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_a_uniform_model_has_as_many_choices_as_classes(dtype: torch.dtype) -> None:
    target = torch.arange(16384) % 60
    assert of(torch.zeros(16384, 60, dtype=dtype), target) == pytest.approx(60, rel=1e-13)
    metric = Perplexity()
    metric.update_hidden(torch.zeros(16384, 4, dtype=dtype), torch.ones(60, 4, dtype=dtype), target)
    assert float(metric.compute()) == pytest.approx(60, rel=1e-7)


def test_a_sum_beyond_65504_nats_is_finite_in_float16() -> None:
    logits = torch.zeros(4096, 2, dtype=torch.float16)
    logits[:, 0] = 100
    metric = Perplexity()
    metric.update(logits, torch.ones(4096, dtype=torch.int64))
    assert metric.result().nats == 4096 * 100.0


def test_the_count_goes_on_beyond_two_to_the_24() -> None:
    metric = Perplexity()
    metric.update_sum(math.log(20) * 2**24, 2**24)
    for _ in range(100):
        metric.update(torch.zeros(1, 20), torch.tensor([3]))
    result = metric.result()
    assert result.tokens == 2**24 + 100
    assert result.nats == pytest.approx(math.log(20) * (2**24 + 100), rel=1e-14)


def test_memory_grows_with_rows_not_with_their_square() -> None:
    code = """
import resource, torch
from losskit.evaluate.metric import Perplexity
torch.set_num_threads(1)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
logits, target = torch.zeros(20000, 100), torch.zeros(20000, dtype=torch.int64)
Perplexity().update(logits[:100], target[:100])
before = peak()
Perplexity().update(logits, target)
print(peak() - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    unit = 1 if sys.platform == "darwin" else 1024
    assert grown * unit < 64 << 20  # one float32 for each pair of rows would be 1.5 GiB


def test_classes_may_be_in_the_second_axis() -> None:
    logits, target = batch(dtype=torch.float64)
    assert of(logits.movedim(-1, 1).contiguous(), target, class_dim=1) == pytest.approx(reference(logits, target), rel=1e-14)
    images = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    labels = torch.arange(30).reshape(2, 3, 5) % 4
    assert of(images, labels, class_dim=1) == pytest.approx(reference(images.movedim(1, -1), labels), rel=1e-14)


def test_shift_shifts_once() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, ids = torch.randn(2, 6, 7, generator=generator, dtype=torch.float64), torch.randint(7, (2, 6), generator=generator)
    assert of(logits, ids, shift=True) == pytest.approx(reference(logits[:, :-1], ids[:, 1:]), rel=1e-14)
    metric = Perplexity(shift=True)
    metric.update(logits, ids)
    assert metric.result().tokens == 2 * 5


@pytest.mark.claim("R9")
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(side: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, ids = torch.randn(1, 4, 7, generator=generator), torch.randint(7, (1, 4), generator=generator)
    width = (3, 0) if side == "left" else (0, 3)
    padded = F.pad(logits, (0, 0, *width), value=math.nan)
    mask = F.pad(torch.ones(1, 4, dtype=torch.bool), width)
    metric = Perplexity(shift=True)
    metric.update(padded, F.pad(ids, width, value=0), mask=mask)
    assert metric.result().tokens == 3
    assert float(metric.compute()) == pytest.approx(of(logits, ids, shift=True), rel=1e-14)


def test_a_prompt_that_is_ignored_still_predicts_the_first_answer() -> None:
    logits, labels = torch.zeros(1, 5, 7), torch.tensor([[-100, -100, 3, 4, 5]])
    metric = Perplexity(shift=True)
    metric.update(logits, labels)
    assert metric.result().tokens == 3


def test_masked_rows_may_be_nan_and_have_any_target() -> None:
    logits, target = batch(dtype=torch.float64)
    mask = target != -100
    metric = Perplexity()
    metric.update(torch.where(mask[..., None], logits, math.nan), torch.where(mask, target, 99), mask=mask)
    assert float(metric.compute()) == pytest.approx(reference(logits, target), rel=1e-14)


def test_a_nan_that_counts_is_shown() -> None:
    logits, target = batch()
    logits[0, 0, 0] = math.nan
    metric = Perplexity()
    metric.update(logits, target, document=["a", "b", "c"])
    assert math.isnan(metric.compute())
    assert metric.result().low is None


def test_a_target_of_probability_zero_makes_it_infinite() -> None:
    assert of(torch.tensor([[0.0, -math.inf]]), torch.tensor([1])) == math.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_hidden_states_give_what_their_scores_give(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(s, generator=generator, dtype=dtype) for s in ((3, 5, 8), (11, 8), (11,)))
    _, target = batch()
    scores = 5 * torch.tanh(0.7 * (hidden.double() @ weight.double().T + bias.double()) / 5)
    metric = Perplexity(shift=True)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[0, 0] = False
    metric.update_hidden(hidden, weight, target, linear_bias=bias, logit_scale=0.7, softcap=5.0, mask=mask)
    other = Perplexity(shift=True)
    other.update(scores, target, mask=mask)
    assert metric.result().tokens == other.result().tokens > 0
    assert metric.result().loss == pytest.approx(other.result().loss, rel=1e-12 if dtype == torch.float64 else 1e-5)


def test_log_probabilities_of_a_server_are_negated_and_masked() -> None:
    logprobs = torch.tensor([math.nan, -1.5, -2.5])
    metric = Perplexity()
    metric.update_nll(-logprobs, mask=torch.tensor([False, True, True]))
    assert (metric.result().tokens, metric.result().nats) == (2, 4.0)
    with pytest.raises(ValueError, match=r'"nll" is -1.5 at index 1, .* negate'):
        metric.update_nll(logprobs)
    assert metric.result().tokens == 2


def test_nothing_counted_is_an_error_and_a_result_of_none() -> None:
    metric = Perplexity()
    metric.update(torch.zeros(2, 3), torch.tensor([-100, -100]))
    metric.update(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), document=[])
    with pytest.raises(ValueError, match="no token"):
        metric.compute()
    result = metric.result()
    assert (result.tokens, result.nats) == (0, 0.0)
    assert {result.loss, result.perplexity, result.bits_per_byte, result.standard_error, result.low} == {None}


def test_what_does_not_fit_is_refused_and_counts_nothing() -> None:
    metric = Perplexity()
    with pytest.raises(IndexError, match=r'"target" is 7 at index \(0, 1\)'):
        metric.update(torch.zeros(1, 2, 7), torch.tensor([[0, 7]]))
    with pytest.raises(IndexError, match='"target" is 7'):
        metric.update_hidden(torch.zeros(1, 4), torch.zeros(7, 4), torch.tensor([7]))
    with pytest.raises(TypeError, match='"logits" has dtype'):
        metric.update(torch.zeros(1, 7, dtype=torch.int64), torch.tensor([0]))
    with pytest.raises(ShapeError, match='"target"'):
        metric.update(torch.zeros(2, 5, 7), torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match='"mask"'):
        metric.update(torch.zeros(2, 7), torch.zeros(2, dtype=torch.int64), mask=torch.ones(2, 1, dtype=torch.bool))
    with pytest.raises(ShapeError, match='"document" has 3 entries, expected 2'):
        metric.update(torch.zeros(2, 7), torch.zeros(2, dtype=torch.int64), document=["a", "b", "c"])
    with pytest.raises(ValueError, match='"nats" is -1'):
        metric.update_sum(-1.0, 2)
    with pytest.raises(ValueError, match="0 nats of 0 tokens"):
        metric.update_sum(1.0, 0)
    with pytest.raises(ValueError, match='"bytes" must be >= 0'):
        metric.update_sum(1.0, 1, bytes=-1)
    with pytest.raises(TypeError, match='"shift" must be True or False'):
        Perplexity(shift=1)
    with pytest.raises(TypeError, match='"tokens" has dtype'):
        metric.update_sum(1.0, torch.tensor(1.5))
    with pytest.raises(ShapeError, match='"nats" has shape'):
        metric.update_sum(torch.ones(2), 2)
    with pytest.raises(TypeError, match="ids on a device would have to be waited for"):
        metric.update_nll(torch.zeros(2), document=torch.zeros(2))
    assert metric.result().tokens == 0


def test_autocast_and_inference_mode_change_nothing() -> None:
    logits, target = batch()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        metric = Perplexity()
        metric.update(logits.clone(), target.clone(), document="a")
        metric.update(logits.clone(), target.clone(), document=["b", "c", "a"])
    metric.update(logits.requires_grad_(), target, document=["b", "c", "d"])
    assert float(metric.compute()) == pytest.approx(reference(logits.detach(), target), rel=1e-6)
    assert not metric.compute().requires_grad


def feed(metric: Perplexity, device: str) -> None:
    """Every way of counting that waits for nothing."""
    logits, target = torch.zeros(3, 5, 11, device=device), torch.zeros(3, 5, dtype=torch.int64, device=device)
    mask = torch.ones(3, 5, dtype=torch.bool, device=device)
    metric.update(logits, target)
    metric.update(logits, target, mask=mask, document=["a", "b", "a"], group="g")
    metric.update_nll(logits[..., 0], mask=mask, document=torch.tensor([1, 2, 3]))
    metric.update_sum(logits.sum(), target.sum(), document="c")
    metric.update_sum(1.0, 2, bytes=3)
    metric.parts()


@pytest.mark.parametrize("shift", [False, True])
def test_an_update_waits_for_no_device(shift: bool) -> None:
    metric = Perplexity(shift=shift)
    feed(metric, "meta")  # has no values, and raises when one is asked for: item(), bool(), nonzero(), a copy to the host
    assert metric.parts().total.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        metric.compute()


def test_an_overflowing_perplexity_is_infinite_and_its_loss_is_not() -> None:
    metric = Perplexity()
    metric.update_sum(1000.0, 1)
    assert (metric.result().loss, metric.result().perplexity, float(metric.compute())) == (1000.0, math.inf, math.inf)
