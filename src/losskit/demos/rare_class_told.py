"""The rare class as a chapter: cross-entropy beside squared error, the threshold, and weights beside focal loss."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..losses.binary import binary_cross_entropy_with_logits
from ..losses.regression import mse_loss
from .chapter import Chapter, Contrast, Expected, gain, levels, look

__all__ = ["SHRUG", "chapter", "chapter_facts", "shrug"]

SHRUG = "squared error"
Judged = Mapping[str, Mapping[str, Tensor]]
"""For each loss its figures, (looks, splits)."""


def shrug(logits: Tensor, target: Tensor) -> Tensor:
    """Squared error of the sigmoid: what binary cross-entropy is held against."""
    return mse_loss(logits.sigmoid(), target)


def chapter_facts(judged: Judged, untrained: Tensor, truth: Tensor, weight: Tensor, prior: float) -> dict[str, float]:
    """The numbers of the chapter; ``untrained`` are the logits of unseen rows before the first step."""

    def last(name: str, figure: str) -> Tensor:
        return judged[name][figure][-1]

    began = binary_cross_entropy_with_logits(untrained, truth, weight=weight.expand_as(untrained))
    return {
        **gain("story_loss", last("BCE", "ap"), last(SHRUG, "ap")),
        **gain("story_threshold", last("BCE (threshold moved)", "recall"), last("BCE", "recall")),
        **gain("story_weight", last("weighted", "recall"), last("focal", "recall")),
        **gain("story_focal", last("focal", "recall"), last("BCE", "recall")),
        "story_prior": prior,
        **levels("story_expect", "binary_cross_entropy_with_logits", float(began), prior=prior),
    }


def chapter(facts: Mapping[str, float], images: Tensor, target: Tensor, seeds: int, hidden: int) -> Chapter:
    """Told with the rows of one subsample, (rows, pixels) and (rows,), for the doctor and for the adviser."""
    over = f"standard deviation over {seeds} subsamples"
    batch = images.float(), target.float()

    def made() -> nn.Module:
        return nn.Sequential(nn.Linear(images.shape[-1], hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Flatten(0))

    return Chapter(
        task="binary",
        name="Binary: a yes that is rare",
        contrasts=[
            Contrast("story_loss", "binary cross-entropy", "squared error of the sigmoid", "average precision", over),
            Contrast("story_threshold", "threshold moved to the prior", "threshold left at 0.5", "recall", over, "one BCE model"),
            Contrast("story_weight", "weighted BCE", "focal loss, gamma 2", "recall", over, "threshold at 0.5"),
            Contrast("story_focal", "focal loss, gamma 2", "plain BCE", "recall", over, "threshold at 0.5"),
        ],
        expected=Expected(
            "story_expect",
            "binary_cross_entropy_with_logits",
            f"prior={facts['story_prior']:.4g}",
            "an untrained network on unseen rows",
        ),
        looks=[
            look("binary cross-entropy", made, batch, binary_cross_entropy_with_logits),
            look("squared error of the sigmoid", made, batch, shrug),
        ],
        evaluation=(
            f"Recall alone flatters: at its moved threshold the BCE model finds {100 * facts['recall_moved']:.0f} % of the rare class with a "
            f"precision of {facts['precision_moved']:.2f}. For each real positive the probabilities of BCE claim {facts['claimed_bce']:.1f}, "
            f"those of weighted BCE {facts['claimed_weighted']:.1f}: whoever needs probabilities leaves the weights off and moves the threshold."
        ),
        read=["docs/guide/imbalance.md", "docs/guide/calibration.md", "losskit show binary_cross_entropy_with_logits"],
        told=tuple(target.tolist()),
    )
