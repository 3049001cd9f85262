"""Sums over triplets: values, numbers and gradients of a triple loop, in tiles of any size, never N x N x N."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from losskit.ops import extremes, triplets
from losskit.ops.distances import DISTANCES, Distance, pair_distance
from losskit.ops.extremes import Batch
from losskit.ops.mining import Form, Mining, passed, triplet_value
from losskit.ops.triplets import triplet_sums, triplet_total
from losskit.ops.unit import unit

MINING: tuple[Mining, ...] = ("all", "semihard", "hard_negative_all_positive")
FORMS = [Form(mining, margin, soft) for mining in MINING for margin, soft in ((0.3, False), (0.0, True))]


def batch(distance: Distance, count: int = 14, things: int = 3, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    x = unit(x) if distance == "cosine" else x
    ids = torch.randint(things, (count,), generator=generator)
    return Batch(x.requires_grad_(), ids, torch.rand(count, generator=generator) < 0.85, 0, count)


def listed(batch: Batch, distance: Distance, mining: Mining, anchor: int) -> list[tuple[Tensor, Tensor]]:
    """The two distances of each triplet of an anchor."""
    there = [j for j in range(len(batch.rows)) if batch.valid[j] and batch.valid[anchor] and j != anchor]
    d = {j: pair_distance(batch.rows[anchor], batch.rows[j], distance) for j in there}
    near = [d[j] for j in there if batch.ids[j] == batch.ids[anchor]]
    far = [d[j] for j in there if batch.ids[j] != batch.ids[anchor]]
    if not far:
        return []
    if mining == "all":
        return list(itertools.product(near, far))
    if mining == "hard_negative_all_positive":
        return [(p, min(far)) for p in near]
    return [(p, min((n for n in far if n > p), default=max(far))) for p in near]


def looped(batch: Batch, form: Form, distance: Distance) -> tuple[list[Tensor], list[int], list[int]]:
    sums, active, count = [], [], []
    for anchor in range(batch.start, batch.start + batch.anchors):
        costs = [triplet_value(p - n, form) for p, n in listed(batch, distance, form.mining, anchor)]
        sums.append(torch.stack(costs).sum() if costs else batch.rows[anchor].sum() * 0)
        active.append(sum(bool(c > 0) for c in costs))
        count.append(len(costs))
    return sums, active, count


def same(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("numbers", [1, 1 << 20])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_sums_numbers_and_gradients_are_those_of_loops(
    form: Form, distance: Distance, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extremes, "_NUMBERS", numbers)
    monkeypatch.setattr(extremes, "_ROWS", 2)
    for given in (batch(distance), batch(distance, seed=1)._replace(start=3, anchors=8)):
        sums, active, count = looped(given, form, distance)
        found = triplet_sums(given, form, distance)
        same(found.sums, torch.stack(sums))
        assert (found.active.tolist(), found.number.tolist()) == (active, count)
        by = torch.linspace(1, 2, given.anchors, dtype=torch.float64)
        (wanted,) = torch.autograd.grad((torch.stack(sums) * by).sum(), given.rows, retain_graph=True)
        same(torch.autograd.grad((found.sums * by).sum(), given.rows)[0], wanted)
        assert wanted.abs().max() > 0.1
        for per_anchor in (False, True):
            each = torch.stack(sums) / torch.tensor(count).clamp(min=1) if per_anchor else torch.stack(sums)
            total = triplet_total(given, form, distance, per_anchor=per_anchor)
            same(total.total, each.sum())
            (wanted,) = torch.autograd.grad(3 * each.sum(), given.rows, retain_graph=True)
            same(torch.autograd.grad(3 * total.total, given.rows)[0], wanted)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_second_derivatives_are_right(form: Form) -> None:
    given = batch("euclidean", 7)
    torch.autograd.gradgradcheck(lambda x: triplet_sums(given._replace(rows=x), form, "euclidean").sums, given.rows)
    torch.autograd.gradgradcheck(
        lambda x: triplet_total(given._replace(rows=x), form, "euclidean", per_anchor=True).total, given.rows
    )


def test_copies_and_ties_are_counted_as_a_loop_counts_them() -> None:
    """Distances that are equal to the last digit: on a grid, with a margin of its spacing."""
    grid = torch.tensor([0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 4.0], dtype=torch.float64).unsqueeze(1)
    ids = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
    given = Batch(grid, ids, torch.ones(8, dtype=torch.bool), 0, 8)
    for form in (Form("all", 1.0, False), Form("semihard", 1.0, False), Form("hard_negative_all_positive", 2.0, False)):
        sums, active, count = looped(given, form, "euclidean")
        found = triplet_sums(given, form, "euclidean")
        assert (found.sums.tolist(), found.active.tolist(), found.number.tolist()) == ([float(s) for s in sums], active, count)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33])
def test_the_search_counts_the_edges_that_a_value_has_reached(width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    edges = torch.randint(9, (4, width), generator=generator).double().sort(1).values
    edges[0, 0] = -torch.inf
    values = torch.randint(-1, 10, (4, 50), generator=generator).double()
    values[:, 0], values[:, 1] = torch.inf, -torch.inf
    wanted = (edges.unsqueeze(1) <= values.unsqueeze(2)).sum(2)
    assert torch.equal(passed(edges, values), wanted)


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operation makes."""

    seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for t in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(t, Tensor):
                self.seen = max(self.seen, t.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_nothing_is_larger_than_a_tile(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extremes, "_NUMBERS", 1)
    monkeypatch.setattr(extremes, "_ROWS", 4)
    given = batch("euclidean", 120)
    with Largest() as largest:
        triplets._triplets(
            given.rows.detach(), given.ids, given.valid, 0, 120, *form, "euclidean", None, False, True
        )  # what the op runs: a mode does not see inside of an op
    assert largest.seen <= 4 * 128 * 8


def test_a_nan_is_seen_in_sums_and_numbers() -> None:
    given = batch("euclidean")
    x = given.rows.detach().clone()
    x[int(given.valid.nonzero()[0]), 0] = torch.nan
    for form in FORMS:
        found = triplet_sums(given._replace(rows=x), form, "euclidean")
        assert found.sums.isnan().any(), form
        assert found.active[found.sums.isnan()].all(), form
