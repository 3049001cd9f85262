"""Draws the arguments of any card from its domains, so that a law is written once for all losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from losskit.core.card import CATALOGUE, Card
from losskit.core.domain import Domain, Sizes

SIZES: dict[str, int] = {"C": 4, "D": 3, "E": 2, "G": 2, "H": 2, "K": 2, "M": 5, "Q": 3, "L": 6}


@dataclass
class Case:
    """One call of one loss: positional tensors and options, all drawn."""

    card: Card
    tensors: dict[str, Tensor]
    options: dict[str, Any]
    sizes: Sizes = field(default_factory=lambda: Sizes(None, {}))

    def value(self, **changes: Any) -> Tensor:
        """The loss of this case, with options changed or added."""
        return self.card.function(*self.tensors.values(), **{**self.options, **changes})

    def replaced(self, **tensors: Tensor) -> Case:
        """The same case with other tensors, positional or optional."""
        positional = {k: tensors.get(k, v) for k, v in self.tensors.items()}
        return replace(
            self, tensors=positional, options={**self.options, **{k: v for k, v in tensors.items() if k not in positional}}
        )

    def everything(self) -> dict[str, Tensor]:
        """All tensors of the call, by name."""
        return {**self.tensors, **{k: v for k, v in self.options.items() if isinstance(v, Tensor)}}

    def learnable(self) -> dict[str, Tensor]:
        """The tensors that gradients flow to, options too: all that the domain calls float."""
        sample = self.card.sample
        return {n: t for n, t in self.everything().items() if n in sample and sample[n].kind == "float" and t.is_floating_point()}

    def predicted(self) -> dict[str, Tensor]:
        """The learnable tensors that a model puts out: not the target, nor a teacher, which may be learnable too."""
        return {n: t for n, t in self.learnable().items() if n != "target" and not n.startswith("teacher")}

    def with_grad(self) -> tuple[Case, list[Tensor]]:
        """The case with fresh leaves in place of the learnable tensors, and those leaves."""
        leaves = {n: t.detach().clone().requires_grad_() for n, t in self.learnable().items()}
        return self.replaced(**leaves), list(leaves.values())

    def mapped(self, change: Any) -> Case:
        """``change`` applied to every tensor that has leading axes (one entry for each row of the batch)."""
        moved = {n: change(t) for n, t in self.everything().items() if n in self.card.sample and self._leads(n, t)}
        return self.replaced(**moved)

    def _leads(self, name: str, tensor: Tensor) -> bool:
        return self.card.sample[name].axes[0] and tensor.ndim > 0

    def to(self, dtype: torch.dtype) -> Case:
        """The case with its floating-point tensors in another dtype."""
        return self.replaced(**{n: t.to(dtype) for n, t in self.everything().items() if t.is_floating_point()})


def draw(
    card: Card,
    variant: Mapping[str, Any] | None = None,
    *,
    batch: tuple[int, ...] = (6,),
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    **optional: bool,
) -> Case:
    """A case of ``card`` under ``variant``; ``weight=True`` or ``mask=True`` also draws that optional argument."""
    generator = torch.Generator().manual_seed(seed)
    sizes = Sizes(batch, dict(SIZES))
    chosen = dict(variant or {})
    tensors: dict[str, Tensor] = {}
    for name in card.tensors:
        domain = chosen.pop(name, card.sample[name])
        tensors[name] = domain if isinstance(domain, Tensor) else domain.draw(generator, sizes, dtype)
    chosen.update({name: card.sample[name] for name, wanted in optional.items() if wanted})
    options = {k: v.draw(generator, sizes, dtype) if isinstance(v, Domain) else v for k, v in chosen.items()}
    return Case(card, tensors, options, sizes)


def every_variant() -> list[tuple[str, Mapping[str, Any]]]:
    """(name, variant) of every card; the public face is loaded first so that the catalogue is whole."""
    import losskit

    losskit.api  # noqa: B018  # the attribute loads every loss
    return [(name, variant) for name, card in sorted(CATALOGUE.items()) for variant in card.variants]
