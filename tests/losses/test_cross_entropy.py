"""Cross-entropy: its digits, masked classes, ignored rows, soft targets, smoothing, z-loss, weights and its module."""

from __future__ import annotations

import copy
import io
import math
import pickle

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit as lk
from losskit import CrossEntropyLoss, cross_entropy

LN2 = math.log(2)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slope(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


def confident(classes: int, margin: float, offset: float = 0.0, rows: int = 2) -> Tensor:
    """Scores where class 0 leads every other one by the margin."""
    input = torch.full((rows, classes), offset)
    input[:, 0] += margin
    return input


def exact_nll(row: list[float], target: int) -> float:
    with mpmath.workdps(50):
        others = mpmath.fsum(mpmath.exp(mpmath.mpf(z) - mpmath.mpf(row[target])) for i, z in enumerate(row) if i != target)
        return float(mpmath.log1p(others))


def test_a_model_that_knows_nothing_pays_the_log_of_the_number_of_classes() -> None:
    for classes in (1, 2, 10, 1000):
        assert cross_entropy(torch.zeros(3, classes), torch.zeros(3).long()).item() == pytest.approx(math.log(classes), rel=1e-6)


def test_the_gradient_is_the_probability_minus_the_onehot() -> None:
    input = torch.tensor([[LN2, 0.0, 0.0]], requires_grad=True)
    value = cross_entropy(input, torch.tensor([1]))
    assert value.item() == pytest.approx(math.log(4))
    assert slope(value, input)[0].tolist() == pytest.approx([1 / 2, 1 / 4 - 1, 1 / 4])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_class_weights_and_ignored_rows_are_those_of_torch(reduction: str) -> None:
    input, target = draw(9, 5), torch.tensor([0, 1, 2, 3, 4, -100, 1, -100, 0])
    weight = torch.rand(5, generator=torch.Generator().manual_seed(1))
    ours = cross_entropy(input, target, weight=weight, reduction=reduction)
    torch.testing.assert_close(ours, F.cross_entropy(input, target, weight=weight, reduction=reduction))


@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0])
@pytest.mark.parametrize("margin", [5, 14, 20, 30, 45, 60])
def test_a_confident_row_keeps_its_digits(margin: float, offset: float) -> None:
    input = confident(32000, margin, offset).requires_grad_()
    value = cross_entropy(input, torch.tensor([0, 0]))
    truth = math.log1p(31999 * math.exp(-margin))
    assert value.item() == pytest.approx(truth, rel=1e-6)
    own = slope(value, input)[0, 0].item()
    assert own == pytest.approx(-truth_of_the_rest(31999, margin) / 2, rel=1e-6)


def truth_of_the_rest(others: int, margin: float) -> float:
    """1 - p_y, written without subtracting."""
    return others * math.exp(-margin) / (1 + others * math.exp(-margin))


def test_torch_loses_the_digits_of_the_same_row() -> None:
    truth = math.log1p(31999 * math.exp(-30))
    assert abs(F.cross_entropy(confident(32000, 30), torch.tensor([0, 0])).item() / truth - 1) > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_any_spread_agree_with_fifty_digits(seed: int) -> None:
    input = draw(6, 7, seed=seed) * torch.tensor([0.1, 1, 4, 10, 15, 20])[:, None]
    target = torch.arange(6)
    value = cross_entropy(input, target, reduction="none")
    truth = [exact_nll(row, int(t)) for row, t in zip(input.tolist(), target, strict=True)]
    assert value.tolist() == pytest.approx(truth, rel=1e-6, abs=1.2e-38)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_rows_that_are_right_by_any_margin_agree_with_fifty_digits(offset: float) -> None:
    input = draw(40, 7, seed=1)
    input[:, 3] = torch.linspace(5.1, 80.7, 40) + input.amax(-1)
    input = input + offset
    value = cross_entropy(input, torch.full((40,), 3), reduction="none")
    assert value.tolist() == pytest.approx([exact_nll(row, 3) for row in input.tolist()], rel=1e-6)


def test_soft_targets_keep_the_digits_of_a_confident_row() -> None:
    input = confident(32000, 30)
    value = cross_entropy(input, F.one_hot(torch.tensor([0, 0]), 32000).float())
    assert value.item() == pytest.approx(math.log1p(31999 * math.exp(-30)), rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"z_loss": 0.1}, {"weight": torch.tensor([1.0, 2, 3])}])
def test_all_rows_ignored_is_a_connected_zero(options: dict[str, object]) -> None:
    input = torch.full((4, 3), math.nan, requires_grad=True)
    value = cross_entropy(input, torch.full((4,), -100), **options)
    assert value.item() == 0
    assert slope(value, input).tolist() == [[0.0] * 3] * 4


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"z_loss": 0.1}])
def test_ignored_rows_have_no_gradient_even_if_they_are_nan(options: dict[str, float]) -> None:
    input = draw(3, 4)
    input[1] = math.nan
    input.requires_grad_()
    value = cross_entropy(input, torch.tensor([0, -100, 2]), **options)
    kept = cross_entropy(input.detach()[[0, 2]], torch.tensor([0, 2]), **options)
    torch.testing.assert_close(value, kept)
    found = slope(value, input)
    assert found[1].tolist() == [0.0] * 4
    assert bool(found[[0, 2]].isfinite().all())


