"""A loss of embeddings as sentence-transformers has them: for ``SentenceTransformerTrainer(loss=...)``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..core.card import CATALOGUE, Card
from ..core.domain import Embeddings
from ..core.module import Loss

try:
    from sentence_transformers import SentenceTransformer
except ImportError as problem:
    raise ImportError(
        "losskit.integrations.sentence_transformers needs sentence-transformers: pip install 'losskit[sentence-transformers]'"
    ) from problem

__all__ = ["SentenceTransformerLoss"]


class Columns(NamedTuple):
    """What a loss takes from a data set: so many columns of text, hard negatives after them or not, a label or not."""

    texts: tuple[str, ...]
    pool: str | None
    """The option that takes further columns, and whether each row brings its own: (*, H, D) rather than (M, D)."""
    own: bool
    label: str | None

    @classmethod
    def of(cls, card: Card) -> Columns:
        """Read from the card: tensors that are embeddings are columns, the one that is not is the label.

        Raises:     TypeError for a loss that is not one of embeddings, or has weights of its own.
        """
        kinds = [(name, card.sample.get(name)) for name in card.tensors]
        texts = tuple(name for name, domain in kinds if isinstance(domain, Embeddings) and domain.axes[0])
        others = [name for name, _ in kinds if name not in texts]
        if not texts or len(others) > 1 or card.tensors[: len(texts)] != [*texts]:
            raise TypeError(
                f'"loss" is {card.name}, which takes ({", ".join(card.tensors)}): expected embeddings and at most one label'
            )
        negatives = card.sample.get("negatives")
        own = negatives is not None and negatives.axes[0]
        return cls(texts, "negatives" if negatives is not None else None, own, others[0] if others else None)


class SentenceTransformerLoss(nn.Module):
    """Any losskit loss of embeddings for ``SentenceTransformerTrainer``: encodes each column and hands them over in order.

    =====================================================  ====================================================
    loss takes                                             the data set has
    =====================================================  ====================================================
    (query, key)                                           two columns of text, and more for hard negatives
    (query, key, target)                                   two columns and a label or score
    (anchor, positive, negative)                           three columns
    (input, labels)                                        one column and a label
    =====================================================  ====================================================

    Ids of rows cannot be given in this trainer: with ``batch_sampler=BatchSamplers.NO_DUPLICATES`` no text is twice in a batch.
    Columns are taken by their place, the label by its name ("label", "score", ...), as everywhere in sentence-transformers.
    Parameters of the loss itself, such as a learned temperature, are trained if they are the loss's own ``nn.Parameter``.

    Args:
        model: the model that is trained.
        loss: a losskit module, e.g. ``losskit.MultipleNegativesRankingLoss(temperature=0.05)``.
    Raises:     ImportError without sentence-transformers; TypeError for another kind of loss; ValueError for other columns
                than it takes, at the first batch.
    Example:
        from sentence_transformers import SentenceTransformerTrainer
        from losskit.integrations.sentence_transformers import SentenceTransformerLoss

        loss = SentenceTransformerLoss(model, losskit.MultipleNegativesRankingLoss(temperature=0.05))
        SentenceTransformerTrainer(model=model, train_dataset=pairs, loss=loss).train()
    """

    def __init__(self, model: SentenceTransformer, loss: Loss) -> None:
        super().__init__()
        name = getattr(getattr(type(loss), "function", None), "__name__", "")
        if name not in CATALOGUE:
            raise TypeError(f'"loss" is {type(loss).__name__}, expected a losskit module such as MultipleNegativesRankingLoss()')
        if getattr(loss, "reduction", "mean") == "none":
            raise ValueError('"loss" has reduction="none", expected "mean" or "sum": a trainer needs one number')
        self.model, self.loss, self.card = model, loss, CATALOGUE[name]
        self.columns = Columns.of(self.card)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """The loss of a batch."""
        rows = [self.model(dict(features))["sentence_embedding"] for features in sentence_features]
        return self.compute_loss_from_embeddings(rows, labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """The same of columns that are encoded already, as wrappers such as ``MatryoshkaLoss`` call it.

        Shape:      (N, D) for each column, labels (N,)
        """
        takes, given = self.columns, len(embeddings)
        if given < len(takes.texts) or (given > len(takes.texts) and takes.pool is None):
            more = " or more" if takes.pool else ""
            raise ValueError(
                f"the data set has {given} columns of text, expected {len(takes.texts)}{more} for {self.card.name}: "
                f"{', '.join(takes.texts)}"
            )
        first, further = embeddings[: len(takes.texts)], embeddings[len(takes.texts) :]
        options: dict[str, Tensor] = {}
        if takes.pool and further:
            options[takes.pool] = torch.stack(further, 1) if takes.own else torch.cat(further)
        if takes.label is not None:
            if labels is None:
                raise ValueError(
                    f'the data set has no label, and {self.card.name} takes "{takes.label}": name a column "label" or "score"'
                )
            first = [*first, labels.reshape(-1)]
        elif labels is not None:
            raise ValueError(
                f"the data set has a label, and {self.card.name} takes none: leave it out; rows that say the same are kept"
                " apart by batch_sampler=BatchSamplers.NO_DUPLICATES"
            )
        return cast(Tensor, self.loss(*first, **options))

    def get_config_dict(self) -> dict[str, Any]:
        """The options that are not at their default, for the model card."""
        said = {"loss": type(self.loss).__name__}
        for name, default in self.card.options.items():
            value = getattr(self.loss, name)
            if isinstance(value, Tensor):
                said[name] = str(value.tolist()) if value.numel() == 1 else f"Tensor{tuple(value.shape)}"
            elif value is not default and value != default:
                said[name] = value
        return said

    @property
    def citation(self) -> str:
        """The paper of the loss, for the model card."""
        paper = " ".join(self.card.sections.get("Reference", "").split())
        return f"{self.card.name} of losskit: {paper}"
