"""The story in the terminal: the first table, the parts of a chapter, and the claims at the end, in any width from 60 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .chapter import Chapter
from .story import asked, expected, heard, sides

if TYPE_CHECKING:
    from rich.console import Console

    from . import Ran

__all__ = ["labelled", "show_after", "show_before"]

BAR = 24  # columns of the longest bar
NARROW = 80  # below, a bar stands under its name


def show_before(one: Ran, chapter: Chapter, console: Console) -> None:
    """Right and wrong side by side, and the number to expect: what a person reads ahead of the answer."""
    for contrast in chapter.contrasts:
        _sides(one, chapter, contrast.key, console)
    labelled("Expect", [expected(one.result, chapter)], console)


def show_after(one: Ran, chapter: Chapter, console: Console) -> None:
    """What doctor, evaluation and adviser say, and where to read on."""
    labelled("Doctor", heard(one.result, chapter), console)
    labelled("Judged", [chapter.evaluation], console)
    advice: list[str] = []
    for found in asked(chapter):
        warning = f" But: {found.warning}" if found.warning else ""
        advice.append(f"{found.command}: {found.loss}. {found.reason}{warning}")
    labelled("Choose", advice, console)
    labelled("Read on", [", ".join(chapter.read)], console)
    console.print()


def _sides(one: Ran, chapter: Chapter, key: str, console: Console) -> None:
    from rich.text import Text

    (contrast,) = [each for each in chapter.contrasts if each.key == key]
    found = sides(one.result, contrast)
    where = f", {contrast.where}" if contrast.where else ""
    console.print(Text(f"{contrast.figure[0].upper()}{contrast.figure[1:]}{where}", "bold"))
    names, values = (contrast.right, contrast.wrong), (found.right, found.wrong)
    wide = max(map(len, names))
    for name, value, share in zip(names, values, found.bars, strict=True):
        bar = "█" * max(round(BAR * share), 1 if share else 0)
        number = value.rjust(max(map(len, values)))
        if console.width < NARROW:
            console.print(Text(f"  {name}"))
            console.print(Text(f"    {number}  {bar}"))
        else:
            console.print(Text(f"  {name.ljust(wide)}  {number}  {bar}"))
    labelled("", [found.says], console, 1)
    console.print()


def labelled(label: str, lines: Sequence[str], console: Console, width: int = 7) -> None:
    """Lines beside the name of what they are."""
    from rich.table import Table as Grid
    from rich.text import Text

    if not lines:
        return
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=width)
    grid.add_column(ratio=1, overflow="fold")
    for i, line in enumerate(lines):
        grid.add_row(Text("" if i else label, "bold"), Text(line))
    console.print(grid)
