"""Batches of sparse tensors: no probe fails for want of rows."""

import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor import check
from losskit.doctor.before.dependence import look_at_dependence
from losskit.doctor.step import Step


def test_a_sparse_batch_is_checked_as_far_as_it_can_be():
    class Sparse(nn.Linear):
        def forward(self, input):
            return torch.sparse.mm(input, self.weight.t()) + self.bias

    torch.manual_seed(0)
    input = (torch.rand(80, 20) > 0.7).float()
    model = nn.Sequential(Sparse(20, 16), nn.ReLU(), nn.Linear(16, 3))
    report = check(model, (input.to_sparse(), (2 * input[:, 0]).long()), F.cross_entropy)
    assert "healthy" in str(report)
    assert "fault" not in str(report)
    assert "a sparse tensor has no rows" in look_at_dependence(Step(model, F.cross_entropy), (input.to_sparse(), input)).why_not
