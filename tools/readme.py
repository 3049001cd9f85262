"""Writes the README's tables from the catalogue and from verify; with --check only says whether they are true."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import losskit
from losskit.core.card import TASKS
from losskit.verify.claim import Claim, Finding, answer, text
from losskit.verify.main import claims

README = Path(__file__).parent.parent / "README.md"
# one row of each kind is enough for a first page; verify has them all
SHOWN = (
    "binary cross-entropy, logit -16, target 0, float32",
    "its gradient, logit 16, target 1, float32",
    "cross-entropy, 32,000 classes, the target 14 above the rest, float32",
    "its gradient at the target",
    "bfloat16 head, 1,024 rows of width 64, 26,240 classes: mean loss",
    "squared error of (4, 1) against (4,), equal values",
    "cross-entropy when every row is ignored",
    "weighted mean of Huber: errors 2, 4 with weights 1, 3 (1 * 1.5 + 3 * 3.5) / (1 + 3)",
    "log-cosh of an error of 1e-4, float32",
    "Barron's loss, alpha 1e-6, error 0.5, float32",
    "InfoNCE of 64 orthogonal pairs, temperature 0.05, float32 (beside: cross-entropy of the scores)",
    "gradient of a query that is a row of zeros (beside: F.normalize)",
    "gradient of a pair 30 in reverse, float32 (beside: log of a clamped probability)",
    "ListMLE of scores 999, 998, ..., 0 in order, float32 (beside: one shift and a cumulative sum)",
    "-log p of a token 120 below the likeliest, float32 scores (beside: softmax, then log)",
    "60 equally likely classes, 16,384 tokens, float16 (beside: exp of the sum over the count)",
    "a batch of two tokens and one of ten (beside: exp of the mean of the batches' means)",
)


def cell(value: float | str | None) -> str:
    """Three digits are enough to see who is right, and the same on every machine."""
    return f"{value:.3g}" if isinstance(value, float) else text(value)


def row(finding: Finding) -> str:
    """One line of the table."""
    beside = cell(finding.torch) + (" (as typed)" if finding.claim.group.startswith("formulas") else "")
    return f"| {finding.claim.about} | {cell(finding.claim.truth)} | {cell(finding.ours)} | {beside} |"


def found(claim: Claim) -> Finding:
    """What the claim comes to here."""
    return Finding(claim, answer(claim.ours), None if claim.torch is None else answer(claim.torch))


def tables() -> dict[str, str]:
    """Marker -> the lines between its begin and its end."""
    known = {claim.about: claim for claim in claims(pages=False)}
    lines = ["| same input | truth | losskit | torch |", "|---|---|---|---|", *(row(found(known[about])) for about in SHOWN)]
    tasks = [(t, [n for n, c in losskit.CATALOGUE.items() if c.task == t]) for t in TASKS]
    losses = ["| task | losses |", "|---|---|", *_rows(tasks)]
    return {"table": "\n".join(lines), "losses": "\n".join(losses)}


def _rows(tasks: list[tuple[str, list[str]]]) -> list[str]:
    return [f"| {task} | {', '.join(f'`{n}`' for n in names)} |" for task, names in tasks if names]


def rewritten(readme: str) -> str:
    """The README with fresh tables."""
    for marker, lines in tables().items():
        between = rf"(<!-- {marker}: begin -->\n).*?(<!-- {marker}: end -->)"
        readme = re.sub(between, lambda m, new=lines: f"{m[1]}{new}\n{m[2]}", readme, flags=re.DOTALL)
    return readme


def main() -> int:
    """Rewrite the README, or check it."""
    before = README.read_text()
    after = rewritten(before)
    if "--check" in sys.argv:
        print("README is true" if before == after else "README's tables are not what verify finds: python tools/readme.py")
        return int(before != after)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
