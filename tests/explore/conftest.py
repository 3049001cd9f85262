"""A browser for the tests of the explorer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from explorer_driven import FLAGS, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    if path is None:
        if os.environ.get("LOSSKIT_NEEDS_BROWSER"):
            pytest.fail("no chromium was found, and LOSSKIT_NEEDS_BROWSER asks for one")
        pytest.skip("no chromium was found: the explorer was not looked at (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()
