"""A reference model to be compared with: run beside, or its hidden states kept on disk, never its scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..losses.distillation import kl_div_loss
from ..losses.linear_distillation import linear_kl_div
from ..ops.blocks import row_blocks
from .files import whole, write_whole
from .model import MEMORY, Head, LanguageModel, ModelError, Scores

__all__ = ["Reference"]

_FACTS, _HEAD = "reference.json", "head.pt"


class Reference:
    """What the reference says of the rows of a batch: ``model`` runs it; ``folder`` holds, or is to hold, its hidden states."""

    def __init__(self, model: LanguageModel, folder: Path | None = None, fingerprint: str | None = None) -> None:
        self.model, self.folder, self._fingerprint = model, folder, fingerprint

    @property
    def fingerprint(self) -> list[str | None]:
        """Its name, and sha256 of its weights where they can be looked into."""
        return [self.model.name, self._fingerprint if self.folder is not None else self.model.fingerprint]

    @classmethod
    def saving(cls, model: LanguageModel, folder: Path, facts: Mapping[str, Any]) -> Reference:
        """Keep the hidden states of ``model`` in a folder; ``facts`` say of which text and windows.

        Raises:     ModelError for a model whose head is not known: its scores would take a hundred times the space.
        """
        head = model.head
        if head is None:
            raise ModelError(f'"save_hidden" needs the hidden states of {model.name}, but {model.why_logits}; give "head"')
        folder.mkdir(parents=True, exist_ok=True)
        told = {"name": model.name, "precision": model.precision, "fingerprint": model.fingerprint}
        if (folder / _FACTS).exists() and json.loads((folder / _FACTS).read_text("utf-8")) != {**facts, **told}:
            raise ModelError(f'"save_hidden" {folder} holds the hidden states of another run: name another folder, or remove it')
        text = json.dumps({**facts, **told}, indent=1)
        with whole(folder / _HEAD) as draft:
            torch.save(dict(head._asdict()), draft)
        write_whole(folder / _FACTS, text)
        return cls(model, folder)

    @classmethod
    def saved(cls, folder: Path, facts: Mapping[str, Any], device: torch.device, precision: str) -> Reference:
        """Read what :meth:`saving` kept.

        Raises:     ModelError if it was kept of another text or other windows.
        """
        try:
            held = json.loads((folder / _FACTS).read_text("utf-8"))
            head = Head(**torch.load(folder / _HEAD, weights_only=True, map_location=device))
        except (OSError, ValueError, TypeError) as problem:
            raise ModelError(
                f'"reference" {folder} holds no hidden states ({problem}); expected a folder that save_hidden wrote'
            ) from None
        differ = [f"{k} ({held.get(k)} there, {v} here)" for k, v in facts.items() if held.get(k) != v]
        if differ:
            raise ModelError(f'"reference" {folder} was made with other {" and ".join(differ)}: make it anew with save_hidden')
        model = LanguageModel(_stored, head=head, precision=precision)
        model.name, model.device = held["name"], device
        return cls(model, folder, held.get("fingerprint"))

    def rows(self, place: tuple[int, int], ids: Tensor, rows: Callable[[Tensor], Tensor]) -> Tensor:
        """The reference's hidden states of the batch at ``place``."""
        if self.folder is None:
            return rows(self.model.states(ids.to(self.model.device)))
        try:
            found: Tensor = torch.load(self._file(place), weights_only=True, map_location=self.model.device)
        except FileNotFoundError:
            raise ModelError(f'"reference" {self.folder} is not whole: let the run with save_hidden come to its end') from None
        return found

    def write(self, place: tuple[int, int], rows: Tensor) -> None:
        """Keep the hidden states of the batch at ``place``."""
        with whole(self._file(place)) as draft:
            torch.save(rows.detach().clone().cpu(), draft)

    def finish(self, pack: int) -> None:
        """Note that all batches of a pack are there."""
        self._done(pack).touch()

    def holds(self, pack: int) -> bool:
        """Whether all batches of a pack are there."""
        return self._done(pack).exists()

    def _done(self, pack: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{pack:08d}.done"

    def _file(self, place: tuple[int, int]) -> Path:
        assert self.folder is not None
        return self.folder / f"{place[0]:08d}-{place[1]:06d}.pt"

    def score(self, rows: Tensor, target: Tensor) -> Scores:
        """-log p of the reference."""
        return self.model.score(rows, target, top=True)

    def divergence(self, model: LanguageModel, mine: Tensor, theirs: Tensor) -> Tensor:
        """KL(reference || model) of each row (n,), in nats."""
        if model.head is None or self.model.head is None:
            blocks = row_blocks(len(mine), 32 * max(mine.shape[1], theirs.shape[1]), MEMORY)
            parts = [
                kl_div_loss(model.scores(mine[at]), self.model.scores(theirs[at]).to(mine.device), reduction="none")
                for at in blocks
            ]
            return torch.cat(parts)
        (x, w, b, c), (y, v, d, e) = _operands(model, mine), _operands(self.model, theirs)
        dtype = torch.promote_types(x.dtype, y.dtype)
        x, w, y, v = (t.to(x.device, dtype) for t in (x, w, y, v))
        b, d = (None if t is None else t.to(x.device, dtype) for t in (b, d))
        return linear_kl_div(
            x, w, y, v, student_bias=b, teacher_bias=d, student_softcap=c, teacher_softcap=e, reduction="none"
        )  # fmt: skip


def _operands(model: LanguageModel, rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None, float | None]:
    head = model.head
    assert head is not None
    rows = rows.double() if model.precision == "float64" else rows
    bias = None if head.bias is None else head.bias * head.scale
    return rows.to(head.weight.dtype) * head.scale, head.weight, bias, head.softcap


def _stored(ids: Tensor) -> Tensor:
    raise AssertionError("the hidden states are read from disk")
