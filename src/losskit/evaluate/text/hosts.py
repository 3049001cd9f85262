"""Tokenizers as people have them, behind one face: ids without special tokens, who owns which character, and decoding."""

from __future__ import annotations

import operator
from typing import Any

from typing_extensions import override

from .spans import owned_bytes

__all__ = ["Host", "Ids", "Pieces", "Tiktoken"]

# what a tokenizer does with it tells it from others, where nothing of it can be read
PROBE = "The quick brown fox, 3.14159 and\n\n\t  déjà vu: 世界 🙂 ReadTheDocs don't l'été ﬁne½."

Ids = list[int]


class Host:
    """Any object with ``encode(text) -> ids``, and whatever else of a tokenizer it has."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def vocabulary(self) -> int | None:
        """The largest id and 1: as many scores a model needs."""
        for name in ("n_vocab", "vocab_size", "vocabulary"):
            size = getattr(self.host, name, None)
            size = size() if callable(size) else size  # a method in sentencepiece
            if isinstance(size, int):
                return size
        return None

    def special(self, name: str) -> int | None:
        """The id of ``"bos"``, ``"eos"`` or ``"unk"``, where the host names it."""
        for attribute in (f"{name}_token_id", f"{name}_id"):
            value = getattr(self.host, attribute, None)
            value = value() if callable(value) else value
            if isinstance(value, int) and value >= 0:  # sentencepiece has -1 where there is none
                return value
        return None

    def encode(self, text: str) -> tuple[Ids, list[int] | None]:
        """Ids without special tokens, and how many characters the tokens up to each own, if that can be known."""
        before, after = self.added()
        ids = self.default(text)
        return ids[len(before) : len(ids) - len(after)], None

    def added(self) -> tuple[Ids, Ids]:
        """The special tokens that the host's own call puts before and after a text."""
        alone = self.default("")
        before = alone[:1] if alone[:1] == [self.special("bos")] else []
        return before, alone[-1:] if alone[len(before) :][-1:] == [self.special("eos")] else []

    def default(self, text: str) -> Ids:
        """What the host gives when it is called with the text alone."""
        found = self.host.encode(text)
        found = getattr(found, "ids", found)
        found = found.tolist() if hasattr(found, "tolist") else list(found)
        try:
            return [operator.index(each) for each in found]
        except TypeError:
            kinds = sorted({type(each).__name__ for each in found})
            raise TypeError(f'"tokenizer" encodes text as {", ".join(kinds)}, expected token ids: a list of int') from None

    def decode(self, ids: Ids) -> str:
        """The text of some tokens, special ones as they are written."""
        if not hasattr(self.host, "decode"):
            return "".join(f"<{each}>" for each in ids)
        found = self.host.decode(ids)
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)

    def identity(self) -> object:
        """All that decides which ids a text gets, as far as it can be had, in what JSON can hold."""
        kind = f"{type(self.host).__module__}.{type(self.host).__qualname__}"
        return [kind, self.vocabulary(), *(self._tried(each) for each in (PROBE, *PROBE))]

    def _tried(self, text: str) -> Ids | None:
        try:
            return self.encode(text)[0]
        except Exception:  # a table of characters knows only its own
            return None


class Pieces(Host):
    """A tokenizer whose tokens are known bytes: ``pieces[id]``, with ``encode`` of several texts, and perhaps ``start``."""

    @override
    def vocabulary(self) -> int | None:
        return len(self.host.pieces)

    @override
    def special(self, name: str) -> int | None:
        start: int | None = getattr(self.host, "start", None) if name == "bos" else None
        return super().special(name) if start is None else start

    @override
    def added(self) -> tuple[Ids, Ids]:
        return [], []

    @override
    def default(self, text: str) -> Ids:
        return list(self.host.encode([text.encode()])[0])

    @override
    def encode(self, text: str) -> tuple[Ids, list[int] | None]:
        ids = self.default(text)
        return ids, owned_bytes([self.host.pieces[each] for each in ids], text)

    @override
    def identity(self) -> object:
        return [super().identity(), [piece.hex() for piece in self.host.pieces]]


class Tiktoken(Host):
    """A ``tiktoken.Encoding``."""

    @override
    def special(self, name: str) -> int | None:
        value: int | None = getattr(self.host, "eot_token", None) if name == "eos" else None
        return value

    @override
    def added(self) -> tuple[Ids, Ids]:
        return [], []

    @override
    def default(self, text: str) -> Ids:
        return list(self.host.encode(text, allowed_special="all"))

    @override
    def encode(self, text: str) -> tuple[Ids, list[int] | None]:
        ids = self.default(text)
        return ids, owned_bytes(self.host.decode_tokens_bytes(ids), text)
