"""Text of any make in blocks of lines: invalid UTF-8, UTF-16, carriage returns, colours, lines without end."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["HEAD", "LONGEST", "Lines", "decode", "head_and_tail"]

HEAD = 1 << 16  # bytes that tell a format
BLOCK = (
    1 << 18
)  # bytes read at once: objects of a few thousand lines stay in the cache, and the garbage collector finds few of them
LONGEST = 1 << 20  # bytes of a line; a longer one is no line of a log
_GAP = re.compile("\x00+")
_COLOURS = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")


def head_and_tail(path: Path) -> tuple[bytes, bytes]:
    """The first and the last bytes of a file."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        size = file.seek(0, 2)
        file.seek(max(0, size - HEAD))
        return head, file.read(HEAD)


def decode(data: bytes) -> str:
    """As UTF-8, or UTF-16 where a mark says so (a PowerShell redirect); what is invalid becomes a replacement character."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


class Lines:
    """The lines of a file, a list of them at a time; counts those that are too long."""

    def __init__(self, path: Path, *, returns: bool = False) -> None:
        """``returns`` ends lines at carriage returns as well: a progress bar writes one line over the other."""
        self.path = path
        self.returns = returns
        self.skipped = 0
        self.unfinished = False
        """The last line has no end."""

    def __iter__(self) -> Iterator[list[str]]:
        with self.path.open("rb") as file:
            mark = file.read(2)
            file.seek(0)
            name = "utf-16" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
            decoder = codecs.getincrementaldecoder(name)("replace")
            rest, dropping = "", False
            while data := file.read(BLOCK):
                text = rest + decoder.decode(data)
                if dropping:
                    end = text.find("\n")
                    if end < 0:
                        continue
                    text, dropping = text[end + 1 :], False
                lines = self._split(text)
                rest = lines.pop()
                if len(rest) > LONGEST:
                    rest, dropping = "", True
                    self.skipped += 1
                yield self._short(lines)
            rest += decoder.decode(b"", True)
            self.unfinished = bool(rest.strip()) and not dropping
            if self.unfinished:
                yield self._short(self._split(rest))

    def _split(self, text: str) -> list[str]:
        if "\x00" in text:
            # what a file system writes over the end of a file when the machine goes down
            text, gaps = _GAP.subn("\n", text)
            self.skipped += gaps
        if "\x1b" in text:
            text = _COLOURS.sub("", text)
        if self.returns:
            text = text.replace("\r", "\n")
        elif "\r" in text:
            text = text.replace("\r\n", "\n")
        return text.split("\n")

    def _short(self, lines: list[str]) -> list[str]:
        short = [line for line in lines if len(line) <= LONGEST]
        self.skipped += len(lines) - len(short)
        return short
