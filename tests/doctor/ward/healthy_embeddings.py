"""Healthy runs of embeddings and rankings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

import losskit

from .healthy_data import clouds, drawn, mlp
from .healthy_run import Training, healthy


def views(rows: int = 2000) -> tuple[Tensor, Tensor]:
    """Two noisy views of the same hidden thing."""
    hidden = torch.randn(rows, 8)
    one, two = torch.randn(8, 16), torch.randn(8, 20)
    return hidden @ one + 0.5 * torch.randn(rows, 16), hidden @ two + 0.5 * torch.randn(rows, 20)


class Towers(nn.Module):
    """Two encoders; with ``scale`` a learned temperature as in CLIP, with ``bias`` as in SigLIP."""

    def __init__(self, scale: float | None = None, bias: float | None = None) -> None:
        super().__init__()
        self.one, self.two = mlp(16, 16), mlp(20, 16)
        self.scale = None if scale is None else nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(bias))

    def forward(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(one), self.two(two)


def paired(model: Towers, loss: Callable[[Towers, Any], Tensor], size: int = 64, lr: float = 2e-3) -> Training:
    return Training(model, drawn(*views(), size=size), AdamW(model.parameters(), lr), loss=loss, steps=250)


@healthy
def clip() -> Training:
    return paired(Towers(1 / 0.07), lambda m, b: losskit.clip_loss(*m(*b), logit_scale=m.scale.exp()))


@healthy
def clip_by_hand() -> Training:
    """As in the paper's pseudo-code, with torch's cross-entropy in both directions."""

    def loss(m: Towers, batch: tuple[Tensor, Tensor]) -> Tensor:
        one, two = (F.normalize(e, dim=1) for e in m(*batch))
        scores = m.scale.exp() * one @ two.T
        own = torch.arange(len(one))
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2

    return paired(Towers(1 / 0.07), loss)


@healthy
def siglip() -> Training:
    return paired(Towers(10.0, -10.0), lambda m, b: losskit.siglip_loss(*m(*b), logit_scale=m.scale.exp(), logit_bias=m.bias))


@healthy
def multiple_negatives() -> Training:
    return paired(Towers(), lambda m, b: losskit.multiple_negatives_ranking_loss(*m(*b)))


@healthy
def info_nce_of_large_temperature() -> Training:
    """At temperature 1 the loss of 64 pairs cannot fall below 2.2: it starts at ln 64 = 4.16 and ends above 2."""
    return paired(Towers(), lambda m, b: losskit.info_nce_loss(*m(*b), temperature=1.0))


@healthy
def sim_clr() -> Training:
    """Two noisy copies of each row through one encoder with batch-norm."""
    x, _ = clouds(2000)
    model = nn.Sequential(nn.Linear(16, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))

    def loss(m: nn.Module, batch: tuple[Tensor]) -> Tensor:
        one, two = (m(batch[0] + 0.5 * torch.randn_like(batch[0])) for _ in range(2))
        return losskit.nt_xent_loss(one, two, temperature=0.2)

    return Training(model, drawn(x, size=64), Adam(model.parameters(), 2e-3), loss=loss, steps=250)


@healthy
def barlow_twins() -> Training:
    x, _ = clouds(2000)
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 8))

    def loss(m: nn.Module, batch: tuple[Tensor]) -> Tensor:
        return losskit.barlow_twins_loss(*(m(batch[0] + 0.5 * torch.randn_like(batch[0])) for _ in range(2)))

    return Training(model, drawn(x, size=64), Adam(model.parameters(), 2e-3), loss=loss, steps=250)


@healthy
def supervised_contrastive() -> Training:
    x, y = clouds(2000, apart=4)
    model = mlp(16, 16)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return losskit.supervised_contrastive_loss(output, target, temperature=0.1)

    return Training(model, drawn(x, y, size=64), Adam(model.parameters(), 1e-3), loss, steps=250)


@healthy
def mined_triplets() -> Training:
    """Mining keeps the loss from falling while the embeddings get better; the user says so."""
    x, y = clouds(2000, apart=3)
    model = mlp(16, 16)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return losskit.batch_triplet_loss(output, target, mining="semihard", margin=0.2, normalize=True)

    run = Training(model, drawn(x, y, size=64), Adam(model.parameters(), 1e-3), loss, steps=250)
    run.objective = "mining"
    return run


def triplets(apart: float) -> Training:
    """Random triplets of clouds with torch's loss."""
    x, y = clouds(2000, apart=apart)

    def batch(_: int) -> tuple[Tensor, Tensor, Tensor]:
        kind, other = torch.randint(0, 5, (64,)), torch.randint(1, 5, (64,))
        asked = (kind, kind, (kind + other) % 5)
        rows = [torch.stack([torch.nonzero(y == k)[torch.randint(0, 300, ())][0] for k in kinds]) for kinds in asked]
        return x[rows[0]], x[rows[1]], x[rows[2]]

    model = mlp(16, 16)
    run = Training(model, batch, Adam(model.parameters(), 1e-3), steps=150)
    run.loss = lambda m, b: F.triplet_margin_loss(m(b[0]), m(b[1]), m(b[2]), margin=1.0)
    return run


