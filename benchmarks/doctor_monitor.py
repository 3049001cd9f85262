"""What ``losskit.doctor.Monitor`` costs on a training step of a small transformer: steps with and without it in turn, in one run.

    python benchmarks/doctor_monitor.py [--steps 240] [--out benchmarks/results/doctor_monitor.json]

Two copies of one model take a step each, one after the other, the order drawn anew every time. Beside the ratio of the two,
which has the noise of the machine in it, stands the time spent inside of the monitor. The monitor gives its looks a share of the
time of the run, of which the steps without it are no part: its clock stands still meanwhile.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import random
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import losskit
from losskit.doctor import Monitor
from losskit.doctor.during import looks

WIDTH, LAYERS, VOCABULARY, LENGTH, BATCH = 256, 4, 4096, 128, 8


class Clock:
    """The time of the run that is watched."""

    def __init__(self) -> None:
        self.away = 0.0

    def perf_counter(self) -> float:
        return time.perf_counter() - self.away


class Decoder(nn.Module):
    """A language model of 4.2 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        hidden = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        return self.norm(self.layers(hidden, mask=mask, is_causal=True)) @ self.tokens.weight.T


def loss_fn(scores: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(scores.flatten(0, 1), target.flatten())


def batch() -> tuple[Tensor, Tensor]:
    """Tokens of which the next is one of four that hang on the last: something to learn."""
    ids = torch.empty(BATCH, LENGTH + 1, dtype=torch.long)
    ids[:, 0] = torch.randint(0, VOCABULARY, (BATCH,))
    for place in range(LENGTH):
        ids[:, place + 1] = (ids[:, place] * 31 + torch.randint(0, 4, (BATCH,))) % VOCABULARY
    return ids[:, :-1], ids[:, 1:]


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, given: tuple[Tensor, Tensor], monitor: Monitor | None
) -> tuple[float, float]:
    """Seconds of the step, and of the monitor's own call in it."""
    start, inside = time.perf_counter(), 0.0
    optimizer.zero_grad()
    loss = loss_fn(model(given[0]), given[1])
    loss.backward()
    if monitor is not None:
        before = time.perf_counter()
        monitor.step(loss, batch=given)
        inside = time.perf_counter() - before
    optimizer.step()
    return time.perf_counter() - start, inside


def measure(steps: int, every: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Decoder()
    pair = {name: copy.deepcopy(model) for name in ("without", "with")}
    optimizers = {name: torch.optim.AdamW(m.parameters(), 3e-4) for name, m in pair.items()}
    start = time.perf_counter()
    monitor = Monitor(pair["with"], optimizers["with"], loss_fn, every=every)
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    inside: list[float] = []
    looks.time = clock = Clock()
    with monitor:
        opened = time.perf_counter() - start
        for _ in range(steps):
            given = batch()
            for name in random.sample(["without", "with"], 2):
                took, own = step(pair[name], optimizers[name], given, monitor if name == "with" else None)
                seconds[name].append(took)
                clock.away += took if name == "without" else 0.0
                inside += [own] if name == "with" else []
    # the second half of a look happens in a hook of the optimizer: it is in "with", not in "inside"
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    differences = sorted(b - a for a, b in zip(*seconds.values(), strict=True))
    return {
        "steps": steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds without, median": medians["without"],
        "seconds with, median": medians["with"],
        "overhead, ratio of medians": medians["with"] / medians["without"] - 1,
        "overhead, median of paired differences": statistics.median(differences) / medians["without"],
        "overhead, ratio of sums": sum(seconds["with"]) / sum(seconds["without"]) - 1,
        "overhead, ratio of sums after the first step": sum(seconds["with"][1:]) / sum(seconds["without"][1:]) - 1,
        "seconds before the first step, rules imported": opened,
        "seconds in the first step, the first look taken": seconds["with"][0] - seconds["without"][0],
        "inside the monitor, median": statistics.median(inside) / medians["without"],
        "inside the monitor, sum": sum(inside) / sum(seconds["without"]),
        "looks": len(monitor._looks.kept),
        "findings": [one.code for one in monitor.findings],
        "loss": [float(v) for v in monitor.run.series[1 if monitor.run.series[0].kind == "lr" else 0].values[[0, -1]]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "doctor_monitor.json")
    given = parser.parse_args()
    random.seed(0)
    result = {
        "date": date.today().isoformat(),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "versions": {"torch": torch.__version__, "losskit": losskit.__version__, "python": platform.python_version()},
        "bar": "median overhead at most 2 %",
        "result": measure(given.steps, given.every),
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["result"], indent=2))


if __name__ == "__main__":
    main()
