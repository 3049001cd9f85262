"""Each tool's figure is what its recipe gives, written down here as a loop over the model's own scores, faults included."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from evaluate_helpers_models import hosted
from evaluate_helpers_protocols import HOSTS, TEXTS_OF, one
from evaluate_tokenizers import tokenizer
from losskit.evaluate.side_by_side import protocols

each_host = pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
each_family = pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "granite"])


def log_p(model: Any, read: list[int]) -> torch.Tensor:
    """(L, V), of the model's own scores, in their dtype."""
    with torch.no_grad():
        return F.log_softmax(model(torch.tensor([read])).logits[0], -1)


def joined(host: Any) -> list[int]:
    return host("\n\n".join(TEXTS_OF))["input_ids"]


def close(found: float, wanted: float) -> None:
    assert found == pytest.approx(wanted, rel=2e-5)
    assert math.isfinite(found)


# lm-evaluation-harness


def rolling(model: Any, host: Any, text: str, window: int) -> tuple[float, int]:
    """The log-likelihood of a text in windows that are filled to the brim, and how many tokens it is of."""
    begin = host.eos_token_id if host.bos_token_id is None else host.bos_token_id
    ids, done, total = host.encode(text), 0, 0.0
    while done < len(ids):
        new = ids[done : done + window]
        whole = [begin, *ids][max(0, done + len(new) - window) : done + len(new)]
        scores = log_p(model, whole)[-len(new) :]
        total += float(scores.gather(1, torch.tensor(new).unsqueeze(1)).sum())
        done += len(new)
    return total, len(ids)


@each_host
def test_lm_eval_rolls_over_each_text_with_one_token_of_context(host: Callable[[], Any]) -> None:
    model, words = hosted("llama", 600), host()
    found = one("lm-eval", model, words)
    sums, counts = zip(*(rolling(model, words, text, 16) for text in TEXTS_OF), strict=True)
    close(found.nats, -sum(sums))
    assert found.tokens == sum(counts)
    pieces = sum(len(text.split()) for text in TEXTS_OF) + 2  # one blank before a text, one after another
    size = sum(len(text.encode()) for text in TEXTS_OF)
    close(found.figures["word_perplexity"], math.exp(-sum(sums) / pieces))
    close(found.figures["byte_perplexity"], math.exp(-sum(sums) / size))
    close(found.figures["bits_per_byte"], -sum(sums) / size / math.log(2))


def test_lm_eval_in_bfloat16_sums_log_p_that_are_rounded() -> None:
    model, words = copy.deepcopy(hosted("gemma2", 600)).bfloat16(), tokenizer("bpe", bos=True, adds=False)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(10)  # far into the soft-cap
    found, ours = protocols(model, words, TEXTS_OF[:1], names=["lm-eval", "losskit"], window=64, stride="disjoint")
    wanted, _ = rolling(model, words, TEXTS_OF[0], 64)
    assert found.nats == pytest.approx(-wanted, rel=1e-3)
    assert found.nats % 0.25 == 0, "bfloat16 has 8 bits"
    assert ours.nats % 0.25 != 0
    assert "half precision" in found.differs


def test_a_tokenizer_that_adds_bos_makes_lm_eval_score_it() -> None:
    model = hosted("llama", 600)
    adding, plain = (
        protocols(model, tokenizer("bpe", bos=True, adds=adds), TEXTS_OF, names=["losskit", "lm-eval"], window=64)
        for adds in (True, False)
    )
    assert adding[0].nats == plain[0].nats
    assert plain[1].tokens == plain[0].tokens == plain[1].total
    assert adding[1].tokens == adding[0].tokens + len(TEXTS_OF)
    assert adding[1].nats > plain[1].nats
    assert (adding[1].scored, adding[1].total) == (plain[1].scored, plain[1].total)
    assert f"BOS is read twice and scored once in {len(TEXTS_OF)} texts" in adding[1].differs
    assert "twice" not in plain[1].differs


def test_a_text_that_is_written_with_bos_gets_the_tokenizers_own_no_more_but_the_prefix() -> None:
    model, words, text = hosted("llama", 600), tokenizer("bpe", bos=True), "<s>for a while"
    found = one("lm-eval", model, words, [text])
    ids = words(text, add_special_tokens=False)["input_ids"]
    assert ids[0] == words.bos_token_id
    scores = log_p(model, [words.bos_token_id, *ids[:-1]])
    close(found.nats, -float(scores.gather(1, torch.tensor(ids).unsqueeze(1)).sum()))
    assert found.tokens == len(ids)
    assert "twice" in found.differs


