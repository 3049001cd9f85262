"""A loss of lists broken on purpose for each law of lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import losskit
from losskit.core.card import CATALOGUE, Card

Changed = Callable[[Card, Callable[..., Tensor]], Card]


def pairs() -> Card:
    losskit.pairwise_logistic_loss  # noqa: B018  # loads the catalogue
    return CATALOGUE["pairwise_logistic_loss"]


def counts_padding(f: Any, scores: Tensor, relevance: Tensor, **o: Any) -> Tensor:
    return f(scores, relevance, **o) * scores.shape[-1]


def counts_empty_lists(f: Any, scores: Tensor, relevance: Tensor, **o: Any) -> Tensor:
    if o.get("reduction") == "none" or "normalizer" in o:
        return f(scores, relevance, **o)
    return f(scores, relevance, **{**o, "reduction": "none"}).mean()


def looks_at_the_first_item(f: Any, scores: Tensor, relevance: Tensor, **o: Any) -> Tensor:
    return f(scores, relevance, **o) + 0.1 * scores[..., :1].sum()


def ragged_a_little_off(f: Any, scores: Tensor, relevance: Tensor, *, offsets: Tensor | None = None, **o: Any) -> Tensor:
    return f(scores, relevance, offsets=offsets, **o) * (1.0 if offsets is None else 1.001)


def weight_squared(f: Any, scores: Tensor, relevance: Tensor, *, query_weight: Tensor | None = None, **o: Any) -> Tensor:
    return f(scores, relevance, query_weight=None if query_weight is None else query_weight**2, **o)


def no_weight(f: Any, scores: Tensor, relevance: Tensor, *, weight: Tensor | None = None, **o: Any) -> Tensor:
    return f(scores, relevance, **o)


def detached_lists(f: Any, scores: Tensor, relevance: Tensor, **o: Any) -> Tensor:
    value: Tensor = f(scores, relevance, **o)
    return value if torch.any(value != 0) else value.detach()


def list_mutants(changed: Changed) -> dict[str, tuple[Card, Mapping[str, Any]]]:
    """Law -> a card and a variant that break it."""
    broken = {
        "padding_changes_nothing": counts_padding,
        "masked_items_might_as_well_not_be_there": counts_empty_lists,
        "the_order_of_items_does_not_matter": looks_at_the_first_item,
        "ragged_lists_are_masked_lists": ragged_a_little_off,
        "query_weights_multiply": weight_squared,
        "weights_of_one_are_no_weights": no_weight,
        "a_list_without_items_is_a_connected_zero": detached_lists,
    }
    return {name: (changed(pairs(), body), {}) for name, body in broken.items()}