def test_an_index_that_is_ignored_may_be_a_class() -> None:
    input = draw(4, 3)
    value = cross_entropy(input, torch.tensor([0, 1, 0, 2]), ignore_index=0)
    torch.testing.assert_close(value, F.cross_entropy(input, torch.tensor([0, 1, 0, 2]), ignore_index=0))


@pytest.mark.parametrize("target", [torch.tensor([0, 2]), torch.tensor([[1.0, 0, 0, 0], [0.25, 0, 0.75, 0]])])
def test_a_class_at_minus_infinity_is_as_good_as_absent(target: Tensor) -> None:
    input = draw(2, 4)
    input[:, [1, 3]] = -math.inf
    input.requires_grad_()
    smaller = input.detach()[:, [0, 2]].requires_grad_()
    fewer = target[:, [0, 2]] if target.is_floating_point() else target // 2
    value, wanted = cross_entropy(input, target), cross_entropy(smaller, fewer)
    torch.testing.assert_close(value, wanted)
    found = slope(value, input)
    torch.testing.assert_close(found[:, [0, 2]], slope(wanted, smaller))
    assert found[:, [1, 3]].tolist() == [[0, 0], [0, 0]]


def test_a_target_at_minus_infinity_is_infinitely_surprising() -> None:
    input = torch.tensor([[0.0, -math.inf]])
    assert cross_entropy(input, torch.tensor([1])).item() == math.inf
    assert cross_entropy(input, torch.tensor([[0.5, 0.5]])).item() == math.inf


def test_one_class_is_certain() -> None:
    for target in (torch.tensor([0, 0]), torch.ones(2, 1)):
        input = torch.tensor([[3.0], [-50.0]], requires_grad=True)
        value = cross_entropy(input, target)
        assert value.item() == 0
        assert slope(value, input).tolist() == [[0], [0]]


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"weight": torch.tensor([1.0, 2, 3])}, {"reduction": "none"}])
def test_class_dim_one_is_the_layout_of_torch(options: dict[str, object]) -> None:
    input, target = draw(2, 3, 4, 5), torch.randint(3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    target[0, 0, 0] = -100
    torch.testing.assert_close(cross_entropy(input, target, class_dim=1, **options), F.cross_entropy(input, target, **options))


def test_class_dim_one_takes_probabilities_too() -> None:
    input, target = draw(2, 3, 4), draw(2, 3, 4, seed=1).softmax(1)
    torch.testing.assert_close(cross_entropy(input, target, class_dim=1), F.cross_entropy(input, target))
    torch.testing.assert_close(cross_entropy(input, target, class_dim=-2), cross_entropy(input, target, class_dim=1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 5.0, 0.5])])
def test_a_onehot_probability_costs_what_its_index_costs(weight: Tensor | None, smoothing: float) -> None:
    input, target = draw(6, 3), torch.tensor([0, 1, 2, 1, 1, 0])
    for reduction in ("none", "mean", "sum"):
        options = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
        torch.testing.assert_close(
            cross_entropy(input, F.one_hot(target, 3).float(), **options), cross_entropy(input, target, **options)
        )


def test_smoothing_is_a_target_with_a_share_for_every_class() -> None:
    input, eps = draw(5, 4), 0.2
    smooth = (1 - eps) * F.one_hot(torch.arange(5) % 4, 4) + eps / 4
    wanted = -(smooth * input.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(cross_entropy(input, torch.arange(5) % 4, label_smoothing=eps), wanted)


def test_z_loss_adds_the_square_of_the_log_normaliser() -> None:
    plain = cross_entropy(torch.zeros(1, 8), torch.tensor([3]))
    pulled = cross_entropy(torch.zeros(1, 8), torch.tensor([3]), z_loss=0.5)
    assert (pulled - plain).item() == pytest.approx(0.5 * math.log(8) ** 2, rel=1e-6)
    soft = cross_entropy(torch.zeros(1, 8), torch.full((1, 8), 1 / 8), z_loss=0.5)
    assert soft.item() == pytest.approx(math.log(8) + 0.5 * math.log(8) ** 2, rel=1e-6)


def test_z_loss_pulls_the_scores_of_a_normalised_row_nowhere() -> None:
    input = draw(3, 4).log_softmax(-1).requires_grad_()
    with_z, without = (cross_entropy(input, torch.tensor([0, 1, 2]), z_loss=z) for z in (10.0, 0.0))
    torch.testing.assert_close(slope(with_z, input), slope(without, input), atol=1e-5, rtol=0)


def test_one_row_and_its_class_weight_cancel_in_the_mean_but_not_in_the_sum_or_with_a_normalizer() -> None:
    input, target, weight = torch.zeros(1, 2), torch.tensor([1]), torch.tensor([1.0, 9.0])
    assert cross_entropy(input, target, weight=weight).item() == pytest.approx(LN2)
    assert cross_entropy(input, target, weight=weight, reduction="sum").item() == pytest.approx(9 * LN2)
    assert cross_entropy(input, target, weight=weight, normalizer=1).item() == pytest.approx(9 * LN2)


def test_micro_batches_with_weights_join_to_the_whole_by_their_parts() -> None:
    input, target, module = draw(8, 3), torch.arange(8) % 3, CrossEntropyLoss(weight=torch.tensor([1.0, 4.0, 9.0]))
    found = [lk.parts(module, z, t) for z, t in zip(input.split(3), target.split(3), strict=True)]
    joined = sum(p.total for p in found) / sum(p.weight for p in found)
    torch.testing.assert_close(joined, module(input, target))
    assert found[0].weight.item() == 1 + 4 + 9


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_indices_of_any_integer_dtype_are_welcome(dtype: torch.dtype) -> None:
    assert cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3], dtype=dtype)).item() == pytest.approx(math.log(4))


