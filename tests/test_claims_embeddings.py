"""Losses of embeddings: what is said of pairs, triplets and batches in general, as numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import losskit as lk
from largest import Largest

SIMILAR = torch.tensor([0.8, 0.3, 0.1, -0.2], dtype=torch.float64)  # of one query with four keys, the first its own


def rows(n: int, d: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def apart(distance: float) -> tuple[Tensor, Tensor]:
    """Two points on a line."""
    return torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[distance, 0.0]], dtype=torch.float64)


@pytest.mark.claim("R15")
@pytest.mark.parametrize(("same", "distance"), [(1.0, 0.3), (0.0, 0.3), (0.0, 1.2)])
def test_a_pair_costs_half_the_square_of_its_distance_or_of_what_it_lacks_to_the_margin(same: float, distance: float) -> None:
    value = lk.contrastive_loss(*apart(distance), torch.tensor([same]), margin=1.0, distance="euclidean").item()
    wanted = same * distance**2 / 2 + (1 - same) * max(0.0, 1 - distance) ** 2 / 2
    assert value == pytest.approx(wanted, rel=1e-12)
    assert round(value, 3) == {(1.0, 0.3): 0.045, (0.0, 0.3): 0.245, (0.0, 1.2): 0.0}[same, distance]


@pytest.mark.claim("R15")
def test_after_training_pairs_that_are_the_same_are_nearer_than_pairs_that_are_not() -> None:
    torch.manual_seed(0)
    data, labels = rows(64, 8, 0, torch.float32), torch.arange(64) % 4
    first, second = torch.randint(64, (400,)), torch.randint(64, (400,))
    same = (labels[first] == labels[second]).float()
    inputs = torch.cat([data, 0.5 * F.one_hot(labels, 4).float()], 1)
    encoder = nn.Linear(12, 8)

    def distances() -> tuple[float, float]:
        d = (encoder(inputs[first]) - encoder(inputs[second])).norm(dim=-1).detach()
        return d[same == 1].mean().item(), d[same == 0].mean().item()

    near, far = distances()
    assert far < 1.2 * near  # to begin with there is little to see
    adam = torch.optim.Adam(encoder.parameters(), lr=0.02)
    for _ in range(150):
        adam.zero_grad()
        lk.contrastive_loss(encoder(inputs[first]), encoder(inputs[second]), same, margin=1.0, distance="euclidean").backward()
        adam.step()
    near, far = distances()
    assert far > 2 * near


@pytest.mark.claim("R16")
@pytest.mark.parametrize(("near", "far", "wanted"), [(0.4, 0.5, 0.1), (0.2, 0.9, 0.0)])
def test_a_triplet_costs_what_it_lacks_to_the_margin_and_nothing_pulls_once_it_is_met(
    near: float, far: float, wanted: float
) -> None:
    anchor = torch.zeros(1, 2, dtype=torch.float64)
    positive, negative = apart(near)[1].requires_grad_(), apart(far)[1].requires_grad_()
    value = lk.triplet_margin_loss(anchor, positive, negative, margin=0.2)
    assert value.item() == pytest.approx(max(0.0, near - far + 0.2), rel=1e-12) == pytest.approx(wanted)
    slopes = torch.autograd.grad(value, [positive, negative])
    assert [s[0, 0].item() for s in slopes] == ([1.0, -1.0] if wanted else [0.0, 0.0])


@pytest.mark.claim("R17")
@pytest.mark.parametrize(("temperature", "wanted"), [(1.0, 0.9046), (0.5, 0.5595), (0.1, 0.0077)])
def test_info_nce_is_the_softmax_of_the_similarities_of_a_batch(temperature: float, wanted: float) -> None:
    value = lk.cross_entropy(SIMILAR[None] / temperature, torch.tensor([0])).item()
    assert round(value, 4) == wanted
    query, key = rows(9, 5, 0), rows(9, 5, 1)
    scores = F.normalize(query, dim=1) @ F.normalize(key, dim=1).T / temperature
    explicit = -scores.softmax(1).diagonal().log().mean()
    torch.testing.assert_close(lk.info_nce_loss(query, key, temperature=temperature), explicit, rtol=1e-12, atol=1e-14)
    own = torch.eye(4, dtype=torch.float64)[:1]  # the four similarities of the table, as vectors
    keys = torch.stack([s * own[0] + (1 - s**2).sqrt() * torch.eye(4, dtype=torch.float64)[1] for s in SIMILAR])
    table = lk.info_nce_loss(own, keys[:1], negatives=keys[1:], temperature=temperature)
    assert table.item() == pytest.approx(value, rel=1e-12)


@pytest.mark.claim("R17")
@pytest.mark.parametrize("n", [8, 256])
def test_embeddings_that_know_nothing_cost_the_logarithm_of_the_batch(n: int) -> None:
    assert lk.reference("info_nce_loss", batch_size=n).chance == pytest.approx(math.log(n), rel=1e-15)
    value = lk.info_nce_loss(rows(n, 4096, 0), rows(n, 4096, 1), temperature=1.0).item()
    assert value == pytest.approx(math.log(n), rel=0.01)


def largest(n: int) -> int:
    """Of one step of multiple negatives with a batch of ``n``."""
    query, key = (rows(n, 8, seed, torch.float32).requires_grad_() for seed in (0, 1))
    kept: list[int] = []
    with Largest() as seen, torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        value = lk.multiple_negatives_ranking_loss(query, key)
        value.backward()
    assert query.grad is not None
    assert query.grad.any()
    assert max(kept) <= 8 * n  # vectors, not scores
    return seen.elements


@pytest.mark.claim("R18")
def test_four_times_the_batch_takes_no_larger_table_of_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losskit.ops.pair_ops._CPU_MEMORY", 1 << 18)
    small, large = largest(512), largest(2048)
    assert large <= max(small, 8 * 2048) < 2048**2 / 16


@pytest.mark.claim("R34")
def test_every_loss_of_two_towers_takes_the_same_two_tensors_and_learns() -> None:
    names = ("info_nce_loss", "multiple_negatives_ranking_loss", "clip_loss", "siglip_loss", "nt_xent_loss", "vicreg_loss")
    query, key = rows(16, 8, 0).requires_grad_(), rows(16, 8, 1)
    for name in (*names, "barlow_twins_loss"):
        value = getattr(lk, name)(query, key)
        assert value.shape == ()
        assert torch.autograd.grad(value, query)[0].abs().sum() > 0, name
    for name in ("batch_triplet_loss", "supervised_contrastive_loss", "multi_similarity_loss", "circle_loss"):
        value = getattr(lk, name)(query, torch.arange(16) % 4)
        assert torch.autograd.grad(value, query)[0].abs().sum() > 0, name
