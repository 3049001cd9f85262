"""Logistic and soft zero-one losses of few grades by moments of cells, against the table of all pairs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from list_pair_loops import drawn, lambda_of, looped
from torch import Tensor

from largest import Largest
from losskit.ops import graded_logistic
from losskit.ops.graded_logistic import graded
from losskit.ops.list_pairs import pair_sums
from losskit.ops.list_tile_forms import Form
from losskit.ops.list_tiles import Call, Sums

FORMS: tuple[Form, ...] = ("logistic", "soft_zero_one")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where tiles are sooner done."""
    monkeypatch.setattr(graded_logistic, "_LONG", 1)
    monkeypatch.setattr(graded_logistic, "_PAIR", math.inf)
    monkeypatch.setattr(graded_logistic, "_ROWS", math.inf)


def long(size: int, grades: int, form: Form = "logistic", spread: float = 1.0, **options: Any) -> Call:
    """One list; scores of a spread up to 1 have ties."""
    generator = torch.Generator().manual_seed(size + grades)
    scores = spread * torch.randn(1, size, generator=generator, dtype=torch.float64)
    relevance = torch.randint(0, grades, (1, size), generator=generator).double()
    weight = torch.rand(1, size, generator=generator, dtype=torch.float64) if options.pop("weighted", False) else None
    scores = (64 * scores).round() / 64 if spread <= 1 else scores
    return Call(scores, relevance, torch.ones_like(relevance, dtype=torch.bool), weight, form, **options)


def table(call: Call) -> tuple[Tensor, Tensor]:
    """The sum and its gradient as matrices of all pairs of one list."""
    s, y = call.scores[0], call.relevance[0]
    w = torch.ones_like(s) if call.weight is None else call.weight[0]
    d, other = s[:, None] - s, torch.eye(len(s)) == 0
    share = torch.where(y[:, None] > y, w[:, None], 0)
    if call.half:
        share = torch.where((y[:, None] == y) & other, (w[:, None] + w) / 4, share)
    steep = torch.sigmoid(-d)
    loss, steep = (-torch.nn.functional.logsigmoid(d), steep) if call.form == "logistic" else (steep, steep * torch.sigmoid(d))
    pull = share * steep
    return (share * loss).sum()[None], (pull.sum(0) - pull.sum(1))[None]


def found_by(call: Call) -> Sums:
    found = graded(call)
    assert found is not None
    return found


def agree(call: Call) -> None:
    value, gradient = table(call)
    found = found_by(call)
    assert gradient.any()
    torch.testing.assert_close(found.value, value, rtol=1e-13, atol=0)
    torch.testing.assert_close(found.gradient, gradient, rtol=1e-12, atol=1e-14 * float(gradient.abs().sum()))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grades", [2, 5, 30])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 9.0, 60.0, 1e3])
def test_any_number_of_grades_and_any_spread_is_the_table_of_pairs(form: Form, grades: int, spread: float) -> None:
    for options in ({}, {"weighted": True}, {"half": True}, {"weighted": True, "half": True}):
        if spread or not (options.get("half") and form == "soft_zero_one"):
            agree(long(400, grades, form, spread, **options))


@pytest.mark.usefixtures("always")
def test_more_cells_and_grades_than_two_bytes_count_are_the_table_of_pairs() -> None:
    agree(long(1200, 60, spread=150.0, weighted=True))


def test_three_thousand_items_are_the_table_of_pairs() -> None:
    for grades in (2, 5, 30):
        agree(long(3000, grades, weighted=True))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_masked_lists_are_their_double_loop(form: Form, size: int) -> None:
    several: list[dict[str, Any]] = [{}, {"weighted": True}, {"half": True, "weighted": True}, {"half": True, "spread": 40.0}]
    for options in several:
        call = drawn(3, size, form, **options)
        value, gradient = looped(call)
        found = graded(call._replace(scores=torch.where(call.valid, call.scores, math.nan)))
        if not size:
            assert found is None
            continue
        assert found is not None
        torch.testing.assert_close(found.value, value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.gradient, gradient, rtol=1e-12, atol=1e-12 * (1 + float(gradient.abs().sum())))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gap", [-300.0, -41.5, -41.0, 41.0, 41.5, 90.0, 300.0])
