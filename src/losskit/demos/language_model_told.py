"""The language model as a chapter: one mean over all tokens beside means of batches and means of perplexities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import generator
from .chapter import Chapter, Contrast, Expected, Look, gain, levels, look
from .gpt import GPT, Rows

__all__ = ["Means", "chapter", "chapter_facts", "means"]

BATCH, DRAWS = 4, 20  # topics of an evaluation batch, and random draws of the topics
ROWS = 4  # that the doctor looks at


class Means(NamedTuple):
    """Perplexity of the same scores by three ways to take the mean: one value for each draw."""

    tokens: Tensor
    batches: Tensor
    perplexities: Tensor


def means(nats: Sequence[float], tokens: Sequence[int], batch: int, draws: int = DRAWS, share: float = 1.0) -> Means:
    """exp of the mean over tokens; exp of the mean of batch means; mean of the batches' perplexities; of random draws of the topics."""
    total, count = torch.tensor(nats, dtype=torch.float64), torch.tensor(tokens, dtype=torch.float64)
    found: list[Tensor] = []
    for seed in range(draws):
        drawn = torch.randperm(len(total), generator=generator(seed))[: max(1, round(share * len(total)))]
        each = torch.stack([total[rows].sum() / count[rows].sum() for rows in drawn.split(batch)])
        right = total[drawn].sum() / count[drawn].sum()
        found.append(torch.stack([right.exp(), each.mean().exp(), each.exp().mean()]))
    return Means(*torch.stack(found, 1))


def chapter_facts(nats: Sequence[float], tokens: Sequence[int], facts: Mapping[str, float], vocabulary: int) -> dict[str, float]:
    """The numbers of the chapter: how far from the perplexity each wrong mean is, in per cent and whichever way; the right one is 0 off."""
    known = levels("story_expect", "linear_cross_entropy", facts["loss_untrained"], num_classes=vocabulary)
    alone, mixed = means(nats, tokens, 1, share=0.5), means(nats, tokens, BATCH)
    for key, wrong, right in (
        ("perplexities", alone.perplexities, alone.tokens),
        ("batches", alone.batches, alone.tokens),
        ("mixed", mixed.perplexities, mixed.tokens),
    ):
        off = 100 * (wrong / right - 1).abs()
        known |= gain(f"story_{key}", torch.zeros_like(off), off, less=True)
    whole = means(nats, tokens, 1, draws=1)
    return known | {f"story_by_{key}": float(value) for key, value in zip(Means._fields, whole, strict=True)}


def chapter(facts: Mapping[str, float], model: GPT, rows: Rows) -> Chapter:
    """Told with the trained model and the rows of the held-out topics."""
    figure, right, single = "error of the reported perplexity", "mean over all tokens", "a topic a batch"
    halves, orders = (f"standard deviation over {DRAWS} random {what} of the topics" for what in ("halves", "orders"))
    few = Rows(rows.labels[:ROWS], rows.document[:ROWS])
    return Chapter(
        task="language",
        name="Language model: which mean",
        contrasts=[
            Contrast("story_perplexities", right, "mean of batch perplexities", figure, halves, single, ".1f", "%"),
            Contrast("story_batches", right, "exp of the mean of batch means", figure, halves, single, ".1f", "%"),
            Contrast("story_mixed", right, "mean of batch perplexities", figure, orders, f"{BATCH} topics a batch", ".1f", "%"),
        ],
        expected=Expected(
            "story_expect", "linear_cross_entropy", f"num_classes={facts['vocabulary']:.0f}", "the untrained model"
        ),
        looks=[_looked(way, model, few, loss) for way, loss in ((right, per_token), ("mean of batch perplexities", per_row))],
        evaluation=(
            f"losskit.evaluate.perplexity gives {facts['perplexity_disjoint']:.1f} ({facts['perplexity_low_disjoint']:.1f} to "
            f"{facts['perplexity_high_disjoint']:.1f}, 95 % interval over {facts['topics_held']:.0f} topics) and "
            f"{facts['bits_per_byte_disjoint']:.3f} bits per byte. With a topic a batch, exp of the mean of batch means is "
            f"{facts['story_by_batches']:.1f} and the mean of batch perplexities {facts['story_by_perplexities']:.1f}. Trained on a mean of the topics' own means the gradient of the table would "
            f"be off by {100 * facts['gradient_off_means']:.0f} %; in pieces with the count of all as normalizer by "
            f"{100 * facts['gradient_off_counted']:.1g} %."
        ),
        read=["docs/guide/means.md", "docs/guide/perplexity.md", "docs/explanation/perplexity.md", "losskit perplexity --help"],
    )


def per_token(scores: Tensor, target: Tensor) -> Tensor:
    """The mean over all tokens."""
    return F.cross_entropy(scores.flatten(0, 1), target.flatten())


def per_row(scores: Tensor, target: Tensor) -> Tensor:
    """The mean of the rows' perplexities."""
    each = F.cross_entropy(scores.movedim(-1, 1), target, reduction="none")
    return (each.sum(1) / (target >= 0).sum(1)).exp().mean()


def _looked(way: str, model: GPT, rows: Rows, loss: Callable[[Tensor, Tensor], Tensor]) -> Look:
    """The doctor looks at the head alone, whose weights are the trained ones: what it says is about the mean."""
    with torch.no_grad():
        hidden = model(rows)
    target = rows.targets()

    def made() -> nn.Module:
        head = nn.Linear(hidden.shape[-1], len(model.table), bias=False)
        head.weight = nn.Parameter(model.table.detach().clone())
        return head

    return look(way, made, (hidden, target), loss, trained=True)
