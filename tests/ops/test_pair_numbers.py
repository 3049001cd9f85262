"""The numbers of every row's pairs against all scores at once, whatever the tiles."""

from __future__ import annotations

import pytest
import torch

from harness import same
from losskit.ops.pair_numbers import pair_numbers
from losskit.ops.pair_sets import NOBODY, Who, counted
from losskit.ops.pairs import Pairs


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("memory", [1, 0])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_numbers_are_those_of_all_scores(alike: bool, memory: int, scale: float) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 5, generator=g, dtype=torch.float64) for n in (37, 45))
    row_id, col_id = torch.arange(37) % 5, torch.arange(45) % 6
    row_id[7], col_id[9], row_id[11], y[3] = NOBODY, NOBODY, 99, y[4]
    who = Who(row_id, col_id, torch.arange(37), torch.arange(45) + 3, alike)
    scores, seen = x @ y.T, counted(who)
    own = scores[:, 3].clone()
    found = pair_numbers(Pairs(x, y, who, memory=memory), scale, own, 1e-9)
    hidden = torch.where(seen, scores, -torch.inf)
    share = torch.where(seen.any(1, keepdim=True), hidden * scale, 0).softmax(1)
    entropy = -torch.special.xlogy(share, share).sum(1)
    same(found.number, seen.sum(1))
    same(found.total, torch.where(seen, scores, 0).sum(1), 1e-12)
    same(found.best, hidden.amax(1), 1e-12)
    same(found.lse, torch.where(seen.any(1), torch.logsumexp(hidden * scale, 1), -torch.inf), 1e-12)
    same(found.perplexity, torch.where(seen.any(1), entropy.exp(), 0), 1e-10)
    same(found.above, (seen & (scores > own[:, None] + 1e-9)).sum(1))
    same(found.tied, (seen & ((scores - own[:, None]).abs() <= 1e-9)).sum(1))
    assert found.tied.amax() == (1 if alike else 2)  # columns 3 and 4 are one vector, of other ids


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0)])
def test_without_pairs_nothing_is_counted(n: int, m: int) -> None:
    who = Who(torch.zeros(n).long(), torch.ones(m).long(), torch.zeros(n).long(), torch.ones(m).long(), False)
    found = pair_numbers(Pairs(torch.ones(n, 2), torch.ones(m, 2), who), 1.0)
    assert found.number.tolist() == found.total.tolist() == found.perplexity.tolist() == [0.0] * n
    assert found.lse.tolist() == [-torch.inf] * n
