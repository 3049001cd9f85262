"""``losskit check`` and ``losskit doctor``: why a loss is stuck, exploding, NaN or lying. The work is in losskit.doctor."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .progress import progress

if TYPE_CHECKING:
    from ..doctor.report import Case, Report

__all__ = ["VERBS", "add"]

_CODES = """exit codes:
  0    no error found (nor warning, with --fail-on warning)
  1    warnings, with --fail-on warning
  2    errors found; or an option that makes no sense, or a report that cannot
       be written
  3    nothing to judge: a log that cannot be read or has no loss; of check, a
       FILE.py:NAME that is not there, that fails, or that makes what cannot be
       run
  4    the doctor itself failed
  130  interrupted"""
_DOCTOR = f"""examples:
  losskit doctor runs/                      every run below, the sickest first
  losskit doctor outputs/checkpoint-500     the log of a HF Trainer
  losskit doctor train.log --fact num_classes=10 --html doctor.html
  losskit doctor runs/ --watch              again whenever a log grows

formats: trainer_state.json of HF, metrics.csv of Lightning, TensorBoard events, W&B offline, MLflow,
trackio, JSONL, CSV, and what a training loop prints. What the curves are of is told by the config
beside the log, or by --fact: num_classes, vocab_size, label_smoothing, margin, batch_size, loss, ...

{_CODES}"""
_CHECK = f"""FILE.py:NAME is a function without arguments that returns what losskit.doctor.check takes: a dict
(model, batch, loss_fn, optimizer, ...), or a tuple in this order. Its file is run.

examples:
  losskit check train.py:make
  losskit check train.py:make --budget 5 --json -

{_CODES}"""


def add(verbs: Any) -> None:
    """Add the verbs to a parser's subparsers."""
    form = argparse.RawDescriptionHelpFormatter
    check = verbs.add_parser("check", help="before training: what one batch tells", epilog=_CHECK, formatter_class=form)
    check.add_argument("target", metavar="FILE.py:NAME", help="a function that makes model, batch, loss_fn and optimizer")
    check.add_argument("--no-overfit", action="store_true", help="do not try to learn one batch by heart")
    check.add_argument("--budget", type=float, default=30.0, metavar="S", help="seconds that it may take (default: 30)")
    doctor = verbs.add_parser("doctor", help="after it: what the logs of runs tell", epilog=_DOCTOR, formatter_class=form)
    doctor.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a log, a run, or a folder of runs")
    doctor.add_argument("--fact", action="append", default=[], metavar="NAME=VALUE", help="what is known of the runs")
    doctor.add_argument("--event", action="append", default=[], metavar="STEP=TEXT", help="what happened at a step")
    doctor.add_argument("--objective", choices=("mining", "adversarial"), help="a loss that need not fall")
    doctor.add_argument("--watch", action="store_true", help="go on, and look again whenever a log grows")
    doctor.add_argument("--every", type=float, default=10.0, metavar="S", help="seconds between two looks (default: 10)")
    for verb in (check, doctor):
        verb.add_argument("--fail-on", choices=("error", "warning"), default="error", help="what makes it exit with 1 or 2")
        verb.add_argument("--json", metavar="FILE|-", help="the report as JSON")
        verb.add_argument("--html", type=Path, metavar="FILE", help="the report as a page")
        verb.add_argument("--junit", type=Path, metavar="FILE", help="the report as JUnit XML")


