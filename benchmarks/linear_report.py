"""The file of a run and its table for people."""

from __future__ import annotations

import json
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from linear_child import brief
from linear_peers import FLOORS

Record = dict[str, Any]
PACKAGES = ("losskit", "torch", "triton", "numpy", "liger-kernel", "cut-cross-entropy", "quack-kernels", "nvidia-cutlass-dsl")


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()} | {package: installed(package) for package in PACKAGES}
    try:
        import losskit
    except ImportError as error:
        return found | {"torch": torch.__version__, "losskit": f"cannot be imported: {brief(str(error))}"}
    return found | {"torch": torch.__version__, "losskit": losskit.__version__}  # a source tree has no metadata


def machine(device: str) -> Record:
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        about = ""
    lines = dict(line.split(":", 1) for line in about.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "amx_bf16": "amx_bf16" in fields.get("flags", "").split(),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "cuda": torch.version.cuda,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity; they become words."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write(path: Path, record: Record) -> None:
    """After every case, so that a run that is cut short keeps what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(finite(record), indent=1, allow_nan=False) + "\n")


def digits(value: float | str | None, form: str = ".3g") -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:{form}}"


def memory(entry: Record) -> str:
    """MiB above inputs and gradients."""
    found = entry.get("memory") or {}
    if "failed" in found:
        return f"failed: {found['failed'][:60]}"
    if "workspace" not in found:
        return ""
    return f"{found['workspace'] / 2**20:.0f}" + (" (computed)" if "computed" in found else "")


def time_cells(name: str, entry: Record) -> list[str]:
    ratio = "1" if name in FLOORS else digits(entry.get("ratio_to_floor"), ".2f")
    quartiles = [digits(entry.get(f"{which}_quartile_ms"), ".4g") for which in ("lower", "upper")]
    time = f"{digits(entry['median_ms'], '.4g')} ({' to '.join(quartiles)})" if "median_ms" in entry else ""
    return [time, ratio, memory(entry), *error_cells(entry)[:3]]


def error_cells(entry: Record) -> list[str]:
    found = entry.get("error", {})
    return [digits(found.get(key)) for key in ("loss", "dX", "dW", "dW of classes not in the batch")]


TIME_COLUMNS = [
    "ms, median (quartiles)",
    "over the floor",
    "MiB above inputs and gradients",
    "loss error",
    "dX error",
    "dW error",
]
COLUMNS = {
    "memory": (["MiB above inputs and gradients"], lambda name, entry: [memory(entry)]),
    "accuracy": (
        ["loss error", "dX error", "dW error", "dW error, classes not in the batch", "GEMMs"],
        lambda name, entry: [*error_cells(entry), str(entry.get("gemms", ""))],
    ),
}


def case_table(case: Record) -> list[str]:
    """A case with its contenders, fastest first, then those that did not run."""
    if "failed" in case:
        return [f"**{case['name']}**", "", f"failed: {case['failed']}", ""]
    columns, cells = COLUMNS.get(case["kind"], (TIME_COLUMNS, time_cells))
    lines = [f"**{case['name']}**", "", f"| contender | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, entry in sorted(case["contenders"].items(), key=lambda item: item[1].get("median_ms", math.inf)):
        reason = next((f"{word}: {entry[word]}" for word in ("skipped", "failed") if word in entry), None)
        its = cells(name, entry) if reason is None else [reason.replace("|", "/"), *[""] * (len(columns) - 1)]
        lines.append(f"| {name} | {' | '.join(its)} |")
    return [*lines, ""]


def bars_table(bars: list[Record]) -> list[str]:
    lines = ["| bar | case | target | measured | met |", "|---|---|---|---|---|"]
    for bar in bars:
        met = {True: "yes", False: "no"}.get(bar["met"], bar["met"])
        sign = ">=" if bar["at_least"] else "<="
        lines.append(f"| {bar['bar']} | {bar['case']} | {sign} {bar['target']:g} | {digits(bar['measured'], '.4g')} | {met} |")
    return lines


def markdown(record: Record) -> str:
    """A fragment for the docs: machine, bars, one table a case."""
    about = record["machine"]
    where = about["gpu"] or f"{about['cpu']}, {about['threads']} threads, {'with' if about['amx_bf16'] else 'without'} AMX"
    packages = ", ".join(f"{name} {its}" for name, its in record["versions"].items() if its != "not installed")
    intro = [
        f"Measured on {where}, {record['date']}, with {packages}. Each case is one run, the contenders in turn, the order",
        "reversed every round. The floor is the same matrix products alone, the faster of two forms. Errors are relative to",
        "float64 (Frobenius). Memory is the peak above inputs and gradients.",
        "",
    ]
    cases = [line for case in record["cases"] for line in case_table(case)]
    return "\n".join([*intro, *bars_table(record["bars"]), "", *cases]).rstrip() + "\n"
