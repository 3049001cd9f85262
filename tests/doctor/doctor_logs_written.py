"""Logs of every format, written by hand for the tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from losskit.doctor import diagnose
from losskit.doctor.after.logs import find_runs, read
from losskit.doctor.evidence.run import Run


def jsonl(path: Path, n: int = 30, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"step": i, "loss": 1 / (i + 1), **more}) + "\n" for i in range(n)))
    return path


def trainer_state(folder: Path, n: int, *, checkpoint: int | None = None) -> Path:
    folder = folder / f"checkpoint-{checkpoint}" if checkpoint else folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"step": 10 * i, "epoch": i / 5, "loss": 1 / i, "grad_norm": float("nan"), "learning_rate": 1e-3} for i in range(1, n + 1)
    ]
    state = {"global_step": 10 * n, "max_steps": 100, "logging_steps": 10, "train_batch_size": 8, "log_history": rows}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder


def only(path: Path) -> Run:
    [source] = find_runs(path)
    return read(source)


def problem(path: Path) -> str:
    [case] = diagnose(path).cases
    return case.problem


def event(payload: bytes, checksum: int | None = None) -> bytes:
    """One TFRecord, by the definition of the format."""

    def crc(data: bytes) -> int:
        value = 0xFFFFFFFF
        for byte in data:
            value ^= byte
            for _ in range(8):
                value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        value ^= 0xFFFFFFFF
        return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", crc(length)) + payload + struct.pack("<I", crc(payload) if checksum is None else checksum)


def scalar(step: int, value: float, tag: bytes = b"loss") -> bytes:
    entry = b"\x0a" + bytes([len(tag)]) + tag + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(entry)]) + entry
    count = b""
    while step >= 128:
        count, step = count + bytes([step & 127 | 128]), step >> 7
    return b"\x09" + struct.pack("<d", 5.0) + b"\x10" + count + bytes([step]) + b"\x2a" + bytes([len(summary)]) + summary
