"""Pairs of a list by tiles: against a double loop, whatever the tiles, and only where there are pairs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from list_pair_loops import FORMS, LAMBDAS, drawn, looped, widened
from torch import Tensor

from losskit.ops import list_tiles
from losskit.ops.lambda_pairs import Lambda
from losskit.ops.list_tile_forms import Form, Room
from losskit.ops.list_tiles import Call, swept


def agree(call: Call, tolerance: float = 1e-12) -> None:
    value, gradient = looped(widened(call))
    found = swept(call)
    assert found.value.dtype == torch.float64
    assert found.gradient.dtype == call.scores.dtype
    torch.testing.assert_close(found.value, value, rtol=tolerance, atol=tolerance)
    scale = float(gradient.abs().max()) if gradient.numel() else 0.0
    torch.testing.assert_close(found.gradient.double(), gradient, rtol=0, atol=tolerance * (1 + scale))


def whole(scores: Tensor, grades: Tensor, form: Form = "logistic", **options: Any) -> Call:
    """Lists all of whose items are there."""
    return Call(scores, grades.double(), torch.ones_like(scores, dtype=torch.bool), None, form, **options)


def small_tiles(monkeypatch: pytest.MonkeyPatch, pairs: int, width: int) -> None:
    monkeypatch.setattr(list_tiles, "_PAIRS", pairs)
    monkeypatch.setattr(list_tiles, "_WIDTH", width)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_every_form_is_its_double_loop(form: Form, size: int) -> None:
    for options in ({}, {"weighted": True}, {"half": True, "weighted": True}, {"topk": 3}, {"topk": 3, "half": True}):
        agree(drawn(3, size, form, **options))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lam", LAMBDAS)
def test_every_lambda_is_its_double_loop(form: Form, lam: str) -> None:
    for options in ({}, {"weighted": True, "topk": 2}):
        agree(drawn(2, 23, form, lam=lam, **options))


def test_scores_without_a_tie_leave_out_what_is_said_of_ties() -> None:
    for lam in LAMBDAS:
        agree(drawn(2, 12, lam=lam, ties=False))


@pytest.mark.parametrize(("pairs", "width"), [(24, 7), (64, 7), (200, 4096), (9, 3)])
@pytest.mark.parametrize("options", [{}, {"half": True}, {"topk": 4, "half": True}, {"lam": "both"}])
def test_tiles_of_any_size(monkeypatch: pytest.MonkeyPatch, pairs: int, width: int, options: dict[str, Any]) -> None:
    small_tiles(monkeypatch, pairs, width)
    for grades in (2, 5, 1000):
        agree(drawn(3, 17, grades=grades, **options))


@pytest.mark.parametrize("form", ["logistic", "soft_zero_one", "hinge"])
@pytest.mark.parametrize("spread", [1e-30, 1e-4, 30.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_far_apart(form: Form, spread: float, dtype: torch.dtype) -> None:
    """Beyond 80 in float32 an exponential is not a product of two."""
    for options in ({}, {"half": True}, {"lam": "place"}):
        call = drawn(2, 12, form, spread=spread, **options)
        agree(call._replace(scores=call.scores.to(dtype)), 1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("offset", [1.7e9, -1.7e9])
def test_gains_and_grades_with_a_large_offset_keep_their_differences(offset: float) -> None:
    for lam in LAMBDAS:
        call = drawn(2, 12, lam=lam)
        assert call.lam is not None
        agree(call._replace(scores=call.scores.float(), lam=call.lam._replace(gain=call.lam.gain + offset)), 1e-6)
    for form in FORMS:
        call = drawn(2, 12, form)
        agree(call._replace(scores=call.scores.float(), relevance=call.relevance + offset), 1e-6)


def test_small_gains_keep_their_digits_beside_a_large_one() -> None:
    """In the middle between 0 and 2^40 float32 has no 1; the item of the large gain is far ahead, and adds nothing."""
    call = whole(torch.tensor([[0.5, 0.25, 1e4]]), torch.tensor([[1, 0, 2]]))
    found = swept(call._replace(lam=Lambda(torch.tensor([[1.0, 0.0, 2.0**40]]).double())))
    assert found.value.item() == pytest.approx(math.log1p(math.exp(-0.25)), rel=1e-6)
    assert found.gradient[0].tolist() == pytest.approx([-1 / (1 + math.exp(0.25)), 1 / (1 + math.exp(0.25)), 0], rel=1e-6)


def test_one_pair_far_on_the_wrong_side() -> None:
    for gap in (30.0, 1e4):
        call = Call(
            torch.tensor([[0.0, gap]]), torch.tensor([[1.0, 0.0]]).double(), torch.ones(1, 2, dtype=torch.bool), None, "logistic"
        )
        found = swept(call)
        assert found.value.item() == pytest.approx(gap, rel=1e-7)
        assert found.gradient.tolist() == [[-1.0, 1.0]]


def test_the_smallest_losses_keep_their_digits() -> None:
    """1 + e^-20 is 1 in float32, yet the sum of 600 losses is not 0."""
    scores = torch.cat([torch.full((1, 20), 20.0), torch.zeros(1, 30)], 1)
    call = whole(scores, scores)
    assert swept(call).value.item() == pytest.approx(600 * math.log1p(math.exp(-20)), rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_float32_is_within_a_millionth_of_float64(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, grades = torch.randn(1, 3000, generator=generator) + offset, torch.randint(5, (1, 3000), generator=generator)
    for form in ("logistic", "soft_zero_one", "exponential"):
        call = whole(scores, grades, form)
        found, exact = swept(call), swept(widened(call))
        assert found.value.item() == pytest.approx(exact.value.item(), rel=1e-7)
        error = (found.gradient - exact.gradient).abs().max() / exact.gradient.abs().max()
        assert error < 1e-6


def test_an_exponential_beyond_float32_is_infinite_where_it_is_so_itself() -> None:
    call = Call(
        torch.tensor([[0.0, 90.0, 91.0]]), torch.tensor([[0.0, 0.0, 1.0]]).double(), torch.ones(1, 3).bool(), None, "exponential"
    )
    assert swept(call).value.item() == pytest.approx(math.exp(-1) + math.exp(-91))
    assert swept(call._replace(relevance=1 - call.relevance)).value.item() == math.inf
    assert math.isfinite(swept(call._replace(valid=torch.tensor([[False, True, True]]))).value.item())


class Seen:
    """Stands in for what is added up, and counts the pairs that were looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs, self.lists = 0, 0
        inner = list_tiles._add

        def counted(call: Call, tile: Any, *rest: Any) -> None:
            high, wide = tile.i["depth"].shape, tile.j["depth"].shape
            self.pairs += high[0] * high[1] * wide[2]
            self.lists = max(self.lists, high[0])
            inner(call, tile, *rest)

        monkeypatch.setattr(list_tiles, "_add", counted)


