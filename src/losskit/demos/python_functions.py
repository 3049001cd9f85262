"""Functions of the standard library and what their docstrings say they do: read from Python's own sources."""

from __future__ import annotations

import ast
import functools
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from . import generator

__all__ = ["WORD", "Function", "functions", "split"]

HELD = 0.25  # of the functions
WORDS = (3, 60)  # a shorter description says too little, of a longer one the beginning counts
LEAST = 1000  # fewer functions are no standard library
# tests, programs, copies of other projects
SKIPPED = frozenset({"test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "site-packages", "dist-packages"})

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""The words in a text or in a name: "parseHTMLFile_2" has "parse", "HTML", "File" and "2"."""


class Function(NamedTuple):
    """A function or method that has a docstring."""

    name: str
    """From the module on: "json.decoder.JSONDecoder.decode"."""
    arguments: tuple[str, ...]
    description: str
    """The first paragraph of the docstring, without the function's own name."""

    @property
    def module(self) -> str:
        """The top-level module."""
        return self.name.split(".")[0]

    @property
    def public(self) -> bool:
        """Whether no part of the name begins with "_"."""
        return "._" not in self.name

    @property
    def signature(self) -> str:
        """What is to be found: the name and the arguments."""
        return f"{self.name} {' '.join(self.arguments)}"


@functools.cache
def functions(folder: Path | None = None) -> tuple[Function, ...]:
    """Every function under ``folder`` (the standard library) that is not in a private module, by file and line.

    What two functions have word for word as their description tells neither from the other: both are left out.

    Raises:     ImportError for a Python that came without its sources.
    """
    root = folder or Path(sysconfig.get_path("stdlib"))
    found: list[Function] = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        names = parts[:-1] if parts[-1] == "__init__" else parts
        if names and SKIPPED.isdisjoint(names) and not names[0].startswith("_"):
            found += _below(_tree(path), ".".join(names))
    times = Counter(one.description.lower() for one in found)
    found = [one for one in found if times[one.description.lower()] == 1]
    if folder is None and len(found) < LEAST:
        raise ImportError(
            f"losskit demo find-function needs the sources of the standard library, and {root} has few: install them"
        )
    return tuple(found)


def _tree(path: Path) -> ast.AST:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is deprecated in other people's sources is not our user's concern
        try:
            return ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            return ast.Module([], [])


def _below(node: ast.AST, name: str) -> Iterator[Function]:
    """The described functions right below a module or class, and those of its classes; none like ``__init__``."""
    for child in getattr(node, "body", ()):
        if isinstance(child, ast.ClassDef):
            yield from _below(child, f"{name}.{child.name}")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith("__"):
            text = described(ast.get_docstring(child) or "", child.name)
            if text:
                given = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
                arguments = tuple(one.arg for one in given if one.arg not in ("self", "cls"))
                yield Function(f"{name}.{child.name}", arguments, text)


def described(docstring: str, name: str) -> str:
    """The first paragraph in one line, without the name written as such: with it, finding it would be a search for a string."""
    paragraph = re.split(r"\n\s*\n", docstring)[0]
    words = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", paragraph).split()
    text = " ".join(words[: WORDS[1]])
    return text if len(WORD.findall(text)) >= WORDS[0] else ""


def split(found: Sequence[Function], seed: int) -> tuple[list[Function], list[Function]]:
    """Functions to learn from, and the public ones of random modules, a quarter of all: none has more than a quarter of them."""
    sizes = Counter(one.module for one in found)
    names = sorted(sizes)
    room = round(HELD * len(found))
    most = room // 4
    held: set[str] = set()
    for i in torch.randperm(len(names), generator=generator(seed)).tolist():
        if sizes[names[i]] <= min(room, most):
            held.add(names[i])
            room -= sizes[names[i]]
    return [one for one in found if one.module not in held], [one for one in found if one.module in held and one.public]
