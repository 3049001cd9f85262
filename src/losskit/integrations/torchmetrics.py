"""losskit's metrics as torchmetrics has them: in a MetricCollection, in Lightning's ``self.log``, over ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ..evaluate.metric import Perplexity as Counter

try:
    from torchmetrics import Metric
except ImportError as problem:
    raise ImportError("losskit.integrations.torchmetrics needs torchmetrics: pip install torchmetrics") from problem

__all__ = ["Perplexity"]


class Perplexity(Metric):
    """:class:`losskit.Perplexity` as a ``torchmetrics.Metric``: two states, both summed over ranks.

    ``nats`` is float64 and ``tokens`` int64, and stay so under ``.half()``. Documents, groups and units are of
    :class:`losskit.Perplexity` alone. Not for mps, which has no float64.

    Args:
        ignore_index, class_dim, shift: as in :class:`losskit.Perplexity`.
        options: torchmetrics' own, such as ``dist_sync_on_step``.
    Returns:    exp(nats / tokens), 0-d float64; NaN where nothing was counted, as torchmetrics has it, so that ``forward``
                may pass a batch of padding.
    Raises:     ImportError without torchmetrics; what :meth:`losskit.Perplexity.update` raises.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 1.0
    nats: Tensor
    tokens: Tensor

    def __init__(self, *, ignore_index: int = -100, class_dim: int = -1, shift: bool = False, **options: Any) -> None:
        super().__init__(**options)
        Counter(ignore_index=ignore_index, class_dim=class_dim, shift=shift)  # raises here, not at the first batch
        self.ignore_index, self.class_dim, self.shift = ignore_index, class_dim, shift
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @override
    def update(self, preds: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Count the tokens of a batch; nothing waits for the device.

        Shape:      preds (*, V) scores before the softmax, target (*), mask (*)
        """
        counter = Counter(ignore_index=self.ignore_index, class_dim=self.class_dim, shift=self.shift)
        counter.update(preds, target, mask=mask)
        nats, tokens = counter.parts()
        self.nats = self.nats + nats.to(self.nats.device)
        self.tokens = self.tokens + tokens.to(self.tokens.device)

    @override
    def compute(self) -> Tensor:
        """exp(nats / tokens), 0-d float64."""
        return (self.nats / self.tokens).exp()
