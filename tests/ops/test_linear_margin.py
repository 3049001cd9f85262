"""The fused heads as functions that are differentiated, mapped, compiled, checkpointed, and scaled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

import losskit
from losskit.ops.linear_margin import Head, Projected, linear_margin, linear_total
from projections import drawn, off

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
BIAS = torch.linspace(-1, 1, 11, dtype=torch.float64)
WEIGHT = torch.linspace(0.2, 2, 11, dtype=torch.float64)
TILT = torch.linspace(0, 0.1, 11, dtype=torch.float64)
KEPT = torch.tensor([True, False, True, True, True])


def scores(x: Tensor, w: Tensor, bias: Tensor | None = None, scale: float = 1.0, softcap: float = 0.0) -> Tensor:
    z = x @ w.T
    z = scale * (z if bias is None else z + bias)
    return softcap * torch.tanh(z / softcap) if softcap else z


def margin_loss(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    """All statistics of the op in one number."""
    call = Projected(x, w, BIAS, y, KEPT[: len(y)], 0.7, 3.0, 600)
    own, rest, drift, entropy, _ = linear_margin(call, tilt=TILT, entropy=True)
    return (own.sin() + rest.square() + drift + 2 * entropy).sum()


def margin_plain(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    z = scores(x, w, BIAS, 0.7, 3.0)[KEPT[: len(y)]]
    column, log_p = y[KEPT[: len(y)], None], z.log_softmax(1)
    own, rest = z.gather(1, column)[:, 0], z.scatter(1, column, -torch.inf).logsumexp(1)
    return (own.sin() + rest.square() + z @ TILT - 2 * (log_p.exp() * log_p).sum(1)).sum()


def total_loss(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    counts = torch.linspace(0, 2, len(y), dtype=torch.float64)
    return linear_total(Projected(x, w, BIAS, y, None, 0.7, 3.0, 600), Head("focal", (2.0,), counts, TILT, 0.1))


def total_plain(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    z = scores(x, w, BIAS, 0.7, 3.0)
    nll, lse = F.cross_entropy(z, y, reduction="none"), z.logsumexp(1)
    focal = torch.linspace(0, 2, len(y), dtype=torch.float64) * (1 - torch.exp(-nll)) ** 2 * nll
    return (focal + 0.1 * lse**2 + TILT.sum() * lse - z @ TILT).sum()


def log_probs(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    found = losskit.linear_log_probs(x, w, y, linear_bias=BIAS, entropy=True, memory=600)
    assert found.entropy is not None
    return (found.log_prob.sin() + 0.1 * found.logsumexp.square() + found.entropy).sum()


def log_probs_plain(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    z = scores(x, w, BIAS)
    log_p = z.log_softmax(1)
    return ((-F.cross_entropy(z, y, reduction="none")).sin() + 0.1 * z.logsumexp(1) ** 2 - (log_p.exp() * log_p).sum(1)).sum()


def cross_entropies(**options: Any) -> tuple[Loss, Loss]:
    def fused(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
        return losskit.linear_cross_entropy(x, w, y, memory=600, **options).sum()

    def plain(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
        rest = {n: o for n, o in options.items() if n not in ("linear_bias", "softcap")}
        z = scores(x, w, options.get("linear_bias"), 1.0, options.get("softcap", 0.0))
        return losskit.cross_entropy(z, y, **rest).sum()

    return fused, plain


CASES: dict[str, tuple[Loss, Loss]] = {
    "margin": (margin_loss, margin_plain),
    "total": (total_loss, total_plain),
    "mean": cross_entropies(ignore_index=3),
    "none": cross_entropies(reduction="none", label_smoothing=0.1, weight=WEIGHT),
    "everything": cross_entropies(linear_bias=BIAS, softcap=2.0, label_smoothing=0.1, z_loss=0.1, weight=WEIGHT),
    "focal": (
        lambda x, w, y: losskit.linear_focal_loss(x, w, y, gamma=1.5, memory=600),
        lambda x, w, y: losskit.focal_loss(x @ w.T, y, gamma=1.5),
    ),
    "log_probs": (log_probs, log_probs_plain),
}
EACH = pytest.mark.parametrize(("fused", "plain"), CASES.values(), ids=CASES)


def close(got: Any, right: Any, tolerance: float = 1e-10) -> None:
    """Relative, and never of nothing."""
    for a, b in zip(got, right, strict=True):
        assert b.any()
        assert off(a, b) < tolerance


def operands() -> tuple[Tensor, Tensor, Tensor]:
    return drawn(5, 4, 11, torch.float64)


@EACH
def test_both_derivatives_are_those_of_finite_differences(fused: Loss, plain: Loss) -> None:
    x, w, y = operands()
    assert torch.allclose(fused(x, w, y), plain(x, w, y))
    close(torch.autograd.grad(fused(x, w, y), (x, w)), torch.autograd.grad(plain(x, w, y), (x, w)))
    assert torch.autograd.gradcheck(lambda a, b: fused(a, b, y), (x, w))
    assert torch.autograd.gradgradcheck(lambda a, b: fused(a, b, y), (x, w))


@EACH
def test_a_gradient_penalty_is_differentiated(fused: Loss, plain: Loss) -> None:
    x, w, y = operands()
    found = []
    for loss in (fused, plain):
        first = torch.autograd.grad(loss(x, w, y), (x, w), create_graph=True)
        found.append(torch.autograd.grad(sum(t.square().sum() for t in first), (x, w)))
    close(*found)


@EACH
def test_torch_func(fused: Loss, plain: Loss) -> None:
    x, w, y = (t.detach() for t in operands())
    close([torch.func.grad(fused)(x, w, y)], [torch.func.grad(plain)(x, w, y)])
    models = torch.stack([w, -w, w.flip(0)])
    for of in (lambda f: f, torch.func.grad):
        mapped = torch.func.vmap(of(lambda m, f=fused: f(x, m, y)))(models)
        close(mapped, [of(lambda m, f=plain: f(x, m, y))(m) for m in models])
    samples = x.unsqueeze(1), y.unsqueeze(1)
    each = torch.func.vmap(torch.func.grad(fused, 1), in_dims=(0, None, 0))(samples[0], w, samples[1])
    close(each[[0, 2]], [torch.func.grad(plain, 1)(samples[0][i], w, samples[1][i]) for i in (0, 2)])
    twice = [torch.func.jacrev(torch.func.jacrev(lambda a, f=f: f(a, w, y)))(x) for f in (fused, plain)]
    close([twice[0]], [twice[1]])


@EACH
def test_forward_mode_raises_instead_of_returning_zeros(fused: Loss, plain: Loss) -> None:
    x, w, y = (t.detach() for t in operands())
    with pytest.raises((NotImplementedError, RuntimeError), match=r"jvp|forward"):
        torch.func.jvp(lambda a: fused(a, w, y), (x,), (torch.ones_like(x),))


def compiled(fused: Loss, backend: str, *, dynamic: bool | None) -> None:
    """The same values and gradients, for several numbers of rows."""
    torch._dynamo.reset()
    fast = torch.compile(fused, backend=backend, fullgraph=True, dynamic=dynamic)
    for rows in (5, 3, 1):
        x, w, y = drawn(rows, 4, 11, torch.float64)
        got, right = fast(x, w, y), fused(x, w, y)
        assert torch.allclose(got, right)
        close(torch.autograd.grad(got, (x, w)), torch.autograd.grad(right, (x, w)))


@pytest.mark.parametrize("name", ["margin", "total", "log_probs"])
def test_compiles_as_one_graph(name: str) -> None:
    compiled(CASES[name][0], "aot_eager", dynamic=None)


@pytest.mark.parametrize("name", ["total", "mean", "focal", "log_probs"])
def test_compiles_for_any_number_of_rows(name: str) -> None:
    compiled(CASES[name][0], "aot_eager", dynamic=True)


@EACH
def test_compiles_where_no_gradient_is_wanted(fused: Loss, plain: Loss) -> None:
    """An evaluation: nothing requires a gradient, or nobody asks for it."""
    torch._dynamo.reset()
    fast = torch.compile(fused, backend="aot_eager", fullgraph=True)
    x, w, y = operands()
    right = plain(x, w, y)
    assert torch.allclose(fast(x.detach(), w.detach(), y), right)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.allclose(fast(x, w, y), right)


@pytest.mark.slow
@EACH
def test_compiles_to_machine_code(fused: Loss, plain: Loss) -> None:
    if shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    compiled(fused, "inductor", dynamic=True)


@EACH
def test_a_batch_of_upstream_gradients(fused: Loss, plain: Loss) -> None:
    """What torch.autograd.functional.jacobian(vectorize=True) does."""
    x, w, y = operands()
    by = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = [torch.autograd.grad(loss(x, w, y), (x, w), by, is_grads_batched=True) for loss in (fused, plain)]
    close(*found)


@EACH
def test_backward_runs_again_with_another_upstream(fused: Loss, plain: Loss) -> None:
    x, w, y = operands()
    loss = fused(x, w, y)
    right = torch.autograd.grad(plain(x, w, y), (x, w))
    for factor in (1.0, -3.0, 1e-3):
        got = torch.autograd.grad(factor * loss, (x, w), retain_graph=True)
        close(got, [factor * t for t in right])
    close(torch.autograd.grad(loss, (x, w)), right)


@EACH
def test_every_subset_of_what_can_learn(fused: Loss, plain: Loss) -> None:
    x, w, y = operands()
    both = torch.autograd.grad(plain(x, w, y), (x, w))
    close(torch.autograd.grad(fused(x, w.detach(), y), x), both[:1])
    close(torch.autograd.grad(fused(x.detach(), w, y), w), both[1:])
    assert not fused(x.detach(), w.detach(), y).requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.allclose(fused(x, w, y), plain(x, w, y))


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_only_the_bias_learns(reduction: str) -> None:
    x, w, y = (t.detach() for t in operands())
    bias = BIAS.clone().requires_grad_()
    loss = losskit.linear_cross_entropy(x, w, y, linear_bias=bias, label_smoothing=0.1, reduction=reduction).mean()
    plain = losskit.cross_entropy(x @ w.T + bias, y, label_smoothing=0.1)
    close(torch.autograd.grad(loss, bias), torch.autograd.grad(plain, bias))


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_class_weights_that_learn_get_the_whole_gradient(softcap: float | None) -> None:
    x, w, y = operands()
    weight = WEIGHT.clone().requires_grad_()
    loss = losskit.linear_cross_entropy(x, w, y, weight=weight, label_smoothing=0.1, softcap=softcap)
    plain = losskit.cross_entropy(scores(x, w, softcap=softcap or 0.0), y, weight=weight, label_smoothing=0.1)
    close(torch.autograd.grad(loss, weight), torch.autograd.grad(plain, weight))


class Model(nn.Module):
    """A body and a head of its embedding's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.body = nn.Embedding(11, 4), nn.Linear(4, 4)

    def forward(self, y: Tensor, loss: Loss, *, keep: bool = True) -> Tensor:
        def head(h: Tensor) -> Tensor:
            return loss(self.body(h).tanh(), self.table.weight, y)

        h = self.table(y)
        return head(h) if keep else checkpoint(head, h, use_reentrant=False)


