"""Scores that are not what the output layer alone gives are noticed; outputs of many kinds are understood, others told."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evaluate_helpers_models import Bigram, Post, truth
from losskit.evaluate import Head, ModelError, perplexity


def masked(scores: Tensor) -> Tensor:
    return scores.index_fill(-1, torch.arange(6, 12), -math.inf)


def overflown(scores: Tensor) -> Tensor:
    return torch.where(scores > 0.5, math.inf, scores)


@pytest.mark.parametrize("post", [masked, overflown, lambda scores: scores * math.nan])
def test_scores_that_are_no_numbers_are_the_models_own(post: Any) -> None:
    model = Bigram()
    model.last = Post(post)
    found = perplexity(model, None, [[1, 2, 3, 4, 5, 1, 2]], head=model.head, window=8, bos=0, nonfinite="report")
    assert found.model["path"] == "scores of the model"
    mine = truth(model, [0, 1, 2, 3, 4, 5, 1, 2])
    assert found.overall.nats == pytest.approx(mine, rel=1e-6, nan_ok=True)


def test_one_class_that_is_changed_among_many_is_noticed_in_half_precision() -> None:
    def post(scores: Tensor) -> Tensor:
        return scores + 7 * (torch.arange(scores.shape[-1]) == 7).to(scores)

    model = Bigram(Post(post), classes=30000, width=16).to(torch.bfloat16)
    found = perplexity(model, None, [[7, 7, 7, 5]], head=model.head, window=8, bos=0)
    assert found.model["path"] == "scores of the model"


def test_scores_that_change_on_longer_inputs_end_the_run() -> None:
    class Cooled(Bigram):
        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids)) * (1 if ids.shape[1] < 10 else 0.2)

    model = Cooled()
    with pytest.raises(ModelError, match="gives other scores than the model"):
        perplexity(model, None, [[*range(12)] * 3], head=model.head, window=32, bos=0)


def test_a_head_for_what_are_scores_already_is_refused() -> None:
    model = Bigram()
    with pytest.raises(ModelError, match=r"expected hidden states of width 4 for \"head\"; leave \"head\" out"):
        perplexity(lambda ids: model(ids), None, [[1, 2, 3]], head=model.head, window=8)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (Head(torch.zeros(9)), "has weight"),
        (Head(torch.zeros(9, 4), torch.zeros(8)), "has bias"),
        (nn.Embedding, "expected a linear layer"),
    ],
)
def test_a_head_that_is_none_is_refused(head: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        perplexity(nn.Embedding(9, 4), None, [[1, 2]], head=head, window=4, bos=0)


def test_outputs_of_many_kinds_are_understood_and_others_told() -> None:
    model = Bigram()
    ids, options = [[1, 2, 3, 4]], {"window": 8, "bos": "none"}
    right = perplexity(model, None, ids, **options).overall.nats
    for wrap in (lambda z: (z, None), lambda z: {"logits": z}, lambda z: {"loss": None, "logits": z}):
        assert perplexity(lambda i, wrap=wrap: wrap(model(i)), None, ids, **options).overall.nats == right
    for wrap in (lambda z: {"scores": z}, lambda z: z[:, 1:], lambda z: z[0], lambda z: None):
        with pytest.raises(ModelError, match=r"expected a tensor .B, L, V.*wrap it"):
            perplexity(lambda i, wrap=wrap: wrap(model(i)), None, ids, **options)


def test_a_head_that_is_called_by_name_is_caught() -> None:
    class Named(Bigram):
        def forward(self, ids: Tensor) -> Tensor:
            return self.head(input=self.table(ids))

    model = Named()
    found = perplexity(model, None, [list(range(12))], head=model.head, window=16, bos="none")
    assert found.model["path"].startswith("hidden states")
    assert found.overall.nats == pytest.approx(truth(model, list(range(12))), rel=1e-6)
