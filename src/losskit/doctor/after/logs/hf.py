"""The Hugging Face Trainer's trainer_state.json: the newest checkpoint has the whole history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .curves import curves_of
from .jsonl import load
from .log import Log
from .source import LogError, Source
from .tensorboard import read_tensorboard

__all__ = ["read_hf"]

_NAN = float("nan")


def read_hf(source: Source) -> Log:
    """Of several checkpoints that which came furthest; one that is half written is passed over.

    The loss of a row is the mean since the last one; the Trainer replaces losses that are not finite unless
    ``logging_nan_inf_filter=False``, which a NaN in the log tells.
    """
    best: tuple[int, Path, dict[str, Any]] | None = None
    problems: list[str] = []
    for path in source.files:
        try:
            state = load(path)
        except (LogError, OSError) as problem:
            problems.append(str(problem))
            continue
        if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
            problems.append(f'{path.name} has no list "log_history"')
            continue
        steps = _whole(state.get("global_step"))
        if best is None or steps > best[0]:
            best = steps, path, state
        if path.parent.name.startswith("checkpoint-"):
            break  # the files come newest first, and an older checkpoint knows nothing more
    if best is None:
        raise LogError(problems[0] if problems else "no trainer_state.json")
    log = _log(best[1], best[2], len(problems))
    _further(log, source.also)
    return log


def _further(log: Log, files: tuple[Path, ...]) -> None:
    """What the Trainer told TensorBoard after its last checkpoint: the end of a run that died is nowhere else."""
    if not files:
        return
    try:
        board = read_tensorboard(Source(files[0], "tensorboard", files, ""))
    except LogError:
        return
    used = False
    for series in curves_of(board.table, aligned=False).series:
        known = log.table.points.get(series.name.replace("train/", "", 1).replace("eval/", "eval_", 1))
        last = max((step for step in known.steps if step == step), default=0.0) if known is not None else 0.0
        new = series.steps > last
        if known is None or not bool(new.any()):
            continue
        used = True
        known.rows.extend(range(log.table.rows, log.table.rows + int(new.sum())))
        known.steps.extend(series.steps[new].double().tolist())
        known.values.extend(series.values[new].tolist())
        known.walls.extend([_NAN] * int(new.sum()))
    log.facts = {**board.facts, **log.facts}
    if used:
        log.table.rows += max(len(points.rows) for points in log.table.points.values())
        log.files += tuple(map(str, files))
        log.finished = None


def _log(path: Path, state: dict[str, Any], skipped: int) -> Log:
    rows = [row for row in state["log_history"] if isinstance(row, dict)]
    log = Log(files=(str(path),), means=frozenset({"train_loss"}), truncated=bool(skipped))
    summary = [row for row in rows if "train_runtime" in row]
    log.table.add_rows([row for row in rows if "train_runtime" not in row], null=_NAN)
    log.table.skipped += skipped + len(state["log_history"]) - len(rows)
    losses = log.table.points.get("loss")
    log.hides_nan = losses is None or not any(value != value or abs(value) == float("inf") for value in losses.values)
    most = _whole(state.get("max_steps"))
    if summary:
        log.finished = True
    elif most > 0:
        log.finished = _whole(state.get("global_step")) >= most
    log.facts = {
        name: state[key]
        for key, name in (("max_steps", "max_steps"), ("train_batch_size", "batch_size"), ("logging_steps", "logging_steps"))
        if isinstance(state.get(key), (int, float)) and state[key] > 0
    }
    return log


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and abs(value) < 2**53 else 0
