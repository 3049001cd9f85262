"""What the best constant answer would have cost each batch: the loss less that is free of what the batch's targets decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..before.facts import look_at_batch
from ..before.labels import class_dim, entry_of
from ..evidence.calls import Batch, LossCall
from ..levels_constant import KNOWN, best_constant_of

__all__ = ["Targets"]

MOST_CLASSES = 1000  # a vocabulary is too long to be counted at every step
MOST_COLUMNS = 32  # above, an image rather than a handful of outputs
SAME = 1e-3  # relative: the loss is that one call and nothing else


class Targets:
    """Frequencies or mean of the targets so far, on their device; nothing is waited for."""

    def __init__(self) -> None:
        self.series = ""
        """The curve that the costs make; "" where the targets are not those of one known loss that is all of the total."""
        self._path = ""
        self._name = ""
        self._classes = 0
        self._ignored = -100
        self._sum: Tensor | None = None
        self._count: Tensor | float = 0.0

    def know(self, calls: Sequence[LossCall], total: float | None, batch: Batch | None) -> None:
        """Find the targets in the batch by the first batch's loss."""
        whole = [c for c in calls if c.name in KNOWN and _is_plain(c) and _equal(float(c.value or 0.0), total)]
        path = entry_of(batch, whole[0].tensors["target"]) if len(whole) == 1 else ""
        if not path:
            return
        call = whole[0]
        classes = call.tensors["input"].shape[class_dim(call)] if call.name == "cross_entropy" else 0
        target = call.tensors["target"]
        columns = target[0].numel() if target.dim() > 1 and call.name != "cross_entropy" else 1
        if target.dim() and classes <= MOST_CLASSES and columns <= MOST_COLUMNS:
            self._path, self._name, self._classes = path, call.name, classes
            self._ignored = int(call.options.get("ignore_index", -100))
            self.series = best_constant_of(call.name)

    def cost(self, batch: Any) -> Tensor | float:
        """Of the best constant for all targets up to these; NaN where the batch has none."""
        if not self.series or batch is None:
            return math.nan
        try:
            with torch.no_grad():
                return self._cost(look_at_batch(batch).tensors[self._path])
        except Exception:  # a batch of another make
            return math.nan

    def _cost(self, target: Tensor) -> Tensor:
        if self._name == "cross_entropy":
            flat = target.reshape(-1).long()
            counted = (flat >= 0) & (flat < self._classes) & (flat != self._ignored)
            here = torch.zeros(self._classes, dtype=torch.float64, device=flat.device)
            here.scatter_add_(0, flat.where(counted, 0), counted.double())
            self._sum = here if self._sum is None else self._sum + here
            return -torch.xlogy(here, self._sum / self._sum.sum()).sum() / here.sum()
        rows = target.reshape(len(target), -1).double()
        here, self._count = rows.sum(0), self._count + len(rows)
        self._sum = here if self._sum is None else self._sum + here
        mean = self._sum / self._count
        if self._name == "mse_loss":
            return (rows - mean).square().mean()
        return -(torch.xlogy(rows, mean) + torch.xlogy(1 - rows, 1 - mean)).mean()


def _equal(value: float, total: float | None) -> bool:
    return total is not None and math.isclose(value, total, rel_tol=SAME)


def _is_plain(call: LossCall) -> bool:
    """Whether torch's function of that name says the same without weights, smoothing or another reduction."""
    tensors = {name: call.tensors[name] for name in ("input", "target") if name in call.tensors}
    if call.value is None or call.value.numel() != 1 or len(tensors) < 2:
        return False
    more = {"ignore_index": call.options["ignore_index"]} if call.options.get("ignore_index") is not None else {}
    try:
        with torch.no_grad():
            return _equal(float(getattr(F, call.name)(**tensors, **more)), float(call.value))
    except (RuntimeError, ValueError, TypeError, IndexError):  # arguments in the order of another library
        return False
