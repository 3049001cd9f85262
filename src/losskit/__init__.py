"""The loss layer for PyTorch. Every public name lives here: ``losskit.cross_entropy``, ``losskit.MSELoss``, ..."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import *


def __getattr__(name: str) -> Any:
    """Load everything at the first public name, so that ``losskit --help`` need not import torch."""
    if name.startswith("__") and name != "__all__":
        raise AttributeError(name)
    api = import_module("losskit.api")
    public = {key: value for key, value in vars(api).items() if not key.startswith("_")}
    globals().update(public, __all__=sorted(public))
    if name not in globals():
        raise AttributeError(f"module 'losskit' has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    __getattr__("__all__")
    return sorted(globals())
