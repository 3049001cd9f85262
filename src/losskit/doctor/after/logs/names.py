"""What a curve is, told by its name; which columns are steps and clocks; what is a number."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from ...evidence.run import Kind

__all__ = ["bare_kind", "kind_of", "number", "place_in_kind", "role_of", "words"]

# the best first: where a row has several, the first counts the steps of the optimizer
STEPS = (
    "global_step", "trainer/global_step", "train/global_step", "step", "steps", "_step", "iter", "iteration", "iterations",
    "iters", "update", "updates", "num_updates", "train_step", "training_step", "total_steps", "it", "batch", "batch_idx",
)  # fmt: skip
CLOCKS = ("_timestamp", "wall_time", "walltime", "timestamp", "wall")
_WORDS = re.compile(r"[a-z]+|[0-9.]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_EVAL = frozenset({"val", "valid", "validation", "eval", "evaluation", "test", "dev", "heldout", "holdout"})
_LOSS = frozenset({"loss", "losses", "nll", "xent", "crossentropy", "objective"})
# a word that makes of a loss something else: a weight of it, its scale, the best so far, a rate
_NOT_A_LOSS = frozenset(
    {
        "weight",
        "scale",
        "scaler",
        "best",
        "lambda",
        "coef",
        "coeff",
        "time",
        "count",
        "num",
        "number",
        "ratio",
        "std",
        "var",
        "grad",
    }
)
_OF_CLASSES = frozenset({"cross", "crossentropy", "binary", "categorical", "softmax", "sigmoid", "nll"})
_AGGREGATED = frozenset({"epoch", "avg", "average", "ema", "smooth", "smoothed", "mean", "running", "min", "max", "median"})


def number(value: Any) -> float | None:
    """A cell as a number, None if it is none: text such as "NaN", "-Infinity" and "1e-3" is."""
    kind = type(value)
    if kind is float:
        return float(value)
    if kind is int:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if kind is str and len(value) < 64:
        try:
            return float(value)
        except ValueError:
            return None
    return None


@functools.lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """The words of a name: "trainLoss/CE_2" is train, loss, ce, 2."""
    return tuple(_WORDS.findall(_CAMEL.sub(" ", name[:200]).lower()))


@functools.lru_cache(maxsize=4096)
def role_of(name: str) -> tuple[str, int]:
    """("step", how good a counter it is; 0 is best), ("clock", ...), or ("curve", 0)."""
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    if plain in STEPS:
        return "step", STEPS.index(plain)
    if plain in CLOCKS:
        return "clock", CLOCKS.index(plain)
    return "curve", 0


@functools.lru_cache(maxsize=4096)
def kind_of(name: str) -> Kind:
    """The kind of a curve, by its name."""
    said = words(name)
    have = frozenset(said)
    if have & {"lr", "learningrate"} or ("learning" in have and "rate" in have) or said[:1] == ("lr",):
        return "lr"
    if said[-1:] == ("epoch",) and not have & (_LOSS | {"ppl", "perplexity", "acc", "accuracy"}) and len(said) <= 2:
        return "epoch"
    if ("scale" in have or "scaler" in have) and have & {"loss", "grad", "amp", "scaler", "gradient"}:
        return "loss_scale"
    if "gnorm" in have or ("norm" in have and have & {"grad", "grads", "gradient", "gradients", "total"}):
        return "metric" if have & {"weight", "bias", "layer", "layers", "clipped"} else "grad_norm"
    if have & {"ppl", "perplexity"}:
        return "perplexity"
    if _is_loss(said):
        return "eval_loss" if have & _EVAL else "train_loss"
    return "metric"


def bare_kind(name: str) -> Kind | None:
    """What "train" and "val" are where nothing else in the log is called a loss."""
    said = words(name)
    if said in (("train",), ("training",)):
        return "train_loss"
    return "eval_loss" if len(said) == 1 and said[0] in _EVAL else None


def _is_loss(said: tuple[str, ...]) -> bool:
    have = frozenset(said)
    # "entropy_loss" is the bonus of a policy, and falls when all is well
    if have & _NOT_A_LOSS or ("entropy" in have and not have & _OF_CLASSES):
        return False
    return bool(have & _LOSS) or ("cross" in have and "entropy" in have) or any(len(w) < 24 and w.endswith("loss") for w in said)


def place_in_kind(name: str, points: int) -> tuple[int, int, int, str]:
    """Sorts the curves of a kind, the main one first: the whole before parts, steps before means of epochs, long before short."""
    said = words(name)
    plain = [w for w in said if w not in _EVAL | {"train", "training", "trainer", "step", "total", "all", "the", "lm"}]
    aggregated = sum(w in _AGGREGATED for w in said)
    parts = len([w for w in plain if w not in _AGGREGATED]) - 1
    test = int("test" in said)
    return aggregated + test, max(parts, 0), -points, name
