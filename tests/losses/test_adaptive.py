"""The adaptive robust loss: a density that integrates to one, and a shape that follows the errors."""

from __future__ import annotations

import doctest
import math

import mpmath as mp
import pytest
import torch
from torch import Tensor

import losskit
from losskit.core.check import ShapeError
from losskit.core.reduce import parts
from losskit.losses.adaptive import AdaptiveRobustLoss, log_partition
from losskit.losses.robust import general_robust_loss


def integral(alpha: mp.mpf) -> mp.mpf:
    """Of exp(-rho(x, alpha)) over all x, with x = sinh(s)."""
    b = 2 - alpha
    pieces = [0, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 20, 40, 60]
    return 2 * mp.quad(lambda s: mp.exp(-(b / alpha) * mp.expm1(alpha / 2 * mp.log1p(mp.sinh(s) ** 2 / b))) * mp.cosh(s), pieces)


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 0.1, 0.5, 1.0, 1.5, 1.9, 1.99, 1.999, 1.9999])
def test_the_normaliser_is_the_integral_and_its_slope_the_slope(alpha: float) -> None:
    shape = torch.tensor([alpha], dtype=torch.float64, requires_grad=True)
    value = log_partition(shape)
    (slope,) = torch.autograd.grad(value.sum(), shape)
    with mp.workdps(25):
        step = mp.mpf(10) ** -8 * min(alpha, 2 - alpha)
        high, low = (mp.log(integral(mp.mpf(alpha) + h)) for h in (step, -step))
        assert value.item() == pytest.approx(float((high + low) / 2), abs=1e-9)
        assert slope.item() == pytest.approx(float((high - low) / (2 * step)), abs=1e-5)
    assert log_partition(shape.float()).item() == pytest.approx(value.item(), abs=1e-6)


def test_the_normaliser_is_the_known_one_at_the_ends_and_in_the_middle() -> None:
    value = log_partition(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))
    known = [math.log(math.pi * math.sqrt(2)), float(mp.log(2 * mp.e * mp.besselk(1, 1))), math.log(math.sqrt(2 * math.pi))]
    assert value.tolist() == pytest.approx(known, abs=1e-9)


def test_the_value_is_the_robust_loss_and_the_logarithms_of_scale_and_normaliser() -> None:
    error = torch.linspace(-9, 9, 19)
    module = AdaptiveRobustLoss(alpha=0.7, scale=2.5, reduction="none")
    robust = general_robust_loss(error, torch.zeros(19), alpha=0.7, scale=2.5, reduction="none")
    torch.testing.assert_close(module(error, torch.zeros(19)), robust + math.log(2.5) + log_partition(torch.tensor(0.7)))


@pytest.mark.parametrize(("alpha", "scale"), [(0.3, 1.0), (1.0, 0.2), (1.9, 3.0)])
def test_it_is_the_logarithm_of_a_density(alpha: float, scale: float) -> None:
    s = torch.arange(-30, 30, 0.02, dtype=torch.float64)
    density = (-AdaptiveRobustLoss(alpha=alpha, scale=scale, reduction="none").double()(s.sinh(), torch.zeros_like(s))).exp()
    assert (density * s.cosh()).sum().item() * 0.02 == pytest.approx(1, abs=1e-6)


