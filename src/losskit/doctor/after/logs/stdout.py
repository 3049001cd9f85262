"""What programs print: dict lines of the Trainer, nanoGPT, Megatron, ``loss=``, progress bars.

Numbers with a name before them count. A program prints its lines by a few templates: each is learned from the first line of its
kind and becomes one regular expression, which reads the lines after it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import chain

from .log import Log
from .names import bare_kind, kind_of, number, role_of
from .source import Source
from .text import Lines

__all__ = ["read_stdout"]

MOST_TEMPLATES = 48  # beyond that lines are no templates, and are read word by word
TRIES = 4  # templates tried on a line before it is read word by word
LONGEST = 4096  # characters of a line that is looked at
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?(?:nan|NaN|NAN|inf|Inf|INF|infinity|Infinity)"
_WORD = r"[A-Za-z_][A-Za-z0-9_./@-]{0,60}"
# up to four words, then : or = or a space (nanoGPT's "loss 3.98") or an opening bracket, then a number that no letter follows,
# but for its unit; "2,3642" may be 2.3642 or two numbers, and is not read
_ENTRY = re.compile(
    rf"(?<![\w./])({_WORD}(?: {_WORD}){{0,3}}?)[\"']?\]?"
    r"(?:\s{0,8}[:=]+\s{0,12}|\s{1,8}|\s?\[\s{0,8}|\()[\"']?(?:tensor\()?"
    rf"({_NUMBER})(?!,[0-9]|(?!(?:nats?|bits?)\b)[A-Za-z0-9_]|\.[A-Za-z0-9])"
)
# a number that does not count, and what may stand in its place. None of its characters but .,:_ can be in what stands beside it,
# so that a line that does not match is given up at once
_ANY_NUMBER = re.compile(
    r"(?:(?<=[\s=(])[-+])?\d+(?:[.,:_]\d+)*(?:[eE][-+]?\d+)?|(?<![A-Za-z])(?:nan|inf)(?![A-Za-z])", re.IGNORECASE
)
_ANY = r"(?:[-+]?[0-9.,:_]{1,40}(?:[eE][-+]?[0-9]{1,5})?|[nN][aA][nN]|[-+]?[iI][nN][fF])"
_BAR = r"\s#█▉▊▋▌▍▎▏"  # bars are drawn with these, a few more of them each line
_SPACE = re.compile(f"([{_BAR}]+)")
_OF_MANY = re.compile(r"(?<![\w./])(\d{1,15})\s?/\s?(\d{1,15})(?![\w./])")
# a part of every name that is looked for: most lines of a program have none
_CURVE = re.compile("loss|nll|xent|entropy|objective|ppl|perplex|norm|lr|learning|scale|epoch|tensor\\(", re.IGNORECASE)
# print(loss): a tensor that has a gradient, of which a long line may be broken before it is said; a step may stand in front
_PRINTED = re.compile(rf"tensor\((?:{_NUMBER})(?:, (?!grad_fn)[^,()]{{1,40}})*,(?:\s{{0,8}}$| grad_fn=<)")
_OF_A_LOSS = re.compile(r"tensor\([^()]{1,120}grad_fn=<\w{0,60}(?:Loss|CrossEntropy)")
_BEFORE = re.compile(r"\W{0,4}(\d{1,15})\W{1,4}tensor\(")
# a line that begins with "Test set:" is about held-out data, whatever its loss is called
_HELD_OUT = re.compile(
    r"[^A-Za-z]{0,40}(?:\[[^\]]{0,40}\]\W{0,4})?(val|valid|validation|eval|evaluation|test|dev)\b(?![./\\])", re.IGNORECASE
)
# what the Trainer prints at the end of a run: means over all of it
# fastai and others print a table: the names once, then rows of numbers
_HEADING = re.compile(r"[\s|]*(?:epoch|step|iter)[\s|]{2,40}[\w\s|./]*loss[\w\s|./]*", re.IGNORECASE)
_CELLS = re.compile(r"[\s|]+")
_SUMMARY = "'train_runtime'"
_TRAINER = "{'loss': "
# words between name and number that say nothing: "iteration 100", "train loss is 2.3"
_NO_NAMES = frozenset({"is", "of", "at", "to", "the", "in", "after", "for", "from", "on", "and", "with", "than", "about"})


@dataclass
class _Template:
    """Lines of one make: which numbers count, and by what names."""

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


_NEVER = _Template(re.compile(r"(?!)"), ())


class _Reader:
    """Reads lines, the last template that matched first."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.templates: list[_Template] = []
        self.heading: tuple[str, ...] = ()

    def lines(self, lines: list[str]) -> None:
        """A block of lines, which become columns at its end."""
        begin = self.log.table.rows
        lines = [line if len(line) <= LONGEST else line[:LONGEST] for line in lines]
        top = _NEVER
        for place, line in enumerate(lines, begin):
            # the fast way: the same template as the line before
            found = top.pattern.fullmatch(line)
            if found is not None:
                top.rows.append(found.groups())
                top.places.append(place)
            elif _SUMMARY in line:
                self.log.finished = True
            elif self._known(line, place) or ((entries := entries_of(line)) and self._new(line, entries, place)):
                top = self.templates[0]
            else:
                self._of_a_table(line, place)
        for template in self.templates:
            if template.rows:
                cells = list(chain.from_iterable(template.rows))  # slices of it are columns, at a third of the time of zip(*rows)
                columns = [cells[at :: len(template.names)] for at in range(len(template.names))]
                self.log.table.add_columns(template.names, columns, template.places)
                template.rows, template.places = [], []
        self.log.table.rows = begin + len(lines)

    def _of_a_table(self, line: str, place: int) -> None:
        """The heading of a printed table, or a row of the one that was begun."""
        if len(line) < 500 and _HEADING.fullmatch(line):
            self.heading = tuple(_CELLS.split(line.strip(" |\t")))
        elif self.heading:
            cells = _CELLS.split(line.strip(" |\t"))
            if len(cells) == len(self.heading) and number(cells[0]) is not None:
                self.log.table.add_columns(self.heading, [(cell,) for cell in cells], [place])

    def _known(self, line: str, place: int) -> bool:
        """Whether one of the latest templates reads the line; it becomes the first."""
        for at, template in enumerate(self.templates[:TRIES]):
            found = template.pattern.fullmatch(line)
            if found is not None:
                template.rows.append(found.groups())
                template.places.append(place)
                self.templates.insert(0, self.templates.pop(at))
                return True
        return False

    def _new(self, line: str, entries: list[tuple[str, int, int]], place: int) -> bool:
        """A line that no template reads: its numbers, and if there is room a template of it, which is then the first."""
        names = tuple(name for name, _, _ in entries)
        row = tuple(line[start:end] for _, start, end in entries)
        if len(self.templates) >= MOST_TEMPLATES:
            self.log.table.add_columns(names, [(cell,) for cell in row], [place])
            return False
        self.log.hides_nan |= line.startswith(_TRAINER)
        self.templates.insert(0, _Template(re.compile(_pattern(line, entries)), names, [row], [place]))
        return True


