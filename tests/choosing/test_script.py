"""A script of an advice runs as it stands, learns, keeps what is there, and takes names of columns as data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from script_made import (
    ROWS,
    Made,
    amounts,
    binary,
    count,
    csv,
    graded_pairs,
    labelled_pairs,
    labels,
    large,
    matrix,
    multiclass,
    multilabel,
    npz,
    one_hot,
    pairs,
    ranking,
    rare,
    regression,
    several,
    shares,
    table,
    texts,
    tokens,
    triplets,
)

import losskit
from losskit.choosing.choose import advise
from losskit.choosing.script import write_script

assert losskit.CATALOGUE  # loads the cards


def make(folder: Path, data: Path, name: str = "train.py", **given: Any) -> Path:
    """The script for a file, which it opens by a path that is relative to ``folder``."""
    advice, columns = advise(data, **{"target": None, "task": None, "group": None, "inputs": None, **given})
    assert columns is not None
    write_script(advice, columns, folder / name, data)
    return folder / name


def run(*arguments: str | Path, folder: Path) -> str:
    """What a Python prints that treats warnings as errors."""
    command, environment = [sys.executable, *map(str, arguments)], {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return str(done.stdout)


def clean(path: Path) -> None:
    """Ruff has nothing to say of the script, by its own rules."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "130", path.name]
    said = subprocess.run(command, check=False, cwd=path.parent, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


LOWER = ("RMSE", "MAE", "log loss", "Poisson deviance", "perplexity")


def figures(printed: str) -> dict[str, tuple[float, float]]:
    """Each figure of the rows held out, and that without inputs."""
    found = re.findall(r"^(.+?) +(\S+)   without inputs +(\S+)$", printed, re.MULTILINE)
    return {name: (float(ours), float(flat)) for name, ours, flat in found}


def fell(printed: str) -> None:
    """The loss is lower than at the start."""
    start, best = (float(v) for v in re.findall(r"validation loss at (?:the start|best) (-?[\d.e+-]+\d)", printed))
    assert best < start, printed


def learned(printed: str) -> None:
    """Every figure is better than that of the answer without inputs, and the loss fell."""
    fell(printed)
    assert figures(printed)
    for name, (ours, flat) in figures(printed).items():
        if name == "balanced accuracy":  # a rare yes never gets half of the probability, and this is then 0.5
            assert ours >= flat
        else:
            assert (ours < flat) if name in LOWER else (ours > flat), printed


QUICK = (binary, multiclass, pairs)
MANY = (rare, one_hot, shares, multilabel, regression, large, amounts, several, matrix, count, ranking, labels,
        triplets, labelled_pairs, graded_pairs, texts, tokens)  # fmt: skip


@pytest.mark.parametrize("made", [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in MANY)])
def test_a_script_runs_as_it_stands_and_beats_the_answer_without_inputs(made: Callable[[Path], Made], tmp_path: Path) -> None:
    data, given = made(tmp_path)
    path = make(tmp_path, data, **given)
    clean(path)
    printed = run(path, folder=tmp_path)
    learned(printed)
    assert not (tmp_path / "trapped").exists()
    used = "import train; found = train.predict(train.read()); print(len(found))"
    assert int(run("-c", used, folder=tmp_path)) > 0


@pytest.mark.slow
def test_the_same_seed_prints_the_same_numbers(tmp_path: Path) -> None:
    data, given = binary(tmp_path)
    path = make(tmp_path, data, **given)
    assert run(path, folder=tmp_path) == run(path, folder=tmp_path)


@pytest.mark.slow
def test_groups_are_in_one_part_only(tmp_path: Path) -> None:
    inputs, signal = table()
    owners = [f"person {i // 4}" for i in range(ROWS)]
    words = ["no" if v < 0 else "yes" for v in np.repeat(signal[::4], 4)]  # the same for all rows of a group
    data = csv(tmp_path / "data.csv", {**inputs, "owner": owners, "y": words})
    path = make(tmp_path, data, target="y", group="owner", task="binary")
    clean(path)
    run(path, folder=tmp_path)
    asked = (
        "import torch, train; table = train.read(); owner = torch.tensor([i // 4 for i in range(400)]);"
        "a, b = train.split(torch.ones(400), owner); print(len(a), len(b), len(set((a // 4).tolist()) & set((b // 4).tolist())))"
    )
    assert run("-c", asked, folder=tmp_path).split() == ["320", "80", "0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "loss"),
    [
        (rare, "logit_adjusted_loss"),
        (rare, "auc_squared_hinge_loss"),
        (rare, "binary_focal_loss"),
        (ranking, "pairwise_logistic_loss"),
        (amounts, "l1_loss"),
    ],
)
def test_an_alternative_as_the_first_choice_is_trained_with_its_own_code(
    made: Callable[[Path], Made], loss: str, tmp_path: Path
) -> None:
    data, given = made(tmp_path)
    advice, columns = advise(data, **{"target": None, "task": None, "group": None, "inputs": None, **given})
    assert columns is not None
    other = next(one for one in advice.alternatives if one.loss == loss)
    write_script(replace(advice, first=other), columns, tmp_path / "train.py", data)
    clean(tmp_path / "train.py")
    found = figures(run(tmp_path / "train.py", folder=tmp_path))
    judged = found.keys() & {"AUC", "average precision", "NDCG@10", "MAE"}
    assert judged
    for ours, flat in (found[name] for name in judged - set(LOWER)):
        assert ours > flat
    for ours, flat in (found[name] for name in judged & set(LOWER)):
        assert ours < flat


@pytest.mark.slow
def test_many_classes_have_their_prior_from_all_targets(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 3))
    y = np.clip(np.digitize(x[:, 0], np.linspace(-2.6, 2.6, 22)), 0, 21)
    data = npz(tmp_path / "data.npz", x=x, y=y)
    advice, columns = advise(data, target="y", task="multiclass", group=None, inputs=None)
    assert columns is not None
    other = next(one for one in advice.alternatives if one.loss == "logit_adjusted_loss")
    write_script(replace(advice, first=other), columns, tmp_path / "train.py", data)
    assert "partial(loss_of, **of_all(" in (tmp_path / "train.py").read_text()
    clean(tmp_path / "train.py")
    ours, flat = figures(run(tmp_path / "train.py", folder=tmp_path))["balanced accuracy"]
    assert ours > 5 * flat
