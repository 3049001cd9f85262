"""The head is the model's own or it is not used; what a model is goes into its fingerprint; nothing stays behind on it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evaluate_helpers_models import Bigram, Post, hosted, truth
from evaluate_tokenizers import tokenizer
from losskit.evaluate import Head, JournalError, ModelError, perplexity, score_tokens


class Twice(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return 2 * scores


class Capped(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return 30 * torch.tanh(scores / 30)


def test_a_head_that_is_not_all_is_not_used_and_the_report_says_so() -> None:
    model = Bigram(Twice())
    found = perplexity(model, None, [list(range(12))], head=model.head, window=16, bos="none")
    assert found.overall.nats == pytest.approx(truth(model, list(range(12))), rel=1e-6)
    assert any("all scores of every window are computed" in w for w in found.warnings)


def test_a_document_of_one_token_is_no_reason_not_to_look_at_the_head() -> None:
    model = Bigram(Twice())
    found = perplexity(model, None, [[5]], head=model.head, window=16, bos=1)
    assert found.overall.nats == pytest.approx(truth(model, [1, 5]), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_soft_cap_that_nobody_names_is_noticed_in_any_dtype(dtype: torch.dtype) -> None:
    model = Bigram(Capped(), classes=500, width=16)
    with torch.no_grad():
        model.table.weight.mul_(3)
    model.to(dtype)
    found = perplexity(model, None, [list(range(100))], head=model.head, window=64, bos=1)
    assert found.model["path"] == "scores of the model"


def test_a_head_that_is_called_in_pieces_is_put_together() -> None:
    class Pieces(Bigram):
        def forward(self, ids: Tensor) -> Tensor:
            return torch.cat([self.head(part) for part in self.table(ids).split(3, 1)], 1)

    model = Pieces()
    found = perplexity(model, None, [list(range(12))], head=model.head, window=16, bos="none")
    assert found.model["path"].startswith("hidden states")
    assert found.overall.nats == pytest.approx(truth(model, list(range(12))), rel=1e-6)


def test_a_head_that_is_called_twice_only_on_long_inputs_is_an_error_that_says_so() -> None:
    class Late(Bigram):
        def forward(self, ids: Tensor) -> Tensor:
            states = self.table(ids)
            if ids.shape[1] > 10:
                self.head(states)
            return self.head(states)

    model = Late()
    with pytest.raises(ModelError, match="does not send each of 11 positions through its output layer once"):
        perplexity(model, None, [list(range(12))], head=model.head, window=16, bos="none")
    assert not model.head._forward_pre_hooks


def test_a_journal_knows_head_and_configuration(tmp_path: Path) -> None:
    body, weight = nn.Embedding(9, 4), torch.randn(9, 4, generator=torch.Generator().manual_seed(0))

    def run(path: str, **changes: Any) -> float:
        head = Head(weight, None)._replace(**changes)
        return perplexity(body, None, [[1, 2, 3, 4]], head=head, window=8, bos=0, resume=tmp_path / path).overall.nats

    first = run("a")
    assert run("a") == first
    for changes in ({"softcap": 2.0}, {"scale": 0.5}, {"weight": weight + 1}, {"bias": torch.ones(9)}):
        with pytest.raises(JournalError, match="model"):
            run("a", **changes)
    config = hosted("gemma2").config
    before = config.final_logit_softcapping
    perplexity(hosted("gemma2"), None, [[1, 2, 3]], window=8, bos=1, resume=tmp_path / "b")
    try:
        config.final_logit_softcapping = 30.0
        with pytest.raises(JournalError, match="model"):
            perplexity(hosted("gemma2"), None, [[1, 2, 3]], window=8, bos=1, resume=tmp_path / "b")
    finally:
        config.final_logit_softcapping = before


def test_hidden_states_are_whole_also_after_a_resume(tmp_path: Path) -> None:
    model, ids = hosted("llama"), [[1, 2, 3, 4, 5], [6, 7, 8]]
    options: dict[str, Any] = {"window": 8, "bos": 1, "batch_tokens": 8}
    perplexity(model, None, ids, resume=tmp_path / "journal", **options)
    perplexity(model, None, ids, resume=tmp_path / "journal", save_hidden=tmp_path / "hidden", **options)
    found = perplexity(model, None, ids, reference=tmp_path / "hidden", **options)
    assert found.agreement is not None
    assert found.agreement.largest < 1e-9
    next((tmp_path / "hidden").glob("*000000.pt")).unlink()
    with pytest.raises(ModelError, match="is not whole"):
        perplexity(model, None, ids, reference=tmp_path / "hidden", **options)
    held = (tmp_path / "hidden" / "head.pt").read_bytes()
    with pytest.raises(ModelError, match="of another run"):
        perplexity(hosted("qwen2"), None, ids, save_hidden=tmp_path / "hidden", **options)
    assert (tmp_path / "hidden" / "head.pt").read_bytes() == held


def test_a_reference_of_another_dtype_with_a_bias_is_compared() -> None:
    torch.manual_seed(0)
    body, weight, bias = nn.Embedding(30, 6), torch.randn(30, 6), torch.randn(30)
    half = nn.Embedding(30, 6).to(torch.bfloat16)
    half.weight.data.copy_(body.weight.data)

    class Rough(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = half, nn.Linear(6, 30, dtype=torch.bfloat16)
            with torch.no_grad():
                self.head.weight.copy_(weight)
                self.head.bias.copy_(bias)
            self.config = None

        def get_output_embeddings(self) -> nn.Module:
            return self.head

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.body(ids))

    from losskit.evaluate.model import LanguageModel
    from losskit.evaluate.reference import Reference

    mine = LanguageModel(body, head=Head(weight, bias))
    theirs = Rough()
    other = Reference(LanguageModel(theirs, head=theirs.head))
    ids = torch.arange(8).unsqueeze(0)
    with torch.no_grad():
        found = other.divergence(mine, mine.states(ids)[0], other.model.states(ids)[0])
    assert found.shape == (8,)
    assert 0 <= float(found.max()) < 0.01


def test_a_cut_text_has_no_units_of_another_field() -> None:
    row = {"text": "to be or not to be", "raw": "to be, or not to be!!"}
    words = tokenizer("byte", bos=True)
    whole = perplexity(hosted("llama"), words, [row], units_from="raw", window=32)
    assert whole.overall.amounts["byte"] == len(row["raw"])
    assert "'raw'" in whole.protocol.line()
    cut = perplexity(hosted("llama"), words, [row], units_from="raw", window=32, truncate=5)
    assert "byte" not in cut.overall.amounts
    assert any("no units of text" in w for w in cut.warnings)


def test_bits_per_byte_do_not_depend_on_how_text_is_cut_into_documents() -> None:
    words, text = tokenizer("byte", bos=True), "the same text in one piece or in two"
    bigram = Bigram(classes=len(words))  # it remembers one token: only the first of the second piece sees another one

    def found(*texts: str) -> float:
        return perplexity(lambda ids: torch.zeros_like(bigram(ids)), words, list(texts), window=64).bits_per_byte or 0.0

    assert found(text) == pytest.approx(math.log2(len(words)), rel=1e-12)
    assert found(text[:10], text[10:]) == pytest.approx(found(text), rel=1e-12)


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_of_nothing_is_refused_by_both(size: int) -> None:
    for call in (perplexity, score_tokens):
        with pytest.raises(ValueError, match='"batch_tokens" must be >= 1'):
            call(hosted("llama"), tokenizer("byte", bos=True), "text", window=8, batch_tokens=size)


def test_heat_text_of_score_tokens_goes_into_the_page() -> None:
    model, words, text = hosted("llama"), tokenizer("byte", bos=True), "plain text <b>"
    page = perplexity(model, words, text, window=32).to_html(examples=[("mine", score_tokens(model, words, text, window=32))])
    assert "&lt;" in page
    assert ">mine<" in page


def test_a_weight_that_changes_anywhere_is_another_model(tmp_path: Path) -> None:
    model = Bigram(classes=3000, width=64)
    options: dict[str, Any] = {"window": 8, "bos": 0, "head": model.head, "resume": tmp_path / "journal"}
    perplexity(model, None, [[1, 2, 3]], **options)
    with torch.no_grad():
        model.head.weight[1234, 17] += 1
    with pytest.raises(JournalError, match="model"):
        perplexity(model, None, [[1, 2, 3]], **options)


def test_a_divergence_that_is_no_number_is_named_or_kept() -> None:
    table = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    never = table.clone()
    never[:, 4] = 0
    documents, options = [[0, 1, 2, 3], [1, 2, 3, 0, 1]], {"window": 8, "reference": lambda ids: table.log()[ids]}
    with pytest.raises(ArithmeticError, match="its divergence from the reference is inf"):
        perplexity(lambda ids: never.log()[ids], None, documents, **options)
    found = perplexity(lambda ids: never.log()[ids], None, documents, nonfinite="report", **options).agreement
    assert found is not None
    assert found.mean == found.p99 == found.largest == math.inf


def test_few_documents_beside_empty_ones_are_few_and_a_small_group_too() -> None:
    model, generator = Bigram(), torch.Generator().manual_seed(0)
    full = [torch.randint(12, (60,), generator=generator).tolist() for _ in range(7)]
    options: dict[str, Any] = {"window": 8, "bos": 0}
    alone = perplexity(model, None, full, **options)
    beside = perplexity(model, None, [*full, [], [], [], [], []], **options)
    assert alone.overall.per == beside.overall.per
    rows = [{"tokens": d, "kind": "small"} for d in full] + [{"tokens": d, "kind": "large"} for d in full * 2]
    grouped = perplexity(model, None, rows, group_by="kind", **options)
    assert grouped.groups["small"].per == alone.overall.per
    assert any("1 groups have fewer than 10 documents" in w for w in grouped.warnings)


def test_score_tokens_refuses_what_is_no_number() -> None:
    model = Bigram(Post(lambda scores: scores * math.nan), classes=300)
    with pytest.raises(ArithmeticError, match=r"token 0 .*-log p is nan"):
        score_tokens(model, tokenizer("byte", bos=True), "abc", window=8)


def test_a_prefix_that_a_text_brings_has_no_units_where_nobody_knows_its_length() -> None:
    class Plain:
        bos_token_id = 1

        def encode(self, text: str) -> list[int]:
            return [1, *map(ord, text[3:])] if text.startswith("<s>") else [*map(ord, text)]

    found = [perplexity(Bigram(classes=128), Plain(), [text], window=16, bos=1) for text in ("hello", "<s>hello")]
    assert found[0].overall.amounts["byte"] == 5
    assert "byte" not in found[1].overall.amounts
    assert found[0].overall.nats == found[1].overall.nats
