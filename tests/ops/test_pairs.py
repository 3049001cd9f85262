"""Pair statistics against plain loops in float64: values, gradients and second gradients, whatever the tiles and the ids."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pair_kernels import everybody
from torch import Tensor

from losskit.ops import pair_lse, pair_sets
from losskit.ops.pair_forms import BENDS, FORMS
from losskit.ops.pair_sets import NOBODY, Who, counted
from losskit.ops.pair_tiles import Gate
from losskit.ops.pairs import Curve, Pairs, pair_logsumexp, pair_sums, pair_total_sum

SMALL = 2 * 8 * 16 * 16  # tiles of 16 x 16 float64


def vectors(
    n: int = 37, m: int = 45, d: int = 5, *, dtype: torch.dtype = torch.float64, size: float = 1.0
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n + m)
    x, y = (torch.nn.functional.normalize(torch.randn(k, d, generator=g, dtype=torch.float64), dim=1) for k in (n, m))
    return (size * x).to(dtype), y.to(dtype)


def crowd(n: int = 37, m: int = 45, *, kinds: int = 4, same: bool = False, gone: bool = True) -> Who:
    """Ids of a few kinds; some rows and columns are not there; row 2 and column 5 are one item."""
    g = torch.Generator().manual_seed(kinds)
    row, col = (torch.randint(kinds, (k,), generator=g) for k in (n, m))
    row_slot, col_slot = torch.arange(n), torch.arange(m) + 1000
    if n > 3 and m > 5:
        col_slot[5] = 2
        col[5] = row[2]
        if gone:
            row[3] = col[4] = NOBODY
    return Who(row, col, row_slot, col_slot, same)


def counts(who: Who, i: int, j: int) -> bool:
    a, b = int(who.row_id[i]), int(who.col_id[j])
    if NOBODY in (a, b) or int(who.row_slot[i]) == int(who.col_slot[j]):
        return False
    return (a == b) == who.same


def loop(x: Tensor, y: Tensor, who: Who, each: Callable[[Tensor, int, int], Tensor | None]) -> list[list[Tensor]]:
    """What ``each`` makes of the score of every pair that counts, row by row."""
    found: list[list[Tensor]] = []
    for i in range(len(x)):
        row = [each(x[i] @ y[j], i, j) for j in range(len(y)) if counts(who, i, j)]
        found.append([v for v in row if v is not None])
    return found


def logsumexps(found: list[list[Tensor]], like: Tensor) -> Tensor:
    return torch.stack([torch.logsumexp(torch.stack(r), 0) if r else like.new_tensor(-math.inf) for r in found])


def flipped(who: Who) -> Who:
    return Who(who.col_id, who.row_id, who.col_slot, who.row_slot, who.same)


def agree(got: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


WHOS = {
    "everybody": everybody(37, 45, torch.device("cpu")),
    "own": Who(torch.arange(37), torch.arange(45), torch.arange(37), torch.arange(45), False),
    "others": crowd(),
    "same": crowd(same=True),
    "nobody": crowd(kinds=1),
}


def weights(n: int, seed: int) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weighed(values: Tensor, seed: int) -> Tensor:
    """A sum in which each finite value has its own weight."""
    finite = values.isfinite()
    return (weights(len(values), seed) * torch.where(finite, values, 0)).sum()


def compare(ours: Callable[..., Any], plain: Callable[..., Any], *leaves: Tensor, tolerance: float = 1e-12) -> None:
    """Equal value and gradients of both by every leaf."""
    both = []
    for function in (ours, plain):
        fresh = [t.detach().clone().requires_grad_() for t in leaves]
        value = function(*fresh)
        both.append((value, *torch.autograd.grad(value, fresh)))
    assert both[1][1].abs().sum() > 0
    for got, wanted in zip(*both, strict=True):
        agree(got, wanted, tolerance)


@pytest.fixture(params=[0, 1 << 16], ids=["listed", "compared"])
def hidden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the pairs that do not count are listed where they are few."""
    monkeypatch.setattr(pair_sets, "_SMALL", request.param)


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("memory", [1, SMALL, 1 << 23])
@pytest.mark.parametrize("size", [1.0, 100.0, 500.0])
@pytest.mark.parametrize("name", [n for n in WHOS if n != "nobody"])
def test_log_sum_exp_of_rows_and_columns_is_the_loop(name: str, size: float, memory: int) -> None:
    who, (x, y) = WHOS[name], vectors(size=size)

    def ours(x: Tensor, y: Tensor) -> Tensor:
        rows, cols = pair_logsumexp(Pairs(x, y, who, memory=memory), columns=True)
        return weighed(rows, 0) + weighed(cols, 1)

    def plain(x: Tensor, y: Tensor) -> Tensor:
        rows = logsumexps(loop(x, y, who, lambda s, i, j: s), x)
        cols = logsumexps(loop(y, x, flipped(who), lambda s, i, j: s), x)
        return weighed(rows, 0) + weighed(cols, 1)

    compare(ours, plain, x, y, tolerance=1e-11 if size > 100 else 1e-12)


