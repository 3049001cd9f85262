"""The tokenizers of Hugging Face: those of ``tokenizers``, and those of transformers with and without one of them inside."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from typing_extensions import override

from .hosts import Host, Ids
from .spans import owned

__all__ = ["Fast", "Rust", "Slow"]

# one text must give the same ids at every call: BPE-dropout and Unigram sampling are for training
SAMPLING = ("dropout", "alpha", "nbest_size")


class Slow(Host):
    """A tokenizer of transformers that is written in Python: it knows no offsets."""

    @override
    def vocabulary(self) -> int | None:
        words = self._words()
        return super().vocabulary() if words is None else max(words.values(), default=-1) + 1

    def _words(self) -> dict[str, int] | None:
        try:
            words: dict[str, int] = self.host.get_vocab()
        except (NotImplementedError, AttributeError):
            return None
        return words

    @override
    def encode(self, text: str) -> tuple[Ids, list[int] | None]:
        return list(self.host.encode(text, add_special_tokens=False, verbose=False)), None

    @override
    def added(self) -> tuple[Ids, Ids]:
        return _around(self.default("a"), self.encode("a")[0])

    @override
    def default(self, text: str) -> Ids:
        return list(self.host.encode(text, verbose=False))

    @override
    def decode(self, ids: Ids) -> str:
        return str(self.host.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    @override
    def identity(self) -> object:
        return [super().identity(), sorted((self._words() or {}).items())]


class Rust(Host):
    """A ``tokenizers.Tokenizer``."""

    @property
    def backend(self) -> Any:
        """The object of the tokenizers library."""
        return self.host

    @override
    def vocabulary(self) -> int | None:
        return max(self.backend.get_vocab().values(), default=-1) + 1

    @override
    def special(self, name: str) -> int | None:
        if name != "unk":
            return None
        model = self.backend.model
        if hasattr(model, "unk_token"):
            token: str | None = model.unk_token
            known: int | None = None if token is None else self.backend.token_to_id(token)
            return known
        found: int | None = (self._serialised() or {"model": {}})["model"].get("unk_id")  # Unigram keeps it to itself
        return found

    def _serialised(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self.backend.to_str())
        except Exception:  # the library's own error for a part that is written in Python
            return None
        return found

    @override
    def encode(self, text: str) -> tuple[Ids, list[int] | None]:
        with _bare(self.backend, template=False):
            ids, spans = self._plain(text)
        return ids, owned(spans, len(text))

    @override
    def added(self) -> tuple[Ids, Ids]:
        return _around(self.default("a"), self.encode("a")[0])

    @override
    def default(self, text: str) -> Ids:
        with _bare(self.backend, template=True):
            return self._called(text)

    @override
    def decode(self, ids: Ids) -> str:
        return str(self.backend.decode(ids, skip_special_tokens=False))

    @override
    def identity(self) -> object:
        found, words = self._serialised(), sorted(self.backend.get_vocab().items())
        if found is None:
            return [super().identity(), words]
        for unheard in ("truncation", "padding", "post_processor", "decoder"):
            found.pop(unheard, None)
        for unheard in SAMPLING:
            found["model"].pop(unheard, None)
        return [found, self._splits_special()]

    def _plain(self, text: str) -> tuple[Ids, list[tuple[int, int]]]:
        found = self.backend.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    def _called(self, text: str) -> Ids:
        return list(self.backend.encode(text).ids)

    def _splits_special(self) -> bool:
        return bool(getattr(self.backend, "encode_special_tokens", False))


class Fast(Rust):
    """A tokenizer of transformers over one of ``tokenizers``. It is asked itself: a subclass may do more than that one."""

    @property
    @override
    def backend(self) -> Any:
        return self.host.backend_tokenizer

    @override
    def special(self, name: str) -> int | None:
        found = Host.special(self, name)
        return super().special(name) if found is None else found

    @override
    def decode(self, ids: Ids) -> str:
        return str(self.host.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    @override
    def _plain(self, text: str) -> tuple[Ids, list[tuple[int, int]]]:
        found = self.host(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return list(found["input_ids"]), list(found["offset_mapping"])

    @override
    def _called(self, text: str) -> Ids:
        return list(self.host(text, verbose=False)["input_ids"])

    @override
    def _splits_special(self) -> bool:
        return bool(getattr(self.host, "split_special_tokens", False))


@contextmanager
def _bare(backend: Any, *, template: bool) -> Generator[None, None, None]:
    """Nothing cut, padded or drawn at random; without ``template`` nothing added either, and no blanks trimmed off offsets."""
    cut, filled, processor = backend.truncation, backend.padding, backend.post_processor
    model, splits = backend.model, getattr(backend, "encode_special_tokens", None)
    drawn = {name: getattr(model, name) for name in SAMPLING if getattr(model, name, None) is not None}
    try:
        backend.no_truncation()
        backend.no_padding()
        for name in drawn:
            setattr(model, name, None)
        if not template:  # it would trim as well: ByteLevel and RobertaProcessing do, unless they are told not to
            backend.post_processor = None
        yield
    finally:
        if cut is not None:
            backend.enable_truncation(**cut)
        if filled is not None:
            backend.enable_padding(**filled)
        for name, value in drawn.items():
            setattr(model, name, value)
        backend.post_processor = processor
        if splits is not None:  # transformers copies its own setting here at each call
            backend.encode_special_tokens = splits


def _around(whole: Ids, plain: Ids) -> tuple[Ids, Ids]:
    """What stands before and after ``plain`` in ``whole``; all of ``whole`` is before, if ``plain`` is nowhere in it."""
    for at in range(len(whole) - len(plain) + 1):
        if whole[at : at + len(plain)] == plain:
            return whole[:at], whole[at + len(plain) :]
    return whole, []
