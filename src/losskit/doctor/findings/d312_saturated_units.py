"""D312: a layer of tanh or sigmoid stands at its bounds."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.precision import Module
from ..finding import Hit, finding

__all__ = ["saturated_units"]

SATURATED = 0.9  # of the outputs within 1 % of a bound; ours: no healthy run of the tests has more
ROWS = 16  # that each unit was seen with
LOOKS = 3  # of a live run in a row
BOUNDED = ("Tanh", "Sigmoid", "Hardtanh", "Hardsigmoid")
WEIGHTS = ("Linear", "Conv", "LSTM", "GRU", "RNN", "Bilinear")


@finding(
    "D312", severity="warning", phases=("before", "during"), explains=("D209", "D310", "D217", "D218", "D403", "D504", "D505")
)
def saturated_units(evidence: Evidence) -> Iterator[Hit]:
    """More than nine in ten outputs of a hidden tanh are beyond 0.99: almost no gradient comes through.

    Cause:       The slope of tanh at 0.99 is 0.02, that of a sigmoid at 0.99 is 0.01. Inputs of large scale, large weights
                 or too large a learning rate drive units there, and two or three such layers let nothing through.
    Rule:        More than 90 % of a hidden module's outputs are within 1 % of a bound (class Tanh, Hardtanh; Sigmoid,
                 Hardsigmoid), seen with at least 16 rows; in a live run at three looks in a row.
    Silent when: it is the output of the model (no layer with weights comes after it): a sure classifier and an image are
                 saturated. A function in place of a module (torch.tanh, F.sigmoid) is not seen.
    Fix:         standardise the inputs, put nn.LayerNorm in front of the activation, or use nn.GELU().
    Confirm:     (layer(x).abs() > 0.99).float().mean() is below 0.9.
    Reference:   Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks.
    Example:
        nn.Sequential(linear, nn.Tanh(), head)(1000 * x)  # sick
        nn.Sequential(linear, nn.Tanh(), head)(x)         # healthy
    """
    looks = evidence.probes.looks if evidence.probes is not None else ()
    if evidence.precision is not None:
        passes: list[tuple[Module, ...]] = [evidence.precision.modules]
    elif len(looks) >= LOOKS:
        passes = [look.modules for look in looks[-LOOKS:]]
    else:
        return
    names = [{module.name for module in _saturated(modules)} for modules in passes]
    sick = [module for module in _saturated(passes[-1]) if all(module.name in seen for seen in names)]
    if sick:
        first = sick[0]
        more = f", as in {len(sick) - 1} more layers" if len(sick) > 1 else ""
        said = f'{first.saturated:.0%} of the outputs of "{first.name}" ({first.kind}) are within 1 % of a bound{more}'
        step = looks[-len(passes)].step if looks and evidence.precision is None else None
        yield Hit(said, {"saturated": first.saturated, "layers": len(sick)}, where=first.name, step=step)


def _saturated(modules: tuple[Module, ...]) -> list[Module]:
    """Hidden ones only: those after which a layer with weights comes."""
    weighted = [i for i, module in enumerate(modules) if module.kind.startswith(WEIGHTS)]
    hidden = modules[: weighted[-1]] if weighted else ()
    return [m for m in hidden if m.kind in BOUNDED and m.saturated > SATURATED and m.rows >= ROWS]
