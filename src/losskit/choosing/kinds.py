"""Which task a target is for; what it leaves open is a question, and where there is nothing to learn a refusal."""

from __future__ import annotations

import re
from dataclasses import replace

import torch

from .advice import Answer, Question
from .columns import Column, Columns
from .columns_cells import is_number
from .kinds_numbers import decide_number
from .kinds_pairs import LEAST, LONG, MANY, decide_pairs, letters
from .kinds_said import Decision, all_rows
from .profile_lists import lists_of
from .targets import group_codes

__all__ = ["Decision", "decide"]

# 1,5 and 1.234,50 and $ 12 and 7 %; not T2 (a class), 1.2.3 (a version) or 24.12.2021 (a day)
SPELT = re.compile(r"[^\w\s]{0,3}\s?[+-]?(\d{1,3}([.,' ]\d{3})+|\d+)([.,]\d+)?\s?[%€$£]?")
VECTOR = 16  # numbers a row from which a matrix alone may be embeddings
ORDERED = (
    ("low", "medium", "high"), ("small", "medium", "large"), ("never", "rarely", "sometimes", "often", "always"),
    ("poor", "fair", "good", "excellent"), ("bad", "neutral", "good"), ("mild", "moderate", "severe"),
    ("strongly disagree", "disagree", "neutral", "agree", "strongly agree"), ("none", "some", "all"),
)  # fmt: skip
QUERY_NAMES = ("query", "query_id", "qid", "group", "session", "session_id", "list_id", "search_id")
SUM = 1e-3  # rows of probabilities that are written with three digits


def decide(columns: Columns) -> Decision:
    """The task of the columns, as far as they tell it."""
    if not columns.targets:
        return decide_pairs(columns)
    for target in columns.targets:
        if bool(target.missing.all()):
            return Decision(None, refusal=f'"{target.name}" is missing in {all_rows(columns.rows)}: there is nothing to learn.')
    if (found := decide_pairs(columns)).task == "embedding":
        return found
    alone = _several(columns) if len(columns.targets) > 1 else _one(columns.target, columns)
    if alone.refusal or columns.group is None:
        return _vectors(_maybe_lists(alone, columns), columns)
    return _grouped(alone, columns)


def _one(column: Column, columns: Columns) -> Decision:
    if column.kind == "vector":
        return _several(columns)
    if column.kind == "list":
        return _lists(column)
    if column.kind == "date":
        return Decision(
            None,
            questions=(
                Question(
                    f'"{column.name}" is a date: what of it shall be predicted?',
                    (
                        Answer("how long until or since", "make it the number of days from a date that is known: a regression"),
                        Answer("whether before a day", "make it a column of yes and no: binary"),
                    ),
                ),
            ),
        )
    if column.kind in ("number", "bool"):
        return decide_number(column)
    return _words(column)


def _words(column: Column) -> Decision:
    known = len(column.known)
    classes = len(torch.unique(column.known))
    if classes == 1:
        return Decision(None, refusal=f'"{column.name}" is {column.levels[0]!r} in {all_rows(known)}: there is nothing to learn.')
    if (odd := _misspelt(column)) is not None:
        return Decision(None, refusal=odd, unread=column.name)
    if classes == known or classes > MANY * known:
        if known <= LEAST:
            few = f'"{column.name}" has {classes} values in {known} rows: too few to tell classes from names.'
            return Decision(None, refusal=few)
        if letters(column) > LONG or sum(" " in level for level in column.levels) > 0.5 * len(column.levels):
            return Decision("language", shape="text")
        return Decision(
            None,
            refusal=f'"{column.name}" has {classes} different values in {known} rows: names or ids, nothing to learn.',
        )
    if classes == 2:
        return Decision("binary")
    decision = Decision("multiclass")
    lowered = {level.lower() for level in column.levels}
    if len(lowered) < len(column.levels):
        twice = [level for level in column.levels if level != level.lower() and level.lower() in column.levels]
        pair = twice[0] if twice else column.levels[0]
        warning = (
            f'"{column.name}" has {len(column.levels)} classes, {len(lowered)} without case, as of {pair!r}: one class or two?'
        )
        decision = replace(decision, warnings=(warning,))
    order = next((o for o in ORDERED if len(lowered & set(o)) >= 3 and lowered <= set(o)), None)
    if order:
        question = Question(
            f'"{column.name}" looks like steps: {" < ".join(w for w in order if w in lowered)}. Does a miss by two cost more?',
            (
                Answer("no", "cross_entropy", {"task": "multiclass"}, taken=True),
                Answer("yes", "write the steps as numbers, and then it is a regression"),
            ),
        )
        decision = replace(decision, questions=(question,))
    return decision


def _misspelt(column: Column) -> str | None:
    """What keeps a column of numbers from being read as such."""
    spelt = [bool(SPELT.fullmatch(level)) for level in column.levels]
    if len(spelt) < 3 or sum(spelt) < 0.8 * len(spelt):
        return None
    plain = [is_number(level) for level in column.levels]
    # a code with leading zeros is a name, and meant so
    if not all(spelt) or not any(level[0] == "0" and level.isdigit() for level in column.levels):
        example = column.levels[spelt.index(False) if not all(spelt) else plain.index(False)]
        return (
            f'"{column.name}" holds numbers, yet some are written as {example!r}: write them as 1234.5, or leave the field empty.'
        )
    return None


def _lists(column: Column) -> Decision:
    rows = [row for row in column.lists if row]
    if not rows:
        return Decision(None, refusal=f'"{column.name}" holds only empty lists: there is nothing to learn.')
    repeats = sum(len(set(row)) < len(row) for row in rows) / len(rows)
    if repeats > 0.2:  # a label is there or not, a token may come again
        return Decision("language", shape="tokens")
    return Decision("multilabel")


