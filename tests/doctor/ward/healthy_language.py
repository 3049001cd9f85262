"""Healthy sequence models: padding, packing, tied weights, masks, experts, alignments."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, AdamW

import losskit

from .healthy_data import drawn, tokens
from .healthy_run import Training, healthy

WORDS, LENGTH = 24, 16


class Attention(nn.Module):
    """One causal layer of one transformer; ``tied`` shares the embedding with the head."""

    def __init__(self, *, tied: bool = False, drop: float = 0.0, causal: bool = True, out: int = WORDS) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 32), nn.Embedding(LENGTH, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, drop, batch_first=True, norm_first=True)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, out, bias=False)
        self.causal = causal
        nn.init.normal_(self.words.weight, std=0.02)
        if tied:
            self.head.weight = self.words.weight

    def hidden(self, ids: Tensor, padding: Tensor | None = None) -> Tensor:
        x = self.words(ids) + self.places.weight[: ids.shape[1]]
        seen = torch.triu(torch.full((ids.shape[1],) * 2, True), 1) if self.causal else None
        return self.norm(self.layer(x, src_mask=seen, src_key_padding_mask=padding))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.hidden(ids))


def language(model: nn.Module, **more: object) -> Training:
    text = tokens(600, LENGTH + 1)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output.reshape(-1, WORDS), target.reshape(-1))

    run = Training(model, drawn(text[:500, :-1], text[:500, 1:], size=16), AdamW(model.parameters(), 3e-3), loss, steps=150)
    run.evaluate = lambda m: loss(m(text[500:, :-1]), text[500:, 1:])
    run.facts, run.task = {"vocab_size": WORDS}, "language"
    for name, value in more.items():
        setattr(run, name, value)
    return run


@healthy
def packed_language_model() -> Training:
    return language(Attention())


@healthy
def tied_weights() -> Training:
    return language(Attention(tied=True, drop=0.1), clip=1.0)


@healthy
def fused_head() -> Training:
    """The loss takes the hidden states and the head's weights."""
    run = language(Attention(), evaluate=None, loss_fn=None)

    def loss(m: Attention, batch: tuple[Tensor, Tensor]) -> Tensor:
        return losskit.linear_cross_entropy(m.hidden(batch[0]), m.head.weight, batch[1])

    run.loss = loss
    return run


class Returning(nn.Module):
    """As the models of transformers: a mapping in, loss and logits out, labels shifted inside."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Attention()

    def forward(self, input_ids: Tensor, labels: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.body.head(self.body.hidden(input_ids))
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, WORDS), labels[:, 1:].reshape(-1), ignore_index=-100)
        return {"loss": loss, "logits": logits}


@healthy
def padded_language_model() -> Training:
    """Texts of 5 to 16 tokens; 1 ends them, 0 fills up and is ignored."""
    text, ends = tokens(600, LENGTH), torch.randint(5, LENGTH, (600,))
    place = torch.arange(LENGTH)
    text[torch.arange(600), ends] = 1
    text = torch.where(place > ends[:, None], 0, text)
    labels = text.masked_fill(text == 0, -100)
    model = Returning()
    plain = drawn(text, labels, size=16)

    def batch(at: int) -> dict[str, Tensor]:
        ids, target = plain(at)
        return {"input_ids": ids, "labels": target, "attention_mask": (ids != 0).long()}

    run = Training(model, batch, AdamW(model.parameters(), 3e-3), steps=150)
    run.facts, run.task = {"vocab_size": WORDS}, "language"
    return run


class Recurrent(nn.Module):
    """A GRU over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.cell, self.head = nn.Embedding(WORDS, 16), nn.GRU(16, 32, batch_first=True), nn.Linear(32, WORDS)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.cell(self.words(ids))[0])


@healthy
def recurrent_language_model() -> Training:
    return language(Recurrent(), clip=1.0)


@healthy
def text_that_ends_in_one_word() -> Training:
    """A chain with a state that it hardly leaves: rows end in one id, which looks like padding and is none."""
    run = language(Recurrent(), clip=1.0)
    text = tokens(600, LENGTH + 1)
    last = torch.randint(4, 12, (600,))
    text = torch.where(torch.arange(LENGTH + 1) >= last[:, None], 9, text + (text == 9))
    run.batch = drawn(text[:500, :-1], text[:500, 1:], size=16)
    run.evaluate = lambda m: run.loss_fn(m(text[500:, :-1]), text[500:, 1:])
    return run


class Reader(Attention):
    """Classifies texts of unequal length with attention that does not see the padding."""

    def __init__(self) -> None:
        super().__init__(causal=False, out=2)

    def forward(self, ids: Tensor) -> Tensor:
        padding = ids == 0
        hidden = self.hidden(ids, padding)
        count = (~padding).sum(1, keepdim=True)
        return self.head((hidden * ~padding[..., None]).sum(1) / count)


@healthy
def masked_attention() -> Training:
    """Whether token 5 comes more often than token 6."""
    text, ends = torch.randint(2, 10, (1500, LENGTH)), torch.randint(5, LENGTH, (1500,))
    text = torch.where(torch.arange(LENGTH) > ends[:, None], 0, text)
    label = ((text == 5).sum(1) > (text == 6).sum(1)).long()
    model = Reader()
    run = Training(model, drawn(text, label), AdamW(model.parameters(), 3e-3), F.cross_entropy, steps=150)
    run.facts = {"num_classes": 2}
    return run


class Experts(nn.Module):
    """Each row goes to one of four experts: now and then one has nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)) for _ in range(4))

    def forward(self, input: Tensor) -> Tensor:
        share, chosen = self.gate(input).softmax(1).max(1)
        out = input.new_zeros(len(input), 3)
        for number, expert in enumerate(self.experts):
            rows = chosen == number
            if rows.any():
                out[rows] = expert(input[rows]) * share[rows, None]
        return out


@healthy
def experts() -> Training:
    x = torch.randn(2000, 8)
    y = (x @ torch.randn(8, 3)).argmax(1)
    model = Experts()
    return Training(model, drawn(x, y, size=12), Adam(model.parameters(), 3e-3), F.cross_entropy, facts={"num_classes": 3})


@healthy
def alignment() -> Training:
    """CTC: frames that repeat each of four to six signs two to three times."""
    signs = torch.randn(7, 8)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 7))

    def batch(_: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        target, lengths = torch.randint(1, 7, (16, 6)), torch.randint(4, 7, (16,))
        frames = signs[target.repeat_interleave(3, 1)] + 0.3 * torch.randn(16, 18, 8)
        return frames, target, 3 * lengths, lengths

    def loss(m: nn.Module, b: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        log_p = F.log_softmax(m(b[0]), 2).transpose(0, 1)
        return F.ctc_loss(log_p, b[1], b[2], b[3])

    return Training(model, batch, Adam(model.parameters(), 5e-3), loss=loss)
