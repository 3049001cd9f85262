"""prove(): each candidate trained on the user's own data, cross-validated, and judged by the task's own figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.card import CATALOGUE
from ..advice import Advice, Candidate, Proof
from ..columns import Columns
from .constant import CONSTANT, constant
from .folds import Fold, folds, strata
from .heads import Head, Scale, classes_head, labels_head, number_head, scores_head
from .inputs import NO_CLASSES, problem_of, standardised
from .metric import Metric
from .metrics import judged, metrics, primary
from .network import BATCH, HIDDEN, STEPS, Data, Objective, fit, predict
from .pairs import WIDTH, embedding_head
from .problem import MOST_ROWS, Problem, Units, smaller, units
from .verdict import any_beats, compared, scored, verdict

__all__ = ["prove", "prove_problem"]

MODELS = ("linear", "mlp")
COSTLY = ("embedding", "ranking")  # their folds are not repeated
FAR = 1e4  # Adam takes a factor of the loss away, as long as float32 holds what it squares
LEAST = 20  # units: with fewer, a fold tests on three
NO_MODEL = {
    "language": "a language model cannot be trained in a minute: train yours for a few hundred steps with each loss and score "
    "each with `losskit perplexity`, and compare the two reports with `losskit perplexity compare`",
}
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Plan:
    """What is the same for every candidate."""

    problem: Problem
    units: Units
    target: Tensor
    folds: list[Fold]
    data: Data
    metrics: tuple[Metric, ...]
    seed: int


@contextmanager
def _one_thread() -> Generator[None]:
    """Matrices are small: on a busy machine a second thread costs a hundred times what it saves, and it moves last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prove(advice: Advice, columns: Columns, *, seed: int = 0, progress: Progress | None = None) -> Proof:
    """Train a linear model and an MLP with every candidate of the advice, those to be avoided too.

    Args:
        columns: the data that the advice is about, with inputs.
        seed: of folds, first weights and batches: the same seed gives the same numbers on the same machine.
        progress: called with (done, total, what comes next).
    Raises:     ValueError where there is nothing to train on, with what to do instead.
    """
    if advice.first is None or advice.task is None:
        raise ValueError("a proof compares a first choice with others, and this advice has none: answer its questions first")
    if advice.task in NO_MODEL:
        raise ValueError(NO_MODEL[advice.task])
    if advice.task == "embedding" and "labels" not in CATALOGUE[advice.first.loss].tensors:  # pairs, with a grade or without
        raise ValueError(NO_CLASSES)
    return prove_problem(advice, problem_of(columns, advice.task, advice.num_classes, advice.want), seed=seed, progress=progress)


@_one_thread()
def prove_problem(advice: Advice, problem: Problem, *, seed: int = 0, progress: Progress | None = None) -> Proof:
    """The same of a problem that is tensors already."""
    began = time.perf_counter()
    assert advice.first is not None  # prove() has looked
    first, rows = advice.first, len(problem.target)
    plan = _plan(problem, first, seed, advice.want)
    named = _named([first, *advice.alternatives, *advice.avoid])
    found: dict[tuple[str, str], Mapping[str, list[float]]] = {}
    left_out: dict[str, str] = {}
    for i, (name, candidate) in enumerate(named.items()):
        for j, model in enumerate(MODELS):
            if progress is not None:
                progress(len(MODELS) * i + j, len(MODELS) * len(named), f"{name}, {model}")
            try:
                found[name, model] = _trained(plan, candidate, model)
            except (ValueError, TypeError, IndexError) as problem_with:
                if candidate is first:
                    raise
                left_out[name] = str(problem_with)
                break
    if progress is not None:
        progress(len(MODELS) * len(named), len(MODELS) * len(named), "done")
    ratio = len(plan.folds[0].test) / (len(plan.units) - len(plan.folds[0].test))
    scores = scored(found, ratio)
    comparisons = compared(found, plan.metrics, first.loss, ratio)
    deciding = next(one for one in plan.metrics if one.name == primary(problem, first, advice.want))
    flat = constant(plan.problem, plan.target, plan.folds, deciding)
    scores += scored({(CONSTANT, CONSTANT): {deciding.name: flat}} if flat else {}, ratio)
    learned = not flat or any_beats(found, flat, deciding, ratio)
    avoid = [name for name, one in named.items() if one in advice.avoid]
    said = verdict(scores, comparisons, first=first.loss, avoid=avoid, metric=deciding, learned=learned)
    ordered = (deciding, *(one for one in plan.metrics if one is not deciding))
    told = {one.name: one.says for one in ordered}
    method, seconds = _method(plan, deciding, left_out, rows, advice.want), time.perf_counter() - began
    return Proof(told, scores, comparisons, said, method, len(plan.problem.target), seconds, plan.problem.said)