def read_stdout(source: Source) -> Log:
    """The named numbers of every line that has a loss, a rate or another curve; lines without any are passed over."""
    log = Log(files=tuple(map(str, source.files)))
    for path in source.files:
        lines = Lines(path, returns=True)
        reader = _Reader(log)
        for block in lines:
            reader.lines(block)
        log.table.skipped += lines.skipped
    losses = log.table.points.get("loss")
    # the Trainer's filter is off where a NaN came through
    log.hides_nan = log.hides_nan and losses is not None and all(map(math.isfinite, losses.values))
    return log


def entries_of(line: str) -> list[tuple[str, int, int]]:
    """(name, start, end) of the numbers that count in a line; none if neither a curve nor the epoch is among them."""
    if not (_CURVE.search(line) and _ANY_NUMBER.search(line)):
        return []
    found: dict[str, tuple[str, int, int]] = {}
    held_out = _HELD_OUT.match(line)
    for match in _ENTRY.finditer(line):
        name = _name(match[1])
        if name and held_out and held_out.end() <= match.end(1) and kind_of(name) == "train_loss":
            name = f"{held_out[1].lower()} {name}"
        if name == "tensor" and _PRINTED.match(line, match.start()):
            name = "printed loss"  # of its own, as it may stand beside lines of a loss with a name
            if numbered := _BEFORE.match(line):
                found.setdefault("step", ("step", *numbered.span(1)))
        elif name and (kind_of(name), role_of(name)[0]) == ("metric", "curve") and _OF_A_LOSS.match(line, match.start(2) - 7):
            name = f"{name} loss"
        if name:
            found.setdefault(name, (name, *match.span(2)))
    bare = {name for name in found if bare_kind(name) is not None}
    bare = bare if len({bare_kind(name) for name in bare}) == 2 else set()
    entries = [e for e in found.values() if role_of(e[0])[0] != "curve" or kind_of(e[0]) != "metric" or e[0] in bare]
    curves = {kind_of(name) for name, _, _ in entries if role_of(name)[0] == "curve"}
    if not curves:
        return []
    counted = any(role_of(name)[0] == "step" for name, _, _ in entries)
    begin = min((start for name, start, _ in entries if role_of(name)[0] == "curve" and kind_of(name) != "epoch"), default=0)
    if not counted and begin and (bars := list(_OF_MANY.finditer(line, 0, begin))):
        # "12/1000": a progress bar's counter before the loss, if nothing better counts; "[3/20][12/1000]" has the epoch first
        entries.append(("batch_idx", *bars[-1].span(1)))
        if (
            len(bars) > 1
            and "epoch" not in map(str.lower, found)
            and line[: bars[0].start()].lower().rstrip().endswith(("[", "(", "epoch"))
        ):
            entries.append(("epoch", *bars[0].span(1)))
    return sorted(entries, key=lambda entry: entry[1])


def _name(said: str) -> str:
    """The words before a number without those that say nothing; "train loss" and "lr" alike are kept whole."""
    words = said.strip(" -.").split()
    while words and words[-1].lower() in _NO_NAMES:
        words.pop()
    return " ".join(words).strip("-./")


def _pattern(line: str, entries: list[tuple[str, int, int]]) -> str:
    """Lines like this one: its text as it is, other numbers in the place of its numbers."""
    pieces: list[str] = []
    at = 0
    for _, start, end in entries:
        pieces += [_loose(line[at:start]), f"({_NUMBER})"]
        at = end
    pieces.append(_loose(line[at:]))
    return "".join(pieces)


def _loose(text: str) -> str:
    """Text in which any number may stand where one does, and any space or bar where one does."""
    parts: list[str] = []
    at = 0
    for match in _ANY_NUMBER.finditer(text):
        parts += [_spaces(text[at : match.start()]), _ANY]
        at = match.end()
    parts.append(_spaces(text[at:]))
    return "".join(parts)


def _spaces(text: str) -> str:
    def loose(part: str) -> str:
        if part.isspace():
            return " +" if part.strip(" ") == "" else r"\s+"
        return f"[{_BAR}]*" if _SPACE.match(part) else re.escape(part)

    return "".join(loose(part) for part in _SPACE.split(text) if part)
