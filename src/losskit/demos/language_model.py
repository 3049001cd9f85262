"""A small language model: what its perplexity says, in which unit it can be compared, and the memory that its head needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from . import Cell, Chart, Column, Figure, Mark, Result, Series, Table, Tick, demo, generator, judged
from .corpus import Score, Text, chance, compressed, read, unigram
from .gpt import GPT, Course, Shape, Way, off, pack, score, train, ways
from .language_model_told import chapter, chapter_facts
from .peak import MIB, OURS, PLAIN, TIGHT, Case, Peak, peak

__all__ = ["Plan", "language_model"]

CODE = """\
import math, torch, losskit

hidden = torch.zeros(2, 6, 16, requires_grad=True)         # your model's: rows, positions, width
table = torch.eye(1000, 16, requires_grad=True)            # a row for each token
labels = torch.arange(12).reshape(2, 6)                    # what the model was given
document = torch.tensor([[0, 0, 0, 1, 1, 1], [0] * 6])     # the first row holds two

target = losskit.shift_targets(labels, document=document)  # none predicts the next one's beginning
total = losskit.count_valid(target)                        # 9, over all micro-batches
for x, t in zip(hidden, target):                           # no mean of means
    losskit.linear_cross_entropy(x, table, t, normalizer=total).backward()

nats = -losskit.linear_log_probs(hidden, table, target).log_prob.double().sum()
print((nats / total).exp())                                # 1000.0: the perplexity, that of chance
print(nats / (math.log(2) * 36))                           # 2.49: bits per byte, if the 9 have 36 bytes

model = lambda ids: torch.zeros(*ids.shape, 16) @ table.T  # ids (B, L) to scores, or to states with head=
found = losskit.evaluate.perplexity(model, None, labels.tolist())
print(found.perplexity, found.interval)                    # chance again, and how sure; a tokenizer takes texts
"""

WAYS = {
    "whole": "whole, linear_cross_entropy",
    "plain": "whole, F.cross_entropy(F.linear())",
    "counted": "in pieces, normalizer=count_valid(all)",
    "means": "in pieces, mean of their means",
}
HEADS = ((1536, 4096, PLAIN), (1536, 4096, OURS), (4096, 32768, PLAIN), (4096, 32768, OURS), (4096, 32768, TIGHT))
SMOOTH = 10
CHANCE, UNIGRAM, XZ = "chance", "token frequencies", "xz"


class Plan(NamedTuple):
    """How much to measure: the tokens, the model and its training, the heads whose memory is measured, and how it is."""

    vocabulary: int = 4096
    shape: Shape = Shape()
    course: Course = Course()
    every: int = 10
    """Steps between two looks at the held-out topics."""
    seed: int = 0
    heads: Sequence[tuple[int, int, str]] = HEADS
    peak: Callable[[Case], Peak] = peak


class Run(NamedTuple):
    """What was measured."""

    text: Text
    model: GPT
    batches: Sequence[Score]
    """Of each step's batch, before the step."""
    looks: Mapping[int, Score]
    """Of the held-out topics, after so many steps."""
    levels: Mapping[str, Score]
    """Of the held-out topics, by what a person knows."""
    reports: judged.Reports
    """Of the held-out topics, after the last step, with less and more context."""
    ways: Mapping[str, Way]
    peaks: Mapping[Case, Peak]


def measured(tick: Tick, plan: Plan) -> Run:
    """Learn the tokens, train the model, look at it as it learns, and measure the heads."""
    text = read(plan.seed, plan.vocabulary)
    learned, held = text.tokens(text.learned), text.tokens(text.held)
    model = GPT(len(text.tokenizer.pieces), plan.shape, generator(plan.seed))
    rows, looks = pack(held, plan.shape.length), dict[int, Score]()

    def look(step: int) -> None:
        if step % plan.every == 0 or step == plan.course.steps:
            looks[step] = score(model, rows, text.widths)
        tick(0.05 + 0.7 * step / plan.course.steps)

    batches = train(model, learned, text.widths, plan.course, plan.seed, look)
    known, asked = (torch.tensor([token for topic in of for token in topic[1:]]) for of in (learned, held))
    levels = {CHANCE: chance(asked, text.widths), UNIGRAM: unigram(known, asked, text.widths)}
    if (xz := compressed(text, len(asked))) is not None:
        levels[XZ] = xz
    reports = judged.judge(model, text)
    tick(0.78)
    with torch.no_grad():
        alone = [pack([topic], plan.shape.length) for topic in held]
        hidden = [model(topic).flatten(0, 1) for topic in alone]
    found = ways(hidden, model.table, [topic.targets().flatten() for topic in alone])
    tick(0.8)
    cases = [Case(head, tokens, plan.shape.width, classes) for tokens, classes, head in plan.heads]
    with ThreadPoolExecutor(2) as pool:  # each waits for a process of its own
        peaks = dict(zip(cases, pool.map(plan.peak, cases), strict=True))
    return Run(text, model, batches, looks, levels, reports, found, peaks)


