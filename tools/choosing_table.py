"""Writes docs/guide/choosing_cpu.md from what benchmarks/choosing.py measured; --check says whether it is up to date."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "choosing_cpu.json"
TABLE = ROOT / "docs" / "guide" / "choosing_cpu.md"


def read() -> dict[str, Any]:
    """The benchmark's results; nothing where it has not been run."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def figures(three: Sequence[float]) -> str:
    """A number and its interval."""
    value, low, high = three
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def rows(case: dict[str, Any]) -> str:
    """One case; a rival in italics is one that the advice warns of."""
    gaps = "<br>".join(
        f"{'*' if name in case['avoid'] else ''}`{name}`{'*' if name in case['avoid'] else ''} {figures(gap)}"
        for name, gap in case["gaps"].items()
    )
    score = f"{case['metric']} {figures(case['score'])}, {'MLP' if case['model'] == 'mlp' else case['model']}"
    return f"| {case['name']}, {case['rows']:,} rows | `{case['first']}` | {score} | {gaps or '–'} | {case['verdict']} |"


def summary(found: dict[str, Any]) -> str:
    """How many agree, and how many of the losses that are warned of lose."""
    cases = [case for case in found["cases"] if case["first"]]
    counts = found["verdicts"]
    told = ", ".join(f"{counts.get(word, 0)} {word}" for word in ("agrees", "undecided", "disagrees"))
    wrong = [case["gaps"][name] for case in cases for name in case["avoid"] if name in case["gaps"]]
    lost, won = sum(low > 0 for _, low, _ in wrong), sum(high < 0 for *_, high in wrong)
    return (
        f"{len(found['cases'])} cases: {told}. Of {len(wrong)} losses that the advice warns of, {lost} lose, {won} win and "
        f"{len(wrong) - lost - won} cannot be told from the first choice."
    )


def table() -> str:
    """The page that the guide includes."""
    found = read()
    if not found:
        return ""
    seconds = [case["cpu_seconds"] for case in found["cases"] if "cpu_seconds" in case]
    head = f"Measured on {found['date']}, one thread, torch {found['versions']['torch']}"
    lines = [f"{head}; {min(seconds):.0f} to {max(seconds):.0f} CPU seconds a case. {summary(found)}", ""]
    lines += ["| data | advice | its figure | by how much it is better than | verdict |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(rows(case) for case in found["cases"] if case["first"])]) + "\n"


def main() -> int:
    """Write the page, or check it."""
    if "--check" in sys.argv:
        same = TABLE.is_file() and TABLE.read_text() == table()
        print("the table of proofs is what was measured" if same else f"{TABLE.name} is old: python tools/choosing_table.py")
        return int(not same)
    TABLE.write_text(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
