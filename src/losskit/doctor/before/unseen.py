"""Compiled modules called as if nobody looked: compiled code is made again for each set of modes that are on."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["put_on", "take_off", "unseen"]

_COMPILED = "_compiled_call_impl"  # what module.compile() calls in place of forward; torch has no public word for it


@contextmanager
def unseen(model: nn.Module, mode: TorchFunctionMode) -> Generator[None, None, None]:
    """Take ``mode`` off around each compiled module of the model, torch.compile(module) and module.compile() alike."""
    with ExitStack() as stack:
        for module in model.modules():
            if type(module).__name__ == "OptimizedModule":
                off = _Off(mode)
                stack.callback(module.register_forward_pre_hook(off.before).remove)
                stack.callback(module.register_forward_hook(off.after, always_call=True).remove)
            compiled = getattr(module, _COMPILED, None)
            if compiled is not None:
                # set in place of a hook: module.compile() compiles its hooks too
                setattr(module, _COMPILED, _around(compiled, mode))
                stack.callback(setattr, module, _COMPILED, compiled)
        yield


class _Off:
    """The mode's absence between two hooks."""

    def __init__(self, mode: TorchFunctionMode) -> None:
        self._mode = mode
        self._gone = 0

    def before(self, module: nn.Module, inputs: object) -> None:
        if _is_on(self._mode):
            _leave(self._mode)
            self._gone += 1

    def after(self, module: nn.Module, inputs: object, output: object) -> None:
        if self._gone:
            self._gone -= 1
            put_on(self._mode)


def _around(compiled: Callable[..., Any], mode: TorchFunctionMode) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        off = _Off(mode)
        off.before(nn.Identity(), args)
        try:
            return compiled(*args, **kwargs)
        finally:
            off.after(nn.Identity(), args, None)

    return called


def put_on(mode: Any) -> None:
    """Make it the innermost mode of this thread."""
    mode.__enter__()


def take_off(mode: TorchFunctionMode) -> None:
    """Take a mode out of this thread's stack, wherever it lies: those above it are the user's, and stay."""
    overrides: Any = torch.overrides
    above: list[TorchFunctionMode] = []
    stack = overrides._get_current_function_mode_stack()
    if not any(one is mode for one in stack):
        return
    while (top := overrides._pop_mode()) is not mode:
        above.append(top)
    for one in reversed(above):
        overrides._push_mode(one)


def _is_on(mode: TorchFunctionMode) -> bool:
    """Whether it is the innermost one: any other must not be taken off."""
    innermost: Any = getattr(torch.overrides, "_get_current_function_mode", None)
    return innermost is not None and innermost() is mode


def _leave(mode: Any) -> None:
    mode.__exit__(None, None, None)
