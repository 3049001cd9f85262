"""D7xx: embeddings that say nothing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import losskit
from losskit.doctor import Monitor
from losskit.doctor.report import Report

from .cases import after, before, during, json_lines, mlp, rounded, sick, stream, task


def _adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


class Towers(nn.Module):
    """Two towers, one for each side of a pair."""

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.left, self.right = mlp(20, 32), mlp(20, 32)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def forward(self, pair: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(self.left(pair[:, 0]), dim=1), F.normalize(self.right(pair[:, 1]), dim=1)


def _pairs(rows: int = 4096, related: bool = True) -> Tensor:
    x = torch.randn(rows, 20)
    other = x + 0.3 * torch.randn(rows, 20) if related else torch.randn(rows, 20)
    return torch.stack([x, other], 1)


def _info_nce(out: tuple[Tensor, Tensor], _: Tensor) -> Tensor:
    return losskit.info_nce_loss(*out, temperature=0.1)


@sick("D702")
def captions_shuffled_against_the_images() -> Report:
    pairs = _pairs(20_000, related=False)
    model = Towers()
    return during(model, stream((pairs, pairs), 400), _info_nce, _adam(model))


@sick("D702", "D403")
def log_of_shuffled_captions() -> Report:
    pairs = _pairs(20_000, related=False)
    model = Towers()
    optimizer = _adam(model)
    rows = []
    for step, (pair, _) in enumerate(stream((pairs, pairs), 500)):
        optimizer.zero_grad()
        loss = _info_nce(model(pair), pair)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "loss": rounded(loss)})
    return after(json_lines(rows), refs={"loss": "info_nce_loss", "batch_size": 64})


@sick("D702", "D403")
def contrastive_loss_by_hand_at_chance() -> Report:
    pairs = _pairs(20_000, related=False)
    model = Towers()

    def loss(out: tuple[Tensor, Tensor], _: Tensor) -> Tensor:
        scores = out[0] @ out[1].T / 0.1
        labels = torch.arange(len(scores))
        return (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2

    return during(model, stream((pairs, pairs), 400), loss, _adam(model))


class Triplets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(20, 16)

    def forward(self, three: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, p, n = self.body(three).unbind(1)
        return a, p, n


def _triplets(x: Tensor, y: Tensor) -> Tensor:
    """Anchor, positive, negative of 20,000 draws."""
    by_class = [x[y == c] for c in range(10)]
    rows = []
    for _ in range(2000):
        c, d = torch.randperm(10)[:2].tolist()
        pick = torch.randint(100, (3,))
        rows.append(torch.stack([by_class[c][pick[0]], by_class[c][pick[1]], by_class[d][pick[2]]]))
    return torch.stack(rows)


@sick("D701", "D703")
def everything_mapped_to_one_point() -> Report:
    x, y = task(4096, apart=0.3)
    model = Triplets()
    three = _triplets(x, y)

    def hardest(out: tuple[Tensor, Tensor, Tensor], _: Tensor) -> Tensor:
        a, p, n = out
        far = torch.cdist(a, p).amax(1)
        near = torch.cdist(a, n).amin(1)
        return F.relu(far - near + 0.2).mean()

    return during(model, stream((three, three), 600), hardest, _adam(model, 1e-2))


@sick("D703", "D701", "D403")
def triplets_at_the_margin() -> Report:
    x, y = task(4096)
    model = Triplets()
    with torch.no_grad():
        model.body[2].weight.mul_(1e-4)
        model.body[2].bias.zero_()
    three = _triplets(x, y[torch.randperm(len(y))])
    return during(
        model,
        stream((three, three), 300),
        lambda out, _: F.triplet_margin_loss(*out),
        torch.optim.SGD(model.parameters(), lr=1e-3),
    )


@sick("D703", "D403", "D505")
def log_of_triplets_at_the_margin() -> Report:
    x, y = task(4096)
    model = Triplets()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with torch.no_grad():
        model.body[2].weight.mul_(1e-4)
        model.body[2].bias.zero_()
    three = _triplets(x, y[torch.randperm(len(y))])
    lines = []
    for step, (rows, _) in enumerate(stream((three, three), 300)):
        optimizer.zero_grad()
        loss = F.triplet_margin_loss(*model(rows), margin=0.5)
        loss.backward()
        optimizer.step()
        lines.append(f"step {step} loss: {float(loss):.4f}")
    return after("\n".join(lines), "train.log", refs={"loss": "triplet_margin_loss", "margin": 0.5})


@sick("D704")
def the_same_caption_many_times() -> Report:
    pairs = _pairs(64)
    pairs[:, 1] = pairs[:4, 1].repeat(16, 1)
    model = Towers()
    return before(model, (pairs, pairs), _info_nce, _adam(model))


@sick("D705")
def temperature_runs_into_its_clamp() -> Report:
    pairs = _pairs()
    model = Towers()
    optimizer = _adam(model, 3e-2)
    with Monitor(model, optimizer, sinks=(), step=_clip) as monitor:
        for batch, _ in stream((pairs, pairs), 600):
            optimizer.zero_grad()
            loss = _clip(model, batch)
            loss.backward()
            monitor.step(loss, batch=batch)
            optimizer.step()
            with torch.no_grad():
                model.scale.clamp_(0, math.log(20.0))
    return monitor.report()


def _clip(model: nn.Module, batch: Tensor) -> Tensor:
    left, right = model(batch)
    return losskit.clip_loss(left, right, logit_scale=model.scale.exp())
