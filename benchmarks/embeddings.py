"""Losses of embeddings: losskit beside the dense forms and every peer that is installed, in one run; JSON into results/."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for all alike: threads that spin lose seconds on a shared machine

import torch  # after the environment
from embeddings_bars import BARS, case_table, markdown
from embeddings_cases import DISTINCT, KINDS, SEED, Case, chosen
from embeddings_race import Effort, run
from linear_bars import judged
from linear_report import bars_table, installed, machine, versions, write

Record = dict[str, Any]
PACKAGES = ("sentence-transformers", "pytorch-metric-learning", "inf-cl")


def about(device: str) -> Record:
    """Date, machine and versions, with what draws the tensors and how threads wait."""
    found = {"date": str(date.today()), "machine": machine(device)}
    found["machine"]["omp_wait_policy"] = os.environ["OMP_WAIT_POLICY"]
    found["seeds"] = {"tensors": SEED, "distinct_pairs_of_checks": DISTINCT}
    peers = {package: installed(package) for package in PACKAGES}
    kept = ("python", "losskit", "torch", "triton", "numpy")
    return found | {"versions": {name: its for name, its in versions().items() if name in kept} | peers}


def compare(cases: list[Case], effort: Effort, out: Path, device: str) -> Record:
    """Every case in turn; the file is written after each."""
    record = about(device) | {"cases": [], "bars": []}
    where = record["machine"]["gpu"] or record["machine"]["cpu"]
    for case in cases:
        print(f"... {case.name}", flush=True)
        record["cases"].append(run(case, effort))
        record["bars"] = [judged(bar, record["cases"], where) for bar in BARS if bar.case.device == device]
        write(out, record)
        print("\n".join(case_table(record["cases"][-1])), flush=True)
    print("\n".join(bars_table(record["bars"])), f"\n\nwritten: {out}", flush=True)
    return record


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shapes", choices=("small", "bars"), default="bars")
    parser.add_argument("--kind", nargs="+", choices=KINDS, help="only these cases")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=8, help="of a contender in a case; three rounds are run anyway")
    parser.add_argument("--total", type=float, default=math.inf, help="seconds after which no contender is begun")
    parser.add_argument("--no-children", action="store_true", help="check in this process, without memory")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="where the Markdown table goes")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> Record | None:
    told = arguments(given)
    if told.device == "cuda" and not torch.cuda.is_available():
        print("not run: torch sees no CUDA device")
        return None
    effort = Effort(told.rounds, told.seconds, not told.no_children, total=told.total)
    suffix = "_small" if told.shapes == "small" else ""
    out = told.out or Path(__file__).parent / "results" / f"embeddings_{told.device}{suffix}.json"
    record = compare(chosen(told.shapes, told.device, told.kind), effort, out, told.device)
    if told.table:
        told.table.parent.mkdir(parents=True, exist_ok=True)
        told.table.write_text(markdown(record))
    return record


if __name__ == "__main__":
    main()
