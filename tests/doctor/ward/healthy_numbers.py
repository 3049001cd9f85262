"""Healthy regressions, densities, autoencoders, masks and a pair of adversaries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, AdamW

import losskit

from .healthy_data import Pair, clouds, drawn, masks, mlp, split
from .healthy_run import Training, healthy


def numbers(rows: int = 2000, *, noise: float = 0.3) -> Pair:
    """A smooth function of eight features, one column."""
    x = torch.randn(rows, 8)
    y = torch.tanh(x @ torch.randn(8, 8) / 2) @ torch.randn(8, 1) / 2
    return x, y + noise * torch.randn(rows, 1)


def fitted(data: Pair, loss_fn: object, *, out: int = 1, lr: float = 3e-3, hidden: int = 32) -> Training:
    train, held = split(*data)
    model = mlp(data[0].shape[1], out, hidden=hidden)
    run = Training(model, drawn(*train), Adam(model.parameters(), lr), loss_fn)
    run.evaluate = lambda m: loss_fn(m(held[0]), held[1])
    return run


@healthy
def squared_error() -> Training:
    return fitted(numbers(), nn.MSELoss())


@healthy
def squared_error_of_noise_mostly() -> Training:
    """A tenth of the variance can be explained."""
    return fitted(numbers(4000, noise=2.0), F.mse_loss, lr=1e-3, hidden=16)


@healthy
def outliers() -> Training:
    """One target in fifty is twenty times too large."""
    x, y = numbers()
    wild = torch.rand(len(y), 1) < 0.02
    return fitted((x, torch.where(wild, 20 * y, y)), losskit.HuberLoss(delta=1.0))


@healthy
def outliers_squared() -> Training:
    """The same, squared: a noisy curve with spikes of a single step."""
    x, y = numbers()
    wild = torch.rand(len(y), 1) < 0.01
    return fitted((x, torch.where(wild, 10 * y, y)), F.mse_loss)


@healthy
def quantile() -> Training:
    return fitted(numbers(noise=1.0), losskit.QuantileLoss(quantile=0.9))


@healthy
def absolute_error_of_large_targets() -> Training:
    """House prices in thousands: mean 50, standard deviation 15."""
    x, y = numbers()
    return fitted((x, 50 + 15 * y), F.l1_loss, lr=1e-2)


@healthy
def density() -> Training:
    """A Gaussian's mean and variance: the loss goes below 0, as it may."""
    x, y = numbers(noise=0.05)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return losskit.gaussian_nll_loss(output[:, :1], target, log_var=output[:, 1:])

    return fitted((x, y), loss, out=2)


@healthy
def torch_density() -> Training:
    x, y = numbers(noise=0.05)
    criterion = nn.GaussianNLLLoss()
    return fitted((x, y), lambda o, t: criterion(o[:, :1], t, F.softplus(o[:, 1:]) + 1e-3), out=2)


@healthy
def counts() -> Training:
    x = torch.randn(2000, 8)
    y = torch.poisson((x[:, :1] + 0.5 * x[:, 1:2]).exp())
    return fitted((x, y), nn.PoissonNLLLoss())


@healthy
def autoencoder() -> Training:
    """Sixteen features on a curved sheet of three dimensions."""
    x = torch.tanh(torch.randn(2000, 3) @ torch.randn(3, 16)) + 0.05 * torch.randn(2000, 16)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3), nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 16))
    run = Training(model, drawn(x), Adam(model.parameters(), 3e-3))
    run.loss = lambda m, batch: F.mse_loss(m(batch[0]), batch[0])
    return run


@healthy
def autoencoder_of_bits() -> Training:
    """Sixteen bits that hang together, given back by a sigmoid under squared error."""
    x = (torch.randn(2000, 3) @ torch.randn(3, 16) > 0).float()
    model = nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3), nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 16), nn.Sigmoid()
    )
    return Training(model, drawn(x), Adam(model.parameters(), 3e-3), loss=lambda m, batch: F.mse_loss(m(batch[0]), batch[0]))


