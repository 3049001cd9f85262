"""D701: all rows are embedded at one point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["embeddings_collapse"]

COSINE = 0.99  # mean over pairs of different rows
SPREAD = 0.01  # of the spread at the first look
APART = 0.95  # a first look below this was no collapse
Output: TypeAlias = tuple[str, float, float]
"""Name, spread and mean cosine."""
LOOKS = 2  # at the end, so that one odd batch is no reason
NEVER = 5  # looks without ever having been apart: transformers begin in a narrow cone and leave it within some hundred steps


@finding("D701", severity="error", phases=("during",), explains=("D403", "D505", "D702", "D703", "D504"))
def embeddings_collapse(evidence: Evidence) -> Iterator[Hit]:
    """Different inputs have the same embedding.

    Cause:       The loss is lowest where all embeddings are one: the negatives are missing or too weak, hard-negative mining
                 began too early, or the learning rate threw the encoder into the cone that it cannot leave. A triplet loss then
                 stands at its margin, InfoNCE at ln N.
    Rule:        Of a tensor of embeddings that a loss was given, at each of the last two looks: the mean cosine of different
                 rows is above 0.99 or their spread below 1 % of that at the first look, where the first look had a mean cosine
                 below 0.95. A warning if no look of at least 5 had the rows apart. Also a warning, where the loss is written
                 by hand and inputs differ: the rows of all that the model puts out had a mean cosine below 0.95 at the first
                 look, and at the last two have one above 0.99 and standard deviations below 1 % of the first.
    Silent when: the loss by hand has no step= or loss_fn= to look at it, or compares the outputs with numbers of their shape in
                 the batch (targets may be close to each other); rows are apart, one look only is odd, the batch has fewer than
                 4 rows, or the model is still in the cone where it began.
    Fix:         Lower the learning rate 3 to 10 times, or mine semi-hard negatives instead of the hardest; use a loss of many
                 negatives (losskit.multiple_negatives_ranking_loss, losskit.supcon_loss); add losskit.vicreg_loss's variance
                 term.
    Confirm:     torch.nn.functional.normalize(embeddings).std(0).mean() is about 1 / sqrt(dimensions) for rows that are spread
                 out.
    Reference:   Schroff et al. 2015, arXiv:1503.03832 (collapse by hardest negatives); Wang and Isola 2020, arXiv:2005.10242.
    Example:
        loss = F.cosine_embedding_loss(model(a), model(b), torch.ones(len(a)))   # sick: nothing keeps rows apart
        loss = losskit.multiple_negatives_ranking_loss(model(a), model(b))       # healthy
    """
    yield from _by_hand(evidence)
    looks = [look for look in evidence.probes.looks if look.embeddings] if evidence.probes else []
    if len(looks) <= LOOKS:
        return
    names = list(dict.fromkeys(name for name, _, _ in looks[-1].embeddings))
    for name in names:
        seen = [(look.step, *numbers[0]) for look in looks if (numbers := [(s, c) for n, s, c in look.embeddings if n == name])]
        if (hit := _hit(name, seen)) is not None:
            yield hit
            return  # the towers of one loss collapse together


def _by_hand(evidence: Evidence) -> Iterator[Hit]:
    """Outputs of a model whose loss is written by hand: their spread is that of the numbers themselves."""
    looks = [look for look in evidence.probes.looks if look.outputs] if evidence.probes else []
    if len(looks) <= LOOKS or evidence.settings.objective == "adversarial":
        return
    first, *late = looks[0].outputs, *(look.outputs for look in looks[-LOOKS:])
    if not all(len(one) == len(first) and all(map(_gone, first, one)) for one in late):
        return  # one of several is that of a model with a part that is the same for all, a variance
    (name, spread, cosine), (_, now, close) = first[0], late[-1][0]
    said = f"the rows of {name} of the model have a mean cosine of {close:.4f} and a standard deviation of {now:.2e}"
    said += f", {cosine:.4f} and {spread:.2e} at the start"
    numbers = {"mean cosine": close, "spread": now, "mean cosine at the start": cosine, "spread at the start": spread}
    yield Hit(said, numbers, step=looks[-LOOKS].step, severity="warning", confidence=0.8)


def _gone(first: Output, late: Output) -> bool:
    return first[2] < APART and late[2] > COSINE and late[1] < SPREAD * first[1]


def _hit(name: str, seen: Sequence[tuple[int, float, float]]) -> Hit | None:
    if len(seen) <= LOOKS:
        return None
    _, spread, cosine = seen[0]
    gone = [c > COSINE or s < SPREAD * spread for _, s, c in seen]
    if not all(gone[-LOOKS:]):
        return None
    was_apart = cosine < APART
    if not was_apart and (len(seen) < NEVER or not all(c > COSINE for _, _, c in seen)):
        return None
    step = next(place[0] for place, is_gone in zip(seen, gone, strict=True) if is_gone)
    _, now, close = seen[-1]
    at_first = f"{cosine:.4f} and {spread:.2e} at the start"
    said = f'the rows of "{name}" have a mean cosine of {close:.4f} and a spread of {now:.2e}, {at_first}'
    numbers = {"mean cosine": close, "spread": now, "mean cosine at the start": cosine, "spread at the start": spread}
    return Hit(said, numbers, step=step, severity=None if was_apart else "warning")
