"""Kernels with a derivative by hand: what they keep, torch knows of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from losskit import cross_entropy, focal_loss

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
