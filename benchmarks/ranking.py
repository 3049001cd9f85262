"""Losses and metrics of lists: losskit beside what people type in torch, and scikit-learn, in one run; JSON into results/."""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for all alike: threads that spin lose seconds on a shared machine

import torch  # after the environment
from embeddings_bars import case_table
from embeddings_cases import SEED
from embeddings_child import WARM_ROWS, risen
from embeddings_race import TOLERANCE, Effort, race, ratios, warmed
from linear_bars import OURS, judged
from linear_child import brief
from linear_race import attempt, text
from linear_report import bars_table, installed, machine, versions, write
from ranking_bars import BARS, markdown
from ranking_cases import CHECKED, KINDS, Case, acting, chosen, errors, problem
from ranking_peers import Entrant, Loss

Record = dict[str, Any]
ONCE = 3.0  # seconds of a dense form of which the run that is checked is the one that is timed


def its(case: Case, contender: Entrant) -> Case:
    """The case as this contender runs it."""
    return replace(case, items=case.items // contender.part)


def checked(case: Case, loss: Loss, memory: bool = True) -> Record:
    """Errors, bytes above inputs and gradients, and the seconds of the run that was measured."""
    given = problem(case)
    act, seen = acting(case, loss, given), list[float]()

    def run() -> None:
        start = time.perf_counter()
        act()
        seen.append(time.perf_counter() - start)

    rise = risen(run, given, case.device) if memory else run()
    found: Record = {"seconds": seen[0], "error": errors(case, loss, given)}
    if rise is not None:
        found["memory"] = {"above_inputs": rise, "workspace": max(0, rise - given.gradient_bytes)}
    return found


def child(told: Record) -> Record:
    """Thread pools, tables and imports are not the loss's memory, so a short list comes first."""
    torch.set_num_threads(told["threads"])
    whole = Case(**told["case"])
    contender = next((c for c in KINDS[whole.kind].contenders if c.name == told["contender"]), None)
    if contender is None:
        sys.exit(f'no contender is called "{told["contender"]}"')
    case, loss = its(whole, contender), contender.loss(whole)
    short = replace(case, items=min(case.items, WARM_ROWS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        acting(short, loss, problem(short))()
        return checked(case, loss)


def in_child(case: Case, contender: Entrant, limit: float) -> Record:
    """What a child found; {"failed": text} when it dies or takes too long."""
    told = {"contender": contender.name, "case": asdict(case), "threads": torch.get_num_threads()}
    command = [sys.executable, "-W", "ignore", __file__, "--child", json.dumps(told)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer in {limit:.0f} s"}
    if done.returncode == 0 and done.stdout.strip():
        found: Record = json.loads(done.stdout.strip().splitlines()[-1])
        return found
    return {"failed": f"exit {done.returncode}: {brief(done.stderr, last=True)}"}


def verified(case: Case, contender: Entrant, entry: Record, effort: Effort) -> Loss | None:
    """The loss, if it is there and right; errors, memory and the seconds of a first run go into the entry."""
    loss: Loss | None = attempt(entry, lambda: contender.loss(case))
    if loss is None:
        return None
    if effort.children and not case.short:
        entry |= in_child(case, contender, effort.child_seconds)
    else:
        entry |= attempt(entry, lambda: checked(its(case, contender), loss, memory=False)) or {}
    wrong = [error for error in entry.get("error", {}).values() if not error <= TOLERANCE[case.dtype]]
    if wrong:
        entry["failed"] = f"not the loss of float64: off by {max(wrong):.2g}"
    return None if "failed" in entry else loss


def raced(case: Case, able: dict[Entrant, Loss], entries: dict[str, Record], effort: Effort) -> dict[str, list[float]]:
    """Everybody in turn on the same tensors."""
    tensors = {contender.part: problem(its(case, contender)) for contender in able}
    runners = {}
    for contender, loss in able.items():
        entry, act = entries[contender.name], acting(case, loss, tensors[contender.part])
        found = attempt(entry, lambda act=act, e=entry: warmed(act, case, e["seconds"], effort))
        if found is not None:
            runners[contender.name], entry["runs_of_a_turn"] = found, found.runs
    return race(runners, entries, case.device)


def run(case: Case, effort: Effort | None = None, contenders: Iterable[Entrant] | None = None) -> Record:
    """A case as it goes into the file."""
    effort = effort or Effort()
    racing = list(KINDS[case.kind].contenders if contenders is None else contenders)
    entries: dict[str, Record] = {c.name: {} for c in racing}
    record = asdict(case) | {"name": case.name, "contenders": entries}
    try:
        able = {c: loss for c in racing if (loss := verified(case, c, entries[c.name], effort)) is not None}
        once = {c.name for c in able if c.once or (c.name != OURS and entries[c.name]["seconds"] > ONCE)}
        taken = raced(case, {c: loss for c, loss in able.items() if c.name not in once}, entries, effort)
        ratios(taken | {name: [entries[name]["seconds"]] for name in once}, entries)
    except Exception as error:  # a fault that even making the tensors does not survive
        record["failed"] = text(error)
    gc.collect()
    return record


def about() -> Record:
    """Date, machine and versions, with what draws the tensors and how threads wait."""
    found = {"date": str(date.today()), "machine": machine("cpu"), "seeds": {"tensors": SEED, "items_of_checks": CHECKED}}
    found["machine"]["omp_wait_policy"] = os.environ["OMP_WAIT_POLICY"]
    kept = {name: version for name, version in versions().items() if name in ("python", "losskit", "torch", "numpy")}
    return found | {"versions": kept | {"scikit-learn": installed("scikit-learn")}}


def compare(cases: list[Case], effort: Effort, out: Path) -> Record:
    """Every case in turn; the file is written after each."""
    record = about() | {"cases": [], "bars": []}
    for case in cases:
        print(f"... {case.name}", flush=True)
        record["cases"].append(run(case, effort))
        record["bars"] = [judged(bar, record["cases"], record["machine"]["cpu"]) for bar in BARS]
        write(out, record)
        print("\n".join(case_table(record["cases"][-1])), flush=True)
    print("\n".join(bars_table(record["bars"])), f"\n\nwritten: {out}", flush=True)
    return record


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", choices=("small", "bars"), default="bars")
    parser.add_argument("--kind", nargs="+", choices=KINDS, help="only these cases")
    parser.add_argument("--threads", type=int, help="of torch; its own choice if not given")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a contender in a case; three rounds are run anyway")
    parser.add_argument("--no-children", action="store_true", help="check in this process, without memory")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="where the Markdown table goes")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> Record:
    told = arguments(given)
    if told.child:
        print(json.dumps(child(told.child)))
        return {}
    if told.threads:
        torch.set_num_threads(told.threads)
    suffix = ("_one_thread" if told.threads == 1 else "") + ("_small" if told.shapes == "small" else "")
    out = told.out or Path(__file__).parent / "results" / f"ranking_cpu{suffix}.json"
    record = compare(chosen(told.shapes, told.kind), Effort(told.rounds, told.seconds, not told.no_children), out)
    if told.table:
        told.table.parent.mkdir(parents=True, exist_ok=True)
        told.table.write_text(markdown(record))
    return record


if __name__ == "__main__":
    main()
