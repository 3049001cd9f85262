"""CoSENT and AnglE: pairs of texts in the order of their similarity, learned from the whole batch at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import working
from ..core.domain import Embeddings, Interval, Mask
from ..core.module import Loss
from ..core.reduce import Reduction, reduce
from ..ops.cosine import cosine
from ..ops.sorted_pairs import pairs_logsumexp
from ..parallel import gather_rows
from .embeddings import positive_number, rows_of

__all__ = ["AnglELoss", "CoSENTLoss", "angle_loss", "cosent_loss"]

# extreme: at a temperature of 1e-30 the loss is 1e30, and its slope is beyond float32
_TEMPERATURE = Interval(
    "",
    kind="float",
    low=0.0,
    open_low=True,
    open_high=True,
    optional=True,
    scalar=True,
    extreme=0.0,
    meaning="what differences of similarity are divided by, a number or a 0-d tensor",
)
_GRADED = {
    "query": Embeddings(),
    "key": Embeddings(),
    "target": Interval(meaning="how similar each pair is, on any scale: only the order counts"),
    "temperature": _TEMPERATURE,
    "mask": Mask(meaning="True where a pair of rows counts"),
}
_VARIANTS: tuple[Mapping[str, Any], ...] = (
    {},
    {"temperature": 1.0},
    {"temperature": _TEMPERATURE},
    {"target": Interval(low=0.0, high=2.0, whole=True)},
)


def _angle(query: Tensor, key: Tensor) -> Tensor:
    """|sum of the real and imaginary parts of q conj(k)|; an odd last feature has no imaginary part."""
    if query.shape[-1] % 2:
        query, key = F.pad(query, (0, 1)), F.pad(key, (0, 1))
    real, imaginary = key.chunk(2, -1)
    # the key turned by 45 degrees, and longer by sqrt 2
    return math.sqrt(2) * cosine(query, torch.cat([real - imaginary, real + imaginary], -1)).abs()


def _dense(similarity: Tensor, target: Tensor, temperature: Tensor | float) -> Tensor:
    """log(1 + sum over y_i < y_j of exp((s_i - s_j) / t)), pair by pair."""
    apart = (similarity[:, None] - similarity[None, :]) / temperature
    punished = apart[target[:, None] < target[None, :]]
    return torch.cat([punished.new_zeros(1), punished]).logsumexp(0)


def _su(query: Tensor, key: Tensor, target: Tensor, *, temperature: Tensor | float = 0.05) -> Tensor:
    query, key = query.double(), key.double()
    similarity = (query * key).sum(-1) / (query.square().sum(-1).sqrt() * key.square().sum(-1).sqrt())
    return _dense(similarity, target, temperature)


def _li(query: Tensor, key: Tensor, target: Tensor, *, temperature: Tensor | float = 0.05) -> Tensor:
    """z / w of complex rows, over the ratio of their lengths."""
    odd = query.shape[-1] % 2
    a, b = F.pad(query.double(), (0, odd)).chunk(2, -1)
    c, d = F.pad(key.double(), (0, odd)).chunk(2, -1)
    z, w = torch.complex(a, b), torch.complex(c, d)
    length = [(t.real.square() + t.imag.square()).sum(-1, keepdim=True).sqrt() for t in (z, w)]
    turned = z * w.conj() / length[1] ** 2 / (length[0] / length[1])
    return _dense((turned.real + turned.imag).sum(-1).abs(), target, temperature)


def _collapsed(target: Tensor) -> float:
    """All similarities are the same: the log of one and the number of pairs."""
    _, counts = torch.unique(target, return_counts=True)
    return math.log1p((len(target) ** 2 - int(counts.square().sum())) / 2)


def _in_order(
    similarity_of: Callable[[Tensor, Tensor], Tensor],
    query: Tensor,
    key: Tensor,
    target: Tensor,
    temperature: Tensor | float,
    mask: Tensor | None,
    group: dist.ProcessGroup | None,
) -> tuple[Tensor, Tensor]:
    """log(1 + sum over y_i < y_j of exp((s_i - s_j) / t)) over the rows of all ranks, and whether there is such a pair."""
    positive_number("temperature", temperature)
    one, other = rows_of(query, mask, normalize=False), rows_of(key, mask, normalize=False)
    similarity, target = similarity_of(*working(one.values, other.values)), target.reshape(-1)
    order = working(target.detach())[0] if target.is_floating_point() else target.long()
    similarity, order, valid = (gather_rows(t, group).rows for t in (similarity, order, one.valid))
    # a NaN would be given a place in the order
    similarity = torch.where(valid & (order != order), torch.nan, similarity)
    total = pairs_logsumexp(similarity / temperature, order, valid)
    # a sum far below the 1 keeps its digits
    return -F.logsigmoid(-total).to(one.values.dtype), total != -torch.inf


@loss(
    task="embedding",
    sample=_GRADED,
    reference=_su,
    laws=("nonnegative", "whole_batch"),
    variants=_VARIANTS,
    chance=_collapsed,
)
def cosent_loss(
    query: Tensor,
    key: Tensor,
    target: Tensor,
    *,
    temperature: Tensor | float = 0.05,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Texts with graded similarity: pairs that are less alike shall have the lower cosine, whatever the grades mean.

    Formula:    \ell = \log\left(1 + \sum_{y_i < y_j} e^{(s_i - s_j) / \tau}\right), s_i = \cos(q_i, k_i)
    Gradient:   \partial\ell/\partial s_i = \frac{1}{\tau} \left(\sum_{j: y_i < y_j} p_{ij} - \sum_{j: y_j < y_i} p_{ji}\right),
                p_{ij} = e^{(s_i - s_j)/\tau - \ell}: the higher s_i above what should be more alike, the harder it is pushed down
    Use when:   targets are grades or scores of similarity (STS), of which only the order is to be trusted.
    Avoid when: there are two grades and pairs of the same thing (info_nce_loss: more negatives from the same batch), or the
                cosine itself shall be the score (mse_loss of it). A batch whose targets are all equal teaches nothing.
    Shape:      query (*, D), key (*, D), target (*) -> ()
    Args:
        temperature: > 0, a number or a 0-d tensor, which gets a gradient; sentence-transformers' scale of 20 is 0.05.
        mask: (*) bool, True where a pair of rows counts; what is masked may be NaN.
        normalizer: replaces the mean's denominator.
        group: the ranks whose rows are one batch. Each calls with its own rows and returns the loss of all; n numbers travel.
    Returns:    0-d for every reduction: the batch is one value, which counts one if any two targets differ, else nothing
                (and is 0). Equal targets are no pair. A row of zeros has cosine 0 and no gradient.
    Raises:     ShapeError; TypeError; ValueError for a temperature that is not > 0. A target of NaN gives NaN.
    Reference:  Su 2022, kexue.fm/archives/8847
    Example:
        >>> query, key = torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # cosines 0 and 1
        >>> losskit.cosent_loss(query, key, torch.tensor([1.0, 5.0]))  # the right way round: log(1 + e^-20)
        tensor(2.0612e-09)
        >>> losskit.cosent_loss(query, key, torch.tensor([5.0, 1.0]))  # the wrong way round: log(1 + e^20)
        tensor(20.)
    """
    value, counts = _in_order(cosine, query, key, target, temperature, mask, group)
    return reduce(value, counts.to(value.dtype), reduction, normalizer)


