"""A fix speaks of the run's own sizes, or of names where they are not known."""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor import Finding, Monitor, check
from losskit.doctor.finding import rules

HIDDEN, CLASSES = 37, 7


def network(*last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES), *last)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(32, 5), torch.arange(32) % CLASSES


def the(code: str, findings: tuple[Finding, ...]) -> Finding:
    return next(one for top in findings for one in (top, *top.consequences) if one.code == code)


def test_no_rule_speaks_of_a_layer_of_example_sizes() -> None:
    sized = re.compile(r"(Linear|Conv\dd|Embedding|BatchNorm\dd|LayerNorm)\(\d")
    assert [code for code, rule in rules().items() if sized.search(rule.sections["Fix"])] == []


def test_a_softmax_too_many_is_removed_from_the_layer_that_is_there() -> None:
    model = network(nn.Softmax(dim=1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = f"the model ends in nn.Linear({HIDDEN}, {CLASSES}) in place of nn.Linear({HIDDEN}, {CLASSES}), nn.Softmax(dim=1)."
    assert expected in the("D101", check(model, batch(), F.cross_entropy, optimizer, overfit=False).findings).fix
    with Monitor(model, optimizer, F.cross_entropy, sinks=()) as monitor:
        for _ in range(5):
            given = batch()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(given[0]), given[1])
            loss.backward()
            monitor.step(loss, batch=given)
            optimizer.step()
    assert f"{CLASSES}), nn.Softmax(dim=1)." in the("D101", monitor.findings).fix


def test_classes_alone_are_named_where_the_layer_is_not_known() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.table = nn.Linear(5, HIDDEN), nn.Parameter(torch.randn(HIDDEN, 2 * CLASSES))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.body(x) @ self.table)[:, :CLASSES].softmax(1)

    fix = the("D101", check(Tied(), batch(), F.cross_entropy, overfit=False).findings).fix
    assert f"nn.Linear(hidden, {CLASSES})" in fix


def test_an_optimizer_of_another_model_is_made_anew_as_it_was() -> None:
    model = network()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.02)
    model[2] = nn.Linear(HIDDEN, CLASSES)
    fix = the("D204", check(model, batch(), F.cross_entropy, optimizer, overfit=False).findings).fix
    assert fix == "make the optimizer last, after the new 2: optimizer = RMSprop(model.parameters(), lr=0.02)."
    other = torch.optim.RMSprop(network().parameters(), lr=0.02)
    fix = the("D204", check(model, batch(), F.cross_entropy, other, overfit=False).findings).fix
    assert fix == "make the optimizer last, when the model is complete: optimizer = RMSprop(model.parameters(), lr=0.02)."
