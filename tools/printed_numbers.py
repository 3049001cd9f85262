"""Every number that a page says in prose, and where it comes from: prints those that come from nowhere.

A number with three significant digits or more, a percentage, or a ratio ("3.8 times") must be the truth or its rounding: of a
number in the page's own examples, of a claim of losskit verify, of a recorded measurement that the page is about, of a figure,
or of a table that a tool writes. What nobody can compute is exempt, each with its reason, in ``printed_exempt.py``.
"""

from __future__ import annotations

import io
import json
import math
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from examples import ROOT, documents, examples
from printed_exempt import EXEMPT, PATTERNS, RESULTS, SKIPPED

from losskit.explore.figures import discover
from losskit.verify.claim import answer
from losskit.verify.figures import printed
from losskit.verify.main import claims

DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?"
NUMBER = re.compile(rf"(?<![\w.,/#^-])-?({DIGITS})(?![\w]*[A-Za-z_]|\.\d)(?P<unit> ?%| ?x\b| times\b)?|\+-({DIGITS})")
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", re.DOTALL)
INCLUDE = re.compile(r"```\{include\} (\S+)")
NOISE = re.compile(r"<!--.*?-->|\]\([^)]*\)|`[^`\n]*`|https?://\S+|^:::.*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Said:
    """A number as a page prints it, with its line."""

    page: str
    number: str
    unit: str
    line: str

    @property
    def value(self) -> float:
        """As a number."""
        return float(self.number.replace(",", ""))

    @property
    def step(self) -> float:
        """What the last digit counts: trailing zeros of a whole number may be rounding."""
        digits, _, power = self.number.replace(",", "").partition("e")
        _, _, decimals = digits.partition(".")
        zeros = 0 if decimals else len(digits) - len(digits.rstrip("0"))
        return 10.0 ** (zeros - len(decimals) + int(power or 0))

    @property
    def checked(self) -> bool:
        """Whether it has so many digits, or such a unit, that it has to come from somewhere."""
        digits = self.number.partition("e")[0].replace(",", "").lstrip("0.").replace(".", "")
        significant = len(digits if "." in self.number else digits.rstrip("0"))
        return significant >= (2 if self.unit else 3)

    def is_rounded(self, source: float) -> bool:
        """Whether it is the source, or a rounding of it; of a share too where it is a percentage."""
        ways = (source, 100 * source) if self.unit.strip() == "%" else (source,)
        return any(abs(abs(way) - self.value) <= self.step * 0.5 * (1 + 1e-9) for way in ways)


def said(page: str, text: str) -> list[Said]:
    """The numbers of a page's prose that have to come from somewhere."""
    prose = GENERATED.sub("", FENCE.sub("", text))
    prose = NOISE.sub(lambda m: " ] " if m[0].startswith("]") else " ", prose)
    for pattern, _ in PATTERNS:
        prose = re.sub(pattern, " ", prose)
    found = [
        Said(page, m[1] or m[3], m["unit"] or "", line.strip()) for line in prose.splitlines() for m in NUMBER.finditer(line)
    ]
    return [one for one in found if one.checked]


def in_text(text: str) -> Iterator[float]:
    """Every number of a text."""
    for m in re.finditer(rf"(?<![\w.])({DIGITS})", text):
        yield float(m[1].replace(",", ""))


def in_examples(text: str) -> Iterator[float]:
    """What a page's examples compute with, comments apart, and what they print."""
    for source, want in examples(text):
        for token in tokenize.generate_tokens(io.StringIO(source + "\n").readline):
            if token.type == tokenize.NUMBER and not token.string.endswith("j"):
                yield float(token.string.replace("_", "")) if not token.string.startswith("0x") else 0.0
        yield from in_text(want)


def in_json(value: Any) -> Iterator[float]:
    """Every number of a document."""
    if isinstance(value, dict):
        for one in value.values():
            yield from in_json(one)
    elif isinstance(value, list):
        for one in value:
            yield from in_json(one)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


@cache
def everywhere() -> tuple[float, ...]:
    """Numbers that any page may quote: what claims are about, their truths, torch's answers, and the figures."""
    found = [float(n) for figure in discover() for n in printed(figure.svg()).values()]
    for claim in claims(pages=False):
        beside = None if claim.torch is None else answer(claim.torch)
        found += in_text(claim.about)
        found += [n for n in (claim.truth, beside) if isinstance(n, float) and math.isfinite(n)]
    return tuple(found)


@cache
def recorded(name: str) -> tuple[float, ...]:
    """Every number of a file of benchmarks/results, of one demo in it (``"demos.json#outliers"``), or of a table made of it."""
    if name.endswith(".md"):
        return tuple(in_text((ROOT / name).read_text(encoding="utf-8")))
    file, _, demo = name.partition("#")
    document = json.loads((ROOT / "benchmarks" / "results" / file).read_text(encoding="utf-8"))
    part = next(one for one in document["demos"] if one["name"] == demo) if demo else document
    return (*in_json(part), *in_text(part.get("answer", "")))


def sources(page: str, text: str) -> Iterator[float]:
    """Numbers that this page may quote."""
    yield from in_examples(text)
    for name in INCLUDE.findall(text):
        if (included := (ROOT / page).parent / name).exists():  # or it is written when the docs are built
            yield from in_text(included.read_text(encoding="utf-8"))
    for name in RESULTS.get(page, ()):
        yield from recorded(name)
    yield from everywhere()


def from_nowhere(page: str, text: str) -> list[Said]:
    """The numbers of a page that no source has, and nothing exempts."""
    exempt, known = EXEMPT.get(page, {}), list(sources(page, text))
    return [one for one in said(page, text) if one.number not in exempt and not any(map(one.is_rounded, known))]


def pages() -> dict[str, str]:
    """Hand-written pages for readers, by their path: not what a tool writes, nor what is for those who work on losskit."""
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in documents()}
    return {page: text for page, text in found.items() if not any(re.fullmatch(skipped, page) for skipped in SKIPPED)}


def main(only: Iterable[str]) -> int:
    """Print the numbers from nowhere, of some pages or of all."""
    lost = [one for page, text in pages().items() if not only or page in only for one in from_nowhere(page, text)]
    for one in lost:
        print(f"{one.page}: {one.number}{one.unit}: {one.line[:150]}")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