class CoSENTLoss(Loss, function=cosent_loss):
    """Module of :func:`cosent_loss`."""

    temperature: Tensor | float = 0.05
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None


@loss(
    task="embedding",
    sample=_GRADED,
    reference=_li,
    laws=("nonnegative", "whole_batch"),
    variants=_VARIANTS,
    chance=_collapsed,
)
def angle_loss(
    query: Tensor,
    key: Tensor,
    target: Tensor,
    *,
    temperature: Tensor | float = 0.05,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""AnglE: cosent_loss whose similarity is taken in the complex plane, where it does not flatten near a cosine of 1.

    Formula:    \ell = \log\left(1 + \sum_{y_i < y_j} e^{(s_i - s_j) / \tau}\right),
                s = \left|\sum_k \mathrm{Re}\, z_k + \mathrm{Im}\, z_k\right|, z = \frac{q}{|q|} \frac{\bar k}{|k|},
                the first half of the features real, the second imaginary
    Gradient:   that of cosent_loss with respect to s; at q = k the slope of s is not 0, as that of a cosine is
    Use when:   with cosent_loss or info_nce_loss as a sum, where cosines crowd near 1.
    Avoid when: it would be alone: s is 1 for q = k, yet \sqrt 2 for a k turned by 45 degrees one way and 0 for the other, so its
                order is not that of the cosine which retrieval uses, and query and key are not alike.
    Shape:      query (*, D), key (*, D), target (*) -> (); a D that is odd gets a feature of 0
    Args:
        temperature: > 0, a number or a 0-d tensor, which gets a gradient. 0.05 as in sentence-transformers; the paper's code: 1.
        mask: (*) bool, True where a pair of rows counts; what is masked may be NaN.
        normalizer: replaces the mean's denominator.
        group: the ranks whose rows are one batch. Each calls with its own rows and returns the loss of all; n numbers travel.
    Returns:    0-d for every reduction: the batch is one value, which counts one if any two targets differ, else nothing
                (and is 0). Equal targets are no pair. A row of zeros has s = 0 and no gradient.
    Raises:     ShapeError; TypeError; ValueError for a temperature that is not > 0. A target of NaN gives NaN.
    Reference:  Li, Li 2023, arXiv:2309.12871
    Example:
        >>> query, key = torch.eye(2), torch.tensor([[1.0, -1.0], [0.0, 1.0]])  # s: sqrt 2 at 45 degrees, 1 at none
        >>> losskit.angle_loss(query, key, torch.tensor([1.0, 5.0]), temperature=1.0)  # log(1 + e^0.414)
        tensor(0.9215)
    """
    value, counts = _in_order(_angle, query, key, target, temperature, mask, group)
    return reduce(value, counts.to(value.dtype), reduction, normalizer)


class AnglELoss(Loss, function=angle_loss):
    """Module of :func:`angle_loss`."""

    temperature: Tensor | float = 0.05
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