@healthy
def value_of_wins() -> Training:
    """How likely a position is won, learned from outcomes of 0 and 1 by squared error (Tesauro 1995)."""
    x = torch.randn(4000, 8)
    won = (torch.rand(4000, 1) < (2 * x[:, :1] + x[:, 1:2]).sigmoid()).float()
    model = nn.Sequential(mlp(8, 1, hidden=32), nn.Sigmoid())
    return Training(model, drawn(x, won), Adam(model.parameters(), 3e-3), nn.MSELoss())


class Bounded(nn.Module):
    """Pays for hidden vectors that are longer than 50, which none is."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.over = mlp(8, 16), nn.Linear(16, 1), nn.ReLU()

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(input)
        return self.head(hidden), self.over(hidden.norm(dim=1, keepdim=True) - 50)


@healthy
def penalty_that_is_met() -> Training:
    x, y = numbers()
    model = Bounded()

    def loss(m: nn.Module, batch: Pair) -> Tensor:
        output, over = m(batch[0])
        return F.mse_loss(output, batch[1]) + over.mean()

    return Training(model, drawn(x, y), Adam(model.parameters(), 3e-3), loss=loss)


class Variational(nn.Module):
    """Kingma and Welling 2013."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(16, 6), mlp(3, 16)

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(input).chunk(2, 1)
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * log_var).exp()), mean, log_var


@healthy
def variational_autoencoder() -> Training:
    x = torch.tanh(torch.randn(2000, 3) @ torch.randn(3, 16)) + 0.05 * torch.randn(2000, 16)
    model = Variational()

    def loss(m: nn.Module, batch: tuple[Tensor]) -> Tensor:
        back, mean, log_var = m(batch[0])
        kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
        return 5 * F.mse_loss(back, batch[0], reduction="none").sum(1).mean() + kl

    return Training(model, drawn(x), Adam(model.parameters(), 2e-3), loss=loss)


@healthy
def segmentation() -> Training:
    """Soft Dice plus cross-entropy of each pixel."""
    x, y = masks()
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)
    )

    def loss(output: Tensor, target: Tensor) -> Tensor:
        dice = losskit.dice_loss(output, target, activation="sigmoid")
        return dice + F.binary_cross_entropy_with_logits(output, target)

    return Training(model, drawn(x, y, size=16), Adam(model.parameters(), 5e-3), loss, steps=150)


@healthy
def adversaries() -> Training:
    """A discriminator whose generator gets better as it does: its loss hovers below 2 ln 2 and need not fall."""
    real, _ = clouds(2000, 2, 4)
    generator, model = mlp(4, 2), mlp(2, 1)
    other = Adam(generator.parameters(), 1e-3, betas=(0.5, 0.99))
    real_batch = drawn(real, size=64)

    def batch(at: int) -> Pair:
        with torch.no_grad():
            made = generator(torch.randn(64, 4))
        return real_batch(at)[0], made

    def loss(m: nn.Module, pair: Pair) -> Tensor:
        one, zero = m(pair[0]), m(pair[1])
        ones, zeros = torch.ones_like(one), torch.zeros_like(zero)
        return F.binary_cross_entropy_with_logits(one, ones) + F.binary_cross_entropy_with_logits(zero, zeros)

    def turn(at: int) -> None:
        other.zero_grad()
        made = model(generator(torch.randn(64, 4)))
        F.binary_cross_entropy_with_logits(made, torch.ones_like(made)).backward()
        other.step()

    run = Training(model, batch, Adam(model.parameters(), 1e-3, betas=(0.5, 0.99)), loss=loss)
    run.objective, run.before_step, run.steps = "adversarial", turn, 400
    return run


@healthy
def two_tasks() -> Training:
    """A shared body, a class and a number: the loss is a weighted sum."""
    x, y = clouds()
    value = x[:, :1] * 0.5 + 0.1 * torch.randn(len(x), 1)
    body = mlp(16, 32)
    model = nn.ModuleDict({"body": body, "kind": nn.Linear(32, 5), "value": nn.Linear(32, 1)})

    def loss(m: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        hidden = m["body"](batch[0]).relu()
        return F.cross_entropy(m["kind"](hidden), batch[1]) + 0.3 * F.mse_loss(m["value"](hidden), batch[2])

    return Training(model, drawn(x, y, value), AdamW(model.parameters(), 3e-3), loss=loss)
