"""What a model is shown of the inputs, in which form, and what it is not shown: one line, of the advice and of its proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .advice import Fact
from .columns import Columns

__all__ = ["inputs_facts", "inputs_said"]

NAMED = 12  # columns that are left out; the rest is counted


def inputs_facts(columns: Columns, task: str | None, unused: Mapping[str, str]) -> list[Fact]:
    """The inputs of a table with a target; none where they are texts for an encoder, or the target's own text.

    Args:
        columns: the table.
        task: what is learned.
        unused: inputs that decide everything by themselves, and why.
    """
    encoded = task == "embedding" and any(column.kind in ("text", "list") for column in columns.inputs)
    if not columns.targets or not columns.inputs or encoded or task == "language":
        return []
    rest = {column.name: column.unfit for column in columns.inputs if column.unfit and column.name not in unused}
    left_out = {**unused, **rest}
    return [Fact("inputs", len(columns.inputs) - len(left_out), inputs_said(columns, left_out))]


def inputs_said(columns: Columns, left_out: Mapping[str, str], blanks: Sequence[str] = ()) -> str:
    """The columns by their kind, what is done with ``blanks``, and what is left out, each with its reason."""
    shown = [column for column in columns.inputs if column.name not in left_out]
    count = Counter(column.kind for column in shown)
    wide = sum(column.values.shape[1] for column in shown if column.kind == "vector")
    every = (
        (count["number"] + wide, "number", ""),
        (count["bool"], "yes or no", " (1 or 0)"),
        (count["date"], "date", " (seconds)"),
        (count["text"], "word", " (one-hot)"),
    )
    parts = [f"{n} {name}{'s' * (n > 1 and name != 'yes or no')}{form}" for n, name, form in every if n]
    parts += blanks
    if left_out:
        named = [f"{name} ({why})" for name, why in left_out.items()]
        more = [f"and {len(named) - NAMED:,} more"] if len(named) > NAMED else []
        parts.append("left out: " + ", ".join([*named[:NAMED], *more]))
    return ", ".join(parts)
