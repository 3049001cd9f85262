"""Documents, groups, units and ranks of losskit.Perplexity, and what is saved of them."""

from __future__ import annotations

import copy
import io
import math
import os
import pickle
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from evaluate_helpers_metric import batch, reference
from losskit.evaluate.metric import Perplexity


def test_documents_and_groups_make_the_interval() -> None:
    whole = Perplexity()
    logits, target = batch(dtype=torch.float64)
    whole.update(logits, target, document=["a", "b", "c"], group=["x", "x", "y"])
    nll = F.cross_entropy(logits.reshape(-1, 11), target.reshape(-1), reduction="none").reshape(3, 5)
    sums, units = nll.sum(1), (target != -100).sum(1)
    rate = sums.sum() / units.sum()
    error = math.sqrt(3 / 2 * float(((sums - rate * units) ** 2).sum())) / float(units.sum())
    result = whole.result()
    assert (result.documents, result.tokens) == (3, 11)
    assert result.standard_error == pytest.approx(error, rel=1e-12)
    assert (result.low or 0) < (result.perplexity or 0) < (result.high or 0)
    assert result.groups["x"].tokens == 8
    assert result.groups["y"].loss == pytest.approx(float(sums[2] / units[2]), rel=1e-12)
    whole.update(logits, target)
    assert whole.result().standard_error is None  # tokens of nobody knows which document


def test_a_document_in_pieces_is_one_cluster() -> None:
    metric = Perplexity()
    for document in ("a", "b", "a"):
        metric.update_sum(3.0, 2, document=document)
    assert metric.result().documents == 2
    metric.update_nll(torch.tensor([1.0, 2.0, 4.0]), document=["c", "c", "a"], group=["x", "x", "y"])
    assert metric.result().documents == 3  # "a" is of two groups, and one document
    assert metric.result().nats == 9.0 + 7.0
    assert metric.result().groups["x"].nats == 3.0


def test_the_order_of_ranks_does_not_change_a_digit() -> None:
    states = []
    for nats in (1e16, 1.0, 1.0):
        metric = Perplexity()
        metric.update_sum(nats, 1)
        states.append(metric.state_dict()["own"])
    for first, *others in (states, states[::-1]):
        assert Perplexity().load_state_dict({"own": first, "others": others}).result().nats == 1e16 + 2


def test_units_are_known_only_if_every_token_has_them() -> None:
    metric = Perplexity()
    metric.update_sum(8 * math.log(2), 2, document="a", bytes=4, words=1)
    assert metric.result().bits_per_byte == pytest.approx(2)
    assert metric.result().byte_perplexity == pytest.approx(4)
    assert metric.result().word_perplexity == pytest.approx(256)
    assert metric.result().character_perplexity is None
    metric.update(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), document="b")
    assert metric.result().bits_per_byte is None
    metric.update_sum(0.0, 0, document="b", bytes=7)
    assert (metric.result().bits_per_byte, metric.result().words) == (pytest.approx(1), None)
    metric.update(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), document="b")
    assert metric.result().bits_per_byte is None


def test_merged_metrics_are_one() -> None:
    logits, target = batch(dtype=torch.float64)
    pieces = [Perplexity() for _ in range(3)]
    for piece, x, y, name in zip(pieces, logits, target, "aba", strict=True):
        piece.update(x, y, document=name)
    whole = Perplexity().merge_state(pieces)
    assert float(whole.compute()) == pytest.approx(reference(logits, target), rel=1e-14)
    assert whole.result().documents == 2
    assert pieces[0].result().documents == 1


def test_a_reset_forgets_everything() -> None:
    metric = Perplexity()
    metric.update_sum(1.0, 1, document="a", bytes=1)
    metric.reset()
    assert metric.result() == Perplexity().result()


def test_state_survives_saving_pickling_and_copying() -> None:
    metric = Perplexity()
    for number in range(5):
        metric.update_sum(1.5 * number, number, document=number, group="g", bytes=3)
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    loaded = Perplexity().load_state_dict(torch.load(file, weights_only=True))
    copies = [loaded, pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)]
    for other in copies:
        assert other.result() == metric.result()
        other.update_sum(1.0, 1)
        assert other.result().tokens == metric.result().tokens + 1


def piece(rank: int, ranks: int, round: int) -> Perplexity:
    """What one rank counts in one round: uneven, and the last rank nothing in the first."""
    metric = Perplexity()
    if round or rank < ranks - 1:
        for number in range(rank + 1):
            generator = torch.Generator().manual_seed(100 * round + 10 * rank + number)
            logits = torch.randn(2, 3 + rank, 7, generator=generator)
            target = torch.randint(7, (2, 3 + rank), generator=generator)
            metric.update(logits, target, document=["shared", f"{round}-{rank}-{number}"], group=f"of {rank}")
            metric.update_sum(0.0, 0, document="shared", group=f"of {rank}", bytes=5)
    return metric


def work(rank: int, ranks: int, folder: str) -> None:
    """One rank: two rounds of counting, with sync() after each, the second time twice."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks, timeout=timedelta(seconds=60)
    )
    metric = piece(rank, ranks, 0)
    results = [metric.sync().result()]
    metric.merge_state([piece(rank, ranks, 1)])
    results.append(metric.sync().result())
    saved = metric.state_dict()
    results.append(metric.sync().result())
    results.append(Perplexity().load_state_dict(saved).sync().result())
    with open(f"{folder}/{rank}.pickle", "wb") as file:
        pickle.dump((results, float(metric.compute()), float(metric.parts().total)), file)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down


@pytest.mark.claim("R9")
@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_agree_with_one_process_however_often_they_sync(
    ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, args=(ranks, str(tmp_path)), nprocs=ranks)
    first, second = (Perplexity(), Perplexity())
    first.merge_state(piece(rank, ranks, 0) for rank in range(ranks))
    second.merge_state(piece(rank, ranks, round) for round in range(2) for rank in range(ranks))
    found = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(ranks)]
    for results, value, nats in found:
        assert results == found[0][0]  # to the last digit
        assert value == found[0][1]
        assert nats == pytest.approx(second.result().nats, rel=1e-14)
        assert results[1] == results[2] == results[3]
        for got, wanted in ((results[0], first.result()), (results[1], second.result())):
            assert (got.tokens, got.documents, got.bytes, got.words) == (
                wanted.tokens, wanted.documents, wanted.bytes, wanted.words
            )  # fmt: skip
            assert got.loss == (None if wanted.loss is None else pytest.approx(wanted.loss, rel=1e-14))
            assert got.groups.keys() == wanted.groups.keys()
            assert got.standard_error == (
                None if wanted.standard_error is None else pytest.approx(wanted.standard_error, rel=1e-10)
            )


def test_without_a_process_group_sync_does_nothing() -> None:
    metric = Perplexity()
    metric.update_sum(1.0, 1)
    assert metric.sync().sync().result().tokens == 1


def test_merging_ranks_that_have_synced_counts_nothing_twice() -> None:
    here, there = Perplexity(), Perplexity()
    here.update_sum(1.0, 1)
    there.update_sum(2.0, 3)
    synced = here.load_state_dict({"own": here.state_dict()["own"], "others": [there.state_dict()["own"]]})
    assert synced.result().tokens == 4
    assert Perplexity().merge_state([synced, there]).result().tokens == 4
