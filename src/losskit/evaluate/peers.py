"""Perplexity as other tools compute it, faults included: their windows and their divisors over the same model and texts.

As read in lm-evaluation-harness 0.4.13 (``HFLM.loglikelihood_rolling``), the perplexity page of transformers' documentation,
llama.cpp's perplexity tool, ``llama_eval`` of GPTQ, and the perplexity metric of evaluate 0.4.6, all of 2026.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.blocks import row_blocks
from .model import MEMORY, LanguageModel
from .summary import exp
from .text.tokens import Tokenizer

__all__ = ["PEERS", "CannotError", "Reading", "Row", "Stream", "Subject"]

_LN2 = math.log(2)


class Reading(NamedTuple):
    """The same text under one tool's protocol."""

    name: str
    figures: Mapping[str, float]
    """By the tool's own names; NaN where it has none for this text."""
    nats: float
    """-log p summed, as the tool weighs it."""
    tokens: int
    """What the tool divides by; lm-eval divides by words and bytes, and evaluate text by text: there the terms of the sum."""
    scored: int
    """Tokens of the text that are scored at least once."""
    total: int
    """Tokens of the text, as the tool joins it, without special tokens."""
    differs: str
    """How the figure comes about, in one line."""


class CannotError(Exception):
    """Why a tool has no figure for a text."""


class Row(NamedTuple):
    """Tokens that are read together; the last of the positions predict ``target``."""

    read: Sequence[int]
    target: Sequence[int]


class Stream(NamedTuple):
    """All texts as one: the tokens of the tokenizer's own call, of which [begin, begin + total) are the text's."""

    ids: list[int]
    begin: int
    total: int

    def inside(self, first: int, stop: int) -> int:
        """How many of the tokens [first, stop) are the text's."""
        return max(0, min(stop, self.begin + self.total) - max(first, self.begin))


@dataclass
class Subject:
    """What all tools are given."""

    reader: LanguageModel
    words: Tokenizer
    texts: Sequence[str]
    counted: Sequence[str]
    """The texts whose words and bytes are counted: others than ``texts`` in the convention of WikiText."""
    window: int
    stride: int
    """Of the tools that have one."""
    batch_tokens: int
    left: bool = False
    """Whether the tokenizer pads at the left."""

    @cached_property
    def plain(self) -> list[list[int]]:
        """The tokens of each text, no special ones."""
        return [self.words.encode(text).ids for text in self.texts]

    @cached_property
    def stream(self) -> Stream:
        """The texts joined by a blank line, as everyone joins WikiText."""
        text = "\n\n".join(self.texts)
        plain, whole = self.words.encode(text).ids, self.words.encode_default(text)
        found = (k for k in range(len(whole) - len(plain) + 1) if whole[k : k + len(plain)] == plain)
        return Stream(whole, next(found, 0), len(plain))

    def nats(self, rows: Sequence[Row], *, rounded: bool = False) -> list[Tensor]:
        """-log p of the targets of each row; ``rounded``: in half precision, if that is the model's."""
        size, largest = self.reader.vocabulary, max((max([*row.read, *row.target]) for row in rows if row.target), default=0)
        if size is not None and largest >= size:
            raise CannotError(f"it meets token {largest}, and the model has {size}")
        found = [torch.empty(0, dtype=torch.float64)] * len(rows)
        for members in _batches(rows, self.batch_tokens):
            ids = torch.zeros(len(members), len(rows[members[0]].read), dtype=torch.int64)
            for at, member in enumerate(members):
                ids[at, : len(rows[member].read)] = torch.tensor(rows[member].read)
            states = self.reader.states(ids.to(self.reader.device))
            counts = [len(rows[member].target) for member in members]
            ends = [len(rows[member].read) for member in members]
            inner = torch.cat([states[at, end - n : end] for at, (end, n) in enumerate(zip(ends, counts, strict=True))])
            target = torch.tensor([t for member in members for t in rows[member].target], device=inner.device)
            half = rounded and inner.dtype in (torch.float16, torch.bfloat16)
            nats = self._rounded(inner, target) if half else self.reader.score(inner, target).nats
            for member, values in zip(members, nats.cpu().split(counts), strict=True):
                found[member] = values
        return found

    def _rounded(self, rows: Tensor, target: Tensor) -> Tensor:
        head, parts = self.reader.head, list[Tensor]()
        classes = rows.shape[1] if head is None else len(head.weight)
        for at in row_blocks(len(rows), 3 * classes * rows.element_size(), MEMORY):
            scores = rows[at]
            if head is not None:
                bias = None if head.bias is None else head.bias.to(rows.dtype)
                scores = F.linear(scores, head.weight.to(rows.dtype), bias) * head.scale
                scores = head.softcap * torch.tanh(scores / head.softcap) if head.softcap else scores
            parts.append(-scores.log_softmax(-1).gather(1, target[at].unsqueeze(1)).squeeze(1))
        return torch.cat(parts)