def _check(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from ..doctor.before.checkup import check

    if not arguments.budget >= 0:
        raise _MisuseError(f'"--budget" is {arguments.budget}, expected seconds, 0 or more: leave it out for 30')
    try:
        with contextlib.redirect_stdout(sys.stderr):
            made = _made(arguments.target)
            _fits(check, made, arguments.target)
    except _CannotMakeError as problem:
        print(f"losskit: {problem}", file=sys.stderr)
        return 3
    options: dict[str, Any] = {"overfit": not arguments.no_overfit, "budget_s": arguments.budget}
    with contextlib.redirect_stdout(sys.stderr):  # what the user's code prints is not the report
        report = check(**{**options, **made}) if isinstance(made, Mapping) else check(*made, **options)
    named = tuple(replace(case, subject=arguments.target) for case in report.cases)
    return _told(replace(report, cases=named), arguments)


class _MisuseError(ValueError):
    """An argument that says nothing."""


class _CannotMakeError(Exception):
    """The user's function is not there or failed."""


def _made(target: str) -> Any:
    """What the function of FILE.py:NAME returns."""
    file, colon, name = target.rpartition(":")
    if not colon or not Path(file).is_file():
        raise _CannotMakeError(f'"{target}" names no function of a file, expected FILE.py:NAME such as train.py:make')
    own = sys.argv
    sys.argv = [file]  # as if the file alone were run: what losskit was called with is not the file's
    try:
        make = getattr(_loaded(Path(file)), name, None)
        if not callable(make):
            raise _CannotMakeError(f"{file} has no function {name}")
        made = make()
    except (_CannotMakeError, KeyboardInterrupt):
        raise
    except BaseException as problem:  # a script may end itself by sys.exit()
        said = f"{target} failed: {type(problem).__name__}: {problem}{_place(problem, file)}"
        raise _CannotMakeError(said) from problem
    finally:
        sys.argv = own
    if not isinstance(made, (Mapping, tuple)):
        got = type(made).__name__
        raise _CannotMakeError(f"{target} returned a {got}, expected a dict or (model, batch, loss_fn, optimizer)")
    return made


def _place(problem: BaseException, file: str) -> str:
    """The last line of the user's own file on the way to it."""
    own = Path(file).resolve()
    frames = traceback.extract_tb(problem.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == own]
    if isinstance(problem, SyntaxError) and problem.filename and Path(problem.filename).resolve() == own:
        lines = [problem.lineno]
    return f" ({file}:{lines[-1]})" if lines else ""


def _fits(check: Callable[..., Report], made: Any, target: str) -> None:
    """Whether check takes what was made."""
    from ..doctor.arguments import checked

    named: Mapping[str, Any] = made if isinstance(made, Mapping) else {}
    try:
        bound = inspect.signature(check).bind(*(() if named else made), **named)
    except TypeError as problem:
        takes = ", ".join(inspect.signature(check).parameters)
        raise _CannotMakeError(f"{target} returned what check does not take: {problem}; it takes {takes}") from problem
    bound.apply_defaults()
    try:
        checked(bound.arguments)
    except (TypeError, ValueError) as problem:
        raise _CannotMakeError(f"{target} returned what check does not take: {problem}") from problem


def _loaded(file: Path) -> Any:
    """The file as a module, under its own name unless that is taken; what lies beside it can be imported."""
    from importlib.util import module_from_spec, spec_from_file_location

    name = file.stem if file.stem not in sys.modules else f"checked_{file.stem}"
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise _CannotMakeError(f"{file} is no Python file, expected FILE.py:NAME")
    sys.path.insert(0, str(file.resolve().parent))
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    spec.loader.exec_module(module)
    return module


def _doctor(arguments: argparse.Namespace) -> int:
    facts, events = _known(_facts(arguments.fact)), _events(arguments.event)
    if arguments.watch:
        return _watch(arguments, facts, events)
    from ..doctor.after.diagnosis import diagnose

    with progress("looking for runs", "runs read") as tell:
        report = diagnose(*arguments.paths, refs=facts, events=events, objective=arguments.objective, progress=tell)
    return _told(report, arguments)


def _watch(arguments: argparse.Namespace, facts: Mapping[str, Any], events: Sequence[tuple[int, str]]) -> int:
    """Look again whenever a log grows, and say what is new, until it is interrupted."""
    from ..doctor.after.diagnosis import Watch

    watch = Watch(*arguments.paths, refs=facts, events=events, objective=arguments.objective)
    before: Report | None = None
    while True:
        report = watch.look()
        if report is not None:
            _told(report, arguments, changed=None if before is None else _changed(before, report))
            sys.stdout.flush()
            before = report
        time.sleep(max(0.1, arguments.every))


def _changed(before: Report, after: Report) -> Report:
    """Only the runs of which something else is said than before."""

    def said(case: Case) -> tuple[str, ...]:
        return (case.problem, *(f"{f.code} {f.hit.where}" for f in case.findings))

    known = {case.subject: said(case) for case in before.cases}
    return type(after)(tuple(case for case in after.cases if known.get(case.subject) != said(case)))


def _facts(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs: a value is JSON where it can be read as such, else text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _MisuseError(f'"--fact" is {pair!r}, expected NAME=VALUE such as num_classes=10')
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts, if each has a name that somebody reads, and a value that means something."""
    from ..doctor.facts import checked_facts

    try:
        checked_facts("--fact", facts)
    except ValueError as problem:
        raise _MisuseError(str(problem)) from None
    return facts


def _events(pairs: Sequence[str]) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for pair in pairs:
        step, equals, text = pair.partition("=")
        if not equals or not step.strip().isdigit():
            raise _MisuseError(f'"--event" is {pair!r}, expected STEP=TEXT such as 3000=stage 2')
        found.append((int(step), text))
    return found


def _told(report: Report, arguments: argparse.Namespace, *, changed: Report | None = None) -> int:
    """Print the report (or what has changed in it), or its JSON, and write what was asked for."""
    from rich.console import Console

    from ..doctor.page.terminal import show

    printed = report if changed is None else changed
    if arguments.json == "-":
        print(json.dumps({**report.to_json(), "exit_code": report.exit_for(arguments.fail_on)}, indent=2, allow_nan=False))
    elif printed.cases:
        with contextlib.suppress(SystemExit):  # of rich, where the reader has seen enough; files and verdict stand all the same
            show(printed, Console(highlight=False))
    if arguments.json not in (None, "-"):
        report.to_json(arguments.json)
    if arguments.html is not None:
        report.to_html(arguments.html)
    if arguments.junit is not None:
        report.to_junit(arguments.junit)
    if arguments.html is not None and changed is None:
        print(f"report: {arguments.html.resolve()}", file=sys.stderr)
    return report.exit_for(arguments.fail_on)


def _guarded(verb: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A failure of the doctor's own is exit code 4, and says where; wrong use is told by whoever called."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            return verb(arguments)
        except (_MisuseError, ImportError, OSError):
            raise
        except Exception:
            traceback.print_exc()
            print("losskit: the doctor failed; what it looked at is not to blame", file=sys.stderr)
            return 4

    return run


VERBS = {"check": _guarded(_check), "doctor": _guarded(_doctor)}
