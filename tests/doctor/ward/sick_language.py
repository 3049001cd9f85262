"""D8xx, D211 and D112: what goes wrong with language models only."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losskit.doctor.report import Report

from .cases import after, before, during, json_lines, rounded, sick

V, T = 64, 24


class Small(nn.Module):
    """A transformer of one block, causal or not, that returns scores (N, T, V)."""

    def __init__(self, causal: bool = True, vocabulary: int = V) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, 32), nn.Embedding(T, 32)
        self.block = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(32, vocabulary)
        self.causal = causal

    def forward(self, input_ids: Tensor) -> Tensor:
        length = input_ids.shape[1]
        h = self.embed(input_ids) + self.place(torch.arange(length))
        mask = torch.triu(torch.full((length, length), -math.inf), 1) if self.causal else None
        return self.head(self.block(h, src_mask=mask, is_causal=False))


class LikeHub(nn.Module):
    """Returns its loss, and shifts the labels itself, as the models of the hub do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.inner(input_ids)
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, V), labels[:, 1:].reshape(-1))
        return {"loss": loss, "logits": logits}


class Tokenizer:
    pad_token_id = eos_token_id = 2
    bos_token_id = 1


def _texts(rows: int = 16) -> Tensor:
    """Tokens that follow from the last one, with a little chance."""
    ids = torch.zeros(rows, T, dtype=torch.long)
    ids[:, 0] = torch.randint(3, V, (rows,))
    for t in range(1, T):
        ids[:, t] = 3 + (ids[:, t - 1] * 5 + 7 + torch.randint(0, 2, (rows,))) % (V - 3)
    return ids


def _token_loss(out: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(out.reshape(-1, V), labels.reshape(-1))


def _adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=lr)


@sick("D801")
def labels_are_the_inputs() -> Report:
    ids = _texts()
    model = Small()
    return before(model, (ids, ids), _token_loss, _adam(model))


@sick("D801")
def labels_are_the_inputs_live() -> Report:
    model = Small()
    batches = ((ids, ids) for ids in (_texts() for _ in range(60)))
    return during(model, batches, _token_loss, _adam(model))


@sick("D802")
def labels_shifted_before_a_model_that_shifts() -> Report:
    ids = _texts()
    model = LikeHub()
    batch = {"input_ids": ids[:, :-1], "labels": ids[:, 1:]}
    return before(model, batch, None, _adam(model))


@sick("D803")
def end_of_text_masked_with_the_padding() -> Report:
    ids = _texts()
    for row in range(16):
        ids[row, 10 + row % 8 :] = 2  # end of text, and then the same token as padding
    labels = ids.clone()
    labels[labels == Tokenizer.pad_token_id] = -100
    model = LikeHub()
    return before(model, {"input_ids": ids, "labels": labels}, None, _adam(model), tokenizer=Tokenizer())


@sick("D112")
def padding_is_learned_too() -> Report:
    ids = _texts()
    for row in range(16):
        ids[row, 6 + row % 10 :] = 0
    model = Small()
    return before(model, (ids[:, :-1], ids[:, 1:]), _token_loss, _adam(model))


@sick("D211")
def attention_sees_the_future() -> Report:
    ids = _texts()
    model = Small(causal=False)
    return before(model, (ids[:, :-1], ids[:, 1:]), _token_loss, _adam(model))


@sick("D211")
def convolution_sees_the_future() -> Report:
    class Convolutions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(V, 32), nn.Linear(32, V)
            self.conv = nn.Conv1d(32, 32, 3, padding=1)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.conv(self.embed(ids).transpose(1, 2)).relu().transpose(1, 2))

    ids = _texts()
    model = Convolutions()
    return before(model, (ids[:, :-1], ids[:, 1:]), _token_loss, _adam(model))


@sick("D804", "D403")
def text_that_was_shuffled() -> Report:
    model = Small()
    ids = torch.randint(0, V, (400, 16, T))
    return during(model, ((one[:, :-1], one[:, 1:]) for one in ids), _token_loss, _adam(model), facts={"vocab_size": V})


@sick("D804", "D403")
def log_like_nanogpt_at_chance() -> Report:
    model = Small()
    optimizer = _adam(model, 3e-4)
    lines = []
    for step in range(300):
        ids = torch.randint(0, V, (16, T))
        optimizer.zero_grad()
        loss = _token_loss(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        optimizer.step()
        lines.append(f"iter {step}: loss {float(loss):.4f}, time 12.30ms, mfu 1.20%")
    return after("\n".join(lines) + "\n", "out.txt", refs={"vocab_size": V})


@sick("D805")
def perplexity_as_a_mean_of_perplexities() -> Report:
    model = Small()
    optimizer = _adam(model, 3e-3)
    rows: list[dict[str, float]] = []
    for step in range(300):
        ids = _texts()
        optimizer.zero_grad()
        loss = _token_loss(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "train/loss": rounded(loss)})
        if step % 30 == 29:
            with torch.no_grad():
                held = [_texts(1) for _ in range(16)] + [torch.randint(0, V, (1, T)) for _ in range(8)]
                values = torch.stack([_token_loss(model(one[:, :-1]), one[:, 1:]) for one in held])
            rows.append({"step": step, "eval/loss": rounded(values.mean()), "eval/perplexity": rounded(values.exp().mean())})
    return after(json_lines(rows), refs={"vocab_size": V})
