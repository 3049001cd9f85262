"""Runs that are sick on purpose and their healthy twins: the log of each as the page has it, and what the doctor says of it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from losskit.demos.sick_runs_patients import PATIENTS
from losskit.demos.sick_runs_ward import LOOK_EVERY, Patient, Training
from losskit.doctor import diagnose, levels_standing
from losskit.doctor.finding import Finding, Rule, reflowed, rules
from losskit.doctor.findings.d403_stuck_at_a_level import MAY
from losskit.doctor.findings.d501_divergence import CHECKPOINT, NO_CHECKPOINT
from losskit.doctor.statistics import curve, excursions, level, rising
from losskit.doctor.step import Step

# what the page asks itself; the other rules that a log is asked by are counted
PORTED = (
    *("D214", "D301", "D309", "D403", "D404", "D405", "D501", "D502", "D504", "D505"),
    *("D601", "D604", "D702", "D804", "D901", "D903", "D904"),
)
BESIDE = (levels_standing, level, rising, excursions, curve)  # what rules have in common
DRAWN = ("level", "low", "start", "before", "chance", "best")  # the number of a finding that is drawn as a line
STEP = 987654  # of a made log, to find where a fix says the step


class Chosen(NamedTuple):
    """A patient of the ward, what it suffers from in the words of the page's list, and how it is logged."""

    key: str
    illness: str
    what: str
    steps: int = 0
    every: int = 1
    norms: bool = False


CHOSEN = (
    Chosen("softmax_twice", "twice", "a small network on digits, softmax before cross_entropy", 1800, 6),
    Chosen("healthy_digits", "healthy", "a small network on digits"),
    Chosen("rate_of_ten", "diverges", "a small network on digits, a learning rate of ten"),
    Chosen("pairs_shuffled", "chance", "pairs of images under InfoNCE, queries and keys shuffled apart"),
    Chosen("overfitting_language", "overfit", "a small transformer, sixteen rows of text again and again"),
    Chosen("missing_measurement", "nan", "diabetes regression, one missing value among thousands", norms=True),
    Chosen("smoothing_floor", "floor", "a handful of digits by heart, under label smoothing", 500, 2),
    Chosen("schedule_in_epochs", "rate", "digits, a schedule made for a tenth of the steps"),
    Chosen("healthy_language", "healthy", "a small transformer on Python's manual, byte by byte"),
    Chosen("wrong_sign", "sign", "digits, minus cross_entropy is minimised"),
    Chosen("explodes", "diverges", "diabetes by least squares, a learning rate above twice the inverse curvature"),
    Chosen("another_models_optimizer", "chance", "digits, the model was made anew after its optimizer"),
    Chosen("column_against_row", "hidden", "diabetes regression, predictions (N, 1) against targets (N,)"),
    Chosen("healthy_pairs", "healthy", "pairs of images under InfoNCE"),
)


def record() -> dict[str, Any]:
    """Train them all (half a minute)."""
    by_key = {patient.key: patient for patient in PATIENTS}
    runs = [_recorded(by_key[one.key], one) for one in CHOSEN]
    return {"runs": runs, **texts({f["code"] for run in runs for f in run["findings"]})}


def texts(codes: Collection[str]) -> dict[str, Any]:
    """What the page says of its own rules and of these, and how many more a log is asked by."""
    known = rules()
    shown = {code: _text(known[code]) for code in sorted({*PORTED, *codes})}
    more = sum("after" in rule.phases for rule in known.values()) - len(PORTED)
    files = {code: known[code].function.__module__ for code in PORTED} | {
        one.__name__.rpartition(".")[2]: one.__name__ for one in BESIDE
    }
    constants = {name: numbers for name, module in files.items() if (numbers := _constants(module))}
    return {"rules": shown, "fixes": _fixes(), "constants": constants, "ported": len(PORTED), "more": more}


def _constants(module: str) -> dict[str, float]:
    """The numbers at the head of a file of rules or statistics, which the page asks by."""
    named = vars(import_module(module))
    return {name: value for name, value in named.items() if name.isupper() and type(value) in (int, float)}


