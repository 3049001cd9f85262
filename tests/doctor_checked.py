"""A small classifier, its batch and its optimizer, and what a check says of them."""

import torch
from torch import nn

from losskit.doctor import check
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.examine import examine

CLASSES = 5


def perceptron(outputs=CLASSES):
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, outputs))


def points(n=24):
    return torch.randn(n, 6), torch.randint(CLASSES, (n,))


def checked(model, batch, loss_fn=None, optimizer=None, **options):
    """Findings by code, consequences too, without the longest probe."""
    (case,) = check(model, batch, loss_fn, optimizer, overfit=False, **options).cases
    assert (case.faults, case.problem) == ((), "")
    return {one.code: one for top in case.findings for one in (top, *top.consequences)}


def loud(found):
    return {code for code, one in found.items() if one.severity != "info"}


def sgd(*modules, lr=0.1, **options):
    return torch.optim.SGD([p for m in modules for p in m.parameters()], lr=lr, **options)


def asked(codes, phase="during", settings=None, **sections):
    """Findings of hand-made evidence, by code."""
    found, faults = examine(Evidence(phase, settings or Settings(), **sections), codes=codes)
    assert not faults
    return {one.code: one for top in found for one in (top, *top.consequences)}
