"""The page of one loss, written from its card, and the page of a task."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from picture import picture
from prose import Prose
from sphinx.util.inspect import stringify_signature

from losskit.core.card import Card, Level
from losskit.core.domain import ClassIndex, Domain, Interval, Logits
from losskit.explore.curves import curve

__all__ = ["ERRORS", "LAWS", "SIZES", "TASKS", "arguments", "index_page", "loss_page", "signature", "task_page", "tested"]

LAWS = {
    "nonnegative": "It is never negative.",
    "zero_at_target": "It is 0, with a gradient of 0, where the prediction is the target.",
    "symmetric": "Prediction and target may change places.",
    "convex": "It is convex in the prediction: a straight walk to a minimum never goes up.",
    "shift_invariant": "Adding a number to all scores of a row changes nothing.",
    "bounded_gradient": "Its gradient stays bounded however far the prediction is off.",
    "detached_weights": "The weights of its pairs are constants of the gradient, as in its paper: not the slope of the value.",
    "stop_gradient": "A factor of it is held constant in the gradient, on purpose.",
    "whole_batch": "It sees the batch as a whole: its value is not a mean over rows, so parts of micro-batches do not add up.",
}
TASKS = {
    "classification": "One of several classes is right, or each of several yes/no questions has its own answer.",
    "imbalance": "Some classes are a hundred times rarer than others, and they matter.",
    "segmentation": "A class for every pixel: what counts is the overlap of regions.",
    "regression": "A number is predicted.",
    "distribution": "A number is predicted together with how sure the model is.",
    "embedding": "Things that belong together shall be near each other.",
    "ranking": "The order matters, not the number.",
    "language": "Tokens and sequences: training and tuning of language models.",
}
_STANDARD = {
    "weight": "what each element counts for; the mean divides by the sum.",
    "mask": "True where an element counts; what is masked may be NaN.",
    "ignore_index": "rows with this target count nothing.",
    "reduction": '"mean", "sum", or "none" for one value each: see [Means](../guide/means.md).',
    "normalizer": "replaces the denominator of the mean: see [Means](../guide/means.md).",
}
_OF_LISTS = {
    "weight": "what each item counts for; a pair of items counts what its more relevant one does.",
    "mask": "True where an item counts; what is masked may be NaN.",
    "offsets": "where each list begins in a flat batch, and its end: scores and all of its shape are then (T,).",
    "query_weight": "what each list counts for in the mean.",
    "reduction": '"mean" over the lists that have something to learn, "sum", or "none" for one value each list.',
}
_TARGETS = (1.0, 2.0, 3.0, 4.0, 100.0)
# of tests/laws.py, which tests/test_loss_page.py holds them to
ERRORS = {"float64": 1e-9, "float32": 3e-5, "half": 1e-6, "half gradient": 1e-2, "compiled": 1e-9}
SIZES = (1e-30, 1e4)


def loss_page(card: Card, catalogue: Mapping[str, Card]) -> str:
    """Markdown: what it is, its picture, formula, when, arguments, laws, numbers, example, paper."""
    prose = Prose(catalogue)
    return "\n\n".join([f"# {card.name}", prose(card.summary), *_body(card, prose)]) + "\n"


def _body(card: Card, prose: Prose) -> Iterator[str]:
    said = card.sections
    yield signature("function", f"losskit.{card.name}", inspect.signature(card.function))
    yield f"```{{raw}} html\n{picture(curve(card, low=-4.0, high=4.0), card.name)}\n```"
    for head in ("Formula", "Gradient"):
        yield f"**{head}**\n\n```{{container}} formula\n{prose(said[head], formula=True)}\n```"
    yield f"```{{container}} when\n**Use when** {prose(said['Use when'])}\n\n**Avoid when** {prose(said['Avoid when'])}\n```"
    yield "## Arguments\n\n" + "\n\n".join(_arguments(card, prose))
    rows = [f"- **{head}**: {prose(said[head])}" for head in ("Shape", "Returns", "Raises")]
    yield "\n".join(rows)
    yield f"## Example\n\n```pycon\n>>> import math, torch, losskit\n>>> import torch.nn.functional as F\n{said['Example']}\n```"
    yield "## Numbers to expect\n\n" + _numbers(card)
    yield _laws(card)
    yield tested(card)
    yield f"## Module\n\n{_module(card)}"
    yield f"## Reference\n\n{prose(said['Reference'])}"


def signature(kind: str, name: str, given: inspect.Signature) -> str:
    """A signature in the Python domain, so that the index and the search know the name."""
    if kind == "class" or "Generator" in str(given.return_annotation):  # a context manager is used by with
        given = given.replace(return_annotation=inspect.Signature.empty)
    return f"```{{py:{kind}}} {name}{stringify_signature(given)}\n```"


def arguments(text: str) -> dict[str, str]:
    """The entries of an Args section by name; "a, b: ..." is said of both."""
    parts = re.split(r"^(\w+(?:, \w+)*):\s+", text, flags=re.MULTILINE)
    return {name: said for names, said in zip(parts[1::2], parts[2::2], strict=True) for name in names.split(", ")}


def _arguments(card: Card, prose: Prose) -> Iterator[str]:
    said = arguments(card.sections["Args"])
    standard = _STANDARD | _OF_LISTS if "offsets" in card.options else _STANDARD
    for name in [*card.tensors, *card.options]:
        default = "" if name in card.tensors or card.options[name] is inspect.Parameter.empty else f" = {card.options[name]!r}"
        if name in said:
            text = prose(said[name])
        elif name in standard:
            text = standard[name]
        else:
            text = prose(card.sample[name].meaning + ".")
        shape = _shape(card.sample[name]) if name in card.sample and not text.startswith(("(", "\\(")) else ""
        yield f"`{name}{default}`\n: {shape}{text}"


def _shape(domain: Domain) -> str:
    """(\\*, C), (C,): as Markdown."""
    axes = domain.shape.replace("*", "\\*").split()
    shape = f"({', '.join(axes)}{',' if domain.shape != '*' and len(axes) == 1 else ''})"
    return f"{shape} or a number: " if domain.scalar else f"{shape} "


def _numbers(card: Card) -> str:
    rows = [row for row in (_level(card, *each) for each in _levels(card)) if row]
    if not rows:
        return "None can be stated without the data: look at the picture."
    return "\n".join(["| prediction | loss | given |", "|---|---|---|", *rows])


def _levels(card: Card) -> list[tuple[str, Level | None]]:
    equal = {"embedding": "all scores and distances equal", "ranking": "all scores equal"}
    nothing = equal.get(card.task, "of a model that knows nothing")
    return [(nothing, card.chance), ("of the best constant", card.constant), ("at best", card.floor)]


_FACTS = ("num_classes", "prior", "target", "batch_size", "list_size", "relevance")


def _level(card: Card, words: str, level: Level | None) -> str:
    """One row of the table: the level for example facts, which are named."""
    if level is None:
        return ""
    examples, facts, told = _examples(card), dict[str, Any](), list[str]()
    for name, parameter in inspect.signature(level).parameters.items():
        if name in examples and (name in _FACTS or parameter.default is parameter.empty):
            facts[name], text = examples[name]
            told.append(text)
        elif parameter.default is parameter.empty:
            return ""
    value = level(**facts)
    told += ["options at their defaults"] if not told and inspect.signature(level).parameters else []
    return f"| {words} | {float(value):.4g} | {', '.join(told)} |"


def _examples(card: Card) -> dict[str, tuple[Any, str]]:
    """Facts of an example, with their words: ten classes, a prior, targets that the loss accepts, options without default."""
    target = card.sample.get("target")
    facts: dict[str, tuple[Any, str]] = {"num_classes": (10, "10 classes")}
    if isinstance(target, ClassIndex):
        facts["prior"] = ([9, 1], "two classes, 9 to 1")
    else:
        facts["prior"] = (0.1, "one in ten is positive")
    facts["batch_size"] = (1024, "1024 rows")
    facts["list_size"] = (10, "10 items")
    grades = torch.tensor([[3.0, 2.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    facts["relevance"] = (grades, "relevance 3, 2, 1, 0, 0")
    if isinstance(target, ClassIndex):
        facts["target"] = (torch.arange(20) % 10, "two rows of each class")
    elif isinstance(target, Logits):
        rows = "2, 0, 0 and 0, 1, 0"
        facts["target"] = (torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64), f"a teacher's scores {rows}")
    else:
        values = (0.0, 0.0, 0.0, 1.0) if getattr(target, "high", None) == 1 else _TARGETS
        facts["target"] = (torch.tensor(values, dtype=torch.float64), f"targets {', '.join(f'{v:g}' for v in values)}")
    fixed = {k: v for variant in reversed(card.variants) for k, v in variant.items() if isinstance(v, (int, float))}
    return facts | {k: (v, f"`{k}={v}`") for k, v in fixed.items()}


def _laws(card: Card) -> str:
    claimed = [f"- {words}" for law, words in LAWS.items() if law in card.laws]
    return "\n".join(
        ["## Laws\n\nTested for this loss:\n", *claimed, "- And, as for every loss, [the contract](../guide/contract.md)."]
    )


def tested(card: Card) -> str:
    """What the laws of tests/laws.py show of this loss: on which numbers, and within which error."""
    options = "its default options" if len(card.variants) == 1 else f"{len(card.variants)} sets of options"
    same = "the same inputs"
    rows = [
        ("value in float64, beside a second implementation written from the paper", f"drawn inputs, {options}", "float64"),
        ("value in float32, beside the same in float64", same, "float32"),
        ("value of float16 and bfloat16 inputs, beside float32", same, "half"),
        ("their gradient, beside float32", same, "half gradient"),
        ("value and gradient, compiled, mapped or by `torch.func`, beside eager ones", same, "compiled"),
    ]
    table = [f"| {what} | {on} | {_short(ERRORS[error])} |" for what, on, error in rows]
    table += [f"| value and gradient are finite | {_sizes(card)} | |"]
    slopes = "First and second derivatives are compared with finite differences in float64 (`gradcheck`, `gradgradcheck`)."
    if "detached_weights" in card.laws:
        slopes = "Its gradient is not the slope of its value, so that it is not compared with finite differences."
    head = "An error is relative to 1 + |value|. Inputs lie where [Arguments](#arguments) says" + _ranges(card) + ". "
    lines = ["| what | on | error at most |", "|---|---|---|", *table]
    return f"## Tested range and error\n\n{head}{slopes}\n\n" + "\n".join(lines)


def _short(number: float) -> str:
    return f"{number:g}".replace("e-0", "e-")


def _sizes(card: Card) -> str:
    """How large the numbers are that the law of extreme inputs puts in."""
    used = {*card.tensors, *(name for variant in card.variants for name in variant)}
    learned = [(name, card.sample[name]) for name in card.sample if name in used and card.sample[name].kind == "float"]
    reach = [f"`{n}` from {_short(SIZES[0])} to {min(SIZES[1], d.extreme):,g}" for n, d in learned if d.extreme]
    return f"float32 and float64, {', '.join(reach)}" if reach else "drawn inputs"


def _ranges(card: Card) -> str:
    """The bounds of the arguments that have some."""
    found: list[str] = []
    for name in card.tensors:
        domain = card.sample[name]
        if isinstance(domain, ClassIndex):
            found.append(f"`{name}` in \\[0, {domain.below})")
        elif isinstance(domain, Interval) and (domain.low > -math.inf or domain.high < math.inf):
            found.append(f"`{name}` in {str(domain).replace('[', chr(92) + '[')}")
    return ": " + ", ".join(found) if found else ""


def _module(card: Card) -> str:
    assert card.module is not None
    parameters = [p for p in inspect.signature(card.function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    shown = signature("class", f"losskit.{card.module.__name__}", inspect.Signature(parameters))
    call = f"`loss({', '.join(card.tensors)})`"
    also = "Every option can also be given at a call, where it takes precedence: weights, masks and ids belong there."
    return f"{shown}\n\nThe same options, fixed once; then {call}. {also}"


def task_page(task: str, catalogue: Mapping[str, Card]) -> str:
    """All losses of one task, each with its line."""
    prose = Prose(catalogue, "../")
    cards = [card for card in catalogue.values() if card.task == task]
    rows = [f"{prose.loss(card.name)}\n: {prose(card.summary)}" for card in cards]
    tree = "\n".join(f"/losses/{card.name}" for card in cards)
    return f"# {task.capitalize()}\n\n{TASKS[task]}\n\n" + "\n\n".join(rows) + f"\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"


def index_page(tasks: list[str], catalogue: Mapping[str, Card]) -> str:
    """Every loss there is, by task."""
    prose = Prose(catalogue)
    parts = [f"# Losses\n\n{len(catalogue)} losses, by what is predicted. Each page: formula, picture, when, numbers, example."]
    for task in tasks:
        cards = [card for card in catalogue.values() if card.task == task]
        rows = [f"| {prose.loss(card.name)} | {prose(card.summary)} |" for card in cards]
        parts.append("\n".join([f"## {task.capitalize()}\n\n{TASKS[task]}\n", "| loss | what it is for |", "|---|---|", *rows]))
    tree = "\n".join(f"tasks/{task}" for task in tasks)
    return "\n\n".join(parts) + f"\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
