"""D803: no label is the end of the text."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.tokens import laid_over
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["end_of_text_is_never_learned"]

TOKENS = 0.9  # share of labels that agree with the input's tokens, so that they are tokens at all


@finding("D803", severity="error", phases=("before", "during"))
def end_of_text_is_never_learned(evidence: Evidence) -> Iterator[Hit]:
    """The end-of-text token is in the input, and masked in every label: the model never learns to stop.

    Cause:       Where padding uses the end-of-text token (tokenizer.pad_token = tokenizer.eos_token), masking the padding masks
                 the real end of each text too. The loss looks fine; what the model writes runs to the limit.
    Rule:        A tokenizer was given; its eos_token_id follows a token of text in at least 2 rows of the input; labels are
                 tokens of the same input; and none of the labels that count is eos_token_id.
    Silent when: one label is it, no text ends within the batch (windows cut out of long documents), or no tokenizer was given.
    Fix:         tokenizer.add_special_tokens({"pad_token": "<pad>"}) and model.resize_token_embeddings(len(tokenizer)); or mask
                 by attention_mask, not by id.
    Confirm:     (labels == tokenizer.eos_token_id).any() in each batch with whole texts.
    Reference:   huggingface/transformers #23530, huggingface/trl #976.
    Example:
        DataCollatorForLanguageModeling(tokenizer, mlm=False)   # sick with pad_token = eos_token
        labels = ids.masked_fill(attention_mask == 0, -100)     # healthy
    """
    eos = None if evidence.batch is None else evidence.batch.tokenizer.get("eos_token_id")
    if eos is None:
        return
    for call in evidence.calls:
        laid = laid_over(call, evidence.batch)
        if laid is None or max(laid.shares) < TOKENS:
            continue
        ends = (laid.ids[:, 1:] == eos) & (laid.ids[:, :-1] != eos)
        rows = int(ends.any(1).sum())
        learned = int(((laid.labels == eos) & laid.counted).sum())
        if rows < 2 or learned > 0:
            continue
        shown = int((laid.ids == eos).sum())
        said = (
            f"0 of {int(laid.counted.sum())} labels are the end of text {eos}, though {rows} of {len(laid.ids)} rows of "
            f'"{laid.path}" end with it ({shown} tokens)'
        )
        numbers = {"labels": int(laid.counted.sum()), "ends learned": learned, "rows that end": rows, "id": eos}
        yield Hit(said, numbers, where=call.where)
        return
