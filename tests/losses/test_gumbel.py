"""Gumbel noise around any ranking loss: the mean of so many calls, under every reduction, for padded and ragged lists."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from cases import draw
from losskit.losses.gumbel import gumbel
from losskit.losses.listmle import ListMLELoss, listmle_loss
from losskit.losses.listnet import ListNetLoss, listnet_loss
from losskit.losses.unique_softmax import unique_softmax_loss

SAMPLES = 5
LOSSES = [listnet_loss, listmle_loss, unique_softmax_loss]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """What a fresh generator draws: -log of exponential numbers."""
    return -torch.empty(SAMPLES, *shape, dtype=dtype).exponential_(generator=seeded()).log()


def lists() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Four lists, one of which has nothing to learn, with NaN under the mask."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    relevance = torch.randint(3, (4, 6), generator=generator).double()
    mask = torch.arange(6) < torch.tensor([[6], [4], [5], [6]])
    relevance[3] = 0.0
    options = {
        "mask": mask,
        "weight": torch.rand(4, 6, generator=generator, dtype=torch.float64),
        "query_weight": torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64),
    }
    return torch.where(mask, scores, math.nan), relevance, options


def by_calls(loss: Callable[..., Tensor], scores: Tensor, *rest: Tensor, temperature: float = 1.0, **options: Any) -> Tensor:
    """One call after the other."""
    drawn = noise(*scores.shape)
    return torch.stack([loss(scores + temperature * g, *rest, **options) for g in drawn]).mean(0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("how", [{"reduction": "none"}, {"reduction": "sum"}, {}, {"normalizer": 7.0}], ids=str)
def test_one_call_is_the_mean_of_many(how: dict[str, Any], loss: Callable[..., Tensor]) -> None:
    scores, relevance, options = lists()
    leaf = scores.clone().requires_grad_()
    value = gumbel(loss, samples=SAMPLES, generator=seeded())(leaf, relevance, **options, **how)
    wanted = by_calls(loss, leaf, relevance, **options, **how)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    found, slope = (torch.autograd.grad(v.sum(), leaf)[0] for v in (value, wanted))
    torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-12)
    assert found.any()
    assert not found[~options["mask"]].any()


@pytest.mark.parametrize("how", [{"reduction": "none"}, {"reduction": "sum"}, {}, {"normalizer": 7.0}], ids=str)
def test_ragged_lists_are_the_mean_of_many_calls_too(how: dict[str, Any]) -> None:
    scores, relevance, options = lists()
    seen = options["mask"]
    given = {"offsets": torch.tensor([0, 6, 10, 15, 21]), "query_weight": options["query_weight"]}
    leaf = scores[seen].requires_grad_()
    value = gumbel(listnet_loss, samples=SAMPLES, generator=seeded())(leaf, relevance[seen], **given, **how)
    wanted = by_calls(listnet_loss, leaf, relevance[seen], **given, **how)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    assert value.shape == ((4,) if how.get("reduction") == "none" else ())
    assert torch.autograd.grad(value.sum(), leaf)[0].any()


@pytest.mark.parametrize("how", [{"reduction": "none"}, {"reduction": "sum"}, {}, {"normalizer": 7.0}], ids=str)
def test_ragged_lists_are_padded_lists_where_the_samples_do_not_weigh_the_same(how: dict[str, Any]) -> None:
    """With a topk every sample has pairs of its own: its mean is not to be averaged again."""
    scores, relevance, options = lists()
    mask, pooled = options["mask"], {"topk": 1, "pair_reduction": "pooled", **how}
    offsets = torch.tensor([0, 6, 10, 15, 21])
    drawn = noise(4, 6)
    found: list[Tensor] = []
    for given in ({"mask": mask}, {"offsets": offsets}):
        leaf = scores.clone().requires_grad_()
        module: Any = gumbel(losskit.pairwise_logistic_loss, samples=SAMPLES)
        noisy = leaf + drawn
        module._noisy = lambda _, noisy=noisy, ragged="offsets" in given: noisy[:, mask] if ragged else noisy
        value = module(*(t[mask] if "offsets" in given else t for t in (leaf, relevance)), **given, **pooled)
        found += [value, torch.autograd.grad(value.sum(), leaf)[0]]
    assert found[1].any()
    for padded, ragged in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(ragged, padded, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("ragged", [False, True])
def test_parts_are_those_of_one_call(ragged: bool) -> None:
    """The weight is that of the lists, not of the samples, so that parts add up with those of other losses."""
    scores, relevance, options = lists()
    if ragged:
        seen = options["mask"]
        scores, relevance = scores[seen], relevance[seen]
        options = {"offsets": torch.tensor([0, 6, 10, 15, 21]), "query_weight": options["query_weight"]}
    noisy = gumbel(listnet_loss, samples=SAMPLES, generator=seeded())
    parts = losskit.parts(noisy, scores, relevance, **options)
    assert parts.weight.item() == losskit.parts(listnet_loss, scores, relevance, **options).weight.item() == 1 + 2 + 0.5
    noisy.generator = seeded()
    assert (parts.total / parts.weight).item() == pytest.approx(noisy(scores, relevance, **options).item(), rel=1e-12)


def test_a_module_keeps_its_options_and_the_tensors_that_it_holds() -> None:
    scores, relevance, options = lists()
    held = gumbel(ListNetLoss(target="raw", **options), samples=SAMPLES, generator=seeded())
    wanted = by_calls(listnet_loss, scores, relevance, target="raw", **options)
    assert held(scores, relevance).item() == pytest.approx(wanted.item(), rel=1e-12)
    assert set(held.state_dict()) == {"loss.mask", "loss.weight", "loss.query_weight"}
    held.generator = seeded()
    other = by_calls(listnet_loss, scores, relevance, target="raw", **{**options, "query_weight": torch.ones(4)})
    assert held(scores, relevance, query_weight=torch.ones(4)).item() == pytest.approx(other.item(), rel=1e-12)


def test_the_same_seed_gives_the_same_loss_and_no_seed_another_each_time() -> None:
    scores, relevance = torch.zeros(2, 5), torch.eye(5)[:2]
    one, other = (gumbel(listnet_loss, generator=seeded())(scores, relevance) for _ in range(2))
    assert torch.equal(one, other)
    free = gumbel(listnet_loss)
    assert free(scores, relevance) != free(scores, relevance)


def test_temperature_is_the_size_of_the_noise_and_0_leaves_the_loss_as_it_is() -> None:
    scores, relevance, options = lists()
    still = gumbel(listmle_loss, temperature=0.0)(scores, relevance, **options)
    assert still.item() == pytest.approx(listmle_loss(scores, relevance, **options).item(), rel=1e-14)
    value = gumbel(listmle_loss, samples=SAMPLES, temperature=0.3, generator=seeded())(scores, relevance, **options)
    assert value.item() == pytest.approx(by_calls(listmle_loss, scores, relevance, temperature=0.3, **options).item(), rel=1e-12)


def test_the_noise_is_gumbel_s_so_that_the_first_item_is_drawn_from_the_softmax() -> None:
    module: Any = gumbel(listnet_loss, samples=40000, generator=seeded())
    scores = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    noisy = module._noisy(scores)
    assert (noisy - scores).mean().item() == pytest.approx(0.5772156649, abs=0.02)  # Euler's constant
    assert (noisy - scores).var().item() == pytest.approx(math.pi**2 / 6, abs=0.05)
    often = torch.bincount(noisy.argmax(-1), minlength=3) / 40000
    assert often.tolist() == pytest.approx(scores.softmax(0).tolist(), abs=0.01)


def test_noise_is_drawn_in_the_dtype_of_the_computation() -> None:
    relevance = torch.eye(5)[:2]
    scores = torch.randn(2, 5, generator=seeded())
    for dtype, computed in ((torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        given = scores.to(dtype)
        value = gumbel(listnet_loss, samples=SAMPLES, generator=seeded())(given, relevance)
        assert value.dtype == computed
        wanted = torch.stack([listnet_loss(given.to(computed) + g, relevance) for g in noise(2, 5, dtype=computed)]).mean()
        assert value.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_it_pickles_copies_compiles_and_maps() -> None:
    scores, relevance = torch.randn(3, 4, generator=seeded()), torch.eye(4)[:3]
    module = gumbel(ListMLELoss(ties="breslow"), samples=3, temperature=0.0)
    wanted = module(scores, relevance)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module), pickle.loads(pickle.dumps(gumbel(listmle_loss)))):
        assert twin(scores, relevance).isfinite()
    assert torch.equal(copy.deepcopy(module)(scores, relevance), wanted)
    assert repr(module).splitlines()[1].strip() == "samples=3, temperature=0.0"
    assert repr(gumbel(listnet_loss)) == "_Gumbel(listnet_loss, samples=8, temperature=1.0)"
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores, relevance), wanted)
    each = torch.func.vmap(module, randomness="different")(scores, relevance)
    torch.testing.assert_close(each.mean(), wanted)


@pytest.mark.parametrize("loss", [losskit.mse_loss, losskit.MSELoss(), torch.nn.functional.mse_loss, lambda s, y: s.sum(), 3])
def test_only_ranking_losses_of_losskit_are_taken(loss: Any) -> None:
    with pytest.raises(TypeError, match=r'"loss" is .*, expected a ranking loss of losskit'):
        gumbel(loss)


def test_options_are_checked() -> None:
    for samples, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match='"samples" must be'):
            gumbel(listnet_loss, samples=samples)
    with pytest.raises(ValueError, match='"temperature" must be >= 0'):
        gumbel(listnet_loss, temperature=-1.0)
    with pytest.raises(losskit.ShapeError, match=r'"relevance" has shape \(2, 4\), expected \(2, 3\)'):
        gumbel(listnet_loss)(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(TypeError, match='"relevance" must be a Tensor'):
        gumbel(listnet_loss)(torch.zeros(2, 3), [[1.0, 0.0, 0.0]] * 2)


RANKING = sorted(n for n, card in losskit.CATALOGUE.items() if card.task == "ranking" and card.tensors[0] == "scores")


@pytest.mark.parametrize("name", RANKING)
def test_every_ranking_loss_can_have_noise(name: str) -> None:
    card = losskit.CATALOGUE[name]
    case = draw(card, batch=(3,))
    scores, *rest = case.tensors.values()
    noisy = gumbel(card.function, samples=SAMPLES, generator=seeded())
    for reduction in ("none", "mean", "sum"):
        noisy.generator = seeded()
        value = noisy(scores, *rest, **case.options, reduction=reduction)
        wanted = by_calls(card.function, scores, *rest, **case.options, reduction=reduction)
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)


THREE: Any = 3


def test_a_generator_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r'"generator" must be a torch\.Generator or None, got int'):
        losskit.gumbel(losskit.listnet_loss, generator=THREE)
