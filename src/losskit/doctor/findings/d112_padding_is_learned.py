"""D112: the loss counts padding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..before.labels import classes_of
from ..before.tokens import grid
from ..evidence import Evidence
from ..evidence.calls import Batch, LossCall
from ..finding import Hit, Severity, finding

__all__ = ["padding_is_learned"]

MUCH = 0.3  # share of the labels from which padding dominates the mean
TRAILING = 0.98  # share of an id's places that lie at the ends of rows: words do not
USUAL = 4  # ids from 0 on where tokenizers keep padding: 0 of BERT, 1 of RoBERTa, 2 of Llama, 3 of BLOOM; else it is the last
FEW = 256  # ids: characters, states or tags, of which one may last to the end; of so many words none does


@finding("D112", severity="warning", phases=("before", "during"), explains=("D117", "D402", "D606"))
def padding_is_learned(evidence: Evidence) -> Iterator[Hit]:
    """A large part of the labels is padding, and the loss counts it.

    Cause:       Padding is predicted after a few steps, and its loss near 0 pulls the mean down: the curve looks better than
                 the model is, and the share of padding in a batch moves the loss more than learning does.
    Rule:        Of labels (N, T) that count, the most frequent id makes at least 30 %, at least 98 % of its places lie in
                 unbroken runs at one end of the rows, and the input is padding there too: one id, or constant numbers, of which
                 nothing else is there; or it is the tokenizer's pad_token_id. Info where that may be a state which lasts to
                 the end: no tokenizer is given, the input holds the same id as the label, and this is one of fewer than 256,
                 but none of 0 to 3 nor the last.
    Silent when: the id is ignore_index, there is less of it, or the input goes on where the label repeats (a state that lasts
                 to the end).
    Fix:         ignore_index=<pad id>, or labels[attention_mask == 0] = -100 before the loss.
    Confirm:     The loss without padding is the number that was named; it is what an evaluation that masks padding shows.
    Reference:   torch.nn.CrossEntropyLoss, ignore_index; transformers.DataCollatorForLanguageModeling.
    Example:
        F.cross_entropy(scores.flatten(0, 1), labels.flatten())                   # sick: labels end in zeros
        F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=0)   # healthy
    """
    if evidence.batch is None:
        return
    for call in evidence.calls:
        found = classes_of(call)
        if found is None or bool(found.wrong.any()) or found.classes < 2 or int(found.counted.sum()) == 0:
            continue
        counts = found.counts
        most = int(counts.argmax())
        share = int(counts[most]) / int(counts.sum())
        if share < MUCH or share == 1:
            continue
        ends = _ends(found.labels, most, evidence.batch)
        if ends:
            usual = most < USUAL or most == found.classes - 1 or found.classes >= FEW
            yield _said(call, most, share, found.labels, sure=usual or "told" in ends)


def _ends(labels: Tensor, most: int, batch: Batch) -> set[str]:
    """What says that the runs of the label are padding: "told" by tokenizer, mask or features, "same" by the same id there."""
    ends: set[str] = set()
    for entry in batch.tensors.values():
        if entry.dim() not in (2, 3) or entry.device != labels.device or entry.shape[1] < 4:
            continue
        laid = grid(labels, entry[:, :, 0] if entry.dim() == 3 else entry)
        if laid is None or (entry.shape == laid.shape and bool((entry == laid).all())):
            continue  # the labels themselves
        here = laid == most
        late = here.flip(1).long().cumprod(1).flip(1).bool()
        early = here.long().cumprod(1).bool()
        runs = max(int(late.sum()), int(early.sum()))
        if runs < TRAILING * int(here.sum()):
            continue
        run = late if int(late.sum()) == runs else early
        value = _constant(entry, run, labels.shape[0] // len(laid))
        if batch.tokenizer.get("pad_token_id") == most or (value is not None and not bool((value == most).all())):
            ends.add("told")
        elif value is not None:
            ends.add("same")
    return ends


def _constant(entry: Tensor, run: Tensor, wide: int) -> Tensor | None:
    """The one value that the input holds in the runs, and hardly elsewhere; labels may be a place ahead of it."""
    for ahead in range(entry.shape[1] - wide + 1 if entry.shape[1] - wide <= 1 else 1):
        seen = entry[:, ahead : ahead + wide]
        inside, outside = seen[run], seen[~run]
        if len(inside) == 0 or len(outside) == 0:
            continue
        value = inside.reshape(len(inside), -1).mode(0).values
        pads = (inside.reshape(len(inside), -1) == value).all(-1).double().mean()
        words = (outside.reshape(len(outside), -1) == value).all(-1).double().mean()
        # a label one place ahead of its input is padding one token early: one such place a row
        if float(pads) >= TRAILING - len(run) / max(len(inside), 1) and float(words) <= 0.5 * MUCH:
            return value
    return None


def _said(call: LossCall, most: int, share: float, labels: Tensor, *, sure: bool) -> Hit:
    numbers = {"id": most, "share": share, "labels": len(labels)}
    without = ""
    each = call.per_sample
    if each is not None and each.numel() == len(labels) and call.value is not None and call.value.numel() == 1:
        real = each.reshape(-1)[(labels != most) & torch.isfinite(each.reshape(-1))]
        if len(real):
            numbers["loss without it"] = float(real.mean())
            without = f"; the loss is {float(call.value):.4g}, without it {float(real.mean()):.4g}"
    what = "the input is padding" if sure else "the input holds it too: padding, or a state that lasts to the end"
    said = f"id {most} makes {100 * share:.0f} % of {len(labels)} labels of {call.name}, at the ends of the rows, where {what}"
    fix = f"ignore_index={most}, or set these labels to -100."
    severity: Severity | None = None if sure else "info"
    confidence = 1.0 if sure else 0.5
    return Hit(said + without, numbers, where=call.where, fix=fix, severity=severity, confidence=confidence)
