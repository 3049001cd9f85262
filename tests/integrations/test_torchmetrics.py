"""The adapter inside of torchmetrics: collections, forward, ranks, saving."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

import losskit.evaluate.metric as ours

torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
Perplexity = pytest.importorskip("losskit.integrations.torchmetrics").Perplexity


def batch(seed: int, rows: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, target = torch.randn(rows, 5, 9, generator=generator), torch.randint(9, (rows, 5), generator=generator)
    return logits, target.masked_fill_(torch.rand(rows, 5, generator=generator) < 0.3, -100)


def alone(*batches: tuple[Tensor, Tensor]) -> float:
    metric = ours.Perplexity()
    for logits, target in batches:
        metric.update(logits, target)
    return float(metric.compute())


def test_forward_gives_the_batch_and_compute_gives_all() -> None:
    metric = Perplexity()
    first, second = batch(0), batch(1, 2)
    assert float(metric(*first)) == pytest.approx(alone(first), rel=1e-14)
    assert float(metric(*second)) == pytest.approx(alone(second), rel=1e-14)
    assert float(metric.compute()) == pytest.approx(alone(first, second), rel=1e-14)
    metric.reset()
    metric.update(*second)
    assert float(metric.compute()) == pytest.approx(alone(second), rel=1e-14)


@pytest.mark.claim("R38")
def test_it_works_in_a_collection_beside_others() -> None:
    both = torchmetrics.MetricCollection(
        {"ours": Perplexity(), "shifted": Perplexity(shift=True), "theirs": torchmetrics.text.Perplexity(ignore_index=-100)}
    )
    for seed in range(3):
        both(*batch(seed))
    found = both.compute()
    assert float(found["ours"]) == pytest.approx(alone(*map(batch, range(3))), rel=1e-14)
    assert float(found["ours"]) == pytest.approx(float(found["theirs"]), rel=1e-5)
    assert float(found["shifted"]) != pytest.approx(float(found["ours"]))
    logits, target = batch(0)
    both.update(preds=logits, target=target)


def test_options_and_masks_reach_the_metric() -> None:
    logits, target = batch(0)
    metric = Perplexity(class_dim=1)
    metric.update(logits.movedim(-1, 1), target.clamp(min=0), mask=target != -100)
    assert float(metric.compute()) == pytest.approx(alone((logits, target)), rel=1e-14)
    with pytest.raises(TypeError, match='"class_dim" must be an int'):
        Perplexity(class_dim=1.0)


def test_a_batch_of_padding_is_no_number_and_does_no_harm() -> None:
    metric = Perplexity()
    logits, target = batch(0)
    assert math.isnan(metric(logits, torch.full_like(target, -100)))
    metric.update(logits, target)
    assert float(metric.compute()) == pytest.approx(alone((logits, target)), rel=1e-14)


def test_a_token_of_120_nats_is_finite() -> None:
    metric = Perplexity()
    metric.update(torch.tensor([[120.0, 0.0]]), torch.tensor([1]))
    assert float(metric.compute()) == pytest.approx(math.exp(120), rel=1e-12)


def test_a_model_in_half_precision_leaves_the_sums_wide() -> None:
    model = nn.ModuleDict({"metric": Perplexity(), "layer": nn.Linear(2, 2)}).half()
    metric = model["metric"]
    assert isinstance(metric, Perplexity)
    metric.update(*batch(0))
    assert (metric.nats.dtype, metric.tokens.dtype) == (torch.float64, torch.int64)


def test_it_is_pickled_copied_and_saved() -> None:
    metric = Perplexity()
    metric.persistent(True)
    metric.update(*batch(0))
    restored = Perplexity()
    restored.persistent(True)
    restored.load_state_dict(metric.state_dict())
    for other in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), restored):
        other.update(*batch(1))
        assert float(other.compute()) == pytest.approx(alone(batch(0), batch(1)), rel=1e-14)
    assert float(metric.compute()) == pytest.approx(alone(batch(0)), rel=1e-14)


def work(rank: int, folder: str) -> None:
    """One of two ranks; the second has nothing but padding."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    metric = Perplexity()
    logits, target = batch(0)
    metric.update(logits, target if rank == 0 else torch.full_like(target, -100))
    found = [float(metric.compute())]
    metric.update(*batch(1 + rank, 2 + rank))
    found.append(float(metric.compute()))
    (Path(folder) / str(rank)).write_text(repr(found))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
def test_ranks_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    wanted = [alone(batch(0)), alone(batch(0), batch(1, 2), batch(2, 3))]
    for rank in range(2):
        found = [float(number) for number in (tmp_path / str(rank)).read_text().strip("[]").split(",")]
        assert found == pytest.approx(wanted, rel=1e-14)


def test_without_torchmetrics_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["torchmetrics"] = None
try:
    import losskit.integrations.torchmetrics
except ImportError as problem:
    print(problem)
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found == "losskit.integrations.torchmetrics needs torchmetrics: pip install torchmetrics\n"
