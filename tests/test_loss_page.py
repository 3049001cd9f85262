"""What the page of a loss says of its tests is what the laws test."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import laws
import losskit

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    return importlib.import_module("loss_page")


def numbers(law: str) -> list[float]:
    """The tolerances of a law, in the order of its comparisons."""
    return [float(found) for found in re.findall(r"(\d+e-\d+)\)", inspect.getsource(getattr(laws, law)))]


def test_the_errors_of_the_pages_are_the_tolerances_of_the_laws(page: ModuleType) -> None:
    errors = page.ERRORS
    assert numbers("value_is_the_reference") == [errors["float64"], errors["float32"]]
    assert numbers("half_precision_is_computed_in_float32") == [errors["half"], errors["half gradient"]]
    for law in ("compiles_as_one_graph", "maps_and_differentiates_as_a_function"):
        assert set(numbers(law)) == {errors["compiled"]}
    (sizes,) = re.findall(r"for size in \((.*?)\):", inspect.getsource(laws.extreme_inputs_stay_finite))
    tested = [float(size) for size in sizes.split(",")]
    assert (min(tested), max(tested)) == page.SIZES


def test_every_page_says_on_which_numbers_and_within_which_error_it_was_tested(page: ModuleType) -> None:
    for card in losskit.CATALOGUE.values():
        text = page.tested(card)
        assert text.startswith("## Tested range and error")
        assert "float32 and float64, `" in text, card.name  # how far the law of extreme inputs goes
    card = losskit.CATALOGUE["mse_loss"]
    assert page.loss_page(card, losskit.CATALOGUE).count(page.tested(card)) == 1


def test_a_loss_that_reaches_less_far_or_not_everywhere_says_so(page: ModuleType) -> None:
    card = losskit.CATALOGUE["pairwise_exponential_loss"]
    assert card.sample["scores"].extreme == 40 < page.SIZES[1]
    assert "`scores` from 1e-30 to 40" in page.tested(card)
    assert "`relevance` in \\[0, inf)" in page.tested(losskit.CATALOGUE["listnet_loss"])
    assert "`target` in \\[0, C)" in page.tested(losskit.CATALOGUE["focal_loss"])
    assert "not compared with finite differences" in page.tested(losskit.CATALOGUE["circle_loss"])
