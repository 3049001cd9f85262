"""The losses of the user's own code, seen in the first steps of a live run."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..before.spy import Spy
from ..evidence.calls import LossCall

__all__ = ["LiveSpy", "is_compiled", "unheard_warnings"]

MOST = 32  # calls: as many as one step makes, not all of the rollouts before it


@contextmanager
def unheard_warnings() -> Generator[None, None, None]:
    """No warning is shown in the block; the filters are left alone, since torch and Python show all again when they change."""
    shown = warnings.showwarning
    warnings.showwarning = _ignored
    try:
        yield
    finally:
        if warnings.showwarning is _ignored:
            warnings.showwarning = shown


def _ignored(*_: Any, **__: Any) -> None:
    """In place of ``warnings.showwarning``."""


def is_compiled(*parts: Any) -> bool:
    """Whether one of them runs through ``torch.compile``: a function mode around it would compile it anew."""
    modules = [m for part in parts if isinstance(part, nn.Module) for m in part.modules()]
    marks = ("_orig_mod", "_torchdynamo_orig_callable", "_compiled_call_impl")
    return any(getattr(part, mark, None) is not None for part in (*parts, *modules) for mark in marks)


class LiveSpy:
    """A spy over the user's code between ``arm`` and ``disarm``; it stays away from compiled code."""

    def __init__(self, model: nn.Module, loss_fn: Any) -> None:
        self.allowed = not is_compiled(model, loss_fn)
        self.autocast: tuple[str, torch.dtype] | None = None
        """Device and format of the autocast that the model was called in."""
        self._spy: Spy | None = None
        self._hook: RemovableHandle | None = None
        self._model = model

    def note_modes(self) -> None:
        """Find out in which autocast the model is called; until ``forget_modes``."""
        if self._hook is None:
            self._hook = self._model.register_forward_pre_hook(self._called)

    def forget_modes(self) -> None:
        """Take the hook off the model."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def arm(self) -> None:
        """Begin to listen; nothing if it listens already."""
        if self.allowed and self._spy is None:
            self._spy = Spy(most=MOST)
            self._spy.__enter__()

    def disarm(self) -> tuple[LossCall, ...] | None:
        """What was heard; None if it did not listen."""
        if self._spy is None:
            return None
        spy, self._spy = self._spy, None
        spy.__exit__(None, None, None)
        with unheard_warnings():  # each loss is called a second time, sample by sample
            return spy.finish()

    def _called(self, model: nn.Module, _: Any) -> None:
        device = next((p.device.type for p in model.parameters()), "cpu")
        if torch.is_autocast_enabled(device):
            self.autocast = device, torch.get_autocast_dtype(device)
