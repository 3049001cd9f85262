"""A document as heat text: each token with what its background and its title say."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..summary import exp
from .wording import count, decimals, figure, plural, quoted, visible

if TYPE_CHECKING:
    from ..token_view import TokenScore

__all__ = ["HOTTEST", "Heat", "Shade", "heat"]

HOTTEST = 12  # nats: a guess among e^12 = 163,000 tokens, as many as the largest vocabularies in use have
MOST = 4000  # tokens of a document: more make the page slow
# a newline, a tab, and the blanks that would not be seen: all but one blank between letters
_BLANKS = re.compile(r"(\n|\t| (?= |\n|\t|$)|(?<= ) )")
_KINDS = {"\n": "n", "\t": "t", " ": "s"}


class Shade(NamedTuple):
    """A token on the page."""

    name: str
    """Of its class: h0 to h12 by nats, "hx" for inf or NaN, "u" for unscored; "e" besides for a token without text."""
    title: str
    pieces: list[tuple[str, str]]
    """(kind, text): kind is empty for text, else n, t or s for a newline, a tab or a blank that needs a sign."""


class Heat(NamedTuple):
    """A document on the page."""

    id: str
    summary: str
    shades: list[Shade]


def heat(id: str, tokens: Sequence[TokenScore]) -> Heat:
    """The document as shades, the first 4,000 tokens of it, and what it comes to."""
    scored = [one.nats for one in tokens if one.nats is not None]
    loss = math.fsum(scored) / len(scored) if scored and all(map(math.isfinite, scored)) else sum(scored) if scored else None
    parts = [plural(len(tokens), "token"), f"{count(len(scored))} scored"]
    if loss is not None:
        parts += [f"{decimals(loss, 3)} nats per token", f"perplexity {figure(exp(loss))}"]
    if len(tokens) > MOST:
        parts.append(f"the first {count(MOST)} are shown")
    return Heat(id, ", ".join(parts), [_shade(one) for one in tokens[:MOST]])


def _shade(token: TokenScore) -> Shade:
    nats = token.nats
    level = "u" if nats is None else f"h{max(0, min(HOTTEST, math.floor(nats)))}" if math.isfinite(nats) else "hx"
    name = level if token.text else f"{level} e"
    return Shade(name, _title(token), [(_KINDS.get(piece, ""), visible(piece)) for piece in _BLANKS.split(token.text) if piece])


def _title(token: TokenScore) -> str:
    if token.nats is None:
        return f"{quoted(token.text)}: not scored, nothing comes before it"
    parts = [f"{decimals(token.nats, 3)} nats"]
    if token.rank is not None:
        parts.append(f"rank {count(token.rank)}")
    if token.entropy is not None:
        parts.append(f"entropy {decimals(token.entropy, 2)} nats")
    likeliest = "" if token.rank == 1 else f"; likeliest {quoted(token.likeliest)}"
    return f"{quoted(token.text)}: {', '.join(parts)}{likeliest}"
