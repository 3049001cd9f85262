"""The public names that are not losses: functions, classes, named tuples, constants."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from typing import Any

from loss_page import arguments, signature
from prose import Prose
from sphinx.pycode import ModuleAnalyzer

from losskit.core.card import SECTIONS

__all__ = ["names_page", "undocumented"]

_HEAD = re.compile(rf"^({'|'.join(SECTIONS)}):[ \t]*", re.MULTILINE)

_DATA = {"CATALOGUE": 'Every loss by name: a dict from ``"cross_entropy"`` to its Card. Loops over losses start here.'}


def undocumented(names: Mapping[str, Any]) -> list[str]:
    """The names a reader could not look up."""
    return [name for name, value in names.items() if not _documentation(name, value)]


def names_page(names: Mapping[str, Any], losses: Collection[str]) -> str:
    """One section a name: functions first, then classes, then the rest."""
    prose = Prose(losses, "losses/")
    order = sorted(names, key=lambda name: (not inspect.isfunction(names[name]), not isinstance(names[name], type), name))
    return "\n\n".join(_section(name, names[name], prose) for name in order)


def _documentation(name: str, value: Any) -> str:
    """The docstring of a function or class; data cannot carry one."""
    if callable(value):
        return inspect.cleandoc(vars(value).get("__doc__") or "") if isinstance(value, type) else inspect.getdoc(value) or ""
    return _DATA.get(name, "")


def _attributes(module: str, owner: str = "") -> dict[str, str]:
    found = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: " ".join(lines).strip() for (scope, name), lines in found.items() if scope == owner}


def _section(name: str, value: Any, prose: Prose) -> str:
    pieces = _HEAD.split(_documentation(name, value))
    said = {head: inspect.cleandoc(text) for head, text in zip(pieces[1::2], pieces[2::2], strict=True)}
    parts = [f"## {name}", _shown(name, value), prose.paragraphs(pieces[0].strip()), *_fields(name, value, prose)]
    parts += [_written(head, said[head], prose) for head in SECTIONS if head in said]
    return "\n\n".join(part for part in parts if part)


def _shown(name: str, value: Any) -> str:
    if not callable(value):
        return f"```{{py:data}} losskit.{name}\n```"
    if isinstance(value, type) and issubclass(value, Exception):
        return f"```{{py:exception}} losskit.{name}\n```"
    return signature("class" if isinstance(value, type) else "function", f"losskit.{name}", inspect.signature(value))


def _fields(name: str, value: Any, prose: Prose) -> list[str]:
    """Documented attributes and properties of a class."""
    if not isinstance(value, type):
        return []
    said = _attributes(value.__module__, name)
    said |= {k: inspect.getdoc(v) or "" for k, v in vars(value).items() if isinstance(v, property) and not k.startswith("_")}
    return [f"`{field}`\n: {prose(text)}" for field, text in said.items() if text]


def _written(head: str, text: str, prose: Prose) -> str:
    if head == "Example":
        return f"```pycon\n{text}\n```"
    if head == "Formula":
        return f"**Formula** {prose(text, formula='=' in text)}"
    if head == "Args":
        return "\n\n".join(f"`{name}`\n: {prose(said)}" for name, said in arguments(text).items())
    return f"**{head}** {prose(text)}"
