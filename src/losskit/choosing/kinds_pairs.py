"""Tables without a number or a class to predict: pairs, triplets, pairs with a grade, texts."""

from __future__ import annotations

import torch

from .advice import Answer, Question
from .columns import CATEGORIES, Column, Columns
from .kinds_said import Decision

__all__ = ["LEAST", "LONG", "MANY", "decide_pairs", "letters", "text_of"]

MANY = 0.5  # more different values than half of the rows: names or texts
LONG = 30  # letters of a running text, on average
LEAST = 10  # rows from which that can be told

# names that say what a column is to the others
ANCHORS = ("anchor", "query", "question", "image", "sentence1", "sentence_1", "text1", "premise", "left", "a", "x1", "input1")
KEYS = ("positive", "pos", "key", "document", "doc", "passage", "answer", "response", "caption",
        "sentence2", "sentence_2", "text2", "hypothesis", "right", "b", "x2", "input2")  # fmt: skip
NEGATIVES = ("negative", "neg", "hard_negative", "negative_1")
SCORES = ("score", "similarity", "label", "target", "grade", "gold", "sim", "is_duplicate")


def decide_pairs(columns: Columns) -> Decision:
    """Pairs, triplets or texts, where columns hold whole texts or vectors; no task where they are something else."""
    things = [column for column in columns.inputs if _thing(column)]
    named = {column.name.lower(): column for column in columns.inputs}
    anchor = next((named[n] for n in ANCHORS if n in named and named[n] in things), None)
    key = next((named[n] for n in KEYS if n in named and named[n] in things), None)
    negative = next((named[n] for n in NEGATIVES if n in named and named[n] in things), None)
    if columns.targets:
        return _with_target(columns, things, anchor, key)
    if anchor and key and negative:
        return Decision("embedding", "triplets", {"anchor": anchor.name, "positive": key.name, "negative": negative.name})
    others = [column for column in columns.inputs if column not in things]
    if len(things) == 2 and len(others) == 1 and others[0].name.lower() in SCORES:
        return Decision(
            None,
            questions=(
                Question(
                    f'"{others[0].name}" stands beside two columns of text or vectors: is it how alike they are?',
                    (
                        Answer("yes", "pairs with a grade, or a yes and a no", {"target": others[0].name}),
                        Answer("no", f"pairs of {_names(things)}", {"inputs": [one.name for one in things]}),
                    ),
                ),
            ),
        )
    if len(things) == 2 and not others:
        first, second = (anchor, key) if anchor and key else (things[0], things[1])
        return Decision("embedding", "pairs", {"query": first.name, "key": second.name})
    if len(things) == 1 and not others:
        return Decision("language", "tokens" if things[0].kind == "list" else "text")
    return Decision(None, questions=(_which(columns),))


def _with_target(columns: Columns, things: list[Column], anchor: Column | None, key: Column | None) -> Decision:
    """Two texts or vectors and what they are to each other."""
    alone = len(columns.inputs) == 2 and len(things) == 2
    if len(columns.targets) > 1 or not (alone or (anchor and key)) or columns.target.kind not in ("number", "bool"):
        return Decision(None)
    first, second = (anchor, key) if anchor and key else (things[0], things[1])
    values = torch.unique(columns.target.known)
    roles = {"query": first.name, "key": second.name}
    yes_no = len(values) <= 2 and set(values.tolist()) <= {0.0, 1.0, -1.0}
    return Decision("embedding", "labelled pairs" if yes_no else "graded pairs", roles)


def text_of(columns: Columns) -> Column | None:
    """The column that a language model learns: texts or lists of tokens, else rows of them; None if there is none."""
    parts = [*columns.targets, *columns.inputs]
    found = [column for column in parts if column.kind in ("list", "text")]
    running = [column for column in found if _running(column)]
    if running and not columns.targets and found[0].kind == "text":  # a table that names none has titles and sources, too
        return max(running, key=letters)
    return next(iter(found), next((column for column in parts if column.kind == "vector"), None))


def letters(column: Column) -> float:
    """How long the different words or texts of a column are, on average."""
    return sum(map(len, column.levels)) / max(len(column.levels), 1)


def _running(column: Column) -> bool:
    """Long texts, mostly different: what a language model learns; not categories, names or ids."""
    known = int((~column.missing).sum())
    return column.kind == "text" and known > LEAST and len(column.levels) > MANY * known and letters(column) > LONG


def _thing(column: Column) -> bool:
    """Whether a column holds things that a model turns into vectors: texts, vectors, tokens; not categories or numbers."""
    if column.kind in ("vector", "list"):
        return True
    if column.kind != "text":
        return False
    many = len(column.levels) > CATEGORIES or len(column.levels) > MANY * len(column)
    sentences = sum(" " in level for level in column.levels) > 0.5 * len(column.levels)
    return many or sentences


def _names(columns: list[Column]) -> str:
    return " and ".join(f'"{column.name}"' for column in columns)


def _which(columns: Columns) -> Question:
    names = [column.name for column in columns.inputs]
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    texts = [column.name for column in columns.inputs if _running(column)]
    others = [name for name in names if name not in texts]
    answers = [Answer("a column", "this one, for example", {"target": (others or names)[-1]})]
    if texts and (learned := text_of(columns)) is not None:
        answers.append(Answer(f'the next token of "{learned.name}"', "a language model of its texts", {"task": "language"}))
    return Question(f"Which column shall be predicted: {listed}?", tuple(answers))
