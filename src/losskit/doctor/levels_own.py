"""losskit's own losses as facts for their cards: sizes of the batch, targets, options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from .evidence.calls import LossCall
from .levels_ask import Known, cards
from .levels_torch import MOST, NAMESAKES, VOCABULARY, known_of_torch

__all__ = ["known_of_call"]

# how a call is carried out, which no level depends on
_HOW = frozenset({"reduction", "normalizer", "memory", "group", "generator", "class_dim", "ignore_index"})
_TARGETS = ("target", "relevance")


def known_of_call(call: LossCall) -> Known | None:
    """The card of a call and the facts; None where nothing is known, e.g. for a call that raised."""
    if call.error:
        return None
    if call.home == "torch":
        return known_of_torch(call)
    if call.name not in cards() or call.options.get("normalizer") is not None or call.options.get("group") is not None:
        return None
    call = _visible(call)
    if call.name in NAMESAKES:
        known = known_of_torch(call)
        return known and replace(known, facts={**known.facts, "z_loss": call.options.get("z_loss", 0.0)})
    facts = {**_options(call), **_sizes(call)}
    classes = facts.get("num_classes", 0)
    language = classes > 0 and (cards()[call.name].task == "language" or classes >= VOCABULARY)
    scale = float(_count(call)) if call.options.get("reduction") == "sum" else 1.0
    name = next((n for n in _TARGETS if n in call.tensors), None)
    return Known(call.name, facts, _data(call, name), lambda t: {name: t} if name else {}, scale, language=language)


def _visible(call: LossCall) -> LossCall:
    """Without what a mask of elements hides."""
    mask, target = call.tensors.get("mask"), call.tensors.get("target")
    if mask is None or (target is not None and mask.shape != target.shape):
        return call
    mask = mask.bool()
    if bool(mask.all()):
        return replace(call, tensors={k: v for k, v in call.tensors.items() if k != "mask"})
    if target is None:
        return call
    seen = {k: v[mask] for k, v in call.tensors.items() if k != "mask" and v.shape[: mask.dim()] == mask.shape}
    return replace(call, tensors={**{k: v for k, v in call.tensors.items() if k != "mask"}, **seen})


def _options(call: LossCall) -> dict[str, Any]:
    """What is not the loss's default; a tensor of one number as a number."""
    facts = {k: v for k, v in call.options.items() if k not in _HOW and v is not None}
    for name, tensor in call.tensors.items():
        if name in cards()[call.name].options and name not in _HOW:
            facts[name] = float(tensor) if tensor.numel() == 1 and tensor.is_floating_point() else tensor
    if call.options.get("directions", "one") == "one" and not call.options.get("multi_positive"):
        facts.pop("negatives", None)  # counted among the candidates
    return facts


def _sizes(call: LossCall) -> dict[str, Any]:
    tensors, facts = call.tensors, dict[str, Any]()
    rows = tensors.get("query", tensors.get("anchor", tensors.get("input")))
    if rows is not None and rows.dim() > 1:
        facts["batch_size"] = rows.shape[:-1].numel()
        if "negatives" in tensors:
            facts["batch_size"] += tensors["negatives"].shape[:-1].numel()
    if "scores" in tensors and tensors["scores"].dim():
        facts["list_size"] = tensors["scores"].shape[-1]
    held = tensors.get("linear_weight", tensors.get("proxies"))
    if held is not None:
        facts["num_classes"] = held.shape[0]
    elif "input" in tensors and tensors["input"].dim():
        facts["num_classes"] = tensors["input"].shape[call.options.get("class_dim", -1)]
    return facts


def _data(call: LossCall, name: str | None) -> Tensor | None:
    """The targets, a sample a row."""
    target = call.tensors.get(name) if name else None
    if target is None or not target.dim():
        return None
    ignored = call.options.get("ignore_index")
    if ignored is not None and not target.is_floating_point():
        target = target[target != ignored]
    return target[: max(1, MOST * len(target) // max(1, target.numel()))]


def _count(call: LossCall) -> int:
    """Values that a sum adds up, as far as shapes tell."""
    rows = next((call.tensors[n] for n in ("scores", "query", "anchor", "target") if n in call.tensors), None)
    if rows is None:
        return 1
    return rows.numel() if rows is call.tensors.get("target") else max(1, rows.shape[:-1].numel())
