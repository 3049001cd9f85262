"""Which characters of a text each of its tokens owns: every character one owner, in order, so that units add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["owned", "owned_bytes"]

# the bytes of UTF-8 that go on with a character which an earlier one began
CONTINUE = bytes(range(0x80, 0xC0))


def owned(spans: Sequence[tuple[int, int]], length: int) -> list[int]:
    """How many characters the tokens up to each own, from the (start, end) of the characters that each touches.

    A character is its last toucher's: the bytes of one character, split over tokens, are complete at the last of them. One that
    none touches is the next token's, and after the last token its.
    """
    ends = [length] * len(spans)
    later = length  # where the first character that a later token touches stands
    for i in range(len(spans) - 1, 0, -1):
        start, end = spans[i]
        if start < end:
            later = min(later, start)
        ends[i - 1] = later
    reach = 0
    for i, (_, end) in enumerate(spans[:-1]):
        reach = max(reach, end)
        ends[i] = min(ends[i], reach)
    return ends


def owned_bytes(pieces: Sequence[bytes], text: str) -> list[int] | None:
    """The same from the bytes of each token, or None where these are not the bytes of the text."""
    whole = text.encode()
    if b"".join(pieces) != whole:
        return None
    at, begun, ends = 0, 0, []
    for piece in pieces:
        at += len(piece)
        begun += len(piece.translate(None, CONTINUE))
        ends.append(begun - (whole[at : at + 1] in CONTINUE if at < len(whole) else 0))
    return ends