def _named(candidates: list[Candidate]) -> dict[str, Candidate]:
    """A name for each candidate; the same loss with other options is called after them."""
    first = candidates[0].loss
    plain = {one.loss for one in candidates if not one.options}
    found: dict[str, Candidate] = {}
    for i, one in enumerate(candidates):
        # the first choice and a loss as it is go by the loss's name, whichever comes first
        bare = i == 0 or (one.loss not in found and one.loss != first and not (one.options and one.loss in plain))
        name = one.loss if bare else f"{one.loss}({', '.join(one.options) or 'plain'})"
        found.setdefault(name, one)
    return found


def _plan(problem: Problem, first: Candidate, seed: int, want: str) -> _Plan:
    generator = torch.Generator().manual_seed(seed)
    problem = smaller(problem, generator)
    made = units(problem)
    if len(made) < LEAST:
        what = "lists" if problem.task == "ranking" else "rows"
        raise ValueError(f"a proof needs {LEAST} {what} with a target, there are {len(made)}: what it says would be chance")
    by = strata(made.target, problem.task)
    k = _parts(made, by)
    every = folds(len(made), k, 1 if problem.task in COSTLY else 2, generator, by=by, group=made.group)
    inputs = torch.stack([standardised(made.inputs, fold.train, made.mask) for fold in _same_width(made, every)])
    train, stop = (_even([getattr(fold, part) for fold in every]) for part in ("train", "stop"))
    target = made.target if made.mask is None else torch.stack([made.target, made.mask.to(made.target.dtype)], -1)
    return _Plan(problem, made, target, every, Data(inputs, train, stop), metrics(problem, first, want), seed)


