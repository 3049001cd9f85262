"""Every example that our documents and docstrings print, run again: one claim a page.

A page's examples are one session, as they are read. Documents are not installed: ``examples.json`` holds their examples, and
``tools/examples.py`` writes it.
"""

from __future__ import annotations

import doctest
import inspect
import json
import math
import os
import pkgutil
import re
import tempfile
import types
from collections.abc import Iterator
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import losskit

from .claim import Claim, MissingError

__all__ = ["PAGES", "PRINTED", "claims", "docstrings", "modules", "run", "session"]

PRINTED = " as printed"

PAGES = Path(__file__).with_name("examples.json")
_DISTRIBUTION = {"sklearn": "scikit-learn"}  # where the module has another name
_SHOWN = 160  # characters of a difference
Names = dict[str, Any]


def session(pairs: list[list[str]], name: str, names: Names | None = None) -> doctest.DocTest:
    """Sources and what they print as one test that knows torch, math, losskit and F."""
    known: Names = {"torch": torch, "math": math, "losskit": losskit, "F": F, **(names or {})}
    text = "\n\n".join(f">>> {source.rstrip()}".replace("\n", "\n... ") + f"\n{want}" for source, want in pairs)
    return doctest.DocTestParser().get_doctest(text, known, name, name, 0)


class _Runner(doctest.DocTestRunner):
    """Keeps the first difference, and stops where a package is missing."""

    difference = ""

    def report_failure(self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str) -> None:
        self._differs(example, got)

    def report_unexpected_exception(self, out: Any, test: doctest.DocTest, example: doctest.Example, exc_info: Any) -> None:
        problem = exc_info[1]
        if isinstance(problem, ImportError) and not self.difference and (extra := _extra(problem)):
            raise MissingError(extra)
        self._differs(example, f"{type(problem).__name__}: {problem}")

    def _differs(self, example: doctest.Example, got: str) -> None:
        source, got, want = (" ".join(text.split()) or "nothing" for text in (example.source, got, example.want))
        said = f"{source} gives {got}, not {want}"
        self.difference = self.difference or (said if len(said) <= _SHOWN else f"{said[:_SHOWN]} ...")


def _extra(problem: ImportError) -> str:
    """What has to be installed; nothing where the missing module is our own."""
    if told := re.search(r"losskit\[([\w,-]+)\]", str(problem)):
        return f"needs extra {told[1]}"
    module = (problem.name or "").partition(".")[0]
    if module in ("", "losskit", "torch"):
        return ""
    package = _DISTRIBUTION.get(module, module).replace("_", "-")
    for needed in metadata.requires("losskit") or ():
        found = re.match(rf"{re.escape(package)}\b[^;]*;.*extra == ['\"]([\w-]+)['\"]", needed)
        if found and found[1] != "all":
            return f"needs extra {found[1]}"
    return f"needs {package}, which is no extra of ours"


def run(tests: list[doctest.DocTest], flags: int = 0) -> str:
    """ "N of N as printed", or how many and the first difference; random numbers begin at seed 0, files go nowhere."""
    runner, here, threads = _Runner(verbose=False, optionflags=flags), Path.cwd(), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.set_num_threads(1)  # examples are small: threads only wait for each other
        os.chdir(folder)
        try:
            failed = sum(runner.run(test, out=lambda _: None).failed for test in tests)
        finally:
            os.chdir(here)
            torch.set_num_threads(threads)
    tried = sum(len(test.examples) for test in tests)
    return _counted(tried - failed, tried) + (f": {runner.difference}" if failed else PRINTED)


def _counted(right: int, all: int) -> str:
    return f"{right} of {all}"


def modules() -> list[str]:
    """Names of our modules whose text has an example in it; none is imported for that."""
    found: list[str] = []
    for one in pkgutil.walk_packages(losskit.__path__, "losskit.", onerror=lambda _: None):
        if not one.name.startswith("losskit.verify"):
            spec = find_spec(one.name)
            if spec and spec.origin and re.search(r"^ *>>> ", Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE):
                found.append(one.name)
    return found


def docstrings(name: str) -> list[doctest.DocTest]:
    """The examples of a module's functions and classes, each a session of its own that knows the module's names."""
    module, finder = import_module(name), doctest.DocTestFinder(exclude_empty=True)
    known = {**vars(module), "torch": torch, "math": math, "types": types, "losskit": losskit, "F": F}
    found: list[doctest.DocTest] = finder.find(module, name, globs=known)
    seen = {test.name for test in found}
    for key, value in vars(module).items():  # what a decorator wrapped, the finder takes for a stranger
        if callable(value) and getattr(value, "__module__", "") == name and f"{name}.{key}" not in seen:
            found += finder.find(inspect.unwrap(value), f"{name}.{key}", module, globs=known)
    return [test for test in found if test.examples]


def _claims_of(group: str, pages: Iterator[tuple[str, int, Any]]) -> list[Claim]:
    return [Claim(group, page, _counted(count, count) + PRINTED, ours) for page, count, ours in pages]


def _pages() -> Iterator[tuple[str, int, Any]]:
    for page, pairs in json.loads(PAGES.read_text(encoding="utf-8"))["pages"].items():
        yield page, len(pairs), lambda page=page, pairs=pairs: run([session(pairs, page)])


def _modules() -> Iterator[tuple[str, int, Any]]:
    for name in modules():
        tests = docstrings(name)
        yield name, sum(len(test.examples) for test in tests), partial(run, tests, doctest.NORMALIZE_WHITESPACE)


def claims() -> list[Claim]:
    """One claim a page of the documents, one a module whose docstrings have examples."""
    return [*_claims_of("examples of the documents", _pages()), *_claims_of("examples of the docstrings", _modules())]
