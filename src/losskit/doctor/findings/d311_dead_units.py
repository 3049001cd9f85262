"""D311: units that are zero for every sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..evidence import Evidence
from ..evidence.precision import Module
from ..finding import Hit, finding

__all__ = ["dead_units"]

DEAD = 0.9  # of a layer's units
ROWS = 1024  # that each unit was seen with: fewer leave sparse units unseen
ANSWERED, DOUBT = 0.02, 0.05  # of the inputs; chance that a layer that answers so many was silent for those that were seen
LAYER = 8  # units: a rectifier of fewer may be a penalty that is met, a hinge
RECTIFIERS = ("ReLU", "ReLU6", "Threshold", "Hardshrink", "Softshrink")


@finding("D311", severity="warning", phases=("before", "during"), explains=("D209", "D310", "D217", "D218", "D403", "D505"))
def dead_units(evidence: Evidence) -> Iterator[Hit]:
    """Nine in ten units of a layer, or all, are zero whatever the input: they no longer learn.

    Cause:       A rectifier that is negative for all inputs has a gradient of zero for ever. One step with too large a
                 learning rate, a large negative bias or inputs of large scale push a whole layer there.
    Rule:        The output of a module of class ReLU (ReLU6, Threshold, shrinkage) has more than 90 % of its units at
                 exactly 0 for all rows, in one pass of at least 1024 rows, or all of its units in several passes that have as
                 many rows together. Or the whole layer is 0 for so many samples that one which answers 2 % of all inputs does
                 that with a chance below 5 %: for each of 149 samples, for all but one of 236.
    Silent when: the rectifier is a function and no module (F.relu, torch.relu: not seen); it has fewer than 8 units and no
                 module with parameters takes them (a hinge whose penalty is met); fewer rows were seen; units are
                 sparse but not dead (a batch of images has thousands of rows for each channel).
    Fix:         divide the learning rate by 3 to 10 and warm it up; nn.LeakyReLU(0.01) or nn.GELU(); standardise the
                 inputs.
    Confirm:     (layer(x) == 0).all(0).float().mean() is below 0.9 on a fresh model.
    Reference:   Maas et al. 2013, Rectifier nonlinearities improve neural network acoustic models.
    Example:
        nn.init.constant_(linear.bias, -100.0); nn.Sequential(linear, nn.ReLU(), head)  # sick
        nn.init.zeros_(linear.bias); nn.Sequential(linear, nn.ReLU(), head)             # healthy
    """
    looks = evidence.probes.looks if evidence.probes is not None else ()
    passes = [evidence.precision.modules] if evidence.precision is not None else [look.modules for look in looks]
    last = [module for module in (passes[-1] if passes else ()) if _is_dead_layer(module)]
    samples = [evidence.batch.samples if evidence.batch else 0] if evidence.precision else [look.batch_size for look in looks]
    found = [(module, _rows(module, passes), _silent(module, passes, samples)) for module in last]
    sick = [(module, rows) for module, rows, silent in found if rows >= ROWS or silent]
    if sick:
        module, rows = sick[0]
        more = f", as in {len(sick) - 1} more layers" if len(sick) > 1 else ""
        said = f'{module.dead:.0%} of the units of "{module.name}" ({module.kind}) are 0 for all of {rows} rows{more}'
        numbers = {"dead": module.dead, "rows": rows, "layers": len(sick)}
        yield Hit(said, numbers, where=module.name, step=looks[-1].step if looks else None)


def _is_dead_layer(module: Module) -> bool:
    several = module.feeds or not 0 < module.units < LAYER
    return module.kind in RECTIFIERS and module.dead > DEAD and several


def _rows(module: Module, passes: Sequence[Sequence[Module]]) -> int:
    """Rows of this pass; of all passes in a row where not one unit was alive."""
    if module.dead < 1:
        return module.rows
    return sum(same.rows for same in _last(module, passes, 1.0))


def _silent(module: Module, passes: Sequence[Sequence[Module]], samples: Sequence[int]) -> bool:
    """Whether the layer as a whole answers too few samples: rows of one sample are not independent, and count as one."""
    seen = answered = 0
    for same, count in zip(_last(module, passes, DEAD), reversed(samples), strict=False):
        alive = round((1 - same.silent) * same.rows)
        if same.rows < count or (alive and same.rows != count):
            break
        seen, answered = seen + count, answered + alive
    return answered < ANSWERED * seen and sum(math.exp(_chance(k, seen)) for k in range(answered + 1)) < DOUBT


def _chance(k: int, of: int) -> float:
    """Logarithm of the chance that k samples of so many are answered."""
    ways = math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
    return ways + k * math.log(ANSWERED) + (of - k) * math.log(1 - ANSWERED)


def _last(module: Module, passes: Sequence[Sequence[Module]], dead: float) -> Iterator[Module]:
    """The same layer in all passes in a row, the newest first, in which so many of its units were dead."""
    for modules in reversed(passes):
        same = next((m for m in modules if m.name == module.name), None)
        if same is None or same.dead < dead:
            return
        yield same
