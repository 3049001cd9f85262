"""What the demos found, in the terminal: question, answer and tables, in any width from 60 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import Cell, Column, Measure, Ran, Table
from .claims import claims
from .story import chapters, other_contrasts, overview
from .story_shown import show_after, show_before

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

__all__ = ["header", "note", "show", "spelled"]


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
    """Print every demo. Several chapters are a story: a table first, of each chapter its first table, and the claims last."""
    from rich.rule import Rule
    from rich.text import Text

    story = len(chapters(ran)) > 1
    if story:
        _show_table(overview(ran), console)
        ties = other_contrasts(ran)
        if ties:
            console.print(Text("Where the right side is not better", "bold"))
            _bullets(ties, console)
        console.print()
    number = 0
    for one in ran:
        number += one.result.chapter is not None
        title = f"{number}. {one.demo.title}" if story and one.result.chapter is not None else one.demo.title
        console.print(Rule(Text(title, "bold"), align="left", characters="─"))
        _show_one(one, console, whole=not story or one.result.chapter is None)
    if story:
        console.print(Rule(Text("The end: claims and figures", "bold"), align="left", characters="─"))
        _show_table(claims(ran), console)


def _show_one(one: Ran, console: Console, *, whole: bool) -> None:
    """Question, chapter, answer and tables; all of them and the limits, or the first and where the others are."""
    from rich.text import Text

    chapter = one.result.chapter
    if chapter is not None:
        console.print(Text(chapter.name, "dim"))
    console.print(Text(one.demo.question, "italic"))
    console.print()
    if chapter is not None:
        show_before(one, chapter, console)
        console.print()
    console.print(Text(one.result.answer))
    console.print()
    for table in one.result.tables if whole else one.result.tables[:1]:
        _show_table(table, console)
    if chapter is not None:
        show_after(one, chapter, console)
    if whole and one.result.limits:
        console.print(Text("What this does not show", "bold"))
        _bullets(one.result.limits, console)
        console.print()
    if not whole:
        console.print(Text(f"More tables, and what this does not show: losskit demo {one.demo.name}", "dim"))
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

    console.print(Text(table.title, "bold"))
    cells = [[spelled(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
    folded = [[text.replace(" ± ", "\n± ") for text in row] for row in cells]
    for form, gap in ((cells, 2), (folded, 1)):
        widths = _widths(table.columns, form, console.width - gap * len(table.columns), form is folded)
        if widths:
            console.print(_grid(table, form, widths, gap))
            break
    else:
        _records(table, cells, console)
    if note(table):
        console.print(Text(note(table), "dim"))
    console.print()


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]], room: int, folded: bool) -> list[int]:
    """The width of each column, or nothing if they do not fit: headings break between words, cells only in a folded table."""
    least: list[int] = []
    whole: list[int] = []
    for i, column in enumerate(columns):
        name, lines = header(column), [line for row in cells for line in row[i].split("\n")]
        parts = [part for line in lines for part in line.replace("± ", "±_").split()] if folded else lines
        least.append(max(map(len, [*name.split(), *parts])))
        whole.append(max(map(len, [name, *lines])))
    room -= sum(least)
    if room < 0:
        return []
    for _ in range(min(room, sum(whole) - sum(least))):
        # room goes where it saves lines: to the column that is broken most often
        least[max(range(len(least)), key=lambda i: whole[i] / least[i])] += 1
    return least


def _grid(table: Table, cells: Sequence[Sequence[str]], widths: Sequence[int], gap: int) -> Grid:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for i, (column, width) in enumerate(zip(table.columns, widths, strict=True)):
        text = all(isinstance(row[i], str) for row in table.rows)
        grid.add_column(Text(header(column)), justify="left" if text else "right", width=width)
    for row in cells:
        grid.add_row(*map(Text, row))
    return grid


def _records(table: Table, cells: Sequence[Sequence[str]], console: Console) -> None:
    """A table too wide for the screen: every row as a few lines of name and value."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", ratio=1, overflow="fold")
    grid.add_column(ratio=1, overflow="fold")
    for i, row in enumerate(cells):
        if i:
            grid.add_row("", "")
        for column, cell in zip(table.columns, row, strict=True):
            grid.add_row(Text(header(column)), Text(cell))
    console.print(grid)
