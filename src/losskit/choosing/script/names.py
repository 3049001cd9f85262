"""Names of columns and files as Python: data that land in a script as literals, never as code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

__all__ = ["assigned", "commented", "listed", "literal", "uses"]

WIDTH = 120
RUN = 12  # names that count up, from which a range is shorter than the list


def listed(values: Sequence[object], indent: int = 0) -> str:
    """A list as a literal: names that count up as a range, else one or several lines."""
    found = _counting(values)
    if found:
        return found
    whole = ", ".join(map(literal, values))
    if len(whole) + indent < WIDTH - 20:
        return f"[{whole}]"
    lines = [""]
    for part in map(literal, values):
        if lines[-1] and len(lines[-1]) + len(part) > WIDTH - 10:
            lines.append("")
        lines[-1] += f" {part}," if lines[-1] else f"{part},"
    return "[\n    " + "\n    ".join(lines) + "\n]"


def literal(value: object) -> str:
    """A value as code, as the formatter of Python code writes it: double quotes where nothing has to be escaped for them."""
    written = repr(value)
    plain = isinstance(value, str) and written[0] == "'" and '"' not in written and "\\" not in written
    return f'"{written[1:-1]}"' if plain else written


def _counting(values: Sequence[object]) -> str:
    """x0, x1, x2, ... as a comprehension; empty where names do not count up."""
    if len(values) < RUN or not all(isinstance(value, str) for value in values):
        return ""
    names = [str(value) for value in values]
    found = re.fullmatch(r"(.*?)(0|[1-9][0-9]{0,6})", names[0], re.DOTALL)
    if found is None:
        return ""
    stem, first = found[1], int(found[2])
    if names != [f"{stem}{first + i}" for i in range(len(names))]:
        return ""
    start = f"{first}, " if first else ""
    name = f"{literal(stem)} + str(i)" if stem else "str(i)"
    return f"[{name} for i in range({start}{first + len(names)})]"


def assigned(name: str, value: object) -> str:
    """A line that gives a literal a name."""
    return f"{name} = {listed(value) if isinstance(value, (list, tuple)) else literal(value)}"


def commented(text: str) -> list[str]:
    """A sentence as comment lines; what could end a line is written as an escape."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    lines = ["#"]
    for word in safe.split(" "):
        if len(lines[-1]) + len(word) > WIDTH and lines[-1] != "#":
            lines.append("#")
        lines[-1] += f" {word}"
    return lines


def uses(code: str) -> set[str]:
    """The names that code reads and does not make itself."""
    tree = ast.parse(code)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - _made(tree)


def _made(tree: ast.Module) -> set[str]:
    """Names that a statement sets before any statement reads them."""
    made: set[str] = set()
    read: set[str] = set()
    for statement in tree.body:
        nodes: Iterable[ast.AST] = ast.walk(statement)
        names = [node for node in nodes if isinstance(node, ast.Name)]
        read |= {n.id for n in names if isinstance(n.ctx, ast.Load)} - made
        made |= {n.id for n in names if isinstance(n.ctx, ast.Store)} - read
        made |= {alias.asname or alias.name for alias in getattr(statement, "names", ())}
    return made
