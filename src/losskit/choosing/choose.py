"""choose(): from a task or from data to a loss, with the reason, the code and the numbers to expect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from .advice import TASKS, Advice
from .class_count import check_num_classes
from .columns import Columns, NothingThereError, read_columns
from .inputs_said import inputs_facts
from .kinds import Decision, decide
from .profile_rows import rows_facts, rows_warnings, telling
from .seen import Seen
from .targets import Target, encode, levels_of
from .wants import check_want, want_of

__all__ = ["advise", "choose"]


def choose(
    data: Any = None,
    *,
    target: str | int | Sequence[str | int] | None = None,
    task: str | None = None,
    group: Any = None,
    inputs: Any = None,
    want: str | None = None,
    num_classes: int | None = None,
    prove: bool = False,
    seed: int = 0,
    progress: Callable[..., None] | None = None,
) -> Advice:
    r"""Which loss to take, from the task alone or from what the data look like, with code that is filled in from them.

    Nothing is invented: what the data do not decide is in ``questions``, with the default that was taken and the argument that
    gives each answer, and where there is nothing to learn ``first`` is None and ``refusal`` says why.

    Args:
        data: the target itself (array, tensor, list, Series), or a table: a mapping of columns, a frame of pandas or polars, or
            the path of a file (csv, tsv, parquet, jsonl, npy, npz; text also .gz and .zst). None to go by ``task`` alone.
        target: the column to be predicted, or several. Pairs and triplets have none.
        task: one of "binary", "multiclass", "multilabel", "regression", "count", "embedding", "ranking", "language"; by default
            what the data look like.
        group: the column of the query, or list, that a row belongs to; beside an array, an array.
        inputs: the columns that are learned from, by default all others; beside an array, an array (n, features).
        want: what is wanted of the predictions, a word of the task such as "order" or "quantile=0.9"; they are listed, with
            what each means, in ``losskit.choosing.wants.WANTS`` and in the guide "Which loss?".
        num_classes: how many classes, labels or tokens there are, where no data show all of them.
        prove: train a small model with each candidate, cross-validated, and report the task's own metrics.
        seed: of what is drawn: rows of large tables, folds, starting weights.
        progress: called by the proof as it goes on.
    Returns:    an ``Advice``; it prints as text, ``.json()`` and ``.html()`` give it to programs and browsers.
    Raises:     ValueError for a task, a column or a want that is not there, a number of classes that the data contradict, or
        data that cannot be read.
    Example:
        >>> losskit.choose([3.1, 2.9, 3.3, 2.7] * 20).first.loss
        'mse_loss'
        >>> losskit.choose(task="binary").first.start  # ln 2
        0.6931471805599453
        >>> losskit.choose(task="regression", want="quantile=0.9").first.code.splitlines()[-1]
        'loss = losskit.quantile_loss(prediction, target, quantile=0.9)'
    """
    advice, columns = advise(data, target=target, task=task, group=group, inputs=inputs, want=want, num_classes=num_classes)
    return _proved(advice, columns, seed, progress) if prove and (data is None or advice.first is not None) else advice


def advise(
    data: Any,
    *,
    target: Any,
    task: str | None,
    group: Any,
    inputs: Any,
    want: str | None = None,
    num_classes: int | None = None,
) -> tuple[Advice, Columns | None]:
    """The advice without a proof, and the data that a proof would train on, read once."""
    _check_task(data, task)
    if data is None or task is not None:  # else the words are those of what the data look like
        check_want(want, task)
    num_classes = check_num_classes(num_classes, task)
    if data is None:
        given = {"target": target, "group": group, "inputs": inputs}
        if named := next((name for name, one in given.items() if one is not None), None):
            raise ValueError(f'"{named}" is of data, and there are none: pass "data" too')
        assert task is not None
        wanted = None if want is None else want_of(want, task)
        return _advised(Seen(task, want=wanted, num_classes=num_classes)), None
    of_file = Path(data).name if isinstance(data, (str, PathLike)) else ""
    try:
        columns = read_columns(data, target=target, group=group, inputs=inputs)
    except NothingThereError as empty:
        return Advice(task, None, refusal=f"{empty}.", source=of_file), None
    return replace(_from_columns(columns, task, want, num_classes), source=of_file), columns


def _check_task(data: Any, task: str | None) -> None:
    if task is not None and task not in TASKS:
        near = get_close_matches(str(task).lower(), TASKS, 1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise ValueError(f'"task" is {task!r}, expected one of {", ".join(TASKS)}{hint}')
    if isinstance(data, str) and data in TASKS:
        raise ValueError(f'"data" is {data!r}, which is a task: choose(task="{data}")')
    if data is None and task is None:
        raise ValueError(f'expected "data", or a "task" of {", ".join(TASKS)}')


def _from_columns(columns: Columns, task: str | None, want: str | None, num_classes: int | None) -> Advice:
    decision = decide(columns)
    if task is not None:
        decision = _told(task, decision, columns)
    elif decision.task == "binary" and (num_classes or 0) > 2 and len(levels_of(columns.target)) <= 2:
        # there are more than those that came
        decision = replace(decision, task="multiclass")
    unused = telling(columns)
    facts = (*rows_facts(columns), *inputs_facts(columns, decision.task, unused))
    warnings = (*decision.warnings, *rows_warnings(columns, facts, unused))
    if decision.task is None:
        check_want(want, None)
        why, unread = decision.refusal, decision.unread
        return Advice(None, None, facts=facts, warnings=warnings, questions=decision.questions, refusal=why, unread=unread)
    wanted = None if want is None else want_of(want, decision.task, told=task is not None)
    check_num_classes(num_classes, decision.task)
    encoded = None if decision.unread else _target(columns, decision, num_classes)
    seen = Seen(decision.task, columns, encoded, decision.shape, facts, warnings, decision.questions, decision.roles, wanted,
                num_classes)  # fmt: skip
    if decision.refusal:
        return replace(seen.refused(decision.refusal), unread=decision.unread)
    if encoded is not None and not len(encoded.rows):
        return seen.refused("No row has a known target: there is nothing to learn.")
    return _advised(seen)


def _told(task: str, found: Decision, columns: Columns) -> Decision:
    """The user's word counts; what is left of the look of the data is where it found nothing to learn."""
    if task == found.task:
        return replace(found, questions=tuple(q for q in found.questions if all(a.given.get("task") != task for a in q.answers)))
    if found.unread and task in ("regression", "count", "ranking"):
        return Decision(task, refusal=found.refusal, unread=found.unread)
    if found.refusal and _empty(columns):
        return Decision(task, refusal=found.refusal)
    if task == "embedding" and columns.targets:
        return Decision(task, "labels", warnings=found.warnings)
    if task == "language":
        return Decision(task, "text", warnings=found.warnings)
    if not columns.targets:
        raise ValueError(f'"task" is "{task}" and "target" is missing: name one of {", ".join(c.name for c in columns.inputs)}')
    return Decision(task, warnings=() if task == "ranking" else found.warnings)


def _empty(columns: Columns) -> bool:
    """Whether no task could learn: all targets missing."""
    return any(bool(column.missing.all()) for column in columns.targets)


def _target(columns: Columns, decision: Decision, num_classes: int | None) -> Target | None:
    task, shape = decision.task, decision.shape
    if task is None or task == "language" or not columns.targets or _empty(columns):
        return None
    return encode(columns, "regression" if shape in ("labelled pairs", "graded pairs") else task, num_classes)


def _advised(seen: Seen) -> Advice:
    advise: Callable[[Seen], Advice] = import_module(f"{__package__}.tasks.{seen.task}").advise
    return advise(seen)


def _proved(advice: Advice, columns: Columns | None, seed: int, progress: Any) -> Advice:
    if columns is None:
        raise ValueError('"prove" trains on data, and there are none: pass "data" with a target and inputs')
    from .prove import prove as train

    return replace(advice, proof=train(advice, columns, seed=seed, progress=progress))
