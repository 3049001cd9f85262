"""Writes docs/guide/doctor_cpu.md from what the doctor's benchmarks measured; with --check only says whether it is up to date."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLE = ROOT / "docs" / "guide" / "doctor_cpu.md"


def read(name: str) -> dict[str, Any]:
    """One benchmark's results; nothing where it has not been run."""
    path = RESULTS / f"doctor_{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def alarms() -> Iterator[tuple[str, str, str]]:
    """Simulated healthy curves: ours and the rules of other tools."""
    found = read("alarms")
    if not found:
        return
    runs, of = found["runs"], f"{found['runs']} simulated healthy curves of {found['steps']:,} steps"
    for phase, when in (("during", f"asked {found['looks_at_a_live_run']} times on the way"), ("after", "asked at the end")):
        wrong = found["runs_with_a_false_alarm"][phase].get("any", 0)
        yield f"{of}: runs with a false alarm, {when}", f"at most {runs // 100}", f"{wrong}"
    for peer, flagged in found["runs_flagged_by_peers"].items():
        yield f"the same curves under the rule of {peer}", "", f"{flagged}"
    yield "CPU seconds of all rules of curves on 1,000,000 points", "", f"{found['cpu_seconds_on_a_million_points']['all']:.2g}"


def ward() -> Iterator[tuple[str, str, str]]:
    """Runs trained for real: sick ones named, healthy ones left in peace."""
    found = read("ward")
    if not found:
        return
    sick, healthy = found["sick"], found["healthy"]
    verdicts, runs = sick["verdicts"], sick["runs"]
    right, wrong = verdicts.get("right", 0), verdicts.get("misnamed", 0)
    yield f"{runs} sick runs: the right finding comes first", "at least 90 %", f"{right} ({right / runs:.1%})"
    yield "the same: another finding in its place", "0", f"{wrong}"
    loud = sum(healthy["runs_with"].values())
    yield f"{healthy['runs']} healthy runs, each before, during and after: runs with an alarm", "at most 1 %, no error", f"{loud}"


def monitor() -> Iterator[tuple[str, str, str]]:
    """A step with and without."""
    if found := read("monitor").get("result"):
        about = (
            f"transformer of {found['parameters'] / 1e6:.1f} million weights, {found['steps']} steps, with and without in turn"
        )
        overhead, whole = found["overhead, median of paired differences"], found["overhead, ratio of sums"]
        yield f"`Monitor` on a {about}: median overhead", "at most 2 %", f"{100 * overhead:.1f} %"
        yield "the same: all steps together, the first and those with a look too", "", f"{100 * whole:.1f} %"


def logs() -> Iterator[tuple[str, str, str]]:
    """A million points of each format."""
    found = read("logs")
    for name, one in found.get("formats", {}).items():
        bar = f"at most {found['bar']['seconds']:g} s, {found['bar']['mb']} MB"
        told = f"{one['read_and_diagnose_seconds']:.1f} s, {one['peak_growth_mb']:.0f} MB"
        yield f"{one['points']:,} points of {name}: read and diagnosed", bar, told


def table() -> str:
    """The page that the guide includes."""
    rows = [f"| {' | '.join(row)} |" for part in (ward, alarms, monitor, logs) for row in part()]
    first = next((found for found in map(read, ("ward", "alarms", "monitor", "logs")) if found), {})
    said = f"Measured on {first['date']}, one thread, torch {first['versions']['torch']}." if "versions" in first else ""
    return "\n".join([*([said, ""] if said else []), "| what | bar | measured |", "|---|---|---|", *rows]) + "\n"


def main() -> int:
    """Write the page, or check it."""
    if "--check" in sys.argv:
        same = TABLE.is_file() and TABLE.read_text() == table()
        print(
            "the doctor's table is what was measured" if same else "docs/guide/doctor_cpu.md is old: python tools/doctor_table.py"
        )
        return int(not same)
    TABLE.write_text(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
