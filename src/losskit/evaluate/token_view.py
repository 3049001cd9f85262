"""score_tokens: what a model thinks of every token of a text: surprisal, rank, entropy, and where in the text it stands."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from ..core.check import choice
from .model import Head, LanguageModel
from .plan import Plan
from .prepare import prepare
from .run import Stride, batch_size, look, planned
from .score import NonFiniteError, Prepared, batches
from .text.documents import Document
from .text.tokens import Tokenizer, prefix

__all__ = ["TokenScore", "score_tokens"]


class TokenScore(NamedTuple):
    """One token of a text."""

    text: str
    """The characters that it owns; empty where a later token owns them."""
    start: int
    end: int
    """Characters [start, end) of the text."""
    id: int
    nats: float | None
    """-log p, the surprisal; None for a first token with nothing before it."""
    rank: int | None
    """1 is the likeliest."""
    entropy: float | None
    """Of the model's distribution, nats: what it expected its surprisal to be."""
    likeliest: str
    """The text of the likeliest token."""


def score_tokens(
    model: Callable[..., Any],
    tokenizer: object,
    text: str,
    *,
    head: nn.Module | Head | None = None,
    window: int | None = None,
    stride: Stride = "half",
    bos: str | int = "auto",
    precision: Literal["float32", "float64"] = "float32",
    batch_tokens: int | None = None,
) -> list[TokenScore]:
    r"""Surprisal, rank and entropy of every token of a text, as psycholinguists and people who debug a model want them.

    Windows, prefix and log-probabilities are those of :func:`losskit.evaluate.perplexity`: the surprisals add up to its nats.

    Args:
        model, tokenizer, head, window, stride, bos, precision, batch_tokens: as of :func:`losskit.evaluate.perplexity`.
        text: one text.
    Returns:    A ``TokenScore`` for each token, in order.
    Raises:     as :func:`losskit.evaluate.perplexity`.
    Reference:  Hale 2001, doi:10.3115/1073336.1073357; Levy 2008, doi:10.1016/j.cognition.2007.05.006
    """
    choice("precision", precision, ("float32", "float64"))
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # a list is the usual slip
        raise TypeError(f'"text" is {type(text).__name__}, expected a str: score one text at a time')
    reader, words = LanguageModel(model, head=head, precision=precision), Tokenizer(tokenizer)
    token, where = prefix(bos, words)
    plan = planned(reader, window, stride, where)
    (one,) = prepare([Document("text", text, None, None)], words, prefix=token, truncate=None).documents
    with reader.evaluating():
        look(reader, [one], token)
        found = _values(reader, plan, one, token, batch_size(batch_tokens, plan, reader))
    skipped = len(one.ids) - len(found)
    likeliest = [words.text_of([int(top)]) for *_, top in found]
    scores: list[TokenScore] = []
    begin = one.begin
    for at, id in enumerate(one.ids):
        end = begin if one.ends is None else max(begin, one.ends[at])
        piece = words.text_of([id]) if one.ends is None else text[begin:end]
        if at < skipped:
            scores.append(TokenScore(piece, begin, end, id, None, None, None, ""))
        else:
            nats, rank, entropy, _ = found[at - skipped]
            if not math.isfinite(nats):
                raise NonFiniteError(f"token {at} (id {id}, {piece!r}): its -log p is {nats}, expected a finite number")
            scores.append(TokenScore(piece, begin, end, id, nats, int(rank), entropy, likeliest[at - skipped]))
        begin = end
    return scores


def _values(reader: LanguageModel, plan: Plan, one: Prepared, token: int | None, size: int) -> list[tuple[float, ...]]:
    """(nats, rank, entropy, likeliest) of every scored token."""
    found: list[tuple[float, ...]] = []
    for batch in batches(plan, [one], [0], token, size):
        states = reader.states(batch.ids.to(reader.device))
        for row, (_, window) in enumerate(batch.windows):
            rows = states[row, window.context - 1 : window.read]
            target = torch.tensor(one.ids[window.first : window.stop], device=rows.device)
            found += zip(*(column.tolist() for column in reader.detail(rows, target)), strict=True)
    return found
