"""The explorer in a real browser: every number on the screen against losskit's float64, every control driven."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from explorer_driven import (
    CODE,
    Number,
    computed,
    evaluated,
    exhibits,
    numbers,
    opened,
    recorded,
    rounding,
    said,
    settings,
)
from losskit.explore.page import SHIPPED

EXHIBITS = ("shrug", "softmax", "choices", "lever", "pairs", "rare", "clinic", "which")
SIZES = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
OVERLAPS = """() => [...document.querySelectorAll("main svg")].flatMap((svg) => {
  const frame = svg.getBoundingClientRect(), id = svg.closest("section").id;
  const texts = [...svg.querySelectorAll("text")].filter((t) => t.textContent);
  const boxes = texts.map((t) => [t.textContent, t.getBoundingClientRect()]);
  const out = (b) => b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1;
  const bad = boxes.filter(([, b]) => out(b)).map(([text]) => `${id}: cut: ${text}`);
  boxes.forEach(([one, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 3) bad.push(`${id}: ${one} over ${other}`);
  }));
  return bad;
})"""
UNNAMED = """[...document.querySelectorAll("input, select, textarea")]
  .filter((e) => !e.labels.length && !e.getAttribute("aria-label")).map((e) => e.id)"""
UNREACHED = """[...document.querySelectorAll("input, select, textarea, button")].filter((e) => e.tabIndex < 0).length"""
FRAGMENTS = ["#shrug.p=nonsense", "#shrug.p=1e999", "#shrug.output=none", "#a=b&&=", "#shrug.p=%", "#shrug.p=-5&x"]


def wrong(shown: list[Number], space: dict[str, Any]) -> list[str]:
    """The numbers that are not what their Python, their record or their text says."""
    found = []
    for one in shown:
        truth = evaluated(one.py, space) if one.py else recorded(one.recorded) if one.recorded else one.value
        same = truth == one.value or (math.isnan(truth) and math.isnan(one.value))
        if not same and not abs(truth - one.value) <= 1e-9 * max(1.0, abs(truth)):
            found.append(f"{one.py or one.recorded} is {truth!r}, on the screen {one.value!r}")
        text = said(one)
        if math.isfinite(one.value) if text is None else abs(text - one.value) > rounding(one):
            found.append(f"{one.text} is shown for {one.value!r} ({one.kind}, {one.digits})")
    return found


def test_the_page_has_all_exhibits(browser: Any) -> None:
    page = opened(browser)
    assert tuple(exhibits(page)) == EXHIBITS
    assert page.trouble == []


@pytest.mark.claim("R8", "R37")
@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_every_number_is_what_losskit_computes_at_every_setting(browser: Any, exhibit: str, thorough: bool) -> None:
    page = opened(browser)
    assert wrong(numbers(page, exhibit), computed(page.evaluate(CODE, exhibit))) == []
    sourced = [one for one in numbers(page, exhibit) if one.py or one.recorded]
    assert sourced, "an exhibit without a number that losskit computes"
    seen = set()
    for done in settings(page, exhibit, thorough=thorough):
        shown = numbers(page, exhibit)
        assert wrong(shown, computed(page.evaluate(CODE, exhibit))) == [], done
        seen.add(tuple(one.value for one in shown))
    assert len(seen) > 2, "no control moved a number"
    assert page.trouble == []


def test_a_wrong_number_would_be_seen(browser: Any) -> None:
    page = opened(browser)
    page.evaluate("document.querySelector('#shrug [data-py=ce_gradient]').dataset.value = '-0.99000001'")
    assert len(wrong(numbers(page, "shrug"), computed(page.evaluate(CODE, "shrug")))) == 1


@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_the_address_keeps_what_was_set(browser: Any, exhibit: str) -> None:
    page = opened(browser)
    for _ in settings(page, exhibit):
        address = page.evaluate("location.hash")
        if "=" in address:
            break
    again = opened(browser, address)
    assert [one.value for one in numbers(again, exhibit)] == [one.value for one in numbers(page, exhibit)]
    assert "=" in address


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_broken_address_shows_the_page_all_the_same(browser: Any, fragment: str) -> None:
    page = opened(browser, fragment)
    assert page.trouble == []
    assert wrong(numbers(page, "shrug"), computed(page.evaluate(CODE, "shrug"))) == []


def test_without_scripts_the_first_state_is_there(browser: Any) -> None:
    with_scripts, without = opened(browser), browser.new_context(java_script_enabled=False).new_page()
    without.goto(SHIPPED.as_uri())
    for exhibit in EXHIBITS:
        values = [float(e.get_attribute("data-value")) for e in without.locator(f"#{exhibit} [data-value]").all()]
        assert values == [one.value for one in numbers(with_scripts, exhibit)]
    assert not without.locator("input").first.is_visible()


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_nothing_overlaps_and_nothing_is_cut(browser: Any, width: int, scheme: str) -> None:
    page = opened(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERLAPS) == []


def test_every_control_has_a_name_and_a_place_in_the_order_of_tabs(browser: Any) -> None:
    page = opened(browser)
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(UNREACHED) == 0


def test_the_page_is_one_small_file(browser: Any) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert len(text.encode()) < 6e6
    assert not any(word in text for word in ('src="http', "url(http", "@import", '<link rel="stylesheet"'))


def test_the_shipped_page_is_what_its_parts_give(browser: Any) -> None:
    tool = SHIPPED.parents[4] / "tools" / "explorer.py"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