def test_reference_levels_are_what_the_paper_and_pencil_say() -> None:
    assert lk.reference("cross_entropy", num_classes=10).chance == math.log(10)
    assert lk.reference("cross_entropy", num_classes=10).floor == 0
    eps, k = 0.1, 10
    own, other = 1 - eps + eps / k, eps / k
    floor = -own * math.log(own) - (k - 1) * other * math.log(other)
    assert lk.reference("cross_entropy", num_classes=k, label_smoothing=eps).floor == pytest.approx(floor)
    prior = [0.9, 0.1]
    assert lk.reference("cross_entropy", prior=prior).constant == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))
    assert lk.reference("cross_entropy").chance is None


def test_inside_debug_a_nan_that_counts_raises_and_one_that_is_ignored_does_not() -> None:
    target = torch.tensor([0, 1])
    with lk.debug(), pytest.raises(ValueError, match=r'"input" is nan at index \(1, 0\)'):
        cross_entropy(torch.tensor([[0.0, 0.0], [math.nan, 0.0]]), target)
    with lk.debug():
        assert cross_entropy(torch.tensor([[0.0, -math.inf]]), target[:1]).item() == 0
    assert math.isnan(cross_entropy(torch.full((1, 2), math.nan), target[:1]).item())


@pytest.mark.parametrize("bad", [-1, 4, 10**9])
def test_an_index_out_of_range_makes_its_row_nan_where_nobody_can_look(bad: int) -> None:
    target = torch.tensor([[0, bad, 2]])
    values = torch.func.vmap(lambda z, t: cross_entropy(z, t, reduction="none"))(torch.zeros(1, 3, 4), target)[0]
    assert values.isnan().tolist() == [False, True, False]


def test_the_module_carries_its_weight_through_state_dict_to_and_pickle() -> None:
    module = CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]), label_smoothing=0.1)
    input, target = draw(4, 2), torch.tensor([0, 1, 1, 0])
    assert list(module.state_dict()) == ["weight"]
    assert copy.deepcopy(module).to(torch.float64).weight.dtype == torch.float64
    other = CrossEntropyLoss(weight=torch.ones(2), label_smoothing=0.1)
    other.load_state_dict(module.state_dict())
    stored = io.BytesIO()
    torch.save(module, stored)
    stored.seek(0)
    for twin in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(stored, weights_only=False)):
        assert torch.equal(twin(input, target), module(input, target))
    assert repr(module) == "CrossEntropyLoss(weight=Tensor(2,), label_smoothing=0.1)"


def test_options_of_a_module_may_be_set_later() -> None:
    module = CrossEntropyLoss()
    input, target = draw(4, 2), torch.tensor([0, 1, 1, 0])
    module.label_smoothing = 0.3
    module.weight = torch.tensor([1.0, 3.0])
    assert list(module.state_dict()) == ["weight"]
    expected = cross_entropy(input, target, label_smoothing=0.3, weight=torch.tensor([1.0, 3.0]))
    assert torch.equal(module(input, target), expected)
    module.weight = None
    assert list(module.state_dict()) == []
    assert torch.equal(module(input, target), cross_entropy(input, target, label_smoothing=0.3))


def test_what_is_given_at_the_call_takes_precedence() -> None:
    module = CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]), normalizer=10.0)
    value = module(torch.zeros(2, 2), torch.tensor([0, 1]), weight=torch.ones(2), normalizer=4.0)
    assert value.item() == pytest.approx(2 * LN2 / 4)


def test_smoothing_asks_nothing_of_a_ruled_out_class_that_counts_nothing() -> None:
    scores = torch.tensor([[1.0, 2.0, -math.inf], [0.5, -1.0, -math.inf]], dtype=torch.float64, requires_grad=True)
    labels, weight = torch.tensor([0, 1]), torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    loss = cross_entropy(scores, labels, weight=weight, label_smoothing=0.3)
    log_p = scores.detach()[:, :2].log_softmax(-1)
    wanted = weight[:2] * (0.7 * torch.eye(2, dtype=torch.float64) + 0.1)
    assert float(loss.detach()) == pytest.approx(float(-(wanted * log_p).sum() / 3))
    (slope,) = torch.autograd.grad(loss, scores)
    assert slope.isfinite().all()
    assert slope[:, :2].all()
