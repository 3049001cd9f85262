"""What losskit.Perplexity refuses, and what it shows as NaN: values, names, states and merges that make no sense."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from losskit.evaluate.metric import Perplexity
from losskit.evaluate.nats import of_logits

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def counted() -> Perplexity:
    metric = Perplexity()
    metric.update_sum(3.0, 2, document="a", bytes=5)
    return metric


@pytest.mark.parametrize(
    ("nats", "tokens", "message"),
    [
        (-5.0, 3, '"nats" is -5, expected the sum of -log p, 0 or more'),
        (5.0, -3, '"tokens" must be >= 0, got -3'),
        (5.0, 0, '"nats" is 5, expected 0 nats of 0 tokens'),
        (math.nan, 0, '"nats" is nan, expected 0 nats of 0 tokens'),
    ],
)
def test_a_sum_that_cannot_be_is_refused_as_number_and_as_tensor(nats: float, tokens: int, message: str) -> None:
    metric = counted()
    for given in (nats, torch.tensor(nats), torch.tensor(nats, dtype=torch.float64)):
        for count in (tokens, torch.tensor(tokens)):
            with pytest.raises(ValueError, match=message):
                metric.update_sum(given, count)
    assert metric.result() == counted().result()


def test_a_sum_is_looked_at_where_nobody_has_to_wait() -> None:
    """On meta, as on CUDA, the values cannot be seen without waiting."""
    Perplexity().update_sum(torch.tensor(-5.0, device="meta"), torch.tensor(-3, device="meta"))
    with pytest.raises(ValueError, match='"tokens" must be >= 0'):
        Perplexity().update_sum(torch.tensor(1.0, device="meta"), torch.tensor(-3))


def test_a_sum_of_anything_but_numbers_is_refused() -> None:
    for nats in ("5", None, True, [1.0]):
        with pytest.raises(TypeError, match='"nats" must be a number or a Tensor'):
            Perplexity().update_sum(nats, 1)
    metric = Perplexity()
    metric.update_sum(2, torch.tensor(1))
    metric.update_sum(torch.tensor(math.nan), 1)
    assert metric.result().tokens == 2
    assert math.isnan(metric.result().nats)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "row",
    [
        [math.inf, 0.0, 1.0],
        [0.0, math.inf, 1.0],
        [math.inf, math.inf, 1.0],
        [math.inf, -math.inf, -math.inf],
        [-math.inf, math.inf, -math.inf],
        [-math.inf, -math.inf, -math.inf],
        [math.inf],
        [-math.inf],
    ],
)
def test_a_row_of_which_no_softmax_exists_is_nan_as_in_torch(row: list[float], dtype: torch.dtype) -> None:
    logits, target = torch.tensor([row, [0.0] * len(row)], dtype=dtype), torch.tensor([0, 0])
    assert F.cross_entropy(logits.float(), target, reduction="none")[0].isnan()
    found = of_logits(logits, target, -100)
    assert found[0].isnan()
    assert float(found[1]) == pytest.approx(math.log(len(row)), rel=1e-12)
    metric = Perplexity()
    metric.update(logits, target)
    assert math.isnan(metric.compute())
    assert of_logits(logits, torch.tensor([-100, 0]), -100).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_class_that_is_ruled_out_leaves_the_others_exact(dtype: torch.dtype) -> None:
    out, lowest = -math.inf, torch.finfo(dtype).min
    rows = [[2.0, 1.0, out], [2.0, out, out], [lowest, out, out], [lowest, lowest, out], [out, lowest, out], [out, 0.0, 1.0]]
    found = of_logits(torch.tensor(rows, dtype=dtype), torch.zeros(6, dtype=torch.int64), -100)
    wanted = [math.log1p(math.exp(-1)), 0.0, 0.0, math.log(2), math.inf, math.inf]
    assert found.tolist() == pytest.approx(wanted, rel=1e-7)


def test_a_hidden_state_that_overflows_is_no_perfect_model() -> None:
    """Its scores are (inf, -inf): the target's is beyond all floats."""
    metric = Perplexity()
    metric.update_hidden(torch.tensor([[math.inf]]), torch.tensor([[1.0], [-1.0]]), torch.tensor([0]))
    assert math.isnan(metric.compute())


def test_a_metric_is_not_merged_with_itself_nor_twice() -> None:
    metric, other = counted(), counted()
    with pytest.raises(ValueError, match='"others" holds this metric itself'):
        metric.merge_state([other, metric])
    with pytest.raises(ValueError, match='"others" holds the same metric twice'):
        metric.merge_state(each for each in (other, other))
    assert metric.result() == counted().result()
    assert metric.merge_state([other, counted()]).result().tokens == 6


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (counted(), '"others" is a Perplexity, expected several Perplexity'),
        (None, '"others" is a NoneType'),
        ([counted(), 3], '"others" holds a int, expected Perplexity only'),
        (counted().state_dict(), '"others" holds a str, expected Perplexity only'),
    ],
)
def test_only_metrics_are_merged(others: Any, message: str) -> None:
    metric = counted()
    with pytest.raises(TypeError, match=message):
        metric.merge_state(others)
    assert metric.result() == counted().result()


