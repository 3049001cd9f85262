"""What ``choose`` has seen when it asks a task for advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .advice import Advice, Candidate, Fact, Question
from .candidates import use_when
from .columns import Columns
from .targets import Target
from .wants import Want

__all__ = ["Choice", "Seen", "again", "only_probabilities", "probable"]


class Choice(NamedTuple):
    """What a task answers: the losses to take, to think of and to avoid."""

    first: Candidate
    alternatives: list[Candidate]
    avoid: list[Candidate]


def again(one: Candidate, why: str) -> Candidate:
    """A first choice as an alternative, with the reason that it has then."""
    return replace(one, reason=f"{why} {use_when(one.loss)}", warning="")


def probable(choice: Choice, *kept: str) -> Choice:
    """The choice where probabilities are wanted: what is first has them; of the alternatives those that are ``kept``."""
    first = replace(choice.first, reason=f"Probabilities are wanted. {choice.first.reason}")
    return choice._replace(first=first, alternatives=[one for one in choice.alternatives if one.loss in kept])


def only_probabilities(want: Want | None) -> None:
    """Refuse another want where targets are shares themselves.

    Raises:     ValueError that says so.
    """
    if want is not None and want.word != "probabilities":
        raise ValueError(
            f'"want" is "{want}", and the targets are shares between 0 and 1: only probabilities can be wanted of them'
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """The data of one task; ``columns`` and ``target`` are None where only the task was named."""

    task: str
    columns: Columns | None = None
    target: Target | None = None
    shape: str = ""
    """embedding: "pairs", "triplets", "labelled pairs", "graded pairs", "labels"; language: "text" or "tokens"."""
    facts: tuple[Fact, ...] = ()
    warnings: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict[str, str])
    """embedding: which column is the query, the key, ..."""
    want: Want | None = None
    """What the user wants of the predictions."""
    num_classes: int | None = None
    """How many classes, labels or tokens there are, where the user said so."""

    def advice(
        self,
        first: Candidate | None,
        alternatives: list[Candidate],
        avoid: list[Candidate],
        facts: list[Fact] | None = None,
        warnings: list[str] | None = None,
        questions: list[Question] | None = None,
    ) -> Advice:
        """The advice of a task, after what was seen before it."""
        return Advice(
            self.task,
            first,
            tuple(alternatives),
            tuple(avoid),
            (*self.facts, *(facts or ())),
            (*self.warnings, *(warnings or ())),
            (*self.questions, *(questions or ())),
            want="" if self.want is None else str(self.want),
            num_classes=self.num_classes,
        )

    def refused(self, why: str, facts: list[Fact] | None = None) -> Advice:
        """Nothing to learn."""
        return replace(self.advice(None, [], [], facts), refusal=why)
