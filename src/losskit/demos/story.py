"""The demos as one story: a table of the six tasks, what each chapter tells, and the adviser's answer; numbers from the facts alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import Cell, Column, Ran, Result, Table
from .chapter import Chapter, Contrast, Look, verdict

__all__ = ["Asked", "Sides", "asked", "chapters", "expected", "heard", "other_contrasts", "overview", "sides"]

UNSEEN = "was not asked"


class Sides(NamedTuple):
    """A contrast as people read it."""

    contrast: Contrast
    right: str
    wrong: str
    bars: tuple[float, float]
    """Both as shares of the longer one."""
    difference: str
    verdict: str
    says: str


class Asked(NamedTuple):
    """A question to the adviser and its answer."""

    command: str
    loss: str
    reason: str
    code: str
    warning: str = ""


def chapters(ran: Sequence[Ran]) -> list[tuple[Ran, Chapter]]:
    """The demos that are chapters, in order."""
    return [(one, one.result.chapter) for one in ran if one.result.chapter is not None]


def sides(result: Result, contrast: Contrast) -> Sides:
    """Both sides of a contrast, the difference with its spread, and who is better."""
    facts, key = result.facts, contrast.key
    right, wrong = facts[f"{key}_right"], facts[f"{key}_wrong"]
    most = max(abs(right), abs(wrong)) or 1.0
    unit = f" {contrast.unit}" if contrast.unit else ""
    shown_right, shown_wrong = (f"{format(value, contrast.format)}{unit}" for value in (right, wrong))
    change = f"{format(facts[f'{key}_gain'], '+' + contrast.format)} ± {format(facts[f'{key}_spread'], contrast.format)}"
    found = verdict(facts, key, contrast.format)
    says = {"better": f"{contrast.right}: better by", "worse": f"{contrast.wrong} is better:", "tie": "A tie:"}[found]
    return Sides(
        contrast,
        shown_right,
        shown_wrong,
        (abs(right) / most, abs(wrong) / most),
        change,
        found,
        f"{says} {change} ({contrast.over}).",
    )


def overview(ran: Sequence[Ran]) -> Table:
    """One row a task: its first contrast, and what the doctor said of the wrong side."""
    columns = [Column(name) for name in ("task", "right", "wrong", "judged by", "better by", "the doctor said")]
    rows: list[list[Cell]] = []
    for one, chapter in chapters(ran):
        found = sides(one.result, chapter.contrasts[0])
        of = found.contrast
        tie = {"tie": ", a tie", "worse": ", the wrong one is better"}.get(found.verdict, "")
        rows.append(
            [
                chapter.task,
                f"{of.right}: {found.right}",
                f"{of.wrong}: {found.wrong}",
                of.figure,
                f"{found.difference}{tie}",
                _word(_of(chapter, of.wrong)),
            ]
        )
    note = (
        "± is the spread of the difference: a standard deviation over seeds, or half of a 95 % interval, as each chapter says; what is "
        "within it is a tie. The doctor: what losskit.doctor.check says of the wrong side before the first step."
    )
    return Table("Six tasks, right and wrong", columns, rows, note)


def other_contrasts(ran: Sequence[Ran]) -> list[str]:
    """What the first table leaves out and must be said: every contrast that is a tie, or in which the wrong side is better."""
    said: list[str] = []
    for one, chapter in chapters(ran):
        for contrast in chapter.contrasts:
            found = sides(one.result, contrast)
            if found.verdict != "better":
                where = f" ({contrast.where})" if contrast.where else ""
                end = "a tie" if found.verdict == "tie" else f"{contrast.wrong} is better"
                said.append(f"{chapter.task}, {contrast.right} against {contrast.wrong}{where}: {found.difference}, {end}")
    return said


def _of(chapter: Chapter, way: str) -> Look | None:
    return next((look for look in chapter.looks if look.way == way), None)


def _word(look: Look | None) -> str:
    if look is None:
        return UNSEEN
    return f"{look.code}: {look.title}" if look.code else "nothing"


def expected(one: Result, chapter: Chapter) -> str:
    """What losskit.reference says beforehand, beside what was measured before the first step."""
    of, facts = chapter.expected, one.facts
    names = {"start": "at the start", "constant": "for the best answer that ignores the input", "best": "at best"}
    levels = [f"{facts[f'{of.key}_{level}']:.4g} {said}" for level, said in names.items() if f"{of.key}_{level}" in facts]
    given = f", {of.given}" if of.given else ""
    return f'losskit.reference("{of.loss}"{given}): {", ".join(levels)}. Measured: {facts[f"{of.key}_began"]:.4g}, {of.began}.'


def heard(one: Result, chapter: Chapter) -> list[str]:
    """What the doctor said of each way before the first step, then of the curves of all trainings."""
    said = [f"{look.way}: {f'{look.code}, {look.said}' if look.code else 'nothing'}." for look in chapter.looks]
    facts = one.facts
    if "doctor_trainings" in facts:
        found = int(facts["doctor_findings"])
        said.append(
            f"The curves of {facts['doctor_trainings']:.0f} trainings ({facts['doctor_steps']:.0f} steps): "
            + (f"{found} finding{'s' * (found > 1)}." if found else "nothing wrong.")
        )
    return said


def asked(chapter: Chapter) -> list[Asked]:
    """The adviser on the task alone, and on the targets of the demo where those say more."""
    from ..api import choose

    found: list[Asked] = []
    questions = [(f"losskit choose --task {chapter.task}", choose(task=chapter.task))]
    if chapter.told:
        # a column of numbers, as it would come from a file: the task is what they look like
        questions.append(("losskit.choose(targets)", choose(list(chapter.told))))
    for command, advice in questions:
        first = advice.first
        if first is None:
            found.append(Asked(command, "no loss", advice.refusal, ""))
        else:
            found.append(Asked(command, first.loss, first.reason, first.code.splitlines()[-1], first.warning))
    return found
