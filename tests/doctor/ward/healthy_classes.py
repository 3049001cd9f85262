"""Healthy classifiers: noise, imbalance, floors, small and large data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

import losskit

from .healthy_data import Pair, classes, clouds, drawn, images, mlp, split
from .healthy_run import Training, healthy


def of(data: Pair, *, lr: float = 3e-3, size: int = 32, drop: float = 0.0, **more: object) -> Training:
    """A network with Adam, cross-entropy and an evaluation on held-out rows."""
    train, held = split(*data)
    kinds = int(data[1].max()) + 1
    model = mlp(data[0].shape[1], kinds, drop=drop)
    run = Training(model, drawn(*train, size=size), Adam(model.parameters(), lr), F.cross_entropy)
    run.evaluate = lambda m: F.cross_entropy(m(held[0]), held[1])
    run.facts = {"num_classes": kinds}
    for name, value in more.items():
        setattr(run, name, value)
    return run


@healthy
def noisy_labels() -> Training:
    return of(classes(noise=0.3))


@healthy
def small_batches() -> Training:
    return of(classes(), size=4, steps=600)


@healthy
def high_entropy() -> Training:
    """The classes overlap so much that the loss falls from 2.3 to 1.9 only."""
    return of(classes(4000, kinds=10, sharp=1.2), lr=2e-3, steps=350)


@healthy
def label_smoothing() -> Training:
    return of(clouds(apart=6), loss_fn=nn.CrossEntropyLoss(label_smoothing=0.1), facts={"num_classes": 5, "label_smoothing": 0.1})


@healthy
def losskit_smoothing() -> Training:
    return of(clouds(apart=5), loss_fn=losskit.CrossEntropyLoss(label_smoothing=0.05))


@healthy
def loss_goes_to_zero() -> Training:
    return of(clouds(apart=9), steps=500)


@healthy
def tiny_data() -> Training:
    """Sixteen rows, all of them in every batch."""
    x, y = clouds(16, kinds=3)
    model = mlp(16, 3)
    return Training(model, lambda _: (x, y), Adam(model.parameters(), 3e-3), F.cross_entropy)


@healthy
def heavy_dropout() -> Training:
    """Held-out loss below the training loss, which has half of its units switched off."""
    return of(classes(sharp=5), drop=0.5)


@healthy
def noisy_evaluation() -> Training:
    """Forty rows are held out, other ones each time."""
    x, y = classes(sharp=4)

    def evaluate(model: nn.Module) -> Tensor:
        rows = torch.randint(1600, 2000, (40,))
        return F.cross_entropy(model(x[rows]), y[rows])

    return of((x, y), evaluate=evaluate, evaluate_every=10)


@healthy
def early_stopping() -> Training:
    """Few rows: the run stops three evaluations after the best."""
    return of(classes(700, sharp=4), patience=2, evaluate_every=15, lr=2e-3)


@healthy
def raw_features() -> Training:
    """Features from 0 to 255, which a batch-norm in front takes care of."""
    x, y = classes()
    run = of(((x * 40 + 128).clamp(0, 255).round(), y))
    run.model = nn.Sequential(nn.BatchNorm1d(16), run.model)
    run.optimizer = Adam(run.model.parameters(), 3e-3)
    return run


@healthy
def large_features() -> Training:
    """Features with a standard deviation of 10 and a mean of 5: it starts high and trains."""
    x, y = classes()
    return of((10 * x + 5, y), lr=1e-3)


@healthy
def curriculum() -> Training:
    """Hard rows come in at step 200, as was said."""
    easy, hard = clouds(apart=6), classes(noise=0.2)
    first, second = drawn(*easy), drawn(*hard)
    model = mlp(16, 5)
    run = Training(model, lambda at: first(at) if at < 200 else second(at), Adam(model.parameters(), 3e-3), F.cross_entropy)
    run.steps, run.events, run.facts = 450, ((200, "hard rows"),), {"num_classes": 5}
    return run


@healthy
def multi_label() -> Training:
    x = torch.randn(2000, 16)
    y = (torch.rand(2000, 6) < (2 * x @ torch.randn(16, 6) / 4 - 1).sigmoid()).float()
    model = mlp(16, 6)
    return Training(model, drawn(x, y), AdamW(model.parameters(), 3e-3), nn.BCEWithLogitsLoss())


def rare(share: float = 0.01, rows: int = 6000) -> Pair:
    """Positives are one in a hundred and shifted by four standard deviations in four features."""
    y = (torch.rand(rows) < share).float()
    x = torch.randn(rows, 16)
    x[:, :4] += 2 * y[:, None]
    return x, y


@healthy
def one_in_a_hundred() -> Training:
    """Starts at ln 2, falls to the entropy of the prior within steps and learns on below it."""
    x, y = rare()
    model = mlp(16, 1)
    run = Training(model, drawn(x, y, size=256), Adam(model.parameters(), 3e-3))
    run.loss = lambda m, batch: F.binary_cross_entropy_with_logits(m(batch[0])[:, 0], batch[1])
    run.steps = 250
    return run


@healthy
def focal_on_imbalance() -> Training:
    x, y = rare(0.03)
    model = mlp(16, 1)
    run = Training(model, drawn(x, y, size=128), Adam(model.parameters(), 3e-3))
    run.loss = lambda m, batch: losskit.binary_focal_loss(m(batch[0])[:, 0], batch[1], gamma=2.0, alpha=0.25)
    return run


@healthy
def weighted_classes() -> Training:
    """Five classes, the largest forty times the smallest, weighted by their inverse counts."""
    x, y = clouds(4000, apart=4)
    keep = torch.rand(4000) < torch.tensor([1.0, 0.5, 0.25, 0.1, 0.05])[y]
    x, y = x[keep], y[keep]
    counts = torch.bincount(y, minlength=5)
    return of((x, y), loss_fn=nn.CrossEntropyLoss(weight=len(y) / (5 * counts)), size=64)


@healthy
def multi_class_hinge() -> Training:
    return of(clouds(apart=5), loss_fn=nn.MultiMarginLoss(), evaluate=None, facts={})


@healthy
def convolutions_with_batch_norm() -> Training:
    """Batches of eight."""
    x, y = images()
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    run = Training(model, drawn(x[:400], y[:400], size=8), SGD(model.parameters(), 0.05, momentum=0.9), F.cross_entropy)
    run.evaluate, run.steps, run.facts = lambda m: F.cross_entropy(m(x[400:]), y[400:]), 250, {"num_classes": 4}
    return run


@healthy
def distillation() -> Training:
    """A student learns a teacher's softened probabilities."""
    x, y = clouds(apart=3)
    teacher, model = mlp(16, 5, hidden=64), mlp(16, 5, hidden=16)
    taught = Adam(teacher.parameters(), 1e-2)
    for _ in range(60):
        taught.zero_grad()
        F.cross_entropy(teacher(x), y).backward()
        taught.step()

    def loss(m: nn.Module, batch: Pair) -> Tensor:
        with torch.no_grad():
            soft = (teacher(batch[0]) / 2).softmax(1)
        log_p = F.log_softmax(m(batch[0]) / 2, 1)
        return 4 * F.kl_div(log_p, soft, reduction="batchmean") + 0.5 * F.cross_entropy(m(batch[0]), batch[1])

    return Training(model, drawn(x, y), Adam(model.parameters(), 3e-3), loss=loss)


@healthy
def mixed_up_in_the_step() -> Training:
    """Mixup drawn where the loss is computed: the model is given mixed rows, and mixes none itself."""
    run = of(clouds(apart=5), loss_fn=None)

    def loss(m: nn.Module, b: Pair) -> Tensor:
        x, y = b
        share, other = torch.distributions.Beta(0.4, 0.4).sample(), torch.randperm(len(x))
        output = m(share * x + (1 - share) * x[other])
        return share * F.cross_entropy(output, y) + (1 - share) * F.cross_entropy(output, y[other])

    run.loss = loss
    return run
