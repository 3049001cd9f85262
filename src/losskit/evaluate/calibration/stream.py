"""Calibration over batches and ranks: sums of each bin are the whole state, so that any split gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

from ...core.call import whole_number
from ...core.check import choice
from ..totals import fields, others_of
from .confidence import Claim, InputKind, claims, given
from .error import check_bins, claim_of
from .reliability import IfCalibrated, Norm, ReliabilityTable, edges_of_equal_width, table_of, tally

__all__ = ["Calibration", "CalibrationResult"]

_KINDS = ("top of classes", "top of binary", "positive of binary")


class CalibrationResult(NamedTuple):
    """Everything that the bins of a ``Calibration`` tell; None where no row counts."""

    rows: int
    confidence: float | None
    """The mean of what was claimed."""
    accuracy: float | None
    """How often it came true: the share of right predictions, or of ones for confidence="positive"."""
    error: float | None
    """The expected calibration error, by ``norm``."""
    if_calibrated: IfCalibrated | None
    """What that error would be by chance alone, and how likely one as large."""
    debiased: float | None
    """The root of the mean squared error, less what chance puts there (norm "l2", Kumar et al. 2019)."""
    largest: float | None
    """The largest gap of any bin (norm "max")."""
    brier: float | None
    table: ReliabilityTable | None


class State(NamedTuple):
    """Sums of each bin, and what they are sums of: "top of classes", "positive of binary", ... or "" before the first batch."""

    kind: str
    rows: Tensor
    sums: Tensor

    def to(self, device: torch.device | str) -> State:
        """A copy elsewhere."""
        return State(self.kind, self.rows.to(device), self.sums.to(device))

    def plus(self, other: State) -> State:
        """Both together, on an accelerator if one of them is there."""
        if self.rows.shape != other.rows.shape:
            raise ValueError(f'"bins" is {len(other.rows)} in one and {len(self.rows)} in the other, expected the same in all')
        if self.kind and other.kind and self.kind != other.kind:
            raise ValueError(f"confidence is {other.kind} in one and {self.kind} in the other, expected the same in all")
        # float64 sums stay on the CPU where the device has none
        there = other if self.rows.device.type == "cpu" and other.sums.dtype == torch.float64 else self
        device, sums = there.rows.device, self.sums.to(torch.float64)
        return State(
            self.kind or other.kind,
            self.rows.to(device, non_blocking=True) + other.rows.to(device, non_blocking=True),
            sums.to(device, non_blocking=True) + other.sums.to(device).to(torch.float64),
        )


class Calibration:
    """Calibration error, reliability table and Brier score of data that come in batches, on one rank or many.

    Options are those of ``expected_calibration_error``; bins are of equal width, since they cannot wait for the data.
    ``update`` adds to float64 sums and int64 counts on the device of the first batch and waits for nothing.
    Each batch may have a number of classes of its own, as questions with four and with five answers have: the claim is that
    the prediction is right. For the same reason metrics of logits and of probabilities may be merged.

    Args:
        bins, norm, confidence, input_kind, ignore_index, class_dim: as in ``expected_calibration_error``.
        level: of the interval in the table.
    Example:
        >>> metric = losskit.Calibration(bins=5)
        >>> for z, y in [(torch.tensor([2.0, 2.0]), torch.tensor([1, 1])), (torch.tensor([2.0, 2.0]), torch.tensor([1, 0]))]:
        ...     metric.update(z, y)
        >>> metric.compute()
        tensor(0.1308, dtype=torch.float64)
        >>> round(metric.result().brier, 4)  # three times (1 - 0.88)^2, once 0.88^2
        0.2046
    """

    def __init__(
        self,
        *,
        bins: int = 15,
        norm: Norm = "l1",
        confidence: Claim | None = None,
        input_kind: InputKind = "logits",
        ignore_index: int = -100,
        class_dim: int = -1,
        level: float = 0.95,
    ) -> None:
        check_bins(bins, level)
        choice("norm", norm, ("l1", "l2", "max"))
        choice("confidence", confidence, (None, "top", "positive"))
        choice("input_kind", input_kind, ("logits", "probabilities"))
        whole_number("ignore_index", ignore_index)
        whole_number("class_dim", class_dim)
        self.bins, self.level = bins, level
        self.norm: Norm = norm
        self.confidence: Claim | None = confidence
        self.input_kind: InputKind = input_kind
        self.ignore_index, self.class_dim = ignore_index, class_dim
        self.reset()

    def reset(self) -> Self:
        """Forget every row, and what other ranks have said."""
        self._own = self._nothing()
        self._before: list[State] = []  # of the other ranks, as of the last sync(); in the order of ranks, so that all
        self._after: list[State] = []  # ranks add in the same order and get the same bits
        return self

    @torch.no_grad()
    def update(self, input: Tensor, target: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> None:
        """Add a batch, possibly an empty one; if it raises, nothing has been added.

        Shape:      input (*, C), target (*) of class indices; or binary: input (N,), target (N,) of 0 and 1
        Raises:     as ``expected_calibration_error``.
        """
        asked = given(
            input, target, input_kind=self.input_kind, ignore_index=self.ignore_index, class_dim=self.class_dim,
            weight=weight, mask=mask,
        )  # fmt: skip
        claim = claim_of(asked, self.confidence)
        edges = edges_of_equal_width(self.bins, asked.edges_dtype, asked.weight.device)
        kind = f"{claim} of {'binary' if asked.binary else 'classes'}"
        self._own = self._own.plus(State(kind, *tally(claims(asked, claim), edges)))

    def compute(self) -> Tensor:
        """The calibration error by ``norm``, 0-d float64 on the device of the sums.

        Raises:     ValueError if no row counts.
        """
        table = self._table(self._total())
        if table is None:
            raise ValueError("compute() has no row to go by: call update first, with a target that is not ignored")
        return table.error(self.norm)

    def result(self) -> CalibrationResult:
        """Every figure at once, as numbers; it waits for the device."""
        total = self._total()
        table, rows = self._table(total), int(total.rows.sum())
        if table is None:
            return CalibrationResult(0, None, None, None, None, None, None, None, None)
        weight, _, claimed, happened, squared = (float(each) for each in total.sums.sum(1))
        return CalibrationResult(
            rows=rows,
            confidence=claimed / weight,
            accuracy=happened / weight,
            error=float(table.error(self.norm)),
            if_calibrated=table.if_calibrated(self.norm),
            debiased=float(table.error("l2", debias=True)),
            largest=float(table.error("max")),
            brier=squared / weight,
            table=table,
        )

    def merge_state(self, others: Iterable[Calibration]) -> Self:
        """Add the rows of other metrics to this one, which are left as they are.

        Raises:     TypeError; ValueError if bins or what they judge differ, for this metric itself, or for one that comes twice.
        """
        self._own = reduce(State.plus, [self._own, *(other._own for other in others_of(self, others, Calibration))])
        return self

    def sync(self, process_group: dist.ProcessGroup | None = None) -> Self:
        """Let ``compute`` and ``result`` speak for all ranks, as of now; every rank calls it, a rank without rows too.

        Calling it twice counts nothing twice. Without a process group it does nothing.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return self
        found: list[State | None] = [None] * dist.get_world_size(process_group)
        dist.all_gather_object(found, self._own.to("cpu"), group=process_group)
        ranks, mine = [state for state in found if state is not None], dist.get_rank(process_group)
        reduce(State.plus, ranks)  # states that do not fit raise here, on every rank
        self._before, self._after = ranks[:mine], ranks[mine + 1 :]
        return self

    def state_dict(self) -> dict[str, Any]:
        """What this rank has counted, on the CPU; ``torch.load(weights_only=True)`` reads it."""
        return {"kind": self._own.kind, "rows": self._own.rows.cpu().clone(), "sums": self._own.sums.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Go on from a ``state_dict``: it replaces what was counted so far.

        Raises:     TypeError; ValueError for a state with another number of bins, or what ``state_dict`` does not return.
        """
        loaded = _checked(state)
        own = self._nothing().plus(loaded)
        self.reset()._own = own
        return self

    def _nothing(self) -> State:
        return State("", torch.zeros(self.bins, dtype=torch.int64), torch.zeros(5, self.bins, dtype=torch.float64))

    def _total(self) -> State:
        return reduce(State.plus, [*self._before, self._own, *self._after])

    def _table(self, total: State) -> ReliabilityTable | None:
        if not int(total.rows.sum()):
            return None
        edges = edges_of_equal_width(self.bins, total.sums.dtype, total.sums.device)
        return table_of(total.rows, total.sums, edges, self.level)


def _checked(state: object) -> State:
    kind, rows, sums = fields(state, "kind", "rows", "sums")
    counts = isinstance(rows, Tensor) and rows.dtype == torch.int64 and rows.ndim == 1 and not (rows < 0).any()
    floats = isinstance(sums, Tensor) and sums.is_floating_point()
    fits = {
        "rows": (counts, "int64 counts, one for each bin"),
        "sums": (floats and counts and sums.shape == (5, len(rows)), "five float64 sums for each bin"),
        "kind": (kind in _KINDS or (kind == "" and counts and not rows.any()), " or ".join(map(repr, _KINDS))),
    }
    for name, (fine, what) in fits.items():
        if not fine:
            raise ValueError(f'"state" has {name} other than {what}, expected what state_dict() returns')
    return State(kind, rows.clone(), sums.clone())
