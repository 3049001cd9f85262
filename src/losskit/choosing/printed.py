"""Advice as text: the loss, why, the code, what to expect and to avoid, and the proof; in any width, coloured or not."""

from __future__ import annotations

import json
import shlex
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..evaluate.page.wording import visible
from .advice import Advice, Answer, Candidate, Comparison, Proof, Scored
from .wants import WANTS

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["digits", "expected", "headline", "model_of", "option", "show", "standing", "text"]

WIDEST = 110
_HEADS = {"agrees": "bold green", "disagrees": "bold red", "undecided": "bold yellow"}


class _Line(NamedTuple):
    text: str
    style: str = ""
    lead: int = 0
    """So many letters at its start have the style; 0 for all."""


def text(advice: Advice, width: int | None = None) -> str:
    """The advice as plain lines no wider than ``width`` (the terminal's by default); code is never broken."""
    wide = min(WIDEST, width or shutil.get_terminal_size((80, 24)).columns)
    return "\n".join(line.text.rstrip() for line in _lines(advice, wide))


def show(advice: Advice, console: Console) -> None:
    """Print the advice for a shell, with colours where the console has them: questions are answered by options of the command."""
    from rich.text import Text

    for line in _lines(advice, min(WIDEST, console.width), shell=True):
        written = Text(line.text.rstrip(), no_wrap=True)
        if line.style:
            written.stylize(line.style, 0, line.lead or len(line.text))
        console.print(written, soft_wrap=True)


def headline(advice: Advice) -> str:
    """The answer in a few words."""
    if advice.first is not None:
        return f"{advice.task}: take {advice.first.loss}"
    if advice.unread:
        return visible(f'{f"{advice.task}: " if advice.task else ""}"{advice.unread}" cannot be read as numbers')
    return f"{advice.task or 'no task'}: no loss, for nothing can be learned" if advice.refusal else "the data do not decide"


def expected(candidate: Candidate) -> str:
    """The numbers to see, as far as the data determine them."""
    named = (("at start", candidate.start), ("best constant", candidate.constant), ("at best", candidate.best))
    return ", ".join(f"{value:.4g} {name}" for name, value in named if value is not None)


def option(answer: Answer, *, shell: bool) -> str:
    """What gives an answer, as it is typed: behind the command in a shell, or into the call of choose()."""
    if not shell:
        written = {k: json.dumps(v, ensure_ascii=False) for k, v in answer.given.items()}  # of words as Python reads them too
        return ", ".join(f"{name}={value}" for name, value in written.items())
    typed = {
        f"--{name.replace('_', '-')}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in answer.given.items()
    }
    # what begins with a dash is no option of its own
    return " ".join(f"{name}{'=' if value[:1] == '-' else ' '}{shlex.quote(value)}" for name, value in typed.items())


def _lines(advice: Advice, width: int, shell: bool = False) -> Iterator[_Line]:
    """One empty line between parts, whichever of them are there."""
    before = ""
    for line in _parts(advice, width, shell):
        if line.text or before:
            yield line
        before = line.text


