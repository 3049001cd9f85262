"""Does a proof agree with the advice? ``losskit choose --prove`` on data whose right loss is known; JSON into results/."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # after the environment
from linear_report import machine, versions, write
from torch import Tensor

import losskit

RESULTS = Path(__file__).parent / "results" / "choosing_cpu.json"
Table = dict[str, Any]
Case = tuple[str, Table, dict[str, Any]]


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(inputs: Tensor, **targets: Any) -> Table:
    """Columns x0, x1, ... and the targets."""
    return {**{f"x{i}": column for i, column in enumerate(inputs.double().unbind(1))}, **targets}


def bundled(name: str) -> Case:
    """A data set of scikit-learn."""
    from sklearn import datasets

    found: Any = getattr(datasets, f"load_{name}")()
    options = {"target": "y", "task": "regression" if name == "diabetes" else None}
    return f"{name} (scikit-learn)", table(torch.tensor(found.data), y=torch.tensor(found.target)), options


def slips() -> Case:
    """Diabetes with a decimal point that slipped in every tenth target."""
    _, columns, options = bundled("diabetes")
    wrong = torch.rand(len(columns["y"]), generator=random(0)) < 0.1
    columns["y"] = torch.where(wrong, 10 * columns["y"], columns["y"])
    return "diabetes, 10 % of the targets times 10", columns, options


def rare() -> Case:
    """Eights of digits against the rest, 40 of them left."""
    from sklearn import datasets

    found: Any = datasets.load_digits()
    inputs, eight = torch.tensor(found.data), torch.tensor(found.target == 8)
    keep = torch.cat([(~eight).nonzero().flatten(), eight.nonzero().flatten()[:40]]).sort().values
    return "digits, 40 eights against 1,623 others", table(inputs[keep], y=eight[keep].long()), {"target": "y"}


def signal(rows: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Normal inputs and a linear function of them of variance 1."""
    inputs = torch.randn(rows, width, generator=random(seed), dtype=torch.float64)
    return inputs, inputs @ torch.ones(width, dtype=torch.float64) / math.sqrt(width)


def overlapping() -> Case:
    """One yes to twenty noes whose inputs overlap: no model can part them, but a probability can be right."""
    inputs, line = signal(2000, 5, 14)
    drawn = torch.rand(2000, generator=random(15), dtype=torch.float64) < (1.5 * line - 3.7).sigmoid()
    return "1 to 20, overlapping", table(inputs, y=drawn.long()), {"target": "y"}


def skewed() -> Case:
    """Labels of five classes, the rarest 1 to 40, overlapping."""
    inputs, _ = signal(2000, 5, 16)
    scores = 1.2 * inputs + torch.tensor([2.0, 1.0, 0.0, -0.5, -1.5], dtype=torch.float64)
    noise = -(-torch.rand(2000, 5, generator=random(17), dtype=torch.float64).log()).log()
    return "five classes, overlapping, one rare", table(inputs, y=(scores + noise).argmax(1)), {"target": "y"}


def noisy(kind: str, rows: int, width: int) -> Case:
    """A line with noise of one kind.

    What a better loss saves is the error of the weights, width / rows; the scatter of that is sqrt(width) / rows.
    So inputs rather than rows make a true difference visible.
    """
    inputs, line = signal(rows, width, 1)
    uniform = torch.rand(rows, generator=random(2), dtype=torch.float64)
    made = {
        "normal": lambda: torch.randn(rows, generator=random(2), dtype=torch.float64),
        "Laplace": lambda: -(uniform - 0.5).sign() * (-2 * (uniform - 0.5).abs()).log1p(),
        "Cauchy": lambda: (math.pi * (uniform - 0.5)).tan(),
    }
    return (
        f"a line of {width} inputs with {kind} noise",
        table(inputs, y=3 * line + made[kind]()),
        {"target": "y", "task": "regression"},
    )


def counts(kind: str) -> Case:
    """Counts around exp(line), as often as chance has it or in bursts."""
    inputs, line = signal(1000, 5, 3)
    mean = (0.5 + line).exp()
    if kind == "negative binomial":
        gamma = torch.distributions.Gamma(torch.tensor(0.7), torch.tensor(0.7))
        torch.manual_seed(4)
        mean = mean * gamma.sample((1000,)).double()
    return f"counts, {kind}", table(inputs, y=torch.poisson(mean, generator=random(5)).long()), {"target": "y", "task": "count"}