def _batches(rows: Sequence[Row], batch_tokens: int) -> Iterator[list[int]]:
    """Rows that have something to score, the longest first."""
    held: list[int] = []
    for member in sorted((i for i, row in enumerate(rows) if row.target), key=lambda i: -len(rows[i].read)):
        if held and len(rows[held[0]].read) * (len(held) + 1) > batch_tokens:
            yield held
            held = []
        held.append(member)
    if held:
        yield held


def _half(parts: Sequence[Tensor]) -> list[str]:
    return ["in the model's half precision"] if any(part.dtype != torch.float64 for part in parts if len(part)) else []


def _total(parts: Sequence[Tensor]) -> float:
    return math.fsum(float(part.sum()) for part in parts)


# lm-evaluation-harness


def lm_eval(of: Subject) -> Reading:
    """Document by document, BOS or EOS before the first window only, windows that share one token."""
    prefix = of.words.eos if of.words.bos is None else of.words.bos
    if prefix is None:
        raise CannotError("it puts BOS or EOS before a text, and the tokenizer has neither")
    if not any(of.counted):
        raise CannotError("there is no text to divide by")
    written = of.words.text_of([prefix])
    streams = [
        plain if text.startswith(written) else of.words.encode_default(text)
        for text, plain in zip(of.texts, of.plain, strict=True)
    ]
    rows = [row for ids in streams for row in _rolling(ids, prefix, of.window)]
    parts = of.nats(rows, rounded=True)
    nats, tokens, total = _total(parts), sum(map(len, streams)), sum(map(len, of.plain))
    words = sum(len(re.split(r"\s+", text)) for text in of.counted)
    size = sum(len(text.encode()) for text in of.counted)
    figures = {
        "word_perplexity": exp(nats / words),
        "byte_perplexity": exp(nats / size),
        "bits_per_byte": nats / size / _LN2,
    }
    said = [f"windows of {of.window} that share one token, so contexts begin at 1"]
    said += ["EOS in the place of BOS"] if of.words.bos is None else []
    if twice := sum(ids[:1] == [prefix] for ids in streams):
        said.append(f"BOS is read twice and scored once in {twice} texts")
    said += [f"{tokens - total} special tokens are scored"] if tokens > total else []
    said += _half(parts)
    said.append("a blank at either end of a text is a word more")
    return Reading("lm-eval", figures, nats, tokens, total, total, "; ".join(said))


def _rolling(ids: Sequence[int], prefix: int, window: int) -> Iterator[Row]:
    if ids:
        yield Row([prefix, *ids[:window][:-1]], ids[:window])
    for first in range(window, len(ids), window):
        stop = min(first + window, len(ids))
        yield Row(ids[stop - window - 1 : stop - 1], ids[first:stop])  # the last one reaches back


# tools that take all texts for one


def hf_docs(of: Subject) -> Reading:
    """Strided windows; the mean of each is multiplied by one token less than it scores, as if each lost one to the shift."""
    ids, spans, weights, previous = of.stream.ids, list[tuple[int, int, int]](), list[int](), 0
    for start in range(0, len(ids), of.stride):
        stop = min(start + of.window, len(ids))
        spans.append((start, max(previous, start + 1), stop))
        weights.append(stop - previous - 1)
        previous = stop
        if stop == len(ids):
            break
    if any(first >= stop for _, first, stop in spans) or sum(weights) <= 0:
        raise CannotError("a window predicts nothing, and the mean over no token is NaN" if spans else "there is no token")
    means = [float(n.mean()) for n in of.nats([Row(ids[a : c - 1], ids[b:c]) for a, b, c in spans])]
    nats, tokens = math.fsum(m * w for m, w in zip(means, weights, strict=True)), sum(weights)
    terms = sum(c - b for _, b, c in spans)
    before = "the tokenizer's BOS at its beginning" if of.stream.begin else "no BOS, so its first token is not scored"
    said = f"one text; {before}; it weighs {tokens} of {terms} scored tokens: one less than it scores in each window"
    scored = sum(of.stream.inside(b, c) for _, b, c in spans)
    return Reading("hf-docs", {"ppl": exp(nats / tokens)}, nats, tokens, scored, of.stream.total, said)


