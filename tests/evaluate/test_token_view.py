"""score_tokens: surprisal, rank, entropy and place of every token."""

from __future__ import annotations

import math

import pytest
import torch

from evaluate_helpers_models import hosted
from evaluate_tokenizers import KINDS, tokenizer
from losskit.evaluate import perplexity, score_tokens

TEXT = "The naïve café — ein Übel. 你好, world!\nNew line."


@pytest.mark.parametrize("kind", KINDS)
def test_the_surprisals_add_up_to_the_nats_and_the_pieces_to_the_text(kind: str) -> None:
    words = tokenizer(kind, bos=True)
    model = hosted("llama", vocabulary=len(words))
    found = score_tokens(model, words, TEXT, window=16, stride=4)
    whole = perplexity(model, words, TEXT, window=16, stride=4)
    assert math.fsum(t.nats or 0 for t in found) == pytest.approx(whole.overall.nats, rel=1e-6)
    assert "".join(t.text for t in found) == TEXT
    assert all(TEXT[t.start : t.end] == t.text for t in found)
    assert [t.id for t in found] == words(TEXT, add_special_tokens=False)["input_ids"]


def test_rank_and_entropy_are_those_of_the_models_own_scores() -> None:
    model, words = hosted("gpt2"), tokenizer("byte", bos=True)
    found = score_tokens(model, words, "short text", window=64)
    ids = words("short text", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        scores = model(torch.tensor([[words.bos_token_id, *ids[:-1]]])).logits[0].double()
    for token, row, id in zip(found, scores, ids, strict=True):
        log_p = row.log_softmax(-1)
        assert token.nats == pytest.approx(-float(log_p[id]), rel=1e-5)
        assert token.rank == 1 + int((row > row[id]).sum())
        assert token.entropy == pytest.approx(-float((log_p.exp() * log_p).sum()), rel=1e-5)
        assert token.likeliest == words.decode([int(row.argmax())])


def test_a_first_token_without_context_has_no_surprisal() -> None:
    first, *others = score_tokens(hosted("qwen2"), tokenizer("byte", bos=False), "abc", window=8)
    assert (first.text, first.nats, first.rank, first.entropy) == ("a", None, None, None)
    assert all(t.nats is not None for t in others)


def test_a_list_is_no_text() -> None:
    with pytest.raises(TypeError, match="one text at a time"):
        score_tokens(hosted("llama"), tokenizer("byte", bos=False), ["abc"])
