"""Every number that README and documents say in prose comes from somewhere: an example, a claim, a measurement, a figure."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import printed_numbers
from printed_exempt import EXEMPT, PATTERNS
from printed_numbers import from_nowhere, pages, said

PAGE = """# 3.14159 as a title

The loss is 0.5514, ln(e + 2) - 1, and not 0.5517; `0.123` and [a link](https://example.org/0.987) are no prose.

```python
>>> round(math.log(math.e + 2) - 1, 4)  # 0.777
0.5514
```

It costs 12 % and 2.7 times as much, since 2017 (arXiv:1708.02002, torch 2.13, D101, float16).
That is of 50,257 classes in 4 rows, -1e-3 +- 0.271.

<!-- table: begin -->
| 0.666 |
<!-- table: end -->
"""


@pytest.mark.parametrize("page", sorted(pages()))
def test_every_number_of_a_page_comes_from_somewhere(page: str) -> None:
    lost = [f"{one.number}{one.unit} in: {one.line}" for one in from_nowhere(page, pages()[page])]
    assert not lost, f"{page}: let an example print it, add a claim to losskit.verify, or exempt it in tools/printed_exempt.py"


def test_the_numbers_of_prose_are_found_and_no_others() -> None:
    assert [one.number for one in said("page.md", PAGE)] == ["3.14159", "0.5514", "0.5517", "12", "2.7", "50,257", "0.271"]


def test_a_wrong_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printed_numbers, "everywhere", lambda: (50257.0, 0.12, 2.74, 0.2714, 3.141592653589793))
    assert [one.number for one in from_nowhere("page.md", PAGE)] == ["0.5517"]
    monkeypatch.setattr(printed_numbers, "everywhere", lambda: (50257.0, 2.76, 0.2716, 3.14158))
    assert [one.number for one in from_nowhere("page.md", PAGE)] == ["3.14159", "0.5517", "12", "2.7", "0.271"]


@pytest.mark.parametrize("page", ["docs/explanation/debugging.md", "docs/explanation/squared_or_absolute.md"])
def test_a_digit_that_is_changed_on_a_real_page_is_found(page: str) -> None:
    text = pages()[page]
    changed = {
        "docs/explanation/debugging.md": ("= 6.908", "= 6.918"),
        "docs/explanation/squared_or_absolute.md": ("45.1 ", "43.1 "),
    }
    assert changed[page][0] in text
    assert [one.value for one in from_nowhere(page, text.replace(*changed[page]))] == [float(changed[page][1].strip("= "))]


@pytest.mark.parametrize(
    ("number", "unit", "source", "fits"),
    [
        ("0.559", "", 0.5586, True),
        ("0.559", "", 0.5584, False),
        ("96.1", " %", 0.9612, True),
        ("0.961", "", 96.12, False),
        ("7,380", "", 7377.2, True),
        ("7,380", "", 7386.0, False),
        ("1.46", "", -1.4612, True),
        ("1e-3", "", 0.00104, True),
    ],
)
def test_a_number_is_its_source_to_the_digits_that_are_printed(number: str, unit: str, source: float, fits: bool) -> None:
    assert printed_numbers.Said("page.md", number, unit, "").is_rounded(source) == fits


def test_every_exemption_has_a_reason_and_every_pattern_is_one() -> None:
    reasons = [reason for page in EXEMPT.values() for reason in page.values()] + [reason for _, reason in PATTERNS]
    assert all(len(reason) > 3 for reason in reasons)
    for pattern, _ in PATTERNS:
        assert not re.search(pattern, "the loss is 0.5514 of 50,257 classes, 2.013 beside 0.2013")
