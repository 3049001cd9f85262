"""A causal language model as an evaluation sees it: hidden states of positions, and a head that scores rows of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.blocks import row_blocks, slabs
from ..ops.linear_call import linear_rows
from ..ops.linear_margin import Projected, linear_margin
from .head import MEMORY, Details, Head, ModelError, Scores, apart, seen
from .identity import fingerprint, name_of, number, takes, text_part
from .nats import of_logits

__all__ = ["MEMORY", "Head", "LanguageModel", "ModelError", "Scores"]

_PROBE = 8  # positions of the check at the start
_BATCHES = 4  # whose last positions are checked too


class LanguageModel:
    """A model of transformers, a module with a head, or a callable from ids (B, L) to scores (B, L, V).

    ``head`` is the module's last linear layer, or a :class:`Head` to be applied to what the model returns; None looks for
    transformers' output embeddings, and takes the model's scores as they are if there are none.
    """

    def __init__(self, model: Callable[..., Any], *, head: nn.Module | Head | None = None, precision: str = "float32") -> None:
        if not callable(model):
            raise ModelError(
                f'"model" is {type(model).__name__}, expected a module or a callable from ids (B, L) to scores (B, L, V)'
            )
        self.model, self.precision = model, precision
        self.config = text_part(getattr(model, "config", None))
        self.hosted = self.config is not None and hasattr(model, "get_output_embeddings")
        self.name = str(
            getattr(self.config, "_name_or_path", "") or type(model).__name__ if isinstance(model, nn.Module) else name_of(model)
        )
        self.device = _device(model, head)
        self.asked = head is not None or self.hosted
        self.unseen = _BATCHES
        self.options = {"use_cache": False} if self.hosted and takes(model, "use_cache") else {}
        self.layer, self.head = self._head(head)
        self.why_logits: str | None = None
        if self.head is None:
            self.why_logits = "it names no output layer"

    def _head(self, head: nn.Module | Head | None) -> tuple[nn.Module | None, Head | None]:
        """The layer whose input is caught on the way, and what it computes."""
        if isinstance(head, Head):
            return None, head.checked()
        layer = cast(Any, self.model).get_output_embeddings() if head is None and self.hosted else head
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.is_floating_point():
            if head is not None:
                raise ModelError(
                    f'"head" is {type(head).__name__}, expected a linear layer with weight (V, D), or losskit.evaluate.Head'
                )
            return None, None
        scale = number(self.config, "logit_scale") / number(self.config, "logits_scaling")
        cap = getattr(self.config, "final_logit_softcapping", None)
        bias = getattr(layer, "bias", None)
        found = Head(weight.detach(), None if bias is None else bias.detach(), scale, float(cap) if cap else None)
        inside = isinstance(self.model, nn.Module) and any(layer is m for m in self.model.modules())
        return (cast(nn.Module, layer) if inside else None), found

    @property
    def positions(self) -> int | None:
        """The longest input that the model was made for."""
        for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length"):
            value = getattr(self.config, name, None)
            if isinstance(value, int) and value > 0:
                return value
        return None

    @property
    def vocabulary(self) -> int | None:
        """Classes of the head; None before the first scores where there is no head."""
        if self.head is not None:
            return len(self.head.weight)
        size = getattr(self.config, "vocab_size", None)
        return size if isinstance(size, int) else None

    @property
    def path(self) -> str:
        """How rows are scored."""
        return "scores of the model" if self.head is None else "hidden states, head in tiles"

    @contextmanager
    def evaluating(self) -> Generator[None]:
        """No gradient, no dropout; every module's mode is put back."""
        modules = list(self.model.modules()) if isinstance(self.model, nn.Module) else []
        were = [m.training for m in modules]
        try:
            if isinstance(self.model, nn.Module):
                self.model.eval()
            with torch.no_grad():
                yield
        finally:
            for module, was in zip(modules, were, strict=True):
                module.training = was

    def states(self, ids: Tensor) -> Tensor:
        """Hidden states (B, L, D) before the head, or scores (B, L, V) where there is none, of ids (B, L)."""
        if self.layer is None:
            found = self._called(ids, ids.shape[1])
            if self.head is not None and found.shape[2] != self.head.weight.shape[1]:
                raise ModelError(
                    f'"model" returned {tuple(found.shape)}, expected hidden states of width {self.head.weight.shape[1]} '
                    'for "head"; leave "head" out if these are scores'
                )
            return found
        states, last = self._through(ids, self.layer, whole=False)
        if states is None:
            raise ModelError(
                f"{self.name} does not send each of {ids.shape[1]} positions through its output layer once: "
                "give a callable that returns its scores"
            )
        if self.unseen and last.shape[1] == 1:
            self.unseen -= 1
            if apart(self.scores(states[:, -1]), last[:, 0].double(), last.dtype) > 1:
                raise ModelError(
                    f"{self.name}: at position {ids.shape[1] - 1} its output layer alone gives other scores than the model: "
                    "give a callable that returns its scores"
                )
        return states

    def _through(self, ids: Tensor, layer: nn.Module, *, whole: bool) -> tuple[Tensor | None, Tensor]:
        """What reaches the layer (B, L, D), None where not every position does once; and what the model returns.

        Unless ``whole`` the layer is left the last position to work on.
        """
        caught: list[Tensor] = []

        def catch(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
            name = "" if args else next(iter(named))
            states = args[0] if args else named[name]
            caught.append(states)
            states = states if whole else states[..., -1:, :]
            return ((states, *args[1:]), named) if args else (args, {**named, name: states})

        hook = layer.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            found = self._called(ids, ids.shape[1] if whole else None)
        finally:
            hook.remove()
        if not caught or any(one.ndim != 3 for one in caught) or sum(one.shape[1] for one in caught) != ids.shape[1]:
            return None, found
        return caught[0] if len(caught) == 1 else torch.cat(caught, 1), found

    def _called(self, ids: Tensor, length: int | None = None) -> Tensor:
        try:
            found = self.model(input_ids=ids, **self.options) if self.hosted else self.model(ids)
        except (RuntimeError, IndexError, TypeError) as problem:
            raise ModelError(f"{self.name} fails on ids {tuple(ids.shape)}: {problem}") from problem
        if isinstance(found, Mapping):
            found = found.get("logits")
        found = getattr(found, "logits", found[0] if isinstance(found, tuple) else found)
        if not isinstance(found, Tensor) or found.ndim != 3 or found.shape[:2] != (len(ids), length or found.shape[1]):
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(
                f'"model" returned {what} for ids {tuple(ids.shape)}, expected a tensor (B, L, V): wrap it in a callable that '
                "returns its scores alone"
            )
        return found

    def score(self, rows: Tensor, target: Tensor, *, top: bool = False) -> Scores:
        """-log p of ``target`` (n,) from rows (n, D or V) of :meth:`states`; the likeliest token if ``top``."""
        if self.head is None:
            rows = rows.double() if self.precision == "float64" else rows
            return Scores(of_logits(rows, target, -100), rows.argmax(-1) if top else None)
        found = linear_margin(self._call(rows, target), top=top)
        own = found.own.masked_fill(found.own == torch.inf, torch.nan)  # an overflow is no certainty
        return Scores(-F.logsigmoid(own - found.rest), found.top)

    def _call(self, rows: Tensor, target: Tensor) -> Projected:
        assert self.head is not None
        weight, bias = self._weights(rows.device)
        return linear_rows(
            rows.to(weight.dtype), weight, target, bias, ignore_index=-100, logit_scale=self.head.scale,
            softcap=self.head.softcap, memory=MEMORY,
        ).call  # fmt: skip

    def _weights(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        assert self.head is not None
        weight, bias = self.head.weight, self.head.bias
        dtype = torch.float64 if self.precision == "float64" else weight.dtype
        if weight.dtype != dtype or weight.device != device:
            weight, bias = weight.to(device, dtype), None if bias is None else bias.to(device, dtype)
            self.head = self.head._replace(weight=weight, bias=bias)  # once
        return weight, bias

    def detail(self, rows: Tensor, target: Tensor) -> Details:
        """All that a token view shows, of rows (n, D or V); -log p as :meth:`score` has it."""
        nats = self.score(rows, target).nats
        if self.head is None:
            parts = [seen(rows[at].double(), target[at], nats[at]) for at in row_blocks(len(rows), 24 * rows.shape[1], MEMORY)]
            return Details(*(torch.cat(column) for column in zip(*parts, strict=True)))
        call = self._call(rows, target)
        found = linear_margin(call, entropy=True, top=True)
        assert found.entropy is not None
        assert found.top is not None
        above = torch.zeros_like(target)
        for classes in slabs(len(call.weight)):
            part = self.scores(rows, classes)
            part[torch.arange(classes.start, classes.stop, device=target.device) == target.unsqueeze(1)] = -torch.inf
            above += (part > found.own.unsqueeze(1)).sum(1)
        return Details(nats, 1 + above, found.entropy, found.top)

    def scores(self, rows: Tensor, classes: slice | None = None) -> Tensor:
        """Scores (n, V) of a few rows in float64, or those of some classes (n, v)."""
        if self.head is None:
            return rows.double()
        weight, bias = self._weights(rows.device)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        wide = rows.to(dtype)
        # in slabs: a wider copy of all weights would be the largest thing here
        weight, bias = (weight, bias) if classes is None else (weight[classes], None if bias is None else bias[classes])
        found = torch.cat([wide @ weight[part].to(dtype).T for part in slabs(len(weight))], 1).double()
        found = self.head.scale * (found if bias is None else found + bias.double())
        return self.head.softcap * torch.tanh(found / self.head.softcap) if self.head.softcap else found

    def check(self, ids: Tensor) -> None:
        """Compare the head with the model's own scores, and see that no position knows of later ones.

        Raises:     ModelError for a model that fails, or is not causal.
        """
        ids = ids[:_PROBE]
        pair = torch.stack([ids, ids]).to(self.device)
        pair[1, -1] = (pair[1, -1] + 1) % max(self.vocabulary or 2, 2)
        if self.layer is None:
            rows = self.states(pair)
        else:
            states, scores = self._through(pair, self.layer, whole=True)
            rows = states if states is not None and self._agrees(states, scores) else scores
            if rows is scores:  # the model's own are taken
                seen = "does not see every position once" if states is None else "alone gives other scores"
                self.why_logits, self.layer, self.head = f"its output layer {seen}", None, None
        if apart(rows[1, :-1].double(), rows[0, :-1].double(), rows.dtype) > 1:
            raise ModelError(
                f"{self.name} is not causal: another token at position {len(ids) - 1} changes what it says before; "
                "a perplexity needs a model that reads from left to right, in eval mode without randomness"
            )

    def _agrees(self, states: Tensor, scores: Tensor) -> bool:
        """Whether the head alone gives the scores of the model."""
        theirs = scores.flatten(0, 1).double()
        if self.head is None or states.shape[2] != self.head.weight.shape[1]:
            return False
        ours = self.scores(states.flatten(0, 1))
        return ours.shape == theirs.shape and apart(ours, theirs, scores.dtype) <= 1

    @cached_property
    def fingerprint(self) -> str | None:
        """sha256 of what it is; None for a callable without a head, which cannot be looked into."""
        return fingerprint(self.model, self.head, self.config)

    @property
    def parameters(self) -> int | None:
        """How many numbers the model has learned."""
        return sum(p.numel() for p in self.model.parameters()) if isinstance(self.model, nn.Module) else None

    def warning(self) -> str | None:
        """What the scores cost where the head cannot be used on its own."""
        if self.head is not None or not self.asked:
            return None
        return f"all scores of every window are computed: {self.why_logits}; memory is that of the model's own forward pass"

    def facts(self) -> dict[str, Any]:
        """For the report."""
        dtype = None
        if isinstance(self.model, nn.Module):
            dtype = next((str(p.dtype).removeprefix("torch.") for p in self.model.parameters()), None)
        return {
            "name": self.name, "parameters": self.parameters, "vocabulary": self.vocabulary, "positions": self.positions,
            "dtype": dtype, "path": self.path, "fingerprint": self.fingerprint,
        }  # fmt: skip


def _device(model: Any, head: Any) -> torch.device:
    if isinstance(model, nn.Module):
        for tensor in model.parameters():
            return tensor.device
    return head.weight.device if isinstance(head, Head) else torch.device("cpu")
