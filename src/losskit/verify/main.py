"""losskit verify: run every claim, print both columns, say pass or fail with the figure."""

from __future__ import annotations

import json as js
import platform
from collections.abc import Iterator

import torch

from .. import __version__
from . import doctor, embeddings, evaluation, heads, levels, numerics, parity, ranking
from .claim import Finding, answer, text

__all__ = ["findings", "run_verify"]

_WIDE = 100  # columns of a terminal that a table fits into


def findings() -> Iterator[Finding]:
    """Every claim's outcome on this machine, one after the other."""
    for source in (numerics, heads, embeddings, ranking, evaluation, levels, doctor, parity):
        for claim in source.claims():
            yield Finding(claim, answer(claim.ours), None if claim.torch is None else answer(claim.torch))


def run_verify(*, json: bool) -> int:
    """Print the table (or JSON) and return 1 if a claim fails."""
    from rich.console import Console

    err = Console(stderr=True)
    found: list[Finding] = []
    with err.status("recomputing") as status:
        for finding in findings():
            found.append(finding)
            status.update(f"recomputing: {len(found)} done, at {finding.claim.group}")
    if json:
        print(js.dumps(_document(found), indent=2))
    else:
        _print(found)
    return 0 if all(f.passed for f in found) else 1


def _document(found: list[Finding]) -> dict[str, object]:
    rows = [
        {
            "group": f.claim.group,
            "about": f.claim.about,
            "truth": f.claim.truth,
            "losskit": f.ours,
            "torch": f.torch,
            "tolerance": f.claim.tolerance,
            "passed": f.passed,
        }
        for f in found
    ]
    machine = {
        "losskit": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return {
        "version": 1,
        "on": machine,
        "passed": sum(f.passed for f in found),
        "failed": sum(not f.passed for f in found),
        "claims": rows,
    }


def _print(found: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if console.width < _WIDE:  # a table would cut its numbers
        _print_lines(found)
        return
    for group in dict.fromkeys(f.claim.group for f in found):
        rows = [f for f in found if f.claim.group == group]
        table = Table(box=None, pad_edge=False, title=group, title_justify="left", title_style="bold", header_style="dim")
        table.add_column("", no_wrap=True)
        table.add_column("claim", ratio=1, min_width=34)
        beside = any(f.torch is not None for f in rows)
        for column in (
            "truth",
            "losskit",
            *(["as typed" if group.startswith("formulas") else "torch"] if beside else []),
        ):
            table.add_column(column, justify="right", overflow="fold")
        for f in rows:
            mark = "[green]pass[/green]" if f.passed else "[red]FAIL[/red]"
            table.add_row(
                mark,
                f.claim.about,
                ("at most " if f.claim.at_most else "") + text(f.claim.truth),
                text(f.ours),
                *([text(f.torch)] if beside else []),
            )
        console.print(table)
        console.print()
    _print_sum(found)


def _print_lines(found: list[Finding]) -> None:
    """Two lines a claim, for narrow terminals and files."""
    for group in dict.fromkeys(f.claim.group for f in found):
        print(group)
        for f in (f for f in found if f.claim.group == group):
            print(f"{'pass' if f.passed else 'FAIL'}  {f.claim.about}")
            beside = "" if f.torch is None else f", {'as typed' if group.startswith('formulas') else 'torch'} {text(f.torch)}"
            bound = "at most " if f.claim.at_most else ""
            print(f"      truth {bound}{text(f.claim.truth)}, losskit {text(f.ours)}{beside}")
        print()
    _print_sum(found)


def _print_sum(found: list[Finding]) -> None:
    failed = sum(not f.passed for f in found)
    print(f"{len(found) - failed} passed, {failed} failed")
