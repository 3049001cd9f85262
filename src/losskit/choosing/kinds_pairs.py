"""Tables without a number or a class to predict: pairs, triplets, pairs with a grade, texts."""

from __future__ import annotations

import torch

from .advice import Answer, Question
from .columns import CATEGORIES, Column, Columns
from .kinds_said import Decision

__all__ = ["decide_pairs"]

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


def _thing(column: Column) -> bool:
    """Whether a column holds things that a model turns into vectors: texts, vectors, tokens; not categories or numbers."""
    if column.kind in ("vector", "list"):
        return True
    if column.kind != "text":
        return False
    many = len(column.levels) > CATEGORIES or len(column.levels) > 0.5 * len(column)
    sentences = sum(" " in level for level in column.levels) > 0.5 * len(column.levels)
    return many or sentences


def _names(columns: list[Column]) -> str:
    return " and ".join(f'"{column.name}"' for column in columns)


def _which(columns: Columns) -> Question:
    names = [column.name for column in columns.inputs]
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return Question(
        f"Which column shall be predicted: {listed}?",
        (Answer("a column", "this one, for example", {"target": names[-1]}),),
    )
