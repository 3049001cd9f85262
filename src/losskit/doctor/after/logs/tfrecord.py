"""Records of an event file with their checksums, many of one length at once."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Chunk", "Records", "checksums"]

CHUNK = 1 << 22  # bytes read at once
LARGEST = 1 << 16  # bytes of a record that may hold scalars; images and histograms are larger and are passed over
_HEADER = struct.Struct("<QI")


@dataclass(frozen=True)
class Chunk:
    """Some records of a file in order: their places in ``data``, all below :data:`LARGEST` bytes long."""

    data: bytearray
    starts: list[int]
    lengths: list[int]

    def rows(self, which: Tensor, length: int) -> Tensor:
        """(n, length + 4) bytes of those records, each with its checksum."""
        flat = torch.frombuffer(self.data, dtype=torch.uint8)
        starts = torch.tensor(self.starts)[which]
        return flat[starts[:, None] + torch.arange(length + 4)]


class Records:
    """The records of one file, in chunks; says afterwards how it ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.truncated = False
        """The file ends in the middle of a record."""
        self.broken = False
        """A length has the wrong checksum: what follows cannot be found."""

    def __iter__(self) -> Iterator[Chunk]:
        with self.path.open("rb") as file:
            data = bytearray()
            while more := file.read(CHUNK):
                data = bytearray(data + more)
                chunk, at, beyond = self._scan(data)
                yield chunk
                if self.broken:
                    return
                if beyond:
                    # passed over without being read; where the file ends before it does, the next read is empty
                    file.seek(beyond, 1)
                    size = self.path.stat().st_size
                    self.truncated = file.tell() > size
                    data = bytearray()
                else:
                    data = data[at:]
            self.truncated |= bool(data)

    def _scan(self, data: bytearray) -> tuple[Chunk, int, int]:
        """The whole records, the place after them, and how far a large one that has begun reaches beyond the data."""
        starts: list[int] = []
        lengths: list[int] = []
        at, end, unpack = 0, len(data), _HEADER.unpack_from
        while at + 12 <= end:
            length, check = unpack(data, at)
            if check != _length_checksum(length):
                self.broken = True
                break
            after = at + 16 + length
            if after > end:
                return Chunk(data, starts, lengths), at, (after - end if length > LARGEST else 0)
            if length <= LARGEST:
                starts.append(at + 12)
                lengths.append(length)
            at = after
        return Chunk(data, starts, lengths), at, 0


@functools.lru_cache(maxsize=65536)
def _length_checksum(length: int) -> int:
    """Lengths repeat: the checksum of one is computed once."""
    value = 0xFFFFFFFF
    table = _table_list()
    for byte in length.to_bytes(8, "little"):
        value = table[(value ^ byte) & 255] ^ (value >> 8)
    return _masked(value ^ 0xFFFFFFFF)


def _masked(value: int) -> int:
    """TFRecord's mask: a checksum of data that holds checksums would be weak."""
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _table_list() -> list[int]:
    """CRC-32C (Castagnoli) a byte at a time."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


@functools.cache
def _ahead(distance: int) -> Tensor:
    """(256,) what a byte adds to the checksum of a message that ends so many bytes after it."""
    table = torch.tensor(_table_list())
    if distance == 0:
        return table
    before = _ahead(distance - 1)
    return table[before & 255] ^ (before >> 8)


def checksums(rows: Tensor) -> Tensor:
    """(n,) whether the last four bytes of each row are the masked checksum of those before.

    A CRC is linear: each byte adds a term of its own by XOR, so that n messages of one length take a look-up a column, not a loop
    over bytes in Python.
    """
    length = rows.shape[1] - 4
    value = torch.full((len(rows),), _start(length))
    columns = rows.T.contiguous()
    for at in range(length):
        _ahead(at)  # from the near end on, so that the recursion is one deep
    for at in range(length):
        value ^= _ahead(length - 1 - at)[columns[at].long()]
    value ^= 0xFFFFFFFF
    masked = (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    said = columns[length:].long()
    return masked == said[0] | said[1] << 8 | said[2] << 16 | said[3] << 24


@functools.cache
def _start(length: int) -> int:
    """What the start value of all ones adds to the checksum of a message of that length."""
    value, table = 0xFFFFFFFF, _table_list()
    for _ in range(length):
        value = table[value & 255] ^ (value >> 8)
    return value
