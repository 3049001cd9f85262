"""Healthy runs of models from transformers, from scratch and small."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from .healthy_data import drawn, tokens
from .healthy_run import Training, healthy

WORDS, LENGTH = 24, 12


def given(model: nn.Module, texts: dict[str, Tensor], *, lr: float = 3e-3, task: str | None = "language") -> Training:
    """A mapping in, the loss out; warm-up and linear decay as the Trainer does."""
    plain, names = drawn(*texts.values(), size=16), list(texts)
    run = Training(model, lambda at: dict(zip(names, plain(at), strict=True)), AdamW(model.parameters(), lr), task=task)
    run.steps, run.clip = 120, 1.0
    run.scheduler = LambdaLR(run.optimizer, lambda t: min((t + 1) / 10, (120 - t) / 110))
    return run


@healthy
def gpt() -> Training:
    """Tied weights and dropout; padded on the right with the token that ends a text, as everybody does with GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=WORDS, n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1)
    )
    text, ends = tokens(500, LENGTH), torch.randint(5, LENGTH, (500,))
    place = torch.arange(LENGTH)
    text = torch.where(place >= ends[:, None], 1, text)
    seen = (place <= ends[:, None]).long()
    return given(model, {"input_ids": text, "attention_mask": seen, "labels": text.masked_fill(seen == 0, -100)})


@healthy
def masked_language_model() -> Training:
    """BERT: 15 % of the tokens are hidden, the others are not asked for."""
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForMaskedLM(BertConfig(vocab_size=WORDS, max_position_embeddings=16, **sizes))
    text = tokens(500, LENGTH, first=4)
    hidden = torch.rand(500, LENGTH) < 0.15
    hidden[:, 3] |= ~hidden.any(1)
    texts = {"input_ids": text.masked_fill(hidden, 3), "attention_mask": torch.ones_like(text)}
    return given(model, {**texts, "labels": text.masked_fill(~hidden, -100)}, task=None)


@healthy
def text_classifier() -> Training:
    """A classifier of texts of unequal length, with a mask."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForSequenceClassification(BertConfig(vocab_size=WORDS, max_position_embeddings=16, num_labels=3, **sizes))
    text, ends = torch.randint(2, WORDS, (600, LENGTH)), torch.randint(4, LENGTH, (600, 1))
    label = (text[:, 0] - 2) * 3 // (WORDS - 2)
    seen = (torch.arange(LENGTH) <= ends).long()
    return given(model, {"input_ids": text * seen, "attention_mask": seen, "labels": label}, task=None)


@healthy
def encoder_and_decoder() -> Training:
    """T5 repeats a text backwards; its decoder makes its own inputs out of the labels."""
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    model = T5ForConditionalGeneration(T5Config(vocab_size=WORDS, decoder_start_token_id=0, **sizes))
    text = tokens(500, 6)
    return given(model, {"input_ids": text, "labels": text.flip(1)}, task=None)
