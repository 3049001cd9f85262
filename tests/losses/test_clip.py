"""CLIP's and SigLIP's losses against their definitions, pair by pair, and at the values that papers state."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contrast_loops import agree, clip, draw, number, siglip
from harness import refused
from losskit import CLIPLoss, SigLIPLoss, clip_loss, siglip_loss

N, D = 6, 4
IDS = {"query_ids": torch.tensor([0, -1, 2, -1, 0, 3]), "key_ids": torch.tensor([0, 1, 2, 3, 0, 1])}
SOME = torch.tensor([True, True, False, True, False, True])


def towers() -> tuple[Tensor, Tensor]:
    return draw(N, D, seed=1), draw(N, D, seed=2)


@pytest.mark.parametrize("known", [(), ("query_ids",), ("key_ids",), ("query_ids", "key_ids")])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("mask", [None, SOME])
def test_every_combination_is_the_loop(known: tuple[str, ...], normalize: bool, mask: Tensor | None) -> None:
    options: dict[str, Any] = {name: IDS[name] for name in known} | {"normalize": normalize, "mask": mask}
    agree(clip_loss, clip, *towers(), logit_scale=number(3.0), **options)
    agree(siglip_loss, siglip, *towers(), logit_scale=number(3.0), logit_bias=number(-1.0), **options)
    if known == ("query_ids",):
        agree(siglip_loss, siglip, *towers(), logit_scale=number(3.0), logit_bias=number(-1.0), multi_positive=True, **options)


@pytest.mark.claim("R17")
def test_clip_is_open_clips_two_cross_entropies() -> None:
    query, key = towers()
    scores = 14 * F.normalize(query, dim=1) @ F.normalize(key, dim=1).T
    own = torch.arange(N)
    expected = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(clip_loss(query, key, logit_scale=14.0), expected)


def test_siglip_is_open_clips_sum_over_pairs_by_the_number_of_queries() -> None:
    query, key = towers()
    logits = 10 * F.normalize(query, dim=1) @ F.normalize(key, dim=1).T - 10
    expected = -F.logsigmoid((2 * torch.eye(N) - 1) * logits).sum() / N
    torch.testing.assert_close(siglip_loss(query, key), expected)


@pytest.mark.claim("R17")
@pytest.mark.parametrize("rows", [torch.zeros(N, D), torch.ones(N, D)])
def test_collapsed_pairs_guess_among_all(rows: Tensor) -> None:
    rows = rows.clone().requires_grad_()
    value = clip_loss(rows, rows, logit_scale=100.0)
    torch.testing.assert_close(value, torch.tensor(math.log(N)))
    assert torch.autograd.grad(value, rows)[0].isfinite().all()


def test_siglip_begins_at_its_bias() -> None:
    value = siglip_loss(torch.zeros(N, D), torch.zeros(N, D))
    torch.testing.assert_close(value, torch.tensor(math.log1p(math.exp(10)) + (N - 1) * math.log1p(math.exp(-10))))


@pytest.mark.parametrize(("scale", "bar"), [(1 / 0.07, 1e-6), (100.0, 1e-5)])
def test_single_precision_has_the_digits_of_its_products(scale: float, bar: float) -> None:
    base = draw(512, 128).detach()
    given = [(base + 0.7 * draw(512, 128, seed=s).detach()).float() for s in (1, 2)]
    for loss in (clip_loss, siglip_loss):
        found = []
        for dtype in (torch.float32, torch.float64):
            leaves = [t.to(dtype).requires_grad_() for t in (*given, torch.tensor(scale))]
            value = loss(*leaves[:2], logit_scale=leaves[2])
            found.append((value.detach(), *torch.autograd.grad(value, leaves)))
        for single, truth in zip(*found, strict=True):
            assert (single.double() - truth).norm() <= bar * truth.norm()


def test_a_scale_in_half_precision_is_not_rounded_again() -> None:
    query, key = (t.detach().float() for t in towers())
    half = torch.tensor(99.0, dtype=torch.float16)
    torch.testing.assert_close(clip_loss(query, key, logit_scale=half), clip_loss(query, key, logit_scale=99.0))


@pytest.mark.parametrize("loss", [clip_loss, siglip_loss])
def test_towers_may_come_in_different_dtypes(loss: Any) -> None:
    query, key = (t.detach().float() for t in towers())
    torch.testing.assert_close(loss(query, key.double()).float(), loss(query, key))
    torch.testing.assert_close(loss(query.double(), key).float(), loss(query, key))


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches_are_legal(size: int) -> None:
    query, key = (draw(size, D, seed=s) for s in (1, 2))
    value = clip_loss(query, key)
    assert value.item() == 0
    assert not torch.autograd.grad(value, query)[0].any()
    if size:
        cosine = F.cosine_similarity(query, key)[0]
        torch.testing.assert_close(siglip_loss(query, key), -F.logsigmoid(10 * cosine - 10))
    else:
        assert siglip_loss(query, key).item() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"logit_bias": None}, '"logit_bias" must be a number'),
        ({"logit_bias": math.inf}, '"logit_bias" must be finite'),
        ({"logit_scale": 0}, '"logit_scale" is 0'),
        ({"logit_scale": torch.tensor([1.0])}, "squeeze"),
        ({"multi_positive": True}, '"query_ids"'),
        ({"reduction": "avg"}, "'none' or 'mean' or 'sum'"),
    ],
)
def test_a_wrong_argument_of_siglip_is_named(options: dict[str, Any], words: str) -> None:
    query, key = towers()
    error = TypeError if None in options.values() else ValueError
    assert words in refused(error, lambda: siglip_loss(query, key, **options))


@pytest.mark.parametrize(("module", "name"), [(CLIPLoss, "logit_scale"), (SigLIPLoss, "logit_scale"), (SigLIPLoss, "logit_bias")])
def test_a_module_learns_its_scale_and_bias(module: Any, name: str) -> None:
    query, key = (t.detach().float() for t in towers())
    loss = module(**{name: nn.Parameter(torch.tensor(2.0))})
    loss(query, key).backward()
    assert getattr(loss, name).grad.abs() > 0
    assert list(loss.state_dict()) == [name]