def test_grades_that_are_apart_keep_the_digits_of_what_little_is_left(form: Form, gap: float) -> None:
    call = long(300, 3, form, 0.7, weighted=True)
    call = call._replace(scores=call.scores + gap * call.relevance)
    value, gradient = table(call)
    found = found_by(call)
    assert gradient.any()
    torch.testing.assert_close(found.value, value, rtol=1e-12, atol=0)
    # the middle grade is pulled both ways, and what is left of it has the digits of the larger pull
    sure = call.relevance != 1
    torch.testing.assert_close(found.gradient[sure], gradient[sure], rtol=1e-12, atol=0)
    torch.testing.assert_close(found.gradient, gradient, rtol=1e-12, atol=1e-12 * float(gradient.abs().max()))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("grades", [[-3.7, 0.1, 0.25], [0.0, 3.0, 4000.0], [0.0, 1.0, 1e9], [-math.inf, 0.0, math.inf]])
def test_grades_are_any_numbers_and_only_their_order_matters(grades: list[float]) -> None:
    call = long(200, 3, weighted=True)
    named = torch.tensor(grades, dtype=torch.float64)[call.relevance.long()]
    found, wanted = found_by(call._replace(relevance=named)), found_by(call)
    assert wanted.gradient.any()
    assert torch.equal(found.value, wanted.value)
    assert torch.equal(found.gradient, wanted.gradient)


@pytest.mark.usefixtures("always")
def test_an_item_without_a_grade_is_in_no_pair() -> None:
    call = long(200, 4)
    nobody = torch.arange(200)[None] % 5 == 0
    without = found_by(call._replace(valid=~nobody))
    found = found_by(call._replace(relevance=torch.where(nobody, math.nan, call.relevance)))
    assert torch.equal(found.gradient, without.gradient)
    assert torch.equal(found.value, without.value)
    assert without.gradient[~nobody].all()


@pytest.mark.usefixtures("always")
def test_nothing_to_put_in_order_is_nothing() -> None:
    call = long(100, 1)
    for nothing in (call, call._replace(valid=~call.valid), call._replace(valid=~call.valid, half=True)):
        found = found_by(nothing)
        assert not found.value.any()
        assert not found.gradient.any()
    single = long(3, 1, half=True)._replace(relevance=torch.tensor([[2.0, 5.0, 9.0]], dtype=torch.float64))
    assert torch.equal(found_by(single).value, found_by(single._replace(half=False)).value)


def test_what_tiles_do_better_is_left_to_them() -> None:
    call = long(8192, 5)
    assert graded(call) is not None
    some = torch.rand(1, 8192, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    endless = call.scores.clone()
    endless[0, 7] = math.inf
    for other in (
        long(512, 5),
        long(2048, 5, spread=30.0),
        call._replace(form="exponential"),
        call._replace(topk=3),
        call._replace(lam=lambda_of("gain", call.scores, call.valid, some, some)),
        call._replace(relevance=some),
        call._replace(relevance=torch.arange(8192.0, dtype=torch.float64)[None]),
        call._replace(scores=endless),
        call._replace(scores=endless.nan_to_num(nan=math.nan, posinf=math.nan)),
        long(8192, 5, spread=1e8),
    ):
        assert graded(other) is None


@pytest.mark.usefixtures("always")
def test_derivatives_are_those_of_the_value() -> None:
    for form in FORMS:
        call = drawn(2, 6, form, ties=False, weighted=True)
        scores = call.scores.clone().requires_grad_()

        def summed(s: Tensor, call: Call = call) -> Tensor:
            return pair_sums(
                s, call.relevance, call.valid, call.weight, form=call.form, margin=0.0, lam=None, topk=None, half=False
            )

        assert torch.autograd.gradcheck(summed, scores)
        assert torch.autograd.gradgradcheck(summed, scores)


def test_float32_scores_have_the_sums_of_float64() -> None:
    call = long(5000, 4, weighted=True, spread=3.0)
    assert call.weight is not None
    half = call._replace(scores=call.scores.float(), weight=call.weight.float())
    value, gradient = table(half._replace(scores=half.scores.double(), weight=call.weight.float().double()))
    found = found_by(half)
    assert found.gradient.dtype == torch.float32
    torch.testing.assert_close(found.value, value, rtol=1e-13, atol=0)
    torch.testing.assert_close(found.gradient.double(), gradient, rtol=1e-6, atol=1e-9 * float(gradient.abs().max()))


def test_nothing_is_larger_than_the_list() -> None:
    call = long(100_000, 5, weighted=True)
    with Largest() as largest:
        found = found_by(call)
    assert found.gradient.any()
    assert largest.elements == 100_000
