"""Texts by the letters in them, and a model of two towers that begins as a search for letters in common."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from .python_functions import WORD

__all__ = ["BUCKETS", "Towers", "counts"]

BUCKETS, WIDTH = 4096, 64
START = 0.02  # of what is learned beside the letters: little, so that untrained is letters alone


@functools.cache
def pieces(word: str) -> tuple[int, ...]:
    """The buckets of a word, and of its three and four letters in a row, where it begins and ends included."""
    whole = f"<{word}>"
    parts = {whole, *(whole[i : i + n] for n in (3, 4) for i in range(len(whole) - n + 1))}
    return tuple(sorted({crc32(part.encode()) % BUCKETS for part in parts}))  # hash() differs from run to run


def counts(texts: Iterable[str]) -> Tensor:
    """(N, BUCKETS), rows of length one: square roots of how often each piece is in a text, so that one word is not all of it."""
    rows: list[Tensor] = []
    for text in texts:
        found = Counter(bucket for word in WORD.findall(text) for bucket in pieces(word.lower()))
        row = torch.zeros(BUCKETS)
        row[list(found)] = torch.tensor([*found.values()], dtype=row.dtype).sqrt()
        rows.append(row)
    return F.normalize(torch.stack(rows), dim=-1)


class Towers(nn.Module):
    """What a piece counts for, and of each tower a vector for every piece: ``forward`` gives rows of length one."""

    def __init__(self, source: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(BUCKETS))
        self.query = nn.Parameter(START * torch.randn(BUCKETS, WIDTH, generator=source))
        self.key = nn.Parameter(START * torch.randn(BUCKETS, WIDTH, generator=source))

    @override
    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return self._rows(query, self.query), self._rows(key, self.key)

    def _rows(self, texts: Tensor, table: Tensor) -> Tensor:
        return F.normalize(torch.cat([texts * self.weight, texts @ table], -1), dim=-1)
