"""losskit explore: the page is written, and a wrong place is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from losskit.cli import main
from losskit.explore.page import explorer


def test_the_page_is_written_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "page.html"
    assert main(["explore", "--html", str(target)]) == 0
    assert target.read_text(encoding="utf-8") == explorer()
    assert str(target) in capsys.readouterr().out


def test_a_folder_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--html", str(tmp_path)]) == 2
    assert "expected a file" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--html", str(tmp_path / "none" / "page.html")]) == 2
    assert "none" in capsys.readouterr().err


def test_the_page_needs_no_extra_and_is_whole() -> None:
    page = explorer()
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
