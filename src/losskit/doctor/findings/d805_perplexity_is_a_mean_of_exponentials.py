"""D805: a perplexity that is the mean of perplexities."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..evidence.run import Run, Series
from ..finding import Hit, finding

__all__ = ["perplexity_is_a_mean_of_exponentials"]

CLOSE = 1e-3  # relative gap at which a number is said to be another one
APART = 0.01  # relative gap from which the two means are told apart
ENOUGH = 3  # logged points
LARGEST = 2.0  # ratio; beyond that the two curves are of different data or tokens, unless
VARIES = 0.05  # they bear one name, and ln(perplexity) / loss is not the constant that another unit (words, bytes) makes of it


@finding("D805", severity="warning", phases=("before", "during", "after"))
def perplexity_is_a_mean_of_exponentials(evidence: Evidence) -> Iterator[Hit]:
    """The perplexity is a mean of exponentials, not the exponential of the mean over tokens.

    Cause:       exp(mean of l) over all tokens is the perplexity. The mean of exp(l) over batches or texts is larger (Jensen),
                 depends on the batch size, and one hard text dominates it; it cannot be compared with a published number.
    Rule:        Of one batch: the total equals the mean over rows of exp(mean loss of a row) within 0.1 %, and differs from
                 exp(mean over tokens) by more than 1 %. Of a log: perplexity is above exp(loss) of the same steps at each of at
                 least 3 points, in the median by more than 1 % and less than twofold; by any factor if both curves bear the same
                 name but for the last word, and ln(perplexity) / loss varies by more than 5 % (per word it would be constant).
    Silent when: perplexity is exp(loss), or is below it at any point (other data, other base, rounding).
    Fix:         Add up losses and tokens over all batches, divide once, take exp once: losskit.parts, or losskit.Perplexity.
    Confirm:     The perplexity no longer changes with the batch size of the evaluation.
    Reference:   Jelinek et al. 1977; huggingface "Perplexity of fixed-length models".
    Example:
        torch.stack([loss.exp() for loss in batches]).mean()   # sick
        (total_loss / total_tokens).exp()                      # healthy
    """
    if evidence.phase != "after" and evidence.total is not None:
        for call in evidence.calls:
            hit = _of_batch(call, evidence.total)
            if hit is not None:
                yield hit
    if evidence.run is not None:
        yield from _of_log(evidence.run)


def _of_batch(call: LossCall, total: float) -> Hit | None:
    each, target = call.per_sample, call.tensors.get("target")
    if call.name not in ("cross_entropy", "nll_loss", "linear_cross_entropy") or each is None or target is None:
        return None
    if each.dim() < 2 or each.shape != target.shape or len(each) < 2 or not math.isfinite(total):
        return None
    counted = target != call.options.get("ignore_index", -100)
    rows = counted.flatten(1).any(1)
    values = torch.where(counted, each, 0.0).flatten(1)
    tokens = counted.flatten(1).sum(1)
    wrong = float((values.sum(1)[rows] / tokens[rows]).exp().mean())
    right = float((values.sum() / tokens.sum().clamp(min=1)).exp())
    if abs(total - wrong) > CLOSE * wrong or abs(right - wrong) <= APART * right:
        return None
    said = (
        f"the total {total:.4g} is the mean of the perplexities of {len(each)} rows; the perplexity of all "
        f"{int(tokens.sum())} tokens is {right:.4g}"
    )
    return Hit(
        said, {"total": total, "mean of exponentials": wrong, "perplexity": right, "tokens": int(tokens.sum())}, where=call.where
    )


def _of_log(run: Run) -> Iterator[Hit]:
    for perplexity in run.of("perplexity"):
        held_out = any(word in perplexity.name.lower() for word in ("eval", "val", "test", "dev"))
        loss = run.main("eval_loss" if held_out else "train_loss")
        if loss is None or loss.every != perplexity.every:
            continue
        steps, ratio = _ratio(perplexity, loss)
        if len(ratio) < ENOUGH or not bool((ratio >= 1 - CLOSE).all()):
            continue
        middle = float(ratio.median())
        if not (1 + APART < middle < LARGEST or (middle >= LARGEST and _of_the_same(perplexity, loss, steps))):
            continue
        said = (
            f"{perplexity.name} is {100 * (middle - 1):.1f} % above exp({loss.name}) in the median of {len(ratio)} "
            "points, and below it at none"
        )
        numbers = {"ratio": middle, "points": len(ratio), "largest ratio": float(ratio.max())}
        yield Hit(said, numbers, step=int(steps[0]), confidence=0.7)
        return


def _of_the_same(perplexity: Series, loss: Series, steps: Tensor) -> bool:
    """Whether the two are of the same data, and not of the same tokens counted in another unit."""
    if re.sub("perplexity|ppl", "loss", perplexity.name.lower()) != loss.name.lower():
        return False
    units = perplexity.values[torch.isin(perplexity.steps, steps)].log() / loss.values[torch.isin(loss.steps, steps)]
    return bool(units.std() > VARIES * units.mean().abs())


def _ratio(perplexity: Series, loss: Series) -> tuple[Tensor, Tensor]:
    """perplexity / exp(loss) at the steps that both have, with these steps."""
    both = torch.isin(perplexity.steps, loss.steps)
    mine = torch.isin(loss.steps, perplexity.steps)
    ratio = perplexity.values[both] / loss.values[mine].exp()
    good = torch.isfinite(ratio)
    return perplexity.steps[both][good], ratio[good]
