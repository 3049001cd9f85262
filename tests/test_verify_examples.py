"""The examples that verify runs: what it gathers, what it says of a wrong one, and of one that cannot run here."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from losskit.verify.claim import Finding, MissingError, NotRun, answer
from losskit.verify.examples import PAGES, claims, docstrings, modules, run, session

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import examples

PAGE = """# A page

```python
>>> import torch, losskit
>>> losskit.mse_loss(torch.ones(1), torch.zeros(1))
tensor(1.)
>>> for i in range(2):
...     print(i)
0
1
```

Prose.

```python
>>> losskit.mse_loss(torch.zeros(4, 1), torch.zeros(4))
Traceback (most recent call last):
losskit.core.check.ShapeError: "target" has shape (4,), expected (4, 1) to fit "input" (4, 1): one number for each element; \
use target.unsqueeze(-1)
```
"""


def test_the_packaged_examples_are_those_of_the_documents() -> None:
    assert examples.stale() == [], "run: python tools/examples.py"


def test_check_notices_a_page_that_changed(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page, file = tmp_path / "docs" / "page.md", tmp_path / "examples.json"
    page.write_text(PAGE)
    file.write_text(examples.gathered(tmp_path))
    assert examples.stale(tmp_path, file) == []
    page.write_text("Another line of prose.\n" + PAGE)
    assert examples.stale(tmp_path, file) == []
    page.write_text(PAGE.replace("tensor(1.)", "tensor(2.)"))
    assert examples.stale(tmp_path, file) == ["docs/page.md"]
    page.unlink()
    assert examples.stale(tmp_path, file) == ["docs/page.md"]


def test_the_tool_exits_with_1_if_the_file_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["examples.py", "--check"])
    monkeypatch.setattr(examples, "PAGES", tmp_path / "examples.json")
    assert examples.main() == 1
    (tmp_path / "examples.json").write_text('{"pages": {}}')
    monkeypatch.setattr(examples, "stale", lambda: ["README.md"])
    assert examples.main() == 1
    assert "changed: README.md" in capsys.readouterr().out


def test_a_page_is_one_session_and_prints_what_it_says() -> None:
    assert run([session(examples.examples(PAGE), "page")]) == "4 of 4 as printed"


def test_a_wrong_output_is_found_and_named() -> None:
    wrong = examples.examples(PAGE.replace("tensor(1.)", "tensor(1.5000)").replace("0\n1\n", "0\n2\n"))
    said = run([session(wrong, "page")])
    assert said == "2 of 4: losskit.mse_loss(torch.ones(1), torch.zeros(1)) gives tensor(1.), not tensor(1.5000)"


def test_an_example_that_raises_or_prints_nothing_is_wrong_too() -> None:
    assert run([session([["1 / 0", ""]], "page")]) == "0 of 1: 1 / 0 gives ZeroDivisionError: division by zero, not nothing"
    assert run([session([["x = 1", "1"]], "page")]) == "0 of 1: x = 1 gives nothing, not 1"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ModuleNotFoundError(name='sklearn.tree')", "needs extra demo"),
        ("import polars.not_there", "needs extra data"),
        ("raise ImportError('reading CSV needs polars: pip install losskit[data]')", "needs extra data"),
        ("import nobody_has_this", "needs nobody-has-this, which is no extra of ours"),
    ],
)
def test_an_example_that_needs_what_is_not_installed_is_not_run_and_never_passed(source: str, said: str) -> None:
    claim = claims()[0]
    finding = Finding(claim, answer(lambda: run([session([["1", "1"], [source, ""]], "page")])), None)
    assert (finding.ours, finding.outcome, finding.passed) == (said, "not run", False)
    assert isinstance(finding.ours, NotRun)


def test_a_module_of_our_own_that_is_missing_is_a_failure() -> None:
    assert run([session([["import losskit.nothing", ""]], "page")]).startswith(
        "0 of 1: import losskit.nothing gives ModuleNotFound"
    )


def test_an_example_leaves_folder_threads_and_random_numbers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    code = [["open('file', 'w').close()", ""], ["torch.rand(1).item() == 0.49625658988952637", "True"]]
    assert run([session(code, "page")]) == "2 of 2 as printed"
    with pytest.raises(MissingError):
        run([session([["import nobody_has_this", ""]], "page")])
    assert (list(tmp_path.iterdir()), os.getcwd(), torch.get_num_threads()) == ([], str(tmp_path), threads)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_example_of_every_docstring_is_in_a_claim() -> None:
    for name in modules():
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        written = re.findall(r"^ *>>> ", Path(spec.origin).read_text(), re.MULTILINE)
        assert sum(len(test.examples) for test in docstrings(name)) == len(written), name


def test_one_claim_is_made_for_each_page_and_each_module() -> None:
    about = [claim.about for claim in claims()]
    assert about == [*json.loads(PAGES.read_text())["pages"], *modules()]
    assert {"README.md", "losskit.losses.focal", "losskit.choosing.choose"} <= {*about}
