"""Holds the tree to its sizes: lines a file, code lines a function, suppressions. Prints the figures, fails above the limits."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

FILE_LINES, FUNCTION_LINES, SUPPRESSIONS = 300, 40, 20
KERNEL_LINES = 120  # a kernel cannot be cut into functions for their own sake
ROOT = Path(__file__).parent.parent
SILENCER = re.compile(r"#.*\b(noqa|type: ignore|pyright: ignore)\b")


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef, source: list[str]) -> int:
    """Lines of a function that are neither blank, comment, signature nor docstring."""
    body = node.body
    documented = (
        isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str)
    )
    start = body[1].lineno if documented and len(body) > 1 else body[0].lineno
    lines = source[start - 1 : node.end_lineno]
    return sum(1 for line in lines if line.strip() and not line.strip().startswith("#"))


def silencers(path: Path) -> list[str]:
    """The comments that silence a checker, as place: text."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [
        f"{path.relative_to(ROOT)}:{t.start[0]} {t.string}"
        for t in tokens
        if t.type == tokenize.COMMENT and SILENCER.search(t.string)
    ]


def main() -> int:
    """Measure everything and print it."""
    files = sorted(p for folder in ("src", "tests", "tools", "benchmarks", "docs") for p in (ROOT / folder).rglob("*.py"))
    functions: list[tuple[int, str]] = []
    for path in files:
        source = path.read_text()
        found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        functions += [(code_lines(n, source.splitlines()), f"{path.relative_to(ROOT)}:{n.lineno} {n.name}") for n in found]
    sizes = sorted(((len(p.read_text().splitlines()), str(p.relative_to(ROOT))) for p in files), reverse=True)
    quiet = [line for path in files for line in silencers(path)]
    functions.sort(reverse=True)
    print(f"longest file:      {sizes[0][0]:4d} lines (limit {FILE_LINES})  {sizes[0][1]}")
    print(f"longest function:  {functions[0][0]:4d} lines (limit {FUNCTION_LINES})   {functions[0][1]}")
    print(f"suppressions:      {len(quiet):4d}       (limit {SUPPRESSIONS})")
    wrong = [f"{n} lines: {where}" for n, where in sizes if n > FILE_LINES]
    wrong += [
        f"{n} lines of code: {where}" for n, where in functions if n > (KERNEL_LINES if "/triton/" in where else FUNCTION_LINES)
    ]
    wrong += quiet if len(quiet) > SUPPRESSIONS else []
    wrong += [f"a suppression without a reason: {line}" for line in quiet if line.count("#") < 2]
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
