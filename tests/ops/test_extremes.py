"""Farthest and nearest rows of the same thing and of others: held against loops, in tiles of any size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from losskit.ops import extremes as op
from losskit.ops.distances import DISTANCES, Distance
from losskit.ops.extremes import Batch, Extreme, extremes
from losskit.ops.unit import unit

KINDS: tuple[Extreme, ...] = ("farthest_same", "nearest_same", "nearest_other")


def batch(count: int = 23, things: int = 5, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = unit(torch.randn(count, 4, generator=generator, dtype=torch.float64))
    ids = torch.randint(-2, things - 2, (count,), generator=generator)
    return Batch(x, ids, torch.rand(count, generator=generator) < 0.8, 0, count)


def looked_up(batch: Batch, distance: Distance, kind: Extreme) -> list[int]:
    found = []
    for a in range(batch.start, batch.start + batch.anchors):
        same = kind != "nearest_other"
        others = [
            j for j in range(len(batch.rows))
            if batch.valid[a] and batch.valid[j] and j != a and (batch.ids[j] == batch.ids[a]) == same
        ]  # fmt: skip
        far = (max if kind == "farthest_same" else min)(others, key=lambda j: far_apart(batch.rows, a, j, distance), default=-1)
        found.append(far)
    return found


def far_apart(x: Tensor, i: int, j: int, distance: Distance) -> float:
    return float(1 - x[i] @ x[j] if distance == "cosine" else (x[i] - x[j]).norm())


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("numbers", [1, 64, 1 << 20])
def test_extremes_are_those_of_a_loop_in_tiles_of_any_size(
    distance: Distance, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(op, "_NUMBERS", numbers)
    monkeypatch.setattr(op, "_ROWS", 1)
    for seed in range(3):
        for given in (batch(seed=seed), batch(seed=seed)._replace(start=6, anchors=9), batch(things=23, seed=seed)):
            for kind, found in zip(KINDS, extremes(given, distance, *KINDS), strict=True):
                assert found.tolist() == looked_up(given, distance, kind), kind


def test_an_order_of_kinds_is_kept_and_one_alone_is_the_same() -> None:
    together = extremes(batch(), "euclidean", "nearest_other", "farthest_same")
    alone = [extremes(batch(), "euclidean", kind)[0] for kind in ("nearest_other", "farthest_same")]
    assert [t.tolist() for t in together] == [t.tolist() for t in alone]
    assert together[0].tolist() != together[1].tolist()


def test_who_has_nobody_gets_minus_one() -> None:
    x = torch.eye(4, dtype=torch.float64)
    everyone = torch.ones(4, dtype=torch.bool)
    distinct = Batch(x, torch.arange(4), everyone, 0, 4)
    assert extremes(distinct, "euclidean", "farthest_same")[0].tolist() == [-1] * 4
    assert -1 not in extremes(distinct, "euclidean", "nearest_other")[0]
    alike = Batch(x, torch.zeros(4, dtype=torch.int64), everyone, 0, 4)
    assert extremes(alike, "euclidean", "nearest_other")[0].tolist() == [-1] * 4
    assert extremes(Batch(x[:0], everyone[:0].long(), everyone[:0], 0, 0), "euclidean", *KINDS)[0].shape == (0,)


def test_the_nearest_of_two_near_rows_is_told_from_their_difference() -> None:
    x = torch.ones(3, 8, dtype=torch.float64)
    x[1, 0] += 3e-11  # a product of float64 sees 1e-8
    x[2, 0] += 2e-11
    x = torch.cat([x, -x])
    given = Batch(x, torch.arange(6), torch.ones(6, dtype=torch.bool), 0, 6)
    assert extremes(given, "euclidean", "nearest_other")[0].tolist() == [2, 2, 1, 5, 5, 4]


def test_a_row_that_is_not_valid_may_be_nan() -> None:
    given = batch()
    clean = extremes(given, "euclidean", *KINDS)
    spoiled = given._replace(rows=torch.where(given.valid.unsqueeze(1), given.rows, torch.nan))
    assert not given.valid.all()
    assert [t.tolist() for t in extremes(spoiled, "euclidean", *KINDS)] == [t.tolist() for t in clean]
