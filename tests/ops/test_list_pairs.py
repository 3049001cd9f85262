"""The face of the sums over pairs of a list: which way is taken, and how it meets autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from list_pair_loops import FORMS, LAMBDAS, drawn, looped
from torch import Tensor

from losskit.ops import list_pairs
from losskit.ops.list_pairs import pair_sums
from losskit.ops.list_tile_forms import Form
from losskit.ops.list_tiles import Call


def summed(call: Call, scores: Tensor | None = None) -> Tensor:
    scores = call.scores if scores is None else scores
    return pair_sums(
        scores, call.relevance, call.valid, call.weight,
        form=call.form, margin=call.margin, lam=call.lam, topk=call.topk, half=call.half,
    )  # fmt: skip


def agree(call: Call) -> None:
    """Value and gradient by the kernel, value without a gradient, and value by the plain formula."""
    value, gradient = looped(call)
    scores = call.scores.clone().requires_grad_()
    found = summed(call, scores)
    (slope,) = torch.autograd.grad(found.sum(), scores)
    torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slope, gradient, rtol=1e-12, atol=1e-12 * (1 + float(gradient.abs().sum())))
    torch.testing.assert_close(summed(call), value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(list_pairs._dense(*dense_of(call)), value, rtol=1e-12, atol=1e-12)


def dense_of(call: Call) -> tuple[Any, ...]:
    kind = list_pairs._Kind(call.form, call.margin, call.topk, call.half, None if call.lam is None else call.lam.mu)
    vectors = (None,) * 6 if call.lam is None else call.lam[:6]
    return kind, call.scores, call.relevance, call.valid, call.weight, *vectors


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_every_form_is_its_double_loop(form: Form, size: int) -> None:
    """Squares have ties too: their target difference is 0."""
    for options in ({"half": form == "mse"}, {"weighted": True, "half": True}, {"topk": 2, "weighted": True}):
        agree(drawn(2, size, form, **options))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lam", LAMBDAS)
def test_every_lambda_is_its_double_loop(form: Form, lam: str) -> None:
    agree(drawn(2, 12, form, lam=lam, weighted=True))


@pytest.mark.parametrize(
    ("form", "options", "way"),
    [
        ("hinge", {}, "hinge_pairs"),
        ("squared_hinge", {"lam": "place"}, "hinge_pairs"),
        ("hinge", {"lam": "distance"}, "swept"),
        ("hinge", {"topk": 2}, "swept"),
        ("mse", {"half": True}, "mse_pairs"),
        ("mse", {"lam": "gain"}, "swept"),
        ("exponential", {}, "exponential_pairs"),
        ("exponential", {"topk": 2}, "swept"),
        ("logistic", {}, "swept"),
        ("soft_zero_one", {}, "swept"),
    ],
)
def test_what_sorting_can_do_goes_through_no_tile(
    monkeypatch: pytest.MonkeyPatch, form: Form, options: dict[str, Any], way: str
) -> None:
    taken: list[str] = []
    for name in ("hinge_pairs", "mse_pairs", "exponential_pairs", "swept"):
        inner: Callable[..., Any] = getattr(list_pairs, name)

        def noted(*given: Any, name: str = name, inner: Callable[..., Any] = inner, **named: Any) -> Any:
            taken.append(name)
            return inner(*given, **named)

        monkeypatch.setattr(list_pairs, name, noted)
    call = drawn(2, 7, form, **options)
    summed(call, call.scores.clone().requires_grad_())
    assert taken == [way]


@pytest.mark.parametrize("form", ["logistic", "soft_zero_one"])
def test_long_lists_of_few_grades_go_through_no_tile(monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    call = drawn(2, 3000, form, weighted=True, half=True, spread=0.3)
    wanted = list_pairs.swept(call)
    monkeypatch.setattr(list_pairs, "swept", None)
    scores = call.scores.clone().requires_grad_()
    found = summed(call, scores)
    (slope,) = torch.autograd.grad(found.sum(), scores)
    assert slope.any()
    torch.testing.assert_close(found, wanted.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, wanted.gradient, rtol=1e-12, atol=1e-12 * float(wanted.gradient.abs().sum()))


@pytest.mark.parametrize("options", [{}, {"half": True, "weighted": True}, {"topk": 2}, {"lam": "both"}])
def test_derivatives_are_those_of_the_value(options: dict[str, Any]) -> None:
    for form in ("logistic", "soft_zero_one"):
        call = drawn(2, 5, form, ties=False, **options)
        scores = call.scores.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda s, call=call: summed(call, s), scores)
        assert torch.autograd.gradgradcheck(lambda s, call=call: summed(call, s), scores)


def test_functions_of_functions() -> None:
    call = drawn(3, 6, half=True)
    _, gradient = looped(call)
    slope = torch.func.grad(lambda s: summed(call, s).sum())(call.scores)
    torch.testing.assert_close(slope, gradient, rtol=0, atol=1e-12)

    def one(s: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        return summed(call._replace(relevance=y[None], valid=valid[None]), s[None])[0]

    torch.testing.assert_close(torch.func.vmap(one)(call.scores, call.relevance, call.valid), looped(call)[0])


def test_no_gradient_makes_no_table_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Tensor:
        raise AssertionError("a table of all pairs was made")

    monkeypatch.setattr(list_pairs, "_dense", refused)
    call = drawn(2, 9)
    assert not summed(call).requires_grad
    with torch.no_grad():
        found = summed(call, call.scores.clone().requires_grad_())
    torch.testing.assert_close(found, looped(call)[0])


def test_backward_can_run_twice_and_scales() -> None:
    call = drawn(2, 9)
    scores = call.scores.clone().requires_grad_()
    value = summed(call, scores)
    by = torch.tensor([2.0, -3.0], dtype=torch.float64)
    once = torch.autograd.grad(value, scores, by, retain_graph=True)[0]
    torch.testing.assert_close(once, by[:, None] * looped(call)[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(value, scores, by)[0], once, rtol=0, atol=0)


def test_weights_and_relevance_are_constants() -> None:
    call = drawn(2, 9, weighted=True)
    weight, scores = call.weight.clone().requires_grad_(), call.scores.clone().requires_grad_()
    relevance = call.relevance.clone().requires_grad_()
    summed(call._replace(weight=weight, relevance=relevance), scores).sum().backward()
    assert weight.grad is None
    assert relevance.grad is None
    torch.testing.assert_close(scores.grad, looped(call)[1], rtol=0, atol=1e-12)
