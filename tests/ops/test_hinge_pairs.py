"""Hinges over all pairs by sorting and as a table, against a double loop over the pairs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from largest import Largest
from losskit.losses.lambda_weights import DeltaMAP, DeltaNDCG, LabelDifference, LambdaWeight, NDCGLoss2
from losskit.ops import hinge_pairs as module
from losskit.ops.hinge_moments import _running
from losskit.ops.hinge_pairs import hinge_pairs, tied_hinge
from losskit.ops.lambda_pairs import Lambda

LAMBDAS: dict[str, LambdaWeight | None] = {
    "plain": None,
    "gains": LabelDifference(),
    "ndcg": DeltaNDCG(),
    "ndcg@5": DeltaNDCG(k=5),
}


class Given(NamedTuple):
    scores: Tensor
    relevance: Tensor
    valid: Tensor
    weight: Tensor | None


@pytest.fixture(params=["sorted", "table"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "_SHORT", 0 if request.param == "sorted" else 10**9)
    return str(request.param)


@pytest.fixture
def by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHORT", 0)


def drawn(size: int, grades: int, scores: str = "normal", *, lists: int = 3, weighted: bool = True) -> Given:
    g = torch.Generator().manual_seed(size + 10 * grades)
    s = 2 * torch.randn(lists, size, generator=g, dtype=torch.float64)
    if scores == "ties":
        s = s.round() / 2
    if scores == "outliers":
        s += 1e4 * torch.randint(-1, 2, s.shape, generator=g) * (torch.rand(s.shape, generator=g) < 0.2)
    valid = torch.rand(s.shape, generator=g) < 0.9
    weight = torch.where(valid, torch.rand(s.shape, generator=g, dtype=torch.float64), 0)
    return Given(s, torch.randint(grades, s.shape, generator=g).double(), valid, weight if weighted else None)


def by_pairs(given: Given, margin: float, power: int, lam: Lambda | None, *, half: bool = False) -> tuple[Tensor, Tensor]:
    """The sums and their gradients, one row of pairs after the other."""
    total, slope = torch.zeros(len(given.scores), dtype=torch.float64), torch.zeros_like(given.scores)
    size = given.scores.shape[-1]
    for row, i in itertools.product(range(len(total)), range(size)):
        s, y, valid = (t[row] for t in given[:3])
        w = torch.ones_like(s) if given.weight is None else given.weight[row]
        if half:
            pair = (y == y[i]) & valid & valid[i] & (torch.arange(size) != i)
            counts = torch.where(pair, (w + w[i]) / 4, 0)  # a pair comes twice, half its weight is for either way round
        else:
            counts = torch.where((y < y[i]) & valid & valid[i], w[i], 0)
        if lam is not None:
            counts = counts * (lam.gain[row, i] - lam.gain[row])
        if lam is not None and lam.ordered is not None and lam.swapped is not None and lam.tied is not None:
            right, wrong = lam.ordered[row, i] - lam.ordered[row], lam.swapped[row] - lam.swapped[row, i]
            counts = counts * torch.where(s < s[i], right, torch.where(s > s[i], wrong, lam.tied[row, i]))
        short = margin - (s[i] - s)
        each = torch.where(short > 0, counts, 0)
        total[row] += (each * short**power).sum()
        by_short = power * each * short ** (power - 1)
        slope[row] += by_short
        slope[row, i] -= by_short.sum()
    return total, slope


def found(given: Given, margin: float, power: int, lam: Lambda | None, *, half: bool = False) -> tuple[Tensor, Tensor]:
    leaf = given.scores.clone().requires_grad_()
    value = of(given, margin, power, lam, half=half)(leaf)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


def of(given: Given, margin: float, power: int, lam: Lambda | None, *, half: bool = False) -> Callable[[Tensor], Tensor]:
    if half:
        return lambda s: tied_hinge(s, *given[1:], margin=margin, power=power)
    return lambda s: hinge_pairs(s, *given[1:], margin=margin, power=power, lam=lam)


def weights(kind: LambdaWeight | None, given: Given) -> Lambda | None:
    return None if kind is None else kind.vectors(*given[:3])


def same(given: Given, margin: float, power: int, lam: Lambda | None, *, half: bool = False) -> tuple[Tensor, Tensor]:
    value, slope = found(given, margin, power, lam, half=half)
    wanted, gradient = by_pairs(given, margin, power, lam, half=half)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)
    scale = gradient.abs().amax(-1, keepdim=True) if gradient.numel() else gradient
    scale = scale.clamp(min=1e-3)  # what is left where all pairs cancel is rounding, here and there
    torch.testing.assert_close(slope / scale, gradient / scale, rtol=0, atol=1e-12)
    return value, slope


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("kind", LAMBDAS.values(), ids=LAMBDAS)
@pytest.mark.parametrize("scores", ["normal", "ties", "outliers"])
def test_sums_and_gradients_are_those_of_all_pairs(scores: str, kind: LambdaWeight | None, power: int) -> None:
    for size, grades, weighted in itertools.product((0, 1, 2, 7, 50), (1, 2, 5, 40), (False, True)):
        given = drawn(size, grades, scores, weighted=weighted)
        value, slope = same(given, 1.0, power, weights(kind, given))
        if size >= 7 and grades >= 2:
            assert value.all()
            assert slope.any()
        if size <= 1 or grades == 1:
            assert not value.any()
            assert not slope.any()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("power", [1, 2])
def test_ties_count_once_each_way_round_half(power: int) -> None:
    for size, grades, weighted in itertools.product((0, 1, 2, 7, 50), (1, 2, 5, 40), (False, True)):
        for scores, margin in (("normal", 1.0), ("ties", 0.5), ("outliers", 2.0)):
            value, slope = same(drawn(size, grades, scores, weighted=weighted), margin, power, None, half=True)
            if size >= 7 and grades == 1:
                assert value.all()
                assert slope.any()


@pytest.mark.usefixtures("way")
def test_weights_may_be_different_within_a_tie() -> None:
    given = drawn(50, 2, "ties")
    lam = weights(DeltaMAP(), given)
    assert lam is not None
    assert lam.ordered is not None
    for power in (1, 2):
        assert same(given, 1.0, power, lam)[1].any()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", LAMBDAS.values(), ids=LAMBDAS)
def test_without_a_margin_only_pairs_in_the_wrong_order_count(kind: LambdaWeight | None) -> None:
    given = drawn(50, 5, "ties")
    for power in (1, 2):
        assert same(given, 0.0, power, weights(kind, given))[1].any()


@pytest.mark.usefixtures("by_sorting")
@pytest.mark.parametrize("grades", [2, 5])
@pytest.mark.parametrize("scores", ["ties", "outliers"])
def test_a_list_of_3000_is_exact(scores: str, grades: int) -> None:
    given = drawn(3000, grades, scores, lists=1)
    for kind, power in itertools.product((None, LabelDifference(), DeltaNDCG()), (1, 2)):
        assert same(given, 1.0, power, weights(kind, given))[1].any()
    assert same(given, 1.0, 1, None, half=True)[1].any()


@pytest.mark.usefixtures("way")
def test_a_pair_exactly_at_its_margin_has_no_gradient() -> None:
    given = Given(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]).double(), torch.ones(1, 3).bool(), None)
    assert found(given, 1.0, 1, None)[1].tolist() == [[0.0, 0.0, 0.0]]
    assert found(given, 1.5, 1, None)[1].tolist() == [[-1.0, 1.0, 0.0]]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("margin", [1.0, 0.1])
def test_whole_numbers_are_ties_wherever_they_are(margin: float) -> None:
    given = drawn(50, 5, "ties")
    for offset in (0.0, 1e6, -12345.0):
        moved = given._replace(scores=given.scores + offset)
        assert torch.equal(found(moved, margin, 1, None)[1], found(given, margin, 1, None)[1])


@pytest.mark.usefixtures("by_sorting")
def test_right_lists_of_wide_spread_cost_nothing_at_all() -> None:
    relevance = torch.arange(300).double()[None] // 60
    given = Given(1e4 * relevance + torch.rand(1, 300, dtype=torch.float64), relevance, torch.ones(1, 300).bool(), None)
    for kind, power in itertools.product(LAMBDAS.values(), (1, 2)):
        value, slope = found(given, 1.0, power, weights(kind, given))
        assert float(value) == 0
        assert not slope.any()


def test_a_segment_of_small_numbers_keeps_its_digits_behind_a_large_one() -> None:
    value = torch.tensor([[1e16, 1e16 / 3, 0.1, 0.2, 0.3]], dtype=torch.float64)
    first = torch.tensor([[0, 0, 2, 2, 2]])
    wanted = torch.tensor([[0.1, 0.1 + 0.2, 0.1 + 0.2 + 0.3]], dtype=torch.float64)
    torch.testing.assert_close(_running(value, first, whole=False)[:, 2:], wanted, rtol=1e-15, atol=0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("half", [False, True])
def test_what_is_not_valid_may_be_nan(half: bool) -> None:
    given = drawn(50, 5)
    lost = given._replace(**{n: torch.where(given.valid, t, torch.nan) for n, t in given._asdict().items() if n != "valid"})
    # scores are finite by the time they come here
    value, slope = found(lost._replace(scores=given.scores), 1.0, 1, None, half=half)
    wanted, gradient = found(given, 1.0, 1, None, half=half)
    assert torch.equal(value, wanted)
    assert torch.equal(slope, gradient)
    assert not slope[~given.valid].any()
    assert slope.any()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("half", [False, True])
def test_float32_scores_give_float64_sums_and_float32_gradients(half: bool) -> None:
    given = drawn(100, 5)
    single = given._replace(scores=given.scores.float(), weight=given.weight.float())  # type: ignore[union-attr]  # drawn with weights
    exact = single._replace(scores=single.scores.double())
    for power in (1, 2):
        value, slope = found(single, 1.0, power, None, half=half)
        wanted, gradient = found(exact, 1.0, power, None, half=half)
        assert (value.dtype, slope.dtype) == (torch.float64, torch.float32)
        torch.testing.assert_close(value, wanted, rtol=1e-6, atol=0)
        torch.testing.assert_close(slope.double(), gradient, rtol=1e-6, atol=1e-6 * float(gradient.abs().max()))


MEETS = {**{name: (kind, False) for name, kind in LAMBDAS.items() if name != "ndcg@5"}, "ties": (None, True)}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("kind", "half"), MEETS.values(), ids=MEETS)
def test_derivatives_are_right_twice_and_in_every_transform(kind: LambdaWeight | None, half: bool) -> None:
    given = drawn(7, 3, lists=2)
    for power in (1, 2):
        call = of(given, 1.0, power, weights(kind, given), half=half)
        leaf = given.scores.clone().requires_grad_()
        assert torch.autograd.gradcheck(call, leaf)
        slope = torch.autograd.grad(call(leaf).sum(), leaf)[0]
        torch.testing.assert_close(torch.func.grad(lambda s, call=call: call(s).sum())(given.scores), slope)
        if power == 2:
            assert torch.autograd.gradgradcheck(call, leaf)
            second = torch.func.jacrev(torch.func.jacrev(lambda s, call=call: call(s).sum()))(given.scores)
            torch.testing.assert_close(
                second, torch.autograd.functional.hessian(lambda s, call=call: call(s).sum(), given.scores)
            )
            assert second.any()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("power", [1, 2])
def test_it_goes_through_vmap_and_the_compiler(power: int) -> None:
    given = drawn(9, 3)
    whole, slope = found(given, 1.0, power, None)

    def one(s: Tensor, *others: Tensor) -> Tensor:
        return hinge_pairs(s[None], *(t[None] for t in others), margin=1.0, power=power, lam=None)[0]

    tensors = [t for t in given if t is not None]
    torch.testing.assert_close(torch.func.vmap(one)(*tensors), whole)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(one))(*tensors), slope)
    torch._dynamo.reset()
    compiled = torch.compile(of(given, 1.0, power, None), fullgraph=True, backend="aot_eager")
    leaf = given.scores.clone().requires_grad_()
    value = compiled(leaf)
    torch.testing.assert_close(value.detach(), whole)
    torch.testing.assert_close(torch.autograd.grad(value.sum(), leaf)[0], slope)
    assert slope.any()


@pytest.mark.parametrize("kind", LAMBDAS.values(), ids=LAMBDAS)
def test_nothing_is_larger_than_a_long_list(kind: LambdaWeight | None) -> None:
    given = drawn(1000, 5, lists=1)
    lam = weights(kind, given)
    with Largest() as largest:
        _, slope = found(given, 1.0, 2, lam)
    assert slope.any()
    assert largest.elements <= 1001  # the borders of the levels have one place more
    with Largest() as largest:
        assert found(given, 1.0, 2, None, half=True)[1].any()
    assert largest.elements <= 2001


@pytest.mark.parametrize("half", [False, True])
def test_a_value_alone_needs_no_table_of_all_lists(half: bool) -> None:
    given = drawn(50, 5, lists=200)
    sums = tied_hinge if half else functools.partial(hinge_pairs, lam=None)
    with torch.no_grad(), Largest() as largest:
        value = sums(*given, margin=1.0, power=1)
    assert value.any()
    assert largest.elements <= max(200 * 50, 2**16 * torch.get_num_threads())


def test_weights_by_the_distance_of_places_are_refused() -> None:
    given = drawn(7, 3)
    with pytest.raises(ValueError, match='"lam" depends on how far apart two places are'):
        hinge_pairs(*given, margin=1.0, power=1, lam=NDCGLoss2().vectors(*given[:3]))
