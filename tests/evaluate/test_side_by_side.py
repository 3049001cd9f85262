"""All tools read the same texts with the same model; who cannot says why."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest

from evaluate_helpers_models import Uniform, hosted
from evaluate_helpers_protocols import HOSTS, TEXTS_OF, one
from evaluate_tokenizers import tokenizer
from losskit.evaluate.peers import PEERS
from losskit.evaluate.side_by_side import NAMES, protocols
from losskit.evaluate.text.documents import DataError, Document


@pytest.mark.parametrize("window", [8, 16, 64])
@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_a_uniform_model_is_confused_between_all_classes_under_every_protocol(host: Callable[[], Any], window: int) -> None:
    model, words = Uniform(600), host()
    for found in protocols(model, words, TEXTS_OF, head=model.head, window=window):
        if "no figure" in found.differs:
            assert found.name == "llama.cpp"
            continue
        assert found.nats == pytest.approx(found.tokens * math.log(600), rel=1e-6)
        perplexity = {"perplexity", "ppl", "PPL", "mean_perplexity"} & set(found.figures)
        assert all(found.figures[name] == pytest.approx(600, rel=1e-6) for name in perplexity)
        assert found.figures.get("+/-", 0) == pytest.approx(0, abs=1e-3)
        assert 0 < found.scored <= found.total


def test_all_tools_are_read_in_order_and_named_ones_in_theirs() -> None:
    model, words = hosted("llama", 600), tokenizer("bpe", bos=True)
    found = protocols(model, words, TEXTS_OF)
    assert tuple(r.name for r in found) == NAMES == ("losskit", *PEERS)
    assert all("\n" not in r.differs for r in found)
    assert [r.name for r in protocols(model, words, TEXTS_OF, names=["gptq", "losskit"])] == ["gptq", "losskit"]
    with pytest.raises(ValueError, match='"names" must be'):
        protocols(model, words, TEXTS_OF, names=["fairseq"])


@pytest.mark.parametrize("name", NAMES)
def test_batches_change_nothing(name: str) -> None:
    model, words = hosted("gpt2", 600), tokenizer("bpe", bos=True)
    few, many = (one(name, model, words, batch_tokens=size) for size in (16, 4096))
    assert few.nats == pytest.approx(many.nats, rel=1e-6)
    assert few[3:] == many[3:]


def test_our_own_reading_is_that_of_the_evaluation() -> None:
    from losskit.evaluate import perplexity

    model, words = hosted("llama", 600), tokenizer("unigram", bos=True)
    found = one("losskit", model, words, stride=4)
    report = perplexity(model, words, TEXTS_OF, window=16, stride=4, interval="none")
    assert (found.nats, found.tokens, found.total) == (report.overall.nats, report.overall.amounts["token"], report.tokens)
    assert found.figures["perplexity"] == report.perplexity
    assert found.figures["bits_per_byte"] == report.bits_per_byte
    assert report.protocol.line() in found.differs


def test_documents_may_bring_the_text_whose_words_are_counted() -> None:
    model, words = hosted("llama", 600), tokenizer("bpe", bos=True, adds=False)
    docs = [Document("a", "one, two", None, None, "one , two"), Document("b", "three.", None, None, "three .")]
    ours, theirs = protocols(model, words, docs, names=["losskit", "lm-eval"], window=64)
    assert theirs.figures["word_perplexity"] == pytest.approx(math.exp(theirs.nats / 5))
    assert ours.figures["byte_perplexity"] == pytest.approx(math.exp(ours.nats / 16))


def test_token_ids_and_a_window_beyond_the_model_are_refused() -> None:
    model, words = hosted("llama", 600), tokenizer("bpe", bos=True)
    with pytest.raises(DataError, match="expected a text"):
        protocols(model, words, [[1, 2, 3]])
    with pytest.raises(ValueError, match='"window" is 65'):
        protocols(model, words, TEXTS_OF, window=65)


def test_a_vocabulary_beyond_the_model_is_said_by_each_tool() -> None:
    model = hosted("llama", 300)
    for name in PEERS:
        found = one(name, model, tokenizer("bpe", bos=True))
        assert "and the model has 300" in found.differs
        assert (found.tokens, found.scored) == (0, 0)


def test_the_model_is_left_in_its_mode() -> None:
    model = copy.deepcopy(hosted("llama", 600)).train()
    protocols(model, tokenizer("bpe", bos=True), TEXTS_OF, window=16)
    assert all(module.training for module in model.modules())
