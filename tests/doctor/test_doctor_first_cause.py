"""A run that blew up has one cause: divergence and the operation that was not finite are one finding, the earlier first."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monitored import CLASSES, FEATURES, network

from losskit.doctor import Finding, Monitor
from losskit.doctor.examine import fold
from losskit.doctor.finding import Hit, rules

SPREAD = ("D303", "D304")


def made(code: str, step: int) -> Finding:
    return Finding(rules()[code], Hit(f"{code} at {step}", {"step": float(step)}, step=step))


@pytest.mark.parametrize("code", SPREAD)
@pytest.mark.parametrize("cause", ["D501", "D309"])
def test_what_is_not_finite_after_a_divergence_follows_from_it(cause: str, code: str) -> None:
    (found,) = fold([made(code, 90), made(cause, 40)])
    assert found.code == cause
    assert [one.code for one in found.consequences] == [code]
    assert found.severity == "error"


@pytest.mark.parametrize("code", SPREAD)
def test_a_divergence_after_what_was_not_finite_follows_from_that(code: str) -> None:
    (found,) = fold([made("D501", 90), made(code, 40)])
    assert found.code == code
    assert [one.code for one in found.consequences] == ["D501"]


def test_growing_gradients_a_divergence_and_its_nan_are_one_finding() -> None:
    (found,) = fold([made("D303", 73), made("D501", 43), made("D309", 42)])
    assert found.code == "D309"
    assert sorted(one.code for one in found.consequences) == ["D303", "D501"]


def test_a_run_that_is_watched_as_it_blows_up_is_told_once() -> None:
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=30.0)
    centres = 3 * torch.randn(CLASSES, FEATURES)
    with Monitor(model, optimizer, F.cross_entropy, sinks=()) as monitor:
        for _ in range(150):
            y = torch.randint(CLASSES, (32,))
            batch = centres[y] + torch.randn(32, FEATURES), y
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            monitor.step(loss, batch=batch)
            optimizer.step()
    assert not bool(loss.isfinite())
    loud = [one for one in monitor.findings if one.severity != "info"]
    below = [one.code for one in loud[0].consequences]
    assert [one.code for one in loud] == ["D501"], [(f.code, f.hit.said) for f in loud]
    assert set(below) & set(SPREAD)
