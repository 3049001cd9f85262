"""Matryoshka: the weighted sum of a loss over prefixes, whichever loss and however it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

import losskit
import losskit.losses.matryoshka as source
from cases import Case, draw, every_variant
from embedding_ranks import Found, part, ranks
from harness import same
from losskit.core.card import CATALOGUE
from losskit.core.domain import Embeddings
from losskit.losses.matryoshka import Matryoshka, matryoshka

DIMS, WEIGHTS = (2, 3, 7), (1.0, 0.5, 2.0)
SOFTMAX: tuple[tuple[Any, dict[str, Any]], ...] = (
    (losskit.info_nce_loss, {}),
    (losskit.info_nce_loss, {"directions": "both", "decoupled": True, "query_ids": torch.arange(9) // 2}),
    (losskit.info_nce_loss, {"normalize": False, "mask": torch.arange(9) != 4}),
    (losskit.clip_loss, {"key_ids": torch.arange(9) % 7}),
    (losskit.multiple_negatives_ranking_loss, {"directions": "both"}),
)


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


def one_by_one(loss: Callable[..., Tensor], query: Tensor, key: Tensor, **options: Any) -> Tensor:
    """What the module stands for, written out."""
    return sum((w * loss(query[..., :d], key[..., :d], **options) for d, w in zip(DIMS, WEIGHTS, strict=True)), torch.tensor(0.0))


def scale_of(loss: Any) -> dict[str, Tensor]:
    name, value = ("logit_scale", 6.0) if loss is losskit.clip_loss else ("temperature", 0.2)
    return {name: torch.tensor(value, dtype=torch.float64, requires_grad=True)}


def cards_of_embeddings() -> list[tuple[str, Mapping[str, Any]]]:
    found = every_variant()
    return [(n, v) for n, v in found if any(isinstance(CATALOGUE[n].sample[t], Embeddings) for t in CATALOGUE[n].tensors)]


def prefix(case: Case, dim: int) -> Case:
    """The case with the first features of all that has three, as the domains of the tests draw them."""
    cut = {n: t[..., :dim] for n, t in case.everything().items() if t.is_floating_point() and t.ndim and t.shape[-1] == 3}
    return case.replaced(**{n: t for n, t in cut.items() if "guide" not in n})


@pytest.mark.parametrize(("name", "variant"), cards_of_embeddings(), ids=lambda v: v if isinstance(v, str) else "")
def test_every_loss_of_embeddings_is_summed_over_its_prefixes(name: str, variant: Mapping[str, Any]) -> None:
    case, leaves = draw(CATALOGUE[name], variant).with_grad()
    value = matryoshka(CATALOGUE[name].function, [2, 3], [0.5, 2.0])(*case.tensors.values(), **case.options).sum()
    wanted = (0.5 * prefix(case, 2).value() + 2.0 * prefix(case, 3).value()).sum()
    same(value, wanted, 1e-12)
    got, right = (torch.autograd.grad(v, leaves, allow_unused=True, materialize_grads=True) for v in (value, wanted))
    assert any(bool(g.any()) for g in right)
    for a, b in zip(got, right, strict=True):
        same(a, b, 1e-12)


@pytest.mark.parametrize(("loss", "options"), SOFTMAX)
@pytest.mark.parametrize("how", [{}, {"reduction": "sum"}, {"reduction": "none"}, {"normalizer": 5.0}])
def test_one_pass_over_the_features_is_the_sum_over_prefixes(
    loss: Any, options: dict[str, Any], how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Matryoshka, "_of_prefix", None)  # no prefix by itself
    query, key, scale = rows(9, 8), rows(9, 8, seed=1), scale_of(loss)
    value = matryoshka(loss, DIMS, WEIGHTS)(query, key, **scale, **options, **how)
    wanted = one_by_one(loss, query, key, **scale, **options, **how)
    same(value, wanted, 1e-12)
    leaves = [query, key, *scale.values()]
    got, right = (torch.autograd.grad(v.square().sum(), leaves) for v in (value, wanted))
    for a, b in zip(got, right, strict=True):
        assert b.any()
        same(a, b, 1e-12)


@pytest.mark.parametrize("loss", [losskit.clip_loss, losskit.info_nce_loss])
def test_derivatives_are_those_of_differences_the_second_ones_too(loss: Any) -> None:
    (scale,) = scale_of(loss).items()

    def value(query: Tensor, key: Tensor, factor: Tensor) -> Tensor:
        return matryoshka(loss, [2, 4])(query, key, **{scale[0]: factor})

    given = rows(4, 4), rows(4, 4, seed=1), scale[1]
    torch.autograd.gradcheck(value, given)
    torch.autograd.gradgradcheck(value, given)


def test_it_composes_with_compile_grad_and_vmap() -> None:
    loss, query, key = matryoshka(losskit.clip_loss, DIMS), rows(2, 5, 8), rows(2, 5, 8, seed=1)

    def slope(q: Tensor, k: Tensor) -> Tensor:
        found: Tensor = torch.func.grad(loss)(q, k)
        return found

    pairs = list(zip(query, key, strict=True))
    right = torch.stack([torch.autograd.grad(loss(q, k), q)[0] for q, k in pairs])
    assert right.any()
    same(slope(query[0].detach(), key[0].detach()), right[0], 1e-12)
    same(torch.vmap(slope)(query.detach(), key.detach()), right, 1e-12)
    leaf, compiled = query[0].detach().requires_grad_(), torch.compile(loss, fullgraph=True)
    same(torch.autograd.grad(compiled(leaf, key[0].detach()), leaf)[0], right[0], 1e-12)


@pytest.mark.parametrize("loss", [losskit.clip_loss, losskit.nt_xent_loss])
def test_parts_of_a_batch_add_up_to_its_mean(loss: Any) -> None:
    whole, query, key, mask = matryoshka(loss, DIMS, WEIGHTS), rows(9, 8), rows(9, 8, seed=1), torch.arange(9) != 4
    total, weight = losskit.parts(whole, query, key, mask=mask)
    assert weight == 8
    same(total / weight, whole(query, key, mask=mask), 1e-12)


def test_parts_are_right_where_each_prefix_counts_other_triplets() -> None:
    loss = losskit.BatchTripletLoss(average="active", margin=0.1)
    labels = torch.arange(12) % 3
    apart = torch.cat([rows(12, 3), 9.0 * torch.eye(3)[labels], rows(12, 2)], 1)  # no triplet of the longest prefix is active
    for input in (rows(12, 8), apart):
        counts = {int(losskit.parts(loss, input[:, :d], labels).weight) for d in DIMS}
        assert len(counts) > 1
        total, weight = losskit.parts(matryoshka(loss, DIMS, WEIGHTS), input, labels)
        same(total / weight, sum(w * loss(input[:, :d], labels) for d, w in zip(DIMS, WEIGHTS, strict=True)), 1e-12)


def test_without_a_direction_it_is_as_many_times_chance_as_there_are_prefixes() -> None:
    same(matryoshka(losskit.clip_loss, [2, 4, 8])(torch.zeros(5, 8), torch.zeros(5, 8)), torch.tensor(3 * math.log(5)), 1e-6)


def test_a_masked_row_may_be_nan() -> None:
    query, key, mask = rows(6, 8), rows(6, 8, seed=1), torch.arange(6) != 2
    loss, bad = matryoshka(losskit.info_nce_loss, DIMS), torch.where(mask[:, None], query.detach(), math.nan).requires_grad_()
    (slope,) = torch.autograd.grad(loss(bad, key, mask=mask), bad)
    same(slope, torch.autograd.grad(loss(query, key, mask=mask), query)[0], 1e-12)
    assert slope.any()
    assert not slope[2].any()


@pytest.mark.parametrize("sizes", [(1e-30, 1.0), (1e-8, 1.0), (1e-8, 1e15), (1e18, 1.0), (1e25, 1.0)])
@pytest.mark.parametrize("temperature", [0.01, 0.05])
def test_features_of_any_size_are_finite_and_those_of_the_loss_itself(sizes: tuple[float, float], temperature: float) -> None:
    query, key = (rows(6, 8, seed=s, dtype=torch.float32).detach() for s in (0, 1))
    query *= torch.tensor(sizes).repeat_interleave(torch.tensor([2, 6]))
    query[1, :3] = key[2, :2] = 0
    query, key = query.requires_grad_(), key.requires_grad_()
    value = matryoshka(losskit.info_nce_loss, DIMS, WEIGHTS)(query, key, temperature=temperature)
    wanted = one_by_one(losskit.info_nce_loss, query, key, temperature=temperature)
    got, right = (torch.autograd.grad(v, [query, key]) for v in (value, wanted))
    assert value.isfinite()
    same(value, wanted, 1e-5)
    for a, b in zip(got, right, strict=True):
        assert a.isfinite().all()
        assert (a - b).norm() <= 2e-4 * b.norm()


def test_half_precision_is_computed_in_float32() -> None:
    query, key = (rows(6, 8, seed=s).detach().to(torch.bfloat16) for s in (0, 1))
    value = matryoshka(losskit.clip_loss, DIMS)(query, key)
    assert value.dtype == torch.float32
    same(value, matryoshka(losskit.clip_loss, DIMS)(query.double(), key.double()), 1e-5)


@pytest.mark.parametrize("n", [0, 1])
def test_a_batch_of_none_and_of_one_is_zero_with_a_graph(n: int) -> None:
    query = rows(n, 8)
    value = matryoshka(losskit.clip_loss, DIMS)(query, rows(n, 8, seed=1))
    assert value == 0 == torch.autograd.grad(value, query)[0].abs().sum()


def test_features_beyond_the_last_prefix_learn_nothing() -> None:
    query = rows(6, 8)
    (slope,) = torch.autograd.grad(matryoshka(losskit.clip_loss, [2, 5])(query, rows(6, 8, seed=1)), query)
    assert slope[:, :5].abs().min() > 0
    assert not slope[:, 5:].any()


def test_leading_axes_come_back_without_a_reduction() -> None:
    assert matryoshka(losskit.clip_loss, [2, 5])(rows(2, 3, 8), rows(2, 3, 8, seed=1), reduction="none").shape == (2, 3)


def on_ranks(rank: int, world: int) -> Found:
    """The loss and its gradients on a rank that has some of eight rows, the last rank none."""
    share = (5, 3, 0)[:world] if world > 1 else (8,)
    here, learned = part(share, rank), torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    encoder = torch.nn.Parameter(torch.eye(8, dtype=torch.float64) + 0.1)
    query, key, ids = rows(8, 8).detach()[here], rows(8, 8, seed=1).detach()[here], torch.tensor([0, 1, 2, 3, 4, 0, 1, 7])[here]
    group = dist.group.WORLD if dist.is_initialized() else None
    found: Found = {}
    for name, loss in (("one pass", losskit.info_nce_loss), ("each", losskit.nt_xent_loss)):
        options: dict[str, Any] = {"query_ids": ids, "directions": "both"} if name == "one pass" else {"ids": ids}
        whole = matryoshka(loss, DIMS, WEIGHTS)
        value = whole(query @ encoder, key @ encoder, temperature=learned, group=group, **options)
        found[name] = [value.detach(), *torch.autograd.grad(value, [encoder, learned])]
    return found


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("world", [2, 3])
def test_on_ranks_the_mean_of_gradients_is_that_of_one_process(world: int, tmp_path: Path) -> None:
    alone, found = on_ranks(0, 1), ranks(on_ranks, world, tmp_path)
    for name, (value, *slopes) in alone.items():
        for each in found:
            same(each[name][0], value, 1e-12)
        for at, slope in enumerate(slopes, start=1):
            assert slope.any()
            same(torch.stack([each[name][at] for each in found]).mean(0), slope, 1e-12)


def test_what_needs_more_than_a_softmax_goes_prefix_by_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_in_one_pass", None)
    query, key = rows(6, 8), rows(6, 8, seed=1)
    for options in ({"margin": 0.1}, {"directions": "joint"}, {"negatives": rows(3, 8, seed=2)}, {"mask_above": 0.1}):
        value = matryoshka(losskit.info_nce_loss, [8])(query, key, **options)
        same(value, losskit.info_nce_loss(query, key, **options), 1e-12)
