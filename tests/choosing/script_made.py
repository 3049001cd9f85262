"""Files that scripts are made for: every task, every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HOSTILE = '"); import os #'
TRAP = 'y"\n\'\'\'); open("trapped", "w") #\\'
ROWS = 400
Made = tuple[Any, dict[str, Any]]


def table(rows: int = ROWS, seed: int = 0) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Inputs of each kind, and what a target can be made of."""
    random = np.random.default_rng(seed)
    x, city = random.normal(size=(rows, 3)), random.choice(["a", "b", "c"], rows)
    signal = x[:, 0] - x[:, 1] + np.array([{"a": 0, "b": 1, "c": -1}[c] for c in city])
    inputs: dict[str, list[Any]] = {
        "id": list(range(rows)),
        HOSTILE: x[:, 0].tolist(),
        "with gaps": [None if random.random() < 0.1 else v for v in x[:, 1].tolist()],
        "city": city.tolist(),
        "day": [f"2020-01-{1 + i % 28:02d}" for i in range(rows)],
        "same": [1] * rows,
    }
    return inputs, signal


def csv(path: Path, columns: dict[str, list[Any]], separator: str = ",") -> Path:
    import csv as own

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = own.writer(file, delimiter=separator)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def jsonl(path: Path, columns: dict[str, list[Any]]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def binary(folder: Path) -> Made:
    inputs, signal = table()
    return csv(folder / "data.csv", {**inputs, "y": ["yes" if v > 0 else "no" for v in signal]}), {"target": "y"}


def rare(folder: Path) -> Made:
    inputs, signal = table(1200)
    return csv(folder / "data.tsv", {**inputs, "y": [int(v > 3) for v in signal]}, "\t"), {"target": "y"}


def multiclass(folder: Path) -> Made:
    inputs, signal = table()
    names = ["low \"'\n", "middle", "top\\"]
    return jsonl(folder / "data.jsonl", {**inputs, TRAP: [names[i] for i in np.digitize(signal, [-1, 1])]}), {"target": TRAP}


def one_hot(folder: Path) -> Made:
    inputs, signal = table()
    hot = np.eye(3, dtype=int)[np.digitize(signal, [-1, 1])]
    columns = {f"y{i}": hot[:, i].tolist() for i in range(3)}
    return csv(folder / "data.csv", {**inputs, **columns}, ";"), {"target": list(columns)}


def shares(folder: Path) -> Made:
    x = np.random.default_rng(0).normal(size=(ROWS, 4))
    soft = np.exp(x[:, :3]) / np.exp(x[:, :3]).sum(1, keepdims=True)
    return npz(folder / "data.npz", x=x, y=soft), {"target": "y"}


def multilabel(folder: Path) -> Made:
    inputs, signal = table()
    tags = [[name for name, edge in (("p", -0.5), ('q"', 0.5)) if v > edge] for v in signal]
    return jsonl(folder / "data.jsonl", {**inputs, "tags": tags}), {"target": "tags"}


def regression(folder: Path) -> Made:
    polars = pytest.importorskip("polars")
    inputs, signal = table()
    frame = polars.DataFrame({**inputs, "y": (3 * signal + 10 + np.random.default_rng(1).normal(size=ROWS)).tolist()})
    frame.with_columns(polars.col("day").str.to_date()).write_parquet(folder / "data.parquet")
    return folder / "data.parquet", {"target": "y"}


def large(folder: Path) -> Made:
    """Far from 0: the code of the advice standardises the target."""
    inputs, signal = table()
    noise = 1e3 * np.random.default_rng(1).normal(size=ROWS)
    return csv(folder / "data.csv", {**inputs, "y": (1e4 * signal + 1e6 + noise).tolist()}), {"target": "y"}


def amounts(folder: Path) -> Made:
    inputs, signal = table()
    noise = 0.3 * np.random.default_rng(1).normal(size=ROWS)
    return csv(folder / "data.csv", {**inputs, "y": np.exp(signal + 8 + noise).tolist()}), {"target": "y"}


def several(folder: Path) -> Made:
    x = np.random.default_rng(0).normal(size=(ROWS, 4))
    return npz(folder / "data.npz", x=x, y=5 * x[:, :2] + 3), {"target": "y"}


def matrix(folder: Path) -> Made:
    x = np.random.default_rng(0).normal(size=(ROWS, 14))
    np.save(folder / "data.npy", np.column_stack([x, x[:, 0] - x[:, 1]]))
    return folder / "data.npy", {"target": "14"}


def count(folder: Path) -> Made:
    import gzip

    inputs, signal = table()
    path = csv(folder / "plain.csv", {**inputs, "y": np.random.default_rng(1).poisson(np.exp(signal)).tolist()})
    with gzip.open(folder / "data.csv.gz", "wb") as file:
        file.write(path.read_bytes())
    return folder / "data.csv.gz", {"target": "y", "task": "count"}


def ranking(folder: Path) -> Made:
    inputs, signal = table(1000)
    queries = [f"q{i // 10}" for i in range(1000)]
    return csv(folder / "data.csv", {**inputs, "query": queries, "y": np.digitize(signal, [0, 1, 2]).tolist()}), {
        "target": "y",
        "group": "query",
    }


def labels(folder: Path) -> Made:
    random = np.random.default_rng(0)
    label, centres = random.integers(0, 5, ROWS), random.normal(size=(5, 8))
    return npz(folder / "data.npz", v=centres[label] + random.normal(size=(ROWS, 8)), y=label), {
        "target": "y",
        "task": "embedding",
    }


def vectors(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    random = np.random.default_rng(seed)
    query = random.normal(size=(ROWS, 8))
    return query, query @ random.normal(size=(8, 8)) + 0.3 * random.normal(size=(ROWS, 8)), random


def pairs(folder: Path) -> Made:
    query, key, _ = vectors()
    return npz(folder / "data.npz", query=query, key=np.concatenate([key, key[:, :2]], 1)), {}


def triplets(folder: Path) -> Made:
    query, _, random = vectors()
    near = query.copy()
    near[:, 4:] = random.normal(size=(ROWS, 4)) * 3
    return npz(folder / "data.npz", anchor=query, positive=near, negative=random.normal(size=(ROWS, 8))), {}


def labelled_pairs(folder: Path) -> Made:
    query, key, random = vectors()
    same = random.random(ROWS) < 0.5
    other = np.where(same[:, None], key, key[random.permutation(ROWS)])
    return npz(folder / "data.npz", query=query, key=other, label=same.astype(int)), {"target": "label", "task": "embedding"}


def graded_pairs(folder: Path) -> Made:
    query, _, random = vectors()
    far = np.linspace(0, 2, ROWS)
    key = query + far[:, None] * random.normal(size=(ROWS, 8))
    return npz(folder / "data.npz", query=query, key=key, score=2 - far), {"target": "score", "task": "embedding"}


def texts(folder: Path) -> Made:
    random = np.random.default_rng(0)
    rows = [" ".join(random.choice(["the cat", "a dog", "sat on"], 5)) for _ in range(120)]
    return jsonl(folder / "data.jsonl", {TRAP: rows}), {"task": "language", "target": TRAP}


def tokens(folder: Path) -> Made:
    random = np.random.default_rng(0)
    rows = [[int((a + i) % 7) for i in range(int(random.integers(5, 20)))] for a in random.integers(0, 7, 200)]
    return jsonl(folder / "data.jsonl", {"tokens": rows}), {"task": "language", "target": "tokens"}