def _parts(made: Units, by: Tensor | None) -> int:
    """How many folds: five, or as few as the rarest class or the groups have room for."""
    if made.group is not None:
        return _at_least_two(min(5, len(made.group.unique())), f"{len(made.group.unique())} group")
    if by is None:
        return 5
    rarest = int(by.unique(return_counts=True)[1].min())
    return _at_least_two(min(5, rarest // 2), f"the rarest class has {rarest} row{'s' * (rarest != 1)}")


def _at_least_two(k: int, why: str) -> int:
    if k < 2:
        raise ValueError(f"a proof needs two folds with every class, and {why}: collect more of it, or leave it out")
    return k


def _same_width(made: Units, every: list[Fold]) -> list[Fold]:
    """The folds; an input that is missing only outside of some fold's training rows is filled in beforehand, everywhere."""
    rows = made.inputs if made.mask is None else made.inputs.where(made.mask[..., None], 0)
    for fold in every:
        seen = rows[fold.train].isnan().flatten(0, -2).any(0)
        unseen = rows.isnan().flatten(0, -2).any(0) & ~seen
        for column in unseen.nonzero().flatten().tolist():
            made.inputs[..., column] = made.inputs[..., column].nan_to_num(float(made.inputs[..., column].nanmedian()))
    return every


def _even(parts: list[Tensor]) -> Tensor:
    """Index lists of nearly one length as one tensor: those that are longer lose their last rows."""
    least = min(map(len, parts))
    return torch.stack([part[:least] for part in parts])


def _trained(plan: _Plan, candidate: Candidate, model: str) -> dict[str, list[float]]:
    """The figures of each fold."""
    head = _head(plan, candidate)
    apart = plan.problem.task != "embedding" and _rows_apart(head, plan)
    made = _apart(head, plan.target) if apart else _together(head, plan.target, alone=plan.problem.task == "embedding")
    size = _size(head, plan)

    def objective(outputs: Tensor, at: Tensor) -> Tensor:
        return made(outputs, at) / size

    weights = fit(plan.data, objective, head.outputs, model=model, seed=plan.seed, steps=_steps(plan.problem))
    found: dict[str, list[float]] = {}
    with torch.no_grad():
        for i, fold in enumerate(plan.folds):
            inputs = plan.data.inputs[i, fold.test][None]
            guess = head.read(predict([w[i : i + 1] for w in weights], inputs)[0])
            for name, value in judged(plan.metrics, guess, plan.target[fold.test]).items():
                found.setdefault(name, []).append(value)
    return {name: values for name, values in found.items() if len(values) == len(plan.folds)}


def _size(head: Head, plan: _Plan) -> float:
    """How large the loss is at the constant, where that is far from 1: squares of a gradient must fit into float32."""
    if plan.problem.task not in ("regression", "count"):
        return 1.0
    value = abs(float(head.call(torch.zeros(len(plan.target), head.outputs), plan.target, "mean")))
    return 1.0 if 1 / FAR < value < FAR or not 0 < value < math.inf else value


def _steps(problem: Problem) -> int:
    """A third for embeddings: their losses see all pairs of a batch, and each model is by itself."""
    return STEPS // 3 if problem.task == "embedding" else STEPS


def _head(plan: _Plan, candidate: Candidate) -> Head:
    problem, target = plan.problem, plan.units.target
    if problem.task in ("binary", "multiclass"):
        return classes_head(candidate, problem.classes, binary=problem.task == "binary")
    if problem.task == "multilabel":
        return labels_head(candidate, problem.classes)
    if problem.task == "embedding":
        return embedding_head(candidate, plan.seed)
    if problem.task == "ranking":
        return scores_head(candidate)
    known = target.double()
    low, middle, high = known.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    spread = (high - low) / 1.349 or float(known.std()) or 1.0
    return number_head(candidate, Scale(middle, spread, float(known.mean())))


def _apart(head: Head, target: Tensor) -> Objective:
    """The mean loss of each model, of the rows of all models at once."""

    def of(outputs: Tensor, at: Tensor) -> Tensor:
        value = head.call(outputs.flatten(0, 1), target[at].flatten(0, 1), "none")
        return value.reshape(len(outputs), -1).mean(1)

    return of


def _together(head: Head, target: Tensor, *, alone: bool) -> Objective:
    """The same of a loss that compares the rows of a batch: each model by itself, side by side where the loss allows it."""

    def mean(z: Tensor, y: Tensor) -> Tensor:
        return head.call(z, y, "mean")

    batched: Callable[[Tensor, Tensor], Tensor] = torch.func.vmap(mean)
    slow = alone  # losses of embeddings draw pairs, and their backward passes do not go side by side

    def of(outputs: Tensor, at: Tensor) -> Tensor:
        nonlocal slow
        z, y = outputs[:, :BATCH], target[at[:, :BATCH]]
        if not slow:
            try:
                return batched(z, y)
            except RuntimeError:  # it looks at values, as torch.func.vmap cannot
                slow = True
        return torch.stack([mean(one, labels) for one, labels in zip(z, y, strict=True)])

    return of


def _rows_apart(head: Head, plan: _Plan) -> bool:
    """Whether a row's loss is its own: the same with half of the other rows away."""
    at = plan.data.train[0]
    shape = (len(at), *plan.target.shape[1:-1], head.outputs) if plan.units.mask is not None else (len(at), head.outputs)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y, half = plan.target[at], len(at) // 2
    all_rows, some = head.call(z, y, "none"), head.call(z[:half], y[:half], "none")
    return (
        all_rows.shape[:1] == (len(at),) and some.shape[:1] == (half,) and torch.allclose(all_rows[:half], some, equal_nan=True)
    )


def _folds_said(plan: _Plan) -> str:
    once = sum(len(fold.test) for fold in plan.folds) == len(plan.units)
    return f"{len(plan.folds)}" if once else f"Twice {len(plan.folds) // 2}"


def _method(plan: _Plan, deciding: Metric, left_out: Mapping[str, str], rows: int, want: str) -> str:
    what, steps = "lists" if plan.problem.task == "ranking" else "rows", _steps(plan.problem)
    dealt = "plain" if strata(plan.target, plan.problem.task) is None else "stratified"
    kind = dealt if plan.units.group is None else "grouped"
    some = "" if rows <= MOST_ROWS else f" {len(plan.problem.target):,} of {rows:,} rows, drawn at random."
    size = f", both with {WIDTH} outputs" if plan.problem.task == "embedding" else ""
    text = (
        f"{_folds_said(plan)} {kind} folds of {len(plan.units):,} {what}, a linear model and an MLP of one hidden layer of "
        f"{HIDDEN}{size}. Each candidate has the same first weights and at most {steps} steps of Adam at three learning rates; "
        f"a fifth of the training rows chooses step and rate by the candidate's own loss.{some} "
        "Intervals: corrected resampled t at 95 %; of differences, 95 % for all rivals under one figure and model together "
        "(Bonferroni). "
        f"The verdict is by {deciding.name}, which is {'wanted' if want else 'what the first choice claims to be good at'}."
    )
    return text + "".join(f" Not trained: {name} ({why})." for name, why in left_out.items())
