"""A causal language model as an evaluation sees it: hidden states of positions, and a head that scores rows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.blocks import slabs
from ..ops.linear_call import linear_rows
from ..ops.linear_margin import linear_margin
from .nats import of_logits

__all__ = ["Head", "LanguageModel", "ModelError", "Scores"]

MEMORY = 32 << 20  # bytes for scores in flight
_PROBE = 8  # positions of the check at the start
# between the model's own scores and ours, as a share of their size: rounding of the dtype, with room
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}


class ModelError(ValueError):
    """A model that cannot be evaluated as it is."""


class Head(NamedTuple):
    """The last layer: scores = softcap * tanh(scale * (x @ weight.T + bias) / softcap)."""

    weight: Tensor
    """(V, D)"""
    bias: Tensor | None = None
    """(V,)"""
    scale: float = 1.0
    softcap: float | None = None


class Scores(NamedTuple):
    """Of each row."""

    nats: Tensor
    """-log p of the target, float64."""
    top: Tensor
    """The likeliest token."""


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
        self.config = getattr(model, "config", None)
        self.hosted = self.config is not None and hasattr(model, "get_output_embeddings")
        self.name = str(
            getattr(self.config, "_name_or_path", "") or type(model).__name__ if isinstance(model, nn.Module) else _called(model)
        )
        self.device = _device(model, head)
        self.layer, self.head = self._head(head)
        self.why_logits: str | None = None
        if self.head is None:
            self.why_logits = "it names no output layer"

    def _head(self, head: nn.Module | Head | None) -> tuple[nn.Module | None, Head | None]:
        """The layer whose input is caught on the way, and what it computes."""
        if isinstance(head, Head):
            return None, head
        layer = cast(Any, self.model).get_output_embeddings() if head is None and self.hosted else head
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.is_floating_point():
            if head is not None:
                raise ModelError(
                    f'"head" is {type(head).__name__}, expected a linear layer with weight (V, D), or losskit.evaluate.Head'
                )
            return None, None
        scale = float(getattr(self.config, "logit_scale", None) or 1.0) / float(
            getattr(self.config, "logits_scaling", None) or 1.0
        )
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
            return self._called(ids)
        caught: list[Tensor] = []

        def catch(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            caught.append(args[0])
            return (args[0][..., :1, :], *args[1:])  # the layer itself is left one position to work on

        hook = self.layer.register_forward_pre_hook(catch)
        try:
            self._called(ids)
        finally:
            hook.remove()
        if len(caught) != 1 or caught[0].shape[:2] != ids.shape:
            raise _Missed
        return caught[0]

    def _called(self, ids: Tensor) -> Tensor:
        found = self.model(input_ids=ids, use_cache=False) if self.hosted else self.model(ids)
        found = getattr(found, "logits", found[0] if isinstance(found, tuple) else found)
        if not isinstance(found, Tensor) or found.ndim != 3 or found.shape[0] != len(ids):
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(f'"model" returned {what} for ids {tuple(ids.shape)}, expected a tensor (B, L, V)')
        return found

    def score(self, rows: Tensor, target: Tensor) -> Scores:
        """-log p of ``target`` (n,) from rows (n, D or V) of :meth:`states`."""
        if self.head is None:
            rows = rows.double() if self.precision == "float64" else rows
            return Scores(of_logits(rows, target, -100), rows.argmax(-1))
        weight, bias = self._weights(rows.device)
        if self.precision == "float64":
            rows = rows.double()
        call = linear_rows(
            rows.to(weight.dtype), weight, target, bias, ignore_index=-100, logit_scale=self.head.scale,
            softcap=self.head.softcap, memory=MEMORY,
        ).call  # fmt: skip
        found = linear_margin(call, top=True)
        assert found.top is not None
        return Scores(-F.logsigmoid(found.own - found.rest), found.top)

    def _weights(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        assert self.head is not None
        weight, bias = self.head.weight, self.head.bias
        dtype = torch.float64 if self.precision == "float64" else weight.dtype
        if weight.dtype != dtype or weight.device != device:
            weight, bias = weight.to(device, dtype), None if bias is None else bias.to(device, dtype)
            self.head = self.head._replace(weight=weight, bias=bias)  # once
        return weight, bias

    def scores(self, rows: Tensor) -> Tensor:
        """All scores (n, V) of some rows, for a few positions."""
        if self.head is None:
            return rows.double()
        weight, bias = self._weights(rows.device)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        wide = rows.to(dtype)
        # in slabs: a wider copy of all weights would be the largest thing here
        found = torch.cat([wide @ weight[classes].to(dtype).T for classes in slabs(len(weight))], 1).double()
        found = self.head.scale * (found if bias is None else found + bias.double())
        return self.head.softcap * torch.tanh(found / self.head.softcap) if self.head.softcap else found

    def check(self, ids: Tensor) -> None:
        """Compare the head with the model's own scores, and see that no position knows of later ones.

        Raises:     ModelError for a model that fails, or is not causal.
        """
        ids = ids[:_PROBE]
        pair = torch.stack([ids, ids]).to(self.device)
        pair[1, -1] = (pair[1, -1] + 1) % max(self.vocabulary or 2, 2)
        try:
            if self.layer is not None:
                self._compare(pair)
            rows = self.states(pair)
        except (RuntimeError, IndexError, TypeError) as problem:
            raise ModelError(f"{self.name} fails on its first tokens: {problem}") from problem
        first, second = rows[0, :-1].double(), rows[1, :-1].double()
        size = float(first.abs().max()) if first.numel() else 0.0
        off = float((first - second).abs().max()) if first.numel() else 0.0
        if off > _TOLERANCE.get(rows.dtype, 1e-4) * max(size, 1e-30):
            raise ModelError(
                f"{self.name} is not causal: another token at position {len(ids) - 1} changes what it says before; "
                "a perplexity needs a model that reads from left to right, in eval mode without randomness"
            )

    def _compare(self, pair: Tensor) -> None:
        """Scores of the model beside those of its head; without agreement the model's are taken."""
        whole = self._called(pair)
        try:
            ours = self.scores(self.states(pair).flatten(0, 1))
        except (_Missed, RuntimeError):
            ours = None
        theirs = whole.flatten(0, 1).double()
        if ours is not None and ours.shape == theirs.shape:
            finite = theirs.isfinite()
            size = float(theirs[finite].abs().max()) if finite.any() else 0.0
            off = (ours - theirs).abs()[finite]
            if not off.numel() or float(off.max()) <= _TOLERANCE.get(whole.dtype, 1e-4) * max(size, 1e-30):
                return
            self.why_logits = f"its output layer alone gives other scores (off by {float(off.max()):.2g})"
        else:
            self.why_logits = "its output layer does not see every position once"
        self.layer = self.head = None

    def fingerprint(self) -> str | None:
        """sha256 over the shapes of the weights and a sample of each; None for a callable, which cannot be looked into."""
        if not isinstance(self.model, nn.Module):
            return None
        found = hashlib.sha256(type(self.model).__name__.encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            found.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            flat = tensor.detach().flatten()
            step = max(1, flat.numel() // 1024)
            some = flat[::step][:1024].to("cpu", torch.float64) if tensor.dtype.is_floating_point else flat[::step][:1024].cpu()
            found.update(some.contiguous().numpy().tobytes() if _numpy() else repr(some.tolist()).encode())
        return found.hexdigest()

    @property
    def parameters(self) -> int | None:
        """How many numbers the model has learned."""
        return sum(p.numel() for p in self.model.parameters()) if isinstance(self.model, nn.Module) else None

    def warning(self) -> str | None:
        """What the scores cost where the head cannot be used on its own."""
        if self.head is not None or self.why_logits is None or not self.hosted:
            return None
        return f"all scores of every window are computed: {self.why_logits}; memory is that of the model's own forward pass"

    def facts(self) -> dict[str, Any]:
        """For the report."""
        dtype = None
        if isinstance(self.model, nn.Module):
            dtype = next((str(p.dtype).removeprefix("torch.") for p in self.model.parameters()), None)
        return {
            "name": self.name, "parameters": self.parameters, "vocabulary": self.vocabulary, "positions": self.positions,
            "dtype": dtype, "path": self.path, "fingerprint": self.fingerprint(),
        }  # fmt: skip


class _Missed(Exception):  # noqa: N818  # not an error: the scores of the model are taken instead
    """The output layer was not called once with all positions."""


def _called(model: Any) -> str:
    return str(getattr(model, "__name__", type(model).__name__))


def _device(model: Any, head: Any) -> torch.device:
    if isinstance(model, nn.Module):
        for tensor in model.parameters():
            return tensor.device
    return head.weight.device if isinstance(head, Head) else torch.device("cpu")


def _numpy() -> bool:
    from importlib.util import find_spec

    return find_spec("numpy") is not None
