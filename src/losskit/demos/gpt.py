"""A small causal transformer: rows of packed documents, the model, its training in micro-batches, and its score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses.linear_cross_entropy import linear_cross_entropy
from ..losses.linear_log_probs import linear_log_probs
from ..losses.sequence import count_valid, shift_targets
from . import generator
from .corpus import Score
from .watched import watching

__all__ = ["GPT", "Course", "Rows", "Shape", "Way", "off", "pack", "score", "train", "ways"]


class Rows(NamedTuple):
    """Pieces of documents, several to a row: token ids (R, T), -100 in the gaps, and the number of the piece, -1 there."""

    labels: Tensor
    document: Tensor

    def targets(self) -> Tensor:
        """The next token at each position, where there is one in the same piece."""
        return shift_targets(self.labels, document=self.document)

    def split(self, size: int) -> list[Rows]:
        """The same rows, ``size`` at a time."""
        return [Rows(*part) for part in zip(self.labels.split(size), self.document.split(size), strict=True)]


def pack(documents: Sequence[Sequence[int]], length: int, source: torch.Generator | None = None) -> Rows:
    """Documents cut into pieces of at most ``length`` tokens, each laid into the first row that has room for it.

    A piece begins with the token that the one before it ends with: every token of a document but its first is a target once.
    With a ``source`` the first cut of each document and the order of the pieces are random.
    """
    rows: list[list[int]] = []
    numbers: list[list[int]] = []
    unfilled: list[int] = []
    for piece in _pieces(documents, length, source):
        place = next((i for i in unfilled if len(rows[i]) + len(piece) <= length), len(rows))
        if place == len(rows):
            rows.append([])
            numbers.append([])
            unfilled.append(place)
        numbers[place] += [numbers[place][-1] + 1 if rows[place] else 0] * len(piece)
        rows[place] += piece
        if len(rows[place]) > length - 2:  # a piece has two tokens at least
            unfilled.remove(place)
    labels, document = torch.full((len(rows), length), -100), torch.full((len(rows), length), -1)
    for i, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        labels[i, : len(row)], document[i, : len(row)] = torch.tensor(row), torch.tensor(number)
    return Rows(labels, document)


def _pieces(documents: Sequence[Sequence[int]], length: int, source: torch.Generator | None) -> list[Sequence[int]]:
    pieces: list[Sequence[int]] = []
    for document in documents:
        at, step = 0, length - 1 if source is None else int(torch.randint(1, length, (), generator=source))
        while at + 1 < len(document):
            pieces.append(document[at : at + step + 1])
            at, step = at + step, length - 1
    return pieces if source is None else [pieces[i] for i in torch.randperm(len(pieces), generator=source).tolist()]


class Shape(NamedTuple):
    """Of a model: numbers of a hidden vector, blocks, attention heads in each, positions in a row."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    length: int = 128


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: products of two of these depend on the distance alone."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class GPT(nn.Module):
    """Hidden states of a causal transformer; its ``table`` (V, D) of tokens is the input and the head."""

    cos: Tensor
    sin: Tensor

    def __init__(self, vocabulary: int, shape: Shape, source: torch.Generator) -> None:
        super().__init__()
        count, width, self.heads = shape.layers, shape.width, shape.heads
        self.table = nn.Parameter(0.02 * torch.randn(vocabulary, width, generator=source))
        self.attend = nn.Parameter(torch.randn(count, 3 * width, width, generator=source) / math.sqrt(width))
        self.rise = nn.Parameter(torch.randn(count, 4 * width, width, generator=source) / math.sqrt(width))
        # what a block adds to its input is nothing at first
        self.join = nn.Parameter(torch.zeros(count, width, width))
        self.fall = nn.Parameter(torch.zeros(count, width, 4 * width))
        half = width // shape.heads // 2
        angle = torch.outer(torch.arange(shape.length), 10000 ** (-torch.arange(half) / half))
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """All weights but the table, each (layers, out, in)."""
        return [self.attend, self.join, self.rise, self.fall]

    def forward(self, rows: Rows) -> Tensor:
        """(R, T, D): at each position what is known of the next token from its own piece so far."""
        length = rows.labels.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        seen = (rows.document.unsqueeze(-1) == rows.document.unsqueeze(-2)).tril().unsqueeze(1)  # (R, 1, T, T)
        x = _norm(F.embedding(rows.labels.clamp(min=0), self.table))
        for attend, join, rise, fall in zip(*self.matrices, strict=True):
            three = F.linear(_norm(x), attend).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            query, key = _turned(_norm(three[:2]), cos, sin)
            found = F.scaled_dot_product_attention(query, key, three[2], attn_mask=seen)
            x = x + F.linear(found.transpose(1, 2).flatten(2), join)
            x = x + F.linear(F.relu(F.linear(_norm(x), rise)).square(), fall)
        return _norm(x)


@torch.no_grad()
def score(model: GPT, rows: Rows, widths: Tensor) -> Score:
    """What a model says of every target; ``widths`` (V,) are the bytes of each token."""
    nats, tokens, size = 0.0, 0, 0
    for part in rows.split(32):
        targets = part.targets()
        nats -= float(linear_log_probs(model(part), model.table, targets).log_prob.double().sum())
        tokens += int(count_valid(targets))
        size += int(widths[targets[targets >= 0]].sum())
    return Score(nats, tokens, size)


