"""A step in chunks among other things: batches of any make, BatchNorm, torch.compile, mistakes, two ranks."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import losskit
from cached_models import ROWS, Contrast, Encoder, data, equal, gradients
from embedding_ranks import Found, ranks
from harness import refused
from losskit.core.check import ShapeError
from losskit.losses.cached_step import CachedStep


class Pair(NamedTuple):
    x: Tensor
    scale: Tensor | float


def wrapped(a: Tensor) -> Iterator[tuple[Any, Callable[[Any], Tensor]]]:
    """A batch in containers of every make, and how to take it out."""
    from transformers import BatchEncoding

    texts = [str(row.tolist()) for row in a]
    yield a, lambda batch: batch
    yield (a, None, 2.0), lambda batch: batch[0] * batch[2] / 2
    yield [a[:, :3], a[:, 3:]], lambda batch: torch.cat(batch, -1)
    yield {"x": {"y": (a, a.sum(-1))}, "name": "images"}, lambda batch: batch["x"].pop("y")[0]
    yield Pair(a, torch.tensor(1.0)), lambda batch: batch.x * batch.scale
    yield BatchEncoding({"input_ids": a, "attention_mask": a > 0}), lambda batch: batch.input_ids
    yield texts, lambda batch: torch.tensor([eval(text) for text in batch], dtype=torch.float64)
    yield {"texts": texts, "x": a}, lambda batch: batch["x"][: len(batch["texts"])]
    yield a.numpy(), torch.from_numpy


@pytest.mark.parametrize("make", range(9))
def test_a_batch_may_come_in_any_container(make: int) -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    loss(encoder(a), encoder(b)).backward()
    wanted = gradients(encoder, loss)
    batch, take = list(wrapped(a))[make]
    CachedStep(loss, 4)((lambda batch: encoder(take(batch)), batch), (encoder, b)).backward()
    equal(gradients(encoder, loss), wanted)


def test_what_is_no_tower_goes_to_the_loss_in_its_place() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    labels = torch.arange(ROWS).flip(0)
    loss(encoder(a), encoder(b), labels).backward()
    wanted = gradients(encoder, loss)
    CachedStep(loss, 4)((encoder, a), (encoder, b), labels).backward()
    equal(gradients(encoder, loss), wanted)


def test_a_tower_may_come_by_name() -> None:
    """Hard negatives are an option of the loss."""
    torch.manual_seed(0)
    encoder = nn.Linear(6, 4).double()
    query, key, wrong = (torch.randn(n, 6, dtype=torch.float64) for n in (5, 5, 7))
    loss = losskit.InfoNCELoss()
    wanted = torch.autograd.grad(loss(encoder(query), encoder(key), negatives=encoder(wrong)), encoder.weight)[0]
    CachedStep(loss, 2)((encoder, query), (encoder, key), negatives=(encoder, wrong)).backward()
    assert encoder.weight.grad is not None
    torch.testing.assert_close(encoder.weight.grad, wanted, rtol=1e-12, atol=1e-12)


def test_batch_norm_in_train_mode_is_warned_of_once() -> None:
    encoder, loss, (a, b) = Encoder(norm=nn.BatchNorm1d(8, dtype=torch.float64)), Contrast(), data()
    step = CachedStep(loss, 5)
    with pytest.warns(UserWarning, match="BatchNorm in train mode sees 5 rows") as caught:
        step((encoder, a), (encoder, b))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="BatchNorm"):
        CachedStep(loss, 5)((lambda x: encoder(x), a), (encoder, b))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step((encoder, a), (encoder, b))
        CachedStep(loss, 5)((encoder.eval(), a), (encoder, b))


def test_a_random_encoder_that_torch_cannot_rewind_is_found_in_debug() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    with losskit.debug():
        value = CachedStep(loss, 4)((lambda x: encoder(x * random.random()), a), (encoder, b))
        assert "other embeddings the second time" in refused(RuntimeError, value.backward)
        CachedStep(loss, 4)((Encoder(0.5), a), (encoder, b)).backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own look at a tensor where it breaks a graph
def test_a_step_runs_inside_a_compiled_function() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    loss(encoder(a), encoder(b)).backward()
    wanted = gradients(encoder, loss)
    step = CachedStep(loss, 4)
    torch.compile(lambda a, b: step((encoder, a), (encoder, b)) * 1.0, backend="eager")(a, b).backward()
    equal(gradients(encoder, loss), wanted)


def test_mistakes_are_named() -> None:
    encoder, loss, (a, b) = Encoder(), Contrast(), data()
    step = CachedStep(loss, 4)
    assert refused(ValueError, lambda: CachedStep(loss, 0)) == '"chunk_size" must be >= 1, got 0'
    assert '"chunk_size"' in refused(TypeError, lambda: CachedStep(loss, 2.0))
    assert "none" in refused(TypeError, lambda: step(a, b))
    assert refused(ValueError, lambda: step((encoder, a), (encoder, b[:0]))) == (
        '"batch 1" has no rows, expected at least one: skip the step'
    )
    message = refused(ShapeError, lambda: step((encoder, {"x": (a, b[:3])})))
    assert message.startswith("\"batch 0['x'][1]\" has 3 rows, expected 10 like \"batch 0['x'][0]\"")
    assert "without a tensor" in refused(TypeError, lambda: step((encoder, {"x": None})))
    assert "with a graph" in refused(ValueError, lambda: step((encoder, a * torch.ones(1, requires_grad=True))))
    assert "last_hidden_state" in refused(TypeError, lambda: step((lambda x: (encoder(x),), a)))
    assert "as many rows as it got" in refused(ShapeError, lambda: step((lambda x: encoder(x).sum(0, keepdim=True), a)))
    value = step((encoder, a), (encoder, b))
    assert "no second derivative" in refused(RuntimeError, lambda: value.backward(create_graph=True))
    name: Any = "info_nce_loss"
    assert refused(TypeError, lambda: CachedStep(name, 3)) == '"loss" must be a function or a module, got str'


def test_a_step_whose_encoders_all_leave_the_graph_is_warned_of() -> None:
    (a, b), encoder, loss = data(), Encoder(), Contrast()
    step = CachedStep(loss, 5)

    def encode(batch: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = encoder(batch)
        return out

    with pytest.warns(UserWarning, match="no encoder of this step learns.*no_grad"):
        step((encode, a), (encode, b)).backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step((encode, a), (encoder, b)).backward()  # one that is left out is meant to be
        step((encoder.requires_grad_(False), a), (encode, b)).backward()


# two ranks


class Travels:
    """Counts the all-reduces of DistributedDataParallel."""

    def __init__(self, model: DistributedDataParallel) -> None:
        self.count = 0
        model.register_comm_hook(None, self.hook)

    def hook(self, state: object, bucket):
        self.count += 1
        total = bucket.buffer() / dist.get_world_size()
        dist.all_reduce(total)
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(total)
        return future


def distributed(rank: int, world: int) -> Found:
    a, b = (t[:7] if rank == 0 else t[7:] for t in data())  # chunks of 3: three on the first rank, one on the second
    found: Found = {}
    for name in ("module", "function", "two modules"):
        loss = Contrast(dist.group.WORLD)
        one = DistributedDataParallel(Encoder())
        two = DistributedDataParallel(Encoder()) if name == "two modules" else one
        counts = [Travels(one), *([Travels(two)] if two is not one else [])]
        encoders = [functools.partial(lambda m, x: m(x), m) if name == "function" else m for m in (one, two)]
        step = CachedStep(loss, 3)
        for _ in range(2):  # the second step has the buckets that the first one ordered
            value = step((encoders[0], a), (encoders[1], b))
            value.backward()
            assert loss.log_scale.grad is not None
            dist.all_reduce(loss.log_scale.grad)
            loss.log_scale.grad /= world
            found[name] = value.detach(), gradients(*{one: 0, two: 0}, loss), [c.count for c in counts]
    return found


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
def test_two_ranks_have_the_gradient_of_one_process_and_send_it_once(tmp_path: Path) -> None:
    found = ranks(distributed, 2, tmp_path)
    (a, b), loss = data(), Contrast()
    for name in found[0]:
        one = Encoder()
        two = Encoder() if name == "two modules" else one
        loss(one(a), two(b)).backward()
        wanted = gradients(*{one: 0, two: 0}, loss)
        for rank in found:
            value, got, sent = rank[name]
            torch.testing.assert_close(value, loss(one(a), two(b)).detach(), rtol=1e-12, atol=0)
            equal(got, wanted)
            assert set(sent) == {2}, name  # once a step, for one bucket
