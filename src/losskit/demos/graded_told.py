"""The graded search as a chapter: ranking losses beside a pointwise one, and what the features alone are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from ..losses.pairwise_logistic import pairwise_logistic_loss
from .chapter import Chapter, Contrast, Expected, apart, levels, look
from .graded_models import LOSSES, UNITS, Data, Models

__all__ = ["chapter", "chapter_facts"]

LISTS = 16  # that the doctor looks at
WAYS = {"pairwise logistic": "logistic", "listwise ListNet": "listnet"}


def chapter_facts(facts: Mapping[str, float], mean: Tensor, grades: Tensor) -> dict[str, float]:
    """The numbers of the chapter, which are those of the demo by another name; ``mean`` scores all models start with."""

    def told(key: str, right: str, wrong: str, change: str) -> dict[str, float]:
        spread = facts[f"{change}_high"] - facts[change]
        return apart(key, facts[f"ndcg_{right}"], facts[f"ndcg_{wrong}"], facts[change], spread)

    found = levels("story_expect", "pairwise_logistic_loss", float(pairwise_logistic_loss(mean, grades)))
    for key in WAYS.values():
        found |= told(f"story_{key}", f"linear_{key}", "linear_squared_error", f"change_linear_{key}")
    return found | told("story_features", "mean", "bm25", "gain_features")


def chapter(facts: Mapping[str, float], data: Data) -> Chapter:
    """Told with the first lists."""
    over, wrong = "half of the 95 % interval over topics", "pointwise squared error"
    features, grades = data.features[:LISTS].float().unsqueeze(0), data.grades[:LISTS]

    def made() -> Models:
        return Models(grades.new_ones(1, dtype=features.dtype), features.shape[-1], UNITS["network"], [0])

    def seen(name: str) -> Callable[[Models, tuple[Tensor, Tensor]], Tensor]:
        return lambda model, batch: LOSSES[name](model(batch[0])[0], batch[1]).mean()

    ways = zip((*WAYS, wrong), ("logistic", "ListNet", "squared error"), strict=True)
    looks = [look(way, made, (features, grades), step=seen(name)) for way, name in ways]
    return Chapter(
        task="ranking",
        name="Ranking: does the loss matter?",
        contrasts=[
            *(Contrast(f"story_{key}", way, wrong, "NDCG@10", over, "same features", ".3f") for way, key in WAYS.items()),
            Contrast("story_features", "mean of the features", "BM25 alone", "NDCG@10", over, "nothing learned", ".3f"),
        ],
        expected=Expected("story_expect", "pairwise_logistic_loss", "", "the mean of the features, where every training begins"),
        looks=looks,
        evaluation=(
            f"losskit.evaluate.ndcg on {facts['queries']:.0f} queries whose topic no training saw: BM25 {facts['ndcg_bm25']:.3f}, the mean of "
            f"the features {facts['ndcg_mean']:.3f}, learned with squared error {facts['ndcg_linear_squared_error']:.3f}, with pairwise logistic "
            f"{facts['ndcg_linear_logistic']:.3f}, with ListNet {facts['ndcg_linear_listnet']:.3f}. MRR with ListNet: "
            f"{facts['mrr_linear_listnet']:.3f}."
        ),
        read=["docs/guide/ranking.md", "losskit show pairwise_logistic_loss", "losskit show listnet_loss"],
    )