def test_what_is_no_state_is_refused() -> None:
    metric = counted()
    for wrong, message in (
        ({}, '"state" has no "own"'),
        ({"own": {}, "others": []}, '"state" has no "keys"'),
        ({"own": counted().state_dict()["own"]}, '"state" has no "others"'),
        ({"own": counted().state_dict()["own"], "others": [{}]}, '"state" has no "keys"'),
    ):
        with pytest.raises(ValueError, match=message):
            metric.load_state_dict(wrong)
    for other in (None, [1], counted().state_dict()["own"]["keys"]):
        with pytest.raises(TypeError, match=r'"state" is a .* expected what state_dict'):
            metric.load_state_dict(other)
    with pytest.raises(TypeError, match='"others" is a NoneType'):
        metric.load_state_dict({"own": counted().state_dict()["own"], "others": None})
    assert metric.result() == counted().result()


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("keys", lambda keys: keys * 2),
        ("keys", lambda keys: "a"),
        ("keys", lambda keys: [("g", 1.5)]),
        ("keys", lambda keys: [["g", {}]]),
        ("nats", lambda nats: nats.tolist()),
        ("nats", lambda nats: nats.float()),
        ("nats", lambda nats: torch.cat([nats, nats])),
        ("tokens", lambda tokens: tokens.double()),
        ("tokens", lambda tokens: -tokens),
        ("units", lambda units: [[1, 2]]),
        ("units", lambda units: [[1, -2, 3]]),
        ("units", lambda units: [[1, 2.5, 3]]),
        ("units", lambda units: []),
        ("owed", lambda owed: [[0, 1, 1]]),
        ("owed", lambda owed: owed * 2),
    ],
)
def test_a_state_whose_columns_do_not_fit_is_refused(column: str, change: Callable[[Any], Any]) -> None:
    metric = counted()
    own: Any = dict(counted().state_dict()["own"])
    own[column] = change(own[column])
    for state in ({"own": own, "others": []}, {"own": counted().state_dict()["own"], "others": [own]}):
        with pytest.raises(ValueError, match=r'"state" has (keys|nats|tokens|units|owed) that are not '):
            metric.load_state_dict(state)
    assert metric.result() == counted().result()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"document": 1.5}, '"document" must be a str or an int, got float'),
        ({"document": True}, '"document" must be a str or an int, got bool'),
        ({"document": b"ab"}, '"document" must be a str or an int, got bytes'),
        ({"document": [0, 1.5]}, '"document" must be a str or an int, got float'),
        ({"document": [0, [1]]}, '"document" must be a str or an int, got list'),
        ({"group": 3}, '"group" must be a str, got int'),
        ({"group": ["a", 3]}, '"group" must be a str, got int'),
    ],
)
def test_a_name_is_a_str_or_an_int(names: dict[str, Any], message: str) -> None:
    metric = Perplexity()
    with pytest.raises(TypeError, match=message):
        metric.update_nll(torch.ones(2), **names)
    assert metric.result().tokens == 0


def test_a_sum_has_one_name() -> None:
    for names in ({"document": ["a"]}, {"group": ["a"]}, {"document": torch.tensor([1])}, {"document": 1.5}, {"group": 3}):
        with pytest.raises(TypeError, match=f'"{next(iter(names))}" must be a str'):
            Perplexity().update_sum(1.0, 1, **names)


def test_integers_of_numpy_name_the_same_documents() -> None:
    np = pytest.importorskip("numpy", reason="torch runs without numpy")
    metric, wanted = Perplexity(), Perplexity()
    metric.update_nll(torch.ones(3), document=np.array([1, 2, 1]), group=np.array(["g", "g", "h"]))
    metric.update_nll(torch.ones(2), document=np.int64(2))
    metric.update_sum(np.float32(1), 1, document=np.uint8(7), group=np.str_("g"))
    wanted.update_nll(torch.ones(3), document=[1, 2, 1], group=["g", "g", "h"])
    wanted.update_nll(torch.ones(2), document=2)
    wanted.update_sum(1.0, 1, document=7, group="g")
    assert metric.result() == wanted.result()
    assert {type(name) for key in metric.state_dict()["own"]["keys"] for name in key} == {str, int, type(None)}


def test_a_level_is_between_0_and_1_with_documents_or_without() -> None:
    nameless = Perplexity()
    nameless.update_sum(3.0, 2)
    for metric in (Perplexity(), nameless, counted()):
        with pytest.raises(ValueError, match=r'"level" must be in \(0, 1\), got 95'):
            metric.result(level=95)
