"""losskit explore: the interactive page, written as one file."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["VERBS", "add"]


def add(verbs: Any) -> None:
    """The verb and what it takes."""
    verb = verbs.add_parser("explore", help="write a page where you move a prediction and see loss and gradient answer")
    verb.add_argument(
        "--html", type=Path, default=Path("explorer.html"), metavar="FILE", help="the page (default: explorer.html)"
    )
    verb.add_argument("--open", action="store_true", help="show it in the browser too")


def _explore(arguments: argparse.Namespace) -> int:
    from ..explore.page import explorer

    path = arguments.html
    if path.is_dir():
        raise ValueError(f'"--html" is {str(path)!r}, a folder; expected a file, e.g. {path / "explorer.html"}')
    path.write_text(explorer(), encoding="utf-8")
    print(f"{path}: open it in a browser; it needs no network")
    if arguments.open and not webbrowser.open(path.resolve().as_uri()):
        print("no browser could be started: open the file by hand")
    return 0


VERBS: Mapping[str, Callable[[argparse.Namespace], int]] = {"explore": _explore}
