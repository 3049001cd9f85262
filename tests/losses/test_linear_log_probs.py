"""linear_log_probs: what preference and policy losses read off a head."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from projections import drawn, off


def operands(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 7, 6, generator=generator, dtype=dtype, requires_grad=True)
    w = torch.randn(30, 6, generator=generator, dtype=dtype, requires_grad=True)
    return x, w, torch.randint(30, (2, 7), generator=generator)


def test_every_output_is_that_of_the_scores() -> None:
    x, w, y = operands()
    found = losskit.linear_log_probs(x, w, y, entropy=True, memory=1000)
    scores = x @ w.T
    assert found.entropy is not None
    for got, right in (
        (found.log_prob, scores.log_softmax(-1).gather(-1, y[..., None])[..., 0]),
        (found.logsumexp, scores.logsumexp(-1)),
        (found.entropy, torch.distributions.Categorical(logits=scores).entropy()),
        (found.argmax, scores.argmax(-1)),
    ):
        assert got.shape == (2, 7)
        assert torch.allclose(got, right)


def test_every_output_but_the_argmax_is_differentiable() -> None:
    x, w, y = operands()
    found = losskit.linear_log_probs(x, w, y, entropy=True, memory=1000)
    scores = x @ w.T
    assert found.entropy is not None
    weights = torch.randn(3, 2, 7, dtype=torch.float64)
    plain = (
        scores.log_softmax(-1).gather(-1, y[..., None])[..., 0],
        scores.logsumexp(-1),
        torch.distributions.Categorical(logits=scores).entropy(),
    )
    for got, right, by in zip((found.log_prob, found.logsumexp, found.entropy), plain, weights, strict=True):
        slopes = [torch.autograd.grad((t * by).sum(), (x, w), retain_graph=True) for t in (got, right)]
        for a, b in zip(*slopes, strict=True):
            assert b.any()
            assert torch.allclose(a, b)
    assert not found.argmax.requires_grad


def test_a_preference_loss_is_that_of_the_scores() -> None:
    """DPO: -log sigmoid(beta (chosen - rejected)), summed over the tokens that count."""
    x, w, y = operands()
    y[:, 5:] = -100

    def loss(log_prob: Tensor) -> Tensor:
        chosen, rejected = log_prob.sum(-1)
        return -F.logsigmoid(0.1 * (chosen - rejected))

    fused = loss(losskit.linear_log_probs(x, w, y).log_prob)
    plain = loss(-losskit.cross_entropy(x @ w.T, y, reduction="none"))
    assert torch.allclose(fused, plain)
    assert torch.allclose(torch.autograd.grad(fused, x)[0], torch.autograd.grad(plain, x)[0])


def test_ignored_tokens_are_zero_and_hide_nan() -> None:
    x, w, y = operands(torch.float32)
    y[0, :3] = -100
    x = x.detach().clone()
    x[0, :3] = math.nan
    x.requires_grad_()
    found = losskit.linear_log_probs(x, w, y, entropy=True)
    assert found.entropy is not None
    for values in (found.log_prob, found.logsumexp, found.entropy, found.argmax):
        assert not values[0, :3].any()
    (slope,) = torch.autograd.grad((found.log_prob + found.entropy).sum(), x)
    assert not slope[0, :3].any()
    assert slope[1].isfinite().all()


def test_entropy_at_both_ends() -> None:
    one = losskit.linear_log_probs(torch.zeros(1, 4), torch.randn(8, 4), torch.tensor([2]), entropy=True)
    assert one.entropy is not None
    assert float(one.entropy) == pytest.approx(math.log(8))
    sure = losskit.linear_log_probs(torch.full((1, 1), 90.0), torch.tensor([[1.0], [0.0]]), torch.tensor([0]), entropy=True)
    assert sure.entropy is not None
    assert 0 <= float(sure.entropy) < 1e-30
    assert losskit.linear_log_probs(torch.zeros(1, 4), torch.randn(8, 4), torch.tensor([2])).entropy is None


def test_what_is_wrong_is_named() -> None:
    x, w, y = operands()
    with pytest.raises(losskit.ShapeError, match='"target" has shape'):
        losskit.linear_log_probs(x, w, y[:1])
    with pytest.raises(TypeError, match='"entropy" must be True or False'):
        losskit.linear_log_probs(x, w, y, entropy=1)
    with pytest.raises(IndexError, match='"target" is 30'):
        losskit.linear_log_probs(x, w, torch.full_like(y, 30))


def test_the_module_is_the_function() -> None:
    x, w, y = operands()
    found = losskit.LinearLogProbs(entropy=True, logit_scale=0.5)(x, w, y)
    wanted = losskit.linear_log_probs(x, w, y, entropy=True, logit_scale=0.5)
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("std", [0.3, 3.0])
def test_every_gradient_in_bfloat16_is_off_by_little_more_than_its_last_rounding(std: float) -> None:
    """1.7e-3 of the size is rounding alone; an entropy has no large term at the target that would hide the others."""
    x, w, y = drawn(300, 256, 4096, torch.bfloat16, std)
    found = losskit.linear_log_probs(x, w, y, entropy=True)
    assert found.entropy is not None
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    log_p = (wide[0] @ wide[1].T).log_softmax(-1)
    plain = (log_p.gather(-1, y[:, None]), (wide[0] @ wide[1].T).logsumexp(-1), -(log_p.exp() * log_p).sum(-1))
    # a log-sum-exp has the softmax alone for its gradient, whose rounded entries cancel in the product
    bars = 2.5e-3, 2.7e-3, 2.5e-3
    for got, right, bar in zip((found.log_prob, found.logsumexp, found.entropy), plain, bars, strict=True):
        slopes = [torch.autograd.grad(t.sum(), of, retain_graph=True) for t, of in ((got, (x, w)), (right, wide))]
        for a, b in zip(*slopes, strict=True):
            assert b.any()
            assert off(a, b) < bar