def _several(columns: Columns) -> Decision:
    """Several numbers a row."""
    if any(column.kind in ("text", "list", "date") for column in columns.targets):
        names = ", ".join(f'"{c.name}"' for c in columns.targets if c.kind in ("text", "list", "date"))
        return Decision(
            None, refusal=f"Of several targets all have to be numbers, and {names} is not: choose for each one alone."
        )
    wide = torch.cat([c.values.reshape(len(c), -1).double() for c in columns.targets], 1)
    wide = wide[wide.isfinite().all(1)]
    if not len(wide):
        return Decision(None, refusal="No row has all of its targets: there is nothing to learn.")
    total = wide.sum(1)
    if bool(((wide == 0) | (wide == 1)).all()):
        return Decision("multiclass") if bool((total == 1).all()) and len(wide) > 1 else Decision("multilabel")
    if bool((wide >= 0).all()) and bool(((total - 1).abs() < SUM).all()):
        return Decision("multiclass")
    if bool(((wide >= 0) & (wide <= 1)).all()) and float(wide.min()) < 0.1 and float(wide.max()) > 0.9:
        question = Question(
            "Targets lie between 0 and 1 and do not add up to 1: are they shares of a yes, or measurements?",
            (
                Answer("shares of a yes", "a yes or no for each label", {"task": "multilabel"}, taken=True),
                Answer("measurements", "several numbers a row", {"task": "regression"}),
            ),
        )
        return Decision("multilabel", questions=(question,))
    if wide.shape[1] >= VECTOR and not columns.inputs:
        question = Question(
            f"There are {wide.shape[1]} numbers a row and nothing else: targets of a regression, or embeddings?",
            (
                Answer("targets", "several numbers a row", {"task": "regression"}, taken=True),
                Answer("embeddings", "make a table of them with their labels or pairs, and then the task is embedding"),
            ),
        )
        return Decision("regression", questions=(question,))
    return Decision("regression")


def _vectors(decision: Decision, columns: Columns) -> Decision:
    """Whether the inputs are vectors of length one, which are compared rather than classified."""
    for column in columns.inputs:
        if decision.task == "multiclass" and column.kind == "vector" and column.values.shape[1] > 1:
            lengths = column.values[~column.missing].norm(dim=1)
            if len(lengths) and float((lengths - 1).abs().max()) < SUM:
                question = Question(
                    f'The rows of "{column.name}" have length one, as embeddings have: is it classes, or search?',
                    (
                        Answer("classes", "cross_entropy", {"task": "multiclass"}, taken=True),
                        Answer("search, similarity", "a loss that pulls rows of one class together", {"task": "embedding"}),
                    ),
                )
                return replace(decision, questions=(*decision.questions, question))
    return decision


def _maybe_lists(decision: Decision, columns: Columns) -> Decision:
    """Whether a column that was not named as the group looks like one."""
    names = [c.name for c in columns.inputs if c.name.lower() in QUERY_NAMES]
    if names and decision.task in ("binary", "multiclass", "count", "regression"):
        question = Question(
            f'"{names[0]}" looks like the list that rows belong to: are items of one list compared?',
            (
                Answer("yes", "a ranking within each list", {"group": names[0]}),
                Answer("no", f"{decision.task}, each row alone", {"task": decision.task}, taken=True),
            ),
        )
        return replace(decision, questions=(*decision.questions, question))
    return decision


def _grouped(alone: Decision, columns: Columns) -> Decision:
    """Rows in groups are lists to rank, if their targets are numbers that differ within a list."""
    assert columns.group is not None
    target = columns.target
    if lost := int(columns.group.missing.sum()):
        if lost == columns.rows:
            warning = f'"{columns.group.name}" is missing in all rows: there are no lists, so groups are left aside.'
            return replace(alone, warnings=(*alone.warnings, warning))
        warning = f'"{columns.group.name}" is missing in {lost:,} of {columns.rows:,} rows: together they count as one list.'
        alone = replace(alone, warnings=(*alone.warnings, warning))
    if len(columns.targets) > 1 or target.kind not in ("number", "bool"):
        return alone
    known = ~target.missing & target.values.isfinite()
    lists = lists_of(target.values[known], group_codes(columns.group)[known])
    if not lists.informative:
        what = "one row" if lists.longest == 1 else "rows of one value only"
        warning = f'Each group of "{columns.group.name}" has {what}: there is no order to learn, so groups are left aside.'
        return replace(alone, warnings=(*alone.warnings, warning))
    # whoever names the column of the queries has answered what is asked of it; a patient's rows may be compared or not
    said = columns.group.name.lower() in QUERY_NAMES
    if lists.graded or (lists.binary and alone.task == "binary"):
        asks = f'Are the values of "{target.name}" compared within a list of "{columns.group.name}", or is each row judged alone?'
        kept = (
            Answer("compared", "a ranking within each list", {"task": "ranking"}, taken=True),
            Answer("alone", f"{alone.task}, each row alone", {"task": alone.task}),
        )
        asked = lists.binary and not said
        return Decision("ranking", questions=(Question(asks, kept),) if asked else (), warnings=alone.warnings)
    asks = f'Is it the order of "{target.name}" within "{columns.group.name}" that counts, or its size?'
    answers = (
        Answer("the order", "a ranking within each list", {"task": "ranking"}, taken=True),
        Answer("the size", f"{alone.task}, with folds by group", {"task": alone.task}),
    )
    return Decision("ranking", questions=() if said else (Question(asks, answers),), warnings=alone.warnings)
