"""Every number in a sentence about a curve can be found in the log, or made again from it."""

from __future__ import annotations

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from losskit.doctor import diagnose


def said_of(folder: Path, losses: list[float], code: str, refs: dict[str, Any] | None = None) -> str:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps({"step": 10 * i, "loss": loss}) + "\n" for i, loss in enumerate(losses)))
    found = [one for top in diagnose(path, refs=refs).findings for one in (top, *top.consequences)]
    return next(one.hit.said for one in found if one.code == code)


def level_curve(height: float, n: int, noise: float = 0.02) -> list[float]:
    made = torch.Generator().manual_seed(0)
    return (height + noise * torch.randn(n, generator=made, dtype=torch.float64)).tolist()


def median_of(losses: list[float], begin: str, end: str) -> float:
    return statistics.median(losses[int(begin) // 10 : int(end) // 10 + 1])


@pytest.mark.parametrize("n", [60, 300, 1234])
def test_the_medians_of_a_loss_that_does_not_fall_are_those_of_the_steps_that_are_named(tmp_path: Path, n: int) -> None:
    losses = level_curve(2.5, n, noise=0.005)
    said = said_of(tmp_path, losses, "D505")
    found = re.search(r"is ([\d.]+) over steps (\d+) to (\d+) .* and ([\d.]+) over steps (\d+) to (\d+)", said)
    assert found is not None, said
    early, a, b, late, c, d = found.groups()
    assert float(early) == pytest.approx(median_of(losses, a, b), rel=1e-3)
    assert float(late) == pytest.approx(median_of(losses, c, d), rel=1e-3)
    assert int(b) < int(c)
    assert int(d) == 10 * (n - 1)
    assert len(losses) * 0.08 <= (int(b) - int(a)) / 10 + 1 <= len(losses) * 0.2
    assert float(re.search(r"below ([\d.]+) \(1 % of it\)$", said)[1]) == pytest.approx(0.01 * float(late), rel=0.05)


def test_what_is_no_fall_in_a_noisy_curve_is_said_by_its_noise(tmp_path: Path) -> None:
    said = said_of(tmp_path, level_curve(2.5, 60), "D505")
    assert said.endswith("(two standard errors)")
    assert "(1 % of it)" not in said


def test_the_numbers_of_a_loss_that_stands_are_those_of_the_steps_that_are_named(tmp_path: Path) -> None:
    losses = level_curve(math.log(10), 400)
    said = said_of(tmp_path, losses, "D403", {"num_classes": 10})
    found = re.search(
        r"last (\d+) points, steps (\d+) to (\d+), is ([\d.]+), and up to ([\d.]+) from the level \(2 % of it\)", said
    )
    assert found is not None, said
    count, begin, end, middle, width = found.groups()
    assert float(middle) == pytest.approx(median_of(losses, begin, end), abs=1e-4)
    assert (int(end) - int(begin)) // 10 + 1 == int(count)
    assert float(width) == pytest.approx(0.02 * math.log(10), abs=1e-4)
