"""A script trains what was wanted, whatever the word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from script_made import Made, binary, count, multiclass, multilabel, ranking, rare, regression
from test_script import clean, fell, make, run

from wanted import WORDS

DATA: dict[str, Callable[[Path], Made]] = {
    "binary": rare,
    "multiclass": multiclass,
    "multilabel": multilabel,
    "regression": regression,
    "count": count,
    "ranking": ranking,
}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "word"), WORDS)
def test_every_word_has_a_script_that_runs_and_learns(task: str, word: str, tmp_path: Path) -> None:
    data, given = DATA[task](tmp_path)
    path = make(tmp_path, data, **{**given, "task": task, "want": word})
    clean(path)
    fell(run(path, folder=tmp_path))


def test_what_is_wanted_changes_the_line_of_the_loss(tmp_path: Path) -> None:
    data, given = binary(tmp_path)
    text = make(tmp_path, data, **given, want="order").read_text()
    assert "losskit.auc_squared_hinge_loss(logits, target)" in text
