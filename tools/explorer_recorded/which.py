"""What losskit.choose answers for each task and kind of data on the map; each call is stored as Python that a reader can run."""

from __future__ import annotations

from typing import Any

import torch

import losskit
from losskit.choosing.advice import Answer
from losskit.choosing.printed import option

NORMAL = "torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)"
UNIFORM = "torch.rand(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)"
SHARED = """TEXTS, OTHERS = [f"question {k}" for k in range(200)], [f"answer {k}" for k in range(200)]
LISTS = [k // 10 for k in range(500)]  # ten documents a query"""
# task -> what the data look like -> the call
MAP: dict[str, dict[str, str]] = {
    "binary": {
        "only the task is known": 'losskit.choose(task="binary")',
        "about as many of both": "losskit.choose([0, 1] * 500)",
        "5 % of one class": "losskit.choose([0] * 950 + [1] * 50)",
        "20 in 20,000 of one class": "losskit.choose([0] * 19980 + [1] * 20)",
    },
    "multiclass": {
        "only the task is known": 'losskit.choose(task="multiclass")',
        "even classes": 'losskit.choose(["cat", "dog", "owl"] * 300)',
        "one class 50 times rarer": 'losskit.choose(["cat"] * 1000 + ["dog"] * 500 + ["owl"] * 20)',
        "soft labels: probabilities": "losskit.choose(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]] * 200))",
    },
    "multilabel": {
        "only the task is known": 'losskit.choose(task="multilabel")',
        "a table of 0 and 1": "losskit.choose(torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]] * 100))",
    },
    "regression": {
        "only the task is known": 'losskit.choose(task="regression")',
        "normal errors": f"losskit.choose({NORMAL})",
        "heavy tails": f"losskit.choose((({UNIFORM} - 0.5) * torch.pi).tan())",
    },
    "count": {
        "only the task is known": 'losskit.choose(task="count")',
        "counts with the variance of a Poisson": (
            'losskit.choose(torch.poisson(torch.full((2000,), 3.0), generator=torch.Generator().manual_seed(0)), task="count")'
        ),
    },
    "embedding": {
        "only the task is known": 'losskit.choose(task="embedding")',
        "pairs that belong together": 'losskit.choose({"question": TEXTS, "answer": OTHERS}, task="embedding")',
        "pairs marked same or not": (
            'losskit.choose({"one": TEXTS, "other": OTHERS, "same": [0, 1] * 100}, target="same", task="embedding")'
        ),
        "pairs with a grade of likeness": (
            'losskit.choose({"one": TEXTS, "other": OTHERS, "score": [k % 11 / 10 for k in range(200)]}, '
            'target="score", task="embedding")'
        ),
        "triplets": 'losskit.choose({"anchor": TEXTS, "positive": OTHERS, "negative": OTHERS[::-1]}, task="embedding")',
        "texts with labels": (
            'losskit.choose({"text": TEXTS, "label": [k % 20 for k in range(200)]}, target="label", task="embedding")'
        ),
    },
    "ranking": {
        "only the task is known": 'losskit.choose(task="ranking")',
        "clicks in lists": (
            'losskit.choose({"query": LISTS, "clicked": [int(k % 10 == 3) for k in range(500)]}, target="clicked", '
            'group="query", task="ranking")'
        ),
        "grades in lists": (
            'losskit.choose({"query": LISTS, "grade": [0, 0, 1, 0, 2, 0, 0, 3, 0, 1] * 50}, target="grade", group="query")'
        ),
    },
    "language": {"only the task is known": 'losskit.choose(task="language")'},
}


def record() -> dict[str, Any]:
    """Ask for every leaf."""
    leaves = {task: {seen: _leaf(call) for seen, call in found.items()} for task, found in MAP.items()}
    return {"shared": SHARED, "map": leaves}


def _leaf(call: str) -> dict[str, Any]:
    space: dict[str, Any] = {"losskit": losskit, "torch": torch}
    exec(SHARED, space)
    advice = eval(call, space)
    first = advice.first
    return {
        "call": call,
        "loss": first.loss,
        "reason": first.reason,
        "warning": first.warning,
        "code": first.code,
        "levels": {name: getattr(first, name) for name in ("start", "constant", "best")},
        "alternatives": [[one.loss, one.reason] for one in advice.alternatives],
        "avoid": [[one.loss, one.reason] for one in advice.avoid],
        "questions": [[one.asks, {a.says: _leads(a) for a in one.answers}] for one in advice.questions],
    }


def _leads(answer: Answer) -> str:
    return f"{answer.leads} ({option(answer, shell=False)})" if answer.given else answer.leads
