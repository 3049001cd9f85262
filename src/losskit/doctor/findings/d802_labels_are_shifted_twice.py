"""D802: the model is asked for the token after the next."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.tokens import laid_over
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["labels_are_shifted_twice"]

ENOUGH = 16  # labels; fewer agree by chance


@finding("D802", severity="error", phases=("before", "during"), explains=("D403", "D505", "D217"))
def labels_are_shifted_twice(evidence: Evidence) -> Iterator[Hit]:
    """The label at each place is the token two places on: labels were shifted, and then again.

    Cause:       Models of transformers shift labels inside. Labels that are shifted already end up two places ahead: the loss
                 falls, a little less than it should, and what is written skips every other word.
    Rule:        At least 99 % of the labels that count, and at least 16, are the token two places after their own, fewer than
                 90 % the next one, and no other loss of the batch has the next one (several heads that look ahead are a
                 method).
    Silent when: labels are the next tokens.
    Fix:         Pass labels=input_ids (with -100 where nothing is to be learned); or shift yourself and take the loss yourself.
    Confirm:     labels[:, t] equals input_ids[:, t + 1] in the call of the loss.
    Reference:   huggingface/transformers pull request 44642, issue 32944.
    Example:
        model(input_ids=ids[:, :-1], labels=ids[:, 1:])   # sick: the model shifts as well
        model(input_ids=ids, labels=ids)                  # healthy
    """
    laid = [(call, one) for call in evidence.calls if (one := laid_over(call, evidence.batch)) is not None]
    if any(one.ahead == 1 for _, one in laid):
        return
    for call, one in laid:
        count = int(one.counted.sum())
        if one.ahead == 2 and count >= ENOUGH:
            said = (
                f'{100 * one.shares[2]:.1f} % of {count} labels are the token of "{one.path}" two places on, '
                f"{100 * one.shares[1]:.1f} % the next one"
            )
            yield Hit(said, {"two on": one.shares[2], "next": one.shares[1], "labels": count}, where=call.where)
            return
