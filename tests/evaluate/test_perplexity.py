"""perplexity: every token once with the stated context, whatever window, stride, batch and prefix."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from evaluate_helpers_models import FAMILIES, STATES, Coded, Markov, Uniform, chain, hosted, sampled, surprise
from evaluate_tokenizers import TEXTS, tokenizer
from losskit.evaluate import DataError, Head, ModelError, NonFiniteError, perplexity
from losskit.evaluate.plan import Plan
from losskit.evaluate.records import context_bin

LENGTHS = (1, 2, 3, 7, 8, 9, 40, 0, 25)
GRID = [(w, s) for w in (1, 2, 3, 5, 8, 13, 64) for s in range(1, min(w, 6) + 1)] + [(8, 8), (13, 13), (64, 64), (64, 33)]


def chained(documents: list[list[int]], table: Tensor, first: bool) -> float:
    """The sum of -log P over the transitions, the one from the start included if ``first``."""
    steps = [itertools.pairwise([STATES, *d] if first else d) for d in documents]
    return math.fsum(-math.log(table[a, b]) for step in steps for a, b in step)


@pytest.mark.parametrize("bos", [STATES, "none"])
def test_a_markov_chain_gives_one_sum_for_every_window_and_stride(bos: int | str) -> None:
    table = chain()
    documents = sampled(table, LENGTHS)
    truth = chained(documents, table, bos != "none")
    for window, stride in GRID:
        if bos != "none" and stride > window - 1:
            continue
        for batch in (1, 50, 4096):
            found = perplexity(Markov(table), None, documents, window=window, stride=stride, bos=bos, batch_tokens=batch)
            assert math.isclose(found.overall.nats, truth, rel_tol=1e-12), (window, stride, batch)
            assert found.overall.amounts["token"] == sum(LENGTHS) - (bos == "none") * sum(n > 0 for n in LENGTHS)


def test_each_token_is_scored_once_with_the_context_that_the_plan_states() -> None:
    length = 50
    for window, stride in [(5, 1), (5, 3), (8, 4), (16, 15), (64, 32)]:
        found = perplexity(Coded(length + 1), None, [list(range(length))], window=window, stride=stride, bos=length)
        plan = Plan(window, stride, "every")
        seen = {t: w.context + t - w.first for w in plan.windows(length) for t in range(w.first, w.stop)}
        assert sorted(seen) == list(range(length))
        assert math.isclose(found.overall.nats, math.fsum(surprise(t, c) for t, c in seen.items()), rel_tol=1e-12)
        bins = found.overall.contexts
        assert {b: n for b, (_, n) in bins.items()} == {
            b: sum(context_bin(c) == b for c in seen.values()) for b in {context_bin(c) for c in seen.values()}
        }
        assert found.contexts is not None
        assert found.contexts.least == min(seen.values())
        assert math.isclose(found.contexts.mean, sum(seen.values()) / length)
        assert found.contexts.most == max(seen.values()) <= window


@pytest.mark.claim("R10")
@pytest.mark.parametrize("classes", [2, 50, 2049, 50257])
def test_a_uniform_model_has_as_many_choices_as_tokens_under_every_plan(classes: int) -> None:
    model, documents = Uniform(classes), [[0, 1, 1, 0, 1, 0, 0], [1, 1], [0] * 30]
    for window, stride in [(2, 1), (8, 4), (64, 63)]:
        found = perplexity(model, None, documents, head=model.head, window=window, stride=stride, bos=1)
        assert found.perplexity is not None
        assert math.isclose(found.perplexity, classes, rel_tol=1e-12)
        assert found.model["path"].startswith("hidden states")


def slow(model: torch.nn.Module, ids: list[int], bos: int, plan: Plan) -> float:
    """The sum over a loop of single windows and single tokens, from a float64 log-softmax of the model's own scores."""
    total = []
    for w in plan.windows(len(ids)):
        read = [bos] * w.prefixed + ids[w.start : w.stop - 1]
        with torch.no_grad():
            log_p = model(torch.tensor([read])).logits[0].double().log_softmax(-1)
        total += [-float(log_p[w.context - 1 + t - w.first, ids[t]]) for t in range(w.first, w.stop)]
    return math.fsum(total)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore")  # of transformers, about kernels that are not installed
