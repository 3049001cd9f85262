"""A margin that no distance can reach: D706."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from doctor_seen import found, numbers
from losskit.doctor import Monitor

ROWS = torch.randn(3, 16, 8, generator=torch.Generator().manual_seed(0))
UNIT = F.normalize(ROWS, dim=-1)
SAME = torch.arange(16) % 2
ONLY = ("D706",)


@pytest.mark.claim("R16")
@pytest.mark.parametrize(
    ("work", "reach", "floor"),
    [
        (lambda m: losskit.triplet_margin_loss(*ROWS, margin=m, distance="cosine"), 2, lambda m: m - 2),
        (lambda m: losskit.triplet_margin_loss(*UNIT, margin=m), 2, lambda m: m - 2),
        (lambda m: losskit.triplet_margin_loss(*UNIT, margin=m, distance="squared_euclidean"), 4, lambda m: m - 4),
        (lambda m: F.triplet_margin_loss(*UNIT, margin=m), 2, lambda m: m - 2),
        (lambda m: losskit.batch_triplet_loss(ROWS[0], SAME, margin=m), 2, lambda m: m - 2),
        (lambda m: losskit.contrastive_loss(*ROWS[:2], SAME.float(), margin=m), 2, lambda m: (m - 2) ** 2 / 2),
    ],
)
def test_a_margin_beyond_every_distance_is_named_with_the_floor_it_makes(work, reach, floor):
    assert numbers(lambda: work(5.0), "D706", codes=ONLY) == {"margin": 5.0, "reach": reach, "floor": floor(5.0)}
    assert not found(lambda: work(float(reach)), codes=ONLY)


@pytest.mark.parametrize(
    "work",
    [
        lambda: losskit.triplet_margin_loss(*ROWS, margin=5.0),
        lambda: losskit.triplet_margin_loss(*UNIT, margin="soft"),
        lambda: F.triplet_margin_loss(*UNIT, margin=5.0, p=1.0),
        lambda: losskit.batch_triplet_loss(ROWS[0], SAME, margin=5.0, normalize=False),
        lambda: losskit.contrastive_loss(*ROWS[:2], SAME.float(), margin=5.0, distance="euclidean"),
    ],
)
def test_distances_that_may_grow_have_no_reach(work):
    assert not found(work, codes=ONLY)


@pytest.mark.claim("R16")
def test_a_run_that_learns_and_cannot_reach_its_margin_is_told_while_it_trains():
    torch.manual_seed(0)
    centres = 2 * torch.randn(4, 8)

    def trained(margin):
        model = nn.Linear(8, 8)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        with Monitor(model, optimizer, sinks=()) as monitor:
            for _ in range(60):
                own = torch.randint(4, (32,))
                other = (own + torch.randint(1, 4, (32,))) % 4
                rows = [F.normalize(model(centres[k] + 0.1 * torch.randn(32, 8)), dim=-1) for k in (own, own, other)]
                loss = losskit.triplet_margin_loss(*rows, margin=margin)
                optimizer.zero_grad()
                loss.backward()
                monitor.step(loss)
                optimizer.step()
        return [one.code for one in monitor.findings if one.code == "D706"], float(loss.detach())

    codes, low = trained(5.0)
    assert codes == ["D706"]
    assert 3 < low < 4.5  # below the margin: it learns, and 5 - 2 is the end
    assert trained(0.2)[0] == []
