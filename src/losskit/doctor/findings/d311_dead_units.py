"""D311: units that are zero for every sample."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.precision import Module
from ..finding import Hit, finding

__all__ = ["dead_units"]

DEAD = 0.9  # of a layer's units
ROWS = 1024  # that each unit was seen with: fewer leave sparse units unseen
RECTIFIERS = ("ReLU", "ReLU6", "Threshold", "Hardshrink", "Softshrink")


@finding("D311", severity="warning", phases=("before", "during"), explains=("D209", "D310", "D217", "D218", "D403", "D505"))
def dead_units(evidence: Evidence) -> Iterator[Hit]:
    """More than nine in ten units of a layer are zero for every one of at least 1024 rows: they no longer learn.

    Cause:       A rectifier that is negative for all inputs has a gradient of zero for ever. One step with too large a
                 learning rate, a large negative bias or inputs of large scale push a whole layer there.
    Rule:        The output of a module of class ReLU (ReLU6, Threshold, shrinkage) has more than 90 % of its units at
                 exactly 0 for all rows, in one pass of at least 1024 rows, or all of its units in several passes that have
                 as many rows together.
    Silent when: the rectifier is a function and no module (F.relu, torch.relu: not seen); fewer rows were seen; units are
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
    last = [module for module in (passes[-1] if passes else ()) if module.kind in RECTIFIERS and module.dead > DEAD]
    found = [(module, _rows(module, passes)) for module in last]
    sick = [(module, rows) for module, rows in found if rows >= ROWS]
    if sick:
        module, rows = sick[0]
        more = f", as in {len(sick) - 1} more layers" if len(sick) > 1 else ""
        said = f'{module.dead:.0%} of the units of "{module.name}" ({module.kind}) are 0 for all of {rows} rows{more}'
        numbers = {"dead": module.dead, "rows": rows, "layers": len(sick)}
        yield Hit(said, numbers, where=module.name, step=looks[-1].step if looks else None)


def _rows(module: Module, passes: list[tuple[Module, ...]]) -> int:
    """Rows of this pass; of all passes in a row where not one unit was alive."""
    if module.dead < 1:
        return module.rows
    rows = 0
    for modules in reversed(passes):
        same = next((m for m in modules if m.name == module.name), None)
        if same is None or same.dead < 1:
            break
        rows += same.rows
    return rows