def fit(errors: Tensor) -> tuple[float, float]:
    module = AdaptiveRobustLoss()
    search = torch.optim.LBFGS(module.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        search.zero_grad()
        loss = module(errors, torch.zeros_like(errors))
        loss.backward()
        return float(loss.detach())

    search.step(closure)
    return module.alpha.item(), module.scale.item()


def test_normal_errors_are_recognised_with_their_deviation() -> None:
    alpha, scale = fit(3 * torch.special.ndtri((torch.arange(4000) + 0.5) / 4000))
    assert alpha > 1.95
    assert scale == pytest.approx(3, rel=0.05)


def test_cauchy_errors_are_recognised_with_their_width() -> None:
    uniform = (torch.arange(4000) + 0.5) / 4000
    alpha, scale = fit(torch.tan(math.pi * (uniform - 0.5)))
    assert alpha < 0.05
    assert scale == pytest.approx(1 / math.sqrt(2), rel=0.05)


def test_each_dimension_learns_its_own_pair() -> None:
    module = AdaptiveRobustLoss(3, alpha=1.2, scale=0.5, reduction="none")
    error = torch.tensor([[0.1, 1.0, 10.0], [0.2, 2.0, 20.0]])
    one = AdaptiveRobustLoss(alpha=1.2, scale=0.5, reduction="none")
    torch.testing.assert_close(module(error, torch.zeros(2, 3)), one(error, torch.zeros(2, 3)))
    module(error, torch.zeros(2, 3)).sum().backward()
    assert module.alpha.shape == module.scale.shape == (3,)
    assert module.log_scale.grad is not None
    assert len(module.log_scale.grad.unique()) == 3


def test_both_are_learned_and_alpha_stays_inside_its_range() -> None:
    module = AdaptiveRobustLoss()
    assert {n for n, _ in module.named_parameters()} == {"alpha_logit", "log_scale"}
    for logit in (-200.0, -20.0, 0.0, 20.0, 200.0):
        with torch.no_grad():
            module.alpha_logit.fill_(logit)
            module.log_scale.fill_(-logit)
        assert 0 <= module.alpha.item() <= 2
        module.zero_grad()
        value = module(torch.tensor([0.0, 1e-3]), torch.zeros(2))
        if logit > -80:
            value.backward()
            assert value.isfinite()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_weights_masks_reductions_and_parts_are_those_of_every_loss() -> None:
    error, target = torch.tensor([0.5, math.nan, 2.0]), torch.zeros(3)
    mask, weight = torch.tensor([True, False, True]), torch.tensor([1.0, 5.0, 3.0])
    each = AdaptiveRobustLoss(reduction="none")(error, target, mask=mask)
    mean = AdaptiveRobustLoss()(error, target, mask=mask, weight=weight)
    torch.testing.assert_close(mean, (each[0] + 3 * each[2]) / 4)
    torch.testing.assert_close(AdaptiveRobustLoss(reduction="sum")(error, target, mask=mask), each.sum())
    found = parts(AdaptiveRobustLoss(), error, target, mask=mask, weight=weight)
    torch.testing.assert_close(found.total / found.weight, mean)


def test_nothing_to_learn_is_a_connected_zero() -> None:
    module = AdaptiveRobustLoss()
    module(torch.zeros(0), torch.zeros(0)).backward()
    assert all(p.grad is not None and p.grad.item() == 0 for p in module.parameters())


def test_half_precision_is_computed_in_float32_and_a_number_is_a_batch() -> None:
    assert AdaptiveRobustLoss()(torch.zeros(3, dtype=torch.bfloat16), torch.zeros(3, dtype=torch.bfloat16)).dtype == torch.float32
    assert AdaptiveRobustLoss(reduction="none")(torch.tensor(1.0), torch.tensor(0.0)).shape == ()


def test_it_compiles_as_one_graph_and_differentiates_twice() -> None:
    torch.compiler.reset()
    module = AdaptiveRobustLoss(2)
    error = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(error, torch.zeros(5, 2)), module(error, torch.zeros(5, 2)))
    doubled = AdaptiveRobustLoss(2).double()
    leaf = error.double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda e, *_: doubled(e, torch.zeros(5, 2).double()), (leaf, *doubled.parameters()))


def test_calls_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r'"input" has shape \(4, 2\), expected \(\*, 3\) to fit num_dims=3'):
        AdaptiveRobustLoss(3)(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ShapeError, match=r'"target" has shape \(4,\), expected \(4, 1\)'):
        AdaptiveRobustLoss()(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(TypeError, match=r"\.float\(\)"):
        AdaptiveRobustLoss()(torch.zeros(4, dtype=torch.long), torch.zeros(4))


@pytest.mark.parametrize(
    "options", [{"alpha": 0.0}, {"alpha": 2.0}, {"scale": 0.0}, {"min_scale": 0.0}, {"num_dims": 0}, {"reduction": "all"}]
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf'"{next(iter(options))}" must be'):
        AdaptiveRobustLoss(**options)


def test_the_example_in_the_docs_runs() -> None:
    (found,) = doctest.DocTestFinder(recurse=False).find(AdaptiveRobustLoss, globs={"torch": torch, "losskit": losskit})
    assert found.examples
    assert doctest.DocTestRunner(verbose=False).run(found).failed == 0
