"""D904: hardly any gradient is finite, so that steps are left out."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..evidence import Evidence
from ..finding import Hit, finding
from ..statistics.slope import slope

__all__ = ["no_gradient_is_finite"]

POINTS = 20  # of the second half of the log: a scaler has found its factor by then
SHARE = 0.5  # of the gradient norms
FELL = 0.05  # of the loss over the second half: by more, steps are made all the same


@finding("D904", severity="error", phases=("during", "after"), explains=("D205", "D403", "D504", "D505", "D702", "D703", "D804"))
def no_gradient_is_finite(evidence: Evidence) -> Iterator[Hit]:
    """Most gradient norms are not finite while the loss is: the optimizer's steps are left out, and nothing is learned.

    Cause:       A gradient scaler or a guard leaves out each step whose gradients are not finite. An op with an infinite
                 derivative (sqrt or norm at 0, a division in the branch that where() did not take) makes every gradient NaN while
                 the loss itself stays fine.
    Rule:        In the second half of the log (20 gradient norms or more) over 50 % are NaN or infinite, beside losses that are
                 finite and have fallen by less than 5 % over that half.
    Silent when: the scaler looks for its factor at the start; the loss itself is NaN (that is found where it begins); the loss
                 falls.
    Fix:         losskit.doctor.Monitor with on_nonfinite="snapshot" replays one batch and names the first backward op that is not
                 finite, its line and its sample. For sqrt: (x + 1e-12).sqrt() with the constant inside; for where: make the
                 unused branch finite before where, not after it.
    Confirm:     The gradient norm is finite from then on, and the scaler's factor no longer halves.
    Reference:   pytorch/pytorch issues 52248 and 68425 (NaN through where).
    Example:
        torch.where(x > 0, x.sqrt(), 0)            # sick: the derivative at 0 is infinite, times 0 is NaN
        torch.where(x > 0, x, 1).sqrt() * (x > 0)  # healthy
    """
    run = evidence.run
    norms = run.main("grad_norm") if run is not None else None
    losses = run.main("train_loss") if run is not None else None
    if norms is None or losses is None or len(norms) < 2 * POINTS:
        return
    middle = int(norms.steps[len(norms) // 2])
    late = norms.values[norms.steps >= middle]
    bad = ~torch.isfinite(late)
    share = float(bad.double().mean())
    values = losses.values[losses.steps >= middle]
    if late.numel() < POINTS or share <= SHARE or not values.numel() or not bool(torch.isfinite(values).all()):
        return
    level, trend = abs(float(values.median())), slope(values)
    if trend.falls and -trend.value * values.numel() > FELL * level:
        return
    first = int(norms.steps[torch.nonzero(~torch.isfinite(norms.values))[0, 0]])
    said = (
        f"{norms.name} is not finite at {int(bad.sum())} of the last {late.numel()} points ({share:.0%}, the first at step "
        f"{first}), and {losses.name} stays at {float(values.median()):.4f}: these steps are left out"
    )
    numbers = {"share": share, "points": late.numel(), "first step": first, "loss": float(values.median())}
    never = not bool(torch.isfinite(norms.values).any())  # then it is earlier than all that it explains
    yield Hit(said, numbers, where=norms.name, step=first if never else middle)