def test_rows_alone_are_the_rows() -> None:
    x, y = vectors()
    rows, none = pair_logsumexp(Pairs(x, y, WHOS["others"], memory=SMALL))
    agree(rows, pair_logsumexp(Pairs(x, y, WHOS["others"], memory=SMALL), columns=True)[0])
    assert none.shape == (0,)


@pytest.mark.parametrize("gradient", [False, True])
def test_one_without_a_pair_is_minus_infinity_without_a_gradient(gradient: bool) -> None:
    x, y = (t.requires_grad_(gradient) for t in vectors())
    for found in pair_logsumexp(Pairs(x, y, WHOS["nobody"], memory=SMALL), columns=True):
        assert (found == -math.inf).all()
        if gradient:
            assert not any(g.any() for g in torch.autograd.grad(found.exp().sum(), (x, y), retain_graph=True))


@pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_empty_sets_have_empty_statistics(n: int, m: int) -> None:
    x, y = (t.requires_grad_() for t in vectors(n, m))
    rows, cols = pair_logsumexp(Pairs(x, y, everybody(n, m, x.device)), columns=True)
    total = pair_sums(Pairs(x, y, everybody(n, m, x.device)), Curve("softplus", t=x.new_zeros(n)))
    assert (rows.shape, cols.shape, total.shape) == ((n,), (m,), (n,))
    for g in torch.autograd.grad(weighed(rows, 0) + weighed(cols, 1) + total.sum(), (x, y)):
        assert g.isfinite().all()


@pytest.mark.parametrize("name", ["others", "same"])
@pytest.mark.parametrize(("bend", "params"), [("minus_distance", [1.0]), ("circle_negative", [80.0, 0.25])])
def test_bent_scores_are_the_loop(name: str, bend: str, params: list[float]) -> None:
    who, (x, y) = WHOS[name], vectors()

    def ours(x: Tensor, y: Tensor) -> Tensor:
        rows, cols = pair_logsumexp(Pairs(x, y, who, memory=SMALL), columns=True, bend=bend, params=params)
        return weighed(rows, 0) + weighed(cols, 1)

    def curve(s: Tensor, i: int, j: int) -> Tensor:
        if bend == "circle_negative":
            return 80 * torch.relu(s.detach() + 0.25) * (s - 0.25)
        return 1 - (2 - 2 * s).sqrt()

    def plain(x: Tensor, y: Tensor) -> Tensor:
        return weighed(logsumexps(loop(x, y, who, curve), x), 0) + weighed(logsumexps(loop(y, x, flipped(who), curve), x), 1)

    compare(ours, plain, x, y, tolerance=1e-11)


def test_pairs_above_the_limit_of_their_row_or_column_are_left_out() -> None:
    who, (x, y) = WHOS["others"], vectors()
    guide_x, guide_y = vectors(d=3)
    row_limit, col_limit = torch.linspace(-0.5, 1, 37).double(), torch.linspace(1, -0.5, 45).double()

    def ours(x: Tensor, y: Tensor) -> Tensor:
        gate = Gate(guide_x, guide_y, row_limit, col_limit)
        rows, cols = pair_logsumexp(Pairs(x, y, who, memory=SMALL), columns=True, gate=gate)
        return weighed(rows, 0) + weighed(cols, 1)

    def plain(x: Tensor, y: Tensor) -> Tensor:
        rows = loop(x, y, who, lambda s, i, j: s if guide_x[i] @ guide_y[j] <= row_limit[i] else None)
        cols = loop(y, x, flipped(who), lambda s, j, i: s if guide_x[i] @ guide_y[j] <= col_limit[j] else None)
        return weighed(logsumexps(rows, x), 0) + weighed(logsumexps(cols, x), 1)

    compare(ours, plain, x, y)


