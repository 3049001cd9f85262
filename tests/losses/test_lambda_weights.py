"""Lambda weights against the definition of each metric: items really change places, and ties are really put in every order."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, permutations, product
from typing import Any

import pytest
import torch
from torch import Tensor

from losskit.losses.lambda_weights import (
    ARP,
    DeltaMAP,
    DeltaNDCG,
    DeltaPrecision,
    LabelDifference,
    LambdaWeight,
    NDCGLoss2,
    NDCGLoss2PlusPlus,
)
from losskit.ops.lambda_pairs import Lambda

Metric = Callable[[Sequence[float]], float]

LISTS = {
    "one item": ([0.3], [1.0]),
    "upside down": ([0.0, 1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 1.0, 0.0, 2.0]),
    "all scores equal": ([0.0] * 6, [0.0, 1.0, 2.0, 0.0, 1.0, 0.0]),
    "two ties": ([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 2.0, 0.0, 1.0]),
    "ties between single items": ([2.0, 0.5, 0.5, 0.5, -1.0, 0.5], [1.0, 0.0, 3.0, 1.0, 1.0, 0.0]),
    "zeros of both signs": ([0.0, -0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 2.0]),
    "no relevant item": ([1.0, 1.0, 0.0], [0.0, 0.0, 0.0]),
    "all grades equal": ([1.0, 0.0, 0.0], [2.0, 2.0, 2.0]),
    "nothing": ([], []),
}


def dcg(grades: Sequence[float], k: int | None = None, kind: str = "exponential") -> float:
    return sum((2**y - 1 if kind == "exponential" else y) / math.log2(2 + r) for r, y in enumerate(grades[:k]))


def ndcg(grades: Sequence[float], k: int | None = None, kind: str = "exponential") -> float:
    best = dcg(sorted(grades, reverse=True), k, kind)
    return dcg(grades, k, kind) / best if best else 0.0


def precision(grades: Sequence[float], k: int) -> float:
    return sum(y > 0 for y in grades[:k]) / k


def average_precision(grades: Sequence[float]) -> float:
    hits = [r for r, y in enumerate(grades, 1) if y > 0]
    return sum(n / r for n, r in enumerate(hits, 1)) / max(len(hits), 1)


def relevance_position(grades: Sequence[float]) -> float:
    total = sum(grades)
    return sum(y * r for r, y in enumerate(grades, 1)) / total if total else 0.0


def orders(scores: Sequence[float]) -> Iterator[list[int]]:
    """Every order of the items that the scores allow."""
    falling = sorted(range(len(scores)), key=lambda i: -scores[i])
    ties = [list(g) for _, g in groupby(falling, key=lambda i: scores[i])]
    for parts in product(*(permutations(t) for t in ties)):
        yield [i for part in parts for i in part]


def by_swapping(metric: Metric, scores: Sequence[float], grades: Sequence[float]) -> Tensor:
    """The mean over all orders of how much ``metric`` changes when items i and j change places, where y_i > y_j."""
    n, number = len(scores), 0
    change = torch.zeros(n, n, dtype=torch.float64)
    for order in orders(scores):
        number += 1
        before, where = metric([grades[i] for i in order]), {item: r for r, item in enumerate(order)}
        for i, j in product(range(n), repeat=2):
            if grades[i] > grades[j]:
                swapped = list(order)
                swapped[where[i]], swapped[where[j]] = j, i
                change[i, j] += abs(metric([grades[t] for t in swapped]) - before)
    return change / number


def matrix(lam: Lambda, scores: Tensor, grades: Tensor) -> Tensor:
    """The weights that the vectors of one list stand for, where y_i > y_j."""
    gain, ordered, swapped, tied, rank, apart = (t[0] if isinstance(t, Tensor) else None for t in lam[:6])
    assert gain is not None
    apart_scores = scores[:, None] - scores[None, :]
    place = torch.ones_like(apart_scores, dtype=torch.float64) if rank is None and ordered is None else torch.zeros(())
    if ordered is not None and swapped is not None and tied is not None:
        down, up = ordered[:, None] - ordered[None, :], swapped[None, :] - swapped[:, None]
        place = torch.where(apart_scores > 0, down, torch.where(apart_scores < 0, up, tied[:, None]))
    if rank is not None and apart is not None:
        d = torch.where(apart_scores == 0, apart[:, None], (rank[:, None] - rank[None, :]).abs())
        place = place + lam.mu * (1 / torch.log2(1 + d) - 1 / torch.log2(2 + d))
    pair = grades[:, None] > grades[None, :]
    return torch.where(pair, (gain[:, None] - gain[None, :]) * place, 0)


def weights(weight: LambdaWeight, scores: Sequence[float], grades: Sequence[float]) -> Tensor:
    s, y = torch.tensor([scores], dtype=torch.float64), torch.tensor([grades], dtype=torch.float64)
    return matrix(weight.vectors(s, y, torch.ones_like(s, dtype=torch.bool)), s[0], y[0])


def same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


METRICS: list[tuple[LambdaWeight, Metric]] = [
    (DeltaNDCG(), ndcg),
    (DeltaNDCG(k=3), lambda y: ndcg(y, 3)),
    (DeltaNDCG(gain="linear"), lambda y: ndcg(y, None, "linear")),
    (DeltaNDCG(k=2, normalize=False), lambda y: dcg(y, 2)),
    (DeltaPrecision(k=4), lambda y: precision(y, 4)),
    (DeltaMAP(), average_precision),
    (ARP(), relevance_position),
]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("weight", "metric"), METRICS, ids=lambda v: repr(v) if isinstance(v, LambdaWeight) else "")
def test_a_pair_counts_what_the_metric_changes_when_it_is_swapped_in_the_mean_of_all_orders_of_ties(
    weight: LambdaWeight, metric: Metric, name: str
) -> None:
    scores, grades = LISTS[name]
    wanted = by_swapping(metric, scores, grades)
    same(weights(weight, scores, grades), wanted)
    assert name != "upside down" or wanted.any()


@pytest.mark.parametrize(("weight", "metric"), METRICS, ids=lambda v: repr(v) if isinstance(v, LambdaWeight) else "")
def test_random_lists_full_of_ties_agree_with_their_swaps(weight: LambdaWeight, metric: Metric) -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (2, 3, 4, 5, 6, 7, 7):
        scores = torch.randint(0, 4, (n,), generator=generator).double().tolist()
        grades = torch.randint(0, 3, (n,), generator=generator).double().tolist()
        same(weights(weight, scores, grades), by_swapping(metric, scores, grades))


def test_label_difference_is_how_far_the_grades_are_apart() -> None:
    same(
        weights(LabelDifference(), [0.0, 5.0, 5.0], [-1.0, 3.0, 0.5]),
        torch.tensor([[0, 0, 0], [4, 0, 2.5], [1.5, 0, 0]], dtype=torch.float64),
    )


def lambda_loss(scores: Sequence[float], grades: Sequence[float], mu: float, rho: float) -> Tensor:
    """Wang 2018, equations of NDCG-Loss2 and 2++, for lists without ties in the scores."""
    falling = sorted(range(len(scores)), key=lambda i: -scores[i])
    rank = {item: r for r, item in enumerate(falling, 1)}
    best, n = dcg(sorted(grades, reverse=True)), len(scores)
    found = torch.zeros(n, n, dtype=torch.float64)
    for i, j in product(range(n), repeat=2):
        if grades[i] > grades[j]:
            d = abs(rank[i] - rank[j])
            delta = abs(1 / math.log2(1 + d) - 1 / math.log2(1 + d + 1))
            change = abs(1 / math.log2(1 + rank[i]) - 1 / math.log2(1 + rank[j]))
            found[i, j] = (2 ** grades[i] - 2 ** grades[j]) / best * (mu * delta + rho * change)
    return found


def test_ndcg_loss_2_counts_the_distance_of_two_places() -> None:
    scores, grades = [0.1, 2.0, -1.0, 0.7, 5.0], [1.0, 0.0, 3.0, 2.0, 1.0]
    same(weights(NDCGLoss2(), scores, grades), lambda_loss(scores, grades, 1, 0))
    same(weights(NDCGLoss2PlusPlus(), scores, grades), lambda_loss(scores, grades, 10, 1))
    same(weights(NDCGLoss2PlusPlus(mu=0.5), scores, grades), lambda_loss(scores, grades, 0.5, 1))
    same(weights(NDCGLoss2PlusPlus(mu=0), scores, grades), weights(DeltaNDCG(), scores, grades))


def test_tied_items_are_as_far_apart_as_their_places_in_the_mean() -> None:
    found = weights(NDCGLoss2(gain="linear", normalize=False), [1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 3.0])
    distance = (1 + 1 + 2) / 3  # of the places 1, 2, 3
    assert found[1, 0] == found[1, 2] == pytest.approx(1 / math.log2(1 + distance) - 1 / math.log2(2 + distance), rel=1e-14)
    apart = 4 - 2  # from the middle of the tie
    assert found[3, 0].item() == pytest.approx(3 * (1 / math.log2(1 + apart) - 1 / math.log2(2 + apart)), rel=1e-14)


def test_d10_neighbours_weigh_the_first_difference_of_discounts_not_the_second() -> None:
    """pytorchltr takes D_{d+1} - D_{d+2}: a pair of neighbours would weigh 1/log2(3) - 1/2."""
    found = weights(NDCGLoss2(normalize=False), [2.0, 1.0], [0.0, 1.0])
    assert found[1, 0].item() == pytest.approx(1 - 1 / math.log2(3), rel=1e-14)


def test_d11_discounts_divide_by_the_logarithm_of_the_rank() -> None:
    """ptranking inverts them twice: a pair would weigh log2(1 + r), the further down the more."""
    found = weights(DeltaNDCG(gain="linear", normalize=False), [4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 1.0])
    assert found[3, 0].item() == pytest.approx(1 - 1 / math.log2(5), rel=1e-14)
    assert found[3, 0] > found[3, 1] > found[3, 2]


@pytest.mark.parametrize("weight", [w for w, _ in METRICS] + [LabelDifference(), NDCGLoss2(), NDCGLoss2PlusPlus()], ids=repr)
def test_d23_weights_do_not_count_padding(weight: LambdaWeight) -> None:
    """Rax and TF-Ranking multiply by the length of the padded list."""
    scores, grades = [1.0, 3.0, 1.0, -2.0, 0.0], [1.0, 0.0, 0.0, 2.0, 1.0]
    bare = weights(weight, scores, grades)
    junk = [math.nan, math.inf, 9.0, -math.inf]
    for place in (0, 2, 4):
        s = torch.tensor([scores[:place] + junk + scores[place:]], dtype=torch.float64)
        y = torch.tensor([grades[:place] + junk + grades[place:]], dtype=torch.float64)
        valid = torch.ones_like(s, dtype=torch.bool)
        valid[0, place : place + len(junk)] = False
        keep = valid[0].nonzero()[:, 0]
        lam = weight.vectors(s, y, valid)
        assert all(not t[~valid].any() for t in lam if isinstance(t, Tensor)), "padding has a number"
        kept = Lambda(*(t[:, keep] if isinstance(t, Tensor) else t for t in lam))
        same(matrix(kept, s[0, keep], y[0, keep]), bare)
    assert bare.any()


def test_the_order_of_items_does_not_matter() -> None:
    scores, grades = LISTS["ties between single items"]
    order = [3, 5, 0, 2, 4, 1]
    for weight in (DeltaNDCG(k=3), DeltaPrecision(k=2), DeltaMAP(), ARP(), NDCGLoss2PlusPlus()):
        moved = weights(weight, [scores[i] for i in order], [grades[i] for i in order])
        torch.testing.assert_close(moved, weights(weight, scores, grades)[order][:, order], rtol=1e-14, atol=0)


@pytest.mark.parametrize("weight", [DeltaNDCG(), DeltaNDCG(k=2), NDCGLoss2(), NDCGLoss2PlusPlus()], ids=repr)
def test_labels_up_to_a_thousand_and_beyond_do_not_overflow(weight: LambdaWeight) -> None:
    found = weights(weight, [0.0, 1.0, 2.0], [1000.0, 999.0, 0.0])
    same(found, weights(weight, [0.0, 1.0, 2.0], [1000.0, 999.0, 1e-3]))  # 2^-1000 of the whole
    assert found.isfinite().all()
    assert found[0, 2] > 0 < found[1, 2]
    assert weights(weight, [0.0, 1.0], [5000.0, 1.0]).isfinite().all()


def test_the_gain_of_a_small_grade_keeps_its_digits() -> None:
    found = weights(DeltaNDCG(normalize=False), [0.0, 1.0], [1e-12, 0.0])
    assert found[0, 1].item() == pytest.approx(math.expm1(1e-12 * math.log(2)) * (1 - 1 / math.log2(3)), rel=1e-14, abs=0)


def test_a_weight_is_a_constant_of_the_gradient_and_leaves_its_arguments_alone() -> None:
    scores = torch.tensor([[1.0, 0.0, 2.0]], requires_grad=True)
    relevance, valid = torch.tensor([[1, 0, 2]]), torch.ones(1, 3, dtype=torch.bool)
    for weight in (LabelDifference(), NDCGLoss2PlusPlus(), DeltaMAP()):
        for tensor in weight.vectors(scores, relevance, valid):
            assert not isinstance(tensor, Tensor) or (not tensor.requires_grad and tensor.dtype == torch.float64)
    assert relevance.tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("weight", [DeltaNDCG(k=3), NDCGLoss2PlusPlus(), DeltaPrecision(k=2), DeltaMAP(), ARP()], ids=repr)
def test_vectors_compile_and_map(weight: LambdaWeight) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 4, (3, 6), generator=generator).double()
    relevance = torch.randint(0, 3, (3, 6), generator=generator).double()
    valid = torch.rand(3, 6, generator=generator) < 0.8
    wanted = [t for t in weight.vectors(scores, relevance, valid) if isinstance(t, Tensor)]

    def tensors(s: Tensor, y: Tensor, v: Tensor) -> list[Tensor]:
        return [t for t in weight.vectors(s, y, v) if isinstance(t, Tensor)]

    torch.compiler.reset()
    compiled = torch.compile(tensors, fullgraph=True, backend="aot_eager", dynamic=False)
    mapped = torch.func.vmap(lambda s, y, v: [t[0] for t in tensors(s[None], y[None], v[None])])
    for found in (compiled(scores, relevance, valid), mapped(scores, relevance, valid)):
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("weight", [DeltaNDCG(), NDCGLoss2(), NDCGLoss2PlusPlus(), ARP()], ids=repr)
def test_a_negative_grade_is_refused_where_a_gain_is_needed_and_nan_where_nobody_can_look(weight: LambdaWeight) -> None:
    with pytest.raises(ValueError, match=r'^"relevance" is -1, expected >= 0 for ' + type(weight).__name__):
        weights(weight, [0.0, 1.0], [1.0, -1.0])
    s, y = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([[1.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    gain = torch.func.vmap(lambda s, y: weight.vectors(s[None], y[None], torch.ones(1, 2, dtype=torch.bool)).gain[0])(s, y)
    assert gain[0].isnan().all()
    assert gain[1].isfinite().all()


def test_grades_below_zero_are_not_relevant_to_precision_and_map() -> None:
    for weight in (DeltaPrecision(k=2), DeltaMAP()):
        same(weights(weight, [2.0, 1.0, 0.0], [-1.0, 0.0, 1.0]), weights(weight, [2.0, 1.0, 0.0], [0.0, -1.0, 1.0]))


def test_a_weight_is_its_options() -> None:
    assert DeltaNDCG(k=10) == DeltaNDCG(k=10) != DeltaNDCG(k=5)
    assert len({DeltaMAP(), DeltaMAP(), ARP(), NDCGLoss2()}) == 3
    assert repr(DeltaNDCG(k=10)) == "DeltaNDCG(k=10, gain='exponential', normalize=True)"
    for weight in (DeltaNDCG(k=3), NDCGLoss2PlusPlus(mu=2.0), DeltaPrecision(k=1), DeltaMAP(), ARP(), LabelDifference()):
        assert pickle.loads(pickle.dumps(weight)) == weight


def test_wrong_options_are_refused() -> None:
    wrong: list[tuple[Callable[..., LambdaWeight], dict[str, Any], type[Exception]]] = [
        (DeltaNDCG, {"k": 0}, ValueError),
        (DeltaNDCG, {"k": 2.0}, TypeError),
        (NDCGLoss2, {"gain": "log"}, ValueError),
        (NDCGLoss2PlusPlus, {"mu": -1.0}, ValueError),
        (NDCGLoss2PlusPlus, {"mu": math.nan}, ValueError),
        (DeltaPrecision, {"k": True}, TypeError),
    ]
    for weight, options, error in wrong:
        with pytest.raises(error, match=f'^"{next(iter(options))}" must be '):
            weight(**options)
    with pytest.raises(NotImplementedError, match="LambdaWeight is no weight"):
        LambdaWeight().vectors(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))
