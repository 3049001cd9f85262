"""The wire format of protocol buffers, as far as event files need it: fields of a message, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["BYTES", "FIXED32", "FIXED64", "VARINT", "WireError", "fields", "first", "varint"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are no message."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise WireError("a number without end")


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes, int]]:
    """(field, wire type, value, place of the value's first byte) of each field; numbers as int, all else as bytes.

    Raises:     WireError for what is no message.
    """
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        wire = key & 7
        if wire == VARINT:
            begin = at
            value, at = varint(data, at)
            yield key >> 3, wire, value, begin
            continue
        if wire == BYTES:
            length, at = varint(data, at)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise WireError(f"wire type {wire}")
        if at + length > len(data):
            raise WireError("a field longer than its message")
        yield key >> 3, wire, data[at : at + length], at
        at += length


def first(data: bytes, field: int) -> bytes:
    """The first field of bytes with that number; empty if there is none."""
    return next((value for number, _, value, _ in fields(data) if number == field and isinstance(value, bytes)), b"")
