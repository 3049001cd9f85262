"""The same text under every tool's protocol, side by side: why published perplexities of one model differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import nn

from ..core.check import choice
from .model import Head, LanguageModel
from .peers import PEERS, CannotError, Reading, Subject
from .run import Stride, perplexity, planned
from .text.documents import DataError, Document, read_documents
from .text.tokens import Tokenizer, prefix

__all__ = ["NAMES", "Reading", "protocols"]

NAMES = ("losskit", *PEERS)
_OURS = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte")


def protocols(
    model: Callable[..., Any],
    tokenizer: object,
    docs: object,
    *,
    names: Sequence[str] | None = None,
    window: int | None = None,
    stride: Stride = "half",
    head: nn.Module | Head | None = None,
    bos: str | int = "auto",
    precision: Literal["float32", "float64"] = "float32",
    batch_tokens: int | None = None,
) -> list[Reading]:
    """What losskit, lm-evaluation-harness, transformers' documentation, llama.cpp, GPTQ and evaluate say of one model and text.

    Each tool's windows, special tokens, weights and divisors are reproduced, faults included, with the model as it is here:
    llama.cpp and GPTQ would have quantised it. All of them get the same window.

    Args:
        model, tokenizer, head, window, bos, precision, batch_tokens: as of :func:`losskit.evaluate.perplexity`; ``bos`` is
            for losskit's own reading, the others have their own rule.
        docs: as there, or a list of ``Document``; texts, not token ids.
        names: which of ``losskit``, ``lm-eval``, ``hf-docs``, ``llama.cpp``, ``gptq`` and ``evaluate``; None: all, in this order.
        stride: of losskit and of hf-docs, the two that have one; ``"disjoint"`` is a whole window for hf-docs.
    Returns:    A ``Reading`` for each name. A tool that has no figure for this text says why in ``differs``; its figures are NaN.
    Raises:     as :func:`losskit.evaluate.perplexity`; ``DataError`` for documents of token ids.
    Example:
        >>> letters = types.SimpleNamespace(encode=lambda text: [ord(c) for c in text], bos_token_id=2)
        >>> uniform = lambda ids: torch.zeros(*ids.shape, 128)
        >>> found = losskit.evaluate.protocols(uniform, letters, ["to be, or not to be"], window=8)
        >>> [(one.name, one.scored, one.total) for one in found]  # doctest: +NORMALIZE_WHITESPACE
        [('losskit', 19, 19), ('lm-eval', 19, 19), ('hf-docs', 18, 19), ('llama.cpp', 6, 19), ('gptq', 14, 19),
         ('evaluate', 7, 19)]
    """
    names = NAMES if names is None else names
    for name in names:
        choice("names", name, NAMES)
    found = _texts(docs)
    reader, words = LanguageModel(model, head=head, precision=precision), Tokenizer(tokenizer)
    plan = planned(reader, window, stride, prefix(bos, words)[1])
    size = batch_tokens or max(plan.window, 4096)
    texts = [text for text, _ in found]
    subject = Subject(
        reader, words, texts, [text if units is None else units for text, units in found], plan.window,
        plan.window if stride == "disjoint" else plan.stride, size, getattr(tokenizer, "padding_side", "right") == "left",
    )  # fmt: skip

    def ours() -> Reading:
        records = [{"text": text, "units": units} for text, units in found]
        report = perplexity(
            model, tokenizer, records, head=head, window=plan.window, stride=plan.stride, bos=bos, precision=precision,
            units_from=None if any(units is None for _, units in found) else "units", batch_tokens=size, interval="none",
            nonfinite="report",
        )  # fmt: skip
        whole = report.overall.to_json()
        figures = {name: whole[name] for name in _OURS if name in whole}
        told = f"each token once, document by document; {report.protocol.line()}"
        return Reading("losskit", figures, whole["nats"], whole["tokens"], whole["tokens"], report.tokens, told)

    with reader.evaluating():
        ids = [id for id in max(subject.plain, key=len)[:8] if reader.vocabulary is None or id < reader.vocabulary]
        if len(ids) > 1:
            reader.check(torch.tensor(ids))
        return [ours() if name == "losskit" else _theirs(name, subject) for name in names]


def _texts(docs: object) -> list[tuple[str, str | None]]:
    """The text of each document, and the one whose units are counted if that is another."""
    given = isinstance(docs, list) and docs and all(isinstance(one, Document) for one in docs)
    found: list[tuple[str, str | None]] = []
    for one in cast("list[Document]", docs) if given else read_documents(docs):
        if one.text is None:
            raise DataError(f"document {one.id!r} is token ids, expected a text: other tools make the tokens themselves")
        found.append((one.text, one.units))
    return found


def _theirs(name: str, subject: Subject) -> Reading:
    recipe, figures = PEERS[name]
    try:
        return recipe(subject)
    except CannotError as why:
        total = sum(map(len, subject.plain))
        return Reading(name, dict.fromkeys(figures, math.nan), math.nan, 0, 0, total, f"no figure: {why}")
