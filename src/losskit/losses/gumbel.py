"""Gumbel noise: any ranking loss on orders that are drawn around the scores, and not on the one order that they are in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..core.call import verify, whole_number
from ..core.card import CATALOGUE, Card
from ..core.check import at_least, drawn_by, working
from ..core.module import Loss
from ..core.reduce import Ledger, reduce_total

__all__ = ["gumbel"]


def gumbel(
    loss: Callable[..., Tensor], *, samples: int = 8, temperature: float = 1.0, generator: torch.Generator | None = None
) -> nn.Module:
    r"""A ranking loss averaged over Gumbel noise on its scores: orders close to the model's are learned from too.

    ``gumbel(loss)`` is a module that is called as ``loss`` is, with the same options, and returns the same shapes; ``parts``
    takes it too. It adds noise to the scores ``samples`` times and takes the mean of the losses: in one call on lists with a
    new leading axis, or one call after the other for ragged lists. Sorting scores with Gumbel noise draws an order from
    Plackett-Luce's distribution, so a loss that knows its metric at one order only (lambda weights, ApproxNDCG) hears of
    others, and its steps are smoothed.

    Formula:    \frac{1}{S} \sum_{k=1}^S \ell(s + \tau g_k, y), g_k = -\log(-\log u), u uniform in (0, 1)
    Use when:   a loss by ranks (approx_ndcg_loss, lambda weights) gets stuck, or overfits small data.
    Avoid when: the loss is evaluated: the noise is there in eval mode too. Time is that of S calls.
    Shape:      as of the loss
    Args:
        loss: a ranking function or module of losskit, whose first tensor is ``scores``.
        samples: >= 1, S.
        temperature: >= 0, how much noise, in units of the scores; 0 leaves the loss as it is.
        generator: the same seed gives the same noise; by default torch's own.
    Returns:    a module.
    Raises:     TypeError for a loss that is not a ranking loss of losskit; ValueError.
    Reference:  Bruch et al. 2020, A Stochastic Treatment of Learning to Rank Scoring Functions
    Example:
        >>> noisy = losskit.gumbel(losskit.listnet_loss, samples=4, generator=torch.Generator().manual_seed(0))
        >>> noisy(torch.zeros(2, 3), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])).shape
        torch.Size([])
    """
    whole_number("samples", samples)
    at_least("samples", samples, 1)
    at_least("temperature", temperature, 0)
    drawn_by("generator", generator)
    return _Gumbel(loss, _card(loss), samples, temperature, generator)


def _card(loss: Callable[..., Tensor]) -> Card:
    function = type(loss).function if isinstance(loss, Loss) else loss
    name = getattr(function, "__name__", type(function).__name__)
    card = CATALOGUE.get(name)
    if card is None or card.function is not function or card.task != "ranking" or card.tensors[0] != "scores":
        raise TypeError(f'"loss" is {name}, expected a ranking loss of losskit, a function or a module, of "scores"')
    return card


class _Gumbel(nn.Module):
    """A ranking loss on scores with noise. Its card is looked up by name, so that it pickles."""

    def __init__(
        self, loss: Callable[..., Tensor], card: Card, samples: int, temperature: float, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.loss, self.name = loss, card.name
        self.samples, self.temperature, self.generator = samples, temperature, generator

    @override
    def forward(self, scores: Tensor, *tensors: Tensor, **options: Any) -> Tensor:
        """The mean over the samples, under the same reduction as one call."""
        if isinstance(self.loss, Loss):  # what it holds has to be repeated too
            options = {**{name: getattr(self.loss, name) for name in self.loss.options.parameters}, **options}
        reduction = options.get("reduction", "mean")
        normalizer = options.get("normalizer")
        card = CATALOGUE[self.name]
        # too many arguments: the loss says so. Errors tell of the shapes that were given, not of the repeated ones
        verify(card.sample, {**dict(zip(card.tensors, (scores, *tensors), strict=False)), **options}, None, -1)
        noisy = self._noisy(scores)
        if options.get("offsets") is not None:
            value = self._one_by_one(noisy, tensors, options)
        else:
            value = self.loss(noisy, *(self._repeated(t) for t in tensors), **self._every(options))
        if isinstance(normalizer, Ledger):
            assert normalizer.weight is not None
            normalizer.weight = normalizer.weight / self.samples
        elif reduction == "none":
            return value.mean(0)
        return value / self.samples if reduction == "sum" or normalizer is not None else value

    def _noisy(self, scores: Tensor) -> Tensor:
        """(S, *, L): drawn in the dtype that the loss computes in."""
        (scores,) = working(scores)
        # like the scores, so that vmap sees that every list draws its own
        drawn = torch.empty_like(self._repeated(scores.detach()), memory_format=torch.contiguous_format)
        drawn = drawn.exponential_(generator=self.generator).clamp(min=torch.finfo(scores.dtype).tiny)
        return scores - self.temperature * drawn.log()  # -log of an exponential number is a Gumbel number

    def _repeated(self, value: Tensor) -> Tensor:
        return value.expand(self.samples, *value.shape)

    def _every(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options, with those that have leading axes repeated."""
        sample = CATALOGUE[self.name].sample
        return {
            name: self._repeated(value) if isinstance(value, Tensor) and name in sample and sample[name].axes[0] else value
            for name, value in options.items()
        }

    def _one_by_one(self, noisy: Tensor, tensors: tuple[Tensor, ...], options: dict[str, Any]) -> Tensor:
        """Of ragged lists, which take no leading axis: (S, B), or the sum or mean over the samples as one call gives it."""
        normalizer, reduction = options.get("normalizer"), options.get("reduction", "mean")
        if not isinstance(normalizer, Ledger) and (reduction != "mean" or normalizer is not None):
            stacked = torch.stack([self.loss(scores, *tensors, **options) for scores in noisy])
            return stacked if reduction == "none" else stacked.sum(0)
        # the samples need not weigh the same (a pooled topk=1 sees other pairs in each): no mean of means
        ledger, values, weights = Ledger(), list[Tensor](), list[Tensor]()
        for scores in noisy:
            values.append(self.loss(scores, *tensors, **{**options, "normalizer": ledger}))
            assert ledger.weight is not None
            weights.append(ledger.weight)
        total, weight = torch.stack(values).sum(0), torch.stack(weights).sum(0)
        if isinstance(normalizer, Ledger):
            normalizer.weight = weight
            return total
        return reduce_total(total, weight, "mean")

    @override
    def extra_repr(self) -> str:
        function = "" if isinstance(self.loss, nn.Module) else f"{self.name}, "
        return f"{function}samples={self.samples}, temperature={self.temperature}"
