"""The named numbers that a loss may stand at, from its intercepted call or from what is known of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .evidence.calls import Level, LossCall
from .levels_ask import Known, ask
from .levels_config import known_of_facts, tidy
from .levels_own import known_of_call
from .levels_plateaus import plateaus_of_call, sigmoid_twice, twice_level
from .levels_words import levels_of, sentence

__all__ = ["chance_of_call", "constant_of_call", "levels_of_call", "levels_of_facts"]


def levels_of_call(call: LossCall) -> tuple[Level, ...]:
    """From its tensors and options: chance, the best constant, the floor, and the plateaus of known mistakes.

    A constant that the batch is too small to tell within 3 % is left out: it is not the one of the run.
    """
    known = known_of_call(call)
    return (*levels_of(known), *plateaus_of_call(call)) if known is not None else ()


def levels_of_facts(facts: Mapping[str, Any]) -> tuple[Level, ...]:
    """From what is known of a run: {"loss": "cross_entropy", "num_classes": 10, "label_smoothing": 0.1, "vocab_size": 50257}.

    ``prior`` (class frequencies), ``entropy`` (of classes or tokens), ``variance`` (of the targets), ``floor``, ``margin`` and
    ``batch_size`` (candidates of a contrastive loss) add more. Facts under other usual names ("num_labels", "C") are understood;
    those that make no sense are left out.
    """
    facts = tidy(facts)
    known = known_of_facts(facts)
    found = list(levels_of(known)) if known is not None else []
    found += _told(facts, known)
    if known is not None:
        found += _plateaus(known)
    return tuple(found)


def chance_of_call(call: LossCall) -> float | None:
    """The loss of a model that knows nothing, for this batch."""
    known = known_of_call(call)
    return None if known is None else ask(known, "chance")


def constant_of_call(call: LossCall) -> float | None:
    """The loss of the best constant for this very batch, however small."""
    known = known_of_call(call)
    return None if known is None else ask(known, "constant")


def _told(facts: Mapping[str, Any], known: Known | None) -> list[Level]:
    """Levels whose value the facts say."""
    found, language = [], known is not None and known.language
    if facts.get("entropy", 0.0) > 0:
        what = "H(tokens)" if language else "H(classes)"
        meaning = f"the frequencies of the {'tokens' if language else 'classes'}, whatever the input"
        found.append(Level(sentence(what, facts["entropy"], meaning), facts["entropy"], "constant", "" if language else "D606"))
    if facts.get("variance", 0.0) > 0 and (known is None or known.card == "mse_loss"):
        name = sentence("Var(target)", facts["variance"], "the mean of the targets, whatever the input")
        found.append(Level(name, facts["variance"], "constant"))
    if "floor" in facts:
        found.append(Level(sentence("", facts["floor"], "at best, as the facts of the run say"), facts["floor"], "floor"))
    return found


def _plateaus(known: Known) -> list[Level]:
    """Where a known mistake would stop such a run."""
    facts = known.facts
    classes = facts.get("num_classes", 0)
    if known.card == "cross_entropy" and not known.language and classes > 1:
        return [twice_level(classes, facts.get("label_smoothing", 0.0))]
    if known.card == "binary_cross_entropy_with_logits" and isinstance(facts.get("prior"), float) and "pos_weight" not in facts:
        value = sigmoid_twice(facts["prior"])
        name = sentence("p ln(1 + 1/e) + (1 - p) ln 2", value, "every answer is right and goes through a sigmoid twice")
        return [Level(name, value, "plateau", "D103")]
    return []
