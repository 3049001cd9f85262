"""What was promised of the losses and metrics of lists, and the page of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import embeddings_bars
from embeddings_peers import DENSE
from linear_bars import OURS, Bar, ratio, workspace
from ranking_cases import HINGES, LAMBDA_HINGE, LOGISTICS, LONG_LOGISTIC, METRICS, Case
from ranking_peers import ONE_CALL, SCIKIT_LEARN, TENTH

Record = dict[str, Any]
Measure = Callable[[dict[str, Record]], float | None]
NOTE = """A time is forward and backward, of a metric its value. A loss is checked on a list of at most 3,000 items against
its plain form in float64, a longer pairwise one also by the gradients of 16 items, each against all its pairs; a metric at its
full length against scikit-learn. One (n, n) matrix of float32 has 4 TB at n = 1,000,000: nothing dense stands beside losskit
there. With 1 % positives as many items make 10 billion pairs. "losskit" of a metric is the streaming one, fed in 100 batches
(a single list in one); of yes-or-no scores it finds AUC and average precision together."""


def seconds(entries: dict[str, Record]) -> float | None:
    """The median."""
    median = entries.get(OURS, {}).get("median_ms")
    return None if median is None else median / 1000


def error(which: str, name: str = OURS) -> Measure:
    return lambda entries: entries.get(name, {}).get("error", {}).get(which)


def metric(case: Case) -> list[Bar]:
    """Streaming and in one call."""
    return [
        bar
        for name, said in ((OURS, "streaming"), (ONE_CALL, "in one call"))
        for bar in (
            Bar(f"speed over scikit-learn, {said}", 5, case, ratio(SCIKIT_LEARN, name), at_least=True),
            Bar(f"distance from scikit-learn, {said}", 1e-12, case, error("loss", name)),
        )
    ]


BARS = [
    *(
        bar
        for case in HINGES
        for bar in (
            Bar("seconds", 1.5, case, seconds),
            Bar("distance from the double loop at n = 3,000, float64", 1e-12, case, error("in float64")),
        )
    ),
    Bar("time over that of n = 10,000", 12, LAMBDA_HINGE, ratio(OURS, TENTH)),
    Bar("MiB above inputs and gradients", 64, LONG_LOGISTIC, workspace),
    *(Bar(f"speed over the {DENSE}", 2, case, ratio(DENSE, OURS), at_least=True) for case in LOGISTICS),
    *(bar for case in METRICS for bar in metric(case)),
]


def markdown(record: Record) -> str:
    """A fragment for the docs, as that of the losses of embeddings."""
    intro, rest = embeddings_bars.markdown(record).split("\n\n", 1)
    return f"{intro}\n{NOTE}\n\n{rest}"
