"""Numbers that pages of the documents say in prose or in tables, and that no example on the page prints."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

from .claim import Claim

__all__ = ["claims"]

_TYPED = "formulas as usually typed, numbers in prose"


def _views(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """64 random pairs of 32 numbers, as they are in that dtype."""
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(64, 32, generator=generator) for _ in range(2))
    return query.to(dtype), key.to(dtype)


def _scores(dtype: torch.dtype, temperature: float) -> tuple[Tensor, Tensor]:
    """Cosines over temperature of two views in that dtype, a row itself left out, and where each row's other view is."""
    rows = F.normalize(torch.cat(_views(dtype)), dim=-1)
    own = torch.eye(len(rows), dtype=torch.bool)
    return (rows @ rows.T / temperature).masked_fill(own, -math.inf), torch.arange(len(rows)).roll(len(rows) // 2)


def _exact(dtype: torch.dtype, temperature: float) -> float:
    """-log softmax in float64, of what the rows are in that dtype."""
    query, key = (view.double() for view in _views(dtype))
    rows = F.normalize(torch.cat([query, key]), dim=-1)
    scores = (rows @ rows.T / temperature).fill_diagonal_(-math.inf)
    return float(F.cross_entropy(scores, torch.arange(128).roll(64)))


def _log_of_p(dtype: torch.dtype, temperature: float) -> float:
    """-log(p + tiny), as it is often typed."""
    scores, other = _scores(dtype, temperature)
    p = scores.softmax(-1).gather(-1, other[:, None])
    return float(-(p + torch.finfo(dtype).tiny).log().float().mean())


def _two_views(dtype: torch.dtype, temperature: float) -> Claim:
    return Claim(
        _TYPED,
        f"NT-Xent of 64 random pairs, temperature {temperature:g}, {str(dtype).removeprefix('torch.')} (beside: -log(p + tiny))",
        _exact(dtype, temperature),
        lambda: float(losskit.nt_xent_loss(*_views(dtype), temperature=temperature)),
        lambda: _log_of_p(dtype, temperature),
    )


def _four_classes() -> tuple[Tensor, Tensor]:
    rows = torch.randn(16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32).double()
    return F.normalize(rows, dim=-1), torch.arange(16) // 4


def _distances() -> tuple[Tensor, Tensor]:
    """Distances of pairs of one class, and of two."""
    rows, labels = _four_classes()
    apart = (rows[:, None] - rows).norm(dim=-1)
    same = labels[:, None] == labels
    return apart[same & ~torch.eye(16, dtype=torch.bool)], apart[~same]


def _contrastive() -> Claim:
    near, far = _distances()
    hinge = (1 - far).clamp(min=0)
    rows, labels = _four_classes()
    return Claim(
        _TYPED,
        "contrastive loss of 16 rows in four classes: half the square, mean over all pairs (beside: a mean of each kind)",
        float((near.square().sum() + hinge.square().sum()) / 2 / (len(near) + len(far))),
        lambda: float(losskit.batch_contrastive_loss(rows, labels, margin=1.0, distance="euclidean")),
        lambda: float(near.mean() + hinge[hinge > 0].mean()),
    )


def _padded() -> Claim:
    scores = torch.tensor([[0.6, 0.8, 0.0], [0.5, 0.8, 0.4]], dtype=torch.float64)
    relevance, mask = torch.tensor([[1, 0, 0], [0, 1, 0]]), losskit.mask_from_lengths(torch.tensor([2, 3]))

    def ours() -> float:
        found = losskit.parts(losskit.pairwise_hinge_loss, scores, relevance, mask=mask, pair_reduction="pooled")
        return float(found.total / mask.numel())

    about = "hinges 1.2, 0.7, 0.6 of two padded lists over the padded size, as TF-Ranking divides: 2.5 / 6"
    return Claim("numbers in prose", about, 2.5 / 6, ours)


def _gaussian() -> Claim:
    def ours() -> float:
        zero = torch.zeros(1, dtype=torch.float64)
        return float(losskit.gaussian_nll_loss(zero, zero, var=torch.ones_like(zero)))

    about = "Gaussian likelihood of no error, variance 1: ln(2 pi) / 2"
    return Claim("numbers in prose", about, math.log(2 * math.pi) / 2, ours)


def claims() -> list[Claim]:
    """In the order of the pages."""
    single, half = torch.float32, torch.float16
    tables = [_two_views(dtype, t) for dtype, t in ((single, 0.02), (single, 0.01), (half, 0.07), (half, 0.01))]
    return [*tables, _contrastive(), _padded(), _gaussian()]
