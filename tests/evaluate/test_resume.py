"""Ranks and journals: the same numbers whoever scores what, and however often a run was ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from evaluate_helpers_models import STATES, Markov, chain, sampled
from evaluate_helpers_ranks import LENGTHS, PLANS, evaluated, failing, journaled, work
from losskit.evaluate import JournalError, perplexity
from losskit.evaluate.running.journal import Journal

needs_ranks = pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")


def on_ranks(worker: Callable[..., None], world: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(worker, args=(world, str(folder)), nprocs=world)


@needs_ranks
@pytest.mark.parametrize("world", [2, 3])
def test_the_number_of_ranks_does_not_change_a_digit(world: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_ranks(work, world, tmp_path, monkeypatch)
    alone = [evaluated(*plan).overall.to_json() for plan in PLANS] + [evaluated(8, 4, (5,)).overall.to_json()]
    for rank in range(world):
        assert torch.load(tmp_path / f"{rank}.pt") == alone


@needs_ranks
def test_one_ranks_trouble_is_raised_on_every_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_ranks(failing, 2, tmp_path, monkeypatch)
    told = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    assert all("token 2 (id 5)" in text for text in told)


@needs_ranks
def test_a_journal_of_three_ranks_is_resumed_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_ranks(journaled, 3, tmp_path, monkeypatch)
    journal = tmp_path / "journal"
    assert len(list(tmp_path.glob("journal*"))) == 3

    again = evaluated(8, 4, resume=journal)
    assert again.overall == evaluated(8, 4).overall


def test_what_the_journal_holds_is_not_scored_again_and_nothing_else_changes(tmp_path: Path) -> None:
    whole, path = evaluated(8, 4), tmp_path / "journal"
    first = evaluated(8, 4, resume=path)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + sum(n > 0 for n in LENGTHS)
    for kept in range(1, len(lines)):
        path.write_text("".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])  # the last one torn
        again = evaluated(8, 4, resume=path)
        for report in (first, again):
            assert {**report.as_dict(), "run": 0} == {**whole.as_dict(), "run": 0}
        ids = [json.loads(line)["id"] for line in path.read_text().splitlines()[1:]]
        assert sorted(ids) == sorted({d.id for d in whole.documents if d.tokens})


def test_a_journal_of_other_arguments_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    evaluated(8, 4, resume=path)
    with pytest.raises(JournalError, match="stride"):
        evaluated(8, 2, resume=path)
    with pytest.raises(JournalError, match="data"):
        evaluated(8, 4, (9, 1), resume=path)
    other = chain(seed=5)
    with pytest.raises(JournalError, match="model"):
        perplexity(
            Markov(other), None, sampled(chain(), LENGTHS), window=8, stride=4, bos=STATES, batch_tokens=20, resume=path
        )  # fmt: skip


def test_a_full_disk_ends_the_run_and_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, append = tmp_path / "journal", Journal.append
    calls = 0

    def failing_append(self: Journal, records: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device", str(path))
        append(self, records)

    monkeypatch.setattr(Journal, "append", failing_append)
    with pytest.raises(OSError, match="No space left"):
        evaluated(8, 4, resume=path)
    monkeypatch.undo()
    assert evaluated(8, 4, resume=path).overall == evaluated(8, 4).overall