SUMS: dict[str, tuple[list[float], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "softplus": ([], lambda s, t, c: torch.log1p((s + t).exp())),
    "pull_cosine": ([], lambda s, t, c: (1 - s) ** 2 / 2),
    "push_cosine": ([0.9], lambda s, t, c: torch.relu(0.9 - (1 - s)) ** 2 / 2),
    "pull_euclidean": ([], lambda s, t, c: (2 - 2 * s) / 2),
    "push_euclidean": ([1.1], lambda s, t, c: torch.relu(1.1 - (2 - 2 * s).sqrt()) ** 2 / 2),
    "lifted": ([], lambda s, t, c: torch.relu(torch.log(t.exp() + c.exp()) + (2 - 2 * s).sqrt()) ** 2 / 2),
}


@pytest.mark.parametrize("memory", [SMALL, 1 << 23])
@pytest.mark.parametrize("who", [WHOS["others"], WHOS["same"]], ids=["others", "same"])
@pytest.mark.parametrize("form", SUMS)
@pytest.mark.parametrize("schedule", ["rows", "total"])
def test_sums_are_the_loop(form: str, who: Who, memory: int, schedule: str) -> None:
    (x, y), (params, each) = vectors(), SUMS[form]
    t, c, by = weights(37, 3) - 0.5, weights(45, 4) - 0.5, weights(37, 5)

    def ours(x: Tensor, y: Tensor, t: Tensor, c: Tensor) -> Tensor:
        used = {"softplus": (t, None), "lifted": (t, c)}.get(form, (None, None))
        curve, pairs = Curve(form, params, *used), Pairs(x, y, who, memory=memory)
        total = by @ pair_sums(pairs, curve) if schedule == "rows" else pair_total_sum(pairs, curve, by)
        return total + 0 * (t.sum() + c.sum())

    def plain(x: Tensor, y: Tensor, t: Tensor, c: Tensor) -> Tensor:
        found = loop(x, y, who, lambda s, i, j: by[i] * each(s, t[i], c[j]))
        return torch.stack([v for row in found for v in row]).sum() + 0 * (t.sum() + c.sum())

    compare(ours, plain, x, y, t, c)


@pytest.mark.parametrize("same", [False, True])
def test_second_gradients_are_derivatives(same: bool) -> None:
    x, y = (t.requires_grad_() for t in vectors(4, 5, 3))
    t, c = torch.randn(4, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64, requires_grad=True)
    who = crowd(4, 5, kinds=2, same=same, gone=False)

    def lse(x: Tensor, y: Tensor) -> Tensor:
        rows, cols = pair_logsumexp(Pairs(x, y, who), columns=True, bend="minus_distance", params=[1.0])
        return weighed(rows, 0) + weighed(cols, 1)

    def sums(x: Tensor, y: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return pair_sums(Pairs(x, y, who), Curve("lifted", (), t, c))

    def total(x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        return pair_total_sum(Pairs(x, y, who), Curve("softplus", (), t), weights(4, 2))

    for function, given in ((lse, (x, y)), (sums, (x, y, t, c)), (total, (x, y, t))):
        assert torch.autograd.gradcheck(function, given)
        assert torch.autograd.gradgradcheck(function, given)


def test_single_precision_is_as_good_as_its_products() -> None:
    x, y = vectors(300, 400, 64, size=20.0)
    who = everybody(300, 400, x.device)
    wanted = pair_logsumexp(Pairs(x, y, who), columns=True)
    got = pair_logsumexp(Pairs(x.float(), y.float(), who), columns=True)
    for a, b in zip(got, wanted, strict=True):
        agree(a, b, 1e-6)


@pytest.mark.parametrize("size", [1.0, 60.0, 120.0, 1e4])
def test_a_row_far_below_all_others_keeps_its_digits(size: float) -> None:
    """One row whose scores are all the smallest there are: it must not vanish beside rows with large ones."""
    x, y = vectors(64, 64, 2, dtype=torch.float32)
    x[0], y[:, 0] = torch.tensor([-1.0, 0.0]), 1.0
    y[:, 1] = 0.01 * torch.arange(64)
    scores = (size * x).double() @ y.double().T
    rows, cols = pair_logsumexp(Pairs(size * x, y, everybody(64, 64, x.device)), columns=True)
    agree(rows, torch.logsumexp(scores, 1), 2e-6)
    agree(cols, torch.logsumexp(scores, 0), 2e-6)


def test_a_list_of_pairs_hides_what_a_comparison_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_sets, "_SMALL", 0)
    for who in (WHOS["own"], crowd(kinds=400)):
        hidden = pair_lse.Uncounted(who)
        assert hidden.pairs is not None
        tile = torch.zeros(20, 30)
        hidden.hide(tile, slice(10, 30), slice(5, 35), 1.0)
        assert torch.equal(tile == 0, counted(who, slice(10, 30), slice(5, 35)))


@pytest.mark.parametrize("curve", [*FORMS, *BENDS])
def test_slopes_are_those_of_the_values(curve: str) -> None:
    s = torch.linspace(-0.99, 0.99, 41, dtype=torch.float64, requires_grad=True)
    t, c = (torch.full((41,), v, dtype=torch.float64, requires_grad=True) for v in (0.3, -0.2))
    params = [1.2, 0.25]
    if curve in BENDS:
        (found,) = torch.autograd.grad(BENDS[curve].value(s, params).sum(), s)
        agree(BENDS[curve].slope(s, params).detach(), found)
        return
    wanted = torch.autograd.grad(FORMS[curve].value(s, t, c, params).sum(), (s, t, c), allow_unused=True)
    for got, slope in zip(FORMS[curve].slopes(s, t, c, params), wanted, strict=True):
        assert (got is None) == (slope is None)
        if got is not None and slope is not None:
            agree(got.detach(), slope)


def test_the_same_point_has_no_distance_and_no_slope() -> None:
    s = torch.tensor([1.0, 1 - 1e-7, 1 + 1e-7], dtype=torch.float32)
    assert (BENDS["minus_distance"].value(s, [1.0]) == 1).all()
    assert not BENDS["minus_distance"].slope(s, [1.0]).any()
