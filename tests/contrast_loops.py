"""The softmax losses over a batch as their papers write them: one pair after the other, in float64, no masks, no matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def labels(size: int, kinds: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(-1, kinds - 1, (size,), generator=torch.Generator().manual_seed(seed))


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def directions_of(rows: Tensor, normalize: bool = True) -> list[Tensor]:
    """Rows of length one; a row of zeros stays."""
    found = []
    for row in rows.flatten(0, -2).double():
        length = (row.detach() @ row.detach()).sqrt()
        found.append(row / (row @ row).sqrt() if normalize and length > 1e-12 else row * (0 if normalize else 1))
    return found


def there(mask: Tensor | None, size: int) -> list[int]:
    return [i for i in range(size) if mask is None or bool(mask.flatten()[i])]


def apart(ids: Tensor | None, i: int, j: int) -> bool:
    return ids is None or int(ids.flatten()[i]) != int(ids.flatten()[j])


def log_share(own: Tensor, others: Iterable[Tensor], decoupled: bool = False) -> Tensor:
    """-log of e^own over the sum of e^others, own among them unless ``decoupled``; 0 without others."""
    others = list(others)
    if not others:
        return own * 0
    return torch.logsumexp(torch.stack(others if decoupled else [own, *others]), 0) - own


def mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum() / len(values)


def info_nce(
    query: Tensor,
    key: Tensor,
    *,
    negatives: Tensor | None = None,
    temperature: Tensor | float = 0.07,
    directions: str = "one",
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    multi_positive: bool = False,
    mask_above: float | None = None,
    guide_query: Tensor | None = None,
    guide_key: Tensor | None = None,
    guide_negatives: Tensor | None = None,
    decoupled: bool = False,
    margin: float = 0.0,
    normalize: bool = True,
    mask: Tensor | None = None,
) -> list[Tensor]:
    """The loss of each query that is there."""
    q, k = directions_of(query, normalize), directions_of(key, normalize)
    pool = [] if negatives is None else directions_of(negatives, normalize)
    judge = (q, k, pool)
    if guide_query is not None and guide_key is not None:
        judge = tuple([] if g is None else directions_of(g) for g in (guide_query, guide_key, guide_negatives))
    seen = there(mask, len(q))

    def alike(a: Tensor, b: Tensor, i: int) -> bool:
        """Too alike to be a negative of pair i."""
        if mask_above is None and guide_query is None:
            return False
        return float((a @ b).detach()) > float((judge[0][i] @ judge[1][i]).detach()) + (mask_above or 0.0)

    def others(left: int, right: int, i: int) -> list[Tensor]:
        """Scores of row i of one side (0: queries, 1: keys) with those of another side that are its negatives."""
        side = (q, k)
        return [
            (side[left][i] @ side[right][j]) / temperature
            for j in seen
            if j != i and apart(query_ids, i, j) and apart(key_ids, i, j) and not alike(judge[left][i], judge[right][j], i)
        ]

    def further(i: int) -> list[Tensor]:
        ids = query_ids if key_ids is None else key_ids
        return [
            (q[i] @ pool[m]) / temperature
            for m in range(len(pool))
            if (negative_ids is None or ids is None or int(ids.flatten()[i]) != int(negative_ids.flatten()[m]))
            and not alike(judge[0][i], judge[2][m], i)
        ]

    values = []
    for i in seen:
        own, rest = (q[i] @ k[i] - margin) / temperature, others(0, 1, i) + further(i)
        if directions == "joint":
            rest = rest + others(1, 0, i) + others(0, 0, i) + others(1, 1, i)
        if multi_positive:
            right = [j for j in seen if not apart(query_ids, i, j)]
            values.append(mean([log_share((q[i] @ k[j] - margin) / temperature, rest) for j in right]))
        elif directions == "both":
            values.append((log_share(own, rest, decoupled) + log_share(own, others(1, 0, i), decoupled)) / 2)
        else:
            values.append(log_share(own, rest, decoupled))
    return values


def clip(query: Tensor, key: Tensor, *, logit_scale: Tensor | float = 1 / 0.07, **options: Any) -> list[Tensor]:
    return info_nce(query, key, temperature=1 / logit_scale, directions="both", **options)


def siglip(
    query: Tensor,
    key: Tensor,
    *,
    logit_scale: Tensor | float = 10.0,
    logit_bias: Tensor | float = -10.0,
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    multi_positive: bool = False,
    normalize: bool = True,
    mask: Tensor | None = None,
) -> list[Tensor]:
    q, k = directions_of(query, normalize), directions_of(key, normalize)
    seen, values = there(mask, len(q)), []
    for i in seen:
        total = q[i].sum() * 0
        for j in seen:
            logit = q[i] @ k[j] * logit_scale + logit_bias
            if i == j or (multi_positive and not apart(query_ids, i, j)):
                total = total + torch.log1p(torch.exp(-logit))
            elif apart(query_ids, i, j) and apart(key_ids, i, j):
                total = total + torch.log1p(torch.exp(logit))
        values.append(total)
    return values


def nt_xent(
    query: Tensor,
    key: Tensor,
    *,
    temperature: Tensor | float = 0.1,
    ids: Tensor | None = None,
    decoupled: bool = False,
    mask: Tensor | None = None,
) -> list[Tensor]:
    views = (directions_of(query), directions_of(key))
    seen, values = there(mask, len(views[0])), []
    for i in seen:
        each = []
        for view in (0, 1):
            anchor, partner = views[view][i], views[1 - view][i]
            rest = [anchor @ views[v][j] / temperature for v in (0, 1) for j in seen if j != i and apart(ids, i, j)]
            each.append(log_share(anchor @ partner / temperature, rest, decoupled))
        values.append(mean(each))
    return values


def supervised(
    input: Tensor,
    labels: Tensor,
    *,
    temperature: Tensor | float = 0.1,
    average: str = "out",
    mask: Tensor | None = None,
) -> list[Tensor]:
    """The loss of each row that has another one of its label."""
    z, seen, values = directions_of(input), there(mask, input.flatten(0, -2).shape[0]), []
    for i in seen:
        right = [j for j in seen if j != i and not apart(labels, i, j)]
        if not right:
            continue
        total = torch.logsumexp(torch.stack([z[i] @ z[a] / temperature for a in seen if a != i]), 0)
        scores = [z[i] @ z[p] / temperature for p in right]
        if average == "out":
            values.append(mean([total - s for s in scores]))
        else:
            values.append(total - torch.logsumexp(torch.stack(scores), 0) + math.log(len(right)))
    return values


def agree(
    loss: Callable[..., Tensor], loop: Callable[..., list[Tensor]], *tensors: Tensor, tolerance: float = 1e-12, **options: Any
) -> None:
    """Value and the gradient by every tensor that wants one are those of the loop."""
    mine, theirs = loss(*tensors, **options), mean(loop(*tensors, **options))
    leaves = [t for t in (*tensors, *options.values()) if isinstance(t, Tensor) and t.requires_grad]
    torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
    found = torch.autograd.grad(mine, leaves, retain_graph=True)
    for one, other in zip(found, torch.autograd.grad(theirs, leaves), strict=True):
        assert other.any(), "a gradient of zeros proves nothing"
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