def test_a_text_of_one_window_is_the_same_to_lm_eval_and_to_us() -> None:
    model, words = hosted("llama", 600), tokenizer("bpe", bos=True, adds=False)
    ours, theirs = protocols(model, words, [text[:40] for text in TEXTS_OF], names=["losskit", "lm-eval"], window=64)
    assert theirs.nats == pytest.approx(ours.nats, rel=1e-6)
    assert theirs.figures["byte_perplexity"] == pytest.approx(ours.figures["byte_perplexity"], rel=1e-6)


def test_lm_eval_takes_eos_for_bos_and_needs_one_of_them() -> None:
    model = hosted("llama", 600)
    assert "EOS in the place of BOS" in one("lm-eval", model, tokenizer("byte", bos=False, eos=True, adds=False)).differs
    found = one("lm-eval", model, tokenizer("bpe", bos=False))
    assert all(map(math.isnan, found.figures.values()))
    assert "neither" in found.differs


# transformers' documentation


def strided(model: Any, ids: list[int], window: int, stride: int) -> tuple[float, int]:
    """The page's loop: labels of -100 for what was scored before, the model's own mean loss, and one label less in the count."""
    total, count, previous = 0.0, 0, 0
    for start in range(0, len(ids), stride):
        stop = min(start + window, len(ids))
        read = torch.tensor([ids[start:stop]])
        labels = read.clone()
        labels[:, : previous - start if previous > start else 0] = -100
        weight = int((labels != -100).sum()) - 1
        with torch.no_grad():
            total += float(model(read, labels=labels).loss) * weight
        count, previous = count + weight, stop
        if stop == len(ids):
            break
    return total, count


@each_host
@pytest.mark.parametrize(("stride", "step"), [("half", 8), (3, 3), (15, 15)])
def test_the_documentation_strides_over_one_text_and_counts_a_token_too_few(
    host: Callable[[], Any], stride: Any, step: int
) -> None:
    model, words = hosted("llama", 600), host()
    found = one("hf-docs", model, words, stride=stride, bos="none")
    total, count = strided(model, joined(words), 16, step)
    assert found.tokens == count
    close(found.nats, total)
    close(found.figures["ppl"], math.exp(total / count))
    inner = words("\n\n".join(TEXTS_OF), add_special_tokens=False)["input_ids"]
    assert (found.scored, found.total) == (len(inner) - (joined(words)[0] == inner[0]), len(inner))


@each_family
def test_a_stride_of_one_window_scores_all_but_the_first_token_of_each(family: str) -> None:
    model, words = hosted(family, 600), tokenizer("bpe", bos=True, adds=False)
    found = one("hf-docs", model, words, stride="disjoint")
    total, count = strided(model, joined(words), 16, 16)
    close(found.nats, total)
    assert found.tokens == count == found.scored == found.total - math.ceil(found.total / 16)


def test_a_stride_of_one_token_counts_the_first_window_only() -> None:
    found = one("hf-docs", hosted("llama", 600), tokenizer("bpe", bos=False), stride=1)
    assert (found.tokens, found.scored) == (15, found.total - 1)


# llama.cpp and GPTQ


