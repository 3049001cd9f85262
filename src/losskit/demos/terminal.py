"""What the demos found, in the terminal: question, answer and tables, in any width from 60 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import Cell, Column, Measure, Ran, Table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["header", "note", "show", "spelled"]

GAP = 2


def spelled(cell: Cell, column: Column) -> str:
    """A cell as people read it: a mean with its spread if there are several seeds, a number in the column's format."""
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, Measure):
        return format(cell, column.format)
    mean = format(cell.mean, column.format)
    return mean if cell.seeds < 2 else f"{mean} ± {format(cell.spread, column.format)}"


def header(column: Column) -> str:
    """The name of a column with its unit."""
    return f"{column.name} ({column.unit})" if column.unit else column.name


def note(table: Table) -> str:
    """The note of a table; one that has spreads also says what they are."""
    seeds = {cell.seeds for row in table.rows for cell in row if isinstance(cell, Measure) and cell.seeds > 1}
    over = " or ".join(map(str, sorted(seeds)))
    spread = f"± is the standard deviation over {over} seeds." if seeds else ""
    return f"{table.note} {spread}".strip()


def show(ran: Sequence[Ran], console: Console) -> None:
    """Print every demo: title, question, answer, tables, and what they do not show."""
    from rich.rule import Rule
    from rich.text import Text

    for one in ran:
        console.print(Rule(Text(one.demo.title, "bold"), align="left", characters="─"))
        console.print(Text(one.demo.question, "italic"))
        console.print()
        console.print(Text(one.result.answer))
        console.print()
        for table in one.result.tables:
            _show_table(table, console)
        if one.result.limits:
            console.print(Text("What this does not show", "bold"))
            _bullets(one.result.limits, console)
        console.print()


def _bullets(lines: Sequence[str], console: Console) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(ratio=1, overflow="fold")
    for line in lines:
        grid.add_row("-", Text(line))
    console.print(grid)


def _show_table(table: Table, console: Console) -> None:
    from rich.text import Text

    rows = [[spelled(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
    console.print(Text(table.title, "bold"))
    # a heading may break between words, a number may not
    widths = [max(len(part) for text in (*cells, *header(c).split()) for part in (text,)) for c, *cells in _columns(table, rows)]
    if sum(widths) + GAP * (len(widths) - 1) <= console.width:
        _grid(table, rows, widths, console)
    else:
        _records(table, rows, console)
    if note(table):
        console.print(Text(note(table), "dim"))
    console.print()


def _columns(table: Table, rows: Sequence[Sequence[str]]) -> list[tuple[Column, *tuple[str, ...]]]:
    return [(column, *(row[i] for row in rows)) for i, column in enumerate(table.columns)]
