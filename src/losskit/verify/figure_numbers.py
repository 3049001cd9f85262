"""Every number that is printed in a figure, by a plain formula."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from ..explore.figures.d00_readme import RECORD

__all__ = ["FORMULAS", "Numbers", "entropy"]

ln, exp = math.log, math.exp
Numbers = dict[str, float]


def entropy(p: list[float]) -> float:
    """Of the shares ``p``, in nats."""
    return -sum(share * ln(share) for share in p)


def _d00_readme() -> Numbers:
    record = json.loads(RECORD.read_text())
    cross, squared = record["runs"]["cross-entropy"], record["runs"]["squared error"]
    p = 1e-4
    return {
        "y 0": 0,
        "y 1": 1,
        "x 0.0001": p,
        "x 0.01": 0.01,
        "x 0.5": 0.5,
        "accuracy 0.0": 0,
        "accuracy 0.5": 0.5,
        "accuracy 1.0": 1,
        **{f"step {n}": n for n in range(0, 401, 100)},
        "scream": 1 - p,
        "shrug": 2 * p * (1 - p) ** 2,
        "goal": record["goal"],
        "steps": cross["steps_to_goal"],
        "last": squared["accuracy"][-1],
        "cap": record["steps"],
        "first cross-entropy": cross["first_gradient"],
        "first squared error": squared["first_gradient"],
    }


def _d01_what_a_loss_does() -> Numbers:
    return {
        key: value
        for i, p in enumerate((0.9, 0.1))
        for key, value in ((f"p {i}", p), (f"loss {i}", -ln(p)), (f"gradient {i}", p - 1))
    }


def _d02_cross_entropy() -> Numbers:
    given, z = (0.99, 0.9, 0.7, 0.5, 0.1, 0.01, 0.001), (2, 1, 0.1)
    total = sum(map(exp, z))
    p = [exp(score) / total for score in z]
    return {
        **{f"p {p:g}": p for p in given},
        **{f"cost {p:g}": -ln(p) for p in given},
        **{f"z {i}": score for i, score in enumerate(z)},
        **{f"share {i}": share for i, share in enumerate(p)},
        **{f"gradient {i}": share - (i == 0) for i, share in enumerate(p)},
        "sum": 0,
        "share of the truth": p[0],
        "loss": ln(total) - z[0],
    }


def _d03_maximum_likelihood() -> Numbers:
    p = (0.9, 0.8, 0.7)
    total = sum(map(ln, p))
    return {
        **{f"p {share:g}": share for share in p},
        **{f"ln {share:g}": ln(share) for share in p},
        "rows": 3,
        "likelihood": 0.9 * 0.8 * 0.7,
        "log-likelihood": total,
        "cross-entropy": -total / 3,
    }


def _d04_gradients() -> Numbers:
    given, numbers = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9), Numbers()
    for p in given:
        squared, cross = 2 * (p - 1) * p * (1 - p), p - 1
        numbers |= {f"p {p:g}": p, f"squared error {p:g}": squared, f"cross-entropy {p:g}": cross}
        numbers[f"ratio {p:g}"] = 1 / (2 * p * (1 - p))
    ticks = {f"x {p:g}": p for p in given[:-1]} | {f"y {y:g}": y for y in (0, 0.5, 1)}
    return numbers | ticks | {"peak": 8 / 27}


def _d05_perplexity() -> Numbers:
    p, nats = (1 / 4, 1 / 2, 1 / 8, 1 / 2), (0, ln(2), 1, 2, ln(10), 3, 4, ln(50257))
    mean = -sum(map(ln, p)) / 4
    return {
        **{f"nats {i}": n for i, n in enumerate(nats)},
        **{f"choices {i}": c for i, c in enumerate((1, 2, exp(1), exp(2), 10, exp(3), exp(4), 50257))},
        **{f"p {i}": share for i, share in enumerate(p)},
        "least": 1,
        "worked nats": mean,
        "worked bits": (2 + 1 + 3 + 1) / 4,
        "worked perplexity": 2**1.75,
        "tokens 0": 10,
        "loss 0": 0.1,
        "tokens 1": 100,
        "loss 1": 3,
        "answer 0": exp((10 * 0.1 + 100 * 3) / 110),
        "answer 1": (exp(0.1) + exp(3)) / 2,
        "answer 2": exp((0.1 + 3) / 2),
    }


def _d06_squared_error() -> Numbers:
    predicted, true, targets = (2.5, 0, 2, 8), (3, -0.5, 2, 7), (1, 2, 3, 4, 100)
    errors = [a - b for a, b in zip(predicted, true, strict=True)]
    return {
        **{f"error {e}": e for e in (1, 2, 10)},
        **{f"square {e}": e**2 for e in (1, 2, 10)},
        **{f"predicted {i}": value for i, value in enumerate(predicted)},
        **{f"true {i}": value for i, value in enumerate(true)},
        **{f"target {value}": value for value in targets},
        "mean squared error": sum(e**2 for e in errors) / 4,
        "mean absolute error": sum(map(abs, errors)) / 4,
        "delta": 1,
        "Huber": sum(e**2 / 2 if abs(e) <= 1 else abs(e) - 1 / 2 for e in errors) / 4,
        "best absolute error": 3,
        "best squared error": sum(targets) / 5,
    }


def _d07_contrastive() -> Numbers:
    cosines, temperatures = (0.8, 0.3, 0.1, -0.2), (1, 0.5, 0.1)
    return {
        "margin": 1,
        "d 0": 0.3,
        "d 1": 0.3,
        "d 2": 1.2,
        "pair 0": 0.3**2 / 2,
        "pair 1": (1 - 0.3) ** 2 / 2,
        "pair 2": 0,
        "near 0": 0.4,
        "far 0": 0.5,
        "near 1": 0.2,
        "far 1": 0.9,
        "triplet margin": 0.2,
        "triplet 0": 0.4 - 0.5 + 0.2,
        "triplet 1": 0,
        **{f"cosine {i}": cosine for i, cosine in enumerate(cosines)},
        **{f"temperature {i}": t for i, t in enumerate(temperatures)},
        **{f"infonce {i}": ln(sum(exp((c - 0.8) / t) for c in cosines)) for i, t in enumerate(temperatures)},
        "same": 1,
        "different": 0,
        **{f"size {n}": n for n in (8, 256, 4096)},
        **{f"chance {n}": ln(n) for n in (8, 256, 4096)},
    }


def _d08_debugging() -> Numbers:
    sizes = (2, 10, 1000, 50257, 128256)
    return {f"classes {n}": n for n in sizes} | {f"chance {n}": ln(n) for n in sizes}


def _d09_label_smoothing() -> Numbers:
    shares = {0: (0.91, 0.01), 1: (0.9, 0.1 / 9)}  # eps / K, eps / (K - 1)
    floors = {i: entropy([own, *[other] * 9]) for i, (own, other) in shares.items()}
    return {
        "K few": 4,
        "eps": 0.1,
        "K many": 10,
        "target 0": 0.925,
        **{f"target {i}": 0.025 for i in (1, 2, 3)},
        "floor few": entropy([0.925, 0.025, 0.025, 0.025]),
        **{f"x {x}": x for x in range(0, 11, 2)},
        **{f"y {y}": y for y in range(3)},
        "floor many": floors[0],
        "stuck": floors[0],
        **{f"own {i}": own for i, (own, _) in shares.items()},
        **{f"other {i}": other for i, (_, other) in shares.items()},
        **{f"lead {i}": ln(own / other) for i, (own, other) in shares.items()},
        **{f"floor {i}": floor for i, floor in floors.items()},
    }


def _d10_class_imbalance() -> Numbers:
    counts, b = (900, 90, 10), 0.01
    effective = {n: (1 - 0.999) / (1 - 0.999**n) for n in counts}
    mean = sum(effective.values()) / 3
    return {
        **{f"0 {n}": n for n in counts},
        **{f"1 {n}": 1000 / (3 * n) for n in counts},
        **{f"2 {n}": 1000 / 3 for n in counts},
        **{f"3 {n}": weight / mean for n, weight in effective.items()},
        **{f"4 {n}": ln(n / 1000) for n in counts},
        "beta": 0.999,
        "mean": 1,
        "many": 990,
        "p easy": 0.95,
        "few": 10,
        "p hard": 0.1,
        "rare": b,
        "easy cross-entropy": -990 * ln(0.95),
        "hard cross-entropy": -10 * ln(0.1),
        "easy focal": -990 * 0.05**2 * ln(0.95),
        "hard focal": -10 * 0.9**2 * ln(0.1),
        "p 0.9": 0.9,
        "factor 0.9": 1 / 0.1**2,
        "p 0.1": 0.1,
        "factor 0.1": 1 / 0.9**2,
        "bias of the last layer": ln(b / (1 - b)),
        "first loss with it": entropy([b, 1 - b]),
        "first loss without": ln(2),
    }


FORMULAS: dict[str, Callable[[], Numbers]] = {
    f.__name__[1:]: f
    for f in (
        _d00_readme,
        _d01_what_a_loss_does,
        _d02_cross_entropy,
        _d03_maximum_likelihood,
        _d04_gradients,
        _d05_perplexity,
        _d06_squared_error,
        _d07_contrastive,
        _d08_debugging,
        _d09_label_smoothing,
        _d10_class_imbalance,
    )
}
