"""Embeddings: numbers where the form that is usually typed is off, and those that the guide quotes."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

from .claim import Claim

__all__ = ["claims"]


def _confident(rows: int = 64, temperature: float = 0.05) -> tuple[float, float]:
    """InfoNCE of orthogonal pairs in float32: ours, and cross-entropy of the scores."""
    x = torch.eye(rows)
    scores = F.normalize(x, dim=1) @ F.normalize(x, dim=1).T / temperature
    ours = losskit.info_nce_loss(x, x, temperature=temperature)
    return float(ours), float(F.cross_entropy(scores, torch.arange(rows)))


def _longest(gradient: Tensor) -> float:
    return float(gradient.norm(dim=1).max())


def _zero_row() -> tuple[float, float]:
    """The largest gradient of a batch whose first query is a row of zeros: ours, and of F.normalize."""
    query = torch.eye(8)
    query[0] = 0
    ours, theirs = query.clone().requires_grad_(), query.clone().requires_grad_()
    key, own = torch.eye(8).roll(1, 1), torch.arange(8)
    losskit.info_nce_loss(ours, key, temperature=1.0).backward()
    F.cross_entropy(F.normalize(theirs, dim=1) @ key.T, own).backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    return _longest(ours.grad[:1]), _longest(theirs.grad[:1])


def _level(name: str, **facts: object) -> float:
    value = losskit.reference(name, **facts).chance
    return math.nan if value is None else value


def claims() -> list[Claim]:
    """Confident pairs, rows without a direction, copies, and the numbers of an untrained model."""
    same = torch.full((1, 64), 0.1)
    away = same + F.one_hot(torch.tensor([0]), 64)
    return [
        Claim(
            "embeddings",
            "InfoNCE of 64 orthogonal pairs, temperature 0.05, float32 (beside: cross-entropy of the scores)",
            math.log1p(63 * math.exp(-20)),
            lambda: _confident()[0],
            lambda: _confident()[1],
        ),
        Claim(
            "embeddings",
            "gradient of a query that is a row of zeros (beside: F.normalize)",
            0.0,
            lambda: _zero_row()[0],
            lambda: _zero_row()[1],
        ),
        Claim(
            "embeddings",
            "triplet loss of an anchor equal to its positive, negative at 1, margin 1, float64",
            0.0,
            lambda: float(losskit.triplet_margin_loss(same.double(), same.double(), away.double())),
            lambda: float(F.triplet_margin_loss(same.double(), same.double(), away.double())),
        ),
        *(
            Claim(
                "reference numbers",
                f"{name} of equal scores, 1,024 rows: {formula}",
                truth,
                functools.partial(_level, name, batch_size=1024),
            )
            for name, formula, truth in (
                ("info_nce_loss", "ln 1024", math.log(1024)),
                ("nt_xent_loss", "ln 2047", math.log(2047)),
                ("supervised_contrastive_loss", "ln 1023", math.log(1023)),
            )
        ),
    ]
