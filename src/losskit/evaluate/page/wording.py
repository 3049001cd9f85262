"""How numbers and foreign text are written for people: four digits that can be seen, nothing that hides or moves other text."""

from __future__ import annotations

import math
from unicodedata import category

__all__ = ["bounds", "count", "decimals", "figure", "percent", "plural", "quoted", "shorten", "visible"]

_RAISED = str.maketrans("+-0123456789", "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_JOINERS = "\u200c\u200d"  # Persian and emoji are written with them


def figure(value: float | None) -> str:
    """A perplexity, or another positive number of any size, to at least four digits."""
    if value is None or not math.isfinite(value):
        return _special(value)
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-3:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(_RAISED)}"
    places = (
        3 - math.floor(math.log10(size)) if 0 < size < 1 else 3 if size < 10 else 2 if size < 1000 else 1 if size < 1e5 else 0
    )
    return f"{value:,.{places}f}"


def decimals(value: float | None, places: int = 4) -> str:
    """Nats or bits: always so many digits after the point."""
    return f"{value:,.{places}f}".replace("-", "−") if value is not None and math.isfinite(value) else _special(value)


def count(value: float | None) -> str:
    """A whole number."""
    return f"{value:,.0f}" if value is not None and math.isfinite(value) else _special(value)


def plural(number: float, noun: str) -> str:
    """So many of something."""
    return f"{count(number)} {noun if number == 1 else noun + 's'}"


def percent(share: float) -> str:
    """A share; what is not the whole is never rounded up to it, nor what is something down to nothing."""
    if not math.isfinite(share):
        return _special(share)
    text = f"{100 * share:.2f}"
    text = "99.99" if text == "100.00" and share < 1 else "0.01" if text == "0.00" and share > 0 else text
    return f"{text.rstrip('0').rstrip('.')}\u00a0%"


def bounds(interval: tuple[float, float] | None) -> str:
    """An interval of :func:`figure`; a dash without one."""
    return "–" if interval is None else f"{figure(interval[0])} to {figure(interval[1])}"


def _special(value: float | None) -> str:
    return "–" if value is None else "not a number" if math.isnan(value) else "inf" if value > 0 else "−inf"


def visible(text: str) -> str:
    """The text with what cannot be seen, or would reverse the text after it, spelled out; tabs and newlines stay."""
    return text if text.isprintable() else "".join(map(_seen, text))


def _seen(letter: str) -> str:
    if letter in "\n\t" or letter in _JOINERS:
        return letter
    kind = category(letter)
    if kind == "Cs":  # half of a pair: no encoding can hold it
        return "\ufffd"
    if kind == "Cc" and letter < " ":
        return chr(0x2400 + ord(letter))
    return f"⟨{ord(letter):04X}⟩" if kind in ("Cc", "Cf") else letter


def quoted(text: str) -> str:
    """A piece of text within a line."""
    return f"“{visible(text).replace(chr(10), '↵').replace(chr(9), '⇥')}”"


def shorten(text: str, letters: int) -> str:
    """At most so many letters; the middle goes first, since paths differ at their ends."""
    if len(text) <= letters:
        return text
    head = (letters - 1) // 3
    return f"{text[:head]}…{text[len(text) - (letters - 1 - head) :]}"
