"""The language model of the demo under losskit.evaluate: the same sums, stated contexts, and cells that a terminal can hold."""

from __future__ import annotations

import functools
import io
import math
import re
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from losskit.demos import Demo, Ran, Result, Table, generator, judged
from losskit.demos.corpus import Text
from losskit.demos.gpt import GPT, Rows, Shape, pack, score
from losskit.demos.terminal import show
from losskit.demos.tokens import learn
from losskit.evaluate.records import DocumentScore, Surprise

SHAPE = Shape(width=16, layers=2, heads=2, length=12)
WORDS = "to be or not to be that is the question whether it is nobler in the mind to suffer the slings and arrows"
STRANGE = "a-name-that-is-far-too-long-for-a-column"


@functools.cache
def text() -> Text:
    learned = {"hamlet": (WORDS + "\n\n").encode() * 3}
    held = {f"topic {i}": " ".join(WORDS.split()[i : 2 * i + 4]).encode() for i in range(12)}
    # as a byte-pair tokenizer has them: three tokens for a sign, white space that is not one blank
    held[STRANGE] = "to \t be\n\n   世界 é\x07\x1b[1m and\nthe end".encode()
    return Text(learned, held, learn(learned.values(), 290))


@functools.cache
def model() -> GPT:
    """Untrained, but its blocks do add something."""
    one, source = GPT(len(text().tokenizer.pieces), SHAPE, generator(0)), generator(1)
    for parameter in one.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=source)
    return one


@functools.cache
def reports() -> judged.Reports:
    return judged.judge(model(), text())


def printed(result: Result, width: int) -> list[str]:
    out = io.StringIO()
    show([Ran(Demo("d", "t", "q", 1, lambda tick: result), result, 1.0)], Console(file=out, width=width))
    return out.getvalue().splitlines()


# the sums


def test_windows_that_do_not_overlap_give_the_score_of_packed_pieces() -> None:
    """A piece begins with the last token of the one before it, a window with a context of one: the same windows."""
    found = reports()["disjoint"].overall
    wanted = score(model(), pack(text().tokens(text().held), SHAPE.length), text().widths)
    assert found.nats == pytest.approx(wanted.nats, rel=1e-6)
    assert found.amounts["token"] == wanted.tokens
    assert found.amounts["byte"] == wanted.bytes == sum(map(len, text().held.values()))
    assert reports()["half"].overall.nats != pytest.approx(wanted.nats, rel=1e-3)


def test_every_stride_scores_every_token_of_every_topic_once() -> None:
    sizes = {name: len(tokens) - 1 for name, tokens in zip(text().held, text().tokens(text().held), strict=True)}
    for one in reports().values():
        assert {document.id: document.tokens for document in one.documents} == sizes
        assert one.coverage == 1
        assert one.warnings == ()


def test_a_smaller_stride_gives_more_context_for_more_passes() -> None:
    found = judged.known(reports())
    for name in ("context", "passes"):
        values = [found[f"{name}_{stride}"] for stride in ("disjoint", "half", "quarter")]
        assert values == sorted(set(values))
    assert found["passes_disjoint"] == 1.0


def test_the_numbers_of_a_stride_agree_with_each_other() -> None:
    found = judged.known(reports())
    assert all(math.isfinite(value) for value in found.values())
    assert found["topics_held"] == len(text().held) == 13
    tokens, size = reports()["half"].overall.amounts["token"], reports()["half"].overall.amounts["byte"]
    for stride in ("disjoint", "half", "quarter"):
        assert found[f"perplexity_{stride}"] == pytest.approx(math.exp(found[f"loss_{stride}"]))
        assert found[f"bits_per_byte_{stride}"] == pytest.approx(found[f"loss_{stride}"] * tokens / math.log(2) / size)
        low, high = found[f"perplexity_low_{stride}"], found[f"perplexity_high_{stride}"]
        # symmetric in the loss: Student's t with 12 degrees of freedom
        assert math.log(high / low) == pytest.approx(2 * 2.1788 * found[f"standard_error_{stride}"], rel=1e-4)
    assert found["more_context"] == pytest.approx(found["perplexity_quarter"] / found["perplexity_disjoint"] - 1)
    assert found["more_context_low"] < found["more_context"] < found["more_context_high"]


# the pictures


def test_a_token_with_one_before_it_is_the_first_of_a_topic_where_windows_overlap() -> None:
    """The model sees the token that begins a document, and no other: all topics have that loss in common."""
    start = torch.tensor([[text().tokenizer.start]])
    scores = model()(Rows(start, torch.zeros_like(start)))[0, 0].double() @ model().table.double().T
    firsts = [tokens[1] for tokens in text().tokens(text().held)]
    wanted = float(-scores.log_softmax(0)[firsts].mean().detach())
    chart = judged.figure(reports()).charts[0]
    apart, half = chart.series
    assert half.x[0] == apart.x[0] == 1
    assert half.y[0] == pytest.approx(wanted, rel=1e-5)
    assert apart.y[0] != pytest.approx(wanted, rel=1e-3)
    for series, report in ((apart, reports()["disjoint"]), (half, reports()["half"])):
        points = judged.by_context(report.documents)
        assert [*zip(series.x, series.y, series.low, series.high, strict=True)] == points


