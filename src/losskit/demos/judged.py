"""The language model judged on topics never seen: an interval that counts topics, more and less context, the worst of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from unicodedata import east_asian_width

import torch
from torch import Tensor

from ..evaluate.intervals import ratio
from ..evaluate.model import Head
from ..evaluate.paired import compare
from ..evaluate.records import DocumentScore, context_of
from ..evaluate.report import PerplexityReport
from ..evaluate.run import perplexity
from ..evaluate.summary import exp
from . import Cell, Chart, Column, Figure, Series, Table
from .corpus import Text
from .gpt import GPT, Rows

__all__ = ["Reports", "Stride", "by_context", "figure", "judge", "known", "said", "sure", "worst"]

Stride = Literal["disjoint", "half", "quarter"]
STRIDES: Sequence[Stride] = ("disjoint", "half", "quarter")
LISTED = 5  # of the worst topics
NAME, TOKEN, BEFORE = 18, 13, 20  # characters shown: with two columns of numbers they fit 80

Reports = Mapping[Stride, PerplexityReport]


def judge(model: GPT, text: Text) -> dict[Stride, PerplexityReport]:
    """Every held-out topic as a document, in windows as long as the rows of the training, with less and with more overlap.

    A window has one position less than a row, whose last is never asked; the token that begins a document stands in its first
    window only, as in training.
    """

    def states(ids: Tensor) -> Tensor:
        hidden: Tensor = model(Rows(ids, torch.zeros_like(ids)))
        return hidden

    documents = [{"topic": name, "text": held.decode()} for name, held in text.held.items()]
    head, window = Head(model.table.detach()), len(model.cos) - 1
    return {
        stride: perplexity(
            states, text.tokenizer, documents, head=head, window=window, stride=stride, bos="first", doc_id="topic"
        )
        for stride in STRIDES
    }


def known(reports: Reports) -> dict[str, float]:
    """The numbers of each stride, by name."""
    facts = {"topics_held": float(reports["disjoint"].overall.documents)}
    for stride, one in reports.items():
        loss, bits, bounds = one.overall.per["token"], one.bits_per_byte, one.interval
        # more topics than one, of known bytes: all of it is known
        assert loss.standard_error is not None
        assert one.overall.iid_standard_error is not None
        assert one.contexts is not None
        assert bits is not None
        assert bounds is not None
        facts |= {
            f"loss_{stride}": loss.value,
            f"perplexity_{stride}": float(one.perplexity or 0),
            f"perplexity_low_{stride}": bounds[0],
            f"perplexity_high_{stride}": bounds[1],
            f"standard_error_{stride}": loss.standard_error,
            f"iid_standard_error_{stride}": one.overall.iid_standard_error,
            f"bits_per_byte_{stride}": bits,
            f"context_{stride}": one.contexts.mean,
            f"passes_{stride}": one.forward_tokens / one.tokens,
        }
    # topic by topic: most of what makes a topic hard is the same in both
    change = compare(reports["quarter"], reports["disjoint"])
    bounds = change.interval
    assert bounds is not None
    low, high = bounds
    return facts | {"more_context": change.worse_by, "more_context_low": low - 1, "more_context_high": high - 1}


def said(facts: Mapping[str, float]) -> str:
    """How far the model's perplexity can be trusted, and what more context makes of it."""
    wider = facts["standard_error_disjoint"] / facts["iid_standard_error_disjoint"]
    change, low, high = (100 * facts[f"more_context{end}"] for end in ("", "_low", "_high"))
    return (
        f"With other topics of this kind it could be anything from {facts['perplexity_low_disjoint']:.0f} to "
        f"{facts['perplexity_high_disjoint']:.0f} (95 % interval over {facts['topics_held']:.0f} topics; its standard error is "
        f"{wider:.1f} times what independent tokens would have); the context of windows that overlap by three quarters makes it "
        f"{abs(change):.1f} % {'lower' if change < 0 else 'higher'} ({low:+.1f} to {high:+.1f} %)."
    )


