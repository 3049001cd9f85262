"""The work of an evaluation: packs of documents shared out over ranks, those of the journal left out, every record kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records import DocumentScore
from ..score import Scorer
from .journal import Journal
from .parallel import gather, ranks, share
from .progress import Progress, Silent

__all__ = ["Work"]


@dataclass
class Work:
    """Packs shared out over ranks, those of the journal left out."""

    scorer: Scorer
    packs: list[list[int]]
    about: dict[str, Any]
    resume: str | Path | None
    progress: bool
    level: float
    resumed: int = 0
    """Tokens that were scored by an earlier run."""

    def run(self) -> list[DocumentScore]:
        """The record of every document, in order, on every rank."""
        me, journal = ranks(), None
        try:
            if not isinstance(self.resume, str | Path | None):  # pyright: ignore[reportUnnecessaryIsInstance]  # True is a slip
                raise TypeError(f'"resume" is a {type(self.resume).__name__}, expected the path of a journal')
            journal = None if self.resume is None else Journal.open(Path(self.resume), self.about, rank=me.rank)
            held = {} if journal is None else {k: DocumentScore.from_json(v) for k, v in journal.records.items()}
            outcome: Any = held
        except Exception as problem:
            outcome = problem
        try:
            known: dict[str, DocumentScore] = {}
            for one in gather(outcome):
                known |= one
            self.resumed = sum(one.tokens for one in known.values())
            try:
                outcome = self._mine(known, journal)
            except Exception as problem:
                outcome = problem
                if me.world > 1:  # the other ranks hear of it when they are done
                    sys.stderr.write(f"rank {me.rank}: {problem}\n")
            for one in gather(outcome):
                known |= one
        finally:
            if journal is not None:
                journal.close()
        documents = self.scorer.documents
        return [known.get(d.id) or self.scorer.empty(d) for d in documents]

    def _mine(self, known: dict[str, DocumentScore], journal: Journal | None) -> dict[str, DocumentScore]:
        me, documents = ranks(), self.scorer.documents
        save = self.scorer.save
        left = [
            (i, pack)
            for i, pack in enumerate(self.packs)
            if any(documents[d].id not in known for d in pack) or not (save is None or save.holds(i))
        ]
        costs = [sum(self.scorer.plan.cost(len(documents[d].ids))[1] for d in pack) for _, pack in left]
        owner = share(costs, me.world)
        mine = [one for one, rank in zip(left, owner, strict=True) if rank == me.rank]
        count = sum(
            self.scorer.plan.scored(len(documents[d].ids)) for _, pack in mine for d in pack if documents[d].id not in known
        )
        found: dict[str, DocumentScore] = {}
        before = [known[d.id] for d in documents if d.id in known]
        shown = self.progress and me.rank == 0
        with Silent() if not shown else Progress(count + sum(d.tokens for d in before), level=self.level) as progress:
            progress.resume(before)
            for number, pack in mine:
                for step in self.scorer.pack(number, pack):
                    if isinstance(step, int):
                        progress.batch(step)
                        continue
                    fresh = [one for one in step if one.id not in known]
                    if journal is not None:
                        journal.append([one.to_json() for one in fresh])
                    found |= {one.id: one for one in fresh}
                    progress.finish(fresh)
        return found
