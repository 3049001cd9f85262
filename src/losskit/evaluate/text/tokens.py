"""A text as a model reads it: token ids, the characters that each token owns, and the bytes, characters and words these are.

Special tokens are the evaluator's to add, so a tokenizer never adds any here, whatever it does by itself. What is *written* in a
text is another matter: "<s>" in a document becomes what the tokenizer makes of it, which with most is the token.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from .hosts import Host, Pieces, Tiktoken
from .hosts_hf import Fast, Rust, Slow

__all__ = ["Encoded", "Tokenizer", "Units", "prefix", "units"]

POLICIES = ("auto", "every", "first", "none", "eos")


class Encoded(NamedTuple):
    """The tokens of a text, and where the characters that each of them owns end."""

    ids: list[int]
    ends: list[int] | None
    """``ends[i]``: characters of the text that tokens 0 to i own; the last is all of them. None: the tokenizer does not say.

    A character is owned by the last token that touches it. What the tokenizer dropped (blanks, accents) is the next token's,
    and at the end of the text the last token's. A text without tokens has none.
    """


class Units(NamedTuple):
    """How much text: UTF-8 bytes, code points, and words that end in it."""

    byte: int
    character: int
    word: int


def units(text: str, start: int = 0, stop: int | None = None) -> Units:
    """The units of ``text[start:stop]``, such that those of neighbouring spans add up to those of the whole.

    Words are those of ``str.split()``; a word is counted in the span that its last character lies in.

    Raises:     ValueError for a span that is not in the text.
    Example:
        >>> units("naïve café"), units("naïve café", 0, 8)
        (Units(byte=12, character=10, word=2), Units(byte=9, character=8, word=1))
    """
    stop = len(text) if stop is None else stop
    if not 0 <= start <= stop <= len(text):
        raise ValueError(
            f'"start" and "stop" are {start} and {stop}, expected 0 <= start <= stop <= {len(text)}, the characters of "text"'
        )
    span = text[start:stop]
    goes_on = bool(span) and stop < len(text) and not span[-1].isspace() and not text[stop].isspace()
    return Units(len(span.encode()), stop - start, len(span.split()) - goes_on)


def _adapt(host: Any) -> Host:
    """The face of a tokenizer, by where its class comes from and what it has."""
    if isinstance(host, str) or not hasattr(host, "encode"):
        raise TypeError(f'"tokenizer" is a {type(host).__name__}, expected a tokenizer: an object with encode(text) -> ids')
    libraries = {each.__module__.partition(".")[0] for each in type(host).__mro__}
    if "transformers" in libraries:
        return Fast(host) if getattr(host, "is_fast", False) and hasattr(host, "backend_tokenizer") else Slow(host)
    if "tokenizers" in libraries:
        return Rust(getattr(host, "_tokenizer", host))  # those of tokenizers.implementations hold one
    if hasattr(host, "encode_ordinary") and hasattr(host, "decode_tokens_bytes"):
        return Tiktoken(host)
    pieces: object = getattr(host, "pieces", None)
    return Pieces(host) if isinstance(pieces, Sequence) and pieces and isinstance(pieces[0], bytes) else Host(host)


class Tokenizer:
    """One face for the tokenizers of transformers, ``tokenizers``, tiktoken, and any object with ``encode(text) -> ids``.

    The host is left as it was: its truncation, padding, post-processor and sampling are off during a call and back after
    it. So do not use the host in another thread meanwhile.

    Args:
        host: the tokenizer; it is kept, not copied

    Raises:     TypeError for what is no tokenizer
    """

    vocabulary: int | None
    """The largest id and 1, as many scores as a model needs; None where the host does not say."""
    bos: int | None
    """What begins a text: what the host calls so, or else what its own call puts there."""
    eos: int | None
    """What ends a text, in the same way."""
    name: str
    """Where it comes from, or what it is."""

    def __init__(self, host: object) -> None:
        self._host = _adapt(host)
        self.name = str(getattr(host, "name_or_path", None) or getattr(host, "name", None) or type(host).__name__)
        self.vocabulary = self._host.vocabulary()
        before, after = self._host.added()
        self._adds = bool(before or after)
        bos, eos = self._host.special("bos"), self._host.special("eos")
        self.bos = before[0] if bos is None and before else bos
        self.eos = after[-1] if eos is None and after else eos

    @cached_property
    def unknown(self) -> int | None:
        """What stands for a piece of text that is in no token; None for a tokenizer that has a token for every byte."""
        return self._host.special("unk")

    @cached_property
    def fingerprint(self) -> str:
        """The same for tokenizers that give the same ids for every text: sha256 of the serialisation, or of what can be had."""
        return hashlib.sha256(json.dumps(self._host.identity(), sort_keys=True).encode()).hexdigest()

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, all of them and no others.

        Raises:     ValueError for a lone surrogate, which no file in UTF-8 can hold.
        """
        try:
            text.encode()
        except UnicodeEncodeError as bad:
            raise ValueError(
                f'"text" has {text[bad.start]!a} at character {bad.start}, half of a surrogate pair, '
                "expected Unicode text: decode it again from its bytes"
            ) from None
        return Encoded(*self._host.encode(text))

    def text_of(self, ids: Sequence[int]) -> str:
        """Tokens as text, for display."""
        return self._host.decode(list(ids))

    def adds_special(self) -> bool:
        """Whether the host adds special tokens when it is called with a text alone."""
        return self._adds

    def encode_default(self, text: str) -> list[int]:
        """What the host gives when it is called with a text alone, its special tokens included, neither cut nor padded."""
        return self._host.default(text)

    def lossy(self, text: str) -> str | None:
        """What of a text the tokens do not hold, in one sentence, or None: what is not in them costs the model nothing."""
        ids = self.encode(text).ids
        # GPT-2's unknown token is its end of text, and is in a text only where it is written there
        unknown = 0 if self.unknown in (self.bos, self.eos) else ids.count(-1 if self.unknown is None else self.unknown)
        if unknown:
            return f"{unknown} of {len(ids)} tokens are unknown to the tokenizer, so bits per byte are flattered"
        back = self.text_of(ids)
        if back == text:
            return None
        same = (one == other for one, other in zip(text, back, strict=False))
        at = next((i for i, equal in enumerate(same) if not equal), min(len(text), len(back)))
        change = f"{text[at : at + 12]!r} at character {at} became {back[at : at + 12]!r}"
        return f"the tokenizer does not give the text back ({change}), so bits per byte may be flattered"