class Course(NamedTuple):
    """How a model is trained: steps, rows in the batch of each and in a micro-batch, and the rate at its highest."""

    steps: int = 120
    rows: int = 12
    micro: int = 6
    rate: float = 0.02


def train(
    model: GPT, documents: Sequence[Sequence[int]], widths: Tensor, course: Course, seed: int, look: Callable[[int], None]
) -> list[Score]:
    """The score of every step's batch before the step; ``look`` is called before the first and after each."""
    stream = _batches(documents, model.cos.shape[0], course.rows, generator(seed))
    table = torch.optim.Adam([model.table], betas=(0.9, 0.95))
    matrices = Orthogonal(model.matrices)
    seen: list[Score] = []
    saw = watching("the model", facts={"loss": "linear_cross_entropy", "vocab_size": len(model.table)})
    look(0)
    for step in range(course.steps):
        batch = next(stream)
        targets = batch.targets()
        total = count_valid(targets)
        loss = 0.0
        model.zero_grad()
        for piece in batch.split(course.micro):
            # every micro-batch is divided by the targets of all: their gradients add up to the batch's
            part = linear_cross_entropy(model(piece), model.table, piece.targets(), normalizer=total)
            part.backward()
            loss += float(part.detach())
        size = int(widths[targets[targets >= 0]].sum())
        seen.append(Score(loss * int(total), int(total), size))
        saw(loss)
        rate = course.rate * min(1.0, (step + 1) / 20) * (1 - step / course.steps)
        table.param_groups[0]["lr"] = rate
        table.step()
        matrices.step(rate)
        look(step + 1)
    return seen


class Way(NamedTuple):
    """One way to take the loss of a batch, and the gradient of the table that it gives."""

    loss: float
    gradient: Tensor


def ways(hidden: Sequence[Tensor], table: Tensor, targets: Sequence[Tensor]) -> dict[str, Way]:
    """The loss of one batch, whole and in micro-batches, which are the elements of the lists."""
    whole, target, parts = torch.cat([*hidden]), torch.cat([*targets]), list(zip(hidden, targets, strict=True))
    total = count_valid(target)
    losses = {
        "whole": [linear_cross_entropy(whole, table, target)],
        "plain": [F.cross_entropy(F.linear(whole, table), target)],
        "counted": [linear_cross_entropy(x, table, t, normalizer=total) for x, t in parts],
        "means": [linear_cross_entropy(x, table, t) / len(parts) for x, t in parts],
    }

    def taken(values: Sequence[Tensor]) -> Way:
        (gradient,) = torch.autograd.grad(list(values), table)
        return Way(sum(float(value.detach()) for value in values), gradient.double())

    return {name: taken(values) for name, values in losses.items()}


def off(way: Way, right: Way) -> tuple[float, float]:
    """How far loss and gradient are from the right ones, relatively."""
    return way.loss / right.loss - 1, float((way.gradient - right.gradient).norm() / right.gradient.norm())


def _batches(documents: Sequence[Sequence[int]], length: int, rows: int, source: torch.Generator) -> Iterator[Rows]:
    """Without end; each pass over the documents is packed anew."""
    labels = document = torch.empty(0, length, dtype=torch.long)
    while True:
        while len(labels) < rows:
            fresh = pack(documents, length, source)
            order = torch.randperm(len(fresh.labels), generator=source)
            labels, document = torch.cat([labels, fresh.labels[order]]), torch.cat([document, fresh.document[order]])
        yield Rows(labels[:rows], document[:rows])
        labels, document = labels[rows:], document[rows:]


class Orthogonal:
    """Momentum, its every step turned into a matrix whose singular values are near 1 (Muon, Jordan et al. 2024).

    Here 120 steps end at 1.73 bits per byte on held-out topics, of Adam at 1.97. Torch's own Muon multiplies in bfloat16,
    which takes a CPU without such instructions 20 times as long.
    """

    def __init__(self, matrices: Sequence[Tensor], momentum: float = 0.95, decay: float = 0.1) -> None:
        self.matrices, self.momentum, self.decay = matrices, momentum, decay
        self.means = [torch.zeros_like(matrix) for matrix in matrices]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step against the gradients."""
        for matrix, mean in zip(self.matrices, self.means, strict=True):
            if matrix.grad is None:
                continue
            mean.lerp_(matrix.grad, 1 - self.momentum)
            ahead = matrix.grad.lerp(mean, self.momentum)
            matrix.mul_(1 - rate * self.decay)
            # 0.2 sqrt(longer side): the root mean square of a step of Adam (Liu et al. 2025, arXiv:2502.16982)
            matrix.sub_(orthogonal(ahead), alpha=rate * 0.2 * math.sqrt(max(matrix.shape[-2:])))


def orthogonal(matrix: Tensor) -> Tensor:
    """Five steps of Newton and Schulz, (*, M, N) to the same; the coefficients are Jordan's."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    x: Tensor = matrix.transpose(-2, -1) if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return x.transpose(-2, -1) if tall else x
