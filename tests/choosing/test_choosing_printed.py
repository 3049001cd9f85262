"""Advice as text, in any width."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from choosing_said import HOSTILE, advice
from rich.console import Console

from losskit.choosing.advice import Advice, Fact
from losskit.choosing.candidates import spelt
from losskit.choosing.printed import digits, interval, show, text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_but_code(width: int) -> None:
    for line in text(advice(), width).splitlines():
        assert len(line) <= width or "losskit." in line, line


@pytest.mark.parametrize("width", [60, 120])
def test_everything_is_said_in_every_width(width: int) -> None:
    printed = " ".join(text(advice(), width).split())
    for part in (
        "regression: take l1_loss",
        "loss = losskit.l1_loss(prediction, target)",
        "2.5 at start, 1.25 best constant, 0 at best",
        "question Mean or median?",
        'want="median" median (as here): l1_loss',
        'group="a b" mean: mse_loss',
        "losskit.huber_loss(prediction, target, delta=118.7)",
        "Avoid mse_loss Outliers lead it.",
        "Proof: the training agrees",
        "l1_loss linear 184.2 174.2 to 194.2 first choice",
        "huber_loss linear 185.5 175.5 to 195.5 cannot tell",
        "mse_loss linear 269.6 259.6 to 279.6 worse",
        "MLP",
        "442 rows, 3 s.",
    ):
        assert part in printed, part


def test_code_is_never_broken() -> None:
    assert "    loss = losskit.huber_loss(prediction, target, delta=118.7)" in text(advice(), 40).splitlines()


def test_no_two_empty_lines_follow_each_other_where_no_level_is_known() -> None:
    said = advice()
    assert said.first is not None
    bare = replace(said, first=replace(said.first, start=None, constant=None, best=None, warning=""), warnings=())
    assert "\n\n" in text(bare, 80)
    assert "\n\n\n" not in text(bare, 80)


def test_a_refusal_says_why() -> None:
    printed = text(Advice("regression", None, refusal="All 9 targets are 3: there is nothing to learn."), 80)
    assert printed == "regression: no loss, for nothing can be learned\n  All 9 targets are 3: there is nothing to learn."


def test_what_the_data_do_not_decide_is_a_question() -> None:
    printed = text(replace(advice(proof=""), first=None, alternatives=(), avoid=(), task=None), 80)
    assert printed.startswith("the data do not decide")
    assert "question  Mean or median?" in printed


def test_a_verdict_heads_the_proof() -> None:
    assert "Proof: undecided\n" in text(advice("undecided: cannot be told"), 80)
    assert "Proof: the training disagrees\n" in text(advice("disagrees: mse_loss is better"), 80)


def test_words_from_the_data_cannot_paint_the_terminal() -> None:
    printed = text(advice(hostile=HOSTILE), 80)
    assert "\x1b" not in printed
    stream = io.StringIO()
    show(advice(hostile="[red]"), Console(file=stream, width=80))
    assert "[red]" in stream.getvalue(), "markup of others is text"


def test_colours_are_for_terminals_only() -> None:
    said = replace(advice(), questions=())

    def shown(terminal: bool) -> str:
        stream = io.StringIO()
        show(said, Console(file=stream, width=80, force_terminal=terminal, color_system="standard" if terminal else None))
        return stream.getvalue()

    assert "\x1b[" in shown(True)
    assert shown(False).rstrip("\n") == text(said, 80)


def test_json_is_plain_and_says_what_it_is() -> None:
    found = json.loads(json.dumps(advice().json(), allow_nan=False))
    assert found["schema"] == "losskit.choose/1"
    assert found["first"]["loss"] == "l1_loss"
    assert found["facts"][1]["value"] is None, "what is not finite has no number in JSON"
    assert found["proof"]["scores"][0] == {
        "loss": "l1_loss", "model": "linear", "metric": "MAE", "mean": 184.2, "low": 174.2, "high": 194.2, "folds": 10
    }  # fmt: skip
    assert str(advice()) == text(advice())


def test_no_figure_is_printed_outside_of_its_interval() -> None:
    assert interval(0.49985, 0.50004) == "0.4999 to 0.5"
    for mean, half in ((0.4999, 1e-5), (123456.7, 0.3), (1.2345e-9, 1e-12), (-0.99999, 1e-6)):
        low, high = interval(mean - half, mean + half).split(" to ")
        assert float(low) <= float(digits(mean)) <= float(high)


def test_numbers_in_facts_are_written_as_people_write_them() -> None:
    assert [spelt(v) for v in (76_832.0, -9_115_204.0, 9_999.6, 0.012345, 2e9)] == [
        "76,830",
        "-9,115,000",
        "10,000",
        "0.01235",
        "2e+09",
    ]


def test_facts_and_figures_hang_behind_their_names() -> None:
    said = Advice("ranking", advice().first, facts=(Fact("rows", 9, "9 rows"), Fact("informative lists", 9, "of all " * 20)))
    lines = text(said, 80).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  informative lists  of all"))
    assert lines[at - 1] == f"  {'rows':<17}  9 rows"
    assert len(lines[at + 1]) - len(lines[at + 1].lstrip()) == 21
