"""The search for functions as a chapter: many wrong answers at once beside one at random, and beside pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from .chapter import Chapter, Contrast, Expected, apart, levels, look
from .letters import Towers

__all__ = ["WRONG", "chapter", "chapter_facts"]

WRONG = {"contrastive": "pairs", "triplet, random": "random", "triplet, hardest": "hardest"}
"""What multiple negatives are held against, with the key of each."""


def chapter_facts(
    changes: Mapping[str, Mapping[str, float]], facts: Mapping[str, float], began: float, batch: int
) -> dict[str, float]:
    """The numbers of the chapter; ``changes`` are those of MRR from each of WRONG to multiple negatives, description by description."""
    found = levels("story_expect", "multiple_negatives_ranking_loss", began, batch_size=batch)
    for name, key in WRONG.items():
        change, high = changes[name]["mrr_change"], changes[name]["mrr_change_high"]
        wrong = facts[f"mrr_{name.replace(', ', '_')}"]
        found |= apart(f"story_{key}", facts["mrr_multiple_negatives"], wrong, change, high - change)
    return found


def chapter(
    facts: Mapping[str, float],
    losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
    batch: tuple[Tensor, Tensor],
    made: Callable[[], Towers],
) -> Chapter:
    """Told with the first batch of descriptions and functions, rows of letters."""
    over, right = "half of the 95 % interval over modules", "multiple negatives"
    contrasts = [Contrast(f"story_{key}", right, name, "MRR", over, format=".3f") for name, key in WRONG.items()]

    def seen(name: str) -> Callable[[Towers, tuple[Tensor, Tensor]], Tensor]:
        return lambda model, rows: losses[name](*model(*rows))

    before = facts["mrr_before"]
    return Chapter(
        task="embedding",
        name="Embedding: who else is in the batch",
        contrasts=contrasts,
        expected=Expected(
            "story_expect",
            "multiple_negatives_ranking_loss",
            f"batch_size={len(batch[0])}",
            "letters in common, which know something already",
        ),
        looks=[look(name, made, batch, step=seen(name)) for name in (right, *WRONG) if name != "triplet, hardest"],
        evaluation=(
            f"losskit.evaluate.retrieval ranks {facts['held']:.0f} functions of modules never seen: the right one comes first for "
            f"{100 * facts['recall_multiple_negatives']:.1f} % of the descriptions and is among the first ten for "
            f"{100 * facts['recall10_multiple_negatives']:.1f} %. Before training MRR is {before:.3f}; pairwise contrastive loss moves it by "
            f"{facts['mrr_change_contrastive']:+.3f}, multiple negatives by {facts['mrr_change_multiple_negatives']:+.3f}."
        ),
        read=["docs/tutorials/search_encoder.md", "docs/guide/embeddings.md", "losskit show info_nce_loss"],
    )
