"""Data sets of known kind: what each is, and what has to be said of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor
from torch.distributions import Cauchy, Gamma, Laplace, NegativeBinomial, StudentT

__all__ = ["CASES", "Case", "bundled", "rare"]


class Case(NamedTuple):
    """Arguments of choose(), and the family of the answer."""

    make: Callable[[], Mapping[str, Any]]
    """The arguments, drawn under the seed of the test."""
    task: str | None
    first: str | None
    """The first choice; None for a refusal or where only questions are left."""
    fact: str = ""
    """A fact that has to be there."""


def bundled(name: str) -> dict[str, Any]:
    """A data set of scikit-learn as columns."""
    data = getattr(datasets, f"load_{name}")()
    names = getattr(data, "feature_names", [f"x{i}" for i in range(data.data.shape[1])])
    return {**{str(n): data.data[:, i] for i, n in enumerate(names)}, "target": data.target}


def rare(ratio: int, rows: int) -> Tensor:
    """One yes for ``ratio`` noes, in random order."""
    yes = max(1, round(rows / (ratio + 1)))
    return torch.cat([torch.ones(yes), torch.zeros(rows - yes)])[torch.randperm(rows)]


def slips(values: Any, every: int = 10, factor: float = 10.0) -> Any:
    """Decimal slips: each ``every``-th value times ``factor``."""
    wrong = np.array(values, dtype=float)
    wrong[::every] *= factor
    return wrong


def diabetes_with_slips() -> dict[str, Any]:
    table = bundled("diabetes")
    return {**table, "target": slips(table["target"])}


def linear(noise: Tensor) -> dict[str, Any]:
    """Three inputs, and a target that follows them up to ``noise``."""
    x = torch.randn(len(noise), 3)
    return {"data": x @ torch.tensor([3.0, -2.0, 1.0]) + noise, "inputs": x}


def counts_from_inputs() -> dict[str, Any]:
    """Poisson given the inputs, so that only without them do the counts scatter more than their mean."""
    x = torch.randn(3000, 2)
    return {"data": torch.poisson((1 + x @ torch.tensor([0.6, -0.4])).exp()), "inputs": x}


def lists(grades: int, *, size: int = 10, many: int = 200) -> dict[str, Any]:
    """Judged lists made from two features."""
    x = torch.randn(many * size, 2)
    score = x[:, 0] + 0.5 * torch.randn(many * size)
    edges = torch.linspace(0.8, 2.0, grades - 1) if grades > 2 else torch.tensor([1.2])
    relevance = torch.bucketize(score, edges)
    return {
        "data": {"a": x[:, 0], "b": x[:, 1], "query": torch.arange(many).repeat_interleave(size), "relevance": relevance},
        "target": "relevance",
        "group": "query",
    }


def tags() -> list[list[str]]:
    words = ["red", "round", "old", "loud", "wet"]
    keep = torch.rand(400, 5) < 0.3
    return [[w for w, k in zip(words, row, strict=True) if k] for row in keep.tolist()]


def texts(count: int, word: str) -> list[str]:
    return [f"{word} number {i} of the collection" for i in range(count)]


def text_table(*names: str, **more: Any) -> dict[str, Any]:
    return {"data": {**{name: texts(60, name) for name in names}, **more}}


def by(name: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"data": bundled(name), "target": "target"}


def only(make: Callable[[], Any], **more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"data": make(), **more}


def contaminated(share: float, factor: float) -> Tensor:
    return torch.where(torch.rand(2000) < share, factor, 1.0) * torch.randn(2000)


def many_zeros(rows: int) -> Tensor:
    return torch.poisson(torch.full((rows,), 5.0)) * (torch.rand(rows) < 0.5)


def amounts_or_nothing() -> Tensor:
    return Gamma(2.0, 0.1).sample((2000,)) * (torch.rand(2000) < 0.4)


def scaled(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


def clicks() -> dict[str, Any]:
    made = lists(2)
    return {**made, "data": {**made["data"], "relevance": made["data"]["relevance"] > 0}}


def vectors_with_labels() -> dict[str, Any]:
    labels = torch.arange(300) % 30
    return {"data": {"vector": torch.randn(300, 16) + labels[:, None], "label": labels}, "target": "label", "task": "embedding"}


BCE, CE, MSE, L1 = "binary_cross_entropy_with_logits", "cross_entropy", "mse_loss", "l1_loss"
HUBER, GAMMA, TWEEDIE = "huber_loss", "gamma_deviance_loss", "tweedie_deviance_loss"
POISSON, NB = "poisson_deviance_loss", "negative_binomial_nll_loss"
PAIRS, LIST = "pairwise_logistic_loss", "listnet_loss"
full = functools.partial(torch.full, dtype=torch.float32)

CASES: dict[str, Case] = {
    # two classes
    "breast cancer": Case(by("breast_cancer"), "binary", BCE, "balance"),
    "one yes for one no": Case(only(lambda: rare(1, 1000)), "binary", BCE, "balance"),
    "one yes for ten noes": Case(only(lambda: rare(10, 1100)), "binary", BCE, "balance"),
    "one yes for 20 noes": Case(only(lambda: rare(20, 4200)), "binary", BCE, "imbalance"),
    "one yes for 100 noes": Case(only(lambda: rare(100, 10_100)), "binary", BCE, "imbalance"),
    "one yes for 1000 noes": Case(only(lambda: rare(1000, 20_020)), "binary", BCE, "imbalance"),
    "bools": Case(only(lambda: torch.rand(50) < 0.5), "binary", BCE),
    "words of yes and no": Case(only(lambda: ["yes", "no", "no", "yes", "no"] * 10), "binary", BCE),
    "minus one and one": Case(only(lambda: [-1, 1, 1, -1, 1] * 10), "binary", BCE),
    "zero and one as words": Case(only(lambda: ["0", "1", "1"] * 20), "binary", BCE, "written as text"),
    "shares of a yes": Case(only(lambda: torch.rand(500)), "binary", BCE, "soft labels"),
    "three rows": Case(only(lambda: [0, 1, 1]), "binary", BCE),
    # several classes
    "iris": Case(by("iris"), "multiclass", CE),
    "wine": Case(by("wine"), "multiclass", CE),
    "digits": Case(by("digits"), "multiclass", CE, "balance"),
    "words": Case(only(lambda: ["cat", "dog", "bird"] * 30), "multiclass", CE),
    "long tail of classes": Case(
        only(lambda: torch.repeat_interleave(torch.arange(10), torch.tensor([5000 * 0.6**k for k in range(10)]).long())),
        "multiclass", CE, "imbalance",
    ),
    "one-hot rows": Case(only(lambda: torch.eye(4)[torch.randint(0, 4, (100,))]), "multiclass", CE),
    "rows of probabilities": Case(only(lambda: torch.softmax(torch.randn(100, 4), 1)), "multiclass", CE, "soft labels"),
    "ratings from 1 to 5": Case(only(lambda: torch.randint(1, 6, (300,))), "multiclass", CE),
    "steps in words": Case(only(lambda: ["low", "high", "medium"] * 30), "multiclass", CE),
    # several labels
    "labels as a matrix": Case(only(lambda: (torch.rand(300, 6) < 0.3).long()), "multilabel", BCE, "labels"),
    "labels as columns": Case(
        lambda: {"data": {n: torch.rand(300) < 0.3 for n in "abc"} | {"x": torch.randn(300)}, "target": ["a", "b", "c"]},
        "multilabel", BCE, "labels",
    ),
    "labels as lists": Case(only(tags), "multilabel", BCE, "labels"),
    "rare labels": Case(only(lambda: (torch.rand(2000, 20) < 0.02).long()), "multilabel", BCE, "rarest label"),
    # numbers
    "diabetes": Case(by("diabetes"), "regression", MSE, "tails"),
    "diabetes with slips": Case(lambda: {"data": diabetes_with_slips(), "target": "target"}, "regression", L1, "heavy tails"),
    "several numbers": Case(only(lambda: datasets.load_linnerud().target), "regression", MSE, "targets"),
    "normal": Case(only(lambda: torch.randn(1000)), "regression", MSE, "tails"),
    "normal far from zero": Case(only(lambda: 100 + 10 * torch.randn(1000)), "regression", MSE, "tails"),
    "uniform": Case(only(lambda: 10 * torch.rand(1000) - 3), "regression", MSE, "tails"),
    "normal given the inputs": Case(lambda: linear(torch.randn(1000)), "regression", MSE, "tails"),
    "t of 3": Case(only(lambda: StudentT(3.0).sample((2000,))), "regression", L1, "heavy tails"),
    "t of 3 given the inputs": Case(lambda: linear(StudentT(3.0).sample((2000,))), "regression", L1, "heavy tails"),
    "Laplace": Case(only(lambda: Laplace(0.0, 1.0).sample((2000,))), "regression", L1, "heavy tails"),
    "Cauchy": Case(only(lambda: Cauchy(0.0, 1.0).sample((500,))), "regression", L1, "heavy tails"),
    "one in 50 is 20 times as far": Case(only(lambda: contaminated(0.02, 20.0)), "regression", HUBER, "outliers"),
    "one in 10 is 20 times as far": Case(only(lambda: contaminated(0.1, 20.0)), "regression", L1, "heavy tails"),
    "amounts": Case(only(lambda: torch.randn(2000).exp()), "regression", GAMMA),
    "waiting times": Case(only(lambda: Gamma(1.0, 0.1).sample((2000,))), "regression", GAMMA),
    "amounts or nothing": Case(only(amounts_or_nothing), "regression", TWEEDIE, "zero inflation"),
    "scaled to 0 and 1": Case(only(lambda: scaled(torch.randn(500))), "regression", MSE, "tails"),
    "numbers as words": Case(only(lambda: [f"{v:.3f}" for v in torch.randn(200).tolist()]), "regression", MSE, "written as text"),
    "some are missing": Case(
        only(lambda: [None if i % 7 == 0 else v for i, v in enumerate(torch.randn(200).tolist())]), "regression", MSE, "missing"
    ),
    "some are infinite": Case(only(lambda: torch.cat([torch.randn(200), full((3,), torch.inf)])), "regression", MSE, "infinite"),
    "eight numbers": Case(only(lambda: [1.5, 2.25, 0.5, 3.75, 1.25, 2.5, 2.75, 1.75]), "regression", MSE, "tails"),
    # counts
    "Poisson": Case(only(lambda: torch.poisson(full((1000,), 3.0))), "count", POISSON, "dispersion"),
    "rare events": Case(only(lambda: torch.poisson(full((2000,), 0.3))), "count", POISSON, "dispersion"),
    "many events": Case(only(lambda: torch.poisson(full((1000,), 60.0))), "count", POISSON, "dispersion"),
    "Poisson given the inputs": Case(counts_from_inputs, "count", POISSON, "dispersion"),
    "bursts": Case(only(lambda: NegativeBinomial(2.0, torch.tensor(0.7)).sample((2000,))), "count", NB, "dispersion"),
    "large bursts": Case(only(lambda: NegativeBinomial(1.5, torch.tensor(0.95)).sample((2000,))), "count", NB, "dispersion"),
    "too many zeros": Case(only(lambda: many_zeros(2000)), "count", POISSON, "zero inflation"),
    # lists
    "clicks": Case(clicks, "ranking", PAIRS, "informative lists"),
    "graded lists": Case(lambda: lists(5), "ranking", LIST, "grades"),
    # vectors
    "pairs of text": Case(lambda: text_table("question", "answer"), "embedding", "multiple_negatives_ranking_loss", "pairs"),
    "triplets": Case(lambda: text_table("anchor", "positive", "negative"), "embedding", "triplet_margin_loss", "triplets"),
    "pairs with a yes": Case(
        lambda: {**text_table("sentence1", "sentence2", label=[0, 1, 1] * 20), "target": "label"},
        "embedding", "contrastive_loss", "pairs",
    ),
    "pairs with a grade": Case(
        lambda: {**text_table("sentence1", "sentence2", score=[i % 11 / 2 for i in range(60)]), "target": "score"},
        "embedding", "cosent_loss", "grades",
    ),
    "vectors with labels": Case(vectors_with_labels, "embedding", "supervised_contrastive_loss", "labels"),
    # text
    "texts": Case(lambda: text_table("text"), "language", CE, "texts"),
    "tokens": Case(only(lambda: [torch.randint(0, 50, (20 + i % 5,)).tolist() for i in range(100)]), "language", CE, "tokens"),
    # nothing to learn, or nothing that the data decide
    "constant": Case(only(lambda: full((100,), 3.5)), None, None),
    "one class": Case(only(lambda: ["cat"] * 100), None, None),
    "only noes": Case(only(lambda: torch.zeros(100, dtype=torch.bool), task="binary"), "binary", None),
    "empty": Case(only(list), None, None),
    "all are NaN": Case(only(lambda: full((100,), torch.nan)), None, None),
    "ids": Case(only(lambda: torch.arange(1, 101)), None, None),
    "shuffled ids": Case(only(lambda: torch.randperm(100)), None, None),
    "names": Case(only(lambda: [f"customer{i}" for i in range(100)]), None, None),
    "dates": Case(only(lambda: [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(100)]), None, None),
    "a table without a target": Case(only(lambda: {"age": [31, 42, 53], "income": [1.5, 2.5, 3.5]}), None, None),
    "lists of one item": Case(
        lambda: {"data": [0, 1, 2, 1] * 10, "group": torch.arange(40), "task": "ranking"}, "ranking", None, "lists"
    ),
}  # fmt: skip


def scope(task: str, candidate_code: str, classes: int = 3, labels: int = 5) -> dict[str, Any]:
    """Tensors under the names that the code of a candidate reads."""
    n, d, dtype = 12, 4, torch.float32
    draw = functools.partial(torch.randn, dtype=dtype)
    if task == "binary":
        return {"logits": draw(n, requires_grad=True), "target": (torch.arange(n) % 2).to(dtype)}
    if task == "multiclass":
        soft = "probabilities" in candidate_code
        target = torch.softmax(draw(n, classes), -1) if soft else torch.arange(n) % classes
        head, hidden = draw(classes, d), draw(n, d, requires_grad=True)
        return {"logits": draw(n, classes, requires_grad=True), "target": target, "hidden": hidden, "head": head}
    if task == "multilabel":
        return {"logits": draw(n, labels, requires_grad=True), "target": (torch.rand(n, labels) < 0.5).to(dtype)}
    if task in ("regression", "count"):
        target = torch.arange(n).to(dtype) + (1.0 if "gamma" in candidate_code else 0.0)
        return {"prediction": draw(n, requires_grad=True), "log_mean": draw(n, requires_grad=True), "target": target}
    if task == "ranking":
        return {
            "scores": draw(n, requires_grad=True),
            "relevance": (torch.arange(n) % 3).to(dtype),
            "ids": torch.arange(n) // 5,
        }
    if task == "language":
        logits = draw(2, 6, 9, requires_grad=True)
        made = {"logits": logits, "tokens": torch.randint(0, 9, (2, 6)), "teacher": draw(2, 6, 9)}
        return {**made, "hidden": draw(2, 6, d, requires_grad=True), "head": draw(9, d)}
    names = ("query", "key", "negative", "anchor", "positive", "embedding")
    made = {name: draw(n, d, requires_grad=True) for name in names}
    target = (torch.arange(n) % 2).to(dtype)
    return {**made, "target": target, "labels": torch.arange(n) % 3, "key_ids": torch.arange(n) // 2}