@healthy
def given_triplets() -> Training:
    return triplets(apart=4)


@healthy
def triplets_by_hand() -> Training:
    """A hinge written by hand that is learned: in the end most batches keep the margin, the loss is 0 and so is the gradient."""
    run = triplets(apart=8)

    def loss(m: nn.Module, b: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        anchor, positive, negative = (m(one) for one in b)
        return F.relu((anchor - positive).square().sum(1) - (anchor - negative).square().sum(1) + 0.2).mean()

    run.loss, run.steps = loss, 600
    return run


class Proxies(nn.Module):
    """A vector for each class, as a criterion with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 16))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return losskit.margin_softmax_loss(input, self.weight, target, additive=0.2, logit_scale=16.0)


@healthy
def margin_softmax() -> Training:
    x, y = clouds(2000, apart=4)
    model, criterion = mlp(16, 16), Proxies()
    return Training(model, drawn(x, y), Adam([*model.parameters(), *criterion.parameters()], 3e-3), criterion)


@healthy
def pairs_by_cosine() -> Training:
    one, two = views()
    other = torch.randint(0, 2, (2000,)) == 0
    target = torch.where(other, -1, 1)
    two = torch.where(other[:, None], two[torch.randperm(2000)], two)
    model = Towers()
    run = Training(model, drawn(one, two, target), Adam(model.parameters(), 2e-3))
    run.loss = lambda m, b: F.cosine_embedding_loss(*m(b[0], b[1]), b[2])
    return run


def lists(rows: int = 600, items: int = 10) -> tuple[Tensor, Tensor]:
    """Lists of documents with grades from 0 to 3."""
    x = torch.randn(rows, items, 8)
    value = x @ torch.randn(8) + 0.7 * torch.randn(rows, items)
    return x, (value.argsort(1).argsort(1) * 4 // items).float()


class Scorer(nn.Module):
    """A score for each item of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(8, 1)

    def forward(self, input: Tensor) -> Tensor:
        return self.net(input)[..., 0]


def ranked(loss_fn: Callable[..., Tensor], **options: Any) -> Training:
    model = Scorer()
    return Training(model, drawn(*lists(), size=16), Adam(model.parameters(), 2e-3), lambda s, r: loss_fn(s, r, **options))


@healthy
def rank_net() -> Training:
    return ranked(losskit.pairwise_logistic_loss)


@healthy
def list_net() -> Training:
    return ranked(losskit.listnet_loss)


@healthy
def list_mle() -> Training:
    return ranked(losskit.listmle_loss)


@healthy
def approximate_ndcg() -> Training:
    """Between -1 and 0, or 0 and 1: it starts at what a random order has."""
    return ranked(losskit.approx_ndcg_loss)


@healthy
def bayesian_personal_ranking() -> Training:
    """Users and items by their embeddings, ten times more rows than a batch touches."""
    taste, kind = torch.randn(60, 4), torch.randn(80, 4)
    liked = (taste @ kind.T).topk(10, 1).indices
    model = nn.ModuleDict({"user": nn.Embedding(60, 8), "item": nn.Embedding(80, 8)})

    def batch(_: int) -> tuple[Tensor, Tensor, Tensor]:
        user = torch.randint(0, 60, (128,))
        return user, liked[user, torch.randint(0, 10, (128,))], torch.randint(0, 80, (128,))

    def loss(m: nn.Module, b: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        user, good, other = m["user"](b[0]), m["item"](b[1]), m["item"](b[2])
        return losskit.bpr_loss((user * good).sum(1), (user * other).sum(1, keepdim=True))

    return Training(model, batch, SGD(model.parameters(), 3.0), loss=loss)
