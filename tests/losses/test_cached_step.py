"""A step in chunks has the gradient of the step in one piece: every parameter, every mask, under autocast and scaled."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from cached_models import Contrast, Encoder, chunked, data, equal, gradients
from losskit.losses.cached_step import CachedStep


@pytest.mark.parametrize("size", [1, 3, 5, 10, 64])
@pytest.mark.parametrize("shared", [False, True])
def test_the_gradient_is_that_of_the_whole_batch(size: int, shared: bool) -> None:
    one, loss, (a, b) = Encoder(), Contrast(), data()
    two = one if shared else copy.deepcopy(one)
    learning = (one, loss) if shared else (one, two, loss)
    plain = loss(one(a), two(b), times=2.0)
    plain.backward()
    wanted = gradients(*learning)
    value = CachedStep(loss, size)((one, a), (two, b), times=2.0)
    torch.testing.assert_close(value, plain, rtol=1e-12, atol=0)
    value.backward()
    equal(gradients(*learning), wanted)
    assert loss.calls == 2


def test_the_whole_value_scales_adds_and_repeats_as_any_loss_does() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    (3 * loss(encoder(a), encoder(b)) + 2 * encoder.last.weight.square().sum()).backward()
    wanted = gradients(encoder, loss)
    value = CachedStep(loss, 4)((encoder, a), (encoder, b))
    value.backward(retain_graph=True)
    (2 * value + 2 * encoder.last.weight.square().sum()).backward()  # accumulates on top of the first
    equal(gradients(encoder, loss), wanted)


@pytest.mark.parametrize("size", [3, 5, 64])
def test_dropout_masks_are_those_of_the_first_pass_and_the_generator_goes_on_from_there(size: int) -> None:
    encoder, loss, (a, b) = Encoder(dropout=0.5), Contrast(), data()
    torch.manual_seed(5)
    loss(chunked(encoder, a, size), chunked(encoder, b, size)).backward()
    wanted, after = gradients(encoder, loss), torch.get_rng_state()
    torch.manual_seed(5)
    value = CachedStep(loss, size)((encoder, a), (encoder, b))
    assert torch.equal(torch.get_rng_state(), after)
    torch.rand(7)  # what happens in between is of no matter
    now = torch.get_rng_state()
    value.backward()
    assert torch.equal(torch.get_rng_state(), now)
    equal(gradients(encoder, loss), wanted)


@pytest.mark.parametrize("inside", [False, True], ids=["backward outside of autocast", "backward inside of autocast"])
def test_the_second_pass_is_under_the_autocast_of_the_first(inside: bool) -> None:
    encoder, loss, (a, b) = Encoder(dtype=torch.float32), Contrast(), data(dtype=torch.float32)
    seen: list[torch.dtype] = []
    encoder.first.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):  # with it, chunks are added in bfloat16
        plain = loss(chunked(encoder, a, 4), chunked(encoder, b, 4))
        if inside:
            plain.backward()
    if not inside:
        plain.backward()
    wanted = gradients(encoder, loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = CachedStep(loss, 4)((encoder, a), (encoder, b))
        if inside:
            value.backward()
    if not inside:
        value.backward()
    assert torch.equal(value, plain)
    equal(gradients(encoder, loss), wanted, 1e-6)
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 3 * 6


def test_outside_of_autocast_the_second_pass_is_outside_too() -> None:
    encoder, (a, _) = Encoder(dtype=torch.float32), data(dtype=torch.float32)
    seen: list[torch.dtype] = []
    encoder.first.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    value = CachedStep(lambda x: x.square().sum(), 4)((encoder, a))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value.backward()
    assert seen == [torch.float32] * 6
    gradients(encoder)


def test_a_grad_scaler_scales_all_gradients() -> None:
    encoder, loss, (a, b) = Encoder(dtype=torch.float32), Contrast(), data(dtype=torch.float32)
    loss(encoder(a), encoder(b)).backward()
    wanted = gradients(encoder, loss)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD([*encoder.parameters(), *loss.parameters()], lr=0.0)
    scaler.scale(CachedStep(loss, 4)((encoder, a), (encoder, b))).backward()
    assert all(p.grad is not None for p in loss.parameters())
    equal([p.grad.clone() for p in encoder.parameters() if p.grad is not None], [1024 * w for w in wanted[:-1]], 1e-2)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    equal(gradients(encoder, loss), wanted, 1e-5)


def test_embeddings_may_be_had_without_a_loss() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    loss(encoder(a), encoder(b)).backward()
    wanted = gradients(encoder, loss)
    query, key = CachedStep(loss, 3).encode((encoder, a), (encoder, b))
    loss(query, key).backward()
    equal(gradients(encoder, loss), wanted)


def test_a_frozen_encoder_is_read_once_and_its_embeddings_need_no_gradient() -> None:
    encoder, still, loss, (a, b) = Encoder(), Encoder().requires_grad_(False), Contrast(), data()
    read: list[int] = []
    still.register_forward_hook(lambda module, given, out: read.append(len(out)))
    query, key = CachedStep(loss, 4).encode((encoder, a), (still, b))
    assert query.requires_grad
    assert not key.requires_grad
    loss(query, key).backward()
    assert read == [4, 4, 2]
    gradients(encoder, loss)


def test_without_grad_there_is_no_graph() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    with torch.no_grad():
        value = CachedStep(loss, 4)((encoder, a), (encoder, b))
    torch.testing.assert_close(value, loss(encoder(a), encoder(b)).detach(), rtol=1e-12, atol=0)
    assert not value.requires_grad


def test_embeddings_that_the_loss_does_not_use_are_not_encoded_again() -> None:
    encoder, other, (a, b) = Encoder(), Encoder(), data()
    read: list[int] = []
    other.register_forward_hook(lambda module, given, out: read.append(len(out)))
    CachedStep(lambda x, _: x.square().sum(), 4)((encoder, a), (other, b)).backward()
    assert read == [4, 4, 2]
    gradients(encoder)


def test_a_batch_that_learns_gets_its_gradient() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    a.requires_grad_()
    loss(encoder(a), encoder(b)).backward()
    wanted, a.grad = a.grad, None
    CachedStep(loss, 4)((encoder, a), (encoder, b)).backward()
    assert a.grad is not None
    assert wanted is not None
    assert wanted.any()
    equal([a.grad], [wanted])


def test_one_chunk_of_activations_is_alive_at_a_time() -> None:
    alive, most = 0, 0

    class Kept(torch.autograd.Function):
        """Counts the rows whose activations are kept for backward."""

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            nonlocal alive, most
            ctx.rows = len(x)
            if x.requires_grad:
                alive += len(x)
                most = max(most, alive)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            nonlocal alive
            alive -= ctx.rows
            return grads[0]

    encoder, loss, (a, b) = Encoder(), Contrast(), data()

    def kept(x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            return Kept.apply(encoder(x))

    CachedStep(loss, 4)((kept, a), (kept, b)).backward()
    assert most == 4
    gradients(encoder)


def test_nothing_of_a_step_outlives_its_value() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    tensor = a.clone()
    watched = weakref.ref(tensor)
    value = CachedStep(loss, 4)((encoder, tensor), (encoder, b))
    value.backward()
    del value, tensor
    gc.collect()
    assert watched() is None
