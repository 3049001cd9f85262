"""Every law fails on its mutant, and the core fails them too when it is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from laws import LAWS
from losskit.core import reduce as reduce_module
from losskit.losses import regression
from mutants import Broken, mse, mutants

MUTANTS: dict[str, Broken] = mutants()


def test_every_law_has_a_mutant() -> None:
    assert set(MUTANTS) == set(LAWS)


@pytest.mark.parametrize("law", LAWS)
def test_law_fails_on_its_mutant(law: str) -> None:
    card, variant = MUTANTS[law]
    with pytest.raises((AssertionError, RuntimeError)):
        LAWS[law](card, variant)


def sum_for_mean(value: Tensor, weight: Tensor | None, reduction: str, normalizer: object = None, **_: object) -> Tensor:
    return reduce_module.reduce(value, weight, "sum" if reduction == "mean" and normalizer is None else reduction, normalizer)


def weight_dropped(value: Tensor, weight: Tensor | None, reduction: str, normalizer: object = None, **_: object) -> Tensor:
    return reduce_module.reduce(value, None, reduction, normalizer)


@pytest.mark.parametrize(
    ("mutant", "law"),
    [(sum_for_mean, "reductions_agree"), (weight_dropped, "what_is_masked_is_invisible"), (weight_dropped, "weights_multiply")],
)
def test_laws_notice_a_broken_reduce(monkeypatch: pytest.MonkeyPatch, mutant: Callable[..., Tensor], law: str) -> None:
    monkeypatch.setattr(regression, "reduce", mutant)
    with pytest.raises(AssertionError):
        LAWS[law](mse(), {})
