"""The contract of every loss, one function a law: each takes a card and one of its variants and asserts."""

from __future__ import annotations

import copy
import io
import math
import pickle

import torch
from torch import Tensor

import claims
import list_laws
import losskit
from cases import Case, draw
from harness import (
    LAWS,
    NONE,
    Variant,
    case_has_floats,
    derivative_law,
    differentiated,
    gradients,
    hidden,
    law,
    own_options,
    refused,
    same,
    spoil,
    takes,
)
from losskit.core.card import Card

__all__ = ["LAWS"]
MORE = (claims, list_laws)  # which add their laws to LAWS


@law
def value_is_the_reference(card: Card, variant: Variant) -> None:
    for seed in range(3):
        case = draw(card, variant, seed=seed)
        wanted = card.reference(*case.tensors.values(), **own_options(case))
        assert wanted.dtype == torch.float64
        same(case.value(**NONE), wanted, 1e-9)
        single = case.to(torch.float32)
        same(single.value(**NONE).double(), card.reference(*single.tensors.values(), **own_options(single)).double(), 3e-5)


@derivative_law
def gradient_is_the_derivative(card: Card, variant: Variant) -> None:
    case, leaves = differentiated(card, variant, 4)
    assert torch.autograd.gradcheck(
        lambda *t: case.replaced(**dict(zip(leaves, t, strict=True))).value(**NONE), list(leaves.values())
    )


@derivative_law
def second_gradient_is_the_derivative(card: Card, variant: Variant) -> None:
    case, leaves = differentiated(card, variant, 3)
    assert torch.autograd.gradgradcheck(
        lambda *t: case.replaced(**dict(zip(leaves, t, strict=True))).value(), list(leaves.values()), atol=1e-4
    )


@law
def module_is_the_function(card: Card, variant: Variant) -> None:
    case = draw(card, variant)
    assert card.module is not None, f"{card.name} has no module"
    module = card.module(**case.options)
    twins = [module, pickle.loads(pickle.dumps(module)), copy.deepcopy(module)]
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    for twin in twins:
        same(twin(*case.tensors.values()), case.value(), 0)
    assert repr(module).startswith(card.module.__name__)
    assert set(module.state_dict()) == {k for k, v in case.options.items() if isinstance(v, Tensor)}


@law
def reductions_agree(card: Card, variant: Variant) -> None:
    case = draw(card, variant, weight=takes(card, "weight"))
    each, total, mean = (case.value(reduction=r) for r in ("none", "sum", "mean"))
    parts = losskit.parts(card.function, *case.tensors.values(), **case.options)
    assert total.shape == mean.shape == parts.total.shape == parts.weight.shape == ()
    same(each.sum(), total)
    same(parts.total, total)
    same(mean, total / parts.weight)
    same(case.value(normalizer=7.0), total / 7)
    same(case.value(normalizer=torch.tensor(7.0)), total / 7)
    refused(ValueError, lambda: case.value(reduction="average"))


@law
def parts_add_up(card: Card, variant: Variant) -> None:
    if "whole_batch" in card.laws:
        return
    case = draw(card, variant, weight=takes(card, "weight"), mask=takes(card, "mask"))
    pieces = [case.mapped(lambda t, a=a, b=b: t[a:b]) for a, b in ((0, 1), (1, 4), (4, 6), (6, 6))]
    found = [losskit.parts(card.function, *p.tensors.values(), **p.options) for p in pieces]
    total, weight = sum(p.total for p in found), sum(p.weight for p in found)
    same(torch.as_tensor(total / weight), case.value())


@law
def weights_multiply(card: Card, variant: Variant) -> None:
    if not takes(card, "weight") or "whole_batch" in card.laws:
        return
    case = draw(card, variant, weight=True)
    weight = case.options["weight"]
    bare = Case(card, case.tensors, {k: v for k, v in case.options.items() if k != "weight"})
    same(case.value(**NONE), weight * bare.value(**NONE))
    same(case.value(), (weight * bare.value(**NONE)).sum() / weight.sum())
    doubled = losskit.parts(card.function, *case.tensors.values(), **{**case.options, "weight": 2 * weight})
    same(doubled.total / doubled.weight, case.value())


