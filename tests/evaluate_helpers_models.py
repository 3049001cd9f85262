"""Models whose perplexity is known without a computer, and small ones of transformers built from configs."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

STATES = 20


def chain(states: int = STATES, seed: int = 0) -> Tensor:
    """Transition probabilities (states + 1, states + 1) in float64: the last one is the start, and is never returned to."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(states + 1, states + 1, generator=generator, dtype=torch.float64) ** 3
    table[:, states] = 0
    return table / table.sum(1, keepdim=True)


def sampled(table: Tensor, lengths: Sequence[int], seed: int = 1) -> list[list[int]]:
    """Documents drawn from a chain."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for length in lengths:
        state, row = len(table) - 1, list[int]()
        for _ in range(length):
            state = int(torch.multinomial(table[state], 1, generator=generator))
            row.append(state)
        found.append(row)
    return found


class Markov(nn.Module):
    """The chain as a model: scores log P[x_t]."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("scores", table.log())

    def forward(self, ids: Tensor) -> Tensor:
        return self.scores[ids]


def surprise(token: int, context: int) -> float:
    """What the position-coded model's -log p is for token number ``token`` of a document, read after ``context`` positions."""
    return 0.5 + 0.001 * token + 0.01 / context


class Coded(nn.Module):
    """For documents 0, 1, 2, ...: its -log p of token t is :func:`surprise` of t and of how many positions it has read."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes  # the last is the start

    def forward(self, ids: Tensor) -> Tensor:
        scores = torch.zeros(*ids.shape, self.classes, dtype=torch.float64)
        for row in range(len(ids)):
            for place, id in enumerate(ids[row].tolist()):
                after = 0 if id == self.classes - 1 else id + 1
                if after < self.classes - 1:
                    odds = math.expm1(surprise(after, place + 1))
                    scores[row, place, after] = math.log((self.classes - 1) / odds)
        return scores


class Uniform(nn.Module):
    """Every token equally likely, through a head of zeros."""

    def __init__(self, classes: int, width: int = 8) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(classes, width), nn.Linear(width, classes, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids))


FAMILIES = ("llama", "gpt2", "qwen2", "gemma2", "opt", "mamba", "cohere", "granite")


@functools.cache
def hosted(family: str, vocabulary: int = 400, positions: int = 64) -> Any:
    """A model of transformers with random weights; its output distribution is far from uniform."""
    import transformers as hf

    size = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 1, "eos_token_id": 2}
    usual = {**size, "intermediate_size": 48, "num_attention_heads": 4, "max_position_embeddings": positions}
    shared = {**usual, "num_key_value_heads": 2}
    gpt = {"vocab_size": vocabulary, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": positions, "bos_token_id": 1}
    configs = {
        "llama": lambda: hf.LlamaConfig(**shared),
        "gpt2": lambda: hf.GPT2Config(**gpt, eos_token_id=2),
        "qwen2": lambda: hf.Qwen2Config(**shared, tie_word_embeddings=True),
        "gemma2": lambda: hf.Gemma2Config(**shared, head_dim=8, final_logit_softcapping=3.0),
        "opt": lambda: hf.OPTConfig(**{**usual, "ffn_dim": 48, "word_embed_proj_dim": 16}),
        "mamba": lambda: hf.MambaConfig(**size, state_size=4),
        "cohere": lambda: hf.CohereConfig(**shared, logit_scale=0.25),
        "granite": lambda: hf.GraniteConfig(**shared, logits_scaling=0.25),
        "bert": lambda: hf.BertConfig(**usual, is_decoder=False),
    }
    torch.manual_seed(0)
    name = "BertForMaskedLM" if family == "bert" else "AutoModelForCausalLM"
    model = getattr(hf, name)(configs[family]()) if family == "bert" else hf.AutoModelForCausalLM.from_config(configs[family]())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # or every distribution is nearly uniform, and much would go unnoticed
    return model.eval()


class Bigram(nn.Module):
    """Scores of the next token from this one, through ``last``."""

    def __init__(self, last: nn.Module | None = None, classes: int = 12, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(classes, width), nn.Linear(width, classes)
        self.last = last or nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.head(self.table(ids)))


def truth(model: nn.Module, ids: list[int]) -> float:
    """The sum of -log p of all tokens but the first, from one pass over all of them."""
    with torch.no_grad():
        log_p = model(torch.tensor([ids]))[0].double().log_softmax(-1)
    return -math.fsum(float(log_p[i, after]) for i, (_, after) in enumerate(itertools.pairwise(ids)))


class Post(nn.Module):
    """Any function of the scores, as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, scores: Tensor) -> Tensor:
        return self.function(scores)
