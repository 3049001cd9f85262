"""D508: the gradient of a batch is more noise than signal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels_config import number, tidy

__all__ = ["noise_limited"]

LOOKS = 20  # that have a noise scale: the average of at least four measurements


@finding("D508", severity="info", phases=("during",))
def noise_limited(evidence: Evidence) -> Iterator[Hit]:
    """The noise of the gradient is larger than the gradient: batches are small for this stage of the run.

    Cause:       The noise scale B = tr(Sigma) / |G|^2 (B_simple there) is the batch size at which noise and signal are
                 alike. Below it, a batch twice as large makes nearly twice the progress with each step. It grows while a
                 run goes on.
    Rule:        B, from the gradients of two halves of a batch, averaged over the last measurements (at least four), is above
                 the batch size times the accumulated batches and the ranks (facts "accumulate" and "world_size").
    Silent when: the batch is larger than B, batches cannot be split, or the model has batch norms.
    Fix:         None is needed. To go on faster with each step, accumulate gradients or enlarge the batch up to B; to go on
                 with the same batch, average the weights or let the learning rate decay.
    Confirm:     With the batch B times as large the noise of the loss is smaller by sqrt(B), and steps go further.
    Reference:   McCandlish et al. 2018, arXiv:1812.06162.
    Example:
        DataLoader(data, batch_size=4)     # noise-limited late in a run
        DataLoader(data, batch_size=512)
    """
    probes = evidence.probes
    measured = [look for look in probes.looks if look.noise_scale is not None] if probes else []
    if len(measured) < LOOKS or not measured[-1].batch_size:
        return
    look = measured[-1]
    facts = evidence.run.facts if evidence.run is not None else {}
    ranks = number(facts.get("world_size")) or 1
    times = tidy(facts).get("accumulate", evidence.settings.accumulate) * ranks
    size, scale = round(look.batch_size * times), look.noise_scale or 0.0
    if scale > size:
        told = f"about {scale:.0f} samples" if math.isfinite(scale) else "more than can be measured"
        said = f"the gradient's noise scale is {told}, the batch has {size}: steps are limited by noise"
        yield Hit(said, {"noise scale": scale, "batch size": size, "looks": len(measured)}, step=look.step)