@law
def what_is_masked_is_invisible(card: Card, variant: Variant) -> None:
    if (found := hidden(card, variant)) is None:
        return
    case, spoiled, seen = found
    for reduction in ("none", "sum", "mean"):
        same(spoiled.value(reduction=reduction), case.value(reduction=reduction), 0)
    for gradient, clean in zip(gradients(spoiled), gradients(case), strict=True):
        same(gradient, clean, 0)
        if gradient.shape[:1] == seen.shape:
            assert not gradient[~seen].any(), "what is masked has a gradient"
    if "whole_batch" not in card.laws:
        same(spoiled.mapped(lambda t: t[seen]).value(), case.value())


@law
def a_class_of_weight_zero_is_invisible(card: Card, variant: Variant) -> None:
    other_terms = {"label_smoothing", "z_loss"} & variant.keys()  # of which class weights are not the whole weight
    if not takes(card, "weight", "C") or card.task == "segmentation" or other_terms or case_has_floats(card, variant):
        return
    case = draw(card, variant, weight=True)
    target = case.tensors["target"]
    case.options["weight"][target[1]] = 0
    spoiled = case.replaced(input=spoil(case.tensors["input"], target != target[1]))
    for reduction in ("none", "sum", "mean"):
        same(spoiled.value(reduction=reduction), case.value(reduction=reduction), 0)
    for gradient, clean in zip(gradients(spoiled), gradients(case), strict=True):
        same(gradient, clean, 0)


@law
def nothing_to_learn_is_a_connected_zero(card: Card, variant: Variant) -> None:
    cases = [draw(card, variant, batch=(0,))]
    for name in ("mask", "weight"):
        if takes(card, name):
            case = draw(card, variant, **{name: True})
            cases.append(case.replaced(**{name: torch.zeros_like(case.options[name])}))
    if "ignore_index" in card.options and not case_has_floats(card, variant):
        case = draw(card, variant)
        cases.append(case.replaced(target=torch.full_like(case.tensors["target"], -100)))
    for case in cases:
        ready, leaves = case.with_grad()
        for reduction in ("mean", "sum"):
            value = ready.value(reduction=reduction)
            assert (value.shape, value.item()) == ((), 0), f"{value} is not 0"
            assert value.requires_grad, "the zero is not connected to the graph"
            for gradient in torch.autograd.grad(value, leaves):
                assert not gradient.any()


@law
def rows_do_not_know_each_other(card: Card, variant: Variant) -> None:
    if "whole_batch" in card.laws:
        return
    case = draw(card, variant)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    same(case.mapped(lambda t: t[order]).value(**NONE), case.value(**NONE)[order])
    same(case.mapped(lambda t: t[:1]).value(**NONE), case.value(**NONE)[:1])
    if card.task != "segmentation":  # there the axes after the first are pixels
        flat = case.value(**NONE)
        same(case.mapped(lambda t: t.reshape(2, 3, *t.shape[1:])).value(**NONE), flat.reshape(2, 3, *flat.shape[1:]))


@law
def half_precision_is_computed_in_float32(card: Card, variant: Variant) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        case = draw(card, variant).to(dtype)
        value = case.value()
        assert value.dtype == torch.float32
        same(value, case.to(torch.float32).value(), 1e-6)
        for gradient, exact in zip(gradients(case), gradients(case.to(torch.float32)), strict=True):
            assert gradient.dtype == dtype
            same(gradient.float(), exact, 1e-2)
    single, double = draw(card, variant, dtype=torch.float32), draw(card, variant)
    assert (single.value().dtype, double.value().dtype) == (torch.float32, torch.float64)


@law
def autocast_changes_nothing(card: Card, variant: Variant) -> None:
    case = draw(card, variant, dtype=torch.float32)
    outside = case.value(**NONE)
    with torch.autocast("cpu", torch.bfloat16):
        same(case.value(**NONE), outside, 0)


@law
def extreme_inputs_stay_finite(card: Card, variant: Variant) -> None:
    for dtype in (torch.float32, torch.float64):
        case = draw(card, variant, dtype=dtype)
        for size in (1e-30, 1e-4, 30.0, 120.0, 1e4):
            limits = {n: card.sample[n].extreme for n in case.learnable()}  # 0: not a number of any size
            scaled = {n: t.sign() * min(size, limits[n]) for n, t in case.learnable().items() if limits[n]}
            for gradient in gradients(case.replaced(**scaled)):
                assert gradient.isfinite().all(), f"gradient {gradient} at {size}"
            assert case.replaced(**scaled).value(**NONE).isfinite().all(), f"value at {size}"


