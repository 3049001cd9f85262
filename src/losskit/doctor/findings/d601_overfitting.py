"""D601: evaluations get worse while the training loss goes on falling."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding
from ..statistics.blocks import median
from ..statistics.evaluations import Evaluations, evaluations
from ..statistics.noise import noise

__all__ = ["overfitting"]

AFTER = 3  # evaluations since the best
WORSE = 0.08  # of the best evaluation
WAY = 0.05  # of the way the evaluations had come: a model that is nearly perfect may double its loss
SIGMAS = 3.0
FALLING = 0.02  # of the training loss at the best evaluation


@finding("D601", severity="warning", phases=("during", "after"))
def overfitting(evidence: Evidence) -> Iterator[Hit]:
    """Evaluations get worse while the training loss goes on falling.

    Cause:       The model learns its training examples by heart: what it still gains there is no use elsewhere. The gap
                 grows with parameters and epochs and shrinks with data.
    Rule:        At least 3 evaluations after the best one, all above it; the median of the last three above it by more than
                 8 %, 5 % of the way the evaluations had come, and 3 + sqrt(2 ln n) times their noise (the best of n is low
                 by chance); the training loss beside the last three is more than 2 % below that beside the best. Each
                 evaluation stands beside the median of up to 40 training points before it (the sentence says that of up to 5).
                 A log without a training loss is judged by its evaluations alone.
    Silent when: the training loss rises too (divergence, a restart of the schedule), the evaluations only waver, or they are
                 still below the training loss (which may hold label smoothing that the evaluation has not).
    Fix:         Keep the weights of the best evaluation (load_best_model_at_end=True, ModelCheckpoint(monitor="val_loss")).
                 Then more data or augmentation, weight decay 0.1, dropout 0.1, fewer epochs, a smaller model.
    Confirm:     Train on half of the data: the evaluations turn earlier. With a mean over the samples of the evaluation
                 set, compare the best and the last checkpoint sample by sample.
    Reference:   Prechelt 1998, Early Stopping - But When?; Goodfellow, Bengio and Courville 2016, section 7.8.
    Example:
        for epoch in range(100): train(model, 200 sentences)                       # sick
        for epoch in range(100): train(model, 200 sentences); stop at the best     # healthy
    """
    found = evaluations(evidence.run)
    if found is None or found.values.numel() <= AFTER or evidence.settings.objective == "adversarial":
        return
    best, values = int(found.values.argmin()), found.values
    low, now, error = float(values[best]), median(values[-AFTER:]), noise(values)
    rise = now - low
    chance = (SIGMAS + math.sqrt(2 * math.log(values.numel()))) * error
    if values.numel() - best <= AFTER or rise <= max(WORSE * abs(low), WAY * (float(values[0]) - low), chance):
        return
    worse = rise / abs(low) if low else math.inf
    numbers = {"best": low, "now": now, "worse": worse, "noise": error}
    step = int(found.steps[best])
    said = f"the evaluation was best at step {step} with {low:.4g} and is {now:.4g} over the last {AFTER}, "
    if evidence.run is not None and evidence.run.main("train_loss") is None:
        said += "and the log has no training loss that would tell overfitting from a divergence"
        yield Hit(said, numbers, step=step, confidence=0.5)
        return
    fell = _fell(found, best)
    if fell is None or now < fell[1]:
        return
    numbers |= {"train_then": fell[0], "train_now": fell[1]}
    said += f"while the training loss went from {fell[0]:.4g} to {fell[1]:.4g}"
    yield Hit(said, numbers, step=step)


def _fell(found: Evaluations, best: int) -> tuple[float, float] | None:
    """The training loss beside the best evaluation and at the end, if it fell; of 5 points each, unless noise hides it there."""
    then, now = float(found.train[best]), median(found.train[-AFTER:])
    if not now < then - FALLING * abs(then):
        return None
    close = float(found.close[best]), float(found.close[-1])
    return close if close[1] < close[0] else (then, now)
