"""Losses of embeddings as other libraries write them, dense, by their formulas; in float64 they are the truth."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07  # of NT-Xent, as pytorch-metric-learning has it
SUPCON = 0.1
SCALE = 20.0  # sentence-transformers: of ranking and CoSENT
MARGIN = 0.2
REDUNDANCY = 0.005
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0


def clip(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
    """As open_clip: the scores of images and those of texts are two products."""
    target = torch.arange(len(query), device=query.device)
    images, texts = scale * query @ key.T, scale * key @ query.T
    return (F.cross_entropy(images.float(), target) + F.cross_entropy(texts.float(), target)) / 2


def clip_truth(query: Tensor, key: Tensor, scale: Tensor, times: int = 1) -> Tensor:
    """Of a batch in which every pair stands ``times`` times."""
    scores = scale * query @ key.T
    both = scores.logsumexp(1) + scores.logsumexp(0)
    return (both / 2 - scores.diagonal()).mean() + math.log(times)


def siglip(query: Tensor, key: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """As open_clip: a matrix of signs beside the scores."""
    scores = scale * query @ key.T + bias
    signs = 2 * torch.eye(len(query), dtype=scores.dtype, device=scores.device) - 1
    return -F.logsigmoid(signs * scores).sum() / len(query)


def siglip_truth(query: Tensor, key: Tensor, scale: Tensor, bias: Tensor, times: int = 1) -> Tensor:
    """Of a batch in which every pair stands ``times`` times."""
    scores = scale * query @ key.T + bias
    return (-times * F.logsigmoid(-scores).sum(1) - scores.diagonal()).mean()


def ranking(query: Tensor, key: Tensor, negatives: Tensor) -> Tensor:
    """Multiple negatives as sentence-transformers: all keys, then one hard negative of each query."""
    q, documents = F.normalize(query, dim=1), F.normalize(torch.cat([key, negatives]), dim=1)
    scores = q @ documents.T * SCALE
    return (scores.logsumexp(1) - scores.diagonal()).mean()


def distances(input: Tensor) -> Tensor:
    """Euclidean, from one product, 0 without a gradient on the diagonal."""
    products = input @ input.T
    square = products.diagonal()
    found = (square[None] - 2 * products + square[:, None]).clamp(min=0)
    nothing = found == 0
    return torch.where(nothing, 0, torch.where(nothing, 1, found).sqrt())


def batch_all(input: Tensor, labels: Tensor) -> Tensor:
    """As sentence-transformers before 6.2: N x N x N costs, and a mask as large; the mean over those above 0."""
    apart = distances(input)
    costs = apart[:, :, None] - apart[:, None, :] + MARGIN
    alike = labels[:, None] == labels
    positive = alike & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    costs = (positive[:, :, None] & ~alike[:, None, :]).float() * costs
    costs[costs < 0] = 0
    return costs.sum() / (costs[costs > 1e-16].numel() + 1e-16)


def batch_all_truth(input: Tensor, labels: Tensor) -> Tensor:
    """The same, an anchor at a time."""
    apart = torch.cdist(input, input, compute_mode="donot_use_mm_for_euclid_dist")
    total, active = input.new_zeros(()), 0
    place = torch.arange(len(labels), device=labels.device)
    for anchor, alike in enumerate(labels[:, None] == labels):
        near = apart[anchor][alike & (place != anchor)]
        costs = (near[:, None] - apart[anchor][~alike] + MARGIN).clamp(min=0)
        total, active = total + costs.sum(), active + int((costs > 0).sum())
    return total / max(active, 1)


def given_triplets(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    return F.triplet_margin_loss(anchor, positive, negative)


def _labelled(input: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scores; which pairs have one label, which have two."""
    rows = F.normalize(input, dim=1)
    alike = labels[:, None] == labels
    return rows @ rows.T / temperature, alike & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device), ~alike


def nt_xent_of_labels(input: Tensor, labels: Tensor) -> Tensor:
    """The mean over positive pairs of log(1 + sum of e^(s_an - s_ap) over the anchor's negatives): N x N is enough."""
    scores, positive, negative = _labelled(input, labels, TEMPERATURE)
    rest = scores.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)
    return -F.logsigmoid((scores - rest)[positive]).mean()


def supervised(input: Tensor, labels: Tensor) -> Tensor:
    """SupCon, the mean over positives outside the logarithm."""
    scores, positive, negative = _labelled(input, labels, SUPCON)
    total = scores.masked_fill(~(positive | negative), -torch.inf).logsumexp(1, keepdim=True)
    return ((total - scores) * positive).sum(1).div(positive.sum(1)).mean()


def cosent(query: Tensor, key: Tensor, target: Tensor) -> Tensor:
    """As sentence-transformers before 6.2: all differences, N x N; those that are in order pushed away by 1e12."""
    similar = F.cosine_similarity(query, key) * SCALE
    apart = similar[:, None] - similar[None, :]
    wrong = (target[:, None] < target[None, :]).to(apart.dtype)
    apart = apart - (1 - wrong) * 1e12
    return torch.cat([apart.new_zeros(1), apart.flatten()]).logsumexp(0)


def _beside(matrix: Tensor) -> Tensor:
    """The entries beside the diagonal, in a view: cut after each of them, the flat matrix has them in equal rows."""
    return matrix.flatten()[1:].unflatten(0, (len(matrix) - 1, len(matrix) + 1))[:, :-1]


def barlow(query: Tensor, key: Tensor) -> Tensor:
    """Through the D x D correlations, as the authors and lightly."""
    a, b = (F.batch_norm(view, None, None, training=True) for view in (query, key))
    correlation = a.T @ b / len(a)
    return (correlation.diagonal() - 1).square().sum() + REDUNDANCY * _beside(correlation).square().sum()


def _vicreg(query: Tensor, key: Tensor, masked: bool) -> Tensor:
    value = INVARIANCE * F.mse_loss(query, key)
    for view in (query, key):
        view = view - view.mean(0)
        value = value + VARIANCE / 2 * F.relu(1 - torch.sqrt(view.var(0) + 1e-4)).mean()
        covariances = view.T @ view / (len(view) - 1)
        if masked:
            others = covariances[~torch.eye(len(covariances), dtype=torch.bool, device=view.device)]
        else:
            others = _beside(covariances)
        value = value + COVARIANCE * others.square().sum() / len(covariances)
    return value


def vicreg(query: Tensor, key: Tensor) -> Tensor:
    """Through D x D covariances, as the authors."""
    return _vicreg(query, key, masked=False)


def vicreg_masked(query: Tensor, key: Tensor) -> Tensor:
    """The same as lightly: the entries beside the diagonal are picked by a mask."""
    return _vicreg(query, key, masked=True)