def _parts(advice: Advice, width: int, shell: bool) -> Iterator[_Line]:
    yield _Line(headline(advice), "bold")
    if advice.refusal:
        yield from _wrapped("  ", advice.refusal, width)
    if advice.first is not None:
        yield from _candidate(advice.first, width)
    for warning in advice.warnings:
        yield from _wrapped("  warning  ", warning, width, "yellow")
    yield from _questions(advice, width, shell)
    yield from _words(advice, width, shell)
    if advice.facts:
        yield from (_Line(""), _Line("What the data look like", "bold"))
        room = min(20, max(len(fact.name) for fact in advice.facts))
        for fact in advice.facts:
            yield from _wrapped(f"  {visible(fact.name):<{room}}  ", fact.says, width, "dim", hang=width // 2)
    for head, some in (("Alternatives", advice.alternatives), ("Avoid", advice.avoid)):
        if some:
            yield from (_Line(""), _Line(head, "bold"))
        for one in some:
            yield _Line(f"  {one.loss}", "bold" if head == "Alternatives" else "red")
            yield from _wrapped("    ", one.reason, width)
            if one.warning:
                yield from _wrapped("    warning  ", one.warning, width, "yellow")
            if head == "Alternatives":
                yield from (_Line(f"    {line}", "cyan") for line in one.code.splitlines() if f"losskit.{one.loss}(" in line)
    if advice.proof is not None and advice.first is not None:
        yield _Line("")
        yield from _proof(advice.proof, advice.first.loss, [one.loss for one in advice.avoid], width)


def _candidate(one: Candidate, width: int) -> Iterator[_Line]:
    yield from _wrapped("  ", one.reason, width)
    yield _Line("")
    yield from (_Line(f"    {line}", "cyan") for line in one.code.splitlines())
    yield _Line("")
    if said := expected(one):
        yield from _wrapped("  expect   ", said, width, "bold")
    if one.warning:
        yield from _wrapped("  warning  ", one.warning, width, "yellow")


def _questions(advice: Advice, width: int, shell: bool) -> Iterator[_Line]:
    for question in advice.questions:
        yield _Line("")
        yield from _wrapped("  question  ", question.asks, width, "bold magenta")
        typed = [" ".join(visible(option(one, shell=shell)).split()) for one in question.answers]
        room = min(24, max(map(len, typed)))
        for one, given in zip(question.answers, typed, strict=True):
            head = f"    {given:<{room}}  " if room else "    "
            here = " (as here)" if one.taken else ""
            yield from _wrapped(head, f"{one.says}{here}: {one.leads}", width, "cyan" if given else "", hang=width // 2)


def _words(advice: Advice, width: int, shell: bool) -> Iterator[_Line]:
    """What can be wanted, where there are no data whose look would make a question of it."""
    words = WANTS.get(advice.task or "", {})
    if words and not (advice.want or advice.facts or advice.first is None):
        listed = ", ".join(words if shell else map(json.dumps, words))
        yield from _wrapped(
            "  --want   " if shell else "  want     ", f"what is wanted of the predictions: {listed}", width, "cyan"
        )


def _proof(proof: Proof, first: str, avoid: Sequence[str], width: int) -> Iterator[_Line]:
    word, _, said = proof.verdict.partition(": ")
    yield _Line(f"Proof: the training {word}" if word != "undecided" else "Proof: undecided", _HEADS.get(word, "bold"))
    yield from _wrapped("  ", said, width)
    for i, (metric, says) in enumerate(proof.metrics.items()):
        rows = [one for one in proof.scores if one.metric == metric]
        if not rows:
            continue
        yield _Line("")
        yield from _wrapped(f"  {metric}  ", says + (" (decides)" if i == 0 else ""), width, "bold", hang=width // 2)
        yield from _table(rows, [one for one in proof.comparisons if one.metric == metric], first, avoid, width)
    yield _Line("")
    if proof.inputs:
        yield from _wrapped("  inputs: ", proof.inputs, width, "dim")
    yield from _wrapped("  how  ", f"{proof.method} {proof.rows:,} rows, {proof.seconds:.0f} s.", width, "dim")


def _table(rows: Sequence[Scored], gaps: Sequence[Comparison], first: str, avoid: Sequence[str], width: int) -> Iterator[_Line]:
    """A row for each candidate and model; on a narrow screen the name stands above its numbers."""
    figures = [digits(one.mean) for one in rows]
    bounds = [interval(one.low, one.high) for one in rows]
    stands = [standing(one, gaps, first) for one in rows]
    name, mean, ends, told = (max(map(len, each)) for each in ([one.loss for one in rows], figures, bounds, stands))
    narrow = 4 + name + 2 + 6 + 2 + mean + 2 + ends + 2 + told > width
    seen = ""
    for one, figure, bound, stand in zip(rows, figures, bounds, stands, strict=True):
        style = "bold" if one.loss == first else "red" if one.loss in avoid else ""
        if narrow and one.loss != seen:
            yield _Line(f"    {one.loss}", style)
        lead = "      " if narrow else f"    {one.loss if one.loss != seen else '':<{name}}  "
        line = f"{lead}{model_of(one.model):<6}  {figure:>{mean}}  {bound:<{ends}}"
        if len(line) + 2 + len(stand) > width and stand:
            yield _Line(line)
            yield _Line(f"{'':<16}{stand}")
        else:
            yield _Line(f"{line}  {stand}", style, 0 if narrow else len(lead))
        seen = one.loss


def digits(value: float) -> str:
    """A figure and its bounds, rounded by one rule: no figure comes to lie outside its interval."""
    return f"{value:.4g}"


def interval(low: float, high: float) -> str:
    """Two ends, or a dash for what no interval can be given of."""
    return f"{digits(low)} to {digits(high)}" if abs(low) < float("inf") and abs(high) < float("inf") else "–"


def model_of(model: str) -> str:
    """As people call it; the best constant has none."""
    if model not in ("linear", "mlp"):
        return ""
    return "MLP" if model == "mlp" else model


def standing(one: Scored, gaps: Sequence[Comparison], first: str) -> str:
    """What the paired difference to the first choice says of a candidate."""
    if one.loss == first:
        return "first choice"
    gap = next((each for each in gaps if each.other == one.loss and each.model == one.model), None)
    if gap is None:
        return ""
    return "worse" if gap.low > 0 else "better" if gap.high < 0 else "cannot tell"


def _wrapped(head: str, said: str, width: int, style: str = "", hang: int = 0) -> Iterator[_Line]:
    """A paragraph that hangs behind its head, up to a quarter of the width; lines that the writer broke stay broken."""
    indent = " " * min(len(head), hang or max(4, width // 4))
    start = head
    for line in visible(said).splitlines() or [""]:
        for piece in textwrap.wrap(
            line, max(20, width), initial_indent=start, subsequent_indent=indent, break_on_hyphens=False
        ) or [start]:
            yield _Line(piece, style if start == head and style else "", len(head.rstrip()) if start == head else 0)
            start = indent
