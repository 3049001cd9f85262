"""Healthy models of all kinds learn one batch, or are not accused; and the trial leaves no trace."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from losskit.doctor.before.overfit import overfit_one_batch
from losskit.doctor.evidence import Evidence
from losskit.doctor.examine import examine
from losskit.doctor.step import Step

CODES = ("D217", "D218")
CLASSES = 10


def perceptron(outputs=CLASSES):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, outputs))


def labels(n=40):
    return torch.randint(CLASSES, (n,), generator=torch.Generator().manual_seed(1))


def sgd(model, lr):
    return torch.optim.SGD(model.parameters(), lr=lr)


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.5)),
            *(
                nn.Conv2d(16, 32, 3, 2),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(32, CLASSES),
            ),
        )

    def forward(self, x):
        return self.body(x)


def image_case():
    model = Image()
    return Step(model, F.cross_entropy), (torch.randn(40, 3, 10, 10), labels()), sgd(model, 0.05)


def language_case():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(30, 16), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), nn.Linear(16, 30))
    ids = torch.randint(30, (8, 9))
    step = Step(model, lambda out, target: F.cross_entropy(out.flatten(0, 1), target.flatten()))
    return step, (ids, ids.roll(1, 1)), torch.optim.AdamW(model.parameters(), lr=3e-4)


def embedding_case():
    torch.manual_seed(0)
    model, x = nn.Linear(20, 16), torch.randn(24, 20)
    step = Step(model, step=lambda m, b: losskit.clip_loss(m(b[0]), m(b[1])))
    return step, (x, x + torch.randn(24, 20)), torch.optim.Adam(model.parameters(), lr=1e-3)


def noisy_regression_case():
    torch.manual_seed(0)
    model, x = nn.Sequential(perceptron(outputs=1), nn.Flatten(0)), torch.randn(64, 20)
    return Step(model, F.huber_loss), (x, x[:, 0] + 50 + 3 * torch.randn(64)), torch.optim.Adam(model.parameters(), lr=1e-3)


def drawn_noise_case():
    torch.manual_seed(0)
    model = perceptron(outputs=20)

    def step(model, x):
        noise = torch.randn_like(x)
        return F.mse_loss(model(x + noise), noise)

    return Step(model, step=step), torch.randn(32, 20), torch.optim.Adam(model.parameters(), lr=1e-3)


@pytest.mark.parametrize("case", [image_case, language_case, embedding_case, noisy_regression_case, drawn_noise_case])
def test_healthy_models_of_all_kinds_are_silent(case):
    step, batch, optimizer = case()
    seen = overfit_one_batch(step, batch, optimizer, floor=0.0, budget_s=30.0, seed=0)
    assert seen.adam.steps > 0
    assert examine(Evidence("before", overfit=seen), codes=CODES) == ((), ())


def test_the_trial_leaves_no_trace():
    model = Image()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = Step(model, F.cross_entropy)
    batch = torch.randn(8, 3, 10, 10), labels(8)
    step(batch).backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))

    def everything():
        tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
        tensors += [value for state in optimizer.state.values() for value in state.values()] + [torch.get_rng_state()]
        return [tensor.clone() for tensor in tensors]

    before = everything()
    overfit_one_batch(step, batch, optimizer, floor=0.0, budget_s=2.0, seed=0)
    assert all(map(torch.equal, everything(), before))
    assert not calls
    assert scheduler.last_epoch == 0
    assert model.training
    assert all(module.training for module in model.modules())
