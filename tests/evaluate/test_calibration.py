"""Calibration error and reliability table: against loops, known answers, torchmetrics where it is right, and bad arguments."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import evaluate_helpers_calibration as loops
from losskit import ShapeError, debug
from losskit.evaluate.calibration.confidence import _BLOCK
from losskit.evaluate.calibration.error import expected_calibration_error as ece
from losskit.evaluate.calibration.error import reliability_table

Z, Y = loops.overconfident(400, 5)
P = Z.softmax(-1)


def close(found: Tensor, wanted: float, within: float = 1e-12) -> None:
    assert found.dtype == torch.float64
    assert found.shape == ()
    assert float(found) == pytest.approx(wanted, rel=within, abs=within)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("bins", [1, 2, 15, 100])
def test_the_error_is_that_of_a_loop_over_rows(norm: Any, bins: int) -> None:
    target = Y.clone()
    target[::7] = -100
    close(ece(Z, target, bins=bins, norm=norm), loops.error(loops.top_rows(Z, target), bins, norm))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_rows_in_any_bins_give_what_a_loop_gives(data: st.DataObject) -> None:
    n, bins = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    # multiples of 1/60 stand on edges often
    p = [data.draw(st.integers(0, 60)) / 60 for _ in range(n)]
    y = [data.draw(st.integers(0, 1)) for _ in range(n)]
    edges = [k / bins for k in range(1, bins)]
    rows = [(sum(each > edge for edge in edges), each, hit) for each, hit in zip(p, y, strict=True)]
    sums = [sum(q - hit for b, q, hit in rows if b == k) for k in range(bins)]
    wanted = math.fsum(abs(total) for total in sums) / n
    close(ece(torch.tensor(p), torch.tensor(y), bins=bins, input_kind="probabilities"), wanted, 1e-6)
    exact = torch.tensor(p, dtype=torch.float64)
    close(ece(exact, torch.tensor(y), bins=bins, input_kind="probabilities"), wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_confidence_on_an_edge_is_in_the_bin_below_in_every_dtype(dtype: torch.dtype) -> None:
    for bins in (3, 7, 10, 15, 49):
        for k in range(1, bins + 1):
            p = torch.tensor([k / bins], dtype=dtype)
            table = reliability_table(p, torch.tensor([1]), bins=bins, input_kind="probabilities")
            assert table.rows.tolist() == [int(b == k - 1) for b in range(bins)]


def test_confidences_of_0_and_1_are_in_the_first_and_the_last_bin() -> None:
    table = reliability_table(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0, 1, 0]), bins=4, input_kind="probabilities")
    assert table.rows.tolist() == [1, 0, 0, 2]
    assert table.gap[3] == 0.5


@pytest.mark.parametrize("classes", [2, 3, 7, 10, 15, 1000])
def test_equal_scores_claim_one_in_c_to_the_last_bit(classes: int) -> None:
    """Or rows of one constant predictor would fall on both sides of an edge, by their place in the batch."""
    n = 37
    target = torch.zeros(n, dtype=torch.long)
    table = reliability_table(torch.full((n, classes), 0.3), target, bins=classes)
    assert table.rows.tolist() == [n, *[0] * (classes - 1)]
    assert float(table.confidence[0]) == pytest.approx(1 / classes, rel=1e-15)
    close(ece(torch.zeros(n, classes), target), 1 - 1 / classes)


def test_a_constant_predictor_of_the_base_rate_has_no_error() -> None:
    y = torch.tensor([1, 0, 0, 0] * 25)
    close(ece(torch.full((100,), -math.log(3), dtype=torch.float64), y), 0.0)
    close(ece(torch.full((100,), 0.25), y, input_kind="probabilities", norm="max"), 0.0)


def test_a_model_that_is_always_sure_is_wrong_by_its_error_rate() -> None:
    wrong = 30
    target = torch.tensor([1] * wrong + [0] * 70)
    close(ece(torch.tensor([[1e4, 0.0]]).expand(100, 2), target), wrong / 100)
    close(ece(torch.tensor([[-math.inf, 0.0]]).expand(100, 2), 1 - target), wrong / 100)


def test_a_calibrated_model_shows_only_what_chance_puts_there() -> None:
    """And the table says how much that is; an overconfident one shows more."""
    for seed in range(5):
        table = reliability_table(*loops.overconfident(3000, 4, by=1.0, seed=seed))
        expected = table.if_calibrated()
        assert 0.3 * expected.mean < float(table.error()) < expected.high * 1.3
        assert expected.p_value > 0.01
        far = reliability_table(*loops.overconfident(3000, 4, by=2.0, seed=seed))
        assert float(far.error()) > 3 * far.if_calibrated().high
        assert far.if_calibrated().p_value == 1 / 1001
        assert (far.share * far.gap).nansum() > 0.1


def test_the_error_by_chance_is_de_moivres() -> None:
    """E|K - n p| = 2 m C(n, m) p^m (1 - p)^(n - m + 1) with m = floor(n p) + 1, for K right ones of n."""
    n, p = 20, 0.8
    m = math.floor(n * p) + 1
    wanted = 2 * m * math.comb(n, m) * p**m * (1 - p) ** (n - m + 1) / n
    table = reliability_table(torch.full((n,), p), torch.tensor([1] * 16 + [0] * 4), input_kind="probabilities")
    assert table.if_calibrated(draws=20000).mean == pytest.approx(wanted, rel=0.02)
    assert table.if_calibrated("max", draws=20000).mean == pytest.approx(wanted, rel=0.02)
    assert table.if_calibrated("l2", draws=20000).mean == pytest.approx(wanted, rel=0.02)
    assert table.if_calibrated() == table.if_calibrated()
    with pytest.raises(TypeError, match='"draws" must be an int, got float'):
        table.if_calibrated(draws=1.5)
    with pytest.raises(TypeError, match='"seed" must be an int, got str'):
        table.if_calibrated(seed="0")


def test_debiasing_is_right_on_average_where_the_plain_estimate_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    p, rate, n = 0.7, 0.6, 20
    z = torch.full((n,), p)
    plain, less = [], []
    for _ in range(300):
        y = (torch.rand(n, generator=generator) < rate).long()
        table = reliability_table(z, y, input_kind="probabilities")
        a = float(y.double().mean())
        plain.append((p - a) ** 2)
        less.append((p - a) ** 2 - a * (1 - a) / (n - 1))
        close(table.error("l2", debias=True), math.sqrt(max(0, less[-1])), 1e-6)
    spread = rate * (1 - rate) / n
    assert sum(plain) / len(plain) == pytest.approx((p - rate) ** 2 + spread, abs=0.006)
    assert sum(less) / len(less) == pytest.approx((p - rate) ** 2, abs=0.006)


def test_a_bin_of_one_row_says_nothing_when_debiased() -> None:
    p, y = torch.tensor([0.1, 0.9, 0.9]), torch.tensor([1, 1, 0])
    close(ece(p, y, input_kind="probabilities", norm="l2", debias=True), 0.0)
    close(ece(p, y, input_kind="probabilities", norm="l2"), math.sqrt((0.9**2 + 2 * 0.4**2) / 3), 1e-6)


def test_binary_claims_are_of_class_1_unless_the_predicted_one_is_asked_for() -> None:
    z = torch.tensor([-2.0, -2.0, 1.0, 1.0], dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 1])
    low, high = 1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))
    close(ece(z, y), (2 * abs(low - 0.5) + 2 * (1 - high)) / 4)
    close(ece(z, y, confidence="top"), (2 * abs(1 - low - 0.5) + 2 * (1 - high)) / 4)
    two = torch.stack([torch.zeros_like(z), z], -1)
    assert torch.allclose(ece(two, y), ece(z, y, confidence="top"), rtol=1e-12)
    tie, no = torch.zeros(1), torch.tensor([0])
    for kind, claimed in (("logits", tie), ("probabilities", tie + 0.5)):  # a tie says no, as argmax of (0, z) does
        table = reliability_table(claimed, no, confidence="top", input_kind=kind)
        assert table.accuracy[table.rows > 0] == 1
    for targets in (y.double(), y.bool(), y.to(torch.uint8)):
        assert torch.equal(ece(z, targets), ece(z, y))


def test_classwise_is_the_mean_over_classes_of_one_against_the_rest() -> None:
    each = [ece(P[:, c].contiguous(), (c == Y).long(), input_kind="probabilities") for c in range(5)]
    wanted = float(torch.stack(each).mean())
    close(ece(Z, Y, confidence="classwise"), wanted)
    close(ece(P, Y, confidence="classwise", input_kind="probabilities"), wanted)


def test_bins_of_equal_mass_hold_the_same_number_and_keep_ties_together() -> None:
    table = reliability_table(Z, Y, bins=8, binning="equal_mass")
    assert table.rows.tolist() == [50] * 8
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    p = (P.amax(-1) * 10).round() / 10
    tied = [
        ece(p[o], (Y[o] > 2).long(), input_kind="probabilities", binning="equal_mass", bins=4) for o in (order, order.flip(0))
    ]
    close(tied[0], float(tied[1]))
    one = reliability_table(torch.full((9,), 0.5), Y[:9] % 2, input_kind="probabilities", binning="equal_mass", bins=3)
    assert one.rows.sum() == one.rows.max() == 9


def test_weights_count_rows_several_times() -> None:
    times = torch.randint(0, 4, (400,), generator=torch.Generator().manual_seed(2))
    again = torch.arange(400).repeat_interleave(times)
    for options in ({}, {"norm": "l2"}, {"norm": "max"}, {"confidence": "classwise"}, {"binning": "equal_mass", "bins": 5}):
        close(ece(Z, Y, weight=times.double(), **options), float(ece(Z[again], Y[again], **options)))
    table = reliability_table(Z, Y, weight=torch.full((400,), 7.0))
    assert torch.allclose(table.effective, table.rows.double())


def test_rows_that_do_not_count_may_hold_anything() -> None:
    z, y = Z.clone(), Y.clone()
    z[:3], y[:3] = torch.tensor([math.nan, math.inf, -math.inf]).double().unsqueeze(-1), -100
    mask = torch.ones(400, dtype=torch.bool)
    mask[3], z[3], y[3] = False, math.nan, 99
    wanted = float(ece(Z[4:], Y[4:]))
    close(ece(z, y, mask=mask), wanted)
    close(ece(z, y, weight=mask.double()), wanted)
    p = z.softmax(-1)
    close(ece(p, y, mask=mask, input_kind="probabilities"), wanted)
    assert ece(z, Y.where(mask, -100), mask=mask).isnan()


def test_the_layout_of_torch_and_leading_axes_give_the_same() -> None:
    cube, target = Z.reshape(4, 10, 10, 5), Y.reshape(4, 10, 10)
    close(ece(cube, target), float(ece(Z, Y)))
    close(ece(cube.movedim(-1, 1), target, class_dim=1), float(ece(Z, Y)))


def test_many_blocks_of_rows_give_what_one_gives() -> None:
    rows = 3 * _BLOCK // 4096
    z = torch.randn(rows, 4096, generator=torch.Generator().manual_seed(3))
    y = torch.randint(4096, (rows,), generator=torch.Generator().manual_seed(4))
    p = z.double().softmax(-1).amax(-1)
    close(ece(z, y, bins=1), float(p.mean() - (z.argmax(-1) == y).double().mean()), 1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_computed_as_what_it_holds(dtype: torch.dtype) -> None:
    close(ece(Z.to(dtype), Y), float(ece(Z.to(dtype).double(), Y)))


def test_counts_do_not_saturate_in_half_precision() -> None:
    """2049 does not exist in float16, which is where a sum of ones in the dtype of the scores ends at 2048."""
    y = torch.tensor([0, 1]).repeat(5000)
    close(ece(torch.full((10000,), 0.25, dtype=torch.float16), y, input_kind="probabilities"), 0.25)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_torchmetrics_agrees_off_the_edges(norm: Any) -> None:
    peers = pytest.importorskip("torchmetrics.functional.classification", reason="torchmetrics is not in the extras")
    wanted = peers.multiclass_calibration_error(Z.float(), Y, num_classes=5, norm=norm)
    close(ece(Z.float(), Y, norm=norm), float(wanted), 1e-5)
    binary = peers.binary_calibration_error(Z[:, 0].float(), (Y == 0).long(), norm=norm)
    close(ece(Z[:, 0].float(), (Y == 0).long(), norm=norm), float(binary), 1e-5)


def test_wilsons_interval_covers_and_stays_inside() -> None:
    table = reliability_table(torch.full((10,), 0.9), torch.ones(10), input_kind="probabilities", level=0.9)
    z, last = NormalDist().inv_cdf(0.95), table.rows.argmax()
    assert float(table.accuracy_low[last]) == pytest.approx(1 / (1 + z**2 / 10))
    assert float(table.accuracy_high[last]) == 1
    generator, covered = torch.Generator().manual_seed(5), 0
    for _ in range(400):
        hits = (torch.rand(50, generator=generator) < 0.8).long()
        table = reliability_table(torch.full((50,), 0.8), hits, bins=1, input_kind="probabilities")
        covered += int(table.accuracy_low[0] <= 0.8 <= table.accuracy_high[0])
    assert 0.91 < covered / 400 < 0.99


def test_the_printed_table_holds_the_bins_with_rows() -> None:
    lines = str(reliability_table(Z, Y, bins=5)).splitlines()
    assert len(lines) == 1 + int((reliability_table(Z, Y, bins=5).rows > 0).sum())
    assert "(0.800, 1.000]" in lines[-1]
    assert lines[-1].endswith("*")
    assert all(len(line) < 80 for line in lines)


WRONG = [
    ((Z, Y[:5]), {}, ShapeError, r'"target" has shape \(5,\), expected \(400,\)'),
    ((Z[:, :1], Y), {}, ShapeError, r"use input.squeeze\(-1\)"),
    ((Z[:, 0], Y[:5]), {}, ShapeError, r'"target" has shape \(5,\)'),
    ((Z, torch.nn.functional.one_hot(Y)), {}, ShapeError, r"target.argmax\(-1\)"),
    ((Z, Y + 3), {}, IndexError, r'"target" is \d at index'),
    ((Z[:, 0], Y), {}, ValueError, r'"target" is \d at index'),
    ((Z, Y.double()), {}, TypeError, r"expected integers"),
    ((Z.tolist(), Y), {}, TypeError, '"input" must be a Tensor'),
    ((Z.long(), Y), {}, TypeError, "use input.float"),
    ((Z, Y), {"input_kind": "probabilities"}, ValueError, '"input" is .* expected'),
    ((P * 0.9, Y), {"input_kind": "probabilities"}, ValueError, '"input" sums to 0.9 at index 0, expected 1'),
    ((Z, Y), {"input_kind": "probs"}, ValueError, "'logits' or 'probabilities'"),
    ((Z, Y), {"bins": 0}, ValueError, '"bins" must be >= 1'),
    ((Z, Y), {"bins": 2.0}, TypeError, '"bins" must be an int'),
    ((Z, Y), {"norm": "l3"}, ValueError, '"norm"'),
    ((Z, Y), {"binning": "quantile"}, ValueError, '"binning"'),
    ((Z, Y), {"debias": True}, ValueError, 'norm="l2"'),
    ((Z, Y), {"confidence": "positive"}, ValueError, "only binary scores"),
    ((Z[:, 0], Y % 2), {"confidence": "classwise"}, ValueError, "binary scores"),
    ((Z, torch.full_like(Y, -100)), {}, ValueError, "400 rows of which none counts"),
    ((Z[:0], Y[:0]), {}, ValueError, "0 rows of which none counts"),
    ((P[:0], Y[:0]), {"input_kind": "probabilities"}, ValueError, "0 rows"),
    ((Z, Y), {"weight": -torch.ones(400)}, ValueError, '"weight"'),
]


@pytest.mark.parametrize(("tensors", "options", "error", "message"), WRONG)
def test_a_wrong_argument_is_named(
    tensors: tuple[Any, Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ece(*tensors, **options)


def test_a_nan_shows_and_raises_inside_debug() -> None:
    z = Z.clone()
    z[7, 2] = math.nan
    assert ece(z, Y).isnan()
    assert ece(z, Y, norm="max").isnan()
    with debug(), pytest.raises(ValueError, match=r'"input" is nan at index \(7, 2\)'):
        ece(z, Y)
