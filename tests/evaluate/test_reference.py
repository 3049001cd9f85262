"""A reference model, run beside or kept as hidden states: divergence, same top token, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from evaluate_helpers_models import Markov, Uniform, chain, hosted, sampled
from evaluate_tokenizers import tokenizer
from losskit.evaluate import JournalError, ModelError, perplexity
from losskit.evaluate.plan import Plan
from losskit.evaluate.records import Divergence

TEXTS = ["the quick brown fox jumps over the lazy dog " * 3, "a second, shorter text", "x", ""]


def test_a_model_does_not_diverge_from_itself() -> None:
    found = perplexity(hosted("llama"), tokenizer("bpe", bos=True), TEXTS, window=32, reference=hosted("llama")).agreement
    assert found is not None
    assert found.same_top == 1
    assert 0 <= found.mean < 1e-9
    assert found.largest < 1e-9


def test_the_divergence_is_that_of_the_softmaxes_over_every_scored_token() -> None:
    words = tokenizer("bpe", bos=True)
    mine, theirs = hosted("gemma2"), hosted("llama")
    report = perplexity(mine, words, TEXTS, window=16, stride=8, reference=theirs)
    assert report.agreement is not None
    total, same, nats, count, values = 0.0, 0, 0.0, 0, []
    for text in TEXTS:
        ids = words(text, add_special_tokens=False)["input_ids"]
        for w in Plan(16, 8, "every").windows(len(ids)):
            read = torch.tensor([[words.bos_token_id, *ids[w.start : w.stop - 1]]])
            with torch.no_grad():
                q, p = (m(read).logits[0, w.context - 1 :].double().log_softmax(-1) for m in (mine, theirs))
            kl = (p.exp() * (p - q)).sum(-1)
            values += kl.tolist()
            total, count = total + float(kl.sum()), count + len(kl)
            same += int((p.argmax(-1) == q.argmax(-1)).sum())
            nats -= float(p.gather(1, torch.tensor(ids[w.first : w.stop])[:, None]).sum())
    found = report.agreement
    assert found.mean == pytest.approx(total / count, rel=1e-6)
    assert found.same_top == same / count
    assert found.reference_loss == pytest.approx(nats / count, rel=1e-6)
    assert found.largest == pytest.approx(max(values), rel=1e-6)
    assert found.median == pytest.approx(sorted(values)[(count - 1) // 2], rel=0.04)
    assert found.p99 == pytest.approx(sorted(values)[math.ceil(0.99 * count) - 1], rel=0.04)


def test_scores_of_callables_are_compared_too() -> None:
    table, other = chain(seed=0), chain(seed=1)
    documents = sampled(table, [30, 20])
    found = perplexity(Markov(other), None, documents, window=8, bos="none", reference=Markov(table)).agreement
    kl = [
        math.fsum(float(p * (p / q).log()) for p, q in zip(table[state], other[state], strict=True) if p > 0)
        for document in documents
        for state in document[:-1]
    ]
    assert found is not None
    assert found.mean == pytest.approx(math.fsum(kl) / len(kl), rel=1e-12)


def test_hidden_states_on_disk_stand_for_the_model(tmp_path: Path) -> None:
    words, folder = tokenizer("bpe", bos=True), tmp_path / "hidden"
    options = {"window": 16, "stride": 8, "batch_tokens": 40}
    first = perplexity(hosted("llama"), words, TEXTS, save_hidden=folder, **options)
    live = perplexity(hosted("gemma2"), words, TEXTS, reference=hosted("llama"), **options)
    stored = perplexity(hosted("gemma2"), words, TEXTS, reference=folder, **options)
    assert stored.agreement == live.agreement
    assert stored.agreement is not None
    assert stored.agreement.reference_loss == pytest.approx(first.overall.loss, rel=1e-12)
    scored = first.overall.amounts["token"]
    held = sum(f.stat().st_size for f in folder.glob("0*.pt"))
    assert held < scored * 32 * 4 + 4096 * len(list(folder.iterdir()))  # D numbers a token, not V


def test_hidden_states_of_other_text_or_windows_are_refused(tmp_path: Path) -> None:
    words, folder = tokenizer("bpe", bos=True), tmp_path / "hidden"
    perplexity(hosted("llama"), words, TEXTS, window=16, save_hidden=folder)
    with pytest.raises(ModelError, match=r"other window .16 there, 32 here"):
        perplexity(hosted("llama"), words, TEXTS, window=32, reference=folder)
    with pytest.raises(ModelError, match="other data"):
        perplexity(hosted("llama"), words, [*TEXTS, "more"], window=16, reference=folder)


def test_models_of_other_vocabularies_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be compared"):
        perplexity(hosted("llama"), None, [[1, 2, 3]], window=16, bos=1, reference=hosted("llama", vocabulary=300))


def test_a_model_without_a_head_saves_no_hidden_states(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="save_hidden"):
        perplexity(Uniform(9), None, [[1, 2]], window=4, bos=0, save_hidden=tmp_path / "hidden")


@pytest.mark.parametrize("value", [0.0, 1e-13, 1e-9, 0.003, 1.0, 40.0])
def test_a_bin_of_divergences_is_two_percent_wide(value: float) -> None:
    middle = Divergence.value_of(Divergence.bin_of(value))
    assert middle == pytest.approx(value, rel=0.02, abs=1.1e-12)


def test_a_journal_of_another_reference_is_refused(tmp_path: Path) -> None:
    table = chain()
    documents, journal = sampled(table, [12, 9]), tmp_path / "journal"
    options = {"window": 8, "bos": "none", "resume": journal}
    first = perplexity(Markov(table), None, documents, reference=Markov(chain(seed=1)), **options)
    with pytest.raises(JournalError, match="reference"):
        perplexity(Markov(table), None, documents, reference=Markov(chain(seed=2)), **options)
    again = perplexity(Markov(table), None, documents, reference=Markov(chain(seed=1)), **options)
    assert again.agreement == first.agreement


def test_a_reference_that_is_not_causal_or_too_short_is_refused() -> None:
    with pytest.raises(ModelError, match="not causal"):
        perplexity(hosted("llama"), None, [[1, 2, 3, 4]], window=16, bos=1, reference=hosted("bert"))
    with pytest.raises(ModelError, match="made for 16 positions"):
        perplexity(hosted("llama"), None, [[1, 2, 3, 4]], window=32, bos=1, reference=hosted("gpt2", positions=16))
