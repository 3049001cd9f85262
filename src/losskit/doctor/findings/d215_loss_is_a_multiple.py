"""D215: the loss is a whole multiple of what it should be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.run import Run, Series
from ..finding import Hit, Severity, finding
from ..levels_config import known_of_facts, tidy
from ..levels_standing import levels_of_run
from ..levels_start import start_of
from ..statistics.evaluations import evaluations

__all__ = ["loss_is_a_multiple"]

CLOSE = 0.02  # of a whole number
MOST = 64  # micro-batches
FIRST = 3  # points of the log that are its start
NEARLY = 0.05  # of a factor that is known: the loss falls within the first points, too
EVALUATIONS = 3  # at least; all of a run must show the same factor
ERRORS = 6.0  # standard errors over the samples of a batch
TWICE = 1.9  # times chance: k = 2 and some learning within the first points
QUIET = 0.15  # of the start: sums over means of 64 samples were up to 9 % from the median of their first three
GUESSES = ("cross_entropy", "binary_cross_entropy_with_logits")  # a fresh model is at chance
ALIKE = 0.05  # by how much the factors of several evaluations may differ


@finding("D215", severity="error", phases=("before", "during", "after"), explains=("D401",))
def loss_is_a_multiple(evidence: Evidence) -> Iterator[Hit]:
    """The loss is k times what it should be: micro-batches are added up and not averaged.

    Cause:       Under gradient accumulation the loss of each of k micro-batches is to be divided by k. Where it is not, loss and
                 gradient are k times too large, which acts like a learning rate that is k times too high (Adam hides it, weight
                 decay and clipping do not).
    Rule:        Error: the number of micro-batches is known to be k >= 2 (accumulate=, or the run's config), and either k calls
                 of one line are added up into the total, or the log begins within 5 % of k times chance. Warning: the training
                 loss (median of up to 5 points) is the same whole multiple k of the evaluation loss at all evaluations, 3 or
                 more: their median within 2 %, each within 5 %. Info: k calls of one line are added up, and nobody said what k
                 is; or a log of classes or tokens without 3 evaluations begins at 1.9 to 64 times chance (median of 3 points,
                 each within 15 % of it). With from_scratch=True also one call of which the total is k times, and that within 6
                 standard errors of k times chance: an error where accumulate=k, else info.
    Silent when: chance is not known and there is no evaluation; the factor is not a whole number from 2 to 64; the ratio to the
                 evaluations changes within the run (as it does where a model overfits, and for dropout).
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
    if accumulate > 1:
        yield from _start(run, series, accumulate)
    elif evaluations(run) is not None:
        yield from _beside_evaluation(run, series)
    elif evidence.phase == "after":
        yield from _start_alone(run, series)


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


def _start_alone(run: Run, series: Series) -> Iterator[Hit]:
    """Several times chance from the first point on, with little noise; the log alone cannot tell a sum from large scores."""
    known, values = known_of_facts(tidy(run.facts)), series.values[:FIRST]
    if known is None or known.card not in GUESSES or known.candidates or len(series) <= FIRST:
        return
    start = _median(values)
    for level in levels_of_run(run):
        factor = start / level.value if level.kind == "chance" and level.value > 0 else math.nan
        if TWICE <= factor <= MOST and float((values / start - 1).abs().max()) <= QUIET:
            said = (
                f"{series.name} begins at {start:.4f}, {factor:.2f} times {level.name}: it may add up about {round(factor)} "
                "micro-batches, samples or losses that were to be averaged; or the scores of the fresh model are too large"
            )
            numbers = {"start": start, "chance": level.value, "factor": factor}
            step = int(series.steps[0])
            yield Hit(said, numbers, where=series.name, step=step, severity="info", confidence=0.4, level=level.name)
            return


def _beside_evaluation(run: Run, series: Series) -> Iterator[Hit]:
    found, other = evaluations(run), run.main("eval_loss")
    if found is None or other is None:
        return
    factors = found.close / found.values
    whole = _whole(factors)
    if not whole:
        return
    factor, count = _median(factors), len(factors)
    said = (
        f"{series.name} is {factor:.2f} times {other.name} at all {count} evaluations ({float(found.close[0]):.4f} beside "
        f"{float(found.values[0]):.4f} at the first): it may add up {whole} micro-batches or processes"
    )
    numbers = {"factor": factor, "whole": whole, "evaluations": count}
    yield Hit(said, numbers, where=series.name, step=int(found.steps[0]), severity="warning", confidence=0.7)


def _whole(factors: Tensor) -> int:
    """The whole number from 2 to 64 that all of them are near; 0 if there is none."""
    if not factors.numel() or not bool(torch.isfinite(factors).all()):
        return 0
    factor = _median(factors)
    whole = round(factor)
    if not 2 <= whole <= MOST or abs(factor / whole - 1) > CLOSE or float((factors / whole - 1).abs().max()) > ALIKE:
        return 0
    return whole


def _median(values: Tensor) -> float:
    return float(values.median()) if values.numel() else float("nan")
