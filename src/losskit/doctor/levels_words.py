"""A level as a sentence: "ln 10 = 2.3026: chance among 10 classes"."""

from __future__ import annotations

import math

from .evidence.calls import Level
from .levels_ask import Known, cards, hangs_on_data, measure

__all__ = ["FOR_THESE", "levels_of", "log_of", "sentence"]

TRIPLETS = frozenset({"triplet_margin_loss", "batch_triplet_loss"})
FOR_THESE = "at best, for these targets"  # a floor of one batch, which the next one need not have
_SAME = 0.98  # of chance; a constant above is chance by another name


def sentence(formula: str, value: float, meaning: str) -> str:
    """How every level is called."""
    return f"{formula} = {value:.4f}: {meaning}" if formula else f"{value:.4f}: {meaning}"


def log_of(value: float) -> str:
    """ "ln 10" for the logarithm of a whole number, otherwise nothing."""
    if not 0 < value < 30:
        return ""
    whole = round(math.exp(value))
    return f"ln {whole}" if whole > 1 and abs(value - math.log(whole)) < 1e-9 else ""


def levels_of(known: Known) -> tuple[Level, ...]:
    """Chance, the best constant and the floor of a card, by name."""
    chance, constant, floor = (measure(known, level) for level in ("chance", "constant", "floor"))
    found: list[Level] = []
    if chance:
        formula, meaning, code = _chance(known, chance / known.scale)
        found.append(Level(sentence(_scaled(known, formula), chance, meaning), chance, "chance", code))
    if constant and (chance is None or constant < _SAME * chance):
        formula, meaning, code = _constant(known)
        found.append(Level(sentence(_scaled(known, formula), constant, meaning), constant, "constant", code))
    if floor is not None:
        smoothing = known.facts.get("label_smoothing", 0.0)
        own = floor and (known.at_best is not None or (known.data is not None and hangs_on_data(known, "floor")))
        meaning = FOR_THESE if own else f"the floor of label smoothing {smoothing:g}" if smoothing else "at best"
        found.append(Level(sentence("", floor, meaning) if floor else f"0: {meaning}", floor, "floor"))
    return tuple(found)


def _scaled(known: Known, formula: str) -> str:
    return formula if known.scale == 1 or not formula else f"{known.scale:g} x {formula}"


def _chance(known: Known, value: float) -> tuple[str, str, str]:
    """Formula, meaning, and the finding that owns it."""
    task, log = cards()[known.card].task, log_of(value)
    whole = round(math.exp(value)) if log else 0
    if known.card in TRIPLETS:
        soft = known.facts.get("margin") == "soft"
        return "ln 2" if soft else "the margin", "every distance is the same, the embeddings say nothing", "D703"
    if (known.candidates and log) or (task == "embedding" and "batch_size" in known.facts and log):
        return log, f"each of {whole} candidates is as likely, the embeddings say nothing", "D702"
    if known.card == "pairwise_hinge_loss":
        return "the margin", "every score is the same", ""
    if task == "embedding":
        return log, "every embedding is the same", ""
    if task == "ranking":
        return log, "every score is the same", ""
    if known.card in ("binary_cross_entropy_with_logits", "binary_focal_loss"):
        return log, "a coin toss for every answer", ""
    classes = known.facts.get("num_classes", 0)
    if known.language:
        return log, f"chance among {classes} tokens", "D804"
    return log, f"chance among {classes} classes" if classes else "chance", ""


def _constant(known: Known) -> tuple[str, str, str]:
    if known.language:
        return "H(tokens)", "the frequencies of the tokens, whatever the context", ""
    if known.card in ("cross_entropy", "focal_loss", "linear_cross_entropy"):
        return "H(classes)", "the frequencies of the classes, whatever the input", "D606"
    if known.card == "binary_cross_entropy_with_logits":
        return "H(answers)", "the frequencies of the answers, whatever the input", "D606"
    names = {"mse_loss": "Var(target)", "l1_loss": "mean |target - median|", "rmse_loss": "std(target)"}
    best = {"mse_loss": "the mean", "rmse_loss": "the mean", "l1_loss": "the median"}.get(known.card, "the best constant")
    return names.get(known.card, ""), f"{best} of the targets, whatever the input", ""