def _recorded(patient: Patient, chosen: Chosen) -> dict[str, Any]:
    log, facts = _trained(patient, chosen)
    return {"was": chosen.what, "illness": chosen.illness, "facts": facts, "log": log, "findings": said_of(log, facts)}


def said_of(log: str, facts: Mapping[str, Any], name: str = "log.txt") -> list[dict[str, Any]]:
    """The doctor's findings on a log, in order, as the page has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(log, encoding="utf-8")
        return [
            {**_finding(top), "severity": top.severity, "under": [_finding(one) for one in top.consequences]}
            for top in diagnose(path, refs=facts).findings
        ]


def _finding(one: Finding) -> dict[str, Any]:
    hit, own = one.hit, one.hit.severity or one.rule.severity
    found = {"code": one.code, "own": own, "said": hit.said, "numbers": dict(hit.numbers), "step": hit.step, "fix": one.fix}
    drawn = next((name for name in DRAWN if name in hit.numbers), None)
    return found if drawn is None else {**found, "level": [drawn, hit.numbers[drawn]]}


def _text(rule: Rule) -> dict[str, Any]:
    one = {name: " ".join(rule.sections[name].split()) for name in ("Cause", "Confirm")}
    words = {"name": rule.name, "cause": one["Cause"], "confirm": one["Confirm"], "fix": _plain_fix(rule)}
    return {**words, "severity": rule.severity, "explains": list(rule.explains)}


def _plain_fix(rule: Rule) -> str:
    return reflowed(rule.sections["Fix"])


def _fixes() -> dict[str, str]:
    """Where a rule knows a better fix than its page: with the step left open."""
    broken = f"step,loss\n{STEP - 1},1.0\n{STEP},nan\n"
    log = next(one["fix"] for one in said_of(broken, {}) if one["code"] == "D301")
    plateau = _plain_fix(rules()["D101"])
    return {
        "log": log.replace(str(STEP), "{step}"),
        "plateau": plateau,
        "may": MAY,
        "checkpoint": CHECKPOINT,
        "no_checkpoint": NO_CHECKPOINT,
    }


def _trained(patient: Patient, chosen: Chosen) -> tuple[str, dict[str, Any]]:
    """The log as CSV, six digits a number, and what is known of the run."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own of shapes that do not fit: one of the patients
        torch.manual_seed(0)
        run = patient.make(torch.Generator().manual_seed(0))
        rows = _rows(run, chosen)
    columns = ["step", "loss", "lr", *(["grad_norm"] if chosen.norms else []), *(["val_loss"] if run.held is not None else [])]
    lines = [",".join(f"{row[name]:.6g}" if name in row else "" for name in columns) for row in rows]
    return "\n".join([",".join(columns), *lines, ""]), dict(run.facts)


def _rows(run: Training, chosen: Chosen) -> list[dict[str, float]]:
    step, rows = Step(run.model, run.loss_fn, run.loss), list[dict[str, float]]()
    schedule = None if run.rate is None else torch.optim.lr_scheduler.LambdaLR(run.optimizer, run.rate)
    for i in range(chosen.steps or run.steps):
        if run.clears:
            run.optimizer.zero_grad()
        loss = step(run.batch(i))
        loss.backward()
        row = {"step": float(i), "loss": float(loss.detach()), "lr": float(run.optimizer.param_groups[0]["lr"])}
        if chosen.norms:
            gradients = [p.grad.flatten() for p in run.model.parameters() if p.grad is not None]
            row["grad_norm"] = float(torch.cat(gradients).norm())
        run.optimizer.step()
        if schedule is not None:
            schedule.step()
        if run.held is not None and (i + 1) % LOOK_EVERY == 0:
            with torch.no_grad():
                row["val_loss"] = float(step(run.held))
        if i % chosen.every == 0 or "val_loss" in row:
            rows.append(row)
    return rows
