"""Healthy runs written as people write them: hand-made losses, teachers, penalties, sparse weights, odd batches."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, SparseAdam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from .healthy_classes import of
from .healthy_data import Pair, classes, clouds, drawn, images, mlp
from .healthy_numbers import numbers
from .healthy_run import Training, healthy


@healthy
def log_probabilities() -> Training:
    """A log-softmax in the model and NLLLoss, as in old tutorials."""
    run = of(classes(), loss_fn=nn.NLLLoss(), evaluate=None)
    run.model.append(nn.LogSoftmax(dim=1))
    return run


@healthy
def probabilities() -> Training:
    """A sigmoid in the model and BCELoss."""
    x, y = classes(kinds=2)
    model = nn.Sequential(mlp(16, 1), nn.Sigmoid(), nn.Flatten(0))
    return Training(model, drawn(x, y.float()), Adam(model.parameters(), 3e-3), nn.BCELoss())


@healthy
def mixed_up_rows() -> Training:
    """Mixup: targets are probabilities, and the loss stays high."""
    run = of(clouds(apart=5))
    plain = run.batch

    def batch(at: int) -> Pair:
        x, y = plain(at)
        share, other = torch.distributions.Beta(0.4, 0.4).sample(), torch.randperm(len(x))
        soft = F.one_hot(y, 5).float()
        return share * x + (1 - share) * x[other], share * soft + (1 - share) * soft[other]

    run.batch = batch
    return run


@healthy
def tagging() -> Training:
    """A class for each of twelve places, in torch's layout (N, C, T), some of them ignored."""
    x = torch.randn(800, 12, 8)
    y = (x @ torch.randn(8, 6)).argmax(2)
    y[torch.rand(800, 12) < 0.3] = -100
    model = mlp(8, 6)
    run = Training(model, drawn(x, y, size=16), Adam(model.parameters(), 3e-3), steps=200)
    run.loss = lambda m, b: F.cross_entropy(m(b[0]).transpose(1, 2), b[1])
    return run


@healthy
def sum_over_pixels() -> Training:
    """Squared errors summed over features and divided by the rows, by hand."""
    x = torch.tanh(torch.randn(2000, 3) @ torch.randn(3, 16))
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3), nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 16))
    run = Training(model, drawn(x), Adam(model.parameters(), 2e-3))
    run.loss = lambda m, b: F.mse_loss(m(b[0]), b[0], reduction="sum") / len(b[0])
    return run


@healthy
def flat_regression() -> Training:
    """Outputs squeezed to (N,), targets (N,), error by hand."""
    x, y = numbers()
    model = mlp(8, 1)
    run = Training(model, drawn(x, y[:, 0]), AdamW(model.parameters(), 3e-3))
    run.loss = lambda m, b: ((m(b[0]).squeeze(1) - b[1]) ** 2).mean()
    return run


@healthy
def forecast() -> Training:
    """The next value of a noisy sine from twenty before, by an LSTM."""
    time, phase = torch.arange(21.0), 6.28 * torch.rand(1500, 1)
    wave = torch.sin(0.6 * time + phase) + 0.1 * torch.randn(1500, 21)

    class Forecast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTM(1, 16, batch_first=True), nn.Linear(16, 1)

        def forward(self, input: Tensor) -> Tensor:
            return self.head(self.cell(input)[0][:, -1])

    model = Forecast()
    return Training(
        model, drawn(wave[:, :-1, None], wave[:, -1:]), Adam(model.parameters(), 5e-3), nn.MSELoss(), steps=150, clip=1.0
    )


