"""``losskit show D101``: what a code means."""

from __future__ import annotations

import json

__all__ = ["show_rule"]


def show_rule(code: str, *, as_json: bool) -> int:
    """What a code means, as the documentation says it.

    Raises:     ValueError for a code that no rule has.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    from ..doctor.finding import rules

    known = rules()
    if code not in known:
        near = [one for one in known if one[:2] == code[:2]]
        raise ValueError(f"no finding has the code {code}; {code[:2]}xx has {', '.join(near) or 'none'}")
    rule = known[code]
    if as_json:
        facts = {"code": code, "name": rule.name, "severity": rule.severity, "phases": rule.phases, "summary": rule.summary}
        print(json.dumps({**facts, **{k.lower().replace(" ", "_"): v for k, v in rule.sections.items()}}, indent=2))
        return 0
    console = Console(highlight=False)
    console.print(f"[bold]{code}[/bold]  {rule.name}  ({rule.severity}; {', '.join(rule.phases)})")
    console.print(escape(rule.summary))
    for head, text in rule.sections.items():
        console.print(f"\n[bold]{head}[/bold]")
        for line in _lines(head, text):
            console.print(
                Padding(escape(line), (0, 0, 0, 2)) if head != "Example" else f"  {escape(line)}", soft_wrap=head == "Example"
            )
    return 0


def _lines(head: str, text: str) -> list[str]:
    """Code as it stands, prose as paragraphs."""
    from ..doctor.finding import reflowed

    return text.splitlines() if head == "Example" else reflowed(text).splitlines() if head == "Fix" else [" ".join(text.split())]
