"""losskit doctor: what is printed and written, how it ends, what comes in that is hostile."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from losskit.cli import doctor as verbs
from losskit.cli import main

GUIDE = Path(__file__).parent.parent / "docs" / "guide" / "doctor.md"
CHANCE = "D403"


def log(path: Path, level: float = math.log(10), slope: float = 0.0, n: int = 600) -> Path:
    """A log that stands at a level, or moves by ``slope`` in all; the noise is 0.02."""
    noise = 0.02 * torch.randn(n, generator=torch.Generator().manual_seed(0))
    values = level + slope * torch.arange(n) / n + noise
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps({"step": i, "loss": v}) for i, v in enumerate(values.tolist())))
    return path


def command(arguments: Sequence[str], columns: int = 80) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": str(columns), "PYTHONWARNINGS": "error", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "losskit", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=False, timeout=120)


def codes(report: str) -> list[str]:
    return [one["code"] for case in json.loads(report)["cases"] for one in case["findings"] if one["severity"] != "info"]


# ------------------------------------------------------------------ doctor


def test_a_log_at_chance_is_an_error_and_a_falling_one_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(tmp_path / "stuck" / "log.jsonl")
    log(tmp_path / "fine" / "log.jsonl", level=2.3, slope=-1.5)
    facts = ["--fact", "num_classes=10"]
    assert main(["doctor", str(tmp_path / "fine"), *facts, "--fail-on", "warning"]) == 0
    capsys.readouterr()
    assert main(["doctor", str(tmp_path), *facts]) == 2
    printed = capsys.readouterr().out
    assert "2 runs, 1 sick" in printed
    assert printed.index("stuck") < printed.index("fine"), "the sickest comes first"
    assert f"ln 10 = {math.log(10):.4f}" in printed


def test_warnings_fail_only_when_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(log(tmp_path / "log.jsonl", level=0.9))  # no improvement, and no level to name
    command = ["doctor", path]
    assert main([*command, "--json", "-"]) == 0
    assert [one["severity"] for one in json.loads(capsys.readouterr().out)["cases"][0]["findings"]] == ["warning"]
    assert main([*command, "--fail-on", "warning"]) == 1


def test_nothing_to_read_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("the loss is fine\n")
    for path in (tmp_path / "absent", tmp_path / "notes.txt", tmp_path):
        assert main(["doctor", str(path)]) == 3, path
        assert "Traceback" not in "".join(capsys.readouterr())


def test_the_doctors_own_failure_is_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from losskit.doctor.after import diagnosis

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(diagnosis, "diagnose", fails)
    assert main(["doctor", str(log(tmp_path / "log.jsonl"))]) == 4
    assert "not to blame" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--fact", "num_classes", "expected NAME=VALUE"),
        ("--fact", "=10", "expected NAME=VALUE"),
        ("--fact", "vocab_szie=100", "did you mean vocab_size?"),
        ("--fact", "Num-Classes=10", "did you mean num_classes?"),
        ("--fact", "xyzzy=1", "expected one of num_classes"),
        ("--fact", "num_classes=ten", "expected a number"),
        ("--fact", "loss=cross_entropi", "did you mean cross_entropy?"),
        ("--event", "soon=stage 2", "expected STEP=TEXT"),
        ("--event", "300", "expected STEP=TEXT"),
    ],
)
def test_a_wrong_fact_or_event_is_wrong_use(
    option: str, value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(log(tmp_path / "log.jsonl")), option, value]) == 2
    assert said in capsys.readouterr().err


def test_a_fact_that_makes_no_sense_names_no_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(log(tmp_path / "log.jsonl"))
    for fact in ("num_classes=-3", "num_classes=1e400", "num_classes=[[]]", "loss=<script>"):
        assert main(["doctor", path, "--fact", fact, "--json", "-"]) in (0, 2, 3), fact
        assert CHANCE not in codes(capsys.readouterr().out), fact


def test_json_html_and_junit_are_written_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = log(tmp_path / "log.jsonl"), tmp_path / "out"
    out.mkdir()
    files = ["--json", str(out / "r.json"), "--html", str(out / "r.html"), "--junit", str(out / "r.xml")]
    assert main(["doctor", str(path), "--fact", "num_classes=10", *files]) == 2
    assert str(out / "r.html") in capsys.readouterr().err
    assert codes((out / "r.json").read_text()) == [CHANCE]
    page = (out / "r.html").read_text()
    assert CHANCE in page
    assert not re.search(r'<(?:script|img|link)[^>]*(?:src|href)="(?:https?:)?//', page), "the page loads from elsewhere"
    failed = [
        case.get("name", "") for case in ElementTree.parse(out / "r.xml").iter("testcase") if case.find("failure") is not None
    ]
    assert any(CHANCE in name for name in failed), failed
    assert main(["doctor", str(path), "--html", str(tmp_path / "absent" / "r.html")]) == 2, "a folder that is not there"
    assert "Traceback" not in capsys.readouterr().err


def test_paths_that_are_hostile_change_nothing_and_are_printed_safely(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("-rf", "<script>alert(1)<", "\x1b[31mred", "a\nb", "[bold]rich[", "..;touch pwned", "\u202egnp")
    for name in names:
        log(tmp_path / name / "log.jsonl")
    page = tmp_path / "r.html"
    assert main(["doctor", str(tmp_path), "--fact", "num_classes=10", "--html", str(page)]) == 2
    printed = capsys.readouterr().out
    assert f"{len(names)} runs, {len(names)} sick" in printed
    assert not set("\x1b\u202e") & set(printed)
    assert "[bold]rich[" in printed, "markup in a name is shown as it is"
    assert "<script>alert" not in page.read_text()
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("columns", [24, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, tmp_path: Path) -> None:
    done = command(["doctor", str(log(tmp_path / "log.jsonl")), "--fact", "num_classes=10"], columns)
    assert done.returncode == 2, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert "\x1b" not in done.stdout, "no colours in a pipe"
    assert done.stderr == ""


def test_a_reader_that_stops_early_is_no_error(tmp_path: Path) -> None:
    log(tmp_path / "log.jsonl")
    line = f"{sys.executable} -m losskit doctor {tmp_path} --fact num_classes=10 --json - | head -c 10"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout[:1], done.stderr) == ("{", "")


def test_a_closed_pipe_leaves_verdict_and_files(tmp_path: Path) -> None:
    log(tmp_path / "log.jsonl")
    page = tmp_path / "page.html"
    line = f"{sys.executable} -m losskit doctor {tmp_path} --fact num_classes=10 --html {page} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert page.exists()
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------ watch


def test_watch_says_what_is_new_and_an_interrupt_ends_it_with_130(tmp_path: Path) -> None:
    path, out = log(tmp_path / "log.jsonl", level=2.3, slope=-1.0, n=200), tmp_path / "out.txt"
    line = [sys.executable, "-m", "losskit", "doctor", str(path), "--fact", "num_classes=10", "--watch", "--every", "0.1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    with (
        out.open("w") as file,
        subprocess.Popen(line, stdout=file, stderr=subprocess.PIPE, text=True, env=environment) as process,
    ):
        until(lambda: "healthy" in out.read_text())
        log(path, n=1000)
        until(lambda: CHANCE in out.read_text())
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told


def until(condition: object, seconds: float = 90.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def test_only_a_run_of_which_something_else_is_said_is_told_again() -> None:
    from losskit.doctor.report import Case, Report

    same, other = Case("a", "after"), Case("b", "after", problem="empty")
    changed = verbs._changed(Report((same, Case("b", "after"))), Report((same, other)))
    assert changed.cases == (other,)


# ------------------------------------------------------------------ the guide


def test_help_and_guide_say_the_same_of_exit_codes() -> None:
    pattern = r"^ *(\d+) +(.*(?:\n {7}.*)*)"
    helped = {code: " ".join(said.split()) for code, said in re.findall(pattern, verbs._CODES, re.MULTILINE)}
    table = GUIDE.read_text().partition("| exit code |")[2].partition("\n\n")[0]
    guide = {code: said.replace("`", "").strip() for code, said in re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)}
    assert helped == guide
    assert list(helped) == ["0", "1", "2", "3", "4", "130"]


def test_what_the_guide_prints_is_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GUIDE.read_text()
    source = re.search(r"```python\n(# train\.py\n.*?)```", text, re.DOTALL)
    shown = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    assert source is not None
    (tmp_path / "train.py").write_text(source[1])
    monkeypatch.chdir(tmp_path)
    trained = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, check=True, timeout=120)
    (tmp_path / "train.log").write_text(trained.stdout)
    said = 0
    for block in shown:
        line = [one.removeprefix("$ losskit ") for one in block.splitlines() if one.startswith("$ losskit ")]
        printed = command(line[-1].split(), columns=78).stdout.splitlines()
        for one in block.splitlines():
            if one and one != "..." and not one.startswith("$"):
                assert one in printed, f"{one!r} is not in the output of {line[-1]}"
                said += 1
    assert said > 10


def test_the_file_does_not_see_what_losskit_was_called_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    called_with = ["losskit", "check", "reads.py:make"]
    monkeypatch.setattr(sys, "argv", called_with)
    path = tmp_path / "reads.py"
    path.write_text("import sys\nSEEN = list(sys.argv)\ndef make():\n    raise RuntimeError(repr((SEEN, sys.argv)))\n")
    assert main(["check", f"{path}:make"]) == 3
    assert sys.argv is called_with
    printed = capsys.readouterr().err
    assert repr(([str(path)], [str(path)])) in printed
    assert f"({path}:4)" in printed


def test_a_file_that_is_no_python_says_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken_file.py"
    path.write_text("x = 1\ny = = 2\n")
    assert main(["check", f"{path}:make"]) == 3
    assert f"({path}:2)" in capsys.readouterr().err
