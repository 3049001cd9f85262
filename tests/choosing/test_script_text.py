"""What a script says and does not say, and of what none is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from script_made import HOSTILE, TRAP, binary, jsonl, pairs, tokens
from test_script import make

import losskit
from losskit.choosing.choose import advise
from losskit.choosing.script import script
from losskit.choosing.script.names import listed, literal, uses

assert losskit.CATALOGUE  # loads the cards


def test_the_loss_is_the_line_of_the_advice_with_its_numbers(tmp_path: Path) -> None:
    data, given = binary(tmp_path)
    advice, columns = advise(data, **{"task": None, "group": None, "inputs": None, **given})
    assert columns is not None
    assert advice.first is not None
    odd = data.rename(tmp_path / "odd' name.csv")
    text = script(advice, columns, odd)
    assert f"    {advice.first.code.splitlines()[-1]}\n" in text
    assert ", expected 0.6931" in text
    assert f"{advice.first.constant:.4g} " in text
    assert f"DATA = {literal(str(odd))}\n" in text
    left_out = next(line for line in text.splitlines() if line.startswith("# left out"))
    assert "'id' (counts the rows)" in left_out
    assert "'same' (is the same in all rows)" in left_out


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    data, given = pairs(tmp_path)
    (tmp_path / "train.py").write_text("mine")
    with pytest.raises(ValueError, match="is there already, and a script is yours to edit: name another file"):
        make(tmp_path, data, **given)
    assert (tmp_path / "train.py").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "train.py"]


def test_pairs_of_texts_have_a_tutorial_in_place_of_a_script(tmp_path: Path) -> None:
    rows = {"query": [f"what is {i} and why" for i in range(60)], "key": [f"it is {i} because of that" for i in range(60)]}
    with pytest.raises(ValueError, match=r"holds texts.*docs/tutorials/search_encoder\.md"):
        make(tmp_path, jsonl(tmp_path / "data.jsonl", rows))
    assert not (tmp_path / "train.py").exists()


def test_a_target_alone_has_no_script(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.arange(40) % 2)
    with pytest.raises(ValueError, match="a script trains on inputs, and there are none"):
        make(tmp_path, tmp_path / "data.npy")


def test_code_that_needs_more_than_a_small_model_is_refused(tmp_path: Path) -> None:
    data, given = tokens(tmp_path)
    advice, columns = advise(data, **{"group": None, "inputs": None, **given})
    assert columns is not None
    fused = next(one for one in advice.alternatives if one.loss == "linear_cross_entropy")
    with pytest.raises(ValueError, match="linear_cross_entropy takes head, hidden, which a script of one file does not have"):
        script(replace(advice, first=fused), columns, data)


def test_names_are_literals_whatever_they_hold() -> None:
    for name in (HOSTILE, TRAP, "plain", "it's", "\u2028\x0c\ud800", '"""'):
        assert eval(literal(name)) == name  # what is tested is that it is a literal
        assert "\n" not in literal(name)
        assert eval(listed([name] * 50)) == [name] * 50
    up = [f"{TRAP}{i}" for i in range(3, 900)]
    assert len(listed(up)) < 120
    assert eval(listed(up)) == up
    assert eval(listed(["x1", "x01", *up])) == ["x1", "x01", *up]


def test_code_reads_the_names_that_it_does_not_make() -> None:
    assert uses("import torch\nb = a + 1\nc = torch.exp(b)\na = a - 1") == {"a"}
