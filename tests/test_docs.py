"""Every >>> example of the documents runs, every local link leads somewhere, and no page loads anything from elsewhere."""

from __future__ import annotations

import ast
import doctest
import importlib
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import losskit
from losskit import api
from losskit.demos import discover
from losskit.doctor import rules

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HAND_WRITTEN = [p for p in sorted(DOCS.rglob("*.md")) if not {"_build", "losses", "findings"} & {*p.relative_to(DOCS).parts}]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *HAND_WRITTEN]
FENCE = re.compile(r"^```.*$", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run_examples(text: str, name: str) -> doctest.TestResults:
    """Run the >>> examples of a Markdown text as one session."""
    names: dict[str, Any] = {"torch": torch, "math": math, "losskit": losskit, "F": F}
    # a closing fence would count as expected output
    test = doctest.DocTestParser().get_doctest(FENCE.sub("", text), names, name, name, 0)
    return doctest.DocTestRunner(verbose=False).run(test)


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_example_runs(path: Path) -> None:
    result = run_examples(path.read_text(), named(path))
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples of {named(path)} fail: see the captured output"


def test_the_guides_have_examples() -> None:
    guides = (
        "from-torch",
        "means",
        "imbalance",
        "debug",
        "perplexity",
        "error-bars",
        "calibration",
        "embeddings",
        "retrieval",
        "ranking",
        "rare-positives",
        "doctor",
    )
    for name in guides:
        assert (DOCS / "guide" / f"{name}.md").read_text().count(">>>") > 3


def test_the_table_of_the_doctor_is_what_its_benchmarks_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    written = importlib.import_module("doctor_table")
    assert written.TABLE.read_text() == written.table(), "run: python tools/doctor_table.py"


def test_a_wrong_number_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    text = "```python\n>>> losskit.mse_loss(torch.ones(1), torch.zeros(1))\ntensor(2.)\n```\n"
    assert run_examples(text, "wrong").failed == 1
    assert run_examples(text.replace("2.", "1."), "right") == (0, 1)
    assert "Expected" in capsys.readouterr().out


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_code_that_is_not_run_is_python_and_names_what_exists(path: Path) -> None:
    for code in BLOCK.findall(path.read_text()):
        if ">>>" in code:
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("losskit", "F"):
                assert hasattr(losskit, node.attr), f"losskit.{node.attr} in {named(path)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_local_link_leads_to_a_file(path: Path) -> None:
    for target in LINK.findall(path.read_text()):
        if target.startswith(("http://", "https://", "#")):
            continue
        file = (path.parent / target.split("#")[0]).resolve()
        if file.parent == DOCS / "losses":  # written when the site is built
            assert file.stem in {*losskit.CATALOGUE, "index"}, f"{target} in {named(path)}"
        elif file.parent == DOCS / "findings":
            assert file.stem in {*rules(), "index"}, f"{target} in {named(path)}"
        else:
            assert file.exists(), f"{target} in {named(path)}"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))


@pytest.mark.usefixtures("extension")
def test_what_is_not_documented_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = importlib.import_module("cards")
    assert cards.problems() == []
    whole = losskit.CATALOGUE["huber_loss"]
    broken = replace(whole)
    broken.__dict__["sections"] = {**whole.sections, "Gradient": "", "Args": whole.sections["Args"].replace("delta", "d")}
    monkeypatch.setitem(losskit.CATALOGUE, "huber_loss", broken)
    monkeypatch.setattr(api, "bare", lambda: None, raising=False)
    assert cards.problems() == [
        "losskit.bare has no docstring",
        "huber_loss: the section 'Gradient' is missing or empty",
        "huber_loss: the option 'delta' is not explained in Args",
    ]


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"2 (\hat y - y): grows with it", [(True, r"2 (\hat y - y)"), (False, ":"), (False, "grows with it")]),
        (r"a = 1 - p,\; \mu = e^y", [(True, "a = 1 - p"), (False, ","), (True, r"\mu = e^y")]),
        (r"\tanh e, at most 1", [(True, r"\tanh e"), (False, ","), (False, "at most 1")]),
        (r"falls beyond |z| = \sqrt\nu", [(False, "falls beyond"), (True, r"|z| = \sqrt\nu")]),
    ],
)
def test_mathematics_ends_where_words_begin(text: str, wanted: list[tuple[bool, str]]) -> None:
    assert importlib.import_module("mathml").pieces(text, formula=True) == wanted


