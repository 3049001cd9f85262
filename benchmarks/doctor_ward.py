"""The doctor's ward: sick runs that it must name and healthy ones at which it must be silent; JSON into results/."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "doctor"))

import torch  # after the environment
from linear_report import machine, versions, write
from ward.healthy_all import HEALTHY, PHASES, SEEDS, alarms, looked_at
from ward.sick_all import SICK, examined

RESULTS = Path(__file__).parent / "results" / "doctor_ward.json"


@dataclass
class Score:
    """What was counted of the healthy runs."""

    looks: int = 0
    runs_with: Counter[str] = field(default_factory=Counter)
    said: list[dict[str, Any]] = field(default_factory=list)


def sick_rows() -> list[dict[str, Any]]:
    """Every sick run with the doctor's first answer."""
    rows = []
    for case in SICK:
        began = time.perf_counter()
        outcome = examined(case)
        loud = [f for f in outcome.findings if f.severity != "info"] or list(outcome.findings)
        rows.append(
            {
                "name": case.name,
                "accepted": case.codes,
                "first": loud[0].code if loud else "",
                "said": loud[0].hit.said if loud else "",
                "verdict": outcome.verdict,
                "seconds": round(time.perf_counter() - began, 2),
            }
        )
        print(
            f"{outcome.verdict:9}  {rows[-1]['first'] or '-':4}  {'/'.join(case.codes):14}  {case.name.replace('_', ' ')}",
            flush=True,
        )
    return rows


def healthy_score(seeds: int) -> Score:
    """Every healthy run, before, during and after."""
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        for name in HEALTHY:
            for seed in list(SEEDS)[:seeds]:
                reports = looked_at(name, seed, Path(folder, str(seed)))
                score.looks += len(PHASES)
                found = [(phase, one) for phase in PHASES for one in alarms(reports[phase])]
                for severity in {one.severity for _, one in found}:
                    score.runs_with[severity] += 1
                for phase, one in found:
                    told = {"name": name, "seed": seed, "phase": phase, "code": one.code, "severity": one.severity}
                    score.said.append({**told, "said": one.hit.said})
                    print(f"{one.severity}  {one.code}  {name}, seed {seed}, {phase}: {one.hit.said}", flush=True)
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="of each healthy run; 0 leaves them out")
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    rows = sick_rows()
    verdicts = Counter(row["verdict"] for row in rows)
    families: dict[str, Counter[str]] = {}
    for row in rows:
        families.setdefault(row["accepted"][0][:2] + "xx", Counter())[row["verdict"]] += 1
    for family, counted in sorted(families.items()):
        print(f"{family}  {counted['right']:3} of {counted.total():3} named first")
    print(f"sick: {verdicts['right']} of {len(rows)} named first ({verdicts['right'] / len(rows):.1%}), {dict(verdicts)}")
    score = healthy_score(args.seeds)
    runs = len(HEALTHY) * args.seeds
    counted = f"errors in {score.runs_with['error']}, warnings in {score.runs_with['warning']}"
    print(f"healthy: {runs} runs, {score.looks} looks, {counted}")
    result = {
        "date": date.today().isoformat(),
        "machine": machine("cpu"),
        "versions": versions(),
        "seconds": round(time.perf_counter() - began, 1),
        "sick": {"runs": len(rows), "verdicts": verdicts, "families": families, "cases": rows},
        "healthy": {"runs": runs, "looks": score.looks, "runs_with": score.runs_with, "alarms": score.said},
    }
    write(args.json, result)


if __name__ == "__main__":
    main()
