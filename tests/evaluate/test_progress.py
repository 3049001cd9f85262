"""Progress: one line now and then, whose interval is that of the documents so far."""

from __future__ import annotations

import io
import math

import pytest

from losskit.evaluate.intervals import ratio
from losskit.evaluate.records import DocumentScore
from losskit.evaluate.running.progress import Progress

DONE = [DocumentScore(str(i), None, 2.0 * n + i, 0.0, n, 0) for i, n in enumerate((10, 20, 5, 40))]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_running_interval_is_that_of_the_documents_so_far() -> None:
    progress = Progress(1000, level=0.95, stream=io.StringIO())
    progress.finish(DONE)
    progress.batch(75)
    one = ratio([d.nats for d in DONE], [d.tokens for d in DONE])
    assert one.low is not None
    assert one.high is not None
    said = f"{math.exp(one.value):.4g} [{math.exp(one.low):.4g}, {math.exp(one.high):.4g}]"
    line = progress.line(progress.began + 3)
    assert f"perplexity so far {said}" in line
    assert "75 of 1,000 tokens" in line
    assert "25 tokens/s" in line
    assert "0:37 left" in line


@pytest.mark.parametrize("count", [0, 1])
def test_one_document_has_no_interval(count: int) -> None:
    progress = Progress(10, level=0.95, stream=io.StringIO())
    progress.finish(DONE[:count])
    assert "[" not in progress.line(progress.began + 1)


def test_what_was_done_before_does_not_count_for_the_speed() -> None:
    progress = Progress(1000, level=0.95, stream=io.StringIO())
    progress.resume(DONE)
    progress.batch(20)
    assert "10 tokens/s" in progress.line(progress.began + 2)


def test_an_infinite_loss_is_said() -> None:
    progress = Progress(1000, level=0.95, stream=io.StringIO())
    progress.finish([*DONE, DocumentScore("bad", None, math.inf, 0.0, 3, 0)])
    assert "perplexity so far inf" in progress.line(progress.began + 1)


def test_a_terminal_gets_one_line_that_goes_away_and_a_file_gets_lines() -> None:
    live, file = Terminal(), io.StringIO()
    for stream in (live, file):
        with Progress(100, level=0.95, stream=stream) as progress:
            progress.last -= 100
            progress.batch(10)
            progress.last -= 100
            progress.batch(10)
    assert live.getvalue().count("\r") >= 3
    assert "\n" not in live.getvalue()
    assert file.getvalue().count("\n") == 2


def test_documents_of_a_journal_are_told() -> None:
    stream = io.StringIO()
    Progress(100, level=0.95, stream=stream).resume(DONE)
    assert stream.getvalue() == "4 documents from the journal\n"
