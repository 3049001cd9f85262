"""Linear cross-entropy: losskit beside every peer that is installed, in one run; JSON into results/, a table for the docs."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from linear_bars import BARS, judged
from linear_cases import DTYPES, Case, chosen
from linear_peers import CONTENDERS, AbsentError, Contender, ours
from linear_race import Effort, run, text
from linear_report import bars_table, case_table, machine, markdown, versions, write

Record = dict[str, Any]


def presence() -> str:
    """Whether the subject of the comparison is there; the peers run without it."""
    try:
        ours()
    except (AbsentError, ImportError) as reason:
        return str(reason) if isinstance(reason, AbsentError) else f"losskit missing: {text(reason)}"
    return "present"


def measured(case: Case, contenders: Iterable[Contender], effort: Effort) -> Record:
    """A case; a fault that even making its tensors does not survive is its result."""
    try:
        return run(case, contenders, effort)
    except Exception as error:
        return {"name": case.name, "kind": case.kind, "failed": text(error), "contenders": {}}
    finally:
        gc.collect()
        if case.device == "cuda" and torch.cuda.is_available():
            torch.cuda.empty_cache()


def alive(contenders: list[Contender], record: Record) -> list[Contender]:
    """Those that did not take a process down: on CUDA one fault would end this one too."""
    entries = record["contenders"]
    dead = {name for name, entry in entries.items() if "failed" in (entry.get("memory") or {})}
    return [c for c in contenders if c.name not in dead]


def compare(cases: list[Case], contenders: Sequence[Contender], effort: Effort, out: Path, device: str) -> Record:
    """Every case in turn; the file is written after each."""
    record: Record = {"date": str(date.today()), "losskit": presence(), "machine": machine(device), "versions": versions()}
    record |= {"cases": [], "bars": []}
    if record["losskit"] != "present":
        print(record["losskit"], flush=True)
    left = list(contenders)
    for case in cases:
        print(f"... {case.name}", flush=True)
        found = measured(case, left, effort)
        record["cases"].append(found)
        left = alive(left, found) if device == "cuda" else left
        its_machine = record["machine"]["gpu"] or record["machine"]["cpu"]
        record["bars"] = [judged(bar, record["cases"], its_machine) for bar in BARS if bar.case.device == device]
        write(out, record)
        print("\n".join(case_table(found)), flush=True)
    print("\n".join(bars_table(record["bars"])), f"\n\nwritten: {out}", flush=True)
    return record


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shapes", choices=("small", "bars", "all"), default="bars")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, help="only these; default: those of the bars")
    parser.add_argument("--kind", nargs="+", help="only cases of this kind: time, forward, half ignored, accuracy, memory")
    parser.add_argument("--contenders", nargs="+", help="only these, by the name that the table prints")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=180, help="of a case, after which no further round begins")
    parser.add_argument("--child-seconds", type=float, default=600, help="for a contender's memory, in a process of its own")
    parser.add_argument("--no-memory", action="store_true", help="no child processes")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="where the Markdown table goes")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None, contenders: Sequence[Contender] = CONTENDERS) -> Record | None:
    told = arguments(given)
    if told.device == "cuda" and not torch.cuda.is_available():
        print("not run: torch sees no CUDA device")
        return None
    names = {c.name for c in contenders}
    if unknown := set(told.contenders or ()) - names:
        raise SystemExit(f"no contender is called {sorted(unknown)}; there are {sorted(names)}")
    racing = [c for c in contenders if not told.contenders or c.name in told.contenders]
    cases = [c for c in chosen(told.shapes, told.device, told.dtype) if not told.kind or c.kind in told.kind]
    effort = Effort(told.rounds, told.seconds, not told.no_memory, told.child_seconds)
    suffix = "_small" if told.shapes == "small" else ""
    out = told.out or Path(__file__).parent / "results" / f"linear_{told.device}{suffix}.json"
    record = compare(cases, racing, effort, out, told.device)
    if told.table:
        told.table.parent.mkdir(parents=True, exist_ok=True)
        told.table.write_text(markdown(record))
    return record


if __name__ == "__main__":
    main()
