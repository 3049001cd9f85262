"""Documents made ready: tokens without special ones, the span of text they own, and what a reader should be warned of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .plan import Plan
from .records import FEW
from .score import Prepared
from .text.documents import DataError, Document
from .text.tokens import Tokenizer

__all__ = ["Ready", "few_of", "prepare"]

_LOOKED = 20  # documents that are asked for what their tokens lose


class Ready(NamedTuple):
    """Documents to score, and sentences for who reads the figures."""

    documents: Sequence[Prepared]
    warnings: Sequence[str]


def prepare(documents: Sequence[Document], tokenizer: Tokenizer | None, *, prefix: int | None, truncate: int | None) -> Ready:
    """Tokenize, cut, and take a prefix token that a document brought along as the one it gets anyway.

    Raises:     DataError for a text without a tokenizer.
    """
    found, brought, cut, lost = list[Prepared](), 0, 0, list[str]()
    for document in documents:
        ids, ends = _tokens(document, tokenizer)
        begin, own = 0, prefix is not None and ids[:1] == [prefix]
        if own:  # never two
            brought += 1
            begin = 0 if not ends else ends[0]
            ids, ends = ids[1:], None if ends is None else ends[1:]
        taken = 0 if truncate is None else max(0, len(ids) - truncate)
        if taken:
            cut += 1
            ids, ends = ids[:truncate], None if ends is None else ends[:truncate]
        if document.text is not None and tokenizer is not None and not lost and len(found) < _LOOKED:
            loses = tokenizer.lossy(document.text)
            lost += [f"document {document.id!r}: {loses}"] if loses else []
        whole = document.units is not None
        text = document.units if whole else document.text
        found.append(Prepared(document.id, document.group, ids, taken, text, ends, begin, own, whole))
    said = [*lost]
    if brought:
        said.append(f"{brought} documents begin with the prefix token themselves: they got no second one, and it is not scored")
    if cut:
        said.append(f"{cut} documents were cut to {truncate} tokens")
    if any(d.whole and (d.cut or (prefix is None and d.ids)) for d in found):
        said.append("units_from counts a whole text, and not all tokens of every document are scored: no units of text")
    if any(d.text is not None and d.ends is None and not d.whole for d in found) and prefix is None:
        said.append("the tokenizer does not say where its tokens lie in the text, and the first is not scored: no units of text")
    return Ready(found, said)


def few_of(plan: Plan, ready: Sequence[Prepared]) -> set[str]:
    """Documents whose group, or the whole, has so few that passages of them stand in for documents."""
    scored = [one for one in ready if plan.scored(len(one.ids))]
    members = Counter(one.group for one in scored)
    return {one.id for one in scored if len(scored) < FEW or (one.group is not None and members[one.group] < FEW)}


def _tokens(document: Document, tokenizer: Tokenizer | None) -> tuple[list[int], list[int] | None]:
    if document.tokens is not None:
        return document.tokens, None
    if tokenizer is None:
        raise DataError(f"document {document.id!r} is a text, and there is no tokenizer: give one, or token ids")
    assert document.text is not None
    try:
        encoded = tokenizer.encode(document.text)
    except ValueError as problem:
        raise DataError(f"document {document.id!r}: {problem}") from None
    return encoded.ids, encoded.ends
