"""Every loss with a ``group``, on 1, 2 and 3 ranks over gloo: the value and, after DDP's mean, the gradients of one process.

Rows and negatives are shared out unevenly, one rank has none, all have none. Compared are the gradients of an encoder that all
learnable rows go through, of tensors that every rank has whole (proxies), of temperature, logit_scale and logit_bias.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import pkgutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

import losskit.losses
from cases import Case, draw
from embedding_ranks import SHARES, Found, part, ranks
from harness import takes
from losskit.core.card import CATALOGUE, Card
from losskit.core.domain import Embeddings, Labels, Mask
from losskit.core.reduce import Reduction
from losskit.losses.embeddings import reduce_rows, rows_of
from losskit.parallel import gather_rows

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")

SCALES = {"temperature": 0.3, "logit_scale": 4.0, "logit_bias": -1.0}  # where the loss has no default
MODES: tuple[dict[str, Any], ...] = ({}, {"reduction": "sum"}, {"normalizer": 5.0}, {"reduction": "none"})
Measured = tuple[Tensor, dict[str, Tensor]]
Gather = Callable[[Tensor, Any], tuple[Tensor, int]]


# the losses: all of the catalogue that know ranks, and two of ours with the mistakes that peers make


def catalogue() -> dict[str, Card]:
    for module in pkgutil.iter_modules(losskit.losses.__path__):
        importlib.import_module(f"losskit.losses.{module.name}")
    return {name: card for name, card in sorted(CATALOGUE.items()) if "group" in card.options}


def pairs(gather: Gather, scale: Callable[[Tensor, int], Tensor], query: Tensor, key: Tensor, **options: Any) -> Tensor:
    """InfoNCE of each rank's rows against the keys of all."""
    group = options["group"]
    here, there = rows_of(query, options["mask"]), rows_of(key, options["mask"])
    keys, start = gather(there.values, group)
    scores = here.values @ keys.T / scale(torch.as_tensor(options["temperature"]), 1 if group is None else group.size())
    scores = torch.where(gather_rows(there.valid, group).rows, scores, -math.inf)
    own = torch.arange(len(scores)) + start
    value = scores.logsumexp(-1) - torch.where(own[:, None] == torch.arange(len(keys)), scores, 0).sum(-1)
    value = torch.where(here.valid, value, 0)
    return reduce_rows(value, here.valid, here.lead, options["reduction"], options["normalizer"], group)


