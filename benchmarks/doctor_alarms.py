"""How often the doctor's rules cry wolf on simulated healthy runs, beside rules of other tools; JSON into results/."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # after the environment
from linear_report import machine, versions, write
from torch import Tensor

from losskit.doctor import Run, Series
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.run import Kind, Reading
from losskit.doctor.examine import examine
from losskit.doctor.finding import rules
from losskit.doctor.levels import levels_of_facts

CURVES = ("D309", "D501", "D502", "D505", "D506", "D507", "D601", "D602", "D604")  # timed one by one
STEPS = 100_000
LIVE = 30  # looks of a live run, geometrically spaced
RESULTS = Path(__file__).parent / "results" / "doctor_alarms.json"
Draw = torch.Generator


@dataclass(frozen=True)
class Shape:
    """A healthy run: its loss without noise, its learning rate, and how noisy it is."""

    loss: Callable[[Tensor], Tensor]
    rate: Callable[[Tensor], Tensor]
    size: float = 0.05  # of the noise, relative to the loss
    spikes: float = 0.0  # share of single points that stick out
    tails: bool = False  # Student's t with 3 degrees of freedom
    shrinks: bool = False  # noise goes down to a fifth
    every: int = 1  # steps that a logged point is the mean of
    facts: Mapping[str, Any] = field(default_factory=dict)  # what a person would know of it; levels come from them


def flat(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def warm_cosine(x: Tensor) -> Tensor:
    """1 % of warm-up, then half a cosine."""
    return torch.where(x < 0.01, x / 0.01, 0.5 + 0.5 * torch.cos(math.pi * (x - 0.01) / 0.99))


def restarts(x: Tensor) -> Tensor:
    """Five half cosines."""
    return 0.5 + 0.5 * torch.cos(math.pi * ((5 * x) % 1))


def stairs(x: Tensor) -> Tensor:
    """Divided by 10 at a half and at three quarters."""
    return 10 ** -((x >= 0.5).double() + (x >= 0.75).double())


def restarted(x: Tensor) -> Tensor:
    """A loss that rises by up to two thirds of itself where the learning rate comes back."""
    return 0.3 + 2 * torch.exp(-20 * x) + (0.1 + 0.15 * torch.exp(-3 * x)) * restarts(x)


SHAPES: dict[str, Shape] = {
    "power law": Shape(lambda x: 2.8 + 8 * (1 + 3e5 * x) ** -0.35, warm_cosine, 0.03, facts={"vocab_size": 50_000}),
    "exponential": Shape(lambda x: 0.02 + 2.3 * torch.exp(-8 * x), flat, 0.3, facts={"num_classes": 10}),
    "cosine restarts": Shape(restarted, restarts, 0.08, facts={"num_classes": 10, "label_smoothing": 0.01}),
    "staircase": Shape(
        lambda x: 0.2 + 0.6 * stairs(x) + 1.5 * torch.exp(-30 * x), stairs, 0.1, facts={"num_classes": 10, "entropy": 2.2}
    ),
    "plateau at entropy": Shape(lambda x: 3.1 + 1.6 * torch.exp(-400 * x), flat, 0.02, facts={"floor": 3.1, "vocab_size": 110}),
    "noise that shrinks": Shape(
        lambda x: 0.5 + 1.8 * torch.exp(-6 * x), flat, 0.3, shrinks=True, facts={"loss": "info_nce_loss", "batch_size": 10}
    ),
    "heavy tails and single spikes": Shape(
        lambda x: 0.4 + 1.9 * torch.exp(-10 * x),
        warm_cosine,
        0.15,
        spikes=1e-3,
        tails=True,
        facts={"loss": "triplet_margin_loss", "margin": 2.3},
    ),
    "means of ten steps": Shape(
        lambda x: 1.5 + 8 * (1 + 1e5 * x) ** -0.4, warm_cosine, 0.05, tails=True, every=10, facts={"vocab_size": 13_000}
    ),
}


def correlated(count: int, rho: float, tails: bool, draw: Draw) -> Tensor:
    """AR(1) noise of standard deviation 1; heavy tails are added point by point."""
    fresh = torch.randn(count, generator=draw, dtype=torch.float64) * math.sqrt(1 - rho**2)

    def joined(old: float, new: float) -> float:
        return rho * old + new

    kept = torch.tensor(list(accumulate(fresh.tolist(), joined)), dtype=torch.float64)
    if not tails:
        return kept
    below = torch.randn(3, count, generator=draw, dtype=torch.float64).square().mean(dim=0).sqrt()
    return 0.7 * kept + 0.4 * torch.randn(count, generator=draw, dtype=torch.float64) / below


def simulated(name: str, seed: int, steps: int = STEPS) -> Run:
    """A healthy run with its learning rate, gradient norms, and an evaluation every hundredth of it."""
    shape, draw = SHAPES[name], Draw().manual_seed(seed)
    at = torch.arange(steps, dtype=torch.float64) / steps
    clean = shape.loss(at)
    rho = (0.0, 0.5, 0.9, 0.98)[seed % 4]
    size = shape.size * (0.2 + 0.8 * torch.exp(-4 * at) if shape.shrinks else flat(at))
    loss = clean * torch.exp(size * correlated(steps, rho, shape.tails, draw) - size**2 / 2)
    stick = torch.rand(steps, generator=draw) < shape.spikes
    loss = torch.where(stick, loss * (3 + 5 * torch.rand(steps, generator=draw, dtype=torch.float64)), loss)
    norm = torch.exp(0.3 * torch.randn(steps, generator=draw, dtype=torch.float64) + at)
    points = torch.arange(steps).view(-1, shape.every)[:, -1]
    evals = torch.arange(steps // 100, steps + 1, steps // 100) - 1
    noise = 1 + 0.2 * shape.size * correlated(evals.numel(), 0.3, False, draw)
    series = (
        curve("loss", "train_loss", points, loss.view(-1, shape.every).mean(dim=1), shape.every),
        curve("lr", "lr", points, 3e-4 * shape.rate(at)[points]),
        curve("grad_norm", "grad_norm", points, norm[points]),
        curve("epoch", "epoch", points, 4 * at[points]),
        curve("eval/loss", "eval_loss", evals, 1.03 * clean[evals] * noise),
    )
    return Run(f"{name} {seed}", series, Reading("live"), levels_of_facts(shape.facts), {"max_steps": steps, **shape.facts})


def curve(name: str, kind: Kind, steps: Tensor, values: Tensor, every: int = 1) -> Series:
    return Series(name, kind, steps, values.double(), every)


def until(run: Run, step: int) -> Run:
    """The run as it was at that step."""
    kept = [replace(s, steps=s.steps[s.steps < step], values=s.values[s.steps < step]) for s in run.series]
    return replace(run, series=tuple(kept))


def looks(run: Run, steps: int) -> Iterator[Evidence]:
    """As a live run is looked at, and once more when it is over."""
    for place in range(LIVE):
        step = int(100 * (steps / 100) ** (place / (LIVE - 1)))
        yield Evidence("during", Settings(), run=until(run, step))
    yield Evidence("after", Settings(), run=run)


def alarms(run: Run, steps: int) -> tuple[dict[str, list[str]], float]:
    """Codes of warnings and errors, while it runs and at the end, and the seconds of the last look."""
    told: dict[str, list[str]] = {"during": [], "after": []}
    took = 0.0
    for evidence in looks(run, steps):
        start = time.process_time()
        found, faults = examine(evidence)
        took = time.process_time() - start
        if faults:
            raise RuntimeError(f"{run.name}: {faults[0].where}: {faults[0].problem}")
        told[evidence.phase] += [f"{f.code} {f.severity}: {f.hit.said}" for f in found if f.severity != "info"]
    return told, took


def kill_loss_spike(run: Run) -> bool:
    """llm-foundry: five points in a row at twice the mean of the window (100, or 5 % of the run) before."""
    values = main(run)
    window = max(100, values.numel() // 20)
    sums = torch.cat((torch.zeros(1, dtype=torch.float64), values.cumsum(0)))
    high = values[window:] >= 2 * (sums[window:-1] - sums[: -window - 1]) / window
    return bool(high.unfold(0, 5, 1).all(dim=1).any())


def olmo(run: Run) -> bool:
    """OLMo-core: a point above the mean of the last 128 by 6 standard deviations, of the loss or of the gradient norm."""
    for kind in ("train_loss", "grad_norm"):
        values = main(run, kind)
        values = values - values.mean()  # the variance by sums of squares then keeps its digits
        nothing = values.new_zeros(1)
        sums, squares = torch.cat((nothing, values.cumsum(0))), torch.cat((nothing, values.square().cumsum(0)))
        means = (sums[128:-1] - sums[:-129]) / 128
        deviations = ((squares[128:-1] - squares[:-129]) / 127 - means.square() * 128 / 127).clamp(min=0).sqrt()
        if bool((values[128:] > means + 6 * deviations).any()):
            return True
    return False


def deep_checker(run: Run) -> bool:
    """TheDeepChecker: the mean over 50 points falls by less than 5 %, five times in a row."""
    values = main(run)
    means = values[: values.numel() // 50 * 50].view(-1, 50).mean(dim=1)
    return bool((means[1:] > 0.95 * means[:-1]).unfold(0, 5, 1).all(dim=1).any())


def umlaut(run: Run) -> bool:
    """UMLAUT: an evaluation rises once while the training loss falls."""
    evals, losses = run.main("eval_loss"), run.main("train_loss")
    if evals is None or losses is None:
        return False
    beside = losses.values[torch.searchsorted(losses.steps.contiguous(), evals.steps).clamp(max=len(losses) - 1)]
    return bool(((evals.values.diff() > 0) & (beside.diff() < 0)).any())


PEERS: dict[str, Callable[[Run], bool]] = {
    "llm-foundry KillLossSpike": kill_loss_spike,
    "OLMo-core 6 sigma of 128": olmo,
    "TheDeepChecker stagnation": deep_checker,
    "UMLAUT overfit": umlaut,
}


def main(run: Run, kind: Kind = "train_loss") -> Tensor:
    found = run.main(kind)
    assert found is not None
    return found.values


def measured(runs: int, steps: int) -> dict[str, Any]:
    """Counts over all runs."""
    flagged: dict[str, Counter[str]] = {"during": Counter(), "after": Counter()}
    said: list[str] = []
    peers, slowest = Counter[str](), 0.0
    for seed in range(runs):
        name = list(SHAPES)[seed // 4 % len(SHAPES)]
        run = simulated(name, seed, steps)
        told, took = alarms(run, steps)
        slowest = max(slowest, took)
        for phase, lines in told.items():
            flagged[phase].update({line.split(":")[0] for line in lines} | ({"any"} if lines else set()))
            said += [f"{run.name}, {phase}: {line}" for line in lines[:1]]
        peers.update(peer for peer, rule in PEERS.items() if rule(run))
    return {
        "runs": runs,
        "steps": steps,
        "looks_at_a_live_run": LIVE,
        "rules": [rule.code for rule in rules().values() if set(rule.phases) & {"during", "after"}],
        "shapes": list(SHAPES),
        "noise": "AR(1), rho 0, 0.5, 0.9, 0.98 in turn",
        "runs_with_a_false_alarm": {phase: dict(count) for phase, count in flagged.items()},
        "false_alarms": said,
        "runs_flagged_by_peers": {peer: peers[peer] for peer in PEERS},
        "cpu_seconds_of_all_rules_at_the_end": round(slowest, 3),
    }


def seconds_for_a_million() -> dict[str, float]:
    """Each rule alone on a run of 10^6 points, and all of them; the better of two."""
    run = simulated("heavy tails and single spikes", 1, 1_000_000)
    evidence, taken = Evidence("after", run=run), dict[str, float]()
    for code in (*CURVES, None):
        times = []
        for _ in range(2):
            start = time.process_time()
            examine(evidence, codes=None if code is None else (code,))
            times.append(time.process_time() - start)
        taken[code or "all"] = round(min(times), 3)
    return taken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    told = parser.parse_args()
    torch.set_num_threads(1)
    rules()
    used = {name: found for name, found in versions().items() if name in ("python", "torch", "losskit")}
    record = {"date": str(date.today()), "machine": machine("cpu"), "versions": used, **measured(told.runs, told.steps)}
    record["cpu_seconds_on_a_million_points"] = seconds_for_a_million()
    write(told.out, record)
    print(json.dumps({k: v for k, v in record.items() if k not in ("machine", "versions")}, indent=1))
