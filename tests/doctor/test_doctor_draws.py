"""A loss that draws anew at each call, and a rate that only clipping holds: what one batch learned by heart does not show."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor import check
from losskit.doctor.before.draws import other_draw
from losskit.doctor.step import Step

CLASSES = 10


def net(outputs=CLASSES):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, outputs))


def batch():
    torch.manual_seed(1)
    return torch.randn(64, 20), torch.randint(CLASSES, (64,))


def found(model, given, loss_fn=None, optimizer=None, **options):
    report = check(model, given, loss_fn, optimizer or torch.optim.Adam(model.parameters(), 1e-3), **options)
    assert not report.cases[0].faults
    return {one.code: one for one in report.findings}


def shuffled(output, target):
    return F.cross_entropy(output, target[torch.randperm(len(target))])


def shuffled_by_hand(output, target):
    picked = output.log_softmax(1).gather(1, target[torch.randperm(len(target))][:, None])
    return -picked.mean()


def test_labels_that_are_shuffled_anew_are_not_learned_with_new_random_numbers():
    one = found(net(), batch(), shuffled)["D217"]
    assert one.severity == "error"
    assert one.hit.numbers["made"] < 0.5
    assert one.hit.numbers["another draw"] != pytest.approx(one.hit.numbers["start"], rel=1e-3)
    assert "shuffle" in one.fix


def test_the_same_by_hand_is_a_warning():
    given = batch()
    one = found(net(2), (given[0], given[1] % 2), shuffled_by_hand)["D217"]
    assert one.severity == "warning"


def flipped(output, target):
    odd = torch.rand(len(target)) < 0.3
    return F.cross_entropy(output, torch.where(odd, torch.randint(CLASSES, target.shape), target))


def masked(output, target):
    return F.cross_entropy(output, torch.where(torch.rand(len(target)) < 0.5, -100, target))


def sampled(output, target):
    others = output[:, torch.randint(CLASSES, (5,))]
    return F.cross_entropy(torch.cat([output.gather(1, target[:, None]), others], 1), torch.zeros_like(target))


@pytest.mark.parametrize("loss_fn", [flipped, masked, sampled])
def test_draws_that_leave_something_to_learn_are_healthy(loss_fn):
    assert found(net(), batch(), loss_fn) == {}


def test_random_outputs_are_no_matter_of_the_loss():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = net()

        def forward(self, x):
            return self.body(x + torch.randn_like(x))

    model, given = Noisy(), batch()
    step = Step(model, F.cross_entropy)
    torch.manual_seed(0)
    assert other_draw(step, given, 0, float(step(given).detach())) is None


def test_a_loss_without_draws_is_the_same_again():
    model, given = net(), batch()
    step = Step(model, F.cross_entropy)
    assert other_draw(step, given, 0, float(step(given).detach())) is None
    other = other_draw(Step(model, shuffled), given, 0, 0.1)
    assert other is not None
    assert other.constant == pytest.approx(entropy_of(given[1]))


def entropy_of(labels):
    shares = labels.bincount(minlength=CLASSES) / len(labels)
    return float(-torch.xlogy(shares, shares).sum())


def test_a_rate_of_ten_is_named_although_clipped_steps_learn_the_batch():
    model, (noise, y) = net(), batch()
    given = 1.5 * torch.randn(CLASSES, 20)[y] + noise, y
    one = found(model, given, F.cross_entropy, torch.optim.SGD(model.parameters(), lr=10.0))["D218"]
    assert one.severity == "error"
    length = float(sum(p.detach().square().sum() for p in model.parameters())) ** 0.5
    assert one.hit.numbers["step"] == pytest.approx(10.0 / length, rel=1e-4)


def test_a_recurrent_net_whose_loop_may_clip_is_only_noted():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.RNN(4, 64, nonlinearity="relu", batch_first=True), nn.Linear(64, 1)

        def forward(self, x):
            return self.head(self.cell(x)[0][:, -1])

    torch.manual_seed(0)
    model, x = Net(), torch.randn(32, 60, 4)
    with torch.no_grad():
        model.cell.weight_hh_l0.copy_(1.1 * torch.eye(64))
    given = x, x[:, :, 0].sum(1, keepdim=True) / 8
    said = found(model, given, F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.05))
    assert {code: one.severity for code, one in said.items() if code == "D218"} == {"D218": "info"}
