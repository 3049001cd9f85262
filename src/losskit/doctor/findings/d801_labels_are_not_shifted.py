"""D801: the model is asked for the token that it is shown."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.tokens import laid_over
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["labels_are_not_shifted"]

ENOUGH = 16  # labels; fewer agree by chance


@finding("D801", severity="error", phases=("before", "during"), explains=("D211", "D219", "D402", "D505"))
def labels_are_not_shifted(evidence: Evidence) -> Iterator[Hit]:
    """The label at each place is the token at the same place: the model learns to copy.

    Cause:       A language model that sees token t and is asked for token t has nothing to predict: the loss falls to 0 within
                 some hundred steps and the model writes nothing but repetitions.
    Rule:        At least 99 % of the labels that count, and at least 16, equal the token of the input at their own place, and
                 fewer than 90 % the next one. An error if the model is causal (tokens after t do not change outputs up to t) or
                 the task is "language"; info otherwise, since an autoencoder does this on purpose.
    Silent when: labels are the next tokens, or most places are masked in the input (a masked language model).
    Fix:         loss(scores[:, :-1].flatten(0, 1), labels[:, 1:].flatten()). Models of transformers shift by themselves: give
                 them labels=input_ids.
    Confirm:     The loss at the start stays at ln V and no longer falls below the unigram entropy at once.
    Reference:   transformers, "labels are shifted inside the model"; pull request 44642.
    Example:
        F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())                  # sick
        F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())   # healthy
    """
    dependence = evidence.dependence
    causal = dependence is not None and dependence.future is not None and dependence.future == 0
    sure = causal or evidence.settings.task == "language"
    for call in evidence.calls:
        laid = laid_over(call, evidence.batch)
        if laid is None or laid.ahead != 0 or int(laid.counted.sum()) < ENOUGH:
            continue
        count = int(laid.counted.sum())
        said = (
            f'{100 * laid.shares[0]:.1f} % of {count} labels are the token of "{laid.path}" at the same place, '
            f"{100 * laid.shares[1]:.1f} % the next one"
        )
        numbers = {"same place": laid.shares[0], "next": laid.shares[1], "labels": count}
        yield Hit(said, numbers, where=call.where, severity=None if sure else "info", confidence=1.0 if sure else 0.5)
        return
