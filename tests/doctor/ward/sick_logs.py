"""D9xx, D214 and D215: what a log hides, and what it alone tells."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor.report import Report

from .cases import after, json_lines, mlp, rounded, sick, stream, task

CE = nn.CrossEntropyLoss()


def _rows(
    steps: int = 400,
    lr: Callable[[int], float] = lambda _: 0.05,
    times: Callable[[int], float] = lambda _: 1.0,
) -> list[dict[str, float]]:
    """A run of SGD, and what it logs: its loss times a factor."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    rows = []
    for step, (x, y) in enumerate(stream(task(), steps)):
        optimizer.param_groups[0]["lr"] = lr(step)
        optimizer.zero_grad()
        loss = CE(model(x), y)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        optimizer.step()
        rows.append({"step": step, "loss": rounded(loss * times(step)), "grad_norm": rounded(norm), "lr": lr(step)})
    return rows


def _trainer_state(history: list[dict[str, float]], steps: int, every: int) -> str:
    state = {"global_step": steps, "max_steps": steps, "logging_steps": every, "num_train_epochs": 3, "log_history": history}
    return json.dumps(state)


@sick("D901")
def trainer_that_writes_zero_for_nan() -> Report:
    history = [
        {"epoch": s / 100, "grad_norm": math.nan, "learning_rate": 5e-5 * (1 - s / 300), "loss": 0.0, "step": s}
        for s in range(10, 301, 10)
    ]
    return after(_trainer_state(history, 300, 10), "trainer_state.json")


@sick("D901", "D904")
def trainer_that_turns_to_nan_on_the_way() -> Report:
    rows = _rows(400)
    history, total, seen = [], 0.0, 0
    for row in rows:
        bad = row["step"] >= 220
        # the filter of the trainer: in place of a loss that is not finite, the average since the last line
        total += total / (1 + seen) if bad else row["loss"]
        seen += 1
        if seen == 10:
            norm = math.nan if bad else row["grad_norm"]
            history.append(
                {
                    "epoch": row["step"] / 64,
                    "grad_norm": norm,
                    "learning_rate": 0.05,
                    "loss": total / 10,
                    "step": int(row["step"]) + 1,
                }
            )
            total, seen = 0.0, 0
    return after(_trainer_state(history, 400, 10), "trainer_state.json", refs={"num_labels": 10})


@sick("D902")
def run_that_was_started_twice_into_one_file() -> Report:
    rows = _rows(500)
    return after(json_lines(rows[:300] + rows[200:]), refs={"num_classes": 10})


@sick("D903")
def table_without_a_loss() -> Report:
    lines = [f"{row['step']},{1 - row['loss'] / 5:.4f},{row['lr']}" for row in _rows(100)]
    return after("step,accuracy,lr\n" + "\n".join(lines) + "\n", "metrics.csv")


@sick("D903")
def log_of_four_lines() -> Report:
    return after(json_lines(_rows(4)))


@sick("D904")
def every_step_skipped_by_the_scaler() -> Report:
    model = mlp()
    rows = []
    for step, (x, y) in enumerate(stream(task(), 300)):
        with torch.no_grad():
            loss = F.cross_entropy(model(x), y)
        rows.append({"step": step, "loss": rounded(loss), "grad_norm": math.inf, "lr": 1e-3})
    return after(json_lines(rows), refs={"num_classes": 10})


@sick("D905", "D507")
def loss_summed_over_eight_batches_from_the_middle_on() -> Report:
    return after(json_lines(_rows(800, times=lambda step: 8.0 if step >= 400 else 1.0)))


@sick("D214")
def schedule_at_zero_after_a_tenth() -> Report:
    return after(
        json_lines(_rows(800, lr=lambda step: 0.05 * max(0.0, 1 - step / 80))), refs={"num_classes": 10, "max_steps": 800}
    )


@sick("D215", also=["D401"])
def log_of_a_loss_that_is_never_divided() -> Report:
    return after(json_lines(_rows(400, times=lambda _: 8.0)), refs={"num_classes": 10})


@sick("D301", "D501", also=["D309"])
def printed_lines_that_end_in_nan() -> Report:
    lines = [f"Epoch 0 step {r['step']} loss={r['loss'] if r['step'] < 120 else math.nan:.4f}" for r in _rows(200)]
    return after("\n".join(lines) + "\n", "train.log")
