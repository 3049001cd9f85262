"""The interactive page: its parts, put together into one HTML file; the file that is shipped has its first state drawn in."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["SHIPPED", "explorer", "put_together"]

_HERE = Path(__file__).parent
SHIPPED = _HERE / "explorer.html"
_SCRIPTS = ("core.js", "numbers.js", "picture.js", "frame.js")


def explorer() -> str:
    """The page as a string: one self-contained file, readable without scripts, no network."""
    return SHIPPED.read_text(encoding="utf-8")


def put_together(version: str) -> str:
    """The page from its parts, before a browser has drawn the first state into it."""
    scripts = [_HERE / name for name in _SCRIPTS] + sorted((_HERE / "exhibits").glob("e*.js"))
    recorded = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((_HERE / "recorded").glob("*.json"))}
    parts = {
        "style": (_HERE / "style.css").read_text(encoding="utf-8"),
        "version": version,
        # inside a script "</" would end it
        "recorded": json.dumps(recorded, separators=(",", ":")).replace("</", "<\\/"),
        "scripts": "\n".join(path.read_text(encoding="utf-8") for path in scripts),
    }
    shell = (_HERE / "shell.html").read_text(encoding="utf-8")
    return re.sub(r"/\*(style|version|recorded|scripts)\*/", lambda found: parts[found[1]], shell)
