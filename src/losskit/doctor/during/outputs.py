"""What a model puts out in one pass, where the loss of it is written by hand: how far apart the rows are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..evidence.calls import LossCall
from ..step import tensors_in

__all__ = ["outputs_seen", "spread_of"]

ROWS, FEATURES = 8, 2  # at least, to speak of a spread; one number a row is no embedding
MOST = 4  # tensors of one pass


@contextmanager
def outputs_seen(model: nn.Module) -> Generator[list[Tensor], None, None]:
    """Keep what the model returns while the block runs."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        seen.extend(t.detach() for t in tensors_in(output)[: MOST - len(seen)])

    handle = model.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def spread_of(outputs: Sequence[Tensor], batch: Any, calls: Sequence[LossCall]) -> tuple[tuple[str, float, float], ...]:
    """Of each output (rows, features): its name, the mean over features of the standard deviation, the mean cosine of rows.

    Nothing where a known loss was called, which says what its numbers are, or where the batch has numbers of that shape: targets
    that may be as close to each other. Nothing if the inputs are all the same.
    """
    given = tensors_in(batch)
    if any(call.home != "written" for call in calls) or not any(_differ(one) for one in given):
        return ()
    taken = {tuple(one.shape) for one in given if one.is_floating_point()}
    found = []
    for place, rows in enumerate(outputs):
        if rows.dim() != 2 or not rows.is_floating_point() or len(rows) < ROWS or rows.shape[1] < FEATURES:
            continue
        if tuple(rows.shape) not in taken:
            rows = rows.double()
            mean, count = nn.functional.normalize(rows, dim=1).mean(0), len(rows)
            cosine = (count * float(mean @ mean) - 1) / (count - 1)
            found.append((f"output {place}", float(rows.std(0, correction=0).mean()), cosine))
    return tuple(found)


def _differ(entry: Tensor) -> bool:
    return entry.dim() > 1 and len(entry) > 1 and not bool(torch.eq(entry, entry[:1]).all())