def learned(model: Model, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


@EACH
def test_tied_weights_checkpoints_and_offloading(fused: Loss, plain: Loss) -> None:
    torch.manual_seed(0)
    model, y = Model().double(), torch.tensor([1, 5, 5, 9, 3])
    right = learned(model, model(y, plain))
    close(learned(model, model(y, fused)), right)
    close(learned(model, model(y, fused, keep=False)), right)
    with save_on_cpu():
        loss = model(y, fused)
    close(learned(model, loss), right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_with_a_scaler(dtype: torch.dtype) -> None:
    """The body in half precision under autocast, parameters and their gradients in float32, the loss times 2^12."""
    torch.manual_seed(0)
    body, head, y = nn.Linear(16, 32), nn.Linear(32, 200), torch.randint(200, (64,))
    x = torch.randn(64, 16)
    with torch.autocast("cpu", dtype=dtype):
        hidden = body(x)
        loss = losskit.linear_cross_entropy(hidden, head.weight, y, linear_bias=head.bias)
    assert (hidden.dtype, loss.dtype) == (dtype, torch.float32)
    got = torch.autograd.grad(4096 * loss, [*body.parameters(), *head.parameters()])
    wide = [p.detach().double().requires_grad_() for p in [*body.parameters(), *head.parameters()]]
    plain = F.cross_entropy(F.linear(F.linear(x.double(), *wide[:2]), *wide[2:]), y)
    assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-2 if dtype == torch.bfloat16 else 1e-3)
    assert {t.dtype for t in got} == {torch.float32}
    close(got, [4096 * t for t in torch.autograd.grad(plain, wide)], 2e-2 if dtype == torch.bfloat16 else 3e-3)