def _figure(run: Run) -> Figure:
    last = [run.batches[max(0, i - SMOOTH) : i] for i in range(1, len(run.batches) + 1)]
    trained = [Score(*map(sum, zip(*some, strict=True))) for some in last]
    units: dict[str, tuple[str, Callable[[Score], float]]] = {
        "bits per byte": ("bits per byte", lambda one: one.bits_per_byte),
        "perplexity": ("perplexity per token", lambda one: one.perplexity),
        "loss": ("loss (nats per token)", lambda one: one.loss),
    }
    charts: list[Chart] = []
    for name, (axis, unit) in units.items():
        series = [
            Series("training text", list(range(1, len(trained) + 1)), [unit(one) for one in trained]),
            Series("held-out topics", [*run.looks], [unit(one) for one in run.looks.values()]),
        ]
        marks = [Mark("y", unit(one), level) for level, one in run.levels.items()]
        charts.append(Chart(name, "training steps", axis, series, marks, log_y=name == "perplexity"))
    reading = (
        "The same sum of -log p in three units. The loss is per token; perplexity is its exponential. Both change with the "
        "tokens; bits per byte do not, so that there even a compressor can be compared. The training text is that of the last "
        f"{SMOOTH} steps, each batch scored before its step: sums of all, divided once."
    )
    return Figure("Learning to predict Python's manual", reading, charts)


def _scores(run: Run) -> Table:
    columns = [
        Column("predictor"),
        Column("loss", ".2f", "nats per token"),
        Column("perplexity", ".0f", "per token"),
        Column("bits per byte", ".2f"),
    ]
    named = {"the model, untrained": run.looks[0], **run.levels, "the model": run.looks[len(run.batches)]}
    rows: list[list[Cell]] = [[name, one.loss, one.perplexity, one.bits_per_byte] for name, one in named.items()]
    note = (
        f"{len(run.text.held)} topics, {run.looks[0].bytes} bytes in {run.looks[0].tokens} tokens, all of them predicted. "
        "Chance: every token equally likely. xz: what they add to the compressed training text."
    )
    return Table("Topics never seen", columns, rows, note)


def _sums(run: Run) -> Table:
    columns = [
        Column("the batch"),
        Column("loss", ".6f"),
        Column("loss off by", ".2g", "%"),
        Column("gradient off by", ".2g", "%"),
    ]
    right = run.ways["whole"]
    rows: list[list[Cell]] = [
        [WAYS[name], way.loss, *(100 * abs(part) for part in off(way, right))] for name, way in run.ways.items()
    ]
    note = (
        f"The trained model's loss on the held-out topics as one batch. In pieces: each of the {len(run.text.held)} topics is a "
        "micro-batch, the long ones and the short ones alike. Gradient: of the table, relative Frobenius norm."
    )
    return Table("One batch, in pieces and whole", columns, rows, note)


def _memory(run: Run) -> Table:
    columns = [
        Column("tokens x classes"),
        Column("head"),
        Column("scores", ".0f", "MiB"),
        Column("peak", ".0f", "MiB"),
        Column("loss", ".6f"),
    ]
    rows: list[list[Cell]] = []
    for case, one in run.peaks.items():
        scores = 4 * case.tokens * case.classes / MIB
        peaked = "not measured" if one.bytes is None else one.bytes / MIB
        loss = "not measured" if one.loss is None else one.loss
        rows.append([f"{case.tokens} x {case.classes}", case.head, scores, peaked, loss])
    note = (
        "Resident memory above the inputs, gradients included, of one forward and backward pass at width "
        f"{run.model.table.shape[1]} in a process of its own; it differs by a few MiB from run to run. Scores: their bytes, "
        "computed. 1536 x 4096 is a batch of this demo, too small to matter; 32768 classes are a vocabulary of usual size."
    )
    return Table("Peak memory of a training step's head", columns, rows, note)


def _facts(run: Run) -> dict[str, float]:
    """Without the measured memory, which no two runs share."""
    model, right = sum(p.numel() for p in run.model.parameters()), run.ways["whole"]
    facts = {
        "vocabulary": float(len(run.text.tokenizer.pieces)),
        "parameters": float(model),
        "table_share": run.model.table.numel() / model,
        "bytes_learned": float(sum(map(len, run.text.learned.values()))),
        "bytes_held": float(run.looks[0].bytes),
        "tokens_held": float(run.looks[0].tokens),
    }
    scores = {"untrained": run.looks[0], "model": run.looks[len(run.batches)]}
    keys = {CHANCE: "chance", UNIGRAM: "unigram", XZ: "xz"}
    scores |= {keys[level]: one for level, one in run.levels.items()}
    for key, one in scores.items():
        facts |= {f"loss_{key}": one.loss, f"perplexity_{key}": one.perplexity, f"bits_per_byte_{key}": one.bits_per_byte}
    facts |= judged.known(run.reports)
    for name in ("plain", "counted", "means"):
        facts[f"loss_off_{name}"], facts[f"gradient_off_{name}"] = off(run.ways[name], right)
    for case, peaked in run.peaks.items():
        plain = run.peaks[case._replace(head=PLAIN)].loss
        if case.head == OURS and peaked.loss is not None and plain is not None:
            facts[f"loss_off_{case.tokens}_by_{case.classes}"] = peaked.loss / plain - 1
    return facts


