"""One page a loss, from its card; one for the rest of the public names. What is not documented fails the build."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from api_page import names_page, undocumented
from loss_page import LAWS, index_page, loss_page, task_page
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

import losskit
from losskit import api
from losskit.core.card import SECTIONS, TASKS, Card
from losskit.explore.curves import curve

__all__ = ["problems", "setup", "write"]

_LOG = logging.getLogger(__name__)
_MARK = "<!-- every public name -->"
# said once for all losses; every other option is explained by the loss itself
_COMMON = {"weight", "mask", "ignore_index", "reduction", "normalizer", "query_weight", "offsets"}


def public() -> dict[str, Any]:
    """The public names of losskit that are neither a loss nor the module of one."""
    losses = {*losskit.CATALOGUE, *(c.module.__name__ for c in losskit.CATALOGUE.values() if c.module)}
    own = {n: v for n, v in sorted(vars(api).items()) if not n.startswith("_") and n not in losses and not inspect.ismodule(v)}
    spaces = {"evaluate": losskit.evaluate, "doctor": losskit.doctor}
    return own | {f"{space}.{n}": getattr(module, n) for space, module in spaces.items() for n in module.__all__}


def problems() -> list[str]:
    """What a reader would miss: public names without a docstring, cards without a section, unexplained options."""
    found = [f"losskit.{name} has no docstring" for name in undocumented(public())]
    for card in losskit.CATALOGUE.values():
        found += [f"{card.name}: {problem}" for problem in _missing(card)]
    return found


def _missing(card: Card) -> list[str]:
    found = [f"the section {name!r} is missing or empty" for name in SECTIONS if not card.sections.get(name)]
    found += [f"no words for the law {law!r}" for law in sorted(card.laws) if law not in LAWS]
    if not card.summary:
        found.append("no summary")
    if card.module is None:
        found.append("no module twin")
    if card.task not in TASKS:
        found.append(f"unknown task {card.task!r}")
    said = card.sections.get("Args", "") + card.sections.get("Shape", "")
    found += [
        f"the option {name!r} is not explained in Args" for name in card.options if name not in _COMMON and name not in said
    ]
    try:
        curve(card)
    except (RuntimeError, TypeError, ValueError) as problem:
        found.append(f"no picture: {problem}")
    return found


def write(folder: Path) -> None:
    """Write all loss pages into ``folder``, touching only what has changed, and remove what is no longer a loss."""
    catalogue = losskit.CATALOGUE
    pages = {f"{name}.md": loss_page(card, catalogue) for name, card in catalogue.items()}
    tasks = [task for task in TASKS if any(card.task == task for card in catalogue.values())]
    for task in tasks:
        pages[f"tasks/{task}.md"] = task_page(task, catalogue)
    pages["index.md"] = index_page(tasks, catalogue)
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if str(path.relative_to(folder)) not in pages:
            path.unlink()


def _build(app: Sphinx) -> None:
    found = problems()
    if found:
        raise ExtensionError("the documentation is not whole:\n  " + "\n  ".join(found))
    write(Path(app.srcdir) / "losses")
    _LOG.info("%d losses, %d other public names", len(losskit.CATALOGUE), len(public()))


def _fill(app: Sphinx, docname: str, source: list[str]) -> None:
    if _MARK in source[0]:
        source[0] = source[0].replace(_MARK, names_page(public(), losskit.CATALOGUE))


def setup(app: Sphinx) -> dict[str, bool]:
    """Pages are written before anything is read; the mark in api.md is filled when that page is."""
    app.connect("builder-inited", _build)
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
