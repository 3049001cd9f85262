"""What programs print, line by line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from losskit.doctor.after.logs import find_runs, read
from losskit.doctor.after.logs.stdout import LONGEST, MOST_TEMPLATES
from losskit.doctor.evidence.run import Run

N = 8
EPOCHS = "".join(
    f"Epoch {i + 1}/{N}\n100/100 - 3s - loss: {2 - i / 8} - accuracy: 0.5 - val_loss: {3 - i / 8}\n" for i in range(N)
)
HELD_OUT = "Test set: Average loss: 0.5, Accuracy: 982{}/10000 (98%)\n"
LINES = {
    "trainer": "".join(
        f"{{'loss': {2 - i / 8}, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': {i / 10}}}\n" for i in range(N)
    )
    + "{'eval_loss': 3.0, 'eval_runtime': 3.2, 'epoch': 0.8}\n{'train_runtime': 12.0, 'train_loss': 9.0, 'epoch': 1.0}\n",
    "trainer, values as text": "".join(f"{{'loss': '{2 - i / 8}', 'grad_norm': 'nan', 'epoch': '{i / 10}'}}\n" for i in range(N)),
    "trainer with a bar": "".join(
        f"\r {i}%|{'█' * i}   | {i}/100 [00:0{i}<00:09]\r{{'loss': {2 - i / 8}, 'epoch': {i / 9}}}\n" for i in range(N)
    ),
    "nanogpt": "number of parameters: 123.59M\nstep 0: train loss 10.9, val loss 3.0\n"
    + "".join(f"iter {i}: loss {2 - i / 8}, time {250 + i}.12ms, mfu {-100 if i < 3 else 31.2}%\n" for i in range(N)),
    "megatron": "".join(
        f" [2024-05-01 10:00:0{i}] iteration {i:8}/ 500000 | consumed samples: {i * 256:12} "
        f"| elapsed time per iteration (ms): 5021.{i}"
        f" | learning rate: 1.5{i}E-04 | lm loss: {2 - i / 8:.6E} | loss scale: 65536.0 | grad norm: 1.4{i}"
        f" | number of nan iterations: 0 |\n"
        for i in range(N)
    ),
    "logging": "".join(f"INFO:root:2024-01-01 12:00:0{i} epoch=0 step={i} loss={2 - i / 8} lr=1e-3\n" for i in range(N)),
    "colours": "".join(
        f"\x1b[32m[12:00:0{i}]\x1b[0m step \x1b[1m{i}\x1b[0m | train_loss: \x1b[31m{2 - i / 8}\x1b[0m\n" for i in range(N)
    ),
    "tqdm": "".join(
        f"\rEpoch 1:  {i}%|{'#' * i}   | {i}/100 [00:01<00:10,  9.1it/s, loss={2 - i / 8}, v_num=0]" for i in range(N)
    ),
    "json in between": "starting\n" + "".join(f'[rank0] {{"step": {i}, "loss": {2 - i / 8}}}\n' for i in range(N)),
}


def written(path: Path, text: str) -> Run:
    path.write_text(text)
    [source] = find_runs(path)
    assert source.format == "stdout"
    return read(source)


@pytest.mark.parametrize("name", LINES)
def test_the_losses_that_a_program_prints_are_read(tmp_path: Path, name: str) -> None:
    loss = written(tmp_path / "x.log", LINES[name]).main("train_loss")
    assert loss is not None
    assert loss.values.tolist() == [2 - i / 8 for i in range(N)]
    assert loss.steps.tolist() == list(range(N))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("tensor({}, grad_fn=<NllLossBackward0>)", "printed loss"),
        ("{i} tensor({}, device='cuda:0', grad_fn=<DivBackward0>)", "printed loss"),
        ("[{i}] tensor({}, dtype=torch.float64,\n       grad_fn=<BinaryCrossEntropyWithLogitsBackward0>)", "printed loss"),
        ("Training tensor({}, device='cuda:0', grad_fn=<MseLossBackward0>)", "Training loss"),
        ("loss: tensor({}, device='cuda:0', grad_fn=<NllLossBackward0>)", "loss"),
        ("epoch {i} loss tensor({}, device='cuda:0')", "loss"),
    ],
)
def test_a_loss_that_is_printed_as_a_tensor_is_read(tmp_path: Path, line: str, name: str) -> None:
    (loss,) = written(tmp_path / "x.log", "".join(line.format(2 - i / 8, i=i) + "\n" for i in range(N))).of("train_loss")
    assert (loss.name, loss.values.tolist(), loss.steps.tolist()) == (name, [2 - i / 8 for i in range(N)], list(range(N)))


def test_a_tensor_that_is_printed_beside_a_loss_with_a_name_does_not_get_into_it(tmp_path: Path) -> None:
    run = written(tmp_path / "x.log", "".join(f"loss: {2 - i / 8}\ntensor({i}.5, grad_fn=<NormBackward1>)\n" for i in range(N)))
    loss = run.main("train_loss")
    assert loss is not None
    assert (loss.name, loss.values.tolist()) == ("loss", [2 - i / 8 for i in range(N)])


def test_the_trainer_hides_what_is_not_a_number_and_says_when_it_is_done(tmp_path: Path) -> None:
    run = written(tmp_path / "x.log", LINES["trainer"])
    assert run.reading.hides_nan
    assert run.finished
    norm, held_out = run.main("grad_norm"), run.main("eval_loss")
    assert norm is not None
    assert held_out is not None
    assert norm.values.isnan().all()
    assert held_out.values.tolist() == [3.0]
    assert not written(tmp_path / "y.log", LINES["trainer"].replace("'loss': 1.5", "'loss': nan")).reading.hides_nan


def test_rates_norms_and_scales_of_megatron_are_told_apart(tmp_path: Path) -> None:
    run = written(tmp_path / "x.log", LINES["megatron"])
    found = {s.kind: (s.name, s.values[1].item()) for s in run.series}
    assert found == {
        "train_loss": ("lm loss", 1.875),
        "lr": ("learning rate", 1.51e-4),
        "grad_norm": ("grad norm", 1.41),
        "loss_scale": ("loss scale", 65536.0),
    }


def test_epochs_count_where_a_bar_always_says_the_same(tmp_path: Path) -> None:
    run = written(tmp_path / "x.log", EPOCHS)
    for series, first in ((run.main("train_loss"), 2.0), (run.main("eval_loss"), 3.0)):
        assert series is not None
        assert series.steps.tolist() == list(range(1, N + 1))
        assert series.values[0] == first


def test_a_loss_on_a_line_about_the_test_set_is_held_out(tmp_path: Path) -> None:
    text = "".join(
        f"Train Epoch: {e} [{i * 640}/60000 ({i}%)]\tLoss: {2 - i / 8}\n" + (HELD_OUT.format(e) if i == 7 else "")
        for e in (1, 2)
        for i in range(N)
    )
    run = written(tmp_path / "x.log", text)
    train, held_out = run.main("train_loss"), run.main("eval_loss")
    assert train is not None
    assert held_out is not None
    assert train.steps.tolist() == [640 * i for i in range(2 * N)]
    assert held_out.steps.tolist() == [640 * 7, 640 * 15]


@pytest.mark.parametrize(
    "value", ["nan", "NaN", "inf", "-inf", "Infinity", "1e-3", "tensor(0.5)", "-2", ".5", "6.5E+00", "'0.25'"]
)
def test_numbers_of_every_spelling_are_read(tmp_path: Path, value: str) -> None:
    loss = written(tmp_path / "x.log", f"step=1 loss={value}\nstep=2 loss=1.0\n").main("train_loss")
    assert loss is not None
    plain = float(value.strip("'").removeprefix("tensor(").rstrip(")"))
    assert loss.values[0].item() == plain or (math.isnan(plain) and loss.values[0].isnan())


@pytest.mark.parametrize(
    "line",
    [
        "loss function: v2.3b",
        "using 3 losses",
        "seed 17",
        "loss/readme.md",
        "total time 3.2s",
        "2.3",
        "loss =",
        "tensor(2.3)",
        "acc tensor(0.5, grad_fn=<DivBackward0>)",
    ],
)
def test_what_is_no_loss_is_not_read(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.log").write_text(line + "\n")
    [source] = find_runs(tmp_path / "x.log")
    assert read(source).main("train_loss") is None


def test_more_makes_of_lines_than_templates_are_all_read_in_order(tmp_path: Path) -> None:
    words = ["".join(chr(97 + (i // 26**k) % 26) for k in range(4)) for i in range(MOST_TEMPLATES * 3)]
    run = written(tmp_path / "x.log", "".join(f"{word}: step {i} loss {i}.5 {word}\n" for i, word in enumerate(words * 2)))
    loss = run.main("train_loss")
    assert loss is not None
    assert loss.values.tolist() == [i + 0.5 for i in range(len(words) * 2)]


def test_lines_made_to_be_slow_are_given_up_soon(tmp_path: Path) -> None:
    lines = [
        "loss 1 " + "1-2:3.4 " * (LONGEST // 8),
        "loss" + " a" * (LONGEST // 2),
        "a" * LONGEST,
        "loss 1 " + "1:" * (LONGEST // 2) + "x",
    ]
    lines += ["step 1 loss 2 " + "0.1,2:3_" * 500 + "end", "step 1 loss 2 " + "0.1,2:3_" * 500 + "END"]
    # without bounds on what a match may try this would not end
    assert len(written(tmp_path / "x.log", "\n".join(lines * 20)).series[0]) > 0
