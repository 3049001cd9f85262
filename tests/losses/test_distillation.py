"""kl_div_loss, js_div_loss and sparse_kl_div_loss: exact also where student and teacher are nearly equal."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

LOSSES: dict[str, Callable[..., Tensor]] = {
    "forward": losskit.kl_div_loss,
    "reverse": lambda *t, **o: losskit.kl_div_loss(*t, direction="reverse", **o),
    "js": losskit.js_div_loss,
}


def pair(rows: int = 6, classes: int = 9, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    student, teacher = (2 * torch.randn(rows, classes, generator=generator, dtype=dtype) for _ in range(2))
    return student.requires_grad_(), teacher


def test_forward_is_torch_with_its_arguments_in_order() -> None:
    """torch wants log-probabilities, and its "mean" divides by the classes too."""
    student, teacher = pair()
    log_q, log_p = student.log_softmax(-1), teacher.log_softmax(-1)
    assert torch.allclose(losskit.kl_div_loss(student, teacher), F.kl_div(log_q, log_p, log_target=True, reduction="batchmean"))
    too_small = F.kl_div(log_q, log_p, log_target=True, reduction="none").mean()
    assert torch.allclose(losskit.kl_div_loss(student, teacher), 9 * too_small)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1e-2, 1e-4])
def test_nearly_equal_distributions_keep_their_digits(name: str, size: float) -> None:
    """sum p (log p - log q) cancels to noise there: the value is of the square of the difference."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(5, 100, generator=generator)
    student = teacher + size * torch.randn(5, 100, generator=generator)
    got, truth = LOSSES[name](student, teacher), LOSSES[name](student.double(), teacher.double())
    assert float(truth) > 0
    assert float((got - truth).abs() / truth) < 1e-5
    mine = [t.clone().requires_grad_() for t in (student, student.double())]
    slopes = [torch.autograd.grad(LOSSES[name](s, teacher.to(s.dtype)), s)[0] for s in mine]
    assert slopes[1].any()
    assert float((slopes[0] - slopes[1]).norm() / slopes[1].norm()) < 1e-4


@pytest.mark.parametrize("name", LOSSES)
def test_padding_is_invisible_even_if_it_is_nan(name: str) -> None:
    student, teacher = pair()
    mask = torch.tensor([True, False] * 3)
    spoiled = student.detach().clone()
    spoiled[~mask] = math.nan
    spoiled.requires_grad_()
    loss = LOSSES[name](spoiled, teacher, mask=mask)
    assert torch.allclose(loss, LOSSES[name](student[mask], teacher[mask]))
    (slope,) = torch.autograd.grad(loss, spoiled)
    assert slope[mask].any()
    assert not slope[~mask].any()


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_with_a_normalizer_are_one_batch(name: str) -> None:
    student, teacher = pair()
    whole = LOSSES[name](student, teacher)
    pieces = [LOSSES[name](student[a], teacher[a], normalizer=6) for a in (slice(0, 1), slice(1, 6))]
    assert torch.allclose(pieces[0] + pieces[1], whole)


def test_temperature_keeps_the_size_of_gradients() -> None:
    """At high temperature T^2 KL tends to half the variance of the difference of scores, whatever T is."""
    student, teacher = pair()
    difference = student - teacher
    limit = 0.5 * difference.var(-1, unbiased=False).mean()
    for temperature in (1e3, 1e4):
        assert torch.allclose(losskit.kl_div_loss(student, teacher, temperature=temperature), limit, rtol=1e-2)


def test_the_mixture_is_not_clamped() -> None:
    """A clamp at 1e-7 moves the loss of two distributions that share nothing off its bound."""
    apart = torch.tensor([[0.0, -200.0]]), torch.tensor([[-200.0, 0.0]])
    assert float(losskit.js_div_loss(*apart)) == pytest.approx(math.log(2), rel=1e-7)
    for beta in (0.1, 0.9):
        bound = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        assert float(losskit.js_div_loss(*apart, beta=beta)) == pytest.approx(bound, rel=1e-6)


def test_classes_that_are_ruled_out() -> None:
    student = torch.tensor([[0.0, 1.0, -torch.inf]], requires_grad=True)
    both = losskit.kl_div_loss(student, torch.tensor([[1.0, 0.0, -torch.inf]]))
    assert torch.allclose(both, losskit.kl_div_loss(student[:, :2], torch.tensor([[1.0, 0.0]])))
    (slope,) = torch.autograd.grad(both, student)
    assert slope.isfinite().all()
    assert slope.any()
    assert float(losskit.kl_div_loss(student, torch.zeros(1, 3)).detach()) == math.inf


def test_the_teacher_has_a_gradient_too() -> None:
    student, teacher = pair(2, 4)
    teacher.requires_grad_()
    for loss in LOSSES.values():
        assert torch.autograd.gradcheck(loss, (student, teacher))
        assert torch.autograd.grad(loss(student, teacher), teacher)[0].any()


@pytest.mark.parametrize("tail", ["bucket", "drop", "renormalize"])
def test_all_classes_listed_is_the_whole_divergence(tail: str) -> None:
    student, teacher = pair()
    index = torch.arange(9).flip(0).expand(6, 9)
    sparse = losskit.sparse_kl_div_loss(student, index, teacher.log_softmax(-1).flip(-1), tail=tail)
    dense = losskit.kl_div_loss(student, teacher)
    assert torch.allclose(sparse, dense)
    slopes = [torch.autograd.grad(t, student)[0] for t in (sparse, dense)]
    assert slopes[1].any()
    assert torch.allclose(*slopes)


def test_the_tail_of_a_sparse_teacher() -> None:
    """Half of the mass on one of four classes, a student that knows nothing."""
    index, log_prob, student = torch.tensor([[2]]), torch.tensor([[0.5]]).log(), torch.zeros(1, 4)
    bucket = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    for tail, wanted in (("bucket", bucket), ("drop", 0.5 * math.log(2)), ("renormalize", 0.0)):
        assert float(losskit.sparse_kl_div_loss(student, index, log_prob, tail=tail)) == pytest.approx(wanted, abs=1e-7)


def test_a_sparse_teacher_that_cannot_be() -> None:
    student = torch.zeros(1, 4)
    with pytest.raises(ValueError, match="listed twice"):
        losskit.sparse_kl_div_loss(student, torch.tensor([[1, 1]]), torch.tensor([[0.2, 0.2]]).log())
    with pytest.raises(ValueError, match=r"sums to 1\.4 in probability"):
        losskit.sparse_kl_div_loss(student, torch.tensor([[1, 2]]), torch.tensor([[0.7, 0.7]]).log())
    with pytest.raises(IndexError, match='"index" is 4'):
        losskit.sparse_kl_div_loss(student, torch.tensor([[4]]), torch.tensor([[0.7]]).log())


def test_options_out_of_range() -> None:
    student, teacher = pair()
    with pytest.raises(ValueError, match='"beta" must be in'):
        losskit.js_div_loss(student, teacher, beta=1.0)
    with pytest.raises(ValueError, match='"temperature" must be > 0'):
        losskit.kl_div_loss(student, teacher, temperature=0)
    with pytest.raises(ValueError, match="'forward' or 'reverse'"):
        losskit.kl_div_loss(student, teacher, direction="both")
