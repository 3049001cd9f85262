"""Kernels with a derivative by hand: what they keep, torch knows of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from losskit import cross_entropy, focal_loss
from losskit.ops.first_order import Found, by_list, lean

SCORES, LABELS = torch.randn(64, 50, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 50
SOFT = torch.rand(64, 50, generator=torch.Generator().manual_seed(1)).softmax(-1)
CALLS = {
    "index": lambda x: cross_entropy(x, LABELS),
    "probabilities": lambda x: cross_entropy(x, SOFT),
    "focal": lambda x: focal_loss(x, LABELS),
}
Call = Callable[[Tensor], Tensor]


def nodes(value: Tensor) -> list[torch.autograd.graph.Node]:
    found: list[torch.autograd.graph.Node] = []
    queue = [value.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in found:
            found.append(node)
            queue += [after for after, _ in node.next_functions]
    return found


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_tensor_is_kept_where_torch_does_not_see_it(call: Call) -> None:
    value = call(SCORES.clone().requires_grad_())
    for node in nodes(value):
        held = getattr(node, "__dict__", {})
        cells = [c.cell_contents for v in held.values() for c in getattr(v, "__closure__", None) or ()]
        assert not [v for v in [*held.values(), *cells] if isinstance(v, Tensor)]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_is_saved_can_be_offloaded(call: Call) -> None:
    """The gradient is computed from what the hooks give back."""
    packed: list[Tensor] = []

    def pack(tensor: Tensor) -> int:
        packed.append(tensor.clone())
        return len(packed) - 1

    input = SCORES.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, packed.__getitem__):
        value = call(input)
    for tensor in packed:
        tensor.zero_()
    value.backward()
    assert input.grad is not None
    assert not input.grad.any()


def test_a_checkpoint_keeps_no_row_of_scores() -> None:
    inside: list[int] = []

    def counted(x: Tensor) -> Tensor:
        inside.append(len(x))
        return cross_entropy(x, LABELS)

    input = SCORES.clone().requires_grad_()
    value = checkpoint(counted, input, use_reentrant=False)
    value.backward()
    wanted = SCORES.clone().requires_grad_()
    cross_entropy(wanted, LABELS).backward()
    assert inside == [64, 64]
    assert input.grad is not None
    assert torch.equal(input.grad, wanted.grad)


class Doubled:
    """Twice the sum of each list, and which of the two ways was taken."""

    def __init__(self) -> None:
        self.ways: list[str] = []

    def formula(self, input: Tensor, weight: Tensor) -> Tensor:
        self.ways.append("formula")
        return 2 * (input * weight).sum(-1)

    def kernel(self, input: Tensor, weight: Tensor) -> Found:
        self.ways.append("kernel")
        return 2 * (input * weight).sum(-1), (2 * weight,), by_list


LISTS, WEIGHTS = torch.arange(6.0).view(2, 3), torch.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, 1.0]])


def test_no_dense_formula_runs_for_a_value_alone() -> None:
    both = Doubled()
    wanted = LISTS.clone().requires_grad_()
    with torch.no_grad():
        assert lean(both.formula, both.kernel, wanted, WEIGHTS).tolist() == [16.0, 16.0]
    value = lean(both.formula, both.kernel, LISTS, WEIGHTS)
    assert both.ways == ["kernel", "kernel"]
    assert not value.requires_grad


def test_a_dense_formula_runs_for_second_derivatives_and_for_other_gradients() -> None:
    both, wanted = Doubled(), LISTS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(lean(both.formula, both.kernel, wanted, WEIGHTS).sum(), wanted)
    assert torch.equal(slope, 2 * WEIGHTS)
    assert both.ways == ["kernel"]
    assert torch.equal(torch.vmap(lambda x, w: lean(both.formula, both.kernel, x, w))(LISTS, WEIGHTS), torch.tensor([16.0, 16.0]))
    weight = WEIGHTS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(lean(both.formula, both.kernel, LISTS, weight).sum(), weight)
    assert torch.equal(slope, 2 * LISTS)
    assert both.ways == ["kernel", "formula", "formula"]


def test_the_gradient_of_a_list_multiplies_its_slope() -> None:
    found = by_list(torch.tensor([2.0, -1.0], dtype=torch.float64), WEIGHTS)
    assert found.dtype == torch.float32
    assert found.tolist() == [[2.0, 4.0, 6.0], [-1.0, 0.0, -1.0]]
