"""torch's functional losses as cards: the one with the same meaning, and its facts from the tensors of a call."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .before.labels import class_dim
from .evidence.calls import LossCall
from .levels_ask import Known, cards

__all__ = ["NAMESAKES", "NONNEGATIVE", "is_own_place", "known_of_torch", "valid_targets"]

VOCABULARY = 20_000  # classes from which on they are taken for tokens
MOST = 1 << 20  # numbers that are looked at for a level
# torch's name -> the card with the same value
NAMESAKES = {
    "cross_entropy": "cross_entropy",
    "nll_loss": "cross_entropy",
    "binary_cross_entropy": "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits": "binary_cross_entropy_with_logits",
    "soft_margin_loss": "binary_cross_entropy_with_logits",
    "multilabel_soft_margin_loss": "binary_cross_entropy_with_logits",
    "mse_loss": "mse_loss",
    "l1_loss": "l1_loss",
    "smooth_l1_loss": "smooth_l1_loss",
    "huber_loss": "huber_loss",
    "kl_div": "kl_div_loss",
    "triplet_margin_loss": "triplet_margin_loss",
    "triplet_margin_with_distance_loss": "triplet_margin_loss",
    "cosine_embedding_loss": "cosine_embedding_loss",
    "margin_ranking_loss": "pairwise_hinge_loss",
}
# besides those of the cards that promise it
NONNEGATIVE = frozenset(NAMESAKES) | {
    "ctc_loss",
    "hinge_embedding_loss",
    "multilabel_margin_loss",
    "multi_margin_loss",
}


def known_of_torch(call: LossCall) -> Known | None:
    """The card and the facts; None for a loss whose levels nobody knows."""
    card = NAMESAKES.get(call.name)
    if card is None:
        return None
    found = _FACTS.get(card, _alone)(call)
    return replace(found, scale=_scale(call))


def valid_targets(call: LossCall) -> Tensor:
    """The class indices that count, flat."""
    target = call.tensors["target"].flatten()
    return target[target != call.options.get("ignore_index", -100)]


def _alone(call: LossCall) -> Known:
    facts = {k: v for k, v in call.options.items() if k in ("margin", "swap")}
    return Known(NAMESAKES[call.name], facts)


def _classes(call: LossCall) -> Known:
    input, target, weight = call.tensors["input"], call.tensors["target"], call.tensors.get("weight")
    axis, smoothing = class_dim(call), call.options.get("label_smoothing", 0.0)
    classes = input.shape[axis]
    facts = {"num_classes": _open(input, axis), "label_smoothing": smoothing}
    if target.is_floating_point():
        if weight is not None:  # the mean divides by rows and not by weights: no level is the same for all data
            return Known("cross_entropy")
        rows = target.movedim(axis, -1).reshape(-1, classes)[: max(1, MOST // classes)].double()
        return Known("cross_entropy", facts, rows, lambda t: {"prior": t.sum(0)}, at_best=_entropy(rows, smoothing))
    index = valid_targets(call)
    known = Known("cross_entropy", facts, candidates=is_own_place(input, target), language=classes >= VOCABULARY)
    if (
        weight is not None and smoothing
    ):  # the weights of the other classes are not in the mean's denominator: no level for all data
        return Known("cross_entropy")
    if known.candidates:
        return known
    share = torch.ones(classes, dtype=torch.float64) if weight is None else weight.double().cpu()

    def prior(index: Tensor) -> dict[str, Any]:
        inside = index[(index >= 0) & (index < classes)].long().cpu()
        return {"prior": torch.bincount(inside, minlength=classes).double() * share}

    return replace(known, data=index[:MOST], of_data=prior)


def _entropy(target: Tensor, smoothing: float) -> float:
    """What rows of probabilities cost a model that predicts them."""
    own = ((1 - smoothing) * target + smoothing / target.shape[-1]).clamp_min(torch.finfo(target.dtype).tiny)
    return float(cards()["cross_entropy"].reference(own.log(), target, label_smoothing=smoothing).mean())


def is_own_place(input: Tensor, target: Tensor) -> bool:
    """Whether row i is to find column i: the classes are the samples of the batch."""
    square = input.dim() == 2 and input.shape[0] == input.shape[1] == target.numel() > 1
    return square and bool((target.flatten() == torch.arange(len(target), device=target.device)).all())


def _open(input: Tensor, axis: int) -> int | None:
    """Classes that are not masked by -inf; None if rows have different numbers of them."""
    rows = input.movedim(axis, -1).reshape(-1, input.shape[axis])
    counts = (rows[: max(1, MOST // input.shape[axis])] != -math.inf).sum(-1).unique()
    return int(counts) if counts.numel() == 1 else None


def _answers(call: LossCall) -> Known:
    target = call.tensors["target"].double()
    if call.name == "soft_margin_loss":
        target = (target + 1) / 2
    pos_weight, weight = call.tensors.get("pos_weight"), call.tensors.get("weight")
    facts = {} if pos_weight is None else {"pos_weight": float(pos_weight) if pos_weight.numel() == 1 else math.nan}
    if weight is not None:
        return Known("binary_cross_entropy_with_logits", facts)
    rows = target.reshape(len(target), -1) if target.dim() == 2 else target.reshape(-1, 1)
    rows = rows[: max(1, MOST // max(1, rows.shape[1]))]
    card = "binary_cross_entropy_with_logits"
    return Known(card, facts, rows, lambda t: {"prior": float(t.mean()), "target": t}, columns=True)


def _values(call: LossCall) -> Known:
    facts = {k: v for k, v in call.options.items() if k in ("beta", "delta")}
    target, card = call.tensors["target"].double(), NAMESAKES[call.name]
    if call.tensors.get("weight") is not None:
        return Known(card, facts)
    rows = target.reshape(len(target), -1) if target.dim() else target.reshape(1, 1)
    return Known(card, facts, rows[: max(1, MOST // max(1, rows.shape[1]))], lambda t: {"target": t}, columns=True)


def _divergences(call: LossCall) -> Known:
    target = call.tensors["target"].double()
    rows = target.reshape(-1, target.shape[-1])[: max(1, MOST // target.shape[-1])]
    rows = rows if call.options.get("log_target") else rows.clamp_min(torch.finfo(rows.dtype).tiny).log()
    return Known("kl_div_loss", {}, rows, lambda t: {"target": t})


def _pairs(call: LossCall) -> Known:
    facts = {"margin": call.options.get("margin", 0.0)}
    return Known("cosine_embedding_loss", facts, call.tensors["target"].flatten(), lambda t: {"target": t})


def _scale(call: LossCall) -> float:
    """What the reduction makes of the mean that the card's levels are of."""
    reduction, tensors = call.options.get("reduction", "mean"), call.tensors
    first = tensors.get("input", tensors.get("anchor", tensors.get("input1")))
    if first is None or not first.numel():
        return 1.0
    weight, target = tensors.get("weight"), tensors.get("target")
    if call.name == "kl_div":
        rows = first.numel() / first.shape[-1]
        return {"sum": rows, "batchmean": rows / first.shape[0], "mean": 1 / first.shape[-1]}.get(reduction, 1.0)
    if NAMESAKES[call.name] == "cross_entropy":
        if reduction != "sum":
            return 1.0
        if target is None or target.is_floating_point():
            return first.numel() / first.shape[class_dim(call)]
        index = valid_targets(call)
        inside = index[(index >= 0) & (index < first.shape[class_dim(call)])]
        return float(inside.numel() if weight is None else weight.double()[inside].sum())
    rows = first.shape[0] if first.dim() > 1 and ("anchor" in tensors or "input1" in tensors) else first.numel()
    counts = float(rows) if reduction == "sum" else 1.0
    is_answer = NAMESAKES[call.name] == "binary_cross_entropy_with_logits"
    return counts * (float(weight.double().mean()) if is_answer and weight is not None else 1.0)


_FACTS: dict[str, Callable[[LossCall], Known]] = {
    "cross_entropy": _classes,
    "binary_cross_entropy_with_logits": _answers,
    "mse_loss": _values,
    "l1_loss": _values,
    "smooth_l1_loss": _values,
    "huber_loss": _values,
    "kl_div_loss": _divergences,
    "cosine_embedding_loss": _pairs,
}
