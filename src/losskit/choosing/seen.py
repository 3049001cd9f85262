"""What ``choose`` has seen when it asks a task for advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .advice import Advice, Candidate, Fact, Question
from .columns import Columns
from .targets import Target

__all__ = ["Seen"]


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
        )

    def refused(self, why: str, facts: list[Fact] | None = None) -> Advice:
        """Nothing to learn."""
        return replace(self.advice(None, [], [], facts), refusal=why)
