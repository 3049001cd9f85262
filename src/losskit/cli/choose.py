"""``losskit choose``: which loss, from a task or from data, and the proof by training. The work is in losskit.choosing."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choosing.advice import TASKS
from ..choosing.wants import WANTS, listed
from .progress import progress

if TYPE_CHECKING:
    from ..choosing.advice import Advice, Proof
    from ..choosing.columns import Columns

__all__ = ["VERBS", "add"]

_TYPED = tuple(f'"{name}"' for name in ("target", "group", "inputs", "task"))  # a complaint of these is of what was typed
_WORDS = "".join(f"\n  {f'{task}:':<12} {listed(task)}" for task in WANTS)
_END = f"""examples:
  losskit choose --task binary
  losskit choose --task regression --want quantile=0.9
  losskit choose --task language --num-classes 50257
  losskit choose houses.csv --target price --code train.py
  losskit choose clicks.parquet --target clicked --group query --prove
  losskit choose labels.npy --json

words of --want, by task:{_WORDS}

formats: csv, tsv, parquet, jsonl, npy, npz; text also as .gz or .zst. All columns but target and group are inputs, unless
--inputs names them. A proof trains two small models with every candidate, those to be avoided too: seconds to a minute.

exit codes:
  0    advised
  1    --prove disagrees with the advice
  2    wrong use; or --prove or --code cannot be done, and why not
  3    nothing could be read or learned, or the data do not decide
  130  interrupted"""


def add(verbs: Any) -> None:
    """Add the verb to a parser's subparsers."""
    form = argparse.RawDescriptionHelpFormatter
    choose = verbs.add_parser("choose", help="which loss to take, for a task or for data", epilog=_END, formatter_class=form)
    choose.add_argument("data", nargs="?", type=Path, metavar="DATA", help="a table, or an array that is the target itself")
    choose.add_argument("--target", metavar="COL", help="the column to be predicted; several with commas between them")
    choose.add_argument("--group", metavar="COL", help="the query, or whatever else rows belong together by")
    choose.add_argument("--task", choices=TASKS, help="what is learned, if that is known")
    choose.add_argument("--inputs", metavar="COLS", help="the columns that are learned from, with commas between them")
    choose.add_argument("--want", metavar="WORD", help="what is wanted of the predictions: a word of the task, listed below")
    what = "how many classes, labels or tokens there are, where no data show all of them"
    choose.add_argument("--num-classes", metavar="N", help=what)
    choose.add_argument(
        "--code", type=Path, metavar="FILE", help="write a script that trains with the first choice, to be edited"
    )
    choose.add_argument("--prove", action="store_true", help="train with each candidate, and compare")
    choose.add_argument("--seed", type=int, default=0, metavar="N", help="of the proof (default: 0)")
    choose.add_argument("--json", action="store_true", help="print JSON, for a program")
    choose.add_argument("--html", type=Path, metavar="FILE", help="the advice as a page")


def _choose(arguments: argparse.Namespace) -> int:
    from ..choosing.choose import advise
    from ..evaluate.text.readers import DataError

    _cards()
    _writable("--html", arguments.html, "choice.html")
    _writable("--code", arguments.code, "train.py")
    given: dict[str, Any] = {
        "target": _columns(arguments.target),
        "group": arguments.group,
        "task": arguments.task,
        "inputs": _columns(arguments.inputs, always=True),
        "want": arguments.want,
        "num_classes": _number(arguments.num_classes),
    }
    try:
        advice, columns = advise(arguments.data, **given)
    except DataError as problem:
        print(f"losskit: {problem}", file=sys.stderr)
        return 2 if str(problem).startswith(_TYPED) else 3
    except OSError as problem:
        print(f"losskit: {problem}", file=sys.stderr)
        return 3
    refused: list[str] = []  # the advice is good without its script and its proof
    if advice.first is not None and arguments.prove:
        try:
            advice = replace(advice, proof=_proof(advice, columns, arguments.seed))
        except ValueError as why:
            refused.append(f"no proof: {why}")
    if advice.first is not None and arguments.code is not None:
        try:
            _script(advice, columns, arguments)
        except (ValueError, OSError) as why:
            refused.append(f"no script: {why}")
    _told(advice, arguments)
    for line in refused:
        print(f"losskit: {line}", file=sys.stderr)
    if advice.first is None:
        return 3
    disagrees = advice.proof is not None and advice.proof.verdict.startswith("disagrees")
    return 2 if refused else int(disagrees)


def _script(advice: Advice, columns: Columns | None, arguments: argparse.Namespace) -> None:
    """The training script, written where no file is."""
    from ..choosing.script import write_script

    if columns is None:
        raise ValueError("a script trains on data, and there are none: name a file")
    write_script(advice, columns, arguments.code, arguments.data)
    print(f"script: {arguments.code}", file=sys.stderr)


def _proof(advice: Advice, columns: Columns | None, seed: int) -> Proof:
    """The training, of the advice that is there already."""
    from ..choosing.prove import prove

    if columns is None:
        raise ValueError("a proof trains on data, and there are none: name a file")
    with progress("preparing the data", "models trained") as tell:
        return prove(advice, columns, seed=seed, progress=tell)


def _writable(option: str, file: Path | None, such: str) -> None:
    """Say what is wrong with the place of a file before minutes are spent on what goes there."""
    if file is not None and file.is_dir():
        raise ValueError(f'"{option}" is "{file}", a directory, expected a file such as {file / such}')
    if file is not None and not file.absolute().parent.is_dir():
        raise ValueError(f'"{option}" is "{file}", and there is no directory "{file.parent}": make it first')


def _cards() -> None:
    """Load every loss: advice is made from their cards."""
    import losskit

    assert losskit.CATALOGUE


def _number(typed: str | None) -> int | None:
    """A number of classes; the parser's own complaint would be a page of usage."""
    try:
        return None if typed is None else int(typed)
    except ValueError:
        raise ValueError(f'"--num-classes" is {typed!r}, expected a whole number of at least 2') from None


def _columns(named: str | None, *, always: bool = False) -> str | list[str] | None:
    """One column, or several with commas between them."""
    if named is None:
        return None
    several = [name.strip() for name in named.split(",") if name.strip()]
    return several if always or len(several) > 1 else named


def _told(advice: Advice, arguments: argparse.Namespace) -> None:
    """Write the page that was asked for, and print the advice."""
    from rich.console import Console

    from ..choosing.printed import show

    if arguments.html is not None:
        from ..choosing.page.html import write

        write(advice, arguments.html, shell=True)
    if arguments.json:
        print(json.dumps(advice.json(), indent=2, allow_nan=False))
    else:
        with contextlib.suppress(SystemExit):  # rich ends with 1 where the reader has seen enough, as in a pipe to head
            show(advice, Console(highlight=False))
    if arguments.html is not None:
        print(f"report: {arguments.html.resolve()}", file=sys.stderr)


VERBS = {"choose": _choose}
