"""What a run's config or a user's refs say, as cards and facts."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .levels_ask import Known, cards

__all__ = ["ALSO", "NAMES", "card_named", "known_of_facts", "number", "spelt_losses", "tidy"]

# what a fact is called, and what others call it, the surest first
NAMES: Mapping[str, tuple[str, ...]] = {
    "num_classes": ("num_classes", "num_labels", "n_classes", "nclasses", "nb_classes", "n_labels", "num_class"),
    "vocab_size": ("vocab_size", "n_vocab", "padded_vocab_size", "vocabulary_size"),
    "label_smoothing": ("label_smoothing", "label_smoothing_factor", "smoothing"),
    "margin": ("margin", "triplet_margin"),
    "gamma": ("gamma", "focal_gamma"),
    "temperature": ("temperature",),
    "batch_size": ("per_device_train_batch_size", "train_batch_size", "batch_size", "micro_batch_size"),
    "accumulate": (
        *("accumulate", "gradient_accumulation_steps", "accumulate_grad_batches", "grad_accum_steps", "grad_accum"),
        "accumulation_steps",
    ),
    "max_steps": ("max_steps", "max_iters", "train_iters", "total_steps", "num_training_steps", "max_train_steps"),
    "warmup_steps": ("warmup_steps", "warmup_iters", "num_warmup_steps", "lr_warmup_iters"),
    "logging_steps": ("logging_steps",),
    "learning_rate": ("learning_rate", "lr"),
    "prior": ("prior", "priors", "class_counts", "class_frequencies"),
    "entropy": ("entropy", "unigram_entropy", "prior_entropy"),
    "variance": ("variance", "target_variance", "var_y"),
    "loss": ("loss", "criterion", "loss_fn", "loss_name", "loss_type", "loss_function"),
}
# as formulas have it, of a user and not of a config; the second ones where a loss is named as well: "m" may be a momentum
_LETTERS = {"num_classes": ("C", "classes"), "vocab_size": ("V",)}
_OF_A_LOSS = {"batch_size": ("N",), "margin": ("m",), "variance": ("var",)}
ALSO = tuple(name for names in (*_LETTERS.values(), *_OF_A_LOSS.values()) for name in names)
_SHORT = {
    "ce": "cross_entropy",
    "nll": "cross_entropy",
    "xent": "cross_entropy",
    "categoricalcrossentropy": "cross_entropy",
    "bce": "binary_cross_entropy_with_logits",
    "binarycrossentropy": "binary_cross_entropy_with_logits",
    "mse": "mse_loss",
    "mae": "l1_loss",
    "kldiv": "kl_div_loss",
    "triplet": "triplet_margin_loss",
    "softtriplet": "triplet_margin_loss",
    "marginranking": "pairwise_hinge_loss",
    "infonce": "info_nce_loss",
    "simclr": "nt_xent_loss",
    "mnrl": "multiple_negatives_ranking_loss",
    "forcausallm": "cross_entropy",
}
_OF_TOKENS = re.compile(r"CausalLM|LMHead|MaskedLM|ConditionalGeneration|ForPreTraining|^GPT$", re.IGNORECASE)
_MOST_CLASSES = 1 << 24  # a larger "number of classes" is a mistake of the file


@functools.cache
def _names() -> Mapping[str, str]:
    modules = {_plain(c.module.__name__): name for name, c in cards().items() if c.module is not None}
    return {**_SHORT, **modules, **{_plain(name): name for name in cards()}}


def _plain(name: str) -> str:
    """Without case, separators and the word "loss"."""
    return re.sub(r"[^a-z0-9]", "", name.lower().rpartition(".")[2]).removesuffix("loss").removesuffix("withlogits")


def card_named(name: object) -> str | None:
    """The card of a loss by any of its names: "CrossEntropyLoss", "bce", "torch.nn.MSELoss"."""
    return _names().get(_plain(name)) if isinstance(name, str) and len(name) < 100 else None


def spelt_losses() -> tuple[str, ...]:
    """Short names of losses that are understood besides those of the cards."""
    return tuple(_SHORT)


def number(value: object) -> float | None:
    """A finite number, also from a text; None for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    try:
        found = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def tidy(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts under their names here; numbers as numbers, counts as whole ones, what makes no sense left out."""
    found = dict(facts)
    given = any(facts.get(name) is not None for name in NAMES["loss"])
    for name, others in NAMES.items():
        for other in (*others, *_LETTERS.get(name, ()), *(_OF_A_LOSS.get(name, ()) if given else ())):
            if found.get(name) is None and facts.get(other) is not None:
                found[name] = facts[other]
    if found.get("num_classes") is None and isinstance(found.get("id2label"), Mapping):
        found["num_classes"] = len(found["id2label"])
    for name in ("num_classes", "vocab_size", "batch_size", "accumulate"):
        size = number(found.pop(name, None))
        if size is not None and 1 <= size <= _MOST_CLASSES and size == int(size):
            found[name] = int(size)
    for name in ("label_smoothing", "entropy", "variance", "floor", "gamma", "beta", "delta", "pos_weight"):
        value = number(found.pop(name, None))
        if value is not None:
            found[name] = value
    if isinstance(found.get("margin"), str) and found["margin"] != "soft":
        found["margin"] = number(found["margin"])
    found["prior"] = _prior(found.pop("prior", None))
    return {k: v for k, v in found.items() if v is not None}


def _prior(given: object) -> float | Tensor | None:
    """Class frequencies as they may be written down: counts by class, a list, the share of positives."""
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, Tensor):
        given = given.tolist()
    if isinstance(given, Sequence) and not isinstance(given, str):
        shares = [number(one) for one in given]
        whole = [s for s in shares if s is not None and s >= 0]
        good = len(whole) == len(shares) > 1 and sum(whole) > 0
        return torch.tensor(whole, dtype=torch.float64) / sum(whole) if good else None
    share = number(given)
    return share if share is not None and 0 < share < 1 else None


def known_of_facts(facts: Mapping[str, Any]) -> Known | None:
    """From tidy facts: the loss that they name, or the one that they are facts of."""
    card, language = _card_of(facts)
    if card is None:
        return None
    given = dict(facts)
    if language and "vocab_size" in facts:
        given["num_classes"] = facts["vocab_size"]
    prior = given.get("prior")
    if card == "binary_cross_entropy_with_logits":
        if isinstance(prior, Tensor):
            given["prior"] = float(prior[1] / prior.sum()) if len(prior) == 2 else None
    elif isinstance(prior, float):
        given["prior"] = torch.tensor([1 - prior, prior], dtype=torch.float64)
    elif prior is not None and "num_classes" not in given:
        given["num_classes"] = len(prior)
    options = {k: v for k, v in given.items() if v is not None and k not in ("reduction", "loss")}
    return Known(card, options, language=language, candidates=cards()[card].task == "embedding" and "batch_size" in given)


def _card_of(facts: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Its card, and whether it is over tokens."""
    named = card_named(facts.get("loss"))
    sorts = facts.get("architectures")
    built = " ".join(map(str, sorts)) if isinstance(sorts, (list, tuple)) else str(sorts or facts.get("architecture", ""))
    tokens = "vocab_size" in facts and (
        facts.get("task") == "language" or bool(_OF_TOKENS.search(built)) or "num_classes" not in facts
    )
    if named is not None:
        per_class = cards()[named].task in ("classification", "language", "imbalance")
        return named, tokens and per_class and named != "binary_cross_entropy_with_logits"
    if isinstance(facts.get("loss"), str) and facts["loss"]:
        return None, False  # a loss of the user's own
    kind = facts.get("problem_type")
    if tokens:
        return "cross_entropy", True
    if kind == "multi_label_classification" or (isinstance(facts.get("prior"), float) and "num_classes" not in facts):
        return "binary_cross_entropy_with_logits", False
    if kind == "regression" or facts.get("num_classes") == 1 or "variance" in facts:
        return "mse_loss", False
    if "num_classes" in facts or isinstance(facts.get("prior"), Tensor):
        return "cross_entropy", False
    return ("triplet_margin_loss", False) if "margin" in facts else (None, False)
