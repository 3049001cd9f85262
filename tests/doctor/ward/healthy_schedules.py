"""Healthy classifiers again, under every way to drive an optimizer, and as people log them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, MultiStepLR, OneCycleLR

from .healthy_classes import of
from .healthy_data import classes, clouds, drawn, mlp
from .healthy_run import Training, healthy


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023: the sign of a momentum."""

    def __init__(self, params: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            one, two = group["betas"]
            for p in group["params"]:
                if p.grad is not None:
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    p.add_((one * mean + (1 - one) * p.grad).sign(), alpha=-group["lr"])
                    mean.lerp_(p.grad, 1 - two)


def driven(optimizer: type[torch.optim.Optimizer], **options: Any) -> Training:
    """The same task for every optimizer."""
    run = of(classes(noise=0.1))
    run.optimizer = optimizer(run.model.parameters(), **options)
    return run


@healthy
def sgd_with_momentum() -> Training:
    return driven(SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)


@healthy
def plain_sgd() -> Training:
    return driven(SGD, lr=0.1)


@healthy
def adagrad() -> Training:
    return driven(Adagrad, lr=0.03)


@healthy
def rmsprop() -> Training:
    return driven(RMSprop, lr=1e-3)


@healthy
def lion() -> Training:
    return driven(Lion, lr=5e-4)


@healthy
def adamw_with_groups() -> Training:
    """Biases without weight decay and a slower first layer, as in fine-tuning recipes."""
    run = of(classes(noise=0.1))
    named = list(run.model.named_parameters())
    matrices = [p for n, p in named if p.dim() > 1]
    biases = [p for n, p in named if p.dim() == 1]
    slow, still = {"params": matrices[:1], "lr": 1e-3}, {"params": biases, "weight_decay": 0.0}
    run.optimizer = AdamW([slow, {"params": matrices[1:]}, still], 3e-3)
    return run


@healthy
def warm_up_and_cosine() -> Training:
    run = driven(AdamW, lr=5e-3)
    run.steps = 400
    run.scheduler = LambdaLR(
        run.optimizer, lambda t: (t + 1) / 40 if t < 40 else 0.5 * (1 + math.cos(math.pi * min(1.0, (t - 40) / 360)))
    )
    return run


@healthy
def warm_up_from_zero() -> Training:
    """The first step has a learning rate of exactly 0."""
    run = driven(AdamW, lr=5e-3)
    run.scheduler = LambdaLR(run.optimizer, lambda t: min(1.0, t / 100))
    return run


@healthy
def cosine_restarts() -> Training:
    run = driven(SGD, lr=0.1, momentum=0.9)
    run.steps, run.scheduler = 500, CosineAnnealingWarmRestarts(run.optimizer, 100)
    return run


@healthy
def one_cycle() -> Training:
    run = driven(SGD, lr=0.01, momentum=0.9)
    run.scheduler = OneCycleLR(run.optimizer, 0.2, total_steps=run.steps + 1)
    return run


@healthy
def linear_decay_to_zero() -> Training:
    run = driven(AdamW, lr=3e-3)
    run.scheduler = LambdaLR(run.optimizer, lambda t: max(0.0, 1 - t / run.steps))
    return run


@healthy
def step_decay() -> Training:
    run = driven(SGD, lr=0.1, momentum=0.9)
    run.steps, run.scheduler = 400, MultiStepLR(run.optimizer, [200, 300], 0.1)
    return run


@healthy
def accumulation() -> Training:
    run = of(classes(noise=0.1), size=8, accumulate=4)
    run.steps = 200
    return run


@healthy
def clipping() -> Training:
    """Most gradients are clipped, by a factor of a few."""
    return of(classes(noise=0.1), clip=0.5)


@healthy
def brain_float_autocast() -> Training:
    run = of(classes(noise=0.1))

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(model(batch[0]).float(), batch[1])

    run.loss_fn, run.loss = None, loss
    return run


@healthy
def half_precision_with_scaler() -> Training:
    """float16 under a scaler that begins at 2^16, and gradients unscaled before they are clipped."""
    run = of(classes(noise=0.1), clip=1.0)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.float16):
            return F.cross_entropy(model(batch[0]).float(), batch[1])

    run.loss_fn, run.loss, run.scaler = None, loss, torch.amp.GradScaler("cpu")
    return run


@healthy
def scaler_switched_off() -> Training:
    run = of(classes(noise=0.1))
    run.scaler = torch.amp.GradScaler("cpu", enabled=False)
    return run


@healthy
def mean_of_fifty_steps_is_logged() -> Training:
    return of(classes(6000, noise=0.1), log_every=50, steps=1200, evaluate_every=100)


@healthy
def exponential_mean_is_logged() -> Training:
    return of(classes(noise=0.1), smooth=0.95, steps=400)


@healthy
def resumed() -> Training:
    """Saved at step 150 and resumed from there with model and optimizer."""
    run = of(classes(noise=0.1))

    def resume(at: int) -> None:
        if at == 150:
            model, state = copy.deepcopy(run.model.state_dict()), copy.deepcopy(run.optimizer.state_dict())
            run.model.load_state_dict(model)
            run.optimizer.load_state_dict(state)

    run.before_step = resume
    return run


@healthy
def pretrained_start() -> Training:
    """A network that has learned the task continues on other rows of it, gently."""
    run = of(classes(4000, noise=0.05))
    warm = Adam(run.model.parameters(), 3e-3)
    for at in range(300):
        x, y = run.batch(at)
        warm.zero_grad()
        F.cross_entropy(run.model(x), y).backward()
        warm.step()
    run.optimizer, run.from_scratch = AdamW(run.model.parameters(), 3e-4), False
    return run


@healthy
def frozen_backbone() -> Training:
    """A trained body in eval mode without gradients, a new head on it."""
    x, y = clouds(apart=4)
    body, old = mlp(16, 32, hidden=32), nn.Linear(32, 5)
    both = nn.Sequential(body, nn.ReLU(), old)
    warm = Adam(both.parameters(), 3e-3)
    for _ in range(100):
        warm.zero_grad()
        F.cross_entropy(both(x), y).backward()
        warm.step()
    body.requires_grad_(False)
    head = nn.Linear(32, 5)
    model = nn.Sequential(body, nn.ReLU(), head)
    return Training(model, drawn(x, (y + 1) % 5), Adam(head.parameters(), 1e-2), F.cross_entropy, from_scratch=None)


class Adapted(nn.Module):
    """A frozen linear layer with a product of two small matrices beside it (Hu et al. 2021)."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, input: Tensor) -> Tensor:
        return self.base(input) + input @ self.down.T @ self.up.T


@healthy
def low_rank_adapters() -> Training:
    """The factor that starts at 0 keeps the other one's gradient at exactly 0 in the first step."""
    run = pretrained_start()
    x, y = classes(4000, noise=0.05)
    run.batch = drawn(x, y)
    run.evaluate = None
    for i in (0, 2, 4):
        run.model[i] = Adapted(run.model[i])
    run.optimizer = AdamW([p for p in run.model.parameters() if p.requires_grad], 1e-2)
    run.from_scratch = None
    return run
