"""A live loss beside what the best constant would have cost the same batches, and outputs that fall into one point."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from doctor_helpers_levels import a_run, curve
from losskit.doctor import Monitor
from losskit.doctor.during.targets import Targets
from losskit.doctor.evidence import Evidence
from losskit.doctor.evidence.run import Reading
from losskit.doctor.examine import examine
from losskit.doctor.levels_constant import constant_of_run, less_the_targets

Loss = Callable[..., Tensor]


def perceptron(features: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, out))


def trained(model: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss, lr: float, steps: int, size: int = 64) -> Monitor:
    optimizer = torch.optim.SGD(model.parameters(), lr)
    with Monitor(model, optimizer, loss_fn, sinks=()) as monitor:
        for _ in range(steps):
            rows = torch.randint(len(x), (size,))
            optimizer.zero_grad()
            loss = loss_fn(model(x[rows]), y[rows])
            loss.backward()
            monitor.step(loss, batch=(x[rows], y[rows]))
            optimizer.step()
    return monitor


def alarms(monitor: Monitor) -> dict[str, str]:
    return {one.code: one.severity for one in monitor.report().findings if one.severity != "info"}


@pytest.mark.parametrize("loss_fn", [F.mse_loss, F.cross_entropy, F.binary_cross_entropy_with_logits])
def test_the_cost_of_the_best_constant_is_the_loss_of_that_constant(loss_fn: Loss) -> None:
    torch.manual_seed(0)
    seen: list[Tensor] = []
    x = torch.randn(32, 3)
    with Monitor(nn.Linear(3, 3), sinks=()) as monitor:
        for _ in range(4):
            if loss_fn is F.cross_entropy:
                y = torch.randint(3, (32,)).clamp_min(torch.randint(3, (32,)))
            else:
                y = (torch.rand(32, 3) < 0.2).float()
            seen.append(y)
            out = monitor.model(x)
            monitor.step(loss_fn(out, y), batch=(x, y))
    cost = constant_of_run(monitor.run)
    assert cost is not None
    for step in range(4):
        known = torch.cat(seen[: step + 1])
        if loss_fn is F.cross_entropy:
            best = (known.bincount(minlength=3) / len(known)).log().expand(32, 3)
        else:
            mean = known.mean(0)
            best = (mean if loss_fn is F.mse_loss else mean.logit()).expand(32, 3)
        assert float(cost.values[step]) == pytest.approx(float(loss_fn(best, seen[step])), rel=1e-5)


def test_targets_that_no_batch_entry_holds_or_that_are_not_the_whole_loss_have_no_cost() -> None:
    x, y = torch.randn(8, 3), torch.randn(8, 3)
    for loss_fn in (
        lambda out, target: F.mse_loss(out, 2 * target),
        lambda out, target: F.mse_loss(out, target) + out.abs().mean(),
        lambda out, target: F.mse_loss(out, target, reduction="sum"),
    ):
        with Monitor(nn.Linear(3, 3), sinks=()) as monitor:
            monitor.step(loss_fn(monitor.model(x), y), batch=(x, y))
        assert constant_of_run(monitor.run) is None
    assert not Targets().series


@pytest.mark.parametrize(("name", "form"), [("accuracy", "csv"), ("accuracy", "live"), ("mse_loss", "csv")])
def test_a_column_of_a_log_that_is_called_like_it_is_none(name: str, form: str) -> None:
    values = 2.3 + 0.01 * torch.randn(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    run = a_run(values, curve(values, "metric", name=f"best constant of {name}"), facts={"C": 10}, reading=Reading(form))
    assert constant_of_run(run) is None
    found, faults = examine(Evidence("after", run=run))
    assert faults == ()
    assert [one.code for one in found] == ["D403"]


def test_a_regression_on_unrelated_inputs_stands_at_the_variance_of_its_targets() -> None:
    torch.manual_seed(1)
    x, y = torch.randn(20_000, 8), 3 * torch.randn(20_000, 1)
    monitor = trained(perceptron(8, 1), x, y, F.mse_loss, 0.01, 400)
    assert alarms(monitor) == {"D403": "warning"}
    run = monitor.run
    losses = run.main("train_loss")
    assert losses is not None
    found = less_the_targets(run, losses.steps, losses.values)
    assert found is not None
    level, smooth = found
    assert level.value == pytest.approx(9.0, rel=0.03)
    assert float(smooth[100:].std()) < 0.4 * float(losses.values[100:].std())


def test_where_the_standstill_is_in_doubt_no_improvement_is_still_sure() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(20_000, 8), 3 * torch.randn(20_000, 1)
    found = alarms(trained(perceptron(8, 1), x, y, F.mse_loss, 0.01, 400))
    assert found.keys() & {"D403", "D505"}
    assert found.keys() <= {"D403", "D505"}


def test_a_regression_that_explains_a_tenth_of_the_variance_is_silent() -> None:
    torch.manual_seed(0)
    x = torch.randn(20_000, 8)
    y = 3 * (0.1**0.5 * x[:, :1] + 0.9**0.5 * torch.randn(20_000, 1))
    assert alarms(trained(perceptron(8, 1), x, y, F.mse_loss, 0.01, 400)) == {}


def test_one_class_for_everything_is_named_where_the_first_batch_has_that_class_alone() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(20_000, 20), (torch.rand(20_000) < 0.02).long()
    y[:2000] = 0
    model = perceptron(20, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Monitor(model, optimizer, F.cross_entropy, sinks=()) as monitor:
        for step in range(900):
            rows = torch.randint(2000 if step == 0 else len(x), (64,))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            monitor.step(loss, batch=(x[rows], y[rows]))
            optimizer.step()
    first, *rest = monitor.report().findings
    assert first.code == "D606"
    assert [one.code for one in rest] == ["D117"]


def test_a_rare_class_that_gets_higher_scores_is_no_collapse() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(20_000, 20), (torch.rand(20_000) < 0.05).long()
    x[:, :4] += 0.7 * y[:, None]
    assert alarms(trained(perceptron(20, 2), x, y, F.cross_entropy, 0.1, 600)) == {}


def by_hand(pull: bool) -> Loss:
    """A triplet loss; with ``pull`` its hardest negatives are those of the whole batch, which draws everything together."""

    def loss(out: tuple[Tensor, ...], _: Tensor) -> Tensor:
        a, p, n = out
        if pull:
            return F.relu(torch.cdist(a, p).amax(1) - torch.cdist(a, n).amin(1) + 0.2).mean()
        return F.relu((a - p).norm(dim=1) - (a - n).norm(dim=1) + 0.2).mean()

    return loss


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = perceptron(20, 16)

    def forward(self, three: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.body(three).unbind(1))


@pytest.mark.parametrize(("pull", "expected"), [(True, {"D701": "warning"}), (False, {})])
def test_outputs_at_one_point_are_named_under_a_loss_by_hand(pull: bool, expected: dict[str, str]) -> None:
    torch.manual_seed(0)
    anchors = torch.randn(2000, 20)
    three = torch.stack([anchors, anchors + 0.5 * torch.randn(2000, 20), torch.randn(2000, 20)], 1)
    model, loss_fn = Towers(), by_hand(pull)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2 if pull else 1e-3)
    with Monitor(model, optimizer, loss_fn, every=5, sinks=()) as monitor:
        for _ in range(400 if pull else 150):
            batch = three[torch.randint(2000, (64,))]
            optimizer.zero_grad()
            loss = loss_fn(model(batch), batch)
            loss.backward()
            monitor.step(loss, batch=(batch, batch))
            optimizer.step()
    assert {code: one for code, one in alarms(monitor).items() if code == "D701"} == expected


def test_outputs_as_close_as_their_targets_are_no_collapse() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2000, 20), 300 + 1e-3 * torch.randn(2000, 5)
    monitor = trained(perceptron(20, 5), x, y, lambda out, target: ((out - target) ** 2).mean(), 1e-3, 400)
    assert all(not look.outputs for look in monitor._looks.kept)
    assert "D701" not in alarms(monitor)
