"""What the explorer has stored is what the experiments and losskit.choose give, and its fitted lines are the best ones."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import losskit
from explorer_driven import computed
from losskit.explore.page import SHIPPED

TOOLS = Path(__file__).parents[2] / "tools"
RECORDED = SHIPPED.parent / "recorded"


def again(name: str) -> Any:
    """The experiment of that name, run now."""
    sys.path.insert(0, str(TOOLS))
    try:
        module = __import__(f"explorer_recorded.{name}", fromlist=["record"])
    finally:
        sys.path.remove(str(TOOLS))
    return json.loads(json.dumps(module.record()))


def close(one: Any, other: Any) -> bool:
    """Equal, numbers to 1e-9."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-9 * max(1.0, abs(one))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(close(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def stored(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.claim("R19", "R20", "R21", "R22", "R23", "R24")
def test_every_leaf_of_the_map_is_what_choose_answers() -> None:
    assert close(again("which"), stored("which"))


@pytest.mark.slow
def test_the_digits_need_the_steps_that_are_stored() -> None:
    assert close(again("shrug"), stored("shrug"))


def test_the_runs_say_what_research_says_of_a_wrong_belief() -> None:
    runs = stored("shrug")
    assert runs["mse"]["steps"][15] is None
    assert runs["ce"]["steps"][15] < 100 < runs["limit"]
    assert runs["ce"]["first_norm"][15] > 1e4 * runs["mse"]["first_norm"][15]


def snippet(exhibit: str) -> str:
    """The Python that the shipped page shows at its first state."""
    page = SHIPPED.read_text(encoding="utf-8")
    section = page.split(f'<section id="{exhibit}"')[1].split("</section>")[0]
    code = re.findall(r"<code>(.*?)</code>", section.split('class="code"')[1], re.DOTALL)[0]
    return code.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")


def test_no_line_near_a_fitted_one_has_a_lower_loss() -> None:
    space = computed(snippet("lever"))
    generator = torch.Generator().manual_seed(0)
    for name, (function, line) in space["fits"].items():
        best = function(line[0] + line[1] * space["x"], space["y"])
        for step in (1e-6, 1e-3, 1e-1):
            for move in torch.randn(40, 2, generator=generator, dtype=torch.float64) * step:
                other = function(line[0] + move[0] + (line[1] + move[1]) * space["x"], space["y"])
                assert other >= best * (1 - 1e-14), (name, step)


def test_the_rare_class_is_fitted_to_the_lowest_loss() -> None:
    space = computed(snippet("rare"))
    s, y = space["s"], space["y"]
    for move in (1e-4, -1e-4):
        for a, b in ((move, 0.0), (0.0, move)):
            other = losskit.binary_cross_entropy_with_logits((space["a"] + a) * s + space["b"] + b, y)
            assert other > space["loss"]
