"""Where the first value that is not finite came from."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Replay"]


@dataclass(frozen=True)
class Replay:
    """The bad batch run again from the weights before it, under observation; the first bad thing of all is ``kind``."""

    step: int | None
    kind: str
    """"input", "target", "weight", "buffer", "forward", "loss", "backward", "optimizer" or "not reproduced"."""
    op: str = ""
    """The first operation with finite inputs and an output that is not: "log", "sqrt", "div", "softmax"."""
    module: str = ""
    """The module in which it happened, by its path: "encoder.layers.3"."""
    module_kind: str = ""
    where: str = ""
    """The user's line: "model.py:41"."""
    name: str = ""
    """Of the tensor, parameter or batch entry."""
    value: float = float("nan")
    """nan, inf or -inf."""
    index: tuple[int, ...] = ()
    """Its first place in the tensor."""
    sample: int | None = None
    """The sample of the batch that makes it; None if several do or it is not the batch."""
    bad: int = 0
    """How many values are not finite."""
    numel: int = 0
    largest_before: float | None = None
    """Largest magnitude of what went into the operation."""
    finite_in: tuple[str, ...] = ()
    """Formats in which the same batch stays finite: "float32", "float64"."""
    dtype: str = ""
    masked_row: bool = False
    """A softmax over a row in which everything is masked."""
    empty_count: bool = False
    """A mean or division over nothing."""
    trail: tuple[str, ...] = ()
    """The operations that led there, nearest last, each with its line."""
    lowest_before: float | None = None
    """Lowest value that went into the operation; of a division the divisor nearest to 0."""
    problem: str = ""
    """What the batch raised when it was run again."""
