"""D215: the loss is a whole multiple of what it should be."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.run import Run, Series
from ..finding import Hit, Severity, finding
from ..levels_config import tidy
from ..levels_standing import levels_of_run
from ..levels_start import start_of

__all__ = ["loss_is_a_multiple"]

CLOSE = 0.02  # of a whole number
MOST = 64  # micro-batches
FIRST = 3  # points of the log that are its start
NEARLY = 0.05  # of a factor that is known: the loss falls within the first points, too
EVALUATIONS = 3  # that must all show the same factor
ERRORS = 6.0  # standard errors over the samples of a batch
ALIKE = 0.05  # by how much the factors of several evaluations may differ


@finding("D215", severity="error", phases=("before", "during", "after"), explains=("D401",))
def loss_is_a_multiple(evidence: Evidence) -> Iterator[Hit]:
    """The loss is k times what it should be: micro-batches are added up and not averaged.

    Cause:       Under gradient accumulation the loss of each of k micro-batches is to be divided by k. Where it is not, loss and
                 gradient are k times too large, which acts like a learning rate that is k times too high (Adam hides it, weight
                 decay and clipping do not).
    Rule:        Error: the number of micro-batches is known to be k >= 2 (accumulate=, or the run's config), and either k calls
                 of one line are added up into the total, or the log begins within 5 % of k times chance. Warning: the training
                 loss is the same whole multiple k (within 2 %) of the evaluation loss at 3 or more evaluations, the first ones.
                 Info: k calls of one line are added up, and nobody said what k is. With from_scratch=True also one call of
                 which the total is k times, and that within 6 standard errors of k times chance: an error where accumulate=k,
                 else info.
    Silent when: chance is not known and there is no evaluation; the factor is not a whole number from 2 to 64.
    Fix:         (loss / accumulate).backward(), or divide the sum over all micro-batches by the tokens of all of them: losskit's
                 normalizer= does it.
    Confirm:     The first logged loss is chance, e.g. 2.3026 and not 9.2103 for 10 classes and k = 4.
    Reference:   huggingface/transformers issues 35203 and 37766.
    Example:
        total = sum(F.cross_entropy(model(x), y) for x, y in parts)                # sick: 4 x 2.3026
        total = sum(F.cross_entropy(model(x), y) for x, y in parts) / len(parts)   # healthy
    """
    yield from _added_up(evidence)
    yield from _multiplied(evidence)
    run = evidence.run
    series = run.main("train_loss") if run is not None else None
    if run is None or series is None or evidence.phase == "before":
        return
    accumulate = tidy(run.facts).get("accumulate", evidence.settings.accumulate)
    yield from _start(run, series, accumulate) if accumulate > 1 else _beside_evaluation(run, series)


def _added_up(evidence: Evidence) -> Iterator[Hit]:
    """Several calls of one line whose sum is the total."""
    values = [float(c.value) for c in evidence.calls if c.value is not None and c.value.numel() == 1 and c.slope is not None]
    lines = {(c.name, c.where) for c in evidence.calls}
    slopes = [c.slope for c in evidence.calls if c.slope is not None]
    count, total = len(values), evidence.total
    if count < 2 or count != len(evidence.calls) or len(lines) != 1 or not evidence.calls[0].where or total is None:
        return
    if any(abs(s - 1) > CLOSE for s in slopes) or abs(total - sum(values)) > CLOSE * abs(total):
        return
    known = evidence.settings.accumulate == count
    severity: Severity = "error" if known else "info"
    said = (
        f"{count} calls of {evidence.calls[0].name} in one line are added up to a loss of {total:.4f}, and their mean is "
        f"{total / count:.4f}{'' if known else ': right for several tasks, wrong for micro-batches'}"
    )
    yield Hit(said, {"calls": count, "total": total, "mean": total / count}, where=evidence.calls[0].where, severity=severity)


def _multiplied(evidence: Evidence) -> Iterator[Hit]:
    """One call that is multiplied into the total, which for a fresh model is as many times chance."""
    call = evidence.calls[0] if len(evidence.calls) == 1 else None
    start = start_of(call) if call is not None and evidence.settings.from_scratch else None
    if evidence.phase != "before" or call is None or start is None or start.scale != 1 or evidence.total is None:
        return
    whole = round(call.slope or 0.0)
    near = ERRORS * whole * start.error
    if not 2 <= whole <= MOST or abs((call.slope or 0.0) / whole - 1) > CLOSE or abs(evidence.total - whole * start.mean) > near:
        return
    if not abs(evidence.total - whole * start.chance) <= max(near, CLOSE * evidence.total):
        return
    known = evidence.settings.accumulate == whole
    severity: Severity = "error" if known else "info"
    said = (
        f"the loss of a fresh model is {evidence.total:.4f}, {whole} times the {start.mean:.4f} of {call.name} and "
        f"{evidence.total / start.chance:.2f} times chance{'' if known else ': right as the weight of a task'}"
    )
    numbers = {"factor": whole, "total": evidence.total, "chance": start.chance, "standard error": start.error}
    yield Hit(said, numbers, where=call.where, severity=severity)


def _start(run: Run, series: Series, accumulate: int) -> Iterator[Hit]:
    chance = [level for level in levels_of_run(run) if level.kind == "chance" and level.value > 0]
    start = _median(series.values[:FIRST])
    for level in chance:
        factor = start / level.value
        if abs(factor / accumulate - 1) <= NEARLY:
            said = (
                f"{series.name} begins at {start:.4f}, {factor:.2f} times {level.name}: the losses of {accumulate} "
                "micro-batches are added up and not averaged"
            )
            numbers = {"start": start, "chance": level.value, "factor": factor, "accumulate": accumulate}
            yield Hit(said, numbers, where=series.name, step=int(series.steps[0]), level=level.name)
            return


def _beside_evaluation(run: Run, series: Series) -> Iterator[Hit]:
    other = run.main("eval_loss")
    if other is None or len(other) < EVALUATIONS or len(series) < EVALUATIONS:
        return
    series, other = series.finite(), other.finite()
    place = torch.searchsorted(series.steps.contiguous(), other.steps[:EVALUATIONS].contiguous()).clamp(max=len(series) - 1)
    if len(other) < EVALUATIONS or not len(series):
        return
    factors = series.values[place] / other.values[:EVALUATIONS]
    factor, whole = _median(factors), round(_median(factors)) if bool(torch.isfinite(factors).all()) else 0
    if not 2 <= whole <= MOST or abs(factor / whole - 1) > CLOSE or float((factors / whole - 1).abs().max()) > ALIKE:
        return
    said = (
        f"{series.name} is {factor:.2f} times {other.name} at each of the first {EVALUATIONS} evaluations "
        f"({float(series.values[place[0]]):.4f} beside {float(other.values[0]):.4f}): it adds up {whole} micro-batches or "
        "processes"
    )
    yield Hit(
        said, {"factor": factor, "whole": whole}, where=series.name, step=int(other.steps[0]), severity="warning", confidence=0.7
    )


def _median(values: Tensor) -> float:
    return float(values.median()) if values.numel() else float("nan")
