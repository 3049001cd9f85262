"""losskit verify: every number of the documents, recomputed here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["VERBS", "add"]

_ABOUT = """Recomputes the numbers that our documents print: tables beside torch, figures, levels, and every
example. It takes about a minute. A claim passes, ties (torch is right as well), fails, or is
not run because a package is missing that is then named. Timings are not claims: make bench measures them."""


def add(verbs: Any) -> None:
    """The verb and what it takes."""
    told = "recompute every number of the documents, beside torch; exit 1 if one is wrong"
    verb = verbs.add_parser("verify", help=told, description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    verb.add_argument("--json", action="store_true", help="print JSON, for a program")
    verb.add_argument("--badge", type=Path, metavar="FILE.svg", help="write the sum as a small picture too")


def _verify(arguments: argparse.Namespace) -> int:
    badge: Path | None = arguments.badge
    if badge is not None and (badge.is_dir() or not badge.absolute().parent.is_dir()):
        raise ValueError(f'"--badge" is {str(badge)!r}, expected a file in a folder that exists, e.g. verify.svg')
    from ..verify.main import run_verify

    return run_verify(json=arguments.json, badge=badge)


VERBS: Mapping[str, Callable[[argparse.Namespace], int]] = {"verify": _verify}
