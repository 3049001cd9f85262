"""What a loss measures and what training does with it: values at the perfect prediction, and 200 steps on one batch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import Case, draw, every_variant
from claims import descend, facts_of, hard, stated
from losskit.core.card import CATALOGUE

STEPS, RATE = 200, 0.3
# whose lowest value 200 steps from a random start do not find, each with its reason: the table of claims shows them
ENDLESS = {
    "gaussian_nll_loss": "a density has no highest value: a perfect fit of no width",
    "laplace_nll_loss": "a density has no highest value: a perfect fit of no width",
    "beta_nll_loss": "its gradient is not the slope of its value, by its paper",
    "smape_loss": "a prediction of the wrong sign is at its highest value, where it is flat",
    "uniformity_loss": "the best places of a few points on a sphere are a search of their own",
}


def told(name: str, variant: Any, rows: int = 8, seed: int = 0) -> tuple[Case, float | None]:
    """A batch of a loss, and the floor that its card states for it."""
    card = CATALOGUE[name]
    case = hard(draw(card, variant, batch=(rows,), seed=seed))
    return case, None if card.floor is None else stated(card, card.floor, variant, **facts_of(case))


def moving(case: Case) -> dict[str, Tensor]:
    """What training changes: predictions, but not the classes that a teacher listed."""
    return {n: t.detach().clone() for n, t in case.predicted().items() if n != "log_prob"}


def trained(case: Case, enough: float, most: int = STEPS) -> tuple[float, int]:
    """The loss after Adam on the predictions themselves, until ``enough``, and its steps."""
    leaves = {n: t.requires_grad_() for n, t in moving(case).items()}
    adam = torch.optim.Adam(leaves.values(), lr=RATE)
    rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / most)
    last = float(case.value())
    for step in range(most):
        if last <= enough:
            return last, step
        adam.zero_grad()
        case.replaced(**leaves).value().backward()
        adam.step()
        rate.step()
        last = float(case.replaced(**leaves).value().detach())
    return last, most


def lowest(case: Case) -> float:
    """Where a long search ends: second order, or ten times the steps where an option is learned as well."""
    if set(moving(case)) == set(case.predicted()) <= set(case.tensors):
        return descend(case, list(moving(case).values()))
    return trained(case, -float("inf"), 10 * STEPS)[0]


@functools.cache
def with_floor() -> list[tuple[str, Any]]:
    return [(name, variant) for name, variant in every_variant() if told(name, variant)[1] is not None]


def first_of_each(*, floor: bool) -> Iterator[Any]:
    """The first variant of each loss that has a floor, or of each that has none."""
    known = dict(reversed(with_floor()))
    for name, variant in dict(reversed(every_variant())).items():
        if (name in known) == floor:
            yield pytest.param(name, known.get(name, variant), id=name)


@pytest.mark.claim("R1")
@pytest.mark.parametrize(("name", "variant"), with_floor(), ids=lambda given: given if isinstance(given, str) else "")
def test_no_prediction_is_below_the_floor_and_another_than_the_perfect_one_is_above(name: str, variant: Any) -> None:
    case, floor = told(name, variant)
    assert floor is not None
    close = 1e-12 * (1 + abs(floor))
    for seed in range(1, 6):
        other, its = told(name, variant, seed=seed)
        assert its is not None
        assert float(other.value()) >= its - close
    if "zero_at_target" not in CATALOGUE[name].laws:
        assert float(case.value()) > floor  # the perfect one lies at infinity, or is a whole region
        return
    name, target = next(iter(case.predicted())), case.tensors["target"]
    perfect = case.replaced(**{name: target.clone()})
    assert abs(float(perfect.value()) - floor) <= close
    generator = torch.Generator().manual_seed(0)
    for size in (1e-2, 1.0, 10.0):  # away from the target, to the side where the domain goes on
        noise = size * torch.rand(target.shape, generator=generator, dtype=torch.float64) + size / 10
        moved = case.replaced(**{name: target.double() + noise})
        assert bool((moved.value(reduction="none") > floor).all()), size


@pytest.mark.claim("R2")
@pytest.mark.parametrize(("name", "variant"), list(first_of_each(floor=True)))
def test_200_steps_on_one_batch_reach_the_floor_within_1_percent_of_the_way(name: str, variant: Any) -> None:
    case, floor = told(name, variant)
    assert floor is not None
    start = float(case.value())
    end, steps = trained(case, floor + 0.01 * (start - floor))
    assert 0 < steps < STEPS
    assert floor - 1e-9 <= end <= floor + 0.01 * (start - floor)


@pytest.mark.slow  # a search for the lowest value each
@pytest.mark.claim("R2")
@pytest.mark.parametrize(("name", "variant"), list(first_of_each(floor=False)))
def test_200_steps_come_as_low_as_a_long_search_where_no_floor_is_stated(name: str, variant: Any) -> None:
    case, _ = told(name, variant)
    start = float(case.value())
    if name in ENDLESS:
        assert trained(case, start - 1e-3)[0] < start
        return
    if "nonnegative" in CATALOGUE[name].laws and trained(case, 0.01 * start)[0] <= 0.01 * start:
        return
    low = lowest(case)
    enough = low + 0.01 * (start - low)
    assert trained(case, enough)[0] <= enough
