"""D211: a language model sees the tokens that it is to predict."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.tokens import laid_over
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["future_tokens_are_visible"]

CHANGE = 1e-2  # of the output's spread: above the rounding of half precision (2^-8)


@finding("D211", severity="error", phases=("before",), explains=("D219", "D402", "D601", "D604"))
def future_tokens_are_visible(evidence: Evidence) -> Iterator[Hit]:
    """The scores at a token move with the tokens after it, and the targets are the next tokens.

    Cause:       Attention without a causal mask (or a mask of the wrong sign or layout), a bidirectional recurrent net, or
                 a convolution padded on both sides: the answer is in the input. The loss falls towards 0, and generation is
                 gibberish.
    Rule:        Tokens after the middle of the sequence are exchanged; the output up to it changes by more than 1 % of its
                 standard deviation, in eval mode. And the targets are the inputs moved on by one, in the batch or in the
                 call of the loss.
    Silent when: the targets are not the next tokens (masked language models, tagging, encoders).
    Fix:         F.scaled_dot_product_attention(q, k, v, is_causal=True), or
                 nn.Transformer.generate_square_subsequent_mask(T) as mask.
    Confirm:     model(ids)[:, :t] equals model(ids[:, :t]) for every t.
    Reference:   Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3.
    Example:
        F.scaled_dot_product_attention(q, k, v)                  # sick in a language model
        F.scaled_dot_product_attention(q, k, v, is_causal=True)  # healthy
    """
    seen = evidence.dependence
    if seen is None or seen.future is None or not seen.future > CHANGE or not (seen.next_token or _next_in_call(evidence)):
        return
    said = f"the scores up to token {seen.token} change by {seen.future:.1%} of their spread when only later tokens are changed"
    yield Hit(f"{said}: the model sees what it is to predict", {"change": seen.future, "token": float(seen.token or 0)})


def _next_in_call(evidence: Evidence) -> bool:
    """Whether a loss was given, as targets, the batch's tokens moved on by one."""
    laid = [laid_over(call, evidence.batch) for call in evidence.calls]
    return any(one is not None and one.ahead == 1 for one in laid)