def second_halves(model: Any, ids: list[int], window: int, bos: int | None) -> list[float]:
    found = []
    for start in range(0, len(ids) - window + 1, window):
        chunk = ids[start : start + window]
        scores = log_p(model, chunk if bos is None else [bos, *chunk[1:]])
        found += [-float(scores[at, chunk[at + 1]]) for at in range(window // 2, window - 1)]
    return found


@pytest.mark.parametrize("window", [16, 9])
@pytest.mark.parametrize("adds", [True, False])
def test_llama_cpp_scores_the_second_half_of_each_window(window: int, adds: bool) -> None:
    model, words = hosted("llama", 600), tokenizer("bpe", bos=True, adds=adds)
    found, ids = one("llama.cpp", model, words, window=window), joined(words)
    values = second_halves(model, ids, window, words.bos_token_id if adds else None)
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    assert found.tokens == len(values) == (len(ids) // window) * (window - window // 2 - 1)
    close(found.figures["PPL"], math.exp(mean))
    close(found.figures["+/-"], math.exp(mean) * math.sqrt(variance / (len(values) - 1)))
    assert found.scored == len(values) < found.total / 2
    assert f"{len(ids) % window} tokens at the end" in found.differs


def test_llama_cpp_replaces_nothing_where_the_tokenizer_adds_nothing() -> None:
    model, words = hosted("llama", 600), tokenizer("byte", bos=True, adds=False)
    text = "<s>" + "ab" * 20
    values = second_halves(model, words(text)["input_ids"], 16, None)
    close(one("llama.cpp", model, words, [text]).nats, sum(values))


def test_llama_cpp_needs_two_windows_and_no_eos() -> None:
    model = hosted("llama", 600)
    short = one("llama.cpp", model, tokenizer("byte", bos=False), ["a" * 31])
    assert math.isnan(short.figures["PPL"])
    assert "two windows" in short.differs
    assert math.isfinite(one("llama.cpp", model, tokenizer("byte", bos=False), ["a" * 32]).figures["PPL"])
    assert "EOS" in one("llama.cpp", model, HOSTS["wordpiece, adds both"]()).differs
    assert "3" in one("llama.cpp", model, tokenizer("byte", bos=False), window=2).differs


@each_host
def test_gptq_multiplies_the_mean_of_each_window_by_its_length(host: Callable[[], Any]) -> None:
    model, words = hosted("gpt2", 600), host()
    found, ids = one("gptq", model, words), joined(words)
    total, count = 0.0, len(ids) // 16
    for at in range(count):
        chunk = torch.tensor([ids[at * 16 : at * 16 + 16]])
        with torch.no_grad():
            total += 16 * float(F.cross_entropy(model(chunk).logits[0, :-1], chunk[0, 1:]))
    close(found.nats, total)
    assert found.tokens == 16 * count
    close(found.figures["ppl"], math.exp(total / (16 * count)))
    assert 15 * count - 1 <= found.scored <= 15 * count
    assert math.isnan(one("gptq", model, words, ["a"]).figures["ppl"])


# evaluate


@each_host
def test_evaluate_takes_the_mean_of_the_perplexities_of_cut_texts(host: Callable[[], Any]) -> None:
    model, words = hosted("llama", 600), host()
    found, each, count = one("evaluate", model, words), list[float](), 0
    for text in TEXTS_OF:
        ids = words(text, add_special_tokens=False)["input_ids"]
        ids = ids[:16] if words.bos_token_id is None else [words.bos_token_id, *ids[:15]]
        each.append(math.exp(F.cross_entropy(model(torch.tensor([ids])).logits[0, :-1], torch.tensor(ids[1:])).item()))
        count += len(ids) - 1
    close(found.figures["mean_perplexity"], sum(each) / len(each))
    assert found.tokens == found.scored == count < found.total
    assert "3 texts are cut" in found.differs


def test_gptq_and_evaluate_round_as_the_model_does() -> None:
    model, words, text = copy.deepcopy(hosted("llama", 600)).bfloat16(), tokenizer("byte", bos=False), "for i in range:"
    ids = torch.tensor(words(text + " ")["input_ids"])
    with torch.no_grad():
        logits = model(ids[None]).logits[0, :-1]
    loss, whole = F.cross_entropy(logits, ids[1:]), F.cross_entropy(logits, ids[1:], reduction="sum")
    gptq, evaluate = protocols(model, words, [text + " "], names=["gptq", "evaluate"], window=16)
    assert gptq.nats == pytest.approx(16 * float(loss), abs=16 * 2**-5)
    assert gptq.nats % (16 * 2**-5) == 0, "between 4 and 8, bfloat16 knows steps of 2**-5"
    assert evaluate.figures["mean_perplexity"] == pytest.approx(float((whole / 15).exp()), rel=2**-4)
    assert evaluate.figures["mean_perplexity"] % 2 == 0, "from 512 on in steps of 4, below in steps of 2"
    assert all("half precision" in found.differs for found in (gptq, evaluate))


def test_evaluate_refuses_a_text_without_tokens() -> None:
    found = one("evaluate", hosted("llama", 600), tokenizer("bpe", bos=True), ["some text", ""])
    assert math.isnan(found.figures["mean_perplexity"])
    assert "every text" in found.differs


def test_a_tokenizer_that_pads_left_is_warned_of() -> None:
    model = hosted("llama", 600)
    assert "left padding" in one("evaluate", model, tokenizer("bpe", bos=True, padding_side="left")).differs
    assert "left padding" not in one("evaluate", model, tokenizer("bpe", bos=True)).differs
