"""What was promised of the losses of embeddings, and the tables of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from embeddings_cases import BARLOW, BIG, GRADES, LABELS, LARGE, SHAPES, TRIPLETS, VICREG
from embeddings_peers import DENSE, FLOOR, PML_NTXENT, SENTENCE_TRANSFORMERS
from linear_bars import OURS, Bar, ratio, workspace
from linear_report import bars_table, digits, memory

Record = dict[str, Any]
SUPERVISED = "losskit, supervised_contrastive_loss"
COLUMNS = ["ms, median (quartiles)", "over losskit", "MiB above inputs and gradients", "loss error", "gradient error"]


def memory_of(name: str) -> Callable[[dict[str, Record]], float | None]:
    """MiB of one contender."""
    return lambda entries: workspace({OURS: entries.get(name, {})})


def memory_ratio(of: str) -> Callable[[dict[str, Record]], float | None]:
    """A contender's memory over losskit's, which counts as a page at least."""

    def measure(entries: dict[str, Record]) -> float | None:
        theirs, mine = workspace({OURS: entries.get(of, {})}), workspace(entries)
        return None if theirs is None or mine is None or math.isinf(theirs) else theirs / max(mine, 4096 / 2**20)

    return measure


def cuda() -> list[Bar]:
    found = []
    for case in SHAPES["cuda"]:
        if case.rows >= 65536 and case.kind in ("CLIP", "SigLIP"):
            name = FLOOR[case.kind]
            found.append(Bar(f"time over {name}", 1.4, case, ratio(OURS, name), machine="H200"))
    return found


BARS = [
    Bar("speed over the dense form", 2.5, BIG, ratio(DENSE, OURS), at_least=True),
    Bar("MiB above inputs and gradients", 64, BIG, workspace),
    Bar("MiB above inputs and gradients", 512, LARGE, workspace),
    Bar("time over four bare GEMMs", 1.3, LARGE, ratio(OURS, FLOOR["CLIP"])),
    *(
        bar
        for peer in (DENSE, SENTENCE_TRANSFORMERS)
        for bar in (
            Bar(f"speed over {peer}", 100, TRIPLETS, ratio(peer, OURS), at_least=True),
            Bar(f"memory of {peer} over ours", 50, TRIPLETS, memory_ratio(peer), at_least=True),
            Bar(f"speed over {peer}", 50, GRADES, ratio(peer, OURS), at_least=True),
        )
    ),
    Bar(f"speed over {PML_NTXENT}", 1000, LABELS, ratio(PML_NTXENT, OURS), at_least=True),
    Bar("MiB above inputs and gradients", 4, LABELS, workspace),
    Bar(f"speed of SupCon over {PML_NTXENT}", 1000, LABELS, ratio(PML_NTXENT, SUPERVISED), at_least=True),
    Bar("MiB above inputs and gradients, SupCon", 4, LABELS, memory_of(SUPERVISED)),
    *(
        Bar("speed over D x D, as lightly", 10, case, ratio("D x D, as lightly", OURS), at_least=True)
        for case in (BARLOW, VICREG)
    ),
    *cuda(),
]


def plain(value: float | None, form: str) -> str:
    """Without a power of ten where the number is large."""
    return digits(value, form if value is None or value < 1000 else ".0f")


def cells(name: str, entry: Record) -> list[str]:
    quartiles = " to ".join(plain(entry.get(f"{which}_quartile_ms"), ".4g") for which in ("lower", "upper"))
    time = f"{plain(entry['median_ms'], '.4g')} ({quartiles})" if "median_ms" in entry else ""
    over = "1" if name == OURS else plain(entry.get("ratio_to", {}).get(OURS), ".3g")
    return [time, over, memory(entry), *(digits(entry.get("error", {}).get(key)) for key in ("loss", "gradients"))]


def case_table(case: Record) -> list[str]:
    """A case with its contenders, fastest first, then those that did not run."""
    lines = [f"**{case['name']}**", "", f"| contender | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, entry in sorted(case["contenders"].items(), key=lambda item: item[1].get("median_ms", math.inf)):
        reason = next((f"{word}: {entry[word]}" for word in ("skipped", "failed") if word in entry), None)
        its = cells(name, entry) if reason is None else [reason.replace("|", "/"), *[""] * (len(COLUMNS) - 1)]
        lines.append(f"| {name} | {' | '.join(its)} |")
    return [*lines, *([f"failed: {case['failed']}"] if "failed" in case else []), ""]


def markdown(record: Record) -> str:
    """A fragment for the docs: machine, bars, one table a case."""
    about = record["machine"]
    where = about["gpu"] or f"{about['cpu']}, {about['threads']} threads"
    packages = ", ".join(f"{name} {its}" for name, its in record["versions"].items() if its != "not installed")
    intro = [
        f"Measured on {where}, {record['date']}, with {packages}. Each case is one run, the contenders in turn, the order",
        "reversed every round; value and gradients of each were within a fraction of those of float64 before. Memory is the",
        "peak above inputs and gradients.",
        "",
    ]
    cases = [line for case in record["cases"] for line in case_table(case)]
    return "\n".join([*intro, *bars_table(record["bars"]), "", *cases]).rstrip() + "\n"