def test_families_agree_with_a_float64_loop_over_their_own_scores(family: str) -> None:
    model, words = hosted(family), tokenizer("bpe", bos=True)
    texts = [str(t)[:400] for t in TEXTS[:3]]
    found = perplexity(model, words, texts, window=32, stride=16)
    encoded = [words(t, add_special_tokens=False)["input_ids"] for t in texts]
    truth = math.fsum(slow(model, ids, words.bos_token_id, Plan(32, 16, "every")) for ids in encoded)
    assert found.model["path"].startswith("hidden states"), found.warnings
    assert math.isclose(found.overall.nats, truth, rel_tol=1e-6)
    assert found.overall.amounts["token"] == sum(map(len, encoded))
    assert found.overall.amounts["byte"] == sum(len(t.encode()) for t in texts)


@pytest.mark.filterwarnings("ignore")
def test_float64_is_exact_to_a_log_softmax_of_float64_scores() -> None:
    model = hosted("gemma2").double()
    try:
        ids = torch.randint(400, (100,), generator=torch.Generator().manual_seed(0)).tolist()
        found = perplexity(model, None, [ids], window=32, stride=8, bos=1, precision="float64")
        assert math.isclose(found.overall.nats, slow(model, ids, 1, Plan(32, 8, "every")), rel_tol=1e-12)
    finally:
        model.float()


def test_a_model_that_sees_what_comes_after_is_refused() -> None:
    with pytest.raises(ModelError, match="not causal"):
        perplexity(hosted("bert"), None, [list(range(20))], window=32, bos="none")


@pytest.mark.parametrize(
    ("dtype", "gap"), [(torch.float32, 120.0), (torch.float16, 17.0), (torch.float16, 90.0), (torch.bfloat16, 200.0)]
)
def test_a_token_of_a_hundred_nats_is_finite_and_right(dtype: torch.dtype, gap: float) -> None:
    def model(ids: Tensor) -> Tensor:
        scores = torch.zeros(*ids.shape, 100, dtype=dtype)
        scores[..., 0] = gap
        return scores

    found = perplexity(model, None, [[0, 1]], window=4, bos="none")
    assert math.isclose(found.overall.nats, gap + math.log1p(99 * math.exp(-gap)), rel_tol=1e-7)


def broken(ids: Tensor) -> Tensor:
    scores = torch.zeros(*ids.shape, 10)
    return torch.where((ids == 7).unsqueeze(-1), torch.nan, scores)


def test_a_nan_is_named_or_kept_but_never_dropped() -> None:
    documents = [{"text": [1, 2], "id": "fine"}, {"text": [3, 7, 4, 5], "id": "sick"}]
    rows = [{"tokens": d["text"], "id": d["id"]} for d in documents]
    with pytest.raises(NonFiniteError, match=r"'sick', token 2 .id 4.*nan"):
        perplexity(broken, None, rows, doc_id="id", window=8, bos=0)
    found = perplexity(broken, None, rows, doc_id="id", window=8, bos=0, nonfinite="report")
    assert found.perplexity is not None
    assert math.isnan(found.perplexity)
    assert found.overall.nonfinite == 1
    assert found.interval is None


def test_a_token_that_is_impossible_makes_the_perplexity_infinite() -> None:
    def model(ids: Tensor) -> Tensor:
        scores = torch.zeros(*ids.shape, 10)
        scores[..., 3] = -torch.inf
        return scores

    found = perplexity(model, None, [[1, 2, 3, 4]], window=8, bos=0, nonfinite="report")
    assert found.perplexity == math.inf
    assert '"perplexity": "inf"' in found.to_json()


def test_a_document_that_brings_its_own_prefix_gets_no_second_one() -> None:
    table = chain()
    (document,) = sampled(table, [12])
    alone = perplexity(Markov(table), None, [document], window=8, bos=STATES)
    brought = perplexity(Markov(table), None, [[STATES, *document]], window=8, bos=STATES)
    assert alone.overall.nats == brought.overall.nats
    assert any("begin with the prefix token" in w for w in brought.warnings)


def test_padding_side_and_special_tokens_of_the_tokenizer_do_not_matter() -> None:
    model = hosted("llama")
    text = str(TEXTS[0])[:300]
    sums = {
        perplexity(model, tokenizer("bpe", bos=True, adds=adds, padding_side=side), text, window=32).overall.nats
        for adds in (True, False)
        for side in ("left", "right")
    }
    assert len(sums) == 1


