"""Reading and diagnosing logs of 10^6 points: seconds and memory, each format in a process of its own.

python benchmarks/doctor_logs.py            # writes benchmarks/results/doctor_logs.json
"""

from __future__ import annotations

import json
import math
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

POINTS = 1_000_000
BAR_SECONDS, BAR_MB = 5.0, 500
RESULTS = Path(__file__).parent / "results" / "doctor_logs.json"


def values() -> Iterator[float]:
    """A healthy curve: a power law with noise that remembers its last value."""
    generator, noise = random.Random(0), 0.0
    for i in range(POINTS):
        noise = 0.5 * noise + generator.gauss(0, 0.05)
        yield 2 + 8 / math.sqrt(1 + i / 100) + noise


def write_jsonl(folder: Path) -> None:
    with (folder / "log.jsonl").open("w") as file:
        file.writelines(f'{{"step": {i}, "loss": {v:.6f}}}\n' for i, v in enumerate(values()))


def write_csv(folder: Path) -> None:
    with (folder / "log.csv").open("w") as file:
        file.write("step,loss\n")
        file.writelines(f"{i},{v:.6f}\n" for i, v in enumerate(values()))


def write_stdout(folder: Path) -> None:
    with (folder / "train.log").open("w") as file:
        file.writelines(f"iter {i}: loss {v:.4f}, time {250 + v:.2f}ms, mfu 31.20%\n" for i, v in enumerate(values()))


def write_tensorboard(folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), max_queue=100_000) as writer:
        for i, value in enumerate(values()):
            writer.add_scalar("train/loss", value, i)


WRITERS: dict[str, Callable[[Path], None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "stdout": write_stdout,
    "tensorboard": write_tensorboard,
}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(folder: Path) -> dict[str, object]:
    """Once through, in this process, everything imported before."""
    from losskit.doctor import diagnose, rules
    from losskit.doctor.after.logs import find_runs, read

    rules()
    before, begun, busy = peak_mb(), time.perf_counter(), time.process_time()
    [source] = find_runs(folder)
    run = read(source)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - busy
    points = len(run.series[0])
    del run
    begun, busy = time.perf_counter(), time.process_time()
    report = diagnose(folder)
    whole, whole_cpu = time.perf_counter() - begun, time.process_time() - busy
    return {
        "points": points,
        "read_seconds": round(seconds, 2),
        "read_cpu_seconds": round(cpu, 2),
        "read_and_diagnose_seconds": round(whole, 2),
        "read_and_diagnose_cpu_seconds": round(whole_cpu, 2),
        "peak_growth_mb": round(peak_mb() - before),
        "findings": [f"{found.code} {found.severity}" for found in report.findings],
        "problem": report.cases[0].problem,
        "faults": len(report.cases[0].faults),
    }


def main() -> None:
    import torch

    from losskit.doctor import rules

    results: dict[str, dict[str, object]] = {}
    for name, write in WRITERS.items():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
            done = subprocess.run([sys.executable, __file__, "--measure", folder], check=True, capture_output=True, text=True)
        results[name] = {"file_mb": round(size / 2**20, 1), **json.loads(done.stdout.splitlines()[-1])}
        print(name, results[name])
    worst = {
        name: max(float(str(r[name])) for r in results.values())
        for name in ("read_and_diagnose_seconds", "read_and_diagnose_cpu_seconds", "peak_growth_mb")
    }
    record = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rules": sum("after" in rule.phases for rule in rules().values()),
        "bar": {"seconds": BAR_SECONDS, "mb": BAR_MB},
        "worst": worst,
        "load_at_the_end": os.getloadavg()[0],  # wall seconds mean nothing on a machine that others use
        "formats": results,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
    else:
        main()
