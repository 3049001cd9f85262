"""Every card passes every law."""

from __future__ import annotations

from typing import Any

import pytest

from cases import every_variant
from laws import LAWS
from losskit.core.card import CATALOGUE

VARIANTS = every_variant()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(VARIANTS)])
def test_every_card_obeys(name: str, variant: dict[str, Any], law: str) -> None:
    LAWS[law](CATALOGUE[name], variant)
