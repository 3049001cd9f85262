"""torch's clip of gradients, overheard however it was imported: one patch for all monitors of a process.

Listeners are held weakly: a monitor that nobody keeps and nobody has closed listens no more.
"""

from __future__ import annotations

import functools
import importlib
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Listener", "forget", "listen"]

Listener = Callable[[Sequence[Tensor], float, Tensor], None]
"""A bound method that is told the parameters, the limit, and the norm (of order 2) that was found."""

# clip_grad_norm_ asks its own module for these two, so that "from torch.nn.utils import clip_grad_norm_" is heard as well
_NORM, _CLIP = "_get_total_norm", "_clip_grads_with_norm_"
_module: Any = importlib.import_module("torch.nn.utils.clip_grad")
_lock = threading.RLock()  # a listener may be collected while another is added
_listeners: tuple[weakref.WeakMethod[Listener], ...] = ()
_patched: dict[str, tuple[Any, Any]] = {}
_last = threading.local()


def listen(listener: Listener) -> None:
    """Tell this function of every clip from now on."""
    global _listeners
    with _lock:
        if not _listeners:
            for name, wrap in ((_NORM, _noting), (_CLIP, _telling)):
                original = getattr(_module, name, None)
                if original is not None:
                    _patched[name] = original, wrap(original)
                    setattr(_module, name, _patched[name][1])
        _listeners = (*_listeners, weakref.WeakMethod(listener, _drop))


def forget(listener: Listener) -> None:
    """Tell it no more; after the last one torch is as it was."""
    _drop(weakref.WeakMethod(listener))


def _drop(gone: weakref.WeakMethod[Listener]) -> None:
    global _listeners
    with _lock:
        _listeners = tuple(one for one in _listeners if one != gone)
        if _listeners:
            return
        for name, (original, ours) in _patched.items():
            if getattr(_module, name, None) is ours:  # else somebody has patched it since, and ours passes all through
                setattr(_module, name, original)
        _patched.clear()


def _noting(original: Callable[..., Any]) -> Callable[..., Any]:
    """The norm, with a note of its order: the clip is not told of it."""

    @functools.wraps(original)
    def _get_total_norm(tensors: Any, norm_type: float = 2.0, *rest: Any, **options: Any) -> Any:
        norm = original(tensors, norm_type, *rest, **options)
        if not torch.compiler.is_compiling():
            _last.norm = norm if float(norm_type) == 2.0 else None
        return norm

    return _get_total_norm


def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    """The clip, with word of it to all who listen."""

    @functools.wraps(original)
    def _clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Tensor, *rest: Any, **options: Any) -> Any:
        if torch.compiler.is_compiling():
            return original(parameters, max_norm, total_norm, *rest, **options)
        parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if getattr(_last, "norm", None) is total_norm:
            for held in _listeners:
                if (listener := held()) is not None:
                    listener(parameters, float(max_norm), total_norm.detach())
        _last.norm = None
        return original(parameters, max_norm, total_norm, *rest, **options)

    return _clip_grads_with_norm_
