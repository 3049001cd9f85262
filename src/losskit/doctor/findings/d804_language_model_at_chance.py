"""D804: a language model gives every token the same probability."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels_standing import hit_of, stuck

__all__ = ["language_model_at_chance"]


@finding("D804", severity="warning", phases=("during", "after"), explains=("D403", "D504", "D505"))
def language_model_at_chance(evidence: Evidence) -> Iterator[Hit]:
    """The loss stands at ln V, the perplexity at V: every token of the vocabulary is as likely.

    Cause:       A language model that has learned only how often each token occurs is well below ln V already. One that stays at
                 ln V (10.8249 for the 50257 tokens of GPT-2) gets no gradient into its last layer, has an output layer that is
                 not tied or not loaded, or is fed labels of another tokenizer.
    Rule:        The median of the last max(40 points, 25 %) after warm-up is within max(2 %, 3 standard errors) of ln V, and the
                 window is flat. Error where it stands there for half of the run. A perplexity counts by its logarithm.
    Silent when: the loss still falls by more than 1 % within the window, the learning rate is in its warm-up, or V is not known:
                 refs={"vocab_size": 50257}.
    Fix:         Run losskit.doctor.check(model, batch): it says which parameters get no gradient, and whether labels are shifted
                 twice. Compare len(tokenizer) with model.get_output_embeddings().weight.shape[0].
    Confirm:     Within 100 steps the loss falls to about that of the frequencies of the tokens, well below 0.98 ln V.
    Reference:   losskit.reference("linear_cross_entropy", num_classes=50257); karpathy/nanoGPT issue 468.
    Example:
        model.lm_head.requires_grad_(False); model.lm_head.weight.zero_()   # sick: 10.8249 for 50257 tokens, for ever
        model.lm_head.weight = model.embedding.weight                       # healthy
    """
    found = stuck(evidence)
    if found is not None and found.owner == "D804":
        perplexity = math.exp(min(found.standing.median, 700.0))
        yield hit_of(found, evidence, f"a perplexity of {perplexity:.0f}, as if every token were as likely as any other")
