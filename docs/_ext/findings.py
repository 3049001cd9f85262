"""One page a finding of the doctor, from the docstring of its rule, and the table of all of them."""

from __future__ import annotations

import re
from pathlib import Path

from prose import Prose
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

import losskit
from losskit.doctor.finding import SECTIONS, Rule, reflowed, rules

__all__ = ["finding_page", "findings_page", "setup"]

_LOG = logging.getLogger(__name__)
# a call by its dotted name is code as a whole, with what stands in its parentheses
_CALL = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")
FAMILIES = {
    "1": "The call of the loss: what goes into it",
    "2": "The wiring: model, loss and optimizer",
    "3": "Numbers: what is not finite, or too small to matter",
    "4": "Levels: where a loss stands",
    "5": "The curve",
    "6": "Training against validation",
    "7": "Embeddings",
    "8": "Language models",
    "9": "The log itself",
}
PHASES = {"before": "before training, by `losskit check`", "during": "by a `Monitor`", "after": "from a log, by `losskit doctor`"}


def finding_page(rule: Rule, prose: Prose) -> str:
    """Markdown: what it is, why, exactly when it is said, what to do."""
    said = rule.sections
    seen = "; ".join(PHASES[phase] for phase in rule.phases)
    parts = [f"# {rule.code}: {rule.name}", prose(rule.summary), f"**Severity** {rule.severity}. **Seen** {seen}."]
    parts += [f"## {head}\n\n{_body(head, said[head], prose)}" for head in SECTIONS[:-1]]
    parts.append(f"## Example\n\n```python\n{said['Example']}\n```")
    if known := [code for code in rules() if rule.explains_code(code) and code != rule.code]:
        links = ", ".join(f"[{code}]({code}.md)" for code in known)
        parts.append(f"## What follows from it\n\nWhere these are found too, they are folded into this one: {links}.")
    return "\n\n".join(parts) + "\n"


def _body(head: str, text: str, prose: Prose) -> str:
    """Prose; a fix that has lines of code keeps its lines."""
    lines = reflowed(text).splitlines() if head == "Fix" else [text]
    said = (f"`{line.strip()}`" if line.startswith(" ") else prose.paragraphs(_marked(line)) for line in lines if line.strip())
    return "\n\n".join(said)


def _marked(text: str) -> str:
    """Calls in double backticks, except inside of such."""
    halves = text.split("``")
    halves[::2] = [_CALL.sub(lambda found: f"``{found[0]}``", half) for half in halves[::2]]
    return "``".join(halves)


def findings_page() -> str:
    """Every finding there is, by family."""
    prose = Prose(losskit.CATALOGUE, "../losses/")
    count = len(rules())
    parts = [
        "# Findings",
        f"The doctor knows {count} findings. A code keeps its meaning. E is an error, W a warning, I worth knowing.",
    ]
    for digit, title in FAMILIES.items():
        rows = [
            f"| [{rule.code}]({rule.code}.md) | {rule.severity[0].upper()} | {_short(rule)} | {prose(rule.summary)} |"
            for rule in rules().values()
            if rule.code[1] == digit
        ]
        parts.append("\n".join([f"## {title}", "", "| code | | seen | |", "|---|---|---|---|", *rows]))
    tree = "\n".join(rules())
    parts.append(f"```{{toctree}}\n:hidden:\n\n{tree}\n```")
    return "\n\n".join(parts) + "\n"


def _short(rule: Rule) -> str:
    return ",\u00a0".join(rule.phases)  # in one line of a narrow column


def write(folder: Path) -> None:
    """Write all pages, touching only what has changed, and remove what is no longer a finding."""
    prose = Prose(losskit.CATALOGUE, "../losses/")
    pages = {f"{code}.md": finding_page(rule, prose) for code, rule in rules().items()} | {"index.md": findings_page()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()


def _build(app: Sphinx) -> None:
    empty = [f"{r.code} has nothing under {head}" for r in rules().values() for head in SECTIONS if not r.sections[head].strip()]
    if empty:
        raise ExtensionError("the documentation is not whole:\n  " + "\n  ".join(empty))
    write(Path(app.srcdir) / "findings")
    _LOG.info("%d findings", len(rules()))


def setup(app: Sphinx) -> dict[str, bool]:
    """Pages are written before anything is read."""
    app.connect("builder-inited", _build)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
