"""Causal models of transformers, many families: the sum is that of a float64 loop over their own scores."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from evaluate_helpers_models import hosted
from losskit.evaluate import ModelError, perplexity
from losskit.evaluate.plan import Plan

SIZE: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
SHARED = {**SIZE, "num_key_value_heads": 2}
OLD: dict[str, Any] = {"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
NAMED = {"bos_token_id": 1, "eos_token_id": 2}
TALL: dict[str, Any] = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("Mistral", "Phi3", "StableLm", "Olmo2", "Starcoder2", "Nemotron", "Cohere2", "SmolLM3"), SHARED),
    **{name: {**SHARED, "head_dim": 8} for name in ("Gemma", "Qwen3", "Gemma3Text", "Glm4")},
    **{name: {**SHARED, "num_local_experts": 4} for name in ("Mixtral", "GraniteMoe")},
    **dict.fromkeys(("GPTNeoX", "Persimmon", "BioGpt"), SIZE),
    "OpenAIGPT": OLD,
    "GPTBigCode": {**OLD, **NAMED},
    "GPTJ": {**OLD, **NAMED, "rotary_dim": 4},
    "CodeGen": {**OLD, **NAMED, "rotary_dim": 4},
    "Bloom": {"vocab_size": 300, "hidden_size": 32, "n_layer": 2, "n_head": 4, **NAMED},
    "Mpt": {"vocab_size": 300, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
    "Mamba2": {**TALL, "state_size": 8, "head_dim": 8, "num_heads": 8, "n_groups": 1},
    "Rwkv": {**TALL, "attention_hidden_size": 32, "context_length": 64},
}


def drawn(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 300, (n,), generator=generator).tolist() for n in lengths]


def looped(model: Any, documents: list[list[int]], plan: Plan) -> float:
    nats = []
    for ids in documents:
        for w in plan.windows(len(ids)):
            with torch.no_grad():
                log_p = model(torch.tensor([[1] * w.prefixed + ids[w.start : w.stop - 1]])).logits[0].double().log_softmax(-1)
            nats += [-float(log_p[w.context - 1 + t - w.first, ids[t]]) for t in range(w.first, w.stop)]
    return math.fsum(nats)


@pytest.mark.slow
@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.filterwarnings("ignore")  # of transformers: kernels that are not installed, names that change
def test_the_family_agrees_with_a_loop_and_its_head_is_found(family: str) -> None:
    import transformers

    config = getattr(transformers, f"{family}Config", None)
    if config is None:
        pytest.skip(f"this transformers has no {family}")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config(**CONFIGS[family])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    documents = drawn(70, 5, 33)
    found = perplexity(model, None, documents, window=32, stride=16, bos=1)
    assert found.model["path"] == "hidden states, head in tiles", found.warnings
    assert found.overall.nats == pytest.approx(looped(model, documents, Plan(32, 16, "every")), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.filterwarnings("ignore")
def test_half_precision_is_off_by_the_rounding_of_its_own_scores_only(dtype: torch.dtype) -> None:
    model, documents = hosted("llama"), [[i % 297 + 3 for i in range(90)]]
    try:
        model.to(dtype)
        found = perplexity(model, None, documents, window=32, bos=1)
        assert found.model["path"] == "hidden states, head in tiles"
        assert found.overall.nats == pytest.approx(looped(model, documents, Plan(32, 16, "every")), rel=5e-3)
        assert found.model["dtype"] == str(dtype).removeprefix("torch.")
    finally:
        model.float()


def test_a_model_that_cannot_run_is_told_with_its_own_words() -> None:
    broken = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(5, 9))
    with pytest.raises(ModelError, match=r"Sequential fails on ids \(2, 4\): .*shapes cannot be multiplied"):
        perplexity(broken, None, [[1, 2, 3]], window=4, bos=0)
