"""AUC and average precision over batches: those of the whole stream, whatever the split, from each score once."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from losskit.evaluate.ranked import binary_stream
from losskit.evaluate.ranked.binary_stream import BinaryRanking
from losskit.evaluate.ranked.pairs_in_order import auc
from losskit.evaluate.ranked.yes_no import average_precision

DRAW = torch.Generator().manual_seed(0)
FLAT, YES = torch.randint(0, 6, (540,), generator=DRAW).double(), torch.rand(540, generator=DRAW) < 0.25


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.allclose(a[name], b[name], rtol=1e-12, atol=0) for name in a)


def binary(cuts: list[int], scores: Tensor = FLAT, **options: object) -> BinaryRanking:
    metric = BinaryRanking(**options)
    for a, b in zip([0, *cuts], [*cuts, 540], strict=True):
        metric.update(scores[a:b], YES[a:b])
    return metric


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 540), max_size=6), pending=st.sampled_from([0, 50, 2**20]), untied=st.booleans())
def test_any_split_of_a_stream_has_the_auc_and_average_precision_of_the_whole(
    cuts: list[int], pending: int, untied: bool
) -> None:
    scores = FLAT + torch.arange(540) * 1e-3 if untied else FLAT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary_stream, "_PENDING", pending)
        found = binary(sorted(cuts), scores).compute()
        assert float(found["auc"]) == pytest.approx(float(auc(scores, YES)), rel=1e-13)
        assert float(found["average_precision"]) == pytest.approx(float(average_precision(scores, YES)), rel=1e-13)
        found = binary(sorted(cuts), scores, ties="threshold", max_fpr=0.2).compute()
        assert float(found["auc"]) == pytest.approx(float(auc(scores, YES, max_fpr=0.2)), rel=1e-13)
        expected = average_precision(scores, YES, ties="threshold")
        assert float(found["average_precision"]) == pytest.approx(float(expected), rel=1e-13)


def test_what_is_kept_is_each_score_once() -> None:
    metric = binary([100])
    saved = metric.state_dict()
    assert saved["scores"].tolist() == [5, 4, 3, 2, 1, 0]
    assert saved["yes"].tolist() == [int(YES[each == FLAT].sum()) for each in saved["scores"]]
    assert (saved["yes"] + saved["no"]).tolist() == [int((each == FLAT).sum()) for each in saved["scores"]]
    metric.update(torch.tensor([-0.0, 0.0]), torch.tensor([1, 0]))
    assert len(metric.state_dict()["scores"]) == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int16, torch.int64])
def test_scores_of_every_dtype_and_of_several_are_compared_as_they_are(dtype: torch.dtype) -> None:
    metric = BinaryRanking()
    metric.update(FLAT[:200].to(dtype), YES[:200].long())
    metric.update(FLAT[200:].reshape(34, 10), YES[200:].reshape(34, 10), mask=torch.ones(34, 10, dtype=torch.bool))
    assert float(metric.compute()["auc"]) == pytest.approx(float(auc(FLAT, YES)), rel=1e-13)


@pytest.mark.parametrize("options", [{}, {"max_fpr": 0.3, "ties": "threshold"}])
def test_a_look_at_the_state_changes_no_figure(options: dict[str, object]) -> None:
    metric = binary([100, 300], **options)
    before = metric.compute()
    assert close(metric.compute(), before)
    assert int(metric.state_dict()["yes"].sum()) == int(YES.sum())  # from here on counts are kept, not scores
    assert close(metric.compute(), before)
    metric.update(FLAT[:0], YES[:0])
    assert close(metric.compute(), before)
    metric.update(FLAT, YES)  # all once more: shares stay, but for the precision of half a tie
    assert float(metric.compute()["auc"]) == pytest.approx(float(before["auc"]), rel=1e-12)


def test_a_stream_takes_no_hold_of_its_inputs() -> None:
    metric, scores, target = BinaryRanking(), FLAT.clone(), YES.clone()
    metric.update(scores, target)
    scores.zero_()
    target.fill_(True)
    assert float(metric.compute()["auc"]) == pytest.approx(float(auc(FLAT, YES)), rel=1e-13)


def test_what_is_masked_is_not_there_and_a_nan_that_counts_is_shown() -> None:
    metric, mask = BinaryRanking(), torch.arange(540) % 3 > 0
    metric.update(torch.where(mask, FLAT, torch.nan), torch.where(mask, YES.double(), torch.nan), mask=mask)
    assert float(metric.compute()["auc"]) == pytest.approx(float(auc(FLAT[mask], YES[mask])), rel=1e-13)
    metric.update(torch.tensor([torch.nan]), torch.tensor([1]))
    assert all(bool(value.isnan()) for value in metric.compute().values())


def test_a_stream_without_a_score_is_an_error_and_without_a_class_nan() -> None:
    metric = BinaryRanking()
    metric.update(FLAT[:0], YES[:0])
    with pytest.raises(ValueError, match="no score to go by"):
        metric.compute()
    metric.update(FLAT, torch.ones_like(YES))
    found = metric.compute()
    assert bool(found["auc"].isnan())
    assert float(found["average_precision"]) == pytest.approx(1, rel=1e-12)


def test_a_stream_merges_saves_and_goes_on(tmp_path: Path) -> None:
    whole, first, second = binary([]).compute(), BinaryRanking(), BinaryRanking()
    first.update(FLAT[:100].float(), YES[:100])
    second.update(FLAT[100:], YES[100:])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    again = BinaryRanking().load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for metric in (first, again, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert close(metric.merge_state([second, BinaryRanking()]).compute(), whole)
    with pytest.raises(ValueError, match="no score"):
        again.reset().compute()
    for wrong in ({"scores": FLAT, "yes": YES, "no": YES}, {**first.state_dict(), "yes": torch.tensor([-1])}, {"scores": FLAT}):
        with pytest.raises(ValueError, match='"state" has'):
            again.load_state_dict(wrong)


def test_a_batch_of_a_stream_that_does_not_fit_is_refused() -> None:
    metric = BinaryRanking()
    with pytest.raises(ValueError, match='"target" is 2 at index 1'):
        metric.update(torch.zeros(2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r'"target" has shape \(3,\), expected \(2,\)'):
        metric.update(torch.zeros(2), torch.zeros(3))
    with pytest.raises(TypeError, match='"scores" must be a Tensor'):
        metric.update([1.0, 2.0], torch.zeros(2))
    for option, wrong in (("ties", "stable"), ("max_fpr", 0.0), ("max_fpr", 1.5)):
        with pytest.raises(ValueError, match=f'"{option}" must be'):
            BinaryRanking(**{option: wrong})