def as_card(gather: Gather = gather_rows, scale: Callable[[Tensor, int], Tensor] = lambda t, _: t) -> Card:
    def function(
        query: Tensor,
        key: Tensor,
        *,
        temperature: Tensor | float = 0.2,
        mask: Tensor | None = None,
        reduction: Reduction = "mean",
        normalizer: Tensor | float | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> Tensor:
        options = {"temperature": temperature, "mask": mask, "reduction": reduction, "normalizer": normalizer, "group": group}
        return pairs(gather, scale, query, key, **options)

    sample = {"query": Embeddings(), "key": Embeddings(), "mask": Mask()}
    return Card(function, "embedding", sample, function, frozenset(), ({}, {"temperature": 1.0}), None, None, None)


def of_labels() -> Card:
    """How far apart rows of the same label are: a loss of (input, labels)."""

    def function(input: Tensor, labels: Tensor, *, group: dist.ProcessGroup | None = None) -> Tensor:
        rows = rows_of(input, normalize=False)
        every, start = gather_rows(rows.values, group)
        others = torch.arange(len(every)) != torch.arange(len(labels))[:, None] + start
        same = (labels[:, None] == gather_rows(labels, group).rows) & others
        apart = (rows.values[:, None] - every).square().sum(-1)
        value = torch.where(same, apart, 0).sum(-1) / same.sum(-1).clamp(min=1)
        return reduce_rows(value, same.any(-1), rows.lead, "mean", None, group)

    return Card(
        function, "embedding", {"input": Embeddings(), "labels": Labels()}, function, frozenset(), ({},), None, None, None
    )


def undone(rows: Tensor, group: Any) -> tuple[Tensor, int]:
    return gather_rows(rows if group is None else rows.detach(), group)


def averaged(rows: Tensor, group: Any) -> tuple[Tensor, int]:
    every, start = gather_rows(rows, group)
    share = 1 if group is None else group.size()
    return every / share + (every - every / share).detach(), start


def astray(rows: Tensor, group: Any) -> tuple[Tensor, int]:
    return gather_rows(rows, group).rows, 0


def summed(temperature: Tensor, world: int) -> Tensor:
    return temperature * world - (temperature * (world - 1)).detach()


OURS = {"of pairs": as_card(), "of labels": of_labels()}
MUTANTS = {
    "the gather has no gradient": (as_card(undone), "encoder"),
    "the gradient of the gather is divided by the ranks": (as_card(averaged), "encoder"),
    "the gradient of the temperature is multiplied by the ranks": (as_card(scale=summed), "temperature"),
    "the positives are those of the first rank": (as_card(astray), "value"),
}
CARDS = catalogue()
ALL = {**CARDS, **OURS, **{name: card for name, (card, _) in MUTANTS.items()}}


# one step, on a rank or alone


def calls(card: Card, world: int) -> Iterator[tuple[str, tuple[int, ...], Mapping[str, Any], bool, dict[str, Any]]]:
    """(key, rows of each rank, variant, whether there is a mask, options) of every call of this loss."""
    for (at, variant), masked in itertools.product(enumerate(card.variants), (False, True)):
        if masked and ("mask" in variant or not takes(card, "mask")):
            continue
        for share, mode in itertools.product(SHARES[world], MODES):
            # one way of sharing out is enough for masks and, in the first variant, for the other reductions
            plain = share == SHARES[world][0] and (not mode or at == 0)
            if mode.keys() <= card.options.keys() and (plain or not (mode or masked)):
                yield f"variant {at}, mask {masked}, rows {share}, {mode}", share, variant, masked, mode


def has_rows(case: Case, name: str) -> bool:
    """Whether each rank has rows of its own of this tensor: of the batch, or further negatives."""
    return case.card.sample[name].axes[0] or "negative" in name


def step(card: Card, variant: Mapping[str, Any], masked: bool, rows: int, here: slice, turn: slice, **options: Any) -> Measured:
    """The value, and the gradients of all that learns, on a rank with the rows ``here`` and every other one of the negatives."""
    whole = draw(card, variant, batch=(rows,), **({"mask": True} if masked else {}))
    apart = [n for n, domain in card.sample.items() if not domain.axes[0] and has_rows(whole, n)]
    further = {n: t[turn] for n, t in whole.everything().items() if n in apart}
    case = whole.mapped(lambda t: t[here]).replaced(**further)
    learns = encoder_of(case) | scales(card, case)
    encoded = {n: encode(t, learns) if has_rows(case, n) else learns[n] for n, t in case.learnable().items()}
    scalars = {n: t for n, t in learns.items() if n in SCALES and n not in case.tensors}
    value = case.replaced(**encoded).value(**scalars, **options)
    return value.detach(), dict(zip(learns, torch.autograd.grad(value.sum(), list(learns.values())), strict=True))


def encoder_of(case: Case) -> dict[str, Tensor]:
    """A linear layer for each number of features, a scale for single numbers, and what has no rows as it is."""
    generator = torch.Generator().manual_seed(7)
    learns: dict[str, Tensor] = {}
    for name, tensor in case.learnable().items():
        last = case.card.sample[name].axes[1]
        if not has_rows(case, name):
            learns[name] = tensor.detach().clone()
        elif last:
            size = tensor.shape[-1]
            noise = torch.randn(size, size + 1, generator=generator, dtype=tensor.dtype)
            learns.setdefault(f"encoder {size}", 0.3 * noise + torch.eye(size, size + 1, dtype=tensor.dtype))
        else:
            learns.setdefault("encoder of numbers", torch.tensor([1.2, 0.1], dtype=tensor.dtype))
    return {n: t.requires_grad_() for n, t in learns.items()}


def encode(raw: Tensor, learns: Mapping[str, Tensor]) -> Tensor:
    if f"encoder {raw.shape[-1]}" in learns:
        weight = learns[f"encoder {raw.shape[-1]}"]
        return raw @ weight[:, :-1].T + weight[:, -1]
    scale, shift = learns["encoder of numbers"]
    return raw * scale + shift


def scales(card: Card, case: Case) -> dict[str, Tensor]:
    """Temperatures and their like as 0-d tensors; a loss that takes either of two gets the one it has a default for."""
    found: dict[str, Tensor] = {}
    for name in SCALES.keys() & card.options.keys():
        given = case.options.get(name, card.options[name])
        if given is None and name == "logit_scale" and "temperature" in card.options:
            continue
        if not isinstance(given, Tensor):
            found[name] = torch.tensor(SCALES[name] if given is None else float(given), dtype=torch.float64, requires_grad=True)
    return found


class Broken(str):
    """What an exception said that no loss should raise."""


def attempted(*given: Any, **options: Any) -> Measured | str:
    """A step, or its refusal: no ``reduction="none"`` where rows have no value of their own."""
    try:
        return step(*given, **options)
    except ValueError as problem:
        return str(problem)
    except Exception:
        return Broken(traceback.format_exc())


def everything(rank: int, world: int) -> Found:
    """All calls of all losses on this rank."""
    found: Found = {}
    for name, card in ALL.items():
        group = dist.new_group(timeout=timedelta(seconds=20))  # its own: a loss that breaks off takes no other one with it
        found[name] = {}
        for key, share, variant, masked, mode in calls(card, world):
            mine = part(share, rank), slice(rank, None, world)
            found[name][key] = attempted(card, variant, masked, sum(share), *mine, group=group, **mode)
            if isinstance(found[name][key], Broken):
                break  # the other ranks are elsewhere now
    return found


# what must hold


def judge(card: Card, world: int, found: list[dict[str, Any]]) -> None:
    for rank, (key, broken) in ((r, c) for r, f in enumerate(found) for c in f.items() if isinstance(c[1], Broken)):
        raise AssertionError(f"rank {rank}, {key}\n{broken}")
    for key, share, variant, masked, mode in calls(card, world):
        alone = attempted(card, variant, masked, sum(share), slice(None), slice(None), **mode)
        if isinstance(alone, str):
            assert all(f[key] == alone for f in found), f"{key}: refused alone: {alone}"
            continue
        refused = [f[key] for f in found if isinstance(f[key], str)]
        assert not refused, f"{key}: refused on a rank: {refused}"
        value, grads = alone
        by_row = value.ndim > 0
        values = [f[key][0] for f in found]
        for rank, mine in enumerate(values):
            agree(f"{key}: value on rank {rank}", mine, value[part(share, rank)] if by_row else value)
        for name, wanted in grads.items():
            every = torch.stack([f[key][1][name] for f in found])
            # a value of single rows is each rank's own, and so is its gradient; that of the whole batch is meant to be averaged
            agree(f"{key}: gradient of {name}", every.sum(0) if by_row else every.mean(0), wanted)
        assert sum(share) == 0 or any(g.any() for n, g in grads.items() if n.startswith("encoder")), f"{key}: learns nothing"


def agree(what: str, got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, expected {wanted.shape}"
    assert got.isfinite().all(), f"{what}: {got}"
    mine, theirs = got.norm(), wanted.norm()
    if theirs < 1e-12:
        assert mine < 1e-12, f"{what}: {got}, expected 0"
        return
    ratio, cosine = float(mine / theirs), float((got * wanted).sum() / (mine * theirs)) if mine else 0.0
    said = f"{what}: ratio {ratio:.3f}, cosine {cosine:.6f}"
    assert abs(ratio - 1) < 1e-9, said
    assert abs(cosine - 1) < 1e-9, said
    assert (got - wanted).norm() < 1e-9 * theirs, said


@pytest.fixture(scope="module")
def found_at(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Found]]:
    """What each rank found: one meeting for each number of ranks."""
    return functools.cache(lambda world: ranks(everything, world, tmp_path_factory.mktemp(f"ranks{world}")))


@pytest.mark.parametrize("world", SHARES)
@pytest.mark.parametrize("name", [*CARDS, *OURS])
def test_ranks_have_the_value_and_the_gradients_of_one_process(
    name: str, world: int, found_at: Callable[[int], list[Found]]
) -> None:
    judge(ALL[name], world, [f[name] for f in found_at(world)])


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", MUTANTS)
def test_a_loss_that_is_wrong_across_ranks_is_noticed(name: str, world: int, found_at: Callable[[int], list[Found]]) -> None:
    card, where = MUTANTS[name]
    with pytest.raises(AssertionError, match=where):
        judge(card, world, [f[name] for f in found_at(world)])
