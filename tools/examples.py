"""Gathers the examples of the documents for losskit verify, which runs them where no document is; --check only compares."""

from __future__ import annotations

import doctest
import json
import re
import sys
from pathlib import Path

from losskit.verify.examples import PAGES

ROOT = Path(__file__).parent.parent
GENERATED = {"_build", "losses", "findings"}
FENCE = re.compile(r"^ *(```|:::|~~~).*$", re.MULTILINE)


def documents(root: Path = ROOT) -> list[Path]:
    """Every page that is written by hand."""
    docs = root / "docs"
    found = [page for page in sorted(docs.rglob("*.md")) if not GENERATED & {*page.relative_to(docs).parts}]
    return [*sorted(root.glob("*.md")), *found]


def examples(text: str) -> list[list[str]]:
    """Source and expected output of each example; a closing fence would count as output."""
    found = doctest.DocTestParser().get_examples(FENCE.sub("", text))
    return [[one.source.rstrip("\n"), one.want.rstrip("\n")] for one in found]


def gathered(root: Path = ROOT) -> str:
    """The text of the file: no line numbers, so that it changes only where an example does."""
    pages = {page.relative_to(root).as_posix(): examples(page.read_text(encoding="utf-8")) for page in documents(root)}
    rows = (f"{json.dumps(page)}: {_lines(found)}" for page, found in pages.items() if found)
    return '{"pages": {\n' + ",\n".join(rows) + "\n}}\n"


def _lines(found: list[list[str]]) -> str:
    return "[\n" + ",\n".join(f" {json.dumps(pair, ensure_ascii=False)}" for pair in found) + "]"


def stale(root: Path = ROOT, file: Path = PAGES) -> list[str]:
    """Pages whose examples are not those of the file."""
    now, then = (json.loads(text)["pages"] for text in (gathered(root), file.read_text(encoding="utf-8")))
    return sorted(page for page in {*now, *then} if now.get(page) != then.get(page))


def main() -> int:
    """Write the file, or say which pages have changed."""
    if "--check" not in sys.argv:
        PAGES.write_text(gathered(), encoding="utf-8")
        return 0
    changed = stale() if PAGES.exists() else [PAGES.name]
    print(f"changed: {', '.join(changed)}: python tools/examples.py" if changed else f"{PAGES.name} is up to date")
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