def test_units_are_those_of_the_scored_tokens() -> None:
    model, text = hosted("llama"), "naïve café, naïve café. The end"
    words = tokenizer("byte", bos=False)
    found = perplexity(model, words, text, window=32, bos="none")
    amounts = found.overall.amounts
    assert amounts["byte"] == len(text.encode()) - 1  # the first token, a byte, has no context
    assert amounts["token"] == len(text.encode()) - 1
    assert amounts["word"] == len(text.split())
    cut = perplexity(model, words, text, window=32, bos="none", truncate=12)
    assert cut.overall.amounts["token"] == 11
    assert cut.tokens == len(text.encode())
    assert cut.documents[0].unscored == cut.tokens - 11


@pytest.mark.claim("R9")
def test_the_corpus_figure_is_no_mean_of_means() -> None:
    def model(ids: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(ids), 2.0 * ids], -1).double()

    found = perplexity(model, None, [[0, 0], [1] * 10], window=16, bos="none")
    first, others = math.log(2), math.log1p(math.exp(-2))
    assert found.perplexity == pytest.approx(math.exp((first + 9 * others) / 10), rel=1e-12)
    assert found.overall.document_mean == pytest.approx((math.exp(first) + math.exp(others)) / 2, rel=1e-12)
    assert found.overall.document_geometric_mean == pytest.approx(math.exp((first + others) / 2), rel=1e-12)


def test_a_module_with_a_head_outside_is_scored_through_it() -> None:
    torch.manual_seed(0)
    body, weight, bias = torch.nn.Embedding(30, 6), torch.randn(30, 6), torch.randn(30)
    head = Head(weight, bias, scale=0.5, softcap=2.0)
    ids = list(range(20))
    found = perplexity(body, None, [ids], head=head, window=8, stride=4, bos=29)
    scores = 2 * torch.tanh(0.5 * (body.weight.detach().double() @ weight.double().T + bias.double()) / 2)
    truth = -sum(float(scores[a].log_softmax(0)[b]) for a, b in itertools.pairwise([29, *ids]))
    assert found.overall.nats == pytest.approx(truth, rel=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 9))
    model.train()
    model[1].eval()
    perplexity(model, None, [[1, 2, 3]], window=4, bos=0, head=model[2])
    assert [m.training for m in model] == [True, False, True]
    assert not model[2]._forward_pre_hooks


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"window": 8, "stride": 9}, ValueError, '"stride" is 9, expected 1 to 8'),
        ({"window": 8, "stride": 8, "bos": 0}, ValueError, "the prefix takes one"),
        ({"window": 0}, ValueError, '"window" must be >= 1'),
        ({"window": 1, "bos": 0}, ValueError, '"window" is 1, expected >= 2'),
        ({"stride": "third"}, ValueError, "'half' or 'quarter'"),
        ({"bos": "bos"}, ValueError, '"bos" is'),
        ({"bos": "eos"}, ValueError, "no tokenizer"),
        ({"precision": "half"}, ValueError, '"precision"'),
        ({"interval": "iid"}, ValueError, '"interval"'),
        ({"level": 1.0}, ValueError, '"level"'),
        ({"units": ("token", "syllable")}, ValueError, '"units"'),
        ({"truncate": 0}, ValueError, '"truncate"'),
        ({"batch_tokens": 0}, ValueError, '"batch_tokens"'),
        ({"reference": "nowhere"}, ModelError, "save_hidden"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        perplexity(Markov(chain()), None, [[1, 2, 3]], **{"window": 8, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("documents", "error", "words"),
    [
        ([], DataError, "no document"),
        ([[5]], DataError, "nothing can be scored"),
        ([[]], DataError, "nothing can be scored"),
        (["a text"], DataError, "no tokenizer"),
        ([[1, 2, 99]], DataError, "do not belong together|99"),
    ],
)
def test_documents_that_cannot_be_scored_are_named(documents: list[object], error: type[Exception], words: str) -> None:
    model = Uniform(50)
    with pytest.raises(error, match=words):
        perplexity(model, None, documents, head=model.head, window=8, bos="none")


def test_a_window_beyond_the_models_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64, the positions"):
        perplexity(hosted("gpt2"), None, [[1, 2, 3]], window=65)