def prefix(bos: str | int, tokenizer: Tokenizer | None) -> tuple[int | None, str]:
    """The token that stands before the text, and where: in ``"every"`` window, the ``"first"`` of a document, or ``"none"``.

    Args:
        bos: ``"auto"`` (every, if there is a BOS token, else none), ``"every"``, ``"first"``, ``"none"``, ``"eos"`` (EOS in BOS's
            place, in every window), or the id of a token for every window
        tokenizer: whose BOS and EOS

    Raises:     ValueError for a policy that does not exist, or whose token does not.
    """
    if isinstance(bos, str) and bos.isdecimal() and bos.isascii():
        bos = int(bos)
    if not isinstance(bos, str | bool) and hasattr(bos, "__index__"):  # numpy's integers too
        bos = operator.index(bos)
    if isinstance(bos, int) and not isinstance(bos, bool):
        size = None if tokenizer is None else tokenizer.vocabulary
        if bos < 0 or (size is not None and bos >= size):
            raise ValueError(f'"bos" is {bos}, expected a token id in [0, {"vocabulary" if size is None else size})')
        return bos, "every"
    if bos not in POLICIES:
        raise ValueError(f'"bos" is {bos!r}, expected {", ".join(map(repr, POLICIES))} or a token id')
    if bos == "none":
        return None, "none"
    token = None if tokenizer is None else tokenizer.eos if bos == "eos" else tokenizer.bos
    if token is None and bos != "auto":
        owner = "there is no tokenizer" if tokenizer is None else f'the tokenizer "{tokenizer.name}" has no such token'
        raise ValueError(f'"bos" is "{bos}", but {owner}: pass the id of a token, or "none"')
    return token, "none" if token is None else "first" if bos == "first" else "every"
