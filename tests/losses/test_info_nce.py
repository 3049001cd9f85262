"""InfoNCE against its definition, pair by pair, under every option; what is not a negative; degenerate batches; arguments."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import losskit
from contrast_loops import agree, draw, info_nce, labels, number
from harness import refused
from losskit import InfoNCELoss, info_nce_loss
from losskit.core.check import ShapeError

N, D = 6, 4
GUIDE: dict[str, Any] = {"guide_query": draw(N, 3, seed=4).detach(), "guide_key": draw(N, 3, seed=5).detach()}
IDS = {"query_ids": torch.tensor([0, -1, 2, -1, 0, 3]), "key_ids": torch.tensor([0, 1, 2, 3, 0, 1])}
SOME = torch.tensor([True, True, False, True, False, True])


def towers() -> tuple[Tensor, Tensor]:
    return draw(N, D, seed=1), draw(N, D, seed=2)


@pytest.mark.parametrize("directions", ["one", "both", "joint"])
@pytest.mark.parametrize("known", [(), ("query_ids",), ("key_ids",), ("query_ids", "key_ids")])
@pytest.mark.parametrize("pool", [False, True])
def test_every_combination_is_the_loop(directions: str, known: tuple[str, ...], pool: bool) -> None:
    for other, above, guided in itertools.product((False, True), (None, 0.1), (False, True)):
        decoupled, margin, mask = other, 0.2 * other, SOME if other else None
        options: dict[str, Any] = {name: IDS[name] for name in known}
        options |= {"directions": directions, "decoupled": decoupled, "margin": margin, "mask_above": above, "mask": mask}
        if pool:
            options |= {"negatives": draw(3, D, seed=3)}
            options |= {"negative_ids": labels(3, seed=5)} if known else {}
        if guided:
            options |= GUIDE | ({"guide_negatives": draw(3, 3, seed=6).detach()} if pool else {})
        agree(info_nce_loss, info_nce, *towers(), temperature=number(0.3), normalize=margin == 0, **options)


@pytest.mark.parametrize("above", [None, -0.1])
@pytest.mark.parametrize("mask", [None, SOME])
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_many_positives_are_the_loop(above: float | None, mask: Tensor | None, margin: float) -> None:
    options: dict[str, Any] = {"query_ids": IDS["query_ids"], "multi_positive": True, "margin": margin, "mask_above": above}
    pool: dict[str, Any] = {"negatives": draw(3, D, seed=3), "negative_ids": labels(3, seed=5)}
    more: dict[str, Any]
    for more in ({}, pool):
        agree(info_nce_loss, info_nce, *towers(), temperature=number(0.3), mask=mask, **options, **more)


def test_ids_of_negatives_are_in_the_numbering_of_query_ids_where_there_are_no_key_ids() -> None:
    query, key = towers()
    pool, labels_of_pool = draw(3, D, seed=3).detach(), torch.tensor([0, 1, 7])
    classes = torch.tensor([0, 1, 0, 1, 2, 2])
    with_query_ids = info_nce_loss(query, key, negatives=pool, query_ids=classes, negative_ids=labels_of_pool)
    with_both = info_nce_loss(query, key, negatives=pool, query_ids=classes, key_ids=classes, negative_ids=labels_of_pool)
    torch.testing.assert_close(with_query_ids, with_both)
    assert (with_query_ids - info_nce_loss(query, key, negatives=pool, query_ids=classes)).abs() > 1e-3


@pytest.mark.parametrize("options", [{}, {"negatives": torch.ones(2, D)}])
def test_ids_of_negatives_that_nothing_is_compared_with_are_refused(options: dict[str, Any]) -> None:
    query, key = towers()
    said = refused(ValueError, lambda: info_nce_loss(query, key, negative_ids=torch.tensor([0, 1]), **options))
    assert '"key_ids" or "query_ids"' in said


def test_duplicates_are_pushed_apart_unless_ids_say_that_they_are_the_same() -> None:
    key = torch.eye(4).repeat(2, 1)  # rows i and i + 4 are one document
    query = (key + 0.1).requires_grad_()
    key = (key + 0.01 * torch.arange(4)).requires_grad_()
    ids = torch.arange(4).repeat(2)
    blind, told = info_nce_loss(query, key, reduction="none"), info_nce_loss(query, key, key_ids=ids, reduction="none")
    assert blind[0] > math.log(2)  # the copy takes half of what the own key could have
    assert told[0] < 0.01
    pushed, kept = (torch.autograd.grad(value[0], key)[0][4] for value in (blind, told))
    assert (pushed * query[0]).sum() > 0  # a step against the gradient leads away from the query that it answers
    assert not kept.any()


def test_a_stale_copy_in_a_queue_is_no_negative() -> None:
    query = torch.eye(3)
    held, ids = torch.cat([query, -query]), torch.tensor([7, 8, 9, 7, 8, 9])
    value = info_nce_loss(query, query, negatives=held, key_ids=torch.tensor([7, 8, 9]), negative_ids=ids, temperature=0.05)
    assert value < 1e-6
    assert info_nce_loss(query, query, negatives=held, temperature=0.05) > 0.69


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_copy_of_the_own_key_is_not_above_it_however_its_product_is_rounded(dtype: torch.dtype) -> None:
    key = draw(32, 48).detach().to(dtype).repeat(2, 1)
    query = draw(64, 48, seed=1).detach().to(dtype)
    limited = info_nce_loss(query, key, mask_above=0.0, temperature=1.0, reduction="none")
    q, k = F.normalize(query.double(), dim=1), F.normalize(key.double(), dim=1)
    scores = q @ k.T
    seen = scores <= scores.diagonal()[:, None] + 1e-9
    expected = torch.logsumexp(torch.where(seen, scores, -torch.inf), 1) - scores.diagonal()
    torch.testing.assert_close(limited.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("other", [torch.float64, torch.bfloat16])
def test_vectors_may_come_in_different_dtypes(other: torch.dtype) -> None:
    query, key, pool = (draw(N, D, seed=s).detach().float() for s in range(3))
    guide = (query.flip(0), key.flip(0), pool.flip(0))

    def value(*t: Tensor) -> Tensor:
        return info_nce_loss(t[0], t[1], negatives=t[2], guide_query=t[3], guide_key=t[4], guide_negatives=t[5])

    expected = value(query, key, pool, *guide)
    for i in range(6):
        given = [query, key, pool, *guide]
        given[i] = given[i].to(other)
        torch.testing.assert_close(value(*given).float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("options", "candidates"),
    [({}, N), ({"directions": "both"}, N), ({"directions": "joint"}, 4 * N - 3), ({"decoupled": True}, N - 1)],
)
@pytest.mark.parametrize("rows", [torch.zeros(N, D), torch.ones(N, D)])
def test_collapsed_rows_guess_among_all_candidates(options: dict[str, Any], candidates: int, rows: Tensor) -> None:
    rows = rows.clone().requires_grad_()
    value = info_nce_loss(rows, rows, **options)
    torch.testing.assert_close(value, torch.tensor(math.log(candidates)))
    assert torch.autograd.grad(value, rows)[0].isfinite().all()


@pytest.mark.parametrize("directions", ["one", "both", "joint"])
@pytest.mark.parametrize("size", [0, 1])
def test_a_query_without_negatives_is_0_with_a_graph(directions: str, size: int) -> None:
    query = torch.randn(size, D, requires_grad=True)
    value = info_nce_loss(query, torch.randn(size, D), directions=directions)
    assert value.item() == 0
    assert not torch.autograd.grad(value, query)[0].any()


def test_perfect_pairs_leave_nothing_to_learn_when_everything_is_compared_with_everything() -> None:
    rows = torch.eye(8)
    assert info_nce_loss(rows, rows, directions="joint", temperature=0.02) < 1e-14  # no floor of ln 2


@pytest.mark.parametrize("directions", ["one", "both", "joint"])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_long_vectors_that_are_not_normalized_stay_finite(directions: str, size: float) -> None:
    query, key = (t.detach().float().mul(size).requires_grad_() for t in towers())
    value = info_nce_loss(query, key, directions=directions, normalize=False)
    wide = info_nce_loss(query.double(), key.double(), directions=directions, normalize=False)
    torch.testing.assert_close(value.double(), wide, rtol=1e-5, atol=1e-5)
    assert all(g.isfinite().all() and g.any() for g in torch.autograd.grad(value, (query, key)))


@pytest.mark.parametrize(("temperature", "bar"), [(0.07, 1e-6), (0.01, 1e-5)])
@pytest.mark.parametrize("options", [{}, {"directions": "both"}, {"directions": "joint"}, {"decoupled": True}])
def test_single_precision_has_the_digits_of_its_products(temperature: float, bar: float, options: dict[str, Any]) -> None:
    base = draw(512, 128).detach()
    given = [(base + 0.7 * draw(512, 128, seed=s).detach()).float() for s in (1, 2)]
    found = []
    for dtype in (torch.float32, torch.float64):
        leaves = [t.to(dtype).requires_grad_() for t in given]
        value = info_nce_loss(*leaves, temperature=temperature, **options)
        found.append((value.detach(), *torch.autograd.grad(value, leaves)))
    for single, truth in zip(*found, strict=True):
        assert (single.double() - truth).norm() <= bar * truth.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_better_than_scores_in_half_precision(dtype: torch.dtype) -> None:
    query, key = (F.normalize(draw(256, 64, seed=s).detach(), dim=1).to(dtype) for s in (1, 2))
    truth = F.cross_entropy(query.double() @ key.double().T / 0.05, torch.arange(256))
    plain = F.cross_entropy((query @ key.T).float() / 0.05, torch.arange(256))
    assert (info_nce_loss(query, key, temperature=0.05, normalize=False) - truth).abs() <= (plain - truth).abs()


def test_a_temperature_in_half_precision_is_not_rounded_again() -> None:
    query, key = (t.detach().float() for t in towers())
    half = torch.tensor(0.03, dtype=torch.float16)
    torch.testing.assert_close(info_nce_loss(query, key, temperature=half), info_nce_loss(query, key, temperature=float(half)))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"temperature": 0}, ValueError, '"temperature" is 0, expected a number'),
        ({"temperature": torch.tensor(-1.0)}, ValueError, "expected"),
        ({"temperature": math.nan}, ValueError, "nan"),
        ({"temperature": torch.tensor([0.1])}, ShapeError, "squeeze"),
        ({"temperature": None}, TypeError, "number"),
        ({"directions": "two"}, ValueError, "'one' or 'both' or 'joint'"),
        ({"negatives": torch.ones(3, 7)}, ShapeError, "(3, 4)"),
        ({"query_ids": torch.rand(N)}, TypeError, "integers"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, ShapeError, "(6,)"),
        ({"guide_query": torch.ones(N, 2)}, ValueError, '"guide_key"'),
        ({"multi_positive": True}, ValueError, '"query_ids"'),
        ({"reduction": "avg"}, ValueError, "'none' or 'mean' or 'sum'"),
        ({"margin": -0.1}, ValueError, '"margin"'),
    ],
)
def test_a_wrong_argument_is_named(options: dict[str, Any], error: type[Exception], words: str) -> None:
    query, key = towers()
    assert words in refused(error, lambda: info_nce_loss(query, key, **options))


def test_a_module_learns_its_temperature_and_keeps_it() -> None:
    module = InfoNCELoss(temperature=nn.Parameter(torch.tensor(0.5)))
    query, key = (t.detach().float() for t in towers())
    module(query, key).backward()
    (parameter,) = module.parameters()
    assert parameter.grad is not None
    assert parameter.grad.abs() > 0
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert float(parameter.detach()) != 0.5
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert isinstance(again.temperature, nn.Parameter)
        torch.testing.assert_close(again(query, key), module(query, key))
    fresh = InfoNCELoss(temperature=nn.Parameter(torch.tensor(1.0)))
    fresh.load_state_dict(module.state_dict())
    torch.testing.assert_close(fresh(query, key), module(query, key))


def test_parts_of_micro_batches_compare_within_each() -> None:
    query, key = (t.detach() for t in towers())
    halves = [losskit.parts(info_nce_loss, query[at], key[at]) for at in (slice(0, 3), slice(3, 6))]
    joined = sum(p.total for p in halves) / sum(p.weight for p in halves)
    apart = torch.stack([info_nce_loss(query[at], key[at]) for at in (slice(0, 3), slice(3, 6))]).mean()
    torch.testing.assert_close(joined, apart)
    assert (joined - info_nce_loss(query, key)).abs() > 1e-2


@pytest.mark.parametrize("value", [0.2, torch.tensor(0.2)])
def test_a_learned_temperature_is_not_replaced_behind_an_optimizer(value: object) -> None:
    module = losskit.InfoNCELoss()
    module.temperature = torch.nn.Parameter(torch.tensor(0.1))
    with pytest.raises(TypeError, match="as parameter 'temperature'"):
        module.temperature = value
    assert [name for name, _ in module.named_parameters()] == ["temperature"]
