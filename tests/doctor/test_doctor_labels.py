"""What is wrong with the labels of a batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from doctor_seen import MINE, found, numbers
from losskit.doctor.before.facts import look_at_batch
from losskit.doctor.evidence import Evidence
from losskit.doctor.examine import examine
from losskit.doctor.finding import rules

IGNORED = -100


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


def scores(*shape):
    return torch.randn(*shape, requires_grad=True) * 1


def test_a_batch_is_its_tensors_by_their_paths():
    tokenizer = {"pad_token_id": 0, "eos_token_id": 2, "vocab_size": 50}
    made = {"x": {"mask": torch.ones(4, 3), "ids": torch.zeros(4, 3, dtype=torch.long)}, "y": [torch.zeros(4), "name", None]}
    batch = look_at_batch(made, tokenizer)
    assert list(batch.tensors) == ["x.mask", "x.ids", "y.0"]
    assert batch.samples == 4
    assert batch.tokenizer == {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": None, "vocab_size": 50}
    made["x"]["again"] = made
    assert look_at_batch(made).samples == 4
    assert look_at_batch(torch.zeros(7, 2)).samples == 7
    assert look_at_batch((torch.tensor(1.0),)).samples == 0


def test_labels_that_start_at_one_are_out_of_range_and_the_fix_says_so():
    y = torch.arange(40) % 10 + 1
    finding = found(lambda: F.cross_entropy(scores(40, 10), y))["D104"]
    assert finding.hit.numbers == {"wrong": 4, "labels": 40, "classes": 10, "lowest": 10, "highest": 10}
    assert "target - 1" in finding.fix
    assert not found(lambda: F.cross_entropy(scores(40, 10), y - 1))


@pytest.mark.parametrize("loss", [F.cross_entropy, losskit.cross_entropy, losskit.focal_loss])
def test_a_value_for_unknown_is_out_of_range_until_it_is_ignored(loss):
    y = torch.tensor([1, 2, 255, 255])
    finding = found(lambda: loss(scores(4, 10), y))["D104"]
    assert finding.hit.numbers["wrong"] == 2
    assert "ignore_index=255" in finding.fix
    assert not found(lambda: loss(scores(4, 10), y, ignore_index=255))


def test_binary_labels_out_of_range_and_zeros_for_signs_are_named():
    signs = torch.tensor([-1.0, 1.0, 1.0, -1.0])
    assert numbers(lambda: F.binary_cross_entropy_with_logits(scores(4), signs), "D104")["outside"] == 2
    assert numbers(lambda: F.soft_margin_loss(scores(4), (signs + 1) / 2), "D104") == {"zeros": 2, "values": 4}
    assert not found(lambda: F.soft_margin_loss(scores(4), signs))
    assert not found(lambda: F.binary_cross_entropy_with_logits(scores(4), (signs + 1) / 2))
    assert not found(lambda: F.binary_cross_entropy_with_logits(scores(4), torch.rand(4)))


def test_a_first_class_that_never_comes_is_worth_knowing():
    y = torch.arange(400) % 10 + 1
    finding = found(lambda: F.cross_entropy(scores(400, 11), y))["D105"]
    assert finding.severity == "info"
    assert finding.hit.numbers == {"labels": 400, "classes": 11, "fewest of another": 40}
    assert not found(lambda: F.cross_entropy(scores(40, 11), y[:40]))
    assert not found(lambda: F.cross_entropy(scores(400, 11), y, ignore_index=0))
    assert not found(lambda: F.cross_entropy(scores(400, 12), y))


def test_several_ones_in_a_row_of_class_probabilities_are_an_error_and_other_sums_a_warning():
    several = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    finding = found(lambda: F.cross_entropy(scores(2, 3), several))["D107"]
    assert finding.severity == "error"
    assert finding.hit.numbers == {"rows": 2, "not 1": 1, "lowest sum": 2, "highest sum": 2}
    assert found(lambda: F.cross_entropy(scores(2, 3), several * 0.7))["D107"].severity == "warning"
    assert found(lambda: F.cross_entropy(scores(2, 3), F.one_hot(torch.tensor([0, 2]), 3)))["D107"].severity == "error"
    assert not found(lambda: F.cross_entropy(scores(2, 3), several / several.sum(1, keepdim=True)))
    assert not found(lambda: F.cross_entropy(scores(2, 3), several * torch.tensor([[0.0], [1.0]])))
    assert not found(lambda: F.binary_cross_entropy_with_logits(scores(2, 3), several))


def test_a_batch_without_labels_is_an_error_and_one_label_in_a_thousand_a_warning():
    y = torch.full((1000,), IGNORED)
    finding = found(lambda: F.cross_entropy(scores(1000, 5), y))["D111"]
    assert (finding.severity, finding.hit.numbers) == ("error", {"labels": 1000, "counted": 0})
    y[0] = 3
    assert found(lambda: F.cross_entropy(scores(1000, 5), y))["D111"].severity == "warning"
    y[:20] = 3
    assert not found(lambda: F.cross_entropy(scores(1000, 5), y))

    def masked(mask):
        return losskit.mse_loss(scores(4), torch.zeros(4), mask=mask)

    assert "D111" in found(lambda: masked(torch.zeros(4, dtype=torch.bool)))
    assert not found(lambda: masked(torch.ones(4, dtype=torch.bool)))


def test_one_class_in_a_batch_of_data_is_named_and_in_a_made_target_is_not():
    x, y = torch.randn(64, 5), torch.full((64,), 2)
    assert numbers(lambda: F.cross_entropy(scores(64, 5), y), "D117", batch=(x, y)) == {
        "labels": 64,
        "of one class": 64,
        "class": 2,
        "classes": 5,
    }
    ones = torch.ones(64)
    assert "D117" in found(lambda: F.binary_cross_entropy_with_logits(scores(64), ones), batch=(x, ones))
    assert not found(lambda: F.binary_cross_entropy_with_logits(scores(64), ones), batch=(x,))
    assert not found(lambda: F.cross_entropy(scores(8, 5), y[:8]), batch=(x[:8], y[:8]))
    assert not found(lambda: F.cross_entropy(scores(64, 5), y, weight=torch.ones(5)), batch=(x, y))
    real, fake = torch.ones(64), torch.zeros(64)

    def both():
        return sum(F.binary_cross_entropy_with_logits(scores(64), target) for target in (real, fake))

    assert not found(both, batch=(x, real, fake))
    mixed = torch.randint(0, 5, (64,))
    assert not found(lambda: F.cross_entropy(scores(64, 5), mixed), batch=(x, mixed))
    rare = (torch.arange(400) == 7).long()
    assert found(lambda: F.cross_entropy(scores(400, 2), rare), batch=(x, rare))["D117"].severity == "info"


def test_no_rule_fails_on_missing_sections_empty_batches_or_nan():
    empty = torch.zeros(0, 5, requires_grad=True)
    nan = torch.full((4, 5), float("nan"), requires_grad=True)
    y = torch.zeros(0, dtype=torch.long)
    works = [
        lambda: losskit.cross_entropy(empty, y),
        lambda: F.cross_entropy(nan, torch.arange(4)),
        lambda: F.cross_entropy(torch.zeros(5, requires_grad=True), torch.tensor(2)),
        lambda: F.mse_loss(nan, torch.zeros(4, 5)),
        lambda: F.kl_div(nan, nan.detach(), reduction="sum"),
        lambda: F.binary_cross_entropy_with_logits(nan, torch.zeros(4, 5)),
        lambda: F.nll_loss(nan, torch.arange(4)),
        lambda: losskit.linear_cross_entropy(nan, torch.randn(7, 5), torch.arange(4)),
        lambda: F.cross_entropy("no tensor", None),
        lambda: F.cross_entropy(nan),
        lambda: losskit.cross_entropy(nan, 3),
    ]
    for work in works:
        named = found(work, batch=(nan, torch.arange(4)), codes=MINE)
        assert not any(one.severity == "error" for one in named.values()), named
    for phase in ("before", "during", "after"):
        assert examine(Evidence(phase), codes=MINE) == ((), ())


def test_every_rule_says_when_it_speaks_and_stands_in_a_file_of_its_code():
    for code in MINE:
        rule = rules()[code]
        assert rule.function.__module__.rpartition(".")[2] == f"{code.lower()}_{rule.function.__name__}"
        assert all(rule.sections.values())
        assert not rule.explains_code(code)


@pytest.mark.parametrize("seed", range(5))
def test_ordinary_batches_of_ordinary_losses_are_silent(seed):
    torch.manual_seed(seed)
    x, y = torch.randn(32, 20), torch.randint(0, 10, (32,))
    net = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.1), nn.Linear(16, 10))
    gate = nn.Sequential(nn.Linear(20, 10), nn.Sigmoid())
    real = torch.rand(32)
    works = [
        lambda: F.cross_entropy(net(x), y, label_smoothing=0.1),
        lambda: F.cross_entropy(net(x), torch.rand(32, 10).softmax(1)),
        lambda: F.nll_loss(net(x).log_softmax(1), y),
        lambda: F.mse_loss(net(x)[:, 0], real),
        lambda: F.binary_cross_entropy(gate(x)[:, 0], (real > 0.5).float()),
        lambda: F.binary_cross_entropy_with_logits(net(x), F.one_hot(y, 10).float()),
        lambda: F.huber_loss(net(x), gate(x)),
        lambda: F.kl_div(net(x).log_softmax(1), gate(x).softmax(1).detach(), reduction="batchmean"),
        lambda: F.triplet_margin_loss(net(x), net(x + 1), net(x - 1)),
        lambda: F.cosine_embedding_loss(net(x), gate(x), torch.randint(0, 2, (32,)) * 2 - 1),
        lambda: F.margin_ranking_loss(net(x)[:, 0], net(x)[:, 1], torch.ones(32)),
        lambda: F.gaussian_nll_loss(net(x)[:, 0], real, F.softplus(net(x)[:, 1])),
        lambda: losskit.info_nce_loss(net(x), gate(x)),
        lambda: losskit.pairwise_logistic_loss(net(x), torch.randint(0, 3, (32, 10)).float()),
        lambda: (
            F.binary_cross_entropy_with_logits(net(x)[:, 0], torch.ones(32))
            + F.binary_cross_entropy_with_logits(net(x)[:, 1], torch.zeros(32))
        ),
        lambda: ((net(x)[:, :1] - real[:, None]) ** 2).mean() + net(x).softmax(1).square().mean(),
    ]
    for work in works:
        assert not found(work, batch=(x, y, real), codes=MINE)