@pytest.mark.usefixtures("extension")
def test_plain_sentences_hold_no_mathematics() -> None:
    said = "with costs a and b per unit, q = a / (a + b); see log_var, for 1, 2, 3"
    assert importlib.import_module("mathml").pieces(said) == [(False, said)]


@pytest.mark.usefixtures("extension")
def test_a_command_that_cannot_be_drawn_fails_the_build() -> None:
    mathml = importlib.import_module("mathml")
    assert "<mi>Var</mi>" in mathml.mathml(r"\mathrm{Var}(y)").replace(' mathvariant="normal"', "")
    with pytest.raises(mathml.ExtensionError, match="nonsense"):
        mathml.mathml(r"\nonsense{x}")


@pytest.mark.usefixtures("extension")
def test_ticks_are_round_and_inside() -> None:
    ticks = importlib.import_module("picture").ticks
    assert ticks(0.0, 4.0) == [0, 1, 2, 3, 4]
    assert ticks(-0.98, -0.01) == pytest.approx([-0.8, -0.6, -0.4, -0.2])
    for low, high in ((0.0, 1e-7), (-3e5, 8e6), (2.0, 2.01)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 6
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


class Loads(HTMLParser):
    """Collects what a page loads by itself, the targets of its links, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a":
            self.links.append(given.get("href", ""))
        else:
            self.loads += [given[key] for key in ("src", "srcset", "href", "data", "action") if key in given]


def read(page: Path) -> Loads:
    found = Loads()
    found.feed(page.read_text())
    return found


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, out / "docs", ignore=shutil.ignore_patterns("_build", "losses", "findings", "__pycache__"))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(out / "docs"), str(out / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.mark.slow
def test_every_loss_has_a_page_with_two_curves_and_a_formula(site: Path) -> None:
    for name, card in losskit.CATALOGUE.items():
        page = (site / "losses" / f"{name}.html").read_text()
        assert len(re.findall(r'<polyline class="(?:value|gradient)"', page)) == 2
        assert "<math" in page
        assert f"losskit.{card.module.__name__}" in page
        assert "nan" not in re.findall(r'points="([^"]*)"', page)


@pytest.mark.slow
def test_every_public_name_is_in_the_index(site: Path) -> None:
    index = (site / "genindex.html").read_text()
    spaces = {"evaluate": losskit.evaluate, "doctor": losskit.doctor}
    names = [name for name in losskit.__all__ if name not in spaces]
    names += [f"{space}.{name}" for space, module in spaces.items() for name in module.__all__]
    for name in names:
        assert f'#losskit.{name}"' in index, f"{name} is on no page"


@pytest.mark.slow
def test_no_page_loads_from_elsewhere_and_no_link_is_broken(site: Path) -> None:
    pages = {page: read(page) for page in site.rglob("*.html")}
    assert len(pages) > len(losskit.CATALOGUE)
    for page, found in pages.items():
        for load in found.loads:
            assert not re.match(r"(https?:)?//", load), f"{page.name} loads {load}"
        for link in found.links:
            if not link or link.startswith(("http:", "https:", "mailto:")):
                continue
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), f"{page.name} links to {link}"
            if anchor and target in pages:
                assert anchor in pages[target].anchors, f"{page.name} links to {link}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text()), f"{sheet.name} loads from elsewhere"


def test_the_readme_names_the_demos_that_exist_and_where_the_documentation_is_made() -> None:
    root = Path(__file__).parent.parent
    readme, makefile = (root / "README.md").read_text(), (root / "Makefile").read_text()
    listed = readme.partition("`losskit demo NAME`: ")[2].partition(". ")[0]
    assert re.findall(r"`([\w-]+)`", listed) == [one.name for one in discover()]
    made = readme.partition("is made by `make docs` and begins at `")[2].partition("`")[0]
    assert f"sphinx -q -W --keep-going -b html docs {Path(made).parent}\n" in makefile
