"""D704: the same example stands several times in a contrastive batch, as its own negative."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["false_negatives"]

SHARE = 0.1  # of the rows that have a double
PART = 0.05  # of ln N: the floor that they make
ROUNDING = 1e-5  # of the largest embedding: float32 has 6e-8, sums of hundreds of terms less
COLUMNS, VALUES = 4, 8  # an example has at least so many columns, and more values than that
IN_BATCH = ("clip_loss", "info_nce_loss", "multiple_negatives_ranking_loss", "n_pair_loss", "siglip_loss", "nt_xent_loss")
IDS = ("query_ids", "key_ids", "ids")


@finding("D704", severity="warning", phases=("before", "during"), explains=("D403", "D404", "D702"))
def false_negatives(evidence: Evidence) -> Iterator[Hit]:
    """Identical positives in one batch: each is pushed away from its own twin, and the loss cannot reach 0.

    Cause:       With in-batch negatives every other row counts as wrong. k equal rows share the probability, so that each
                 of them has a loss of at least ln k (siglip_loss, which asks for each pair alone: ln k + (k - 1) ln(k / (k
                 - 1))); the gradient pulls equal texts apart.
    Rule:        In a loss with in-batch negatives (or a cross-entropy over a square matrix of scores with targets 0, 1, 2,
                 ...), more than 10 % of the rows have an exact double among the keys, and the mean of ln k is above 5 % of
                 ln N. No ids were given.
    Silent when: ids tell the loss which rows are the same; doubles are rare; all rows are equal (collapse, which is another
                 finding).
    Fix:         losskit.clip_loss(query, key, key_ids=ids) leaves equal ids out; or a sampler without duplicates.
    Confirm:     len(key.unique(dim=0)) == len(key) in every batch.
    Reference:   Khosla et al. 2020, arXiv:2004.11362; sentence-transformers: NoDuplicatesDataLoader.
    Example:
        losskit.clip_loss(images, texts)                                   # sick if a text comes twice
        losskit.clip_loss(images, texts, query_ids=ids, key_ids=ids)       # healthy
    """
    for call in evidence.calls:
        rows = _candidates(call)
        if rows is None or len(rows) < 4:
            continue
        every = [_counts(_rounded(rows)), *(_counts(entry) for entry in _entries(evidence, len(rows)))]
        told = [counts for counts in every if int(counts.max()) < len(rows)]
        counts = max(told, key=lambda counts: float(counts.double().log().sum()), default=torch.ones(1))
        share, floor = float((counts > 1).double().mean()), float(counts.double().log().mean())
        if share > SHARE and floor > PART * math.log(len(rows)):
            floor = _of_pairs(counts) if call.name == "siglip_loss" else floor
            said = f"{share:.0%} of the {len(rows)} rows have an exact double in the batch, each the other's negative"
            yield Hit(f"{said}: the loss cannot fall below {floor:.4f}", {"share": share, "floor": floor}, where=call.where)


def _of_pairs(counts: Tensor) -> float:
    """Where one score of k equal pairs has the label 1 and k - 1 times 0: softplus(-s) + (k - 1) softplus(s) at its lowest."""
    k = counts.double()
    return float((torch.xlogy(k, k) - torch.xlogy(k - 1, k - 1)).mean())


def _candidates(call: LossCall) -> Tensor | None:
    """What each row is compared with: the keys, or the columns of a square matrix of scores."""
    tensors = call.tensors
    if call.name in IN_BATCH:
        named = any(tensors.get(name) is not None for name in IDS)
        key = tensors.get("key", tensors.get("positive"))
        return None if named or key is None or key.dim() != 2 else key.detach()
    scores, target = tensors.get("input"), tensors.get("target")
    if call.name != "cross_entropy" or scores is None or target is None or scores.dim() != 2 or target.dim() != 1:
        return None
    square = scores.shape[0] == scores.shape[1] == len(target) and torch.equal(
        target, torch.arange(len(target), device=target.device)
    )
    return scores.detach().T if square else None


def _entries(evidence: Evidence, n: int) -> list[Tensor]:
    """Entries of the batch that hold examples, one row each: dropout makes different embeddings of equal texts.

    Masks, positions, one-hot classes and other descriptions are few values or few columns.
    """
    tensors = evidence.batch.tensors.items() if evidence.batch is not None else ()
    wide = [t.detach() for path, t in tensors if t.dim() > 1 and len(t) == n and t[0].numel() >= COLUMNS and "mask" not in path]
    return [t for t in wide if len(t.unique()) > VALUES]


def _rounded(rows: Tensor) -> Tensor:
    """A matrix product gives equal rows last digits that differ."""
    return (rows.double() / rows.abs().max().clamp_min(1e-30) / ROUNDING).round()


def _counts(rows: Tensor) -> Tensor:
    """How often each row is there."""
    inverse: Tensor = rows.reshape(len(rows), -1).unique(dim=0, return_inverse=True)[1]
    return inverse.bincount()[inverse]