def test_a_point_is_a_sum_over_a_sum_and_needs_two_topics() -> None:
    def document(**contexts: tuple[float, int]) -> DocumentScore:
        bins = {int(name[1:]): pair for name, pair in contexts.items()}
        return DocumentScore("d", None, 0.0, 0.0, 3, 0, contexts=bins)

    given = [document(b0=(2.0, 1), b4=(9.0, 3)), document(b0=(4.0, 3), b8=(1.0, 1)), document(b4=(3.0, 3))]
    (one, loss, low, high), (two, *_) = judged.by_context(given)
    assert (one, two) == (1.0, 2.0)
    assert loss == (2.0 + 4.0) / (1 + 3)
    assert low < loss < high
    # t with one degree of freedom, residuals 2 - 1.5 and 4 - 4.5, of 4 tokens
    assert high - loss == pytest.approx(12.7062 * math.sqrt(2 * (0.5**2 + 0.5**2)) / 4, rel=1e-4)


def hardest(token: str, before: str) -> Table:
    """The table with a topic that is harder than all others."""
    record = DocumentScore(STRANGE, None, 100.0, 900.0, 10, 0, worst=Surprise(3, 20.0, token, before))
    others = [one for one in reports()["quarter"].documents if one.id != STRANGE]
    return judged.worst(replace(reports()["quarter"], documents=[*others, record]))


def test_the_hardest_topics_are_those_with_the_highest_loss() -> None:
    rows = judged.worst(reports()["quarter"]).rows
    losses = {one.id[:15]: (one.loss, one.tokens) for one in reports()["quarter"].documents}
    highest = sorted(losses.values(), reverse=True)[:5]
    assert [(row[1], row[2]) for row in rows] == [(tokens, pytest.approx(math.exp(loss))) for loss, tokens in highest]
    assert hardest("a", "b").rows[0][2] == pytest.approx(math.exp(100.0 / 10))


@pytest.mark.parametrize(
    ("token", "before", "cells"),
    [
        (" ::=", "is to be", ("' ::='", "is to be")),
        ("\n\n\t", "one\n\n  two\tthree ", (r"'\n\n\t'", "one two three")),
        ("世界", "世界\x1b[1m and\x07\r\n", ("'??'", "???[1m and?")),
        ("it's", "", ('"it\'s"', "")),
        ("m" * 40, "0123456789" * 3, ("'mmmmmmmmm...", "...34567890123456789")),
    ],
)
def test_no_cell_breaks_the_terminal(token: str, before: str, cells: tuple[str, str]) -> None:
    """Control characters, signs of two columns, and lines: each topic is one line of 80 columns."""
    table = hardest(token, before)
    assert (table.rows[0][0], *table.rows[0][3:]) == ("a-name-that-is-...", *cells)
    lines = printed(Result("", "", [], [table], "", []), 80)
    assert max(map(len, lines)) <= 80
    (line,) = (line for line in lines if line.startswith("a-name-that-is-... "))
    assert all(cell in line for cell in cells)


@pytest.mark.parametrize("width", [50, 80])
def test_the_tables_keep_the_width_of_the_terminal_and_every_number(width: int) -> None:
    tables = [judged.sure(reports()), judged.worst(reports()["quarter"])]
    lines = printed(Result("", "", [], tables, "", []), width)
    assert max(map(len, lines)) <= width
    found, whole = judged.known(reports()), " ".join(" ".join(lines).split())
    for stride in ("disjoint", "half", "quarter"):
        for number in (f"{found[f'perplexity_{stride}']:.1f}", f"{found[f'standard_error_{stride}']:.4f}"):
            assert number in whole
        assert f"{found[f'perplexity_low_{stride}']:.1f} to {found[f'perplexity_high_{stride}']:.1f}" in whole


# the sentence


@pytest.mark.parametrize(("change", "word"), [(0.02, "2.0 % higher (+1.0 to +3.0 %)"), (-0.02, "2.0 % lower (-3.0 to -1.0 %)")])
def test_the_sentence_says_which_way_more_context_goes(change: float, word: str) -> None:
    found = judged.known(reports()) | {"more_context": change}
    found |= {"more_context_low": change - 0.01, "more_context_high": change + 0.01}
    said = judged.said(found)
    assert word in said
    numbers = re.findall(r"\d+(?:\.\d+)?", said.replace(word, "").replace("95 %", ""))
    ratio = found["standard_error_disjoint"] / found["iid_standard_error_disjoint"]
    low, high = found["perplexity_low_disjoint"], found["perplexity_high_disjoint"]
    assert numbers == [f"{low:.0f}", f"{high:.0f}", "13", f"{ratio:.1f}"]
