"""Matryoshka as a module: what it is made of, copied and saved with, called with, and what it refuses."""

from __future__ import annotations

import copy
import doctest
import functools
import io
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from harness import refused, same
from losskit.losses.matryoshka import matryoshka
from losskit.losses.queue import EmbeddingQueue

DIMS, WEIGHTS = (2, 3, 7), (1.0, 0.5, 2.0)


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def test_a_learned_temperature_of_a_module_stays_a_parameter() -> None:
    learned = torch.nn.Parameter(torch.tensor(0.1))
    for loss in (losskit.InfoNCELoss(temperature=learned), functools.partial(losskit.info_nce_loss, temperature=learned)):
        whole = matryoshka(loss, DIMS)
        assert [p is learned for p in whole.parameters()] == [True]
        (slope,) = torch.autograd.grad(whole(rows(6, 8), rows(6, 8, seed=1)), learned)
        assert slope != 0


def test_tensors_that_a_module_holds_are_cut_too() -> None:
    pool, query, key = rows(4, 8, seed=2).detach(), rows(6, 8), rows(6, 8, seed=1)
    value = matryoshka(losskit.InfoNCELoss(negatives=pool), [3])(query, key)
    same(value, losskit.info_nce_loss(query[:, :3], key[:, :3], negatives=pool[:, :3]), 1e-12)


def test_a_module_of_ones_own_is_called_for_every_prefix() -> None:
    class Doubled(losskit.CLIPLoss):
        def forward(self, *tensors: Tensor, **given: Any) -> Any:
            return 2 * super().forward(*tensors, **given)

    query, key = rows(6, 8), rows(6, 8, seed=1)
    same(matryoshka(Doubled(), DIMS)(query, key), 2 * matryoshka(losskit.CLIPLoss(), DIMS)(query, key), 1e-12)


def test_tensors_may_be_given_by_name() -> None:
    loss, query, key = matryoshka(losskit.clip_loss, DIMS), rows(6, 8), rows(6, 8, seed=1)
    same(loss(key=key, query=query), loss(query, key), 1e-12)
    same(matryoshka(losskit.nt_xent_loss, DIMS)(query, key=key), matryoshka(losskit.nt_xent_loss, DIMS)(query, key), 1e-12)


def test_it_is_copied_and_saved_whole() -> None:
    loss = matryoshka(losskit.InfoNCELoss(temperature=torch.nn.Parameter(torch.tensor(0.3))), DIMS, WEIGHTS)
    buffer = io.BytesIO()
    torch.save(loss, buffer)
    buffer.seek(0)
    query, key = rows(6, 8), rows(6, 8, seed=1)
    for other in (copy.deepcopy(loss), torch.load(buffer, weights_only=False)):
        assert (other.dims, other.weights) == ([2, 3, 7], [1.0, 0.5, 2.0])
        same(other(query, key), loss(query, key), 1e-12)
    assert list(loss.state_dict()) == ["loss.temperature"]


WRONG: tuple[tuple[type[Exception], Callable[[], object], str], ...] = (
    (ValueError, lambda: matryoshka(losskit.clip_loss, []), '"dims" is empty'),
    (ValueError, lambda: matryoshka(losskit.clip_loss, [4, 2]), "expected lengths that increase: [2, 4]"),
    (ValueError, lambda: matryoshka(losskit.clip_loss, [2, 2]), "expected lengths that increase"),
    (ValueError, lambda: matryoshka(losskit.clip_loss, [0, 2]), '"dims" must be >= 1'),
    (TypeError, lambda: matryoshka(losskit.clip_loss, [2.0]), '"dims" must be an int'),
    (ValueError, lambda: matryoshka(losskit.clip_loss, [2], [1, 2]), '"weights" has 2 numbers, expected 1'),
    (ValueError, lambda: matryoshka(losskit.clip_loss, [2], [-1]), '"weights" must be >= 0'),
    (ValueError, lambda: matryoshka(losskit.clip_loss, [2], [math.nan]), '"weights" must be >= 0'),
    (ValueError, lambda: matryoshka(losskit.cross_entropy, [2]), "expected a loss of embeddings"),
    (TypeError, lambda: matryoshka(torch.nn.functional.mse_loss, [2]), "expected a loss of losskit"),
    (TypeError, lambda: matryoshka(EmbeddingQueue(2, 2), [2]), "EmbeddingQueue, expected a loss of losskit"),
    (TypeError, lambda: matryoshka(functools.partial(losskit.clip_loss, torch.ones(2, 2)), [2]), "positional arguments"),
    (losskit.ShapeError, lambda: matryoshka(losskit.clip_loss, [2, 9])(rows(3, 8), rows(3, 8)), "expected 9 features or more"),
    (losskit.ShapeError, lambda: matryoshka(losskit.nt_xent_loss, [2, 9])(rows(3, 8), rows(3, 8)), "9 features or more"),
    (losskit.ShapeError, lambda: matryoshka(losskit.clip_loss, [2])(rows(3, 8), rows(4, 8)), '"key" has shape (4, 2)'),
    (TypeError, lambda: matryoshka(losskit.clip_loss, [2])(rows(3, 8)), '"key" is missing'),
    (TypeError, lambda: matryoshka(losskit.clip_loss, [2])(*[rows(3, 8)] * 3), "takes 2 tensors (query, key), got 3"),
    (TypeError, lambda: matryoshka(losskit.clip_loss, [2])(rows(3, 8), rows(3, 8), scale=3), 'no "scale"'),
    (ValueError, lambda: matryoshka(losskit.clip_loss, [2])(rows(3, 8), rows(3, 8), logit_scale=-1.0), '"logit_scale"'),
    (ValueError, lambda: matryoshka(losskit.info_nce_loss, [2])(rows(3, 8), rows(3, 8), directions="back"), '"directions"'),
    (ValueError, lambda: matryoshka(losskit.clip_loss, [2])(rows(3, 8), rows(3, 8), reduction="max"), '"reduction"'),
)


@pytest.mark.parametrize(("error", "call", "said"), WRONG)
def test_errors_say_what_was_expected(error: type[Exception], call: Callable[[], object], said: str) -> None:
    assert said in refused(error, call)


def test_the_examples_print_what_they_say() -> None:
    face = SimpleNamespace(matryoshka=matryoshka, clip_loss=losskit.clip_loss, TripletMarginLoss=losskit.TripletMarginLoss)
    (test,) = doctest.DocTestFinder(recurse=False).find(matryoshka, globs={"torch": torch, "losskit": face})
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
