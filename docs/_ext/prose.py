"""A docstring's sentences as Markdown: formulas, code, links to losses and papers."""

from __future__ import annotations

import re
from collections.abc import Collection

from mathml import pieces

__all__ = ["Prose"]

_CODE = re.compile(r"``(.+?)``")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|$~&^])")
_PART = re.compile(
    r"(?P<arxiv>arXiv:\d{4}\.\d{4,5})"
    r"|(?P<code>[A-Za-z][A-Za-z0-9.]*(?:_[A-Za-z0-9]+)+(?:\([^()\s]*\))?(?:=[\"\w.+-]*[\"\w])?)"
    r"|(?P<option>\b[a-z]+=(?:\"\w+\"|[\w+-]+(?:\.\d+)?))"
)


class Prose:
    """``losses`` have a page of their own, at ``folder`` seen from the page that is written."""

    def __init__(self, losses: Collection[str], folder: str = "") -> None:
        self.losses, self.folder = losses, folder

    def __call__(self, text: str, *, formula: bool = False) -> str:
        """One paragraph."""
        halves = _CODE.split(" ".join(text.split()))
        return "".join(f"`{part}`" if i % 2 else self._mixed(part, formula) for i, part in enumerate(halves))

    def paragraphs(self, text: str) -> str:
        """Several, as they stand."""
        return "\n\n".join(self(part) for part in text.split("\n\n"))

    def _mixed(self, text: str, formula: bool) -> str:
        said = ""
        for is_math, part in pieces(text, formula=formula):
            # no space before the comma after a formula
            glue = "" if not said or said.endswith(" ") or part[:1] in ",;.:" else " "
            said += glue + (f"${part}$" if is_math else self._words(part))
        lead, trail = (" " if text[:1] == " " else ""), (" " if text[-1:] == " " else "")
        return lead + said.strip() + trail

    def _words(self, text: str) -> str:
        said, end = "", 0
        for found in _PART.finditer(text):
            said += self._escaped(text[end : found.start()]) + self._special(found)
            end = found.end()
        return said + self._escaped(text[end:])

    def _special(self, found: re.Match[str]) -> str:
        text = found[0]
        if found["arxiv"]:
            return f"[{text}](https://arxiv.org/abs/{text.removeprefix('arXiv:')})"
        return self.loss(text) if text in self.losses else f"`{text}`"

    def loss(self, name: str) -> str:
        """A link to the page of a loss."""
        return f"[`{name}`]({self.folder}{name}.md)"

    @staticmethod
    def _escaped(text: str) -> str:
        return _SPECIAL.sub(r"\\\1", text)
