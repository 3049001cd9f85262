"""The doctor's ward: runs that are sick on purpose, and healthy ones beside them. Which does the doctor name, and when?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from . import Cell, Chart, Column, Figure, Mark, Result, Series, Table, Tick, demo
from .sick_runs_patients import PATIENTS
from .sick_runs_ward import Patient, Said, Seen, examined

__all__ = ["Plan", "Ward", "sick_runs"]

CODE = """\
import losskit, torch
from torch import nn

model = nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=-1))       # cross-entropy takes the softmax itself
batch = torch.randn(64, 20), torch.randint(10, (64,))
loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1)

print(losskit.doctor.check(model, batch, loss, optimizer))         # D101, before the first step

with losskit.doctor.Monitor(model, optimizer, loss) as monitor:    # during the run, in any loop
    for _ in range(3):
        optimizer.zero_grad()
        value = loss(model(batch[0]), batch[1])
        value.backward()
        monitor.step(value, batch=batch)
        optimizer.step()

# after it, from the log of any trainer: losskit doctor runs/
"""

SILENT = "nothing"
UGLY = 1e3  # a curve that leaves its start by this factor is shown on a logarithmic axis


class Plan(NamedTuple):
    """Which runs, all for none, and the seed of their weights and batches."""

    runs: Sequence[str] = ()
    seed: int = 0


Ward = Mapping[Patient, Seen]


def rightly(patient: Patient, seen: Seen) -> bool:
    """Whether what was said first is what was done to the run; of a healthy one, that no alarm was raised."""
    return seen.code in patient.codes


def _facts(ward: Ward) -> dict[str, float]:
    sick = {patient: seen for patient, seen in ward.items() if not patient.healthy}
    well = {patient: seen for patient, seen in ward.items() if patient.healthy}
    firsts = [seen.first() for patient, seen in sick.items() if rightly(patient, seen)]
    steps = [(one, seen.steps) for one, seen in zip((seen.first() for seen in sick.values()), sick.values(), strict=True) if one]
    facts = {
        "sick": len(sick),
        "named": len(firsts),
        "misnamed": sum(seen.code not in ("", *patient.codes) for patient, seen in sick.items()),
        "before": sum(one.step < 0 for one, _ in steps),
        "during": sum(0 <= one.step <= count for one, count in steps),
        "after": sum(one.step > count for one, count in steps),
        "log_named": sum(seen.log_code in patient.codes for patient, seen in sick.items()),
        "log_other": sum(seen.log_code not in ("", *patient.codes) for patient, seen in sick.items()),
        "healthy": len(well),
        "alarms": sum(len(seen.alarms) for seen in well.values()),
        "known": sum(seen.code == "D404" for seen in well.values()),
        "steps": sum(seen.steps for seen in ward.values()),
    }
    for patient, seen in ward.items():
        if (first := seen.first()) is not None:
            facts[f"said_{patient.key}"] = first.step
    return {name: float(value) for name, value in facts.items()}


def _answer(facts: Mapping[str, float], ward: Ward) -> str:
    sick, named = int(facts["sick"]), int(facts["named"])
    phases = {"before the first step": "before", "while it trained": "during", "from the log": "after"}
    when = ", ".join(f"{facts[key]:.0f} {said}" for said, key in phases.items() if facts[key])
    every = "all" if named == sick else f"{named} of"
    missed = [patient.name for patient, seen in ward.items() if not patient.healthy and not rightly(patient, seen)]
    alarms = int(facts["alarms"])
    healthy = f"the {facts['healthy']:.0f} healthy runs beside them " + (
        "heard nothing" if not alarms else f"heard {alarms} false alarm{'s' * (alarms > 1)}"
    )
    return (
        f"The doctor's first words name {every} {sick} sick runs: it spoke {when}"
        + (f"; not right were its words on {' and '.join(missed)}" if missed else "")
        + f"; {healthy}"
        + (", apart from a word that a loss is at its floor and that this is fine. " if facts["known"] else ". ")
        + f"From a log of losses and learning rates alone it names {facts['log_named']:.0f} of the {sick}"
        + (f", and of {facts['log_other']:.0f} more it says what followed." if facts["log_other"] else ".")
    )


def _said(seen: Seen, one: Said | None) -> list[Cell]:
    if one is None:
        return [SILENT, ""]
    hit = one.finding.hit
    where = f", {hit.where}" if ":" in hit.where or "[" in hit.where else ""  # a line or an entry, and not a curve's name
    return [f"{one.finding.code}: {hit.said.split('. ')[0]}", f"{seen.when(one)}{where}"]


def _of_log(patient: Patient, seen: Seen) -> str:
    """The code of what the log alone tells; in brackets where that is not what was done to the run."""
    return SILENT if not seen.log_code else seen.log_code if seen.log_code in patient.codes else f"({seen.log_code})"


def _rows(ward: Ward, *, healthy: bool) -> list[list[Cell]]:
    return [
        [f"{patient.name}: {patient.done}", *_said(seen, seen.first()), _of_log(patient, seen)]
        for patient, seen in ward.items()
        if patient.healthy is healthy
    ]


def _tables(ward: Ward) -> list[Table]:
    columns = [Column(name) for name in ("what was done", "what the doctor said first", "when and where", "log alone")]
    note = (
        "The first warning or error that was told: by check() on one batch, else by the Monitor in the step in which it spoke, else by "
        "diagnose() on the log. The last column is what diagnose() says first when it has nothing but losses and learning rates; "
        "in brackets: true of the curve, and not what was done to the run."
    )
    return [
        Table("Sick on purpose", columns, _rows(ward, healthy=False), note),
        Table("Healthy", columns, _rows(ward, healthy=True), "Worth knowing is not an alarm: D404 says that a floor is reached."),
    ]


def _chart(patient: Patient, seen: Seen) -> Chart:
    finite = next((i for i, value in enumerate(seen.losses) if not math.isfinite(value)), len(seen.losses))
    losses = seen.losses[: max(finite, 2)]
    series = [Series("training loss", list(range(1, len(losses) + 1)), losses)]
    if seen.held:
        series.append(Series("held out", [*seen.held], [*seen.held.values()]))
    first = seen.first()
    names = {one.finding.hit.level for one in seen.said}
    plateaus = {first.finding.code} if first is not None else set[str]()
    marks = [
        Mark("y", level.value, level.name)
        for level in seen.levels
        if level.value != 0 and (level.kind == "chance" or level.name in names or level.code in plateaus)
    ]
    if first is not None and 0 <= first.step <= seen.steps:
        marks.append(Mark("x", min(first.step, len(losses)), first.finding.code))
    steep = min(losses) > 0 and max(losses) > UGLY * losses[0]
    return Chart(patient.name, "step", "loss", series, marks, log_y=steep)


def _figure(ward: Ward) -> Figure:
    reading = (
        "One run at a time; a curve ends where its loss is no number. Dotted: the levels that the doctor compares with, and the step at "
        "which it spoke. A run may look healthy and be sick: compare softmax twice with healthy digits."
    )
    order = list(ward)
    first = next((i for i, patient in enumerate(order) if patient.name == "softmax twice"), 0)
    return Figure("The losses of the ward", reading, [_chart(patient, seen) for patient, seen in ward.items()], first)


@demo(
    "sick-runs",
    title="The doctor's ward",
    question="Runs that are sick on purpose, and healthy ones on the same data: does the doctor say what is wrong, when, and to nobody else?",
    order=70,
)
def sick_runs(tick: Tick, plan: Plan = Plan()) -> Result:
    """Every run checked before it, watched during it, and diagnosed from its log after it."""
    chosen = [patient for patient in PATIENTS if not plan.runs or patient.name in plan.runs]
    ward: dict[Patient, Seen] = {}
    for i, patient in enumerate(chosen):
        ward[patient] = examined(patient, plan.seed)
        tick((i + 1) / len(chosen))
    facts = _facts(ward)
    return Result(
        answer=_answer(facts, ward),
        method=(
            "scikit-learn's digits and diabetes data, Python's own manual in bytes, and pairs of noisy copies of digits. Each run goes "
            "through losskit.doctor.check() with its first batch (overfitting one batch left out), trains "
            f"{min(seen.steps for seen in ward.values())} to {max(seen.steps for seen in ward.values())} steps under a Monitor, whatever was "
            "found before, and leaves a JSONL log of losses and learning rates for losskit.doctor.diagnose(), which is told loss and classes. "
            f"{facts['steps']:.0f} steps in all, seed {plan.seed}."
        ),
        figures=[_figure(ward)],
        tables=_tables(ward),
        code=CODE,
        limits=_limits(facts),
        facts=facts,
    )


def _limits(facts: Mapping[str, float]) -> list[str]:
    return [
        f"{facts['sick']:.0f} faults were made by who also made the doctor; yours may be another. benchmarks/doctor_ward.py has more of them, "
        "and healthy runs over several seeds.",
        "A first word is not the only one: the report of each run goes on, with what follows from the cause folded under it.",
        "What was found was not repaired, so that later findings can be consequences of the first.",
        "The step at which a Monitor speaks is that of its next round, up to a fifth of the run later than the fault can be seen.",
    ]
