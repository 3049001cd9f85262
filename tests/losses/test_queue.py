"""The queue of embeddings: the newest rows, wherever they were saved, moved or shared out."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from embedding_ranks import Found, part, ranks
from harness import refused
from losskit.core.check import ShapeError
from losskit.losses.queue import EmbeddingQueue

SIZES = (2, 0, 3, 1, 9, 4, 4, 1)  # the rows of each step: none, as many as there is room for, more than the queue holds


def numbered(first: int, rows: int) -> tuple[Tensor, Tensor]:
    """Rows that say their own id."""
    ids = torch.arange(first, first + rows)
    return ids[:, None] * torch.tensor([1.0, -2.0]), ids


def filled(size: int = 4, rows: int = 6) -> EmbeddingQueue:
    queue = EmbeddingQueue(size, 2)
    queue.enqueue(*numbered(0, rows))
    return queue


@pytest.mark.parametrize("size", [1, 4, 5])
def test_a_queue_holds_the_newest_rows_and_their_ids_oldest_first(size: int) -> None:
    queue, expected, at = EmbeddingQueue(size, 2), deque[int](maxlen=size), 0
    for rows in SIZES:
        queue.enqueue(*numbered(at, rows))
        expected.extend(range(at, at + rows))
        at += rows
        held = queue.held()
        assert held.ids is not None
        assert held.ids.tolist() == list(expected)
        assert torch.equal(held.rows, held.ids[:, None] * torch.tensor([1.0, -2.0]))
        assert len(queue) == len(expected) == int(queue.valid.sum())
        assert queue.ids is not None
        assert sorted(queue.ids[queue.valid].tolist()) == sorted(expected)


def again(queue: EmbeddingQueue) -> EmbeddingQueue:
    fresh = EmbeddingQueue(queue.size, queue.dim)
    fresh.load_state_dict(queue.state_dict())
    return fresh


@pytest.mark.parametrize("saved", [again, copy.deepcopy, lambda queue: pickle.loads(pickle.dumps(queue))])
@pytest.mark.parametrize("rows", [0, 1, 3, 4, 6])
def test_a_saved_queue_goes_on_as_if_nothing_had_happened(saved: Callable[[EmbeddingQueue], EmbeddingQueue], rows: int) -> None:
    queue = filled(4, rows)
    other = saved(queue)
    assert len(other) == len(queue)
    for more in (1, 2):
        queue.enqueue(*numbered(100 * more, more))
        other.enqueue(*numbered(100 * more, more))
        assert all(torch.equal(a, b) for a, b in zip(queue.held(), other.held(), strict=True))


def test_what_is_held_has_no_gradient_and_does_not_change_with_the_queue() -> None:
    queue = filled()
    rows = torch.ones(3, 2, requires_grad=True)
    query = torch.randn(2, 2, requires_grad=True)
    held = queue.held()
    loss = (query @ held.rows.T).square().sum()
    queue.enqueue(rows, torch.arange(3))  # in place: a view would make backward fail
    loss.backward()
    assert query.grad is not None
    assert torch.equal(query.grad, 2 * (query @ held.rows.T).detach() @ held.rows)
    assert query.grad.any()
    assert not queue.held().rows.requires_grad


def test_leading_axes_are_rows() -> None:
    queue = EmbeddingQueue(6, 2)
    queue.enqueue(torch.arange(12.0).reshape(2, 3, 2), torch.arange(6).reshape(2, 3))
    assert torch.equal(queue.held().rows, torch.arange(12.0).reshape(6, 2))


def test_rows_come_in_the_dtype_of_the_queue_and_ids_stay_whole() -> None:
    queue = filled().to(torch.bfloat16)
    queue.enqueue(torch.ones(1, 2, dtype=torch.float64), torch.tensor([2**40 + 1]))
    rows, ids = queue.held()
    assert rows.dtype == torch.bfloat16
    assert ids is not None
    assert ids.tolist() == [3, 4, 5, 2**40 + 1]
    assert EmbeddingQueue(1, 1, dtype=torch.float64).rows.dtype == torch.float64


def test_a_queue_without_ids_holds_rows_only() -> None:
    queue = EmbeddingQueue(2, 2, ids=False)
    queue.enqueue(torch.ones(1, 2))
    assert queue.held().ids is None
    assert list(queue.state_dict()) == ["rows", "pointer", "filled"]


def test_a_forgotten_queue_is_an_empty_one() -> None:
    queue = filled()
    queue.reset()
    assert len(queue) == 0
    assert queue.held().rows.shape == (0, 2)
    assert queue  # so that "queue or None" keeps it
    queue.enqueue(*numbered(3, 1))
    assert queue.held().rows.tolist() == [[3.0, -6.0]]


def test_a_queue_is_changed_inside_a_compiled_step() -> None:
    queue, other = EmbeddingQueue(4, 2), EmbeddingQueue(4, 2)

    def step(rows: Tensor, ids: Tensor) -> Tensor:
        queue.enqueue(rows, ids)
        return torch.where(queue.valid[:, None], queue.rows, 0).sum()

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    for at in (0, 3, 6):
        compiled(*numbered(at, 3))
        other.enqueue(*numbered(at, 3))
        assert all(torch.equal(a, b) for a, b in zip(queue.held(), other.held(), strict=True))


def test_mistakes_are_named() -> None:
    queue, bare, two = EmbeddingQueue(4, 2), EmbeddingQueue(4, 2, ids=False), torch.ones(1, 2)
    ids = torch.tensor([1])
    assert refused(ValueError, lambda: EmbeddingQueue(0, 2)) == '"size" must be >= 1, got 0'
    assert refused(ValueError, lambda: EmbeddingQueue(4, -1)) == '"dim" must be >= 1, got -1'
    assert '"size"' in refused(TypeError, lambda: EmbeddingQueue(2.5, 2))
    assert "expected (*, 2)" in refused(ShapeError, lambda: queue.enqueue(torch.ones(1, 3), ids))
    assert "expected (*, 2)" in refused(ShapeError, lambda: queue.enqueue(torch.ones(2), ids))
    assert '"ids" has shape (2,), expected (1,)' in refused(ShapeError, lambda: queue.enqueue(two, torch.arange(2)))
    assert "make the queue with ids=False" in refused(ValueError, lambda: queue.enqueue(two))
    assert "make the queue with ids=True" in refused(ValueError, lambda: bare.enqueue(two, ids))
    assert "expected integers" in refused(TypeError, lambda: queue.enqueue(two, torch.tensor([1.0])))
    assert "floating-point" in refused(TypeError, lambda: queue.enqueue(two.long(), ids))
    assert "on meta, expected cpu like the queue" in refused(ValueError, lambda: queue.enqueue(two.to("meta"), ids))
    listed: Any = [1]
    assert '"ids" must be a Tensor, got list' in refused(TypeError, lambda: queue.enqueue(two, listed))
    assert '"rows" must be a Tensor, got list' in refused(TypeError, lambda: queue.enqueue(listed, ids))
    for dtype in (torch.int64, torch.bool, torch.complex64):  # integers would make 0 of most embeddings
        assert f'"dtype" is {dtype}, expected a floating-point' in refused(
            TypeError, lambda d=dtype: EmbeddingQueue(4, 2, dtype=d)
        )
    assert len(queue) == 0


@pytest.mark.parametrize("other", [EmbeddingQueue(9, 2), EmbeddingQueue(4, 3), EmbeddingQueue(4, 2, ids=False)])
@pytest.mark.parametrize("strict", [True, False])
def test_the_state_of_another_queue_is_refused_and_changes_nothing(other: EmbeddingQueue, strict: bool) -> None:
    queue = EmbeddingQueue(4, 2)
    queue.enqueue(*numbered(5, 2))
    before = queue.held()
    state = {**other.state_dict(), "filled": torch.tensor(4), "pointer": torch.tensor(3)}
    message = refused(
        RuntimeError,
        lambda: nn.ModuleDict({"queue": queue}).load_state_dict(
            {f"queue.{name}": value for name, value in state.items()}, strict=strict
        ),
    )
    assert "size=4, dim=2, ids=True" in message
    assert all(torch.equal(a, b) for a, b in zip(queue.held(), before, strict=True))


def together(rank: int, world: int) -> Found:
    queue = EmbeddingQueue(5, 2)
    for at, share in ((0, (2, 1)), (3, (0, 0)), (3, (4, 3)), (10, (0, 1))):
        rows, ids = numbered(at, sum(share))
        queue.enqueue(rows[part(share, rank)], ids[part(share, rank)], group=dist.group.WORLD)
    return {"ids": queue.held().ids, "rows": queue.held().rows}


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
def test_ranks_hold_the_same_rows_in_the_same_order(tmp_path: Path) -> None:
    for found in ranks(together, 2, tmp_path):
        assert found["ids"].tolist() == [6, 7, 8, 9, 10]
        assert torch.equal(found["rows"], numbered(6, 5)[0])
