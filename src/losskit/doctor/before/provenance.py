"""Where a tensor came from: the autograd nodes above it, and the user's line that is running."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

__all__ = ["above", "layer_above", "user_line"]

_FAR = 16  # nodes; what is farther up does not shape the values of a loss's argument by itself

# nodes that move or copy values and leave them as they are
_CARRIERS = (
    "View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Permute", "T", "Expand", "Slice", "Select", "Index",
    "IndexSelect", "Gather", "MaskedSelect", "Split", "Chunk", "Unbind", "Narrow", "AsStrided", "Alias", "Movedim", "Swapaxes",
    "ToCopy", "Clone", "Contiguous", "Copy", "NativeDropout", "FusedDropout", "Where", "MaskedFill", "Flip", "Roll",
)  # fmt: skip
_TURNERS = ("Transpose", "Permute", "T", "Movedim", "Swapaxes")
_PACKAGE = Path(__file__).parents[2]
_TORCH = str(Path(torch.__file__).parent)
_OURS = tuple(str(_PACKAGE / one) for one in ("core", "losses", "ops", "parallel.py"))
_DOCTOR = str(_PACKAGE / "doctor") + os.sep
_GENERATED = ("<frozen", "<eval_with_key>", "<attrs generated")
_HOSTS = ("site-packages", "dist-packages", str(_PACKAGE / "integrations"), str(_PACKAGE / "evaluate"))


def above(tensor: Tensor) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names of the nodes above a tensor, nearest first, and the dimension of those that have one.

    Views, casts, selections and dropout are left out: they carry values. The walk ends where two branches meet. A turn
    of axes on the way to the first of them is noted among the dimensions, as "turned", an axis put in as "lifted".
    """
    names: list[str] = []
    dims: dict[str, int] = {}
    for node in _chain(tensor):
        name = _plain(node)
        if name in _TURNERS and not names:
            dims["turned"] = 1
        if name == "Unsqueeze" and not names:
            dims["lifted"] = 1
        if name in _CARRIERS or (name == "Mul" and _is_dropout(node)):
            continue
        names.append(node.name().rpartition("::")[2])
        dim = getattr(node, "_saved_dim", None)
        if isinstance(dim, int) and names[-1] not in dims:
            dims[names[-1]] = dim if dim < 1 << 31 else dim - (1 << 64)  # torch keeps -1 as an unsigned number
    return tuple(names), dims


def _chain(tensor: Tensor) -> Iterator[Any]:
    node: Any = tensor.grad_fn
    for _ in range(_FAR):
        if node is None:
            return
        yield node
        # a bias or a scale is a leaf: values come down the other branch
        inputs = [one for one, _ in node.next_functions if one is not None and not one.name().endswith("AccumulateGrad")]
        if len(inputs) != 1:
            return
        node = inputs[0]


def _plain(node: Any) -> str:
    """ "SoftmaxBackward0" to "Softmax"."""
    name: str = node.name().rpartition("::")[2]
    return name.partition("Backward")[0]


def _is_dropout(node: Any) -> bool:
    """On CPU dropout is a product with a mask that is 0 or one other number, 1 / (1 - p)."""
    try:
        mask = node._saved_other
    except RuntimeError:  # freed by a backward pass
        return False
    if (
        not isinstance(mask, Tensor)
        or mask.device.type != "cpu"
        or mask.dim() == 0
        or mask.requires_grad
        or not mask.is_floating_point()
    ):
        return False
    top = mask.amax()
    return bool((top >= 1) & ((mask == 0) | (mask == top)).all()) and bool((mask == 0).any())


def layer_above(names: tuple[str, ...]) -> str:
    """What kind of layer the nearest node belongs to: "linear" (class scores last), "convolution" (class scores second), ""."""
    for name in names:
        kind = name.partition("Backward")[0]
        if kind in ("Addmm", "Mm", "Bmm", "Linear", "MkldnnLinear"):
            return "linear"
        if kind in ("Convolution", "SlowConv3D", "CudnnConvolution", "MkldnnConvolution"):
            return "convolution"
        if kind != "Add":  # a bias
            return ""
    return ""


def user_line(start: FrameType | None = None) -> str:
    """ "train.py:41": the nearest line that is neither torch's nor ours, and if there is one no installed package's.

    "" where the doctor itself called the loss: what lies outside of that called the doctor.
    """
    frame = inspect.currentframe() if start is None else start
    second, left = "", False
    while frame is not None:
        name = frame.f_code.co_filename
        doctor = name.startswith(_DOCTOR)
        if doctor and left:
            break
        left = left or not doctor
        if not (doctor or name.startswith((*_OURS, _TORCH, *_GENERATED))):
            line = f"{Path(name).name}:{frame.f_lineno}"
            if not any(host in name for host in _HOSTS):
                return line
            second = second or line
        frame = frame.f_back
    return second
