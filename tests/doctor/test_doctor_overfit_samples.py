"""Which samples of a batch are learned by heart."""

import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor import check
from losskit.doctor.before.entries import spread_samples

CLASSES = 10


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def sgd(model, lr):
    return torch.optim.SGD(model.parameters(), lr=lr)


def test_a_batch_sorted_by_class_is_tried_with_many_of_its_classes():
    model = perceptron()
    torch.manual_seed(0)
    batch = torch.randn(200, 20), torch.arange(CLASSES).repeat_interleave(20)
    (case,) = check(model, batch, F.cross_entropy, sgd(model, 30.0)).cases
    (found,) = [one for one in case.findings if one.code == "D218"]
    assert found.severity == "error"
    model = perceptron()
    assert len({int(label) for label in spread_samples(batch, 32)[0][1]}) == CLASSES
    assert not check(model, batch, F.cross_entropy, torch.optim.AdamW(model.parameters(), lr=1e-3)).cases[0].findings


def test_the_samples_come_from_all_over_the_batch_in_pairs_of_neighbours():
    batch = {"x": torch.arange(100), "text": [str(i) for i in range(100)], "more": (torch.arange(100.0),)}
    few, count = spread_samples(batch, 32)
    places = few["x"].tolist()
    assert count == len(places) == 32
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] >= 100 - 2 * 100 / 32 - 2
    assert all(b == a + 1 and a % 2 == 0 for a, b in zip(places[::2], places[1::2], strict=True))
    assert few["text"] == [str(i) for i in places]
    assert few["more"][0].tolist() == places
    assert spread_samples(batch, 32)[0]["x"].tolist() == places
    assert spread_samples(batch, 100)[0] is batch


def test_halves_that_belong_together_still_do():
    few, _ = spread_samples(torch.cat([torch.arange(64), torch.arange(64)]), 32)
    assert few[:16].tolist() == few[16:].tolist()
