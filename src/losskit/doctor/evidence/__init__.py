"""All that the rules may look at: what was seen of a run, in sections, each of which may be missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .calls import Batch, LossCall
    from .dependence import Dependence
    from .modes import Modes
    from .overfit import Overfit
    from .precision import Precision
    from .probes import Probes
    from .replay import Replay
    from .run import Run
    from .wiring import Wiring

__all__ = ["Evidence", "Phase", "Settings"]

Phase = Literal["before", "during", "after"]


@dataclass(frozen=True)
class Settings:
    """What the user said of the run; None where nothing was said."""

    task: str | None = None
    """"language" or None: what the batch tells."""
    from_scratch: bool | None = None
    """Whether the weights are fresh: only then is the loss at the start known."""
    objective: Literal["mining", "adversarial"] | None = None
    """A loss that need not fall: what waits for a fall keeps silent."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step."""


@dataclass(frozen=True)
class Evidence:
    """What was seen, in sections; a rule reads those it needs and yields nothing where they are missing."""

    phase: Phase
    settings: Settings = field(default_factory=Settings)
    calls: tuple[LossCall, ...] = ()
    """Every loss that was called for one batch, in order. Before, and at the start of a live run."""
    total: float | None = None
    """The loss of the batch, as the user's code returned it; NaN included."""
    batch: Batch | None = None
    wiring: Wiring | None = None
    dependence: Dependence | None = None
    precision: Precision | None = None
    overfit: Overfit | None = None
    modes: Modes | None = None
    probes: Probes | None = None
    """What a live run looks at every so often."""
    replay: Replay | None = None
    """The batch of the first value that was not finite, run again under observation."""
    run: Run | None = None
    """The curves: of a live run so far, or of a log."""
