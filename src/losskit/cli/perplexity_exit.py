"""How a verb of ``losskit perplexity`` ends: one sentence and its exit code, whatever happens, on one rank or many."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["guarded", "print_json", "resume_line", "together", "unbroken", "writable"]

_SENT = re.compile(r"rank \d+: ")
_PACKAGE = Path(__file__).resolve().parent.parent


def guarded(work: Callable[[], int], interrupted: Callable[[], str] = lambda: "losskit: interrupted") -> int:
    """Run, say what went wrong in one sentence, and return the exit code; several ranks leave together."""
    with _interruptible(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            status = work()
        except BrokenPipeError:  # the caller knows what to do with a reader that has seen enough
            raise
        except KeyboardInterrupt:
            _deaf()
            status = 130
            _say(interrupted())
        except Exception as problem:
            _deaf()
            status = _status(problem)
            _say(f"losskit: {_sentence(problem)}", always=_ended(problem))
    return _left(status)


@contextmanager
def _interruptible() -> Generator[None]:
    """SIGTERM ends a run as Ctrl-C does: files are closed, the journal is whole."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # no other may have handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def together() -> Generator[None]:
    """What every rank gets through, or none: an exception of one is raised by all, with its rank's name."""
    from ..evaluate.running.parallel import gather

    try:
        yield
    except Exception as problem:
        if not (_ended(problem) or _SENT.match(str(problem))):  # else all have it
            gather(problem)
        raise
    gather(None)


def _deaf() -> None:
    """From here on the outcome is known: torchrun, which ends the others when one rank is gone, must not change it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def resume_line(journal: Path | None) -> str:
    """How to go on after an interruption."""
    if journal is None:
        return "losskit: interrupted, and nothing was kept: --resume FILE keeps every finished document"
    if not journal.is_file():
        return "losskit: interrupted before the first document: start again with the same command"
    return f"losskit: interrupted; finished documents are in {str(journal)!r}: the same command goes on from there"


def _ended(problem: BaseException) -> bool:
    """Whether it says that another rank is gone."""
    return isinstance(problem, RuntimeError) and "ended without a result" in str(problem)


def _status(problem: Exception) -> int:
    from ..evaluate import DataError, ModelError, NonFiniteError

    if isinstance(problem, DataError):
        return 3
    if isinstance(problem, ModelError):
        return 4
    if isinstance(problem, NonFiniteError):
        return 5
    if _ended(problem):
        return 130
    return 2 if _ours(problem) else 4


def _ours(problem: Exception) -> bool:
    """Whether an argument or a file is to blame: what comes out of the model's own code is not a wrong use."""
    if not isinstance(problem, (ValueError, OSError, ImportError)):
        return False
    frames = traceback.extract_tb(problem.__traceback__)
    return not isinstance(problem, ValueError) or not frames or _within(frames[-1].filename)


def _within(file: str) -> bool:
    return _PACKAGE in Path(file).resolve().parents


def _sentence(problem: Exception) -> str:
    from .perplexity_load import said

    if isinstance(problem, OSError) and problem.filename is not None and problem.strerror:
        return f"{problem.filename}: {problem.strerror}"
    if _status(problem) == 4 and type(problem).__name__ != "ModelError":
        frames = traceback.extract_tb(problem.__traceback__)
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        whose = "losskit" if frames and _within(frames[-1].filename) else "the model"
        return f"{whose} failed: {said(problem)}{where}"
    return " ".join(str(problem).split())


def _say(line: str, *, always: bool = False) -> None:
    if always or int(os.environ.get("RANK", "0")) == 0:
        print(line, file=sys.stderr, flush=True)


def _left(status: int) -> int:
    """Leave the other ranks, if there are any, and the process with them."""
    if "torch" not in sys.modules or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return status
    from ..evaluate.running.parallel import ranks, stop

    if ranks().world > 1:
        _deaf()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        stop()
        os._exit(status)  # gloo's threads now and then abort an interpreter that shuts down
    return status


def writable(*paths: str | Path | None) -> None:
    """Refuse now what could not be written after hours.

    Raises:     ValueError.
    """
    named = [Path(path) for path in paths if path is not None and str(path) != "-"]
    for path in named:
        folder = path.resolve().parent
        if path.is_dir():
            raise ValueError(f"{str(path)!r} is a folder, expected a file: name one in it")
        if not folder.is_dir():
            raise ValueError(f"{str(path)!r} is in a folder that does not exist: make {str(folder)!r} first")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise ValueError(f"{str(path)!r} cannot be written: name a file that can")
    twice = [path for path in named if sum(path.resolve() == other.resolve() for other in named) > 1]
    if twice:
        raise ValueError(f"{str(twice[0])!r} is named twice, expected a file for each output")


def print_json(text: str) -> None:
    """JSON is UTF-8, whatever the terminal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    print(text, flush=True)


def unbroken(show: Callable[[], None]) -> None:
    """Print; a reader that has seen enough changes nothing of the rest."""
    try:
        show()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
