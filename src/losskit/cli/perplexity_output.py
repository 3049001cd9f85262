"""What an evaluation leaves: JSON, page, tokens, table; files first, since a reader of the table may go away."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["excerpts", "other_protocols", "write"]

_HEATED, _AROUND = 3, 200  # documents, and tokens on each side of the least expected one


def write(arguments: argparse.Namespace, ready: Any, report: Any, readings: Sequence[Any] | None) -> None:
    """Write all that was asked for."""
    from .perplexity_exit import print_json, unbroken

    text = report.to_json(None if arguments.json in (None, "-") else arguments.json)
    if arguments.html is not None:
        report.to_html(arguments.html, examples=list(excerpts(arguments, ready, report)))
    if arguments.tokens is not None:
        _write_tokens(arguments, ready)
    if arguments.json == "-":
        return unbroken(lambda: print_json(text))
    from .perplexity_print import print_readings, print_report

    def show() -> None:
        print_report(report, arguments.top)
        if readings is not None:
            print_readings(readings)

    return unbroken(show)


def other_protocols(arguments: argparse.Namespace, ready: Any) -> Sequence[Any] | None:
    """The same text as other tools read it, if that was asked for; every rank has to call it."""
    if not (arguments.explain or arguments.compat):
        return None
    from ..evaluate.side_by_side import protocols

    names = None if arguments.explain else arguments.compat
    found: Sequence[Any] = protocols(ready.model, ready.tokenizer, list(ready.documents), names=names, **_scoring(arguments))
    return found


def _scoring(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("window", "stride", "bos", "precision", "batch_tokens")}


def _write_tokens(arguments: argparse.Namespace, ready: Any) -> None:
    from ..evaluate.files import whole
    from ..evaluate.report import spelled
    from ..evaluate.token_view import score_tokens

    with whole(Path(arguments.tokens)) as draft, draft.open("x", encoding="utf-8") as file:
        for one in ready.documents:
            found = score_tokens(ready.model, ready.tokenizer, one.text, **_scoring(arguments)) if one.text else []
            for token in islice(found, arguments.truncate):
                line = spelled({"document": one.id, **token._asdict()})
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")


def excerpts(arguments: argparse.Namespace, ready: Any, report: Any) -> Iterator[tuple[str, list[Any]]]:
    """The text around the least expected token of each of the worst documents, with its tokens' scores.

    A piece is scored from where the plan's window begins, so that contexts are those of the evaluation, but for a token or
    two where the piece is cut into tokens otherwise than the whole.
    """
    held = {one.id: one for one in ready.documents}
    for worst in report.worst(_HEATED):
        text = held[worst.id].text
        if text and worst.worst is not None and ready.tokenizer is not None:
            yield worst.id, _around(arguments, ready, report, text, worst.worst.position)


def _around(arguments: argparse.Namespace, ready: Any, report: Any, text: str, position: int) -> list[Any]:
    from ..evaluate.plan import Plan
    from ..evaluate.text.tokens import Tokenizer
    from ..evaluate.token_view import score_tokens

    ends = Tokenizer(ready.tokenizer).encode(text).ends
    scoring = _scoring(arguments)
    if ends is None:
        return list(score_tokens(ready.model, ready.tokenizer, text, **scoring)[max(0, position - _AROUND) : position + _AROUND])
    last = min(len(ends), position + _AROUND) - 1
    first = max(0, position - _AROUND)
    plan = Plan(report.protocol.window, report.protocol.stride, report.protocol.bos.split()[0])
    start = next((w.start for w in plan.windows(len(ends)) if w.stop > first), 0)
    if start and plan.prefix == "first":
        scoring["bos"] = "none"
    begin, seen = (ends[start - 1] if start else 0), (ends[first - 1] if first else 0)
    scored = score_tokens(ready.model, ready.tokenizer, text[begin : ends[last]], **scoring)
    return [one._replace(start=one.start + begin, end=one.end + begin) for one in scored if one.start + begin >= seen]
