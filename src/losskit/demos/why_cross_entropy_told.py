"""Why cross-entropy, said: the answer, its limits, and its chapter of the story."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses.cross_entropy import cross_entropy
from ..losses.regression import mse_loss
from .chapter import Chapter, Contrast, Expected, gain, levels, look
from .data import digits

__all__ = ["answer", "chapter", "chapter_facts", "limits"]

CLASSES, SURE = 10, 15  # SURE: the bias of the start that the chapter is about
BATCH = 256  # rows that the doctor looks at


def answer(facts: Mapping[str, float], cap: int) -> str:
    """Which loss gets out of a wrong belief, after how many steps."""

    def needs(loss: str, start: int) -> str:
        share = facts[f"reached_{loss}_sgd_b{start}"]
        if share == 1:
            return f"{facts[f'steps_{loss}_sgd_b{start}']:.0f} steps"
        return f"gets there in {cap} on {100 * share:.0f} % of the splits" if share else f"does not get there in {cap}"

    ratio = facts["logit_gradient_ce_p0.01"] / facts["logit_gradient_mse_p0.01"]
    return (
        f"Cross-entropy: it hears a confident mistake. From a start sure of the wrong class (b = 10) it takes {needs('ce', 10)} of SGD "
        f"to 90 % test accuracy, squared error {needs('mse', 10)}, each at its best learning rate. From b = 15 cross-entropy takes "
        f"{needs('ce', 15)}; squared error {needs('mse', 15)}. Where the model gives the truth p = 0.01, cross-entropy's "
        f"gradient is {ratio:.0f} times as large."
    )


def limits(facts: Mapping[str, float], losses: Iterable[str]) -> list[str]:
    """What the numbers do not show."""
    final = [f"{100 * facts[f'accuracy_{loss}_sgd_b0']:.1f} %" for loss in losses]
    return [
        f"From an undecided start (b = 0) both losses learn, and end at {final[0]} (cross-entropy) and {final[1]} (squared error).",
        "Adam divides a gradient by its own size, so with it squared error does get out of a wrong belief, only later (second table).",
        "Gradients of the two losses are not in one unit (squared error's is a mean over 10 classes): each has its own learning rate.",
        "One linear model on small images: nothing here is about calibration or about wrong labels.",
    ]


def chapter_facts(right: Tensor, wrong: Tensor, starts: Sequence[float]) -> dict[str, float]:
    """The numbers of the chapter; both are accuracies after the last step, (splits, starts)."""
    _, labels = digits()
    sure = torch.zeros(len(labels), CLASSES, dtype=torch.float64)
    sure[:, 0] = SURE
    prior = torch.bincount(labels).double() / len(labels)
    known = {"num_classes": CLASSES, "prior": prior}
    facts = levels("story_expect", "cross_entropy", float(cross_entropy(sure, labels)), **known)
    for start in (0, SURE):
        i = list(starts).index(start)
        facts |= gain(f"story_b{start}", 100 * right[:, i], 100 * wrong[:, i])
    return facts


def squared(logits: Tensor, label: Tensor) -> Tensor:
    """Squared error between the softmax and the one-hot label."""
    return mse_loss(logits.softmax(-1), F.one_hot(label, CLASSES).to(logits.dtype))


def chapter(facts: Mapping[str, float], splits: int, steps: int) -> Chapter:
    """The sure start first, where the losses differ; then the undecided one, where they hardly do."""
    over, figure = f"standard deviation over {splits} splits", f"test accuracy after {steps} steps"
    images, labels = digits()
    batch = images[:BATCH].float(), labels[:BATCH]

    def made() -> nn.Module:
        model = nn.Linear(images.shape[-1], CLASSES)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        return model

    def sure() -> nn.Module:
        model = made()
        with torch.no_grad():
            model.get_parameter("bias")[0] = SURE
        return model

    sided = ("cross-entropy", "squared error of the softmax", figure, over)
    return Chapter(
        task="multiclass",
        name="Multi-class: a confident mistake",
        contrasts=[
            Contrast("story_b15", *sided, "start sure of a wrong class", ".1f", "%"),
            Contrast("story_b0", *sided, "undecided start", ".1f", "%"),
        ],
        expected=Expected("story_expect", "cross_entropy", "num_classes=10, prior=shares", "the start that is sure of class 0"),
        looks=[
            look("cross-entropy, undecided start", made, batch, cross_entropy),
            look("cross-entropy, sure start", sure, batch, cross_entropy),
            look("squared error of the softmax", made, batch, squared),
        ],
        evaluation=(
            f"Where the truth has p = 0.01, cross-entropy pulls its logit with {facts['logit_gradient_ce_p0.01']:.2f} and squared error with "
            f"{facts['logit_gradient_mse_p0.01']:.4f}. Undecided, both learn, and end at {facts['accuracy_ce_sgd_b0'] * 100:.1f} and "
            f"{facts['accuracy_mse_sgd_b0'] * 100:.1f} % on test rows; with Adam squared error leaves the wrong belief too, in "
            f"{100 * facts['reached_mse_adam_b15']:.0f} % of the splits within {steps} steps."
        ),
        read=["docs/explanation/why_cross_entropy.md", "losskit show cross_entropy", "losskit show D120"],
    )
