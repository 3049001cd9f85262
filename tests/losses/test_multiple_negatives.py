"""Multiple negatives ranking against its definition and against the cross-entropy over all candidates."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from contrast_loops import agree, draw, info_nce, labels, number
from harness import refused
from losskit import multiple_negatives_ranking_loss
from losskit.core.check import ShapeError

N, D, H = 6, 4, 2
IDS = {"query_ids": torch.tensor([0, -1, 2, -1, 0, 3]), "key_ids": torch.tensor([0, 1, 2, 3, 0, 1])}
SOME = torch.tensor([True, True, False, True, False, True])


def loss(query: Tensor, key: Tensor, negatives: Tensor, **options: Any) -> Tensor:
    return multiple_negatives_ranking_loss(query, key, negatives=negatives, **options)


def loop(query: Tensor, key: Tensor, negatives: Tensor, *, mask: Tensor | None = None, **options: Any) -> list[Tensor]:
    keep = torch.ones(N, dtype=torch.bool) if mask is None else mask
    ids = options.pop("negative_ids", None)
    flat = None if ids is None else ids[keep].flatten()
    return info_nce(query, key, negatives=negatives[keep].flatten(0, 1), negative_ids=flat, mask=mask, **options)


@pytest.mark.parametrize("directions", ["one", "both", "joint"])
@pytest.mark.parametrize("known", [(), ("query_ids",), ("key_ids",), ("query_ids", "key_ids")])
@pytest.mark.parametrize("mask", [None, SOME])
def test_every_combination_is_the_loop(directions: str, known: tuple[str, ...], mask: Tensor | None) -> None:
    options: dict[str, Any] = {name: IDS[name] for name in known} | {"directions": directions, "mask": mask}
    options |= {"negative_ids": labels(N * H, seed=3).view(N, H)} if known else {}
    tensors = draw(N, D, seed=1), draw(N, D, seed=2), draw(N, H, D, seed=3)
    agree(loss, loop, *tensors, temperature=number(0.3), **options)


@pytest.mark.claim("R18")
def test_hard_negatives_are_pooled_as_in_sentence_transformers() -> None:
    query, key, negatives = draw(N, D, seed=1), draw(N, D, seed=2), draw(N, H, D, seed=3)
    documents = torch.cat([key, *negatives.unbind(1)])
    scores = 20 * F.normalize(query, dim=1) @ F.normalize(documents, dim=1).T
    expected = F.cross_entropy(scores, torch.arange(N))
    torch.testing.assert_close(multiple_negatives_ranking_loss(query, key, negatives=negatives), expected)


def test_what_is_masked_may_be_nan_and_so_may_its_hard_negatives() -> None:
    query, key, negatives = (t.detach().clone() for t in (draw(N, D), draw(N, D, seed=1), draw(N, H, D, seed=2)))
    expected = multiple_negatives_ranking_loss(query[SOME], key[SOME], negatives=negatives[SOME])
    for t in (query, key, negatives):
        t[~SOME] = math.nan
        t.requires_grad_()
    value = multiple_negatives_ranking_loss(query, key, negatives=negatives, mask=SOME)
    torch.testing.assert_close(value, expected)
    for gradient in torch.autograd.grad(value, (query, key, negatives)):
        assert not gradient[~SOME].any()
        assert gradient[SOME].any()


def test_one_negative_each_without_an_axis_of_its_own_is_told_how_to_get_it() -> None:
    said = refused(ShapeError, lambda: multiple_negatives_ranking_loss(draw(N, D), draw(N, D), negatives=draw(N, D)))
    assert "negatives.unsqueeze(-2)" in said


def test_no_direction_at_all_guesses_among_keys_and_hard_negatives() -> None:
    rows = torch.zeros(N, D)
    value = multiple_negatives_ranking_loss(rows, rows, negatives=torch.zeros(N, H, D))
    torch.testing.assert_close(value, torch.tensor(math.log(N + N * H)))
