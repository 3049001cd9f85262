"""The figures of the documentation: their numbers, their shapes, and that nothing is cut or hidden."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
import torch
from figures_by_hand import FORMULAS

import losskit
from losskit.explore.figures import discover
from losskit.explore.figures.look import DARK, LIGHT
from losskit.verify.figure_numbers import FORMULAS as BY_HAND

ROOT = Path(__file__).parent.parent.parent
SVG = {figure.name: figure.svg() for figure in discover()}
SVG_NAMES = sorted(SVG)
# DejaVu Sans, the widest of the fonts that a system is likely to bring: advance widths in em
WIDTHS = {
    0.29: "'ijlIJ", 0.32: " ,.·’", 0.34: "/:;|", 0.36: "f-", 0.4: "()[]t!²", 0.42: "r", 0.53: "*_sz“”?", 0.55: "cε",
    0.59: "LFkvxyγλ", 0.61: "PτπTYaoδ", 0.64: "eESbdghnpquβσΣ0123456789√", 0.7: "KAVBRXZC", 0.79: "UHNDGOQ&",
    0.84: "w+<=>−×→", 1.0: "M%m½W",
}  # fmt: skip
EM = {character: width for width, characters in WIDTHS.items() for character in characters}


class Text(NamedTuple):
    """A line of text of a figure, as wide as it may become."""

    said: str
    left: float
    top: float
    right: float
    bottom: float
    size: float


def marks(name: str, tag: str) -> Iterator[ElementTree.Element]:
    return ElementTree.fromstring(SVG[name]).iter(f"{{http://www.w3.org/2000/svg}}{tag}")


def printed_numbers(name: str) -> dict[str, tuple[float, str, str]]:
    """Of each number its full value, its format and what is printed."""
    spans = [span for text in marks(name, "text") for span in text if "data-name" in span.attrib]
    found = {s.attrib["data-name"]: (float(s.attrib["data-value"]), s.attrib["data-format"], s.text or "") for s in spans}
    assert len(found) == len(spans), f"two numbers of {name} have one name"
    return found


def texts(name: str) -> Iterator[Text]:
    for element in marks(name, "text"):
        pieces = [(element.text or "", "")]
        for span in element:
            pieces += [(span.text or "", span.get("class", "")), (span.tail or "", "")]
        size, x, y = (float(element.attrib[key]) for key in ("font-size", "x", "y"))
        outer = element.get("class", "")
        wide = sum(size * EM[c] * (1.13 if "bold" in outer + style else 1) for said, style in pieces for c in said)
        left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[element.get("text-anchor", "start")]
        yield Text("".join(said for said, _ in pieces), left, y - 0.76 * size, left + wide, y + 0.22 * size, size)


@pytest.mark.claim("R35")
@pytest.mark.parametrize("name", SVG_NAMES)
def test_every_number_is_what_a_plain_formula_gives(name: str) -> None:
    by_hand, found = BY_HAND[name](), printed_numbers(name)
    assert found.keys() == by_hand.keys()
    for key, (value, format, said) in found.items():
        assert value == pytest.approx(by_hand[key], rel=1e-12, abs=1e-15), key
        rounded = f"{value:{format}}"
        assert said.replace("−", "-") == (
            rounded.removeprefix("-") if float(rounded.strip("%").replace(",", "")) == 0 else rounded
        )


@pytest.mark.claim("R35")
@pytest.mark.parametrize("name", SVG_NAMES)
def test_no_number_is_printed_without_its_value(name: str) -> None:
    formulas = set()
    for text in marks(name, "text"):
        bare = [text.text or "", *(span.tail or "" for span in text)]
        formulas |= {span.text for span in text if "formula" in span.get("class", "")}
        bare += [
            span.text or "" for span in text if not span.attrib.keys() & {"data-name"} and "formula" not in span.get("class", "")
        ]
        assert not any(character.isnumeric() for said in bare for character in said), bare
    assert formulas == FORMULAS.get(name, set())


@pytest.mark.claim("R35")
def test_there_is_a_picture_for_each_of_the_ten_and_the_readme() -> None:
    assert [name[:3] for name in SVG_NAMES] == [f"d{i:02}" for i in range(11)]
    assert sorted(BY_HAND) == SVG_NAMES


@pytest.mark.parametrize("name", SVG_NAMES)
def test_a_file_stands_alone_and_says_what_it_shows(name: str) -> None:
    root = ElementTree.fromstring(SVG[name])
    title, description, style = (next(marks(name, tag)).text or "" for tag in ("title", "desc", "style"))
    assert len(title) > 5
    assert len(description) > 60
    assert "prefers-color-scheme:dark" in style
    assert root.get("role") == "img"
    loose = SVG[name].replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"href|url\(|://|<script|@import|<image|<foreignObject", loose)


@pytest.mark.parametrize("name", SVG_NAMES)
def test_no_text_is_cut_or_small_or_upon_another(name: str) -> None:
    _, _, width, height = map(float, ElementTree.fromstring(SVG[name]).attrib["viewBox"].split())
    assert width == 720
    lines = list(texts(name))
    for text in lines:
        assert text.size >= 11
        assert text.left >= 12, text
        assert text.right <= width - 12, text
        assert text.top >= 12, text
        assert text.bottom <= height - 8, text
    for a, b in combinations(lines, 2):
        apart = a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top
        assert apart, f"{a.said!r} is upon {b.said!r}"


@pytest.mark.parametrize("name", SVG_NAMES)
def test_bars_are_as_long_as_their_values(name: str) -> None:
    groups: dict[str, list[tuple[float, float]]] = {}
    for bar in marks(name, "rect"):
        if "data-bar" in bar.attrib:
            measure = float(bar.attrib[bar.attrib["data-along"]]), float(bar.attrib["data-value"])
            groups.setdefault(bar.attrib["data-bar"], []).append(measure)
    for bars in groups.values():
        longest, largest = max(bars)
        for length, value in bars:
            assert length == pytest.approx(longest / largest * value, abs=0.02)


def curve(name: str, of: str) -> list[tuple[float, float]]:
    (line,) = (mark for mark in marks(name, "polyline") if mark.get("data-curve") == of)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def ticks(name: str, of: str, axis: str) -> list[tuple[float, float]]:
    """Place on the page and value of the ticks whose names begin with ``of``."""
    up = 4 if axis == "y" else 0
    spans = [(text, span) for text in marks(name, "text") for span in text if "data-name" in span.attrib]
    named = [(text, span) for text, span in spans if re.fullmatch(rf"{of} [\d.]+", span.attrib["data-name"])]
    return [(float(text.attrib[axis]) - up, float(span.attrib["data-value"])) for text, span in named]


def squared(p: float) -> float:
    return 2 * p * (1 - p) ** 2


def smoothed(lead: float) -> float:
    return math.log(math.exp(lead) + 9) - 0.91 * lead


PLOTS = [
    ("d04_gradients", "squared error", ("x", "y"), squared),
    ("d04_gradients", "cross-entropy", ("x", "y"), lambda p: 1 - p),
    ("d00_readme", "squared error", ("x", "y"), squared),
    ("d00_readme", "cross-entropy", ("x", "y"), lambda p: 1 - p),
    ("d09_label_smoothing", "smoothed", ("x", "y"), smoothed),
    ("d09_label_smoothing", "hard", ("x", "y"), lambda lead: math.log1p(9 * math.exp(-lead))),
]


@pytest.mark.parametrize(("name", "of", "axes", "formula"), PLOTS)
def test_a_curve_is_where_its_ticks_say(name: str, of: str, axes: tuple[str, str], formula: Callable[[float], float]) -> None:
    (x1, a1), *_, (x2, a2) = ticks(name, axes[0], "x")
    (y1, b1), *_, (y2, b2) = ticks(name, axes[1], "y")
    for x, y in curve(name, of):
        share = (x - x1) / (x2 - x1)
        a = a1 * (a2 / a1) ** share if a1 else a1 + share * (a2 - a1)
        assert b1 + (y - y1) / (y2 - y1) * (b2 - b1) == pytest.approx(formula(a), abs=2e-3)


def test_noise_becomes_a_parabola_and_a_roof() -> None:
    for of, power in (("normal errors cost", 2), ("Laplace errors cost", 1)):
        points = curve("d03_maximum_likelihood", of)
        middle, floor = points[60]
        scale = (floor - points[-1][1]) / (points[-1][0] - middle) ** power
        for x, y in points:
            assert floor - y == pytest.approx(scale * abs(x - middle) ** power, abs=0.05)


def test_the_weights_are_those_that_class_weights_gives() -> None:
    found, counts = printed_numbers("d10_class_imbalance"), (900, 90, 10)
    inverse, effective = losskit.class_weights(counts), losskit.class_weights(counts, method="effective", beta=0.999)
    drawn = [torch.tensor([found[f"{column} {n}"][0] for n in counts]) for column in (1, 3)]
    torch.testing.assert_close(inverse, drawn[0] / drawn[0].mean())
    torch.testing.assert_close(effective, drawn[1])


def luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme: dict[str, str]) -> None:
    pairs = [(text, "panel") for text in ("ink", "muted", "right", "wrong")]
    pairs += [
        ("ink", "box"),
        ("muted", "box"),
        ("ink", "pale-right"),
        ("muted", "pale-right"),
        ("right", "pale-right"),
        ("wrong", "pale-wrong"),
    ]
    for text, behind in pairs:
        dark, light = sorted((luminance(scheme[text]), luminance(scheme[behind])))
        assert (light + 0.05) / (dark + 0.05) >= (4.5 if behind == "panel" else 4), (text, behind)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("figures")


def test_the_files_are_what_the_code_draws(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["figures.py", "--check"])
    assert tool.main() == 0


def test_a_stale_file_is_noticed(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["figures.py"])
    assert tool.main() == 0
    one = tmp_path / "d04_gradients.svg"
    one.write_text(one.read_text().replace('data-value="-0.9"', 'data-value="-0.9000001"'))
    (tmp_path / "d11_gone.svg").write_text("")
    monkeypatch.setattr("sys.argv", ["figures.py", "--check"])
    assert tool.main() == 1
    said = capsys.readouterr().out
    assert "d04_gradients.svg, d11_gone.svg" in said
    assert "d05" not in said


@pytest.mark.slow
def test_the_recorded_runs_are_what_is_measured(tool: ModuleType) -> None:
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    found, written = tool.measured(), tool.json.loads(tool.RECORD.read_text())
    runs, kept = found.pop("runs"), written.pop("runs")
    assert found == written
    for name, run in runs.items():
        assert run["rate"] == kept[name]["rate"]
        assert run["first_gradient"] == pytest.approx(kept[name]["first_gradient"], rel=1e-9)
        # one test row more or less after hundreds of steps is another processor's rounding
        assert run["accuracy"] == pytest.approx(kept[name]["accuracy"], abs=0.005)
        assert run["steps_to_goal"] == (kept[name]["steps_to_goal"] and pytest.approx(kept[name]["steps_to_goal"], abs=2))