def listed(grades: Tensor, **options: Any) -> Call:
    return whole(torch.randn(grades.shape, generator=torch.Generator().manual_seed(1)), grades, **options)


def test_binary_grades_cost_positives_times_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    swept(listed((torch.arange(2000) % 20 == 0).long().unsqueeze(0)))
    assert 100 * 1900 <= seen.pairs <= 1.35 * 100 * 1900


def test_real_grades_cost_half_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    swept(listed(torch.randperm(2000).unsqueeze(0)))
    assert seen.pairs <= 0.55 * 2000**2


def test_the_k_best_cost_k_times_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    swept(listed(torch.randperm(2000).unsqueeze(0), topk=10))
    assert seen.pairs <= 2.2 * 10 * 2000


def test_many_short_lists_are_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    swept(listed(torch.randint(3, (100, 20))))
    assert seen.lists == 100


def test_memory_does_not_grow_with_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[Room] = []
    inner = Room.__init__

    def kept(self: Room, *given: Any) -> None:
        inner(self, *given)
        rooms.append(self)

    monkeypatch.setattr(Room, "__init__", kept)
    for size in (1000, 4000):
        swept(listed(torch.randperm(size).unsqueeze(0)))
    small, large = (sum(t.numel() for t in room._sheets.values()) for room in rooms)
    assert small == large
    assert 4 * large <= 4 << 20


def test_what_is_not_there_is_in_no_pair() -> None:
    call = drawn(3, 20, half=True, weighted=True)
    bare = swept(call)
    noisy = call._replace(
        scores=torch.where(call.valid, call.scores, 50.0), relevance=torch.where(call.valid, call.relevance, math.nan)
    )
    other = swept(noisy)
    torch.testing.assert_close(other.value, bare.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(other.gradient, bare.gradient, rtol=0, atol=1e-12)
    assert not other.gradient[~call.valid].any()


@pytest.mark.parametrize("options", [{}, {"half": True}, {"topk": 4, "half": True}, {"lam": "both"}])
def test_where_nothing_asks_the_device_every_pair_is_looked_at(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    def everything(rows: list_tiles.Sorted, cols: list_tiles.Sorted, tied: bool) -> list_tiles._Bounds:
        height, width = rows.depth.shape[1], cols.depth.shape[1]
        return list_tiles._Bounds([0] * height, [width] * height, [width] * height)

    monkeypatch.setattr(list_tiles, "_bounds", everything)
    for form in FORMS:
        agree(drawn(3, 17, form, weighted=True, **options))


@pytest.mark.parametrize("outlier", [-1e9, 1e9, -1e4, -79.0])
@pytest.mark.parametrize("form", FORMS)
def test_a_score_far_out_takes_no_digit_of_the_others(form: Form, outlier: float) -> None:
    near = torch.tensor([[0.3, 0.7, 0.1, outlier]])
    relevance = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    if form == "exponential" and outlier > 0:
        return  # infinite
    single, double = (swept(whole(s, relevance, form, margin=1.0)) for s in (near, near.double()))
    largest = double.gradient.abs().max()
    torch.testing.assert_close(single.value.double(), double.value, rtol=3e-7, atol=0)
    torch.testing.assert_close(single.gradient.double() / largest, double.gradient / largest, rtol=0, atol=3e-7)