class Bootstrap(nn.Module):
    """Grill et al. 2020: a student predicts what its own moving average says of another view."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
        self.head = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def forward(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            said = self.teacher(two)
        return self.head(self.student(one)), said

    @torch.no_grad()
    def follow(self) -> None:
        for old, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            old.lerp_(new, 0.02)


@healthy
def moving_teacher() -> Training:
    x, _ = clouds(2000)
    model = Bootstrap()

    def loss(m: Bootstrap, batch: tuple[Tensor]) -> Tensor:
        mine, said = m(*(batch[0] + 0.5 * torch.randn_like(batch[0]) for _ in range(2)))
        return 2 - 2 * F.cosine_similarity(mine, said).mean()

    run = Training(model, drawn(x, size=64), Adam(model.parameters(), 1e-3), loss=loss)
    run.before_step = lambda _: model.follow()
    return run


@healthy
def critic_with_penalty() -> Training:
    """Gulrajani et al. 2017: a gradient inside the loss, whose value is negative and rises again as the generator learns."""
    real, _ = clouds(2000, 2, 4)
    generator, model = mlp(4, 2), mlp(2, 1)
    other, real_batch = Adam(generator.parameters(), 1e-3, betas=(0.0, 0.9)), drawn(real, size=32)

    def loss(m: nn.Module, pair: Pair) -> Tensor:
        share = torch.rand(len(pair[0]), 1)
        between = (share * pair[0] + (1 - share) * pair[1]).requires_grad_()
        slope = torch.autograd.grad(m(between).sum(), between, create_graph=True)[0]
        return m(pair[1]).mean() - m(pair[0]).mean() + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()

    def batch(at: int) -> Pair:
        return real_batch(at)[0], generator(torch.randn(32, 4)).detach()

    def turn(at: int) -> None:
        if at % 5 == 0:
            other.zero_grad()
            (-model(generator(torch.randn(32, 4))).mean()).backward()
            other.step()

    run = Training(model, batch, Adam(model.parameters(), 1e-3, betas=(0.0, 0.9)), loss=loss)
    run.objective, run.before_step = "adversarial", turn
    return run


@healthy
def policy_gradient() -> Training:
    """REINFORCE on a contextual bandit: the loss has no meaning of its own and hovers around 0."""
    hidden = torch.randn(6, 4)
    model = mlp(6, 4)

    def batch(_: int) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.randn(64, 6)
        with torch.no_grad():
            done = torch.multinomial(model(x).softmax(1), 1)[:, 0]
        return x, done, ((x @ hidden).argmax(1) == done).float()

    def loss(m: nn.Module, b: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        chosen = F.log_softmax(m(b[0]), 1).gather(1, b[1][:, None])[:, 0]
        return -((b[2] - b[2].mean()) * chosen).mean()

    return Training(model, batch, Adam(model.parameters(), 3e-3), loss=loss, objective="adversarial")


@healthy
def sparse_embedding() -> Training:
    """A table of which each batch touches a few rows, with sparse gradients."""
    table = torch.randn(200, 4)
    model = nn.Sequential(nn.Embedding(200, 8, sparse=True), nn.Flatten(), nn.Linear(24, 1))
    ids = torch.randint(0, 200, (3000, 3))
    target = table[ids].sum(1) @ torch.randn(4, 1) / 4

    class Both(torch.optim.Optimizer):
        """One of the two for each kind of gradient, behind one face."""

        def __init__(self) -> None:
            super().__init__(model.parameters(), {"lr": 1e-2})
            self.parts = (SparseAdam(model[0].parameters(), 1e-2), Adam(model[2].parameters(), 1e-2))

        def step(self, closure: Any = None) -> None:
            for part in self.parts:
                part.step()

    return Training(model, drawn(ids, target, size=64), Both(), nn.MSELoss())


@healthy
def checkpointed_layers() -> Training:
    """Activations computed again in backward, and a norm on the weights."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.utils.parametrizations.weight_norm
            self.layers = nn.ModuleList(nn.Sequential(layer(nn.Linear(16, 16)), nn.ReLU()) for _ in range(3))
            self.head = nn.Linear(16, 5)

        def forward(self, input: Tensor) -> Tensor:
            for one in self.layers:
                input = checkpoint(one, input, use_reentrant=False)
            return self.head(input)

    run = of(clouds(apart=4))
    run.model, run.steps = Deep(), 200
    run.optimizer = AdamW(run.model.parameters(), 3e-3)
    return run


@healthy
def averaged_weights() -> Training:
    """The evaluation is that of a moving average of the weights."""
    run = of(classes(noise=0.1), lr=1e-2, evaluate_every=15)
    mean = AveragedModel(run.model, multi_avg_fn=get_ema_multi_avg_fn(0.95))
    plain = run.evaluate
    run.before_step = lambda _: mean.update_parameters(run.model)
    run.evaluate = lambda _: plain(mean.eval())
    return run


@healthy
def rows_from_a_loader() -> Training:
    """Batches of torch's DataLoader with names beside them, in a mapping; the last batch of an epoch is short."""
    x, y = clouds(500, apart=3)
    loader = DataLoader(TensorDataset(x, y), 32, shuffle=True)
    stream = iter(())

    def batch(_: int) -> dict[str, Any]:
        nonlocal stream
        found = next(stream, None)
        if found is None:
            stream = iter(loader)
            found = next(stream)
        return {"pixels": found[0], "label": found[1], "name": [f"row {i}" for i in range(len(found[0]))], "fold": 3}

    model = mlp(16, 5)
    run = Training(model, batch, AdamW(model.parameters(), 3e-3))
    run.loss = lambda m, b: F.cross_entropy(m(b["pixels"]), b["label"])
    return run


@healthy
def long_after_it_has_learned() -> Training:
    """Three thousand steps, two thirds of them at the entropy of the labels."""
    x = torch.randn(6000, 6)
    y = torch.bernoulli((x @ torch.randn(6) - 0.5).sigmoid())
    model = nn.Sequential(nn.Linear(6, 1), nn.Flatten(0))
    return Training(model, drawn(x, y, size=64), SGD(model.parameters(), 0.1), nn.BCEWithLogitsLoss(), steps=3000)


@healthy
def patches() -> Training:
    """A small vision transformer with a token of its own for the class."""

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.cls = nn.Conv2d(1, 16, 2, 2), nn.Parameter(torch.zeros(1, 1, 16))
            self.places = nn.Parameter(0.02 * torch.randn(1, 17, 16))
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True, norm_first=True)
            self.head = nn.Linear(16, 4)

        def forward(self, input: Tensor) -> Tensor:
            x = self.embed(input).flatten(2).transpose(1, 2)
            return self.head(self.layer(torch.cat((self.cls.expand(len(x), 1, 16), x), 1) + self.places)[:, 0])

    x, y = images()
    model = Patches()
    return Training(model, drawn(x, y, size=16), AdamW(model.parameters(), 3e-3), F.cross_entropy, steps=200)
