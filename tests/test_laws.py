"""Every card passes every law."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cases import every_variant
from laws import LAWS
from losskit.core.card import CATALOGUE

LONG = {"compiles_as_one_graph"}  # a second or two each: make test compiles the first variant of every card, CI all of them


def every_law() -> Iterator[Any]:
    """Every variant of every card with every law; what takes long and says little more is marked slow."""
    seen: set[str] = set()
    for place, (name, variant) in enumerate(every_variant()):
        for law in LAWS:
            marks = [pytest.mark.slow] if law in LONG and name in seen else []
            yield pytest.param(name, variant, law, id=f"{name}-{place}-{law}", marks=marks)
        seen.add(name)


@pytest.mark.parametrize(("name", "variant", "law"), list(every_law()))
def test_every_card_obeys(name: str, variant: dict[str, Any], law: str) -> None:
    LAWS[law](CATALOGUE[name], variant)
