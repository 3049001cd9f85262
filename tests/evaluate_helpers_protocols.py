"""Texts, tokenizers and one tool's reading, for the tests of other tools' protocols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evaluate_tokenizers import TEXTS, tokenizer
from losskit.evaluate.side_by_side import Reading, protocols

__all__ = ["HOSTS", "TEXTS_OF", "one"]

TEXTS_OF = [TEXTS[0][:300], " " + TEXTS[1][:90], TEXTS[3][:61] + "\n", "if a"]
HOSTS: dict[str, Callable[[], Any]] = {
    "bpe, adds BOS": lambda: tokenizer("bpe", bos=True),
    "bpe, has BOS": lambda: tokenizer("bpe", bos=True, adds=False),
    "unigram, adds BOS": lambda: tokenizer("unigram", bos=True),
    "byte, has EOS": lambda: tokenizer("byte", bos=False, eos=True, adds=False),
    "wordpiece, adds both": lambda: tokenizer("wordpiece", bos=True, eos=True),
}


def one(name: str, model: Any, host: Any, texts: list[str] | None = None, **options: Any) -> Reading:
    (found,) = protocols(model, host, TEXTS_OF if texts is None else texts, names=[name], **{"window": 16, **options})
    return found
