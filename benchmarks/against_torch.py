"""Forward and backward of every loss that torch has, ours and torch's alternating in one run; ratios into results/."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

Step = Callable[[], None]
SHAPES = {"(64, 10)": (64, 10), "(4096, 1000)": (4096, 1000), "1e6 elements": (1_000_000,)}


def step(loss: Callable[..., Tensor], input: Tensor, *others: Tensor) -> Step:
    """One training step's share of the loss: value and gradient."""

    def run() -> None:
        input.grad = None
        loss(input, *others).backward()

    return run


def gaussian(mean: Tensor, target: Tensor, var: Tensor) -> Tensor:
    return losskit.gaussian_nll_loss(mean, target, var=var)


def pairs(shape: tuple[int, ...]) -> dict[str, tuple[Step, Step]]:
    """name -> (ours, torch's) on the same tensors."""
    torch.manual_seed(0)
    x, y = torch.randn(shape, requires_grad=True), torch.randn(shape)
    hit, var = torch.rand(shape).round(), torch.rand(shape) + 0.1
    found = {
        "mse_loss": (step(losskit.mse_loss, x, y), step(F.mse_loss, x, y)),
        "l1_loss": (step(losskit.l1_loss, x, y), step(F.l1_loss, x, y)),
        "huber_loss": (step(losskit.huber_loss, x, y), step(F.huber_loss, x, y)),
        "smooth_l1_loss": (step(losskit.smooth_l1_loss, x, y), step(F.smooth_l1_loss, x, y)),
        "binary_cross_entropy_with_logits": (
            step(losskit.binary_cross_entropy_with_logits, x, hit),
            step(F.binary_cross_entropy_with_logits, x, hit),
        ),
        "gaussian_nll_loss": (step(gaussian, x, y, var), step(lambda *t: F.gaussian_nll_loss(*t, full=True), x, y, var)),
    }
    rows = shape if len(shape) == 2 else (1000, 1000)
    scores, soft = torch.randn(rows, requires_grad=True), torch.randn(rows).softmax(-1)
    label = torch.randint(rows[1], rows[:1])
    found["cross_entropy"] = (step(losskit.cross_entropy, scores, label), step(F.cross_entropy, scores, label))
    found["cross_entropy, probabilities"] = (step(losskit.cross_entropy, scores, soft), step(F.cross_entropy, scores, soft))
    return found


def seconds(run: Step, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def ratio(ours: Step, theirs: Step, rounds: int, times: int) -> tuple[float, float, float]:
    """Median of ours / torch over rounds that alternate the order, and the median seconds of each."""
    seconds(ours, times), seconds(theirs, times)
    measured: list[tuple[float, float]] = []
    for k in range(rounds):
        first, second = (ours, theirs) if k % 2 else (theirs, ours)
        a, b = seconds(first, times), seconds(second, times)
        measured.append((a, b) if k % 2 else (b, a))
    return statistics.median(a / b for a, b in measured), *(statistics.median(m[i] for m in measured) for i in (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "against_torch_cpu.json")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for title, shape in SHAPES.items():
        times = 200 if shape == (64, 10) else 3
        for name, (ours, theirs) in pairs(shape).items():
            r, a, b = ratio(ours, theirs, arguments.rounds, times)
            rows.append(
                {"size": title, "loss": name, "ratio": round(r, 3), "ours_us": round(a * 1e6, 1), "torch_us": round(b * 1e6, 1)}
            )
            print(f"{title:14} {name:34} {r:6.2f}   ours {a * 1e6:9.1f} us   torch {b * 1e6:9.1f} us", flush=True)
        middle = statistics.median(float(str(row["ratio"])) for row in rows if row["size"] == title)
        print(f"{title:14} {'median over losses':34} {middle:6.2f}\n")
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": str(date.today()),
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps({"machine": machine, "losskit": losskit.__version__, "ratios": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
