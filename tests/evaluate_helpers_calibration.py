"""Calibration by plain loops over rows in Python floats, from the formulas."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    e = [math.exp(z - top) for z in row]
    return [each / math.fsum(e) for each in e]


def top_rows(input: Tensor, target: Tensor, ignore_index: int = -100) -> list[tuple[float, float]]:
    """(confidence, whether it is right) of each row (N, C) that counts."""
    found = []
    for row, y in zip(input.tolist(), target.tolist(), strict=True):
        if y != ignore_index:
            p = softmax(row)
            found.append((max(p), float(p.index(max(p)) == y)))
    return found


def bins_of(rows: list[tuple[float, float]], bins: int) -> list[list[tuple[float, float]]]:
    """Rows by bin ((b - 1) / bins, b / bins], in exact arithmetic."""
    held: list[list[tuple[float, float]]] = [[] for _ in range(bins)]
    for p, y in rows:
        held[max(0, math.ceil(Fraction(p) * bins) - 1)].append((p, y))
    return held


def error(rows: list[tuple[float, float]], bins: int, norm: str = "l1") -> float:
    gaps = []
    for held in bins_of(rows, bins):
        if held:
            n = len(held)
            gaps.append((n / len(rows), abs(math.fsum(p for p, _ in held) - math.fsum(y for _, y in held)) / n))
    if norm == "max":
        return max(gap for _, gap in gaps)
    if norm == "l2":
        return math.sqrt(math.fsum(share * gap**2 for share, gap in gaps))
    return math.fsum(share * gap for share, gap in gaps)


def brier(input: Tensor, target: Tensor, ignore_index: int = -100) -> float:
    rows = []
    for row, y in zip(input.tolist(), target.tolist(), strict=True):
        if y != ignore_index:
            rows.append(math.fsum((p - (c == y)) ** 2 for c, p in enumerate(softmax(row))))
    return math.fsum(rows) / len(rows)


def overconfident(n: int, classes: int, by: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits ``by`` times those that the targets are drawn from: (N, C) float64, (N,)."""
    generator = torch.Generator().manual_seed(seed)
    z = 1.5 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    y = torch.multinomial(z.softmax(-1), 1, generator=generator).squeeze(-1)
    return by * z, y
