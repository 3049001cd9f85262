"""losskit verify: run every claim, print both columns, say pass, tie or fail with the figure."""

from __future__ import annotations

import json as js
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import (
    choosing,
    doctor,
    embeddings,
    evaluation,
    examples,
    explanation,
    figures,
    heads,
    levels,
    numerics,
    parity,
    ranking,
)
from .badge import badge as drawn
from .claim import Claim, Finding, answer, text
from .examples import PRINTED
from .summary import Summary, document, summary

__all__ = ["claims", "findings", "run_verify"]

_WIDE = 100  # columns of a terminal that a table fits into
_SOURCES = (numerics, heads, embeddings, ranking, evaluation, levels, explanation, choosing, doctor, figures, parity)
_MARK = {"passed": "pass", "tied": "tie", "failed": "FAIL", "not run": "-"}
_STYLE = {"passed": "green", "tied": "cyan", "failed": "red", "not run": "yellow"}


def claims(*, pages: bool = True) -> Iterator[Claim]:
    """Every claim; ``pages`` are the examples of documents and docstrings, which take longest."""
    for source in (*_SOURCES, *((examples,) if pages else ())):
        yield from source.claims()


def findings(*, pages: bool = True) -> Iterator[Finding]:
    """Every claim's outcome on this machine, one after the other."""
    for claim in claims(pages=pages):
        yield Finding(claim, answer(claim.ours), None if claim.torch is None else answer(claim.torch))


def run_verify(*, json: bool, badge: Path | None = None) -> int:
    """Print the table (or JSON), write the badge, and return 1 if a claim fails."""
    from rich.console import Console

    begun, found = time.perf_counter(), list[Finding]()
    with Console(stderr=True).status("recomputing") as status:
        for finding in findings():
            found.append(finding)
            status.update(f"recomputing: {len(found)} done, at {finding.claim.group}")
    total = summary(found, time.perf_counter() - begun)
    if badge is not None:
        badge.write_text(drawn(total.passed, total.failed, total.not_run), encoding="utf-8")
    if json:
        print(js.dumps(document(found, total), indent=2, allow_nan=False))
    else:
        _print(found, total)
    return 1 if total.failed else 0


def _print(found: Sequence[Finding], total: Summary) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if console.width < _WIDE:  # a table would cut its numbers
        _print_lines(found, total)
        return
    for group, rows, folded in _groups(found):
        if folded:
            console.print(f"[bold]{group}[/]\n[green]pass[/]  {folded}", end="\n" if rows else "\n\n", highlight=False)
        if not rows:
            continue
        table = Table(
            box=None, pad_edge=False, title="" if folded else group, title_justify="left", title_style="bold", header_style="dim"
        )
        table.add_column("", no_wrap=True)
        table.add_column("claim", ratio=1, min_width=34)
        beside = any(f.torch is not None for f in rows)
        for column in ("truth", "losskit", *([_beside(group)] if beside else [])):
            table.add_column(column, justify="right", overflow="fold")
        for f in rows:
            mark = f"[{_STYLE[f.outcome]}]{_MARK[f.outcome]}[/]"
            cells = [f.claim.about, _truth(f), text(f.ours), *([text(f.torch)] if beside else [])]
            table.add_row(mark, *map(escape, cells))
        console.print(table)
        console.print()
    _print_sum(found, total)


def _print_lines(found: Sequence[Finding], total: Summary) -> None:
    """Two lines a claim, for narrow terminals and files."""
    for group, rows, folded in _groups(found):
        print(f"{group}\npass  {folded}" if folded else group)
        for f in rows:
            print(f"{_MARK[f.outcome]:4}  {f.claim.about}")
            beside = "" if f.torch is None else f", {_beside(group)} {text(f.torch)}"
            print(f"      truth {_truth(f)}, losskit {text(f.ours)}{beside}")
        print()
    _print_sum(found, total)


def _groups(found: Sequence[Finding]) -> Iterator[tuple[str, list[Finding], str]]:
    """Each group with its findings; of examples only those that want a look, and one line for all that came out as printed."""
    for group in dict.fromkeys(f.claim.group for f in found):
        rows = [f for f in found if f.claim.group == group]
        as_printed = [f for f in rows if f.passed and str(f.claim.truth).endswith(PRINTED)]
        count = sum(int(str(f.claim.truth).split()[0]) for f in as_printed)
        folded = f"{len(as_printed)} with {count} examples, all{PRINTED}" if as_printed else ""
        yield group, [f for f in rows if f not in as_printed], folded


def _truth(finding: Finding) -> str:
    return ("at most " if finding.claim.at_most else "") + text(finding.claim.truth)


def _beside(group: str) -> str:
    return "as typed" if group.startswith("formulas") else "torch"


def _print_sum(found: Sequence[Finding], total: Summary) -> None:
    for f in found:
        if f.outcome in ("failed", "not run"):
            print(f"{f.outcome}: {f.claim.about}: {text(f.ours)}")
    print("tie: torch, or what stands in its column, is right as well; -: not run, it needs what is named there")
    print(total.line)