@law
def nan_is_shown(card: Card, variant: Variant) -> None:
    case = draw(card, variant)
    name, tensor = next(iter(case.learnable().items()))
    bad = tensor.clone()
    bad[(0,) * bad.ndim] = math.nan
    assert case.replaced(**{name: bad}).value().isnan(), "a NaN in a valid input was hidden"


@law
def arguments_are_left_alone(card: Card, variant: Variant) -> None:
    case = draw(card, variant, weight=takes(card, "weight"), mask=takes(card, "mask"))
    before = {n: t.clone() for n, t in case.everything().items()}
    gradients(case)
    for name, tensor in case.everything().items():
        assert torch.equal(tensor, before[name]), f"{name} was changed"
    strided = case.mapped(lambda t: torch.stack([t, t], -1)[..., 0])
    same(strided.value(), case.value(), 1e-12)
    for gradient, wanted in zip(gradients(strided), gradients(case), strict=True):
        same(gradient, wanted, 1e-12)


@law
def backward_can_run_twice(card: Card, variant: Variant) -> None:
    case, leaves = draw(card, variant).with_grad()
    value = case.value()
    value.backward(retain_graph=True)
    once = [torch.as_tensor(leaf.grad).clone() for leaf in leaves]
    value.backward()
    for leaf, gradient in zip(leaves, once, strict=True):
        same(torch.as_tensor(leaf.grad), 2 * gradient, 1e-12)


@law
def compiles_as_one_graph(card: Card, variant: Variant) -> None:
    torch.compiler.reset()
    case, leaves = draw(card, variant).with_grad()
    compiled = torch.compile(card.function, fullgraph=True, backend="aot_eager", dynamic=False)
    value = compiled(*case.tensors.values(), **case.options)
    same(value, case.value(), 1e-9)
    for gradient, wanted in zip(torch.autograd.grad(value, leaves), gradients(case), strict=True):
        same(gradient, wanted, 1e-9)


@law
def maps_and_differentiates_as_a_function(card: Card, variant: Variant) -> None:
    case = draw(card, variant, batch=(2, 3))
    names = [n for n in case.everything() if n in card.sample and card.sample[n].axes[0] and case.everything()[n].ndim > 1]
    batch = [case.everything()[n] for n in names]

    def one(*tensors: Tensor) -> Tensor:
        return case.replaced(**dict(zip(names, tensors, strict=True))).value()

    wanted = torch.stack([one(*(t[i] for t in batch)) for i in range(2)])
    same(torch.func.vmap(one)(*batch), wanted, 1e-9)
    learnable = [i for i, n in enumerate(names) if n in case.learnable()]
    slopes = torch.func.vmap(torch.func.grad(one, argnums=tuple(learnable)))(*batch)
    for i in range(2):
        leaves = [t[i].clone().requires_grad_(k in learnable) for k, t in enumerate(batch)]
        found = torch.autograd.grad(one(*leaves), [leaves[k] for k in learnable])
        for slope, gradient in zip(slopes, found, strict=True):
            same(slope[i], gradient, 1e-9)


def free(case: Case, name: str) -> bool:
    """Whether the first axis of an argument is its own to choose: the classes of a projection, if nothing else names them."""
    lead, axes = case.card.sample[name].axes
    others = (case.card.sample[n].axes[1] for n in case.everything() if n != name and n in case.card.sample)
    return not lead and all(axes[0] not in names for names in others)


@law
def shapes_are_exact(card: Card, variant: Variant) -> None:
    case = draw(card, variant, batch=(6,), weight=takes(card, "weight"), mask=takes(card, "mask"))
    for name, tensor in case.everything().items():
        if name not in card.sample or tensor.ndim == 0:
            continue
        if len(case.everything()) > 1:
            message = refused(losskit.ShapeError, lambda n=name, t=tensor: case.replaced(**{n: t.unsqueeze(-1)}).value())
            assert "expected" in message
            if not free(case, name):
                refused(losskit.ShapeError, lambda n=name, t=tensor: case.replaced(**{n: t[:-1]}).value())
        refused(TypeError, lambda n=name, t=tensor: case.replaced(**{n: t.to(torch.complex64)}).value())
        refused(TypeError, lambda n=name, t=tensor: case.replaced(**{n: t.tolist()}).value())
    name, tensor = next(iter(case.learnable().items()))
    assert ".float()" in refused(TypeError, lambda: case.replaced(**{name: tensor.long()}).value())
