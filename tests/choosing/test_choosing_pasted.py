"""Code that is pasted as it is printed: targets in thousands, lists from a query column, and what is said first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from choosing_made import lists
from torch import Tensor

import losskit
from losskit import Candidate


def prices() -> tuple[Tensor, Tensor]:
    """Prices around 180,000 that follow an input; of every 40 one is ten times too high."""
    torch.manual_seed(0)
    x = torch.randn(800, dtype=torch.float64)
    price = 180_000 + 50_000 * x + 26_000 * torch.randn(800, dtype=torch.float64)
    price[::40] *= 10
    return x, price


def among(name: str) -> tuple[Candidate, Tensor]:
    x, price = prices()
    advice = losskit.choose(price, inputs=x[:, None])
    assert advice.first is not None
    return next(c for c in (advice.first, *advice.alternatives, *advice.avoid) if c.loss == name), price


def pull(code: str, price: Tensor) -> Tensor:
    """The gradient on each row's prediction where all of them are at the centre."""
    prediction = torch.zeros_like(price, requires_grad=True)
    space: dict[str, Any] = {"prediction": prediction, "target": price}
    exec(code, space)
    return torch.autograd.grad(space["loss"], prediction)[0].abs()


@pytest.mark.parametrize("loss", ["huber_loss", "cauchy_loss"])
def test_pasted_code_weighs_slips_no_more_than_the_good_rows(loss: str) -> None:
    if loss == "cauchy_loss":
        torch.manual_seed(0)
        price = 180_000 + 30_000 * torch.distributions.Cauchy(0.0, 1.0).sample((800,)).double()
        advice = losskit.choose(price)
        one = next(c for c in advice.alternatives if c.loss == loss)
    else:
        one, price = among(loss)
    felt, apart = pull(one.code, price), (price - price.median()).abs()
    good = felt[apart.argsort()[700:780]]
    assert float(felt[apart.argmax()]) <= 1.01 * float(good.max())
    squared = pull(among("mse_loss")[0].code, price)
    assert float(squared[apart.argmax()]) > 5 * float(squared[apart.argsort()[700:780]].max())


def test_code_and_numbers_to_expect_are_of_the_standardised_target() -> None:
    one, price = among("huber_loss")
    assert "target = (target - centre) / spread" in one.code
    space: dict[str, Any] = {"prediction": torch.zeros_like(price), "target": price}
    exec(one.code, space)
    standard = (price - space["centre"]) / space["spread"]
    assert space["spread"] == pytest.approx(1.4826 * float((price - price.quantile(0.5)).abs().quantile(0.5)), rel=1e-3)
    delta = one.options["delta"] / space["spread"]
    assert one.constant == pytest.approx(losskit.reference("huber_loss", target=standard, delta=delta).constant)
    assert float(space["loss"]) == pytest.approx(float(losskit.huber_loss(torch.zeros_like(price), standard, delta=delta)))


def test_targets_around_1_are_left_as_they_are_and_a_log_link_never_takes_the_centre_away() -> None:
    advice = losskit.choose(torch.randn(500, generator=torch.Generator().manual_seed(0)))
    assert advice.first is not None
    assert "spread" not in advice.first.code
    torch.manual_seed(0)
    amounts = losskit.choose(1e5 * torch.randn(2000).exp())
    assert amounts.first is not None
    assert amounts.first.loss == "gamma_deviance_loss"
    assert not any("centre" in one.code for one in (amounts.first, *amounts.alternatives, *amounts.avoid))
    assert any("start the bias of log_mean" in w for w in amounts.warnings)


def test_several_targets_with_outliers_are_divided_by_their_spread() -> None:
    torch.manual_seed(0)
    target = torch.randn(400, 2, dtype=torch.float64) * torch.tensor([1.0, 1000.0])
    target[::20] *= 50
    huber = next(c for c in losskit.choose(target).alternatives if c.loss == "huber_loss")
    felt = torch.zeros_like(target, requires_grad=True)
    space: dict[str, Any] = {"prediction": felt, "target": target}
    exec(huber.code, space)
    (gradient,) = torch.autograd.grad(space["loss"], felt)
    spread = space["spread"]
    assert float((gradient * spread).abs().max()) == pytest.approx(1.345 / target.numel())


def test_the_code_of_a_ranking_makes_its_offsets_from_the_query_column() -> None:
    made = lists(5, size=4, many=60)
    advice = losskit.choose(**made)
    for one in (advice.first, *advice.alternatives):
        assert one is not None
        assert "column 'query'" in one.code
        relevance = made["data"]["relevance"].float()
        space: dict[str, Any] = {"scores": torch.randn(240), "relevance": relevance, "ids": made["data"]["query"]}
        exec(one.code, space)
        assert space["offsets"].tolist() == list(range(0, 241, 4))


@pytest.mark.parametrize("name", ["position", "Rank"])
def test_where_an_item_was_shown_is_no_input_of_a_ranking(name: str) -> None:
    made = lists(2)
    made["data"][name] = torch.arange(2000) % 10
    assert any(f'"{name}" seems to be where the item was shown' in w for w in losskit.choose(**made).warnings)
    assert not any("was shown" in w for w in losskit.choose(**lists(2)).warnings)


def test_the_strongest_reason_comes_first() -> None:
    torch.manual_seed(0)
    values = torch.distributions.StudentT(5.0).sample((3000,)).double()
    values[:50] *= 200
    advice = losskit.choose(values)
    assert advice.first is not None
    assert advice.first.reason.index("standard deviations off") < advice.first.reason.index("times those of a normal")
    evenly = losskit.choose(torch.where(torch.rand(3000) < 0.5, 1.0, 5.0) * torch.randn(3000))
    assert evenly.first is not None
    assert evenly.first.reason.startswith("The tails")


def test_ids_with_a_letter_are_names_and_no_misspelt_numbers() -> None:
    refusal = losskit.choose(
        {"customer_id": [f"C{i:05d}" for i in range(200)], "x": torch.randn(200)}, target="customer_id"
    ).refusal
    assert "names or ids" in refusal
    assert "holds numbers" not in refusal