def llama_cpp(of: Subject) -> Reading:
    """Disjoint windows, BOS in place of the first token of each, and only the second half of each is scored."""
    ids, size, middle = of.stream.ids, of.window, of.window // 2
    bos = of.words.bos if of.stream.begin and of.words.bos == ids[0] else None
    if of.stream.begin + of.stream.total < len(ids):
        raise CannotError("it ends where a tokenizer adds EOS")
    if len(ids) < 2 * size or size - middle - 1 < 1:
        raise CannotError(f"it needs two windows of 3 tokens or more, here {size}, and there are {len(ids)}")
    starts = range(0, len(ids) - size + 1, size)
    rows = [
        Row([*([ids[a]] if bos is None else [bos]), *ids[a + 1 : a + size - 1]], ids[a + middle + 1 : a + size]) for a in starts
    ]
    values = torch.cat(of.nats(rows))
    nats, tokens = _total([values]), len(values)
    spread = float((values * values).mean()) - (nats / tokens) ** 2
    error = math.sqrt(spread / (tokens - 1)) if spread > 0 and tokens > 1 else 0.0
    figures = {"PPL": exp(nats / tokens), "+/-": exp(nats / tokens) * error}
    before = "no BOS" if bos is None else "BOS in place of the first token of each window"
    tail = len(ids) - len(starts) * size
    said = f"one text; {before}; the first half of each window is not scored, nor are {tail} tokens at the end; +/- is i.i.d."
    scored = sum(of.stream.inside(a + middle + 1, a + size) for a in starts)
    return Reading("llama.cpp", figures, nats, tokens, scored, of.stream.total, said)


def gptq(of: Subject) -> Reading:
    """Disjoint windows, each read from nothing; the mean over its window - 1 predictions counts window times."""
    ids, size = of.stream.ids, of.window
    starts = range(0, len(ids) - size + 1, size)
    if not starts or size < 2:
        raise CannotError(f"it needs a window of {max(size, 2)} tokens, and there are {len(ids)}")
    parts = of.nats([Row(ids[a : a + size - 1], ids[a + 1 : a + size]) for a in starts], rounded=True)
    nats, tokens = size * math.fsum(float(n.mean()) for n in parts), size * len(starts)
    tail = len(ids) - tokens
    said = f"one text; no BOS but the tokenizer's; not scored: the first token of each window, and {tail} at the end"
    said = "; ".join([said, *_half(parts)])
    scored = sum(of.stream.inside(a + 1, a + size) for a in starts)
    return Reading("gptq", {"ppl": exp(nats / tokens)}, nats, tokens, scored, of.stream.total, said)


# evaluate


def evaluate(of: Subject) -> Reading:
    """Each text cut to one window, and the mean of the texts' perplexities."""
    bos = of.words.bos
    room, least = (of.window, 2) if bos is None else (of.window - 1, 1)
    if room < least or min(map(len, of.plain)) < least:
        raise CannotError(f"it wants {least} or more tokens of every text, which here has {min(room, *map(len, of.plain))}")
    kept = [ids[:room] for ids in of.plain]
    rows = [Row(ids[:-1], ids[1:]) if bos is None else Row([bos, *ids[:-1]], ids) for ids in kept]
    found = of.nats(rows, rounded=True)
    tokens, total = sum(map(len, found)), sum(map(len, of.plain))
    mean = sum(float((n.sum() / len(n)).exp()) for n in found) / len(found)
    cut = sum(len(ids) > room for ids in of.plain)
    said = [f"the mean of {len(found)} perplexities, one of each text", f"{cut} texts are cut to {room} tokens"]
    said += [*(["no BOS, the first token is not scored"] if bos is None else []), *_half(found)]
    if of.left:
        said.append("with right padding: with this tokenizer's left padding it is another, wrong figure")
    return Reading("evaluate", {"mean_perplexity": mean}, _total(found), tokens, tokens, total, "; ".join(said))


PEERS = {
    "lm-eval": (lm_eval, ("word_perplexity", "byte_perplexity", "bits_per_byte")),
    "hf-docs": (hf_docs, ("ppl",)),
    "llama.cpp": (llama_cpp, ("PPL", "+/-")),
    "gptq": (gptq, ("ppl",)),
    "evaluate": (evaluate, ("mean_perplexity",)),
}
"""By name: the recipe, and what it calls its figures."""
