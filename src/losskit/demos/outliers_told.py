"""Slipped targets as a chapter: absolute beside squared error, on slipped targets and on clean ones."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..losses.huber import huber_loss
from ..losses.regression import l1_loss, mse_loss
from .chapter import Chapter, Contrast, Expected, gain, levels, look

__all__ = ["chapter", "chapter_facts"]

Errors = Mapping[str, Tensor]
"""For each loss the clean test error of every split."""


def chapter_facts(slipped: Errors, clean: Errors, targets: Tensor) -> dict[str, float]:
    """The numbers of the chapter; ``targets`` are the slipped ones of one split."""
    began = float(l1_loss(targets.new_zeros(targets.shape), targets))  # a model that answers 0
    return {
        **gain("story_slip", slipped["absolute error"], slipped["squared error"], less=True),
        **gain("story_huber", slipped["Huber"], slipped["squared error"], less=True),
        **gain("story_clean", clean["squared error"], clean["absolute error"], less=True),
        **levels("story_expect", "l1_loss", began, target=targets),
    }


def chapter(facts: Mapping[str, float], features: Tensor, targets: Tensor, splits: int) -> Chapter:
    """Told with the slipped rows of one split, (rows, features) and (rows,)."""
    over, figure = f"standard deviation over {splits} splits", "points off, for clean patients"
    middle = targets.median()
    batch = features.float(), ((targets - middle) / (targets - middle).abs().median()).float()

    def made() -> nn.Module:
        return nn.Sequential(nn.Linear(features.shape[-1], 1), nn.Flatten(0))

    ways = {"absolute error": l1_loss, "Huber": huber_loss, "squared error": mse_loss}
    return Chapter(
        task="regression",
        name="Regression: the outlier",
        contrasts=[
            Contrast("story_slip", "absolute error", "squared error", figure, over, "one target in ten slipped", ".1f"),
            Contrast("story_huber", "Huber", "squared error", figure, over, "one target in ten slipped", ".1f"),
            Contrast("story_clean", "squared error", "absolute error", figure, over, "no target slipped", ".1f"),
        ],
        expected=Expected("story_expect", "l1_loss", "target=the slipped targets", "a model that answers 0"),
        looks=[look(name, made, batch, loss) for name, loss in ways.items()],
        evaluation=(
            f"The judge has patients whose targets are clean. Without slips squared error misses them by {facts['error_mse_at_0']:.1f} points, with "
            f"one slip in ten by {facts['error_mse_at_10']:.1f}, absolute error by {facts['error_mae_at_10']:.1f}. The training loss does not "
            "tell: only clean rows do. The doctor, who sees the loss alone, has nothing to object to."
        ),
        read=["docs/explanation/squared_or_absolute.md", "losskit show huber_loss", "losskit show l1_loss"],
        told=tuple(targets.tolist()),
    )
