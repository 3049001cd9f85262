"""A loss of CATALOGUE with options from the data: the reason in the words of its card, code that runs, numbers to expect.

The code reads tensors of these names and leaves ``loss``: logits (binary (N,), multiclass (N, C), multilabel (N, L)), prediction
(regression, and counts of which a median or a quantile is wanted), log_mean (counts, amounts), scores, relevance, ids (ranking),
query, key, negative, anchor, positive, key_ids, embedding, labels (embedding), logits (B, T, V), hidden (B, T, D), head (V, D),
tokens (B, T), teacher (language), and target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from ..core.card import CATALOGUE, reference
from .advice import Advice, Candidate

__all__ = ["PAIRED", "avoid_when", "candidate", "coded", "rounded", "spelt", "use_when"]

PAIRED = ("auc_", "aucm_")  # names of losses that compare rows: their scores have no threshold and no probability
INLINE = 12  # longer lists of numbers are computed in the code, not written down


def use_when(loss: str) -> str:
    """What the card says a loss is for, as a sentence: "For when ..."."""
    return "For when " + _first_sentence(CATALOGUE[loss].sections["Use when"])


def avoid_when(loss: str) -> str:
    """What the card says a loss is not for, as a sentence: "Not for when ..."."""
    return "Not for when " + _first_sentence(CATALOGUE[loss].sections["Avoid when"])


def _first_sentence(text: str) -> str:
    """What a card says first; the page of the loss has the rest."""
    return re.split(r"; |\. |\.$", " ".join(text.split()))[0] + "."


def coded(advice: Advice, classes: Sequence[str]) -> Advice:
    """The advice with a line in its code that says which class is which number, where the data write it in another way."""
    if all(name in (str(i), str(bool(i))) for i, name in enumerate(classes)):
        return advice
    shown = [*enumerate(classes)]
    shown = shown if len(shown) <= INLINE else [*shown[:2], shown[-1]]
    line = "# target: " + ", ".join(f"{i} for {name!r}" for i, name in shown[:-1])
    line += f"{' and so on to' if len(classes) > INLINE else ','} {shown[-1][0]} for {shown[-1][1]!r}"

    def told(one: Candidate) -> Candidate:
        return replace(one, code=re.sub(r"(?m)^# .*$", lambda found: f"{found[0]}\n{line}", one.code, count=1))

    first = None if advice.first is None else told(advice.first)
    return replace(advice, first=first, alternatives=tuple(map(told, advice.alternatives)), avoid=tuple(map(told, advice.avoid)))


def rounded(number: float, digits: int = 4) -> float:
    """A number as it is written in code: so many digits, so that options and code agree."""
    return float(f"{number:.{digits}g}")


def spelt(number: float) -> str:
    """Four digits as people write them: 76,830 and 9,115,000; powers of ten from a thousand million on."""
    number = rounded(number)
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e9 else f"{number:.4g}"


def candidate(
    loss: str,
    reason: str,
    *,
    shapes: str,
    arguments: Sequence[str] = ("logits", "target"),
    options: Mapping[str, Any] | None = None,
    computed: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
    names: Sequence[str] = (),
    warning: str = "",
    facts: Mapping[str, Any] | None = None,
    card: Literal["use", "avoid", "none"] = "use",
) -> Candidate:
    """A candidate; ``code`` is built from ``options``.

    Args:
        loss: its name in CATALOGUE.
        reason: why, with the numbers of the data; the card's own words are added.
        shapes: the comment above the call: which tensor is what.
        arguments: what is passed by position.
        options: numbers, strings and lists of numbers: lists are passed as tensors, names of ``names`` as they are.
        computed: an option's code where the number itself is too long to be written down.
        before: lines of code ahead of the call.
        names: options whose string is code, such as DeltaNDCG(k=10).
        warning: what to know before it is used.
        facts: what ``losskit.reference`` is told; None leaves the levels out.
        card: which of the card's words are added to the reason.
    """
    options = dict(options or {})
    computed = dict(computed or {})
    passed = [*arguments]
    passed += [f"{name}={computed.get(name) or _written(value, name in names)}" for name, value in options.items()]
    call = f"loss = losskit.{loss}({', '.join(passed)})"
    # torch only where the code says so
    lines = ["import losskit", "", f"# {shapes}", *before, call]
    if any("torch." in line for line in [*before, call]):
        lines.insert(0, "import torch")
    levels = (None, None, None) if facts is None else tuple(reference(loss, **facts))
    said = use_when(loss) if card == "use" else avoid_when(loss) if card == "avoid" else ""
    return Candidate(loss, f"{reason} {said}".strip(), "\n".join(lines), warning, options, *levels)


def _written(value: Any, name: bool) -> str:
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return f"torch.tensor({[rounded(v, 6) for v in value]})"
    return str(value) if name else repr(value)
