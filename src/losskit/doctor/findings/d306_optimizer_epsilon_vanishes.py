"""D306: the optimizer's eps is 0 in the format in which it is added."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["optimizer_epsilon_vanishes"]

_HALF = ("float16", "bfloat16")


@finding("D306", severity="error", phases=("before",), explains=("D301", "D302", "D303", "D501", "D218", "D217"))
def optimizer_epsilon_vanishes(evidence: Evidence) -> Iterator[Hit]:
    """eps protects a division by zero, and rounds to zero itself.

    Cause:       The smallest positive float16 is 6e-8. With float16 weights Adam keeps its moments in float16 and adds eps =
                 1e-8 to a root in float16: nothing. A weight whose gradient is 0, or rounds to 0 when squared, is then divided
                 by 0 and becomes NaN or inf.
    Rule:        An eps above 0 of one of the optimizer's groups is exactly 0 in float16 or bfloat16, the format of its weights.
    Silent when: weights are float32 or bfloat16 (1e-8 is a bfloat16 number), as with autocast.
    Fix:         keep the weights in float32 and use torch.autocast; or eps=1e-4 for float16 weights.
    Confirm:     torch.tensor(eps, dtype=torch.float16) is 0; with eps=1e-4 the weights stay finite.
    Reference:   Micikevicius et al. 2018, arXiv:1710.03740, section 3.1 (float32 master weights).
    Example:
        model.half(); AdamW(model.parameters(), eps=1e-8)                           # sick
        AdamW(model.parameters(), eps=1e-8); torch.autocast("cuda", torch.float16)  # healthy
    """
    for eps, dtype in evidence.precision.epsilons if evidence.precision is not None else ():
        if dtype in _HALF and eps > 0 and float(torch.tensor(eps, dtype=getattr(torch, dtype))) == 0:
            smallest = torch.finfo(getattr(torch, dtype)).smallest_normal * torch.finfo(getattr(torch, dtype)).eps
            said = f"eps={eps:g} of the optimizer is 0 in {dtype}, whose smallest number is {smallest:.2g}"
            yield Hit(said, {"eps": eps, "smallest": smallest})
