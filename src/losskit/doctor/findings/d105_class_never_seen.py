"""D105: the first class never comes, though all others do."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.labels import classes_of
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["class_never_seen"]

EACH = 10  # labels a class on average: one class of a balanced set is then missing with probability e^-10 = 5e-5
MOST_CLASSES = 10_000  # vocabularies have tokens that never come


@finding("D105", severity="info", phases=("before", "during"))
def class_never_seen(evidence: Evidence) -> Iterator[Hit]:
    """Class 0 has no label though every other class has some: labels may start at 1.

    Cause:       Labels that count from 1 for a model with C + 1 outputs train, and waste a class that is never right; with C
                 outputs the last label is out of range.
    Rule:        Class 0 is absent and all other classes, at least two, are present in one batch of at least 10 labels a class,
                 none of them out of range.
    Silent when: class 0 is ignore_index or has weight 0, another class is missing too, or there are more than 10,000 classes.
    Fix:         Check the mapping of names to indices; target - 1 and one output fewer if it starts at 1.
    Confirm:     dataset.targets.unique() begins at 0.
    Reference:   torch.nn.CrossEntropyLoss, "class indices in the range [0, C)".
    Example:
        F.cross_entropy(torch.randn(400, 11), torch.randint(1, 11, (400,)))   # sick
        F.cross_entropy(torch.randn(400, 10), torch.randint(0, 10, (400,)))   # healthy
    """
    for call in evidence.calls:
        found = classes_of(call)
        if found is None or not 3 <= found.classes <= MOST_CLASSES or found.ignore_index == 0 or bool(found.wrong.any()):
            continue
        weight = call.tensors.get("weight")
        if weight is not None and weight.shape == (found.classes,) and float(weight[0]) == 0:
            continue
        counts = found.counts
        total = int(counts.sum())
        if total < EACH * found.classes or int(counts[0]) != 0 or not bool((counts[1:] > 0).all()):
            continue
        said = (
            f"class 0 has none of {total} labels of {call.name}, each of the other {found.classes - 1} has at least "
            f"{int(counts[1:].min())}"
        )
        yield Hit(said, {"labels": total, "classes": found.classes, "fewest of another": int(counts[1:].min())}, where=call.where)
