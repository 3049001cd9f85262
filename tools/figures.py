"""Draws the figures into docs/figures; --check only says whether they are what the code draws, --record measures anew first."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

from losskit.explore.figures import discover
from losskit.explore.figures.d00_readme import RECORD, Record, Run

FOLDER = Path(__file__).parent.parent / "docs" / "figures"
VALUE = re.compile(r'data-value="([^"]*)"')
START, EVERY = 15.0, 4


def same(drawn: str, written: str) -> bool:
    """Whether two pictures agree: all text exactly, full values to the rounding of another processor."""
    if VALUE.sub("", drawn) != VALUE.sub("", written):
        return False
    pairs = zip(VALUE.findall(drawn), VALUE.findall(written), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=1e-12, abs_tol=1e-15) for a, b in pairs)


def measured() -> Record:
    """Both losses of the demo why-cross-entropy from its most confident start, each at its own best rate (about 10 s)."""
    import torch

    from losskit.demos.why_cross_entropy import GOAL, LOSSES, SGD_RATES, Plan, best_arms, steps_to_goal, train

    plan, runs = Plan(), dict[str, Run]()
    for name, loss in LOSSES.items():
        arms = best_arms(loss, [START], SGD_RATES, plan, torch.optim.SGD)
        trace = train(loss, arms, plan.splits, plan.steps, torch.optim.SGD)
        reached = float(steps_to_goal(trace.accuracy).mean())
        runs[name] = {
            "rate": float(arms[0].rate),
            "first_gradient": float(trace.first.mean()),
            "steps_to_goal": reached if math.isfinite(reached) else None,
            "accuracy": [round(share, 6) for share in trace.accuracy.mean((1, 2))[::EVERY].tolist()],
        }
    return {"start": START, "goal": GOAL, "splits": len(plan.splits), "every": EVERY, "steps": plan.steps, "runs": runs}


def main() -> int:
    """Draw, record or check."""
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps(measured(), indent=1) + "\n")
    drawn = {FOLDER / f"{figure.name}.svg": figure.svg() for figure in discover()}
    there = set(FOLDER.glob("*.svg"))
    if "--check" in sys.argv:
        stale = [p.name for p, text in drawn.items() if p not in there or not same(text, p.read_text())]
        stale += [path.name for path in sorted(there - drawn.keys())]
        print(
            f"not what the code draws: {', '.join(stale)}: python tools/figures.py" if stale else f"{len(drawn)} figures are true"
        )
        return int(bool(stale))
    FOLDER.mkdir(exist_ok=True)
    for path in there - drawn.keys():
        path.unlink()
    for path, text in drawn.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
