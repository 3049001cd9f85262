"""What a script prints and predicts is what it says: constants of its own rows, probabilities, paths, logs."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from script_made import binary, csv, jsonl, rare, regression, table
from test_script import clean, figures, make, run

from losskit.cli import main

WITHOUT = r"at best \S+ \(without inputs (\S+)\)"
ROWS_OF = (
    "import math, torch, train; made, _, seen, held, saved, without = train.start(); y, t = seen[1].double(), held[1].double();"
)


def said(path: Path, code: str) -> list[float]:
    """What the line of code prints beside a trained script, as numbers."""
    return [float(word) for word in run("-c", ROWS_OF + code, folder=path.parent).split()]


@pytest.mark.slow
def test_the_constant_is_of_the_training_rows_and_priced_on_those_held_out(tmp_path: Path) -> None:
    data, given = binary(tmp_path)
    path = make(tmp_path, data, **given)
    p, share, without = said(path, "print(y.mean().item(), t.mean().item(), without)")
    expected = -share * math.log(p) - (1 - share) * math.log(1 - p)
    assert without == pytest.approx(expected, rel=1e-5)
    found = re.search(WITHOUT, run(path, folder=tmp_path))
    assert found
    assert float(found[1]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("want", "formula"),
    [
        ("mean", "(t - y.mean()).square().mean()"),
        ("median", "(t - y.median()).abs().mean()"),
        ("quantile=0.9", "torch.maximum(0.9 * (t - y.quantile(0.9)), -0.1 * (t - y.quantile(0.9))).mean()"),
        ("robust", "torch.nn.functional.huber_loss(torch.full_like(t, best), t, delta=DELTA)"),
    ],
)
def test_the_constant_of_a_number_is_what_its_loss_is_lowest_at(want: str, formula: str, tmp_path: Path) -> None:
    data, given = regression(tmp_path)
    path = make(tmp_path, data, **{**given, "task": "regression", "want": want})
    delta = re.search(r"delta=([\d.]+)", path.read_text())
    grid = "best = min(y.quantile(torch.linspace(0, 1, 101).double()).tolist(), key=lambda v: torch.nn.functional.huber_loss("
    grid += "torch.full_like(y, v), y, delta=DELTA).item());"
    code = f"{grid if want == 'robust' else ''}print(float({formula}), without)".replace("DELTA", delta[1] if delta else "")
    expected, without = said(path, code)
    assert without == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_a_loss_that_is_no_lower_than_without_inputs_is_said_to_have_learned_nothing(tmp_path: Path) -> None:
    data, given = binary(tmp_path)
    make(tmp_path, data, **given)
    fit = "train.EPOCHS = 1; model, optimizer = made['model'], made['optimizer']; train.fit(model, optimizer, _, held, {})"
    told = "nothing was learned from the inputs: try another RATE, and see losskit check train.py:make\n"
    assert told in run("-c", ROWS_OF + fit.format("0.0"), folder=tmp_path)
    assert told not in run("-c", ROWS_OF + fit.format("without"), folder=tmp_path)


@pytest.mark.slow
def test_dropout_is_on_in_training_and_off_in_predictions(tmp_path: Path) -> None:
    data, given = binary(tmp_path)
    path = make(tmp_path, data, **given)
    path.write_text(path.read_text().replace("nn.ReLU(), nn.Linear(hidden, 1)", "nn.Dropout(), nn.Linear(hidden, 1)"))
    run(path, folder=tmp_path)
    twice = "a, b = (train.predict(train.read()) for _ in range(2)); print(float(torch.equal(a, b)))"
    assert said(path, twice) == [1.0]
    text = path.read_text()
    assert (
        text.index("model.train()")
        < text.index("loss.backward()")
        < text.index("loss_of(model.eval(), held)", text.index("loss.backward()"))
    )


@pytest.mark.slow
def test_balanced_scores_are_probabilities_once_the_prior_is_back(tmp_path: Path) -> None:
    data, given = rare(tmp_path)
    path = make(tmp_path, data, **given, want="balanced")
    printed = run(path, folder=tmp_path)
    assert next(iter(figures(printed))) == "balanced accuracy"
    ours, flat = figures(printed)["log loss"]
    assert ours < flat
    code = (
        "model = made['model']; model.load_state_dict(torch.load(train.SAVED)['model']); p = y.mean();"
        "logits = model(train.inputs_of(train.read(), saved['known']))[:, 0].double().detach();"
        "print(float((train.predict(train.read()) - (logits + (p / (1 - p)).log()).sigmoid()).abs().max()),"
        " train.predict(train.read()).mean().item(), y.mean().item(), logits.sigmoid().mean().item())"
    )
    error, predicted, share, plain = said(path, code)
    assert error < 1e-5
    assert predicted == pytest.approx(share, abs=0.01)
    assert plain > share + 0.02  # what it was without the prior


@pytest.mark.slow
def test_a_quantile_is_judged_by_its_own_figures_first(tmp_path: Path) -> None:
    data, given = regression(tmp_path)
    path = make(tmp_path, data, **given, task="regression", want="quantile=0.9")
    found = figures(run(path, folder=tmp_path))
    assert list(found)[:2] == ["pinball loss at 0.9", "above (0.1 is wanted)"]
    assert found["pinball loss at 0.9"][0] < found["pinball loss at 0.9"][1]
    assert found["above (0.1 is wanted)"][0] == pytest.approx(0.1, abs=0.08)


@pytest.mark.slow
def test_texts_keep_their_rows_and_the_vocabulary_is_the_scripts_own(tmp_path: Path) -> None:
    rows = ["NA", None, "", *("the cat sat on a dog " * (1 + i % 10) for i in range(57))]
    data = jsonl(tmp_path / "data.jsonl", {"text": rows})
    path = make(tmp_path, data, target="text", task="language", num_classes=50257)
    clean(path)
    printed = run(path, folder=tmp_path)
    cut = sum(len(row or "") > 128 for row in rows)
    assert f"{cut} of 60 texts are cut to 128 bytes\n" in printed
    assert f"expected ln 257 = {math.log(257):.4g}\n" in printed
    assert "10.82" not in printed + path.read_text()
    found = run("-c", "import train; print(*train.predict(train.read()))", folder=tmp_path).split()
    assert len(found) == 60
    assert [i for i, value in enumerate(found) if value == "nan"] == [1, 2]


@pytest.mark.slow
def test_the_doctor_takes_make_and_reads_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, given = regression(tmp_path)
    path = make(tmp_path, data, **given)
    (tmp_path / "train.log").write_text(run(path, folder=tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["check", "train.py:make", "--no-overfit"]) == 0
    assert main(["doctor", "train.log"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"validation loss: val_loss: \d+ points", printed)


@pytest.mark.slow
def test_a_relative_path_of_the_data_is_relative_to_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "it's").mkdir()
    (tmp_path / "code").mkdir()
    binary(tmp_path / "it's")
    monkeypatch.chdir(tmp_path)
    path = make(Path("code"), Path("it's/data.csv"), target="y")
    assert 'DATA = Path(__file__).resolve().parent / "../it\'s/data.csv"\n' in path.read_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "AUC" in run(tmp_path / path, folder=elsewhere)


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    inputs, signal = table()
    data = csv(tmp_path / "data.csv", {**inputs, "y": signal.tolist()})
    make(tmp_path, data, target="y")
    text = data.read_text().split("\n")
    first = text[3].split(",")
    text[3] = ",".join([first[0], '"1,950"', *first[2:]])
    data.write_text("\n".join(text))
    code = "import train\ntry:\n    train.start()\nexcept ValueError as why:\n    print(why)"
    printed = run("-c", code, folder=tmp_path)
    assert printed == "column '\"); import os #', row 3: '1,950' is no number\n"
