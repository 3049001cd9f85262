"""What is wrong with a call by itself."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from doctor_seen import found, numbers
from losskit.doctor.evidence.wiring import Wiring

X, Y = torch.randn(32, 20, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 10
MODEL = nn.Linear(20, 10)


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


@pytest.mark.claim("R32")
@pytest.mark.parametrize("loss", [F.cross_entropy, losskit.cross_entropy])
@pytest.mark.parametrize(
    "end", [nn.Softmax(dim=1), nn.Sequential(nn.Softmax(dim=1), nn.Dropout(0.0)), nn.Softmax(dim=-1).bfloat16()]
)
def test_a_softmax_before_a_loss_of_scores_is_named_with_the_floor_it_makes(loss, end):
    hit = numbers(lambda: loss(end(MODEL(X)), Y), "D101")
    assert hit["floor"] == pytest.approx(math.log(math.e + 9) - 1)
    smooth = numbers(lambda: loss(end(MODEL(X)), Y, label_smoothing=0.1), "D101")
    assert smooth["floor"] == pytest.approx(float(F.cross_entropy(torch.eye(10), torch.arange(10), label_smoothing=0.1)))
    assert "D101" in found(lambda: losskit.focal_loss(end(MODEL(X)), Y))


def test_a_softmax_that_is_clamped_is_one_and_so_are_probabilities_without_a_graph():
    assert "D101" in found(lambda: F.cross_entropy(MODEL(X).softmax(1).clamp(1e-7, 1), Y))
    assert "D101" in found(lambda: F.cross_entropy(MODEL(X).softmax(1).detach(), Y))


@pytest.mark.parametrize(
    "scores",
    [
        lambda: MODEL(X),
        lambda: MODEL(X).log_softmax(1),
        lambda: MODEL(X).softmax(1).log(),
        lambda: MODEL(X.softmax(1)),
        lambda: torch.zeros(32, 10, requires_grad=True) + 0,
        lambda: torch.full((32, 10), 0.1, requires_grad=True) * 1,
        lambda: 5 * MODEL(X).softmax(1),
        lambda: MODEL(X) + MODEL(X).softmax(1),
    ],
)
def test_scores_are_no_softmax(scores):
    assert not found(lambda: F.cross_entropy(scores(), Y))


def test_scores_before_a_loss_of_log_probabilities_are_named():
    hit = numbers(lambda: F.nll_loss(MODEL(X), Y), "D102")
    assert hit["log-sum-exp"] == pytest.approx(float(MODEL(X).detach().logsumexp(1).median()), rel=1e-5)
    said = found(lambda: F.nll_loss(MODEL(X).softmax(1), Y))["D102"]
    assert "without their logarithm" in said.hit.said
    assert not found(lambda: F.nll_loss(MODEL(X).log_softmax(1), Y))


def test_probabilities_out_of_range_variances_and_swapped_arguments_are_named():
    x, y = torch.tensor([0.5, 1.5, -0.5]), torch.tensor([0.0, 1.0, 1.0])
    assert numbers(lambda: F.binary_cross_entropy(x, y), "D102") == {"outside": 2, "first": 1.5, "values": 3}
    assert "D102" in found(lambda: F.gaussian_nll_loss(x, y, var=x))
    assert "D102" in found(lambda: F.poisson_nll_loss(x, y, log_input=False))
    assert "D102" in found(lambda: F.binary_cross_entropy_with_logits(y, MODEL(X)[:3, 0]))
    assert not found(lambda: F.binary_cross_entropy(x.clamp(0, 1), y))
    reverse = MODEL(X).softmax(1)
    assert not found(lambda: F.kl_div(X[:, :10].log_softmax(1), reverse, reduction="batchmean"))
    assert not found(lambda: F.mse_loss(y, MODEL(X)[:3, 0]))
    assert not found(lambda: F.binary_cross_entropy(torch.tensor([float("nan")]), torch.ones(1)))


@pytest.mark.claim("R32")
def test_a_sigmoid_before_a_loss_of_scores_is_named_with_the_floor_it_makes():
    y = (torch.arange(32) % 4 == 0).float()
    hit = numbers(lambda: F.binary_cross_entropy_with_logits(torch.sigmoid(MODEL(X)[:, 0]), y), "D103")
    assert hit["floor"] == pytest.approx(0.25 * math.log(1 + math.exp(-1)) + 0.75 * math.log(2))
    assert "D103" in found(lambda: losskit.binary_focal_loss(torch.sigmoid(MODEL(X)[:, 0]), y))
    assert not found(lambda: F.binary_cross_entropy_with_logits(MODEL(X)[:, 0], y))
    assert not found(lambda: F.binary_cross_entropy_with_logits(torch.zeros(32, requires_grad=True) + 0, y))
    assert not found(lambda: F.binary_cross_entropy_with_logits(MODEL(X)[:, 0] * torch.sigmoid(MODEL(X)[:, 1]), y))
    assert not found(lambda: F.binary_cross_entropy(torch.sigmoid(MODEL(X)[:, 0]), y))


def test_a_column_against_a_row_is_named_with_the_loss_that_was_meant():
    y = torch.randn(32)
    column = nn.Linear(20, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own word about it
        finding = found(lambda: F.mse_loss(column(X), y))["D106"]
    assert finding.hit.numbers == {"input": 32, "target": 32, "compared": 32 * 32}
    assert f"{float(F.mse_loss(column(X)[:, 0].detach(), y)):.4g}" in finding.hit.said
    assert "D106" in found(lambda: F.binary_cross_entropy_with_logits(column(X), (y > 0).float()))
    assert "D106" in found(lambda: losskit.mse_loss(column(X), y))
    assert not found(lambda: F.mse_loss(column(X), y[:, None]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not found(lambda: F.mse_loss(column(X), torch.zeros(1)))


def test_a_column_against_a_row_is_seen_in_a_loss_written_by_hand():
    y, column = torch.randn(32), nn.Linear(20, 1)
    batch = (X, y)
    finding = found(lambda: ((column(X) - y) ** 2).mean(), batch=batch)["D106"]
    assert finding.hit.numbers == {"rows": 32, "compared": 32 * 32}
    assert finding.hit.where.startswith("test_doctor_calls.py:")
    assert "D106" in found(lambda: ((column(X)[:, 0] - y[:, None]) ** 2).mean(), batch=(X, y[:, None]))


def test_tables_of_all_pairs_that_are_meant_are_left_alone():
    y, column = torch.randn(32), nn.Linear(20, 1)
    batch = (X, y)

    def score():
        return column(X).squeeze(-1)

    assert not found(lambda: F.softplus(score()[:, None] - score()[None, :]).mean(), batch=batch)
    assert not found(lambda: ((score()[:, None] - y) ** 2).min(1).values.mean(), batch=batch)
    assert not found(lambda: (column(X) - torch.linspace(0, 1, 32)).exp().mean(), batch=batch)
    assert not found(lambda: ((score() - y) ** 2).mean(), batch=batch)


def test_classes_read_along_another_axis_are_named():
    x = torch.randn(4, 10, 20)
    y = torch.randint(0, 10, (4, 10))
    assert numbers(lambda: F.cross_entropy(MODEL(x), y), "D108") == {"axis": 1, "other axis": 2, "entries": 10}
    rows = nn.LSTM(20, 20, batch_first=True)
    assert "D108" in found(lambda: F.cross_entropy(MODEL(rows(x)[0]), y))
    raised = found(lambda: F.cross_entropy(MODEL(x[:, :7]), y[:, :7]))["D108"]
    assert raised.severity == "error"
    assert raised.hit.numbers["other classes"] == 10
    assert not found(lambda: F.cross_entropy(MODEL(x).transpose(1, 2), y))
    assert not found(lambda: losskit.cross_entropy(MODEL(x), y))
    assert list(found(lambda: F.cross_entropy(MODEL(x).transpose(1, 2), y + 9))) == ["D104"]
    assert not found(lambda: F.cross_entropy(nn.Conv1d(20, 10, 1)(x.transpose(1, 2)), y))


def test_a_softmax_over_samples_is_named():
    hit = numbers(lambda: F.nll_loss(MODEL(X).log_softmax(0), Y), "D109")
    assert hit["samples"] == 32
    assert hit["columns' gap to 1"] < 1e-5 < hit["rows' gap to 1"]
    assert not found(lambda: F.nll_loss(MODEL(X).log_softmax(-1), Y))
    even = torch.eye(4, requires_grad=True) * 0  # rows and columns of its softmax sum to 1
    assert not found(lambda: F.nll_loss(even.softmax(0).log(), torch.arange(4)))


def test_one_class_is_named():
    one = nn.Linear(20, 1)
    assert numbers(lambda: F.cross_entropy(one(X), torch.zeros(32, dtype=torch.long)), "D110")["loss"] == 0
    assert "D110" in found(lambda: F.binary_cross_entropy(one(X).softmax(1), torch.ones(32, 1)))
    assert not found(lambda: F.cross_entropy(nn.Linear(20, 2)(X), torch.zeros(32, dtype=torch.long)))
    assert not found(lambda: F.binary_cross_entropy_with_logits(one(X), torch.ones(32, 1)))


def test_kl_div_of_wrong_numbers_is_named():
    p, q = MODEL(X), torch.randn(32, 10).softmax(-1)
    assert "without their logarithm" in found(lambda: F.kl_div(p.softmax(-1), q, reduction="batchmean"))["D113"].hit.said
    assert found(lambda: F.kl_div(p, q, reduction="batchmean"))["D113"].severity == "error"
    assert numbers(lambda: F.kl_div(q, p.log_softmax(-1), reduction="batchmean"), "D113")["negative"] == 320
    with pytest.warns(UserWarning, match="batchmean"):
        mean = found(lambda: F.kl_div(p.log_softmax(-1), q, reduction="mean"))["D113"]
    assert mean.severity == "warning"
    assert mean.hit.numbers["factor"] == 10
    assert not found(lambda: F.kl_div(p.log_softmax(-1), q, reduction="batchmean"))
    assert not found(lambda: F.kl_div(p.log_softmax(-1), q.log(), reduction="batchmean", log_target=True))
    assert not found(lambda: F.kl_div(p, q * 0.3, reduction="batchmean"))  # a part of a distribution: who knows
    heat = p.reshape(4, 8, 10).flatten(1)
    maps = torch.rand(4, 80).softmax(-1).reshape(4, 8, 10)
    assert not found(lambda: F.kl_div(heat.log_softmax(-1).reshape(4, 8, 10), maps, reduction="batchmean"))


def test_targets_that_ctc_cannot_align_are_named_with_the_frames_they_need():
    logs = torch.randn(6, 3, 5, requires_grad=True).log_softmax(-1)  # (T, N, C)
    targets = torch.tensor([[1, 1, 1, 2], [1, 2, 3, 4], [2, 2, 2, 2]])
    hit = numbers(lambda: F.ctc_loss(logs, targets, [6, 6, 6], [4, 4, 4]), "D114")
    assert hit == {"samples": 3, "too short": 1, "first": 2, "frames": 6, "needed": 4 + 3}
    row = torch.cat([targets[0], targets[2]])
    assert numbers(lambda: F.ctc_loss(logs[:, :2], row, [6, 6], [4, 4], zero_infinity=True), "D114")["needed"] == 7
    assert numbers(lambda: F.ctc_loss(logs, targets, [6, 6, 6], [4, 4, 3], blank=4), "D114")["with a blank"] == 1
    assert not found(lambda: F.ctc_loss(logs, targets, [6, 6, 6], [4, 4, 3]))


def test_weights_that_cannot_be_meant_are_named():
    scores, y = MODEL(X), Y % 9
    counts = torch.bincount(y, minlength=10)
    hit = numbers(lambda: F.cross_entropy(scores, y, weight=1 / counts), "D118")
    assert (hit["bad"], hit["first place"], hit["first value"]) == (1, 9, math.inf)
    assert "D118" in found(lambda: F.cross_entropy(scores, y, weight=torch.ones(9)))
    some = found(lambda: F.cross_entropy(scores, y, weight=torch.ones(10).index_fill(0, torch.tensor([0]), 0)))["D118"]
    assert some.severity == "info"
    every = found(lambda: F.cross_entropy(scores, y, weight=(counts == 0).float()))["D118"]
    assert every.severity == "error"
    assert not found(lambda: F.cross_entropy(scores, y, weight=1 / counts.clamp(min=1)))


def test_a_sum_that_nothing_divides_is_named():
    sgd = Wiring((), loss_requires_grad=True, optimizer="SGD")
    adam = Wiring((), loss_requires_grad=True, optimizer="AdamW")

    def loss(**more):
        return F.cross_entropy(MODEL(X), Y, **more)

    finding = found(lambda: loss(reduction="sum"), wiring=sgd)["D119"]
    assert (finding.severity, finding.hit.numbers) == ("warning", {"samples": 32, "terms": 32, "slope": 1})
    assert found(lambda: loss(reduction="none").sum(), wiring=sgd)["D119"].hit.numbers["slope"] == 32
    assert found(lambda: loss(reduction="sum"), wiring=adam)["D119"].severity == "info"
    assert found(lambda: loss(reduction="sum"))["D119"].severity == "info"
    assert not found(lambda: loss(reduction="sum") / 32, wiring=sgd)
    assert not found(lambda: loss(reduction="none").mean(), wiring=sgd)
    assert not found(loss, wiring=sgd)