def sure(reports: Reports) -> Table:
    """Perplexity and its error with less and more context."""
    columns = [
        Column("stride"),
        Column("context", ".0f"),
        Column("perplexity", ".1f"),
        Column("95 % interval"),
        Column("error by token", ".4f"),
        Column("error by topic", ".4f"),
        Column("bits per byte", ".3f"),
        Column("passes", ".1f"),
    ]
    found = known(reports)
    rows: list[list[Cell]] = []
    for stride in reports:
        low, high = found[f"perplexity_low_{stride}"], found[f"perplexity_high_{stride}"]
        keys = ("context", "perplexity", "iid_standard_error", "standard_error", "bits_per_byte", "passes")
        context, level, *rest = (found[f"{key}_{stride}"] for key in keys)
        rows.append([stride, context, level, f"{low:.1f} to {high:.1f}", *rest])
    window = reports["disjoint"].protocol.window
    note = (
        f"losskit.evaluate.perplexity, windows of {window} positions; a smaller stride scores fewer tokens in each and reads the "
        "text in more passes. Context: tokens before the scored one, on average. Perplexity per token. Errors: standard errors "
        "of the loss in nats; by token as if all were independent, by topic as tokens of a topic go together, which they do: "
        "the interval is made of the latter."
    )
    return Table("How sure, and with how much context", columns, rows, note)


def by_context(documents: Sequence[DocumentScore]) -> list[tuple[float, float, float, float]]:
    """(tokens before, loss, low, high) for each bin of contexts that two documents or more reach; the interval is over them."""
    found: list[tuple[float, float, float, float]] = []
    for bin in sorted({bin for one in documents for bin in one.contexts or {}}):
        parts = [one.contexts[bin] for one in documents if one.contexts and bin in one.contexts]
        loss = ratio([nats for nats, _ in parts], [tokens for _, tokens in parts])
        if loss.low is not None and loss.high is not None:
            found.append((context_of(bin), loss.value, loss.low, loss.high))
    return found


def figure(reports: Reports) -> Figure:
    """Loss by number of tokens before, in windows that do not overlap and in those that do by half."""
    series: list[Series] = []
    for report, label in ((reports["disjoint"], "windows apart"), (reports["half"], "half overlapping")):
        before, loss, low, high = zip(*by_context(report.documents), strict=True)
        series.append(Series(label, before, loss, low, high))
    reading = (
        "Bands are 95 % intervals over topics. Apart, every window begins with next to nothing to go by. Overlapping, only the "
        "first window of a topic does: a token with less than half a window before it stands where a topic begins, which is "
        "another kind of text. The token that begins a document is one of those before. A point holds its own count and those "
        "up to the next point's; bands are wide where few topics have such tokens, or few of them."
    )
    chart = Chart("context", "tokens before", "loss (nats per token)", series, log_x=True)
    return Figure("What context is worth", reading, [chart])


def worst(report: PerplexityReport) -> Table:
    """The topics that the model finds hardest, and where it is most wrong in each."""
    columns = [Column("topic"), Column("tokens", ".0f"), Column("perplexity", ".0f"), Column("least expected"), Column("after")]
    rows: list[list[Cell]] = []
    for one in report.worst(LISTED):
        assert one.worst is not None  # something was scored
        token = _short(repr(one.worst.token), TOKEN)
        rows.append([_short(one.id, NAME), one.tokens, exp(one.loss), token, _short(one.worst.before, BEFORE, tail=True)])
    note = (
        f"Of {len(report.documents)} topics, stride {report.protocol.stride}. Least expected: the token with the highest -log p "
        "of the topic, and after: the end of the text before it."
    )
    return Table("The hardest topics", columns, rows, note)


def _short(text: str, most: int, *, tail: bool = False) -> str:
    """One line of at most ``most`` columns, the beginning of the text or its end."""
    # a terminal gives these no column, or two
    odd = {c for c in text if not c.isspace() and (not c.isprintable() or east_asian_width(c) in "WF")}
    plain = "".join("?" if c in odd else c for c in text)
    line = " ".join(plain.split())
    if len(line) <= most:
        return line
    return f"...{line[3 - most :]}" if tail else f"{line[: most - 3]}..."
