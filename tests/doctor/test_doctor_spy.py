"""Losses as the spy sees them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from doctor_seen import seen
from losskit.doctor.before.spy import Spy

X, Y = torch.randn(32, 20, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 10
MODEL = nn.Linear(20, 10)


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


def spied(work):
    """The calls of a piece of user's code."""
    return seen(work).calls


def test_every_loss_is_recorded_once_with_its_line_options_and_share_of_the_total():
    def work():
        one = nn.CrossEntropyLoss(label_smoothing=0.1)(MODEL(X), Y)
        two = losskit.cross_entropy(MODEL(X), Y)
        three = nn.MSELoss(size_average=False)(MODEL(X), torch.zeros(32, 10))
        return one - 0.5 * two + 0.0 * three

    with pytest.warns(UserWarning, match="size_average"):
        calls = spied(work)
    assert [(c.name, c.home) for c in calls] == [("cross_entropy", "torch"), ("cross_entropy", "losskit"), ("mse_loss", "torch")]
    assert [c.slope for c in calls] == [1, -0.5, 0]
    assert calls[0].options["label_smoothing"] == 0.1
    assert calls[1].options["ignore_index"] == -100
    assert calls[2].options["reduction"] == "sum"
    assert all(c.where.startswith("test_doctor_spy.py:") for c in calls)
    assert calls[0].upstream["input"][0] == "AddmmBackward0"
    assert calls[0].needs_grad == {"input": True, "target": False}


def test_what_a_loss_of_losskit_calls_inside_is_no_call_of_its_own():
    calls = spied(lambda: losskit.mse_loss(MODEL(X), torch.zeros(32, 10)))
    assert [(c.name, c.home) for c in calls] == [("mse_loss", "losskit")]


def test_values_sample_by_sample_average_to_the_value_and_leave_random_numbers_alone():
    before = torch.get_rng_state()
    (call,) = spied(lambda: F.cross_entropy(MODEL(X), Y))
    assert call.per_sample.shape == (32,)
    assert call.per_sample.dtype == torch.float64
    torch.testing.assert_close(call.per_sample.mean().float(), call.value)
    assert torch.equal(before, torch.get_rng_state())


def test_a_summed_value_of_each_sample_has_the_slope_of_a_sum():
    (call,) = spied(lambda: F.cross_entropy(MODEL(X), Y, reduction="none").sum())
    assert call.slope == 32


def test_gradients_under_the_spy_are_those_without_it():
    def gradient():
        MODEL.zero_grad()
        total = F.cross_entropy(MODEL(X), Y) + losskit.focal_loss(MODEL(X), Y)
        return total, MODEL.weight

    total, weight = gradient()
    total.backward()
    plain = weight.grad.clone()
    with Spy() as spy:
        total, weight = gradient()
    spy.finish(total)
    total.backward()
    assert plain.abs().sum() > 0
    assert torch.equal(weight.grad, plain)


def test_a_call_that_raises_is_recorded_with_its_error_and_still_raises():
    with Spy() as spy, pytest.raises(IndexError):
        F.cross_entropy(MODEL(X), Y + 9)
    (call,) = spy.finish()
    assert call.error.startswith("IndexError: Target")
    assert call.value is None


def test_nothing_is_recorded_after_the_block_and_blocks_can_be_entered_again():
    spy = Spy()
    with spy:
        F.cross_entropy(MODEL(X), Y)
    F.cross_entropy(MODEL(X), Y)
    losskit.cross_entropy(MODEL(X), Y)
    with spy:
        losskit.cross_entropy(MODEL(X), Y)
    assert [c.home for c in spy.finish()] == ["torch", "losskit"]


def test_a_total_whose_graph_is_gone_has_no_slope():
    with Spy() as spy:
        total = F.cross_entropy(MODEL(X), Y)
        total.backward()
    (call,) = spy.finish(total)
    assert call.slope in (None, 1)


def test_losses_under_torch_func_are_computed_though_they_cannot_be_seen():
    with Spy() as spy:
        gradient = torch.func.grad(lambda z: F.cross_entropy(z, Y))(MODEL(X).detach())
    spy.finish()
    torch.testing.assert_close(gradient, (MODEL(X).detach().softmax(1) - F.one_hot(Y, 10)) / 32)


def test_compiled_modules_are_not_compiled_again_for_the_spy():
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph.forward

    model = torch.compile(nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 10)), backend=backend)
    F.cross_entropy(model(X), Y)
    with Spy(model=model) as spy:
        F.cross_entropy(model(X), Y)
    assert len(spy.calls) == 1
    assert len(made) == 1
