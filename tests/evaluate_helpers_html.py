"""Reports made up for the pages: documents of two kinds in groups, with everything that a page can show."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from losskit.evaluate.paired import Comparison
from losskit.evaluate.plan import Contexts
from losskit.evaluate.records import Divergence, DocumentScore, Surprise, context_bin
from losskit.evaluate.report import PerplexityReport, Protocol
from losskit.evaluate.token_view import TokenScore

EVIL = "</script><script>alert('x')</script><img src=\"http://evil.example\" onerror=alert(1)> & {{ 7 * 7 }}"
VOID = {"meta", "img", "br", "link", "input", "hr"}
TEXT = "The cat sat on the mat.\n\n\tIt was  the best of times,\nit was the worst of Brobdingnagian times  \nnaïve 猫 end"


class Page(HTMLParser):
    """What a browser would see: the tags in balance, their attributes, the text outside and inside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self.styles = "", list[str](), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] == "style":
            self.styles += data
        else:
            self.text += data

    def of(self, name: str) -> list[str]:
        """The values of an attribute, wherever it stands."""
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]


def document(
    index: int,
    draw: random.Random,
    *,
    group: str | None = None,
    text: bool = True,
    reference: bool = False,
    id: str | None = None,
) -> DocumentScore:
    """A document whose loss falls with context and depends on its group."""
    tokens = int(draw.lognormvariate(5.6, 0.8)) + 1
    level = draw.gauss({"code": 1.4, "news": 2.6}.get(group or "", 2.2), 0.25)
    contexts: dict[int, tuple[float, int]] = {}
    nats = squares = 0.0
    for position in range(1, tokens):
        loss = max(0.01, (level + 3 / position**0.7) * draw.expovariate(1))
        nats, squares = nats + loss, squares + loss * loss
        held = contexts.get(context_bin(position), (0.0, 0))
        contexts[context_bin(position)] = (held[0] + loss, held[1] + 1)
    scored = max(0, tokens - 1)
    bins: dict[int, int] = {}
    for _ in range(scored if reference else 0):
        bin = Divergence.bin_of(draw.lognormvariate(-6, 2))
        bins[bin] = bins.get(bin, 0) + 1
    total = math.fsum(Divergence.value_of(b) * n for b, n in bins.items())
    size = round(scored * draw.gauss(4.1, 0.2))
    return DocumentScore(
        id or f"doc{index:04d}", group, nats, squares, scored, tokens - scored,
        size if text else None, size - 3 if text else None, size // 6 if text else None, contexts,
        Surprise(scored // 2, 14.2 + level, " Brobdingnagian", "it was the best of times,\n\tit was the worst of"),
        [(nats / 4, scored // 4, size // 4, size // 4, size // 24)] * 4,
        divergence=Divergence(total, 0.7, scored - scored // 9, nats * 0.99, bins) if reference else None,
    )  # fmt: skip


def report(documents: Sequence[DocumentScore], **changes: Any) -> PerplexityReport:
    """The report on some documents."""
    tokens = sum(d.tokens + d.unscored for d in documents)
    given: dict[str, Any] = {
        "protocol": Protocol(1024, 256, "every <s>", None, "float32", None),
        "model": {"name": "models/llama-1b", "parameters": 1_235_814_400, "vocabulary": 128_256, "fingerprint": "ab" * 32},
        "tokenizer": {"name": "models/llama-1b", "fingerprint": "cd" * 32},
        "data": {"fingerprint": "ef" * 32, "documents": len(documents), "bytes": 123_456},
        "contexts": Contexts(1, 412.7, 33, 1023),
        "forward_tokens": 4 * tokens,
        "run": {
            "seconds": 81.25,
            "tokens_per_second": 1234.5,
            "date": "2026-01-02 03:04",
            "versions": {"torch": "2.13.0"},
            "ranks": 1,
        },
    }
    return PerplexityReport(documents=documents, tokens=tokens, **{**given, **changes})


def corpus(count: int = 60, seed: int = 0, **options: Any) -> list[DocumentScore]:
    """Documents of three groups."""
    draw = random.Random(seed)
    return [document(i, draw, group=("books", "code", "news")[i % 3], **options) for i in range(count)]


def token(text: str, nats: float | None, rank: int | None = 1, entropy: float | None = 1.0, likeliest: str = "a") -> TokenScore:
    """A token whose place in the text does not matter."""
    return TokenScore(text, 0, len(text), 7, nats, rank, entropy, likeliest)


def tokens(text: str = TEXT, seed: int = 0) -> list[TokenScore]:
    """Scores of a text cut before each blank; the first is not scored."""
    draw, found, start = random.Random(seed), list[TokenScore](), 0
    while start < len(text):
        end = next((i for i in range(start + 1, len(text)) if text[i] in " \n\t"), len(text))
        nats = draw.expovariate(0.4) if start else None
        found.append(TokenScore(text[start:end], start, end, 7, nats, None if nats is None else 1 + int(nats**2), 2.5, " the"))
        start = end
    return found


def comparison(count: int = 80, **changes: Any) -> Comparison:
    """As compare() gives it."""
    draw = random.Random(1)
    rows = [(f"doc{i:03d}", loss := draw.gauss(2.5, 0.4), loss + draw.gauss(0.03, 0.02)) for i in range(count)]
    given: dict[str, Any] = {
        "a": "models/large", "b": "models/small", "unit": "token", "loss_a": 2.5, "loss_b": 2.5301, "delta": -0.0301,
        "standard_error": 0.0023, "low": -0.0347, "high": -0.0255, "p_value": 0.0001, "clusters": count, "level": 0.95,
        "documents": rows,
    }  # fmt: skip
    return Comparison(**{**given, **changes})
