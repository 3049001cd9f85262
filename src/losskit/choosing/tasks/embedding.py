"""Vectors that are near where things belong together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.card import reference
from ..advice import Advice, Candidate, Fact
from ..candidates import candidate
from ..columns import Column
from ..seen import Seen

__all__ = ["advise"]

TWO = "query and key (N, D): the vectors of pairs that belong together, row by row"
THREE = "anchor, positive and negative (N, D): the vectors of triplets, row by row"
ROWS = "embedding (N, D): a vector for each row; labels (N,): integers"
COSINE = 2.0  # 1 - cos is never more
BATCH = 256


def advise(seen: Seen) -> Advice:
    """By what there is: pairs, triplets, pairs with a yes or a grade, or classes of rows."""
    by = {
        "pairs": _pairs,
        "triplets": _triplets,
        "labelled pairs": _labelled_pairs,
        "graded pairs": _graded_pairs,
        "labels": _labels,
    }
    if seen.shape in by:
        return by[seen.shape](seen)
    first = _info_nce("Vectors for search or similarity.")
    others = [
        _contrastive("Where pairs come with a yes or a no.", {}),
        _triplet("Where triplets are given."),
        _multiple("Where only pairs that belong together are known."),
        _supervised("Where rows have classes."),
    ]
    return seen.advice(first, others, [_too_wide()])


def _pairs(seen: Seen) -> Advice:
    query, key = _role(seen, "query"), _role(seen, "key")
    facts = [Fact("pairs", seen.columns.rows if seen.columns else 0, f"{query.name!r} with {key.name!r}, nothing else")]
    repeats = _repeats(key) or _repeats(query)
    warnings: list[str] = []
    if repeats:
        share = max(_repeated(query), _repeated(key))
        facts.append(Fact("repeated", share, f"{share:.1%} of the rows share a text or vector with another row"))
        warnings.append("A key that answers two queries of a batch is pushed away from one of them: ids say that it is the same.")
    first = _multiple("Pairs are all there is.", ids=repeats)
    return seen.advice(first, [_info_nce("The same with another temperature, and both directions on request."), _siglip()],
                       [], facts, warnings)  # fmt: skip


def _triplets(seen: Seen) -> Advice:
    rows = seen.columns.rows if seen.columns else 0
    named = [_role(seen, part) for part in ("anchor", "positive", "negative")]
    facts = [Fact("triplets", rows, f"{rows:,} triplets: {', '.join(repr(c.name) for c in named)}")]
    share = _repeated(named[1])
    first = _triplet("Triplets are given, and each says what is nearer.")
    batch = candidate(
        "multiple_negatives_ranking_loss",
        f"The rest of the batch serves as negatives besides the given one; {share:.1%} of the positives come more than once.",
        shapes=THREE,
        arguments=["anchor", "positive", "negatives=negative.unsqueeze(-2)"],
        facts={},
    )
    return seen.advice(first, [batch], [_too_wide()], facts)


def _labelled_pairs(seen: Seen) -> Advice:
    values = _known(seen)
    yes = int((values > 0).sum())
    if yes in (0, len(values)):
        if yes:
            return _pairs(seen)
        return seen.refused("No pair belongs together: there is nothing to pull.")
    target = (values > 0).double()
    facts = [Fact("pairs", len(values), f"{yes:,} of {len(values):,} pairs belong together")]
    first = _contrastive("Pairs with a yes or a no.", {"target": target})
    other = candidate(
        "cosent_loss",
        "Only the order of the cosines is learned, no threshold.",
        shapes=f"{TWO} or do not; target (N,): 1 where they do, else 0",
        arguments=["query", "key", "target"],
        facts={},
    )
    return seen.advice(first, [other], [], facts)


def _graded_pairs(seen: Seen) -> Advice:
    values = _known(seen)
    if float(values.min()) == float(values.max()):
        return seen.refused("All pairs have the same grade: there is no order to learn.")
    facts = [Fact("grades", len(values.unique()), f"similarities from {values.min():g} to {values.max():g}")]
    first = candidate(
        "cosent_loss",
        "Pairs with graded similarity.",
        shapes="query and key (N, D): the vectors of pairs; target (N,): how alike they are",
        arguments=["query", "key", "target"],
        facts={},
    )
    low, high = float(values.min()), float(values.max())
    as_cosine = "target" if low >= -1 and high <= 1 else f"(target - {low:g}) / {high - low:g}"
    cosine = candidate(
        "mse_loss",
        "Where the cosine itself shall be the score.",
        shapes="query and key (N, D): the vectors of pairs; target (N,): how alike they are",
        arguments=["torch.cosine_similarity(query, key, dim=-1)", as_cosine],
        card="none",
    )
    return seen.advice(first, [cosine], [], facts)


def _labels(seen: Seen) -> Advice:
    assert seen.target is not None
    counts = torch.bincount(seen.target.values)
    counts = counts[counts > 0]
    if len(counts) < 2:
        return seen.refused("All rows have one label: there is nothing to push apart.")
    once = int((counts == 1).sum())
    if once == len(counts):
        return seen.refused(f"Each of the {len(counts)} labels comes once: no two rows belong together.")
    low, high = int(counts.min()), int(counts.max())
    facts = [Fact("labels", len(counts), f"{len(counts)} labels, {low if low == high else f'{low} to {high}'} rows each")]
    expected = float((counts.double() / counts.sum()).square().sum()) * (BATCH - 1)
    warnings = [f"{once} of {len(counts)} labels come once: rows without another of their label teach nothing."] if once else []
    if expected < 1:
        warnings.append(
            f"A random batch of {BATCH} rows has {expected:.2f} others of a row's label on average: draw batches by label."
        )
    said = f"{len(counts)} labels, {float(counts.double().median()):g} rows each in the middle."
    others = [
        candidate("batch_triplet_loss", "Where order alone counts.", shapes=ROWS, arguments=["embedding", "labels"], facts={}),
        candidate("multi_similarity_loss", "", shapes=ROWS, arguments=["embedding", "labels"], facts={}),
    ]
    return seen.advice(_supervised(said), others, [_too_wide()], facts, warnings)


def _known(seen: Seen) -> Tensor:
    assert seen.target is not None
    return seen.target.values.double()


def _role(seen: Seen, role: str) -> Column:
    assert seen.columns is not None
    named = seen.roles[role]
    return next(column for column in seen.columns.inputs if column.name == named)


def _repeated(column: Column) -> float:
    """Share of rows whose value is that of another row too."""
    if column.kind == "list":
        return 0.0
    counts = torch.unique(column.values, dim=0, return_inverse=True, return_counts=True)
    return float((counts[2][counts[1]] > 1).double().mean())


def _repeats(column: Column) -> bool:
    return _repeated(column) > 0


def _info_nce(reason: str) -> Candidate:
    return candidate("info_nce_loss", reason, shapes=TWO, arguments=["query", "key"], facts={})


def _multiple(reason: str, ids: bool = False) -> Candidate:
    more = ["key_ids=key_ids"] if ids else []
    shapes = f"{TWO}; key_ids (N,): integers, equal where keys are the same" if ids else TWO
    return candidate("multiple_negatives_ranking_loss", reason, shapes=shapes, arguments=["query", "key", *more], facts={})


def _siglip() -> Candidate:
    return candidate("siglip_loss", "Where batches are small.", shapes=TWO, arguments=["query", "key"], facts={})


def _contrastive(reason: str, facts: dict[str, Any]) -> Candidate:
    return candidate(
        "contrastive_loss",
        reason,
        shapes="query and key (N, D): the vectors of pairs; target (N,): 1. where they belong together, else 0.",
        arguments=["query", "key", "target"],
        options={"margin": 0.5},
        facts={"margin": 0.5, **facts},
    )


def _triplet(reason: str) -> Candidate:
    return candidate(
        "triplet_margin_loss",
        reason,
        shapes=THREE,
        arguments=["anchor", "positive", "negative"],
        options={"margin": 0.2, "distance": "cosine"},
        facts={"margin": 0.2, "distance": "cosine"},
    )


def _supervised(reason: str) -> Candidate:
    return candidate("supervised_contrastive_loss", reason, shapes=ROWS, arguments=["embedding", "labels"], facts={})


def _too_wide() -> Candidate:
    margin = 5.0
    chance = reference("triplet_margin_loss", margin=margin, distance="cosine").chance
    return candidate(
        "triplet_margin_loss",
        f"A margin of {margin:g} is more than a cosine distance has, which is {COSINE:g} at most: the loss starts at {chance:g} "
        f"and never falls below {margin - COSINE:g}, and no triplet is ever right.",
        shapes=THREE,
        arguments=["anchor", "positive", "negative"],
        options={"margin": margin, "distance": "cosine"},
        facts={"margin": margin, "distance": "cosine"},
        card="none",
    )
