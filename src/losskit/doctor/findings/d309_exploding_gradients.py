"""D309: the gradient norm grows by orders of magnitude, and the loss with it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from ..evidence import Evidence
from ..evidence.run import Run, Series
from ..finding import Hit, finding
from ..statistics.blocks import in_blocks, median
from ..statistics.warmup import steady_from

__all__ = ["exploding_gradients"]

BLOCKS, LEAST = 60, 3
SIGMAS = 8.0
TENFOLD = 1.0  # in log10: the norm of a healthy run drifts by less while its loss rises
LOSS = 0.15  # of the loss before
LAST = 3  # blocks that have to be high


@finding(
    "D309",
    severity="warning",
    phases=("during", "after"),
    explains=("D301", "D302", "D303", "D304", "D501", "D502", "D507", "D904"),
)
def exploding_gradients(evidence: Evidence) -> Iterator[Hit]:
    """The gradient norm grows by orders of magnitude, and the loss rises with it.

    Cause:       A product of many Jacobians whose norms are above 1 (deep or recurrent nets without normalisation), or a
                 step so large that the weights landed where the loss is steep.
    Rule:        Of at most 60 block medians of log10 of the gradient norm (finite points up to the first loss that is no
                 number) the last three are above the median of those before by more than 8 robust standard deviations and
                 by 1 (ten times), rising, and the loss is 15 % above what it was before they began to rise.
    Silent when: the loss does not rise (norms grow slowly in many healthy runs), in warm-up, the first 50 steps and before a
                 declared event, for norms that are not finite (a gradient scaler that looks for its scale), and without a
                 logged norm.
    Fix:         torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) before optimizer.step(), a learning rate 3 times
                 lower; in deep nets normalisation or residual branches that begin at zero; in recurrent nets orthogonal
                 weights.
    Confirm:     With clipping at the median norm before the rise, the norm stays within ten times of it.
    Reference:   Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063.
    Example:
        loss.backward(); optimizer.step()                                                         # sick in a deep recurrent net
        loss.backward(); clip_grad_norm_(model.parameters(), 1.0); optimizer.step()               # healthy
    """
    run = evidence.run
    norms, losses = (None, None) if run is None else (run.main("grad_norm"), run.main("train_loss"))
    if run is None or norms is None or losses is None or not len(losses):
        return
    norms, losses = _usable(run, norms), losses.finite()
    parts = in_blocks(norms.steps, norms.values.log10(), BLOCKS, LEAST)
    if len(parts) < 4 * LAST:
        return
    before, last = parts.level[:-LAST], parts.level[-LAST:]
    usual, sigma = median(before[: len(parts) // 2 + 1]), parts.sigma
    bar = usual + max(SIGMAS * sigma, TENFOLD)
    if float(last.min()) <= bar or float(last[-1]) < float(last[0]):
        return
    left = int((parts.level <= usual + TENFOLD / 3).nonzero()[-1])
    step = int(parts.last[left])
    then, now = median(losses.values[losses.steps <= step][-40:]), median(losses.values[-5:])
    if not now - then > LOSS * abs(then):
        return
    grown = 10 ** (float(last[-1]) - usual)
    said = f"the gradient norm was {10**usual:.3g}, leaves that at step {step} and is {grown:.3g} times as large; "
    said += f"the loss goes from {then:.4g} to {now:.4g}"
    yield Hit(said, {"usual": 10**usual, "ratio": grown, "loss_before": then, "loss_now": now}, step=step)


def _usable(run: Run, norms: Series) -> Series:
    """Positive norms after the warm-up and before the first loss that is no number."""
    losses = run.main("train_loss")
    assert losses is not None
    bad = losses.steps[~torch.isfinite(losses.values)]
    end = int(bad[0]) if bad.numel() else math.inf
    start = steady_from(run)
    if start > int(losses.steps[-1]):  # a rate that only rises may be what drives it
        start = int(losses.steps[0])
    told = [at for at, _ in run.events if at <= int(losses.steps[-1])]
    start = max(start, *told) if told else start  # what the user changed may change the norm
    keep = torch.isfinite(norms.values) & (norms.values > 0) & (norms.steps >= start) & (norms.steps < end)
    return Series(norms.name, norms.kind, norms.steps[keep], norms.values[keep], norms.every)
