"""The text of the language model: topics split in two, their tokens, and what predictors without a network make of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.card import reference
from . import generator
from .data import topics
from .tokens import Tokenizer, learn

__all__ = ["Score", "Text", "chance", "compressed", "read", "split", "unigram"]

SHARE = 0.1  # of the bytes are held out


class Score(NamedTuple):
    """The sum of -log p over what was predicted, in float64, and what that was."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Per token: as many equally likely tokens would leave one as unsure."""
        return math.exp(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Of one text, comparable whatever its tokens are."""
        return self.nats / (math.log(2) * self.bytes)


class Text(NamedTuple):
    """Topics to learn from and topics held out, by name; tokens that were learned from the former."""

    learned: Mapping[str, bytes]
    held: Mapping[str, bytes]
    tokenizer: Tokenizer

    def tokens(self, of: Mapping[str, bytes]) -> list[list[int]]:
        """Each topic's tokens, after the one that begins a document."""
        return [[self.tokenizer.start, *tokens] for tokens in self.tokenizer.encode(of.values())]

    @property
    def widths(self) -> Tensor:
        """The bytes of each token."""
        return torch.tensor([len(piece) for piece in self.tokenizer.pieces])


def split(seed: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Topics to learn from, and a random tenth of the bytes held out: whole topics, none more than a quarter of them."""
    texts = topics()
    names = sorted(texts)
    room = round(SHARE * sum(map(len, texts.values())))
    most = room // 4
    held: dict[str, bytes] = {}
    for i in torch.randperm(len(names), generator=generator(seed)).tolist():
        text = texts[names[i]]
        if len(text) <= min(room, most):
            held[names[i]] = text
            room -= len(text)
    return {name: texts[name] for name in names if name not in held}, held


def read(seed: int, vocabulary: int) -> Text:
    """The topics, split, and their tokens; nothing is learned from what is held out."""
    learned, held = split(seed)
    return Text(learned, held, learn(learned.values(), vocabulary))


def chance(held: Tensor, widths: Tensor) -> Score:
    """Every token equally likely."""
    level = reference("linear_cross_entropy", num_classes=len(widths)).chance
    assert level is not None
    return Score(level * len(held), len(held), int(widths[held].sum()))


def unigram(learned: Tensor, held: Tensor, widths: Tensor) -> Score:
    """The token frequencies of the training text, one added to each count, for every held-out token."""
    counts = torch.bincount(learned, minlength=len(widths)).double() + 1
    nats = -(counts / counts.sum()).log()[held].sum()
    return Score(float(nats), len(held), int(widths[held].sum()))


def compressed(text: Text, tokens: int) -> Score | None:
    """What the held-out text adds to an xz file of the training text; None for a Python without xz."""
    try:
        lzma = import_module("lzma")
    except ImportError:
        return None
    learned, held = b"".join(text.learned.values()), b"".join(text.held.values())
    before, both = (len(lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME)) for whole in (learned, learned + held))
    return Score(8 * math.log(2) * (both - before), tokens, len(held))