def _answer(facts: Mapping[str, float], run: Run) -> str:
    xz = f", and xz with the training text to copy from {facts['bits_per_byte_xz']:.2f}" if "bits_per_byte_xz" in facts else ""
    return (
        f"On topics it has never seen the model has a perplexity of {facts['perplexity_model']:.0f}: it is as unsure as among "
        f"{facts['perplexity_model']:.0f} equally likely tokens, of {facts['vocabulary']:.0f}. {judged.said(facts)} "
        f"In a unit that does not change with the tokens the model needs {facts['bits_per_byte_model']:.2f} bits per byte; token "
        f"frequencies need {facts['bits_per_byte_unigram']:.2f}{xz}. A mean of the topics' own means would put its loss off by "
        f"{100 * abs(facts['loss_off_means']):.1f} %, and its gradient by {100 * facts['gradient_off_means']:.0f} %. {_cost(run)}"
    )


def _cost(run: Run) -> str:
    """The peak of the largest head, plain and ours."""
    last = [*run.peaks][-1]
    plain, ours = (run.peaks[last._replace(head=head)] for head in (PLAIN, OURS))
    if plain.bytes is None or ours.bytes is None or plain.loss is None or ours.loss is None:
        return "How much memory the head takes could not be measured here."
    apart = abs(ours.loss / plain.loss - 1)
    return (
        f"For {last.tokens} tokens and {last.classes} classes the plain head needs {plain.bytes / MIB:.0f} MiB at its peak, "
        f"linear_cross_entropy {ours.bytes / MIB:.0f} MiB, "
        + ("for the same loss." if apart < 1e-6 else f"and is off by {apart:.0e}.")
    )


def _limits(facts: Mapping[str, float], plan: Plan) -> list[str]:
    return [
        "One small model, one split, one seed, one kind of English; its size and rate were chosen with a look at these held-out "
        "topics. The figures change with each of them, and with the version of Python, whose manual this is.",
        f"No token has more than {plan.shape.length - 1} before it, as in training; what a longer window would be worth to a "
        "model that was trained on longer rows is another question.",
        "The interval is over topics of one manual: it tells how far other topics would move the figure, not another text, "
        "another split of this one, or a second training.",
        "Perplexities of different tokenizers say nothing about each other. Bits per byte can be compared for the same text, all "
        "of it.",
        f"Bits per byte are those of the text: neither the {facts['parameters'] / 1e6:.1f} million weights nor xz's program are "
        "counted.",
        "The memory is that of the head alone, on a CPU in float32: a whole training also keeps what blocks and optimiser need.",
    ]


@demo(
    "language-model",
    title="A language model: how unsure, and at what cost?",
    question="A transformer learns from Python's own manual. Which number says how well, and how much memory does its loss need?",
    order=50,
)
def language_model(tick: Tick, plan: Plan = Plan()) -> Result:
    """Perplexity and bits per byte of a small transformer as it learns, and the peak memory of its head."""
    run = measured(tick, plan)
    facts, course, shape = _facts(run), plan.course, plan.shape
    documents = run.reports["disjoint"].documents
    facts |= chapter_facts([one.nats for one in documents], [one.tokens for one in documents], facts, len(run.model.table))
    held = pack(run.text.tokens(run.text.held), shape.length)
    return Result(
        answer=_answer(facts, run),
        method=(
            "pydoc_data.topics, what Python's help() prints, less the topics that repeat a longer one: "
            f"{len(run.text.learned)} topics ({facts['bytes_learned']:.0f} bytes) to learn from, {len(run.text.held)} "
            f"({facts['bytes_held']:.0f} bytes) held out. Byte-pair encoding learned from the former. A transformer of "
            f"{shape.layers} blocks and width {shape.width}, {facts['parameters'] / 1e6:.1f} million weights, "
            f"{100 * facts['table_share']:.0f} % of them the table of tokens, which is the head too. {course.steps} steps on "
            f"{course.rows} rows of {shape.length} tokens, in micro-batches of {course.micro} rows with the count of the whole "
            "batch as normalizer. Documents are packed into rows, and none sees or predicts another. At the end "
            "losskit.evaluate.perplexity judges the held-out topics, each a document. Sums in float64."
        ),
        figures=[_figure(run), judged.figure(run.reports)],
        tables=[_scores(run), judged.sure(run.reports), judged.worst(run.reports["quarter"]), _memory(run), _sums(run)],
        code=CODE,
        limits=_limits(facts, plan),
        facts=facts,
        chapter=chapter(facts, run.model, held),
    )
