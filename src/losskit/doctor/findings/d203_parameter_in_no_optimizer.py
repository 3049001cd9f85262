"""D203: a parameter gets gradients that no optimizer will use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..before.measured import some
from ..during.still import still
from ..evidence import Evidence
from ..evidence.wiring import Parameter
from ..finding import Hit, Severity, finding

__all__ = ["parameter_in_no_optimizer"]

_WHAT = {"criterion": "of the loss function", "hidden": "in a plain list or attribute of the model", "loose": "outside the model"}


@finding("D203", severity="error", phases=("before", "during"), explains=("D205", "D218", "D705"))
def parameter_in_no_optimizer(evidence: Evidence) -> Iterator[Hit]:
    """A trainable parameter is in no optimizer: it stays at its first value for the whole run.

    Cause:       The optimizer was made before a layer was added or replaced; from a part of the model; without the parameters
                 of the loss function (ArcFace proxies, a learned temperature); or the layer is in a Python list, where
                 model.parameters() does not find it.
    Rule:        A parameter with requires_grad gets a gradient in one backward pass, and its identity is in no group of the
                 optimizer. Warning instead of error: only the last layers are optimized while the others are not frozen, which
                 may be meant (only noted with from_scratch=False); exactly the matrices are, as by Muon; or the parameter is
                 outside of model and loss function. Live: at two looks or more it has a gradient that is not 0, and no bit of it
                 has changed since the first; never more than a warning.
    Silent when: no optimizer was given; the parameter is frozen or gets no gradient; it belongs to another model that the loss
                 passes through, as a discriminator does; the run is declared adversarial.
    Fix:         optimizer = torch.optim.AdamW([*model.parameters(), *loss_fn.parameters()]), made after the last layer; layers
                 into nn.ModuleList, tensors into nn.Parameter attributes; freeze with requires_grad_(False) what is not to learn.
                 Several optimizers are given to check() as a list.
    Confirm:     the ids of all trainable parameters are among those in optimizer.param_groups.
    Reference:   pytorch/pytorch issue 14467.
    Example:
        self.layers = [nn.Linear(8, 8) for _ in range(3)]                  # sick
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])   # healthy
    """
    seen = evidence.wiring
    if evidence.settings.objective == "adversarial" or (seen is not None and (seen.own_step or not seen.loss_requires_grad)):
        return
    parameters = _live(evidence) if seen is None else seen.parameters
    reached = [p for p in parameters if p.requires_grad and p.grad in ("finite", "zero", "non-finite") and p.home != "other"]
    held = [p for p in reached if p.optimized]
    left = [p for p in reached if p.optimized is False]
    if not left:
        return
    names = some([p.name for p in left])
    share = sum(p.numel for p in left) / sum(p.numel for p in reached)
    place = _WHAT.get(left[0].home, "")
    said = f"{len(left)} of {len(reached)} parameters with a gradient are in no optimizer ({share:.1%} of the weights): {names}"
    numbers = {"parameters": len(left), "of": len(reached), "share": share}
    severity = _severity(left, held, from_scratch=evidence.settings.from_scratch)
    if seen is None and severity is None:
        severity = "warning"  # a second optimizer may be on its way
    yield Hit(f"{said}, {place}" if place else said, numbers, where=left[0].name, severity=severity)


def _live(evidence: Evidence) -> list[Parameter]:
    """What an optimizer holds at a look of a live run, and what no step has changed since the first; none if it holds nothing."""
    found = still(evidence)
    if found is None or not any(p.optimized for p in found[0]):
        return []
    trained, stood, _ = found
    return [p for p in trained if p.optimized or (p in stood and p.grad == "finite")]


def _severity(left: Sequence[Parameter], held: Sequence[Parameter], *, from_scratch: bool | None) -> Severity | None:
    """None for an error; a warning where it may be meant."""
    if any(p.home in ("criterion", "hidden") for p in left) or not held:
        return None
    if all(p.home == "loose" for p in left):
        return "warning"
    vectors = all(p.fan_in == 0 for p in left)
    if vectors and all(p.fan_in > 0 for p in held):
        return "warning"
    if from_scratch or not _only_the_last(left, held):
        return None
    return "info" if from_scratch is False else "warning"


def _only_the_last(left: Sequence[Parameter], held: Sequence[Parameter]) -> bool:
    """Whether the optimizer holds a head: modules that no parameter left out belongs to, and fewer weights than these."""
    heads = {p.name.partition(".")[0] for p in held}
    return heads.isdisjoint(p.name.partition(".")[0] for p in left) and sum(p.numel for p in held) < sum(p.numel for p in left)
