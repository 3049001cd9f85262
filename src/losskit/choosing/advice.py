"""What choosing a loss results in: a first choice, alternatives, what is wrong for these data, and what they do not decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["SCHEMA", "TASKS", "Advice", "Answer", "Candidate", "Comparison", "Fact", "Proof", "Question", "Scored"]

SCHEMA = "losskit.choose/1"
TASKS = ("binary", "multiclass", "multilabel", "regression", "count", "embedding", "ranking", "language")


@dataclass(frozen=True)
class Fact:
    """One thing seen in the data, e.g. ``Fact("imbalance", 99.0, "99 of class 0 to 1 of class 1")``."""

    name: str
    value: float | str
    says: str


@dataclass(frozen=True)
class Candidate:
    """A loss of CATALOGUE with its options filled in from the data.

    ``options`` are numbers, lists of numbers and strings: what ``code`` passes. ``start`` is the value of the loss that an
    untrained model should show, ``best`` the lowest possible, ``constant`` that of the best answer that ignores the input;
    None where the data do not determine it.
    """

    loss: str
    reason: str
    code: str
    warning: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    start: float | None = None
    constant: float | None = None
    best: float | None = None


@dataclass(frozen=True)
class Answer:
    """One answer to a question, e.g. ``Answer("the order", "auc_squared_hinge_loss", {"want": "order"})``."""

    says: str
    leads: str
    """The loss that it leads to, or what is to be done where no argument can say it."""
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The arguments of :func:`losskit.choose` that give this answer; empty where none can."""
    taken: bool = False
    """Whether it is what was assumed for this advice."""


@dataclass(frozen=True)
class Question:
    """What the data do not decide: the question for the user, and its answers."""

    asks: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Scored:
    """One candidate trained and tested: a metric's mean over the folds and its interval."""

    loss: str
    model: str
    """"linear" or "mlp"."""
    metric: str
    mean: float
    low: float
    high: float
    folds: int


@dataclass(frozen=True)
class Comparison:
    """The first choice against another candidate on the same folds: the paired difference, positive where the first is better."""

    model: str
    metric: str
    first: str
    other: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Proof:
    """What training with each candidate showed, cross-validated on the user's own data."""

    metrics: Mapping[str, str]
    """Each metric's name, and what it measures in which direction."""
    scores: tuple[Scored, ...]
    comparisons: tuple[Comparison, ...]
    verdict: str
    """"agrees", "disagrees" or "undecided", and a sentence with the numbers."""
    method: str
    rows: int
    seconds: float
    inputs: str = ""
    """What the models were shown, how it was written as numbers, and which columns were left out, with the reason."""


@dataclass(frozen=True)
class Advice:
    """The answer of :func:`losskit.choose`.

    ``first`` is None where there is nothing to learn or the data do not decide: ``refusal`` or ``questions`` say why.
    ``avoid`` are losses that people take here and should not, each with the reason: a proof trains them too.
    """

    task: str | None
    first: Candidate | None
    alternatives: tuple[Candidate, ...] = ()
    avoid: tuple[Candidate, ...] = ()
    facts: tuple[Fact, ...] = ()
    warnings: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    refusal: str = ""
    proof: Proof | None = None
    source: str = ""
    """The file that it is about, where there is one."""
    want: str = ""
    """What was said to be wanted of the predictions; empty where it was left to the task."""
    num_classes: int | None = None
    """How many classes, labels or tokens were said to be there."""
    unread: str = ""
    """The column whose numbers cannot be read, where that is why there is no advice."""

    def __str__(self) -> str:
        from .printed import text

        return text(self)

    def json(self) -> dict[str, Any]:
        """The advice for a program: what is not finite is None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return {"schema": SCHEMA, **plain}

    def html(self) -> str:
        """The advice as a page of its own, which needs no network.

        Raises:     ImportError that names the extra if jinja2 is missing.
        """
        from .page.html import render

        return render(self)

    def _repr_html_(self) -> str:
        from html import escape

        from .printed import text

        return f"<pre>{escape(text(self, 100))}</pre>"


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value if not isinstance(value, float) or math.isfinite(value) else None
