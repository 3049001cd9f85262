"""Softmaxes over rows in which everything is masked: their result is NaN."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .provenance import user_line

__all__ = ["MaskedRows"]

_SOFTMAXES = ("aten::_softmax", "aten::_log_softmax", "aten::_masked_softmax")  # _safe_softmax makes zeros of such rows


class MaskedRows(TorchDispatchMode):
    """Counts rows of -inf in what goes into a softmax, wherever it is called."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.count = 0
        self.where = ""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operation, and look at a softmax's input."""
        if func._schema.name in _SOFTMAXES and isinstance(args[0], Tensor) and args[0].numel():
            scores, dim = args[0], args[1] if isinstance(args[1], int) else -1
            rows = int((scores.amax(dim) == -torch.inf).sum())
            if rows and not self.count:
                here = inspect.currentframe()
                self.where = user_line(here and here.f_back)
            self.count += rows
        call: Callable[..., Any] = func
        return call(*args, **(kwargs or {}))
