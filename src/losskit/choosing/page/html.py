"""Advice as one HTML file that needs no network and no script."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from ... import __version__
from ...evaluate.files import write_whole
from ...evaluate.page.html import need, page
from ...evaluate.page.wording import visible
from ..advice import Advice, Answer, Candidate, Proof
from ..printed import digits, expected, headline, interval, model_of, option, standing
from .pictures import dots

__all__ = ["render", "write"]


def write(advice: Advice, path: str | Path, *, shell: bool = False) -> None:
    """Write the page, for a ``shell`` with options of the command as answers.

    A file that is already there is replaced as a whole or, if anything fails, not touched.

    Raises:     ImportError that names the extra if jinja2 is missing; OSError for a path that cannot be written.
    """
    write_whole(Path(path), render(advice, shell=shell))


def render(advice: Advice, *, shell: bool = False) -> str:
    """The advice as one string of HTML; answers are given as the arguments of a call or, for a ``shell``, as its options."""
    first, avoid = advice.first, [one.loss for one in advice.avoid]
    heading = headline(advice)
    found = {
        "title": f"Which loss? {heading}",
        "heading": heading[:1].upper() + heading[1:],
        "about": _about(advice),
        "refusal": advice.refusal,
        "first": None if first is None else _candidate(first),
        "warnings": advice.warnings,
        "questions": [{"asks": q.asks, "answers": [_answer(one, shell) for one in q.answers]} for q in advice.questions],
        "facts_seen": [(fact.name, fact.says, False) for fact in advice.facts],
        "alternatives": [_candidate(one) for one in advice.alternatives],
        "avoid": [_candidate(one) for one in advice.avoid],
        "proof": None if advice.proof is None or first is None else _proof(advice.proof, first.loss, avoid),
    }
    return page(f"{__package__}:advice.html.j2", {}, found)


def _about(advice: Advice) -> str:
    """Of what the page is, and when and by which version it was made."""
    rows = next((fact.says for fact in advice.facts if fact.name == "rows"), "")
    told = (visible(advice.source), rows, date.today().isoformat(), f"losskit {__version__}")
    return ", ".join(part for part in told if part)


def _answer(one: Answer, shell: bool) -> dict[str, str]:
    here = " (as here)" if one.taken else ""
    return {"says": one.says + here, "leads": one.leads, "given": visible(option(one, shell=shell))}


def _candidate(one: Candidate) -> dict[str, str]:
    return {"loss": one.loss, "reason": one.reason, "code": one.code, "warning": one.warning, "expected": expected(one)}


def _proof(proof: Proof, first: str, avoid: list[str]) -> dict[str, Any]:
    kind, _, said = proof.verdict.partition(": ")
    safe = need("markupsafe").Markup
    shown = []
    for metric, says in proof.metrics.items():
        rows = [one for one in proof.scores if one.metric == metric]
        gaps = [one for one in proof.comparisons if one.metric == metric]
        if not rows:
            continue
        told = [
            [one.loss, model_of(one.model), digits(one.mean), interval(one.low, one.high), standing(one, gaps, first)]
            for one in rows
        ]
        # dots() escapes every name that it writes
        picture = safe(dots(rows, first=first, avoid=avoid, label=f"{metric} of every candidate"))
        shown.append({"name": metric, "says": says, "rows": told, "picture": picture})
    word = kind if kind == "undecided" else f"the training {kind}"
    method = f"{proof.method} {proof.rows:,} rows, {proof.seconds:.0f} s."
    return {"kind": kind, "word": word, "said": said, "metrics": shown, "method": method, "inputs": proof.inputs}
