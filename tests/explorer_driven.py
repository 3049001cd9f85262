"""A browser for the explorer's tests: the page opened, its controls driven, its numbers read as a person reads them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch

from losskit.explore.page import SHIPPED

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome")

READ = """(id) => [...document.querySelectorAll(`#${id} [data-value]`)].map((e) => ({text: e.textContent, value: e.dataset.value,
  kind: e.dataset.kind, digits: Number(e.dataset.digits), py: e.dataset.py ?? "", recorded: e.dataset.recorded ?? ""}))"""
CODE = "(id) => document.querySelector(`#${id} .code code`).textContent"
CONTROLS = """(id) => [...document.querySelectorAll(`#${id} [data-control]`)].filter((e) => !e.hidden).map((e) => ({
  name: e.dataset.control,
  kind: e.classList[1], low: e.querySelector("[type=number]")?.min, high: e.querySelector("[type=number]")?.max,
  options: [...e.querySelectorAll("option")].map((o) => o.value)}))"""


def chromium() -> str | None:
    """Where a browser is, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Number(NamedTuple):
    """A number on the screen: its text, its full value, and the Python or the record that it claims to come from."""

    text: str
    value: float
    kind: str
    digits: int
    py: str
    recorded: str


def numbers(page: Any, exhibit: str) -> list[Number]:
    """All numbers that an exhibit shows now."""
    return [Number(**{**one, "value": float(one["value"])}) for one in page.evaluate(READ, exhibit)]


def exhibits(page: Any) -> list[str]:
    """The ids of all exhibits, in order."""
    return [str(one) for one in page.evaluate("[...document.querySelectorAll('main > section')].map((e) => e.id)")]


def opened(browser: Any, fragment: str = "", **context: Any) -> Any:
    """The shipped page in a window of its own, any error or request of which is collected in ``page.trouble``."""
    page = browser.new_context(**context).new_page()
    page.trouble = []

    def note(kind: str, text: str, bad: bool = True) -> None:
        if bad:
            page.trouble.append(f"{kind}: {text}")

    page.on("console", lambda message: note("console", message.text, message.type == "error"))
    page.on("pageerror", lambda error: note("error", str(error)))
    page.on("request", lambda request: note("request", request.url, not request.url.startswith("file:")))
    page.goto(SHIPPED.as_uri() + fragment)
    return page


def settings(page: Any, exhibit: str, *, thorough: bool = False) -> Iterator[str]:
    """Drive every control of an exhibit, then all at random; yield after each.

    ``thorough`` is to both ends, steps of the keyboard, a typed value and every choice; else one end and the last choice.
    """
    driven: set[str] = set()
    for _ in range(2):  # a switch or a choice may show further controls, which the second round drives
        for control in sorted(page.evaluate(CONTROLS, exhibit), key=lambda one: one["kind"] != "range"):
            if control["name"] not in driven and page.locator(f"#{exhibit} [data-control={control['name']}]").is_visible():
                driven.add(control["name"])
                yield from _driven(page, exhibit, control, thorough)
        for switch in [c for c in page.evaluate(CONTROLS, exhibit) if c["kind"] == "switch"]:
            page.locator(f"#{exhibit} [data-control={switch['name']}] input").check()
    random = Random(exhibit)
    for k in range(3 if thorough else 1):
        for control in page.evaluate(CONTROLS, exhibit):
            _at_random(page, exhibit, control, random)
        yield f"all at random, {k}"
    page.locator(f"#{exhibit} .reset").click()
    yield "back to the start"


def _driven(page: Any, exhibit: str, control: dict[str, Any], thorough: bool) -> Iterator[str]:
    name, row = control["name"], page.locator(f"#{exhibit} [data-control={control['name']}]")
    if control["kind"] == "range":
        for key in ("Home", "ArrowRight", "End", "PageDown") if thorough else ("End",):
            row.locator("[type=range]").press(key)
            yield f"{name}: {key}"
        low, high = float(control["low"]), float(control["high"])
        row.locator("[type=number]").fill(repr(low + 0.37 * (high - low)))
        yield f"{name}: typed"
    elif control["kind"] == "choice":
        for option in control["options"] if thorough else control["options"][-1:]:
            row.locator("select").select_option(option)
            yield f"{name}: {option}"
    elif control["kind"] == "switch":
        for _ in range(2):
            row.locator("input").click()
            yield f"{name}: switched"
    elif control["kind"] == "button":
        row.locator("button").click()
        yield f"{name}: pressed"


def _at_random(page: Any, exhibit: str, control: dict[str, Any], random: Random) -> None:
    row = page.locator(f"#{exhibit} [data-control={control['name']}]")
    if not row.is_visible():
        return
    if control["kind"] == "range":
        low, high = float(control["low"]), float(control["high"])
        row.locator("[type=number]").fill(repr(low + random.random() * (high - low)))
    elif control["kind"] == "choice":
        row.locator("select").select_option(random.choice(control["options"]))
    elif control["kind"] == "switch":
        row.locator("input").set_checked(random.random() < 0.7)


def computed(code: str) -> dict[str, Any]:
    """What the exhibit's Python defines."""
    space: dict[str, Any] = {"math": math, "torch": torch}
    exec(compile(code, "<the page>", "exec"), space)
    return space


def evaluated(expression: str, space: dict[str, Any]) -> float:
    """The number that an expression over the exhibit's Python gives."""
    value = eval(expression, space)
    return float(value.item() if isinstance(value, torch.Tensor) else value)


def recorded(path: str) -> float:
    """The recorded number at a path such as "shrug.ce.steps.15"."""
    name, *keys = path.split(".")
    value: Any = json.loads((Path(SHIPPED).parent / "recorded" / f"{name}.json").read_text(encoding="utf-8"))
    for key in keys:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return float(value)


def said(number: Number) -> float | None:
    """The value that the text of a number says, None where it is infinite or no number."""
    text = number.text.replace("\u2212", "-").replace("\u2009", "").rstrip("%×")
    if text.strip() in {"∞", "-∞", "NaN"}:
        return None
    return float(text) / (100 if number.kind == "pct" else 1)


def rounding(number: Number) -> float:
    """How far a text may be from its value: half of its last digit."""
    if number.kind == "int":
        return 0.5
    if number.kind == "sig":
        return 0.5 * 10 ** (math.floor(math.log10(abs(number.value) or 1)) - number.digits + 1) * 1.001 + 1e-300
    return 0.5 * 10 ** -(number.digits + (2 if number.kind == "pct" else 0)) * 1.001
