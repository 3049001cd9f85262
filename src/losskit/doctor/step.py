"""How a model, a batch and a loss become one number: the one place that knows what batches look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Step", "output_tensor", "tensors_in"]

_REMEDY = "give step=lambda model, batch: ... that returns the loss"


@dataclass(frozen=True)
class Step:
    """One evaluation of the loss of one batch, as the user's training loop does it.

    With ``step`` it is ``step(model, batch)``. Otherwise, with ``loss_fn``: a batch (input, target) or (*inputs, target) becomes
    ``loss_fn(model(*inputs), target)``. Without either the model returns its loss: ``model(**batch).loss`` of a mapping.
    """

    model: nn.Module
    loss_fn: Callable[..., Any] | None = None
    step: Callable[[nn.Module, Any], Any] | None = None

    def __call__(self, batch: Any, model: nn.Module | None = None) -> Tensor:
        """The loss, a tensor of one element.

        Raises:     TypeError if no tensor of one element comes out.
        """
        model = self.model if model is None else model
        if self.step is not None:
            return _one_number(self.step(model, batch), "step(model, batch)")
        if self.loss_fn is None:
            if batch is None or isinstance(batch, Iterator):
                raise TypeError(f'"batch" is {_kind(batch)}, expected one batch: give next(iter(loader))')
            return _one_number(_loss_of(_explained(lambda: _called(model, batch), batch, "loss_fn=...")), "the model")
        if not isinstance(batch, Sequence) or isinstance(batch, (str, bytes)) or len(batch) < 2:
            raise TypeError(f'"batch" is {_kind(batch)}, expected (input, target) for loss_fn(model(input), target): {_REMEDY}')
        output = _explained(lambda: model(*batch[:-1]), batch[:-1], "one batch (input, target)")
        return _one_number(self.loss_fn(output, batch[-1]), "loss_fn(model(input), target)")


def _explained(call: Callable[[], Any], entries: Any, give: str) -> Any:
    """What the call returns; a model that takes fewer arguments than the batch has entries says so in torch's words alone."""
    try:
        return call()
    except TypeError as problem:
        if isinstance(entries, (list, tuple)) and "positional argument" in str(problem):
            raise TypeError(f'{problem}: the model was called with {len(entries)} entries of "batch": give {give}') from problem
        raise


def _called(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, Sequence) and not isinstance(batch, str) else model(batch)


def _loss_of(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and "loss" in output:
        return output["loss"]
    return getattr(output, "loss", output[0] if isinstance(output, tuple) and output else output)


def _one_number(value: Any, whose: str) -> Tensor:
    if not isinstance(value, Tensor):
        value = _loss_of(value)
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else _kind(value)
        remedy = f"give loss_fn=..., or {_REMEDY}" if whose == "the model" else _REMEDY
        raise TypeError(f"{whose} returned {got}, expected the loss, a tensor of one element: {remedy}")
    return value


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def output_tensor(output: Any) -> Tensor | None:
    """The tensor of a model's output that holds a row for each sample: itself, ``logits``, or the first floating one."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    named = output if isinstance(output, Mapping) else vars(output) if hasattr(output, "__dict__") else {}
    if isinstance(named.get("logits"), Tensor):
        logits: Tensor = named["logits"]
        return logits
    values = output if isinstance(output, (tuple, list)) else list(named.values())
    found = [v for v in values if isinstance(v, Tensor) and v.is_floating_point() and v.dim() > 0]
    return found[0] if found else None


def tensors_in(values: Any) -> list[Tensor]:
    """Every tensor of a batch or of arguments, however nested, in order."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        return [t for value in values.values() for t in tensors_in(value)]
    return [t for value in values for t in tensors_in(value)] if isinstance(values, (tuple, list)) else []