def claims() -> Case:
    """Amounts that are mostly 0: a Poisson number of gamma amounts."""
    inputs, line = signal(1500, 5, 6)
    number = torch.poisson((line - 0.5).exp(), generator=random(7))
    torch.manual_seed(8)
    amount = torch.distributions.Gamma(2 * number.clamp(min=1), torch.tensor(0.02, dtype=torch.float64)).sample()
    return "amounts, mostly 0", table(inputs, y=torch.where(number > 0, amount, 0.0)), {"target": "y", "task": "regression"}


def lists(graded: bool) -> Case:
    """Lists of 10. Three of the inputs stand at another level in each list, as a search engine's scores do."""
    queries, length = 500, 10
    inputs, line = signal(queries * length, 6, 9)
    seen = (line + 0.5 * torch.randn(len(line), generator=random(11), dtype=torch.float64)).view(queries, length)
    grades = (seen - seen.mean(1, keepdim=True)).flatten().add(0.6).div(0.8).floor().clamp(0, 3).long()
    level = torch.randn(queries, 3, generator=random(10), dtype=torch.float64).repeat_interleave(length, 0)
    shown = torch.cat([inputs[:, :3] + 3 * level, inputs[:, 3:]], 1)
    relevance = grades if graded else (grades >= 2).long()
    query = torch.arange(queries).repeat_interleave(length)
    options = {"target": "relevance", "group": "query", "task": "ranking"}
    return f"lists of ten, {'graded' if graded else 'clicks'}", table(shown, relevance=relevance, query=query), options


def labels() -> Case:
    """Four labels that come independently, each of some inputs."""
    inputs, _ = signal(1000, 8, 12)
    margin = 2 * inputs[:, :4] + inputs[:, 4:8] - 0.7
    drawn = torch.rand(1000, 4, generator=random(13), dtype=torch.float64) < margin.sigmoid()
    tags = {f"tag{i}": column.long() for i, column in enumerate(drawn.unbind(1))}
    return "four labels a row", table(inputs, **tags), {"target": list(tags), "task": "multilabel"}


def embedded() -> Case:
    """Digits as vectors: which rows have one class."""
    name, columns, _ = bundled("digits")
    return f"{name}, as embeddings", {k: v[:900] for k, v in columns.items()}, {"target": "y", "task": "embedding"}


CASES: tuple[Callable[[], Case], ...] = (
    lambda: bundled("breast_cancer"),
    lambda: bundled("wine"),
    lambda: bundled("iris"),
    lambda: bundled("digits"),
    rare,
    overlapping,
    skewed,
    lambda: bundled("diabetes"),
    slips,
    lambda: noisy("normal", 5000, 300),
    lambda: noisy("Laplace", 5000, 100),
    lambda: noisy("Cauchy", 5000, 5),
    lambda: counts("Poisson"),
    lambda: counts("negative binomial"),
    claims,
    lambda: lists(graded=True),
    lambda: lists(graded=False),
    labels,
    embedded,
)


def row(case: Case, seed: int) -> dict[str, Any]:
    """What was advised, and what the proof said of it."""
    name, columns, options = case
    began = time.process_time()
    advice = losskit.choose(columns, **options, prove=True, seed=seed)
    proof, first = advice.proof, advice.first
    if proof is None or first is None:
        return {"name": name, "first": None, "verdict": "refused", "said": advice.refusal}
    metric = next(iter(proof.metrics))
    own = [s for s in proof.scores if s.loss == first.loss and s.metric == metric]
    best = (max if "higher is better" in proof.metrics[metric] else min)(own, key=lambda s: s.mean)
    gaps = [c for c in proof.comparisons if c.model == best.model and c.metric == metric]
    return {
        "name": name,
        "rows": proof.rows,
        "task": advice.task,
        "first": first.loss,
        "metric": metric,
        "model": best.model,
        "score": [best.mean, best.low, best.high],
        "avoid": [one.loss for one in advice.avoid],
        "gaps": {c.other: [c.difference, c.low, c.high] for c in gaps},
        "verdict": proof.verdict.partition(":")[0],
        "said": proof.verdict.partition(": ")[2],
        "method": proof.method,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="cases with this word in their name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = [made for made in (case() for case in CASES) if not args.only or args.only in made[0]]
    rows = []
    for case in cases:
        rows.append(row(case, args.seed))
        print(f"{rows[-1]['verdict']:10}  {case[0]}: {rows[-1]['said']}  [{rows[-1].get('cpu_seconds')} s]", flush=True)
    counted = Counter(one["verdict"] for one in rows)
    print(dict(counted))
    if not args.only:
        told = {"date": date.today().isoformat(), "machine": machine("cpu"), "versions": versions(), "seed": args.seed}
        write(args.json, {**told, "verdicts": counted, "cases": rows})


if __name__ == "__main__":
    main()
