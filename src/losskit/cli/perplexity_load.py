"""A model and its tokenizer by name: a directory or id of transformers, or a function of the user's own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ..evaluate.model import ModelError

__all__ = ["DTYPES", "Loaded", "load", "load_tokenizer", "said"]

DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_LONG = 240  # letters: transformers names all its 200 architectures in one error


class Loaded(NamedTuple):
    """What an evaluation needs."""

    model: Callable[..., Any]
    tokenizer: object | None
    name: str


def load(
    name: str, *, dtype: str = "auto", device: str | None = None, tokenizer: str | None = None, texts: bool = True
) -> Loaded:
    """The model called ``name``, in memory.

    Transformers is told to be quiet for the rest of the process: no progress bars, no log below errors. Code that comes with
    a model is never run.

    Args:
        name: a directory or an id of transformers, or ``module:factory``, where ``factory()`` returns (model, tokenizer).
        dtype: ``"auto"`` (as it was saved), ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        device: of torch; None: the current CUDA device if there is one, else the CPU.
        tokenizer: a directory or an id, in place of the model's own.
        texts: whether a tokenizer is needed; without it, its absence is None.
    Raises:     ModelError for what cannot be loaded, or lacks weights; ValueError for a device that does not exist.
    """
    place = _device(device)
    own: object | None = None
    if _FACTORY.fullmatch(name) and not Path(name).exists():
        model, own = _made(name)
        if isinstance(model, nn.Module) and DTYPES[dtype] is not None:
            model = model.to(DTYPES[dtype])
    else:
        model = _hosted(name, dtype)
        if tokenizer is None:
            own = _own_tokenizer(name, texts)
    if isinstance(model, nn.Module):
        try:
            model = model.to(place)
        except Exception as problem:
            raise ModelError(f"{name} cannot be put on {place}: {said(problem)}") from problem
    words = own if tokenizer is None else load_tokenizer(tokenizer)
    if words is None and texts:
        raise ModelError(f"{name} comes without a tokenizer, and the data is text: give --tokenizer, or --format tokens")
    return Loaded(model, words, name)


def load_tokenizer(name: str) -> object:
    """The tokenizer of a directory or an id of transformers.

    Raises:     ModelError for what cannot be loaded.
    """
    transformers = _transformers()
    _there(name)
    try:
        return transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as problem:  # every kind: files that are broken in any way
        raise ModelError(f"the tokenizer of {name} cannot be loaded: {said(problem)}") from problem


def said(problem: BaseException) -> str:
    """The first line of what an exception says, and its type where that is not ours."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    text = lines[0].rstrip(".") if lines else ""
    text = text if len(text) <= _LONG else f"{text[:_LONG]}…"
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def _own_tokenizer(name: str, texts: bool) -> object | None:
    try:
        return load_tokenizer(name)
    except ModelError:
        if texts:
            raise
        return None


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f'"--device" is {device!r}, expected a device of torch: cpu, cuda, cuda:1, mps') from None


def _made(name: str) -> tuple[Any, Any]:
    """What the user's factory returns."""
    module, _, attribute = name.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:  # an installed script does not look where it is called
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), attribute)()
    except Exception as problem:
        raise ModelError(f"{name} cannot be called: {said(problem)}") from problem
    if not isinstance(found, tuple) or len(found) != 2 or not callable(found[0]):
        what = f"({', '.join(type(one).__name__ for one in found)})" if isinstance(found, tuple) else type(found).__name__
        raise ModelError(f"{name} returned {what}, expected (model, tokenizer); the tokenizer may be None for token ids")
    return found[0], found[1]


def _transformers() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        transformers = import_module("transformers")
    except ImportError as missing:
        raise ModelError(f"to load a model by its name takes transformers ({missing}): pip install 'losskit[hf]'") from missing
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _there(name: str) -> None:
    """Say what a path lacks, before transformers takes it for an id and asks the network."""
    path = Path(name)
    if path.is_dir():
        known = ("config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json")
        if not any((path / one).is_file() for one in known):
            raise ModelError(f'"{name}" has no config.json, expected a directory that save_pretrained of transformers wrote')
    elif path.exists():
        raise ModelError(f'"{name}" is a file, expected a directory that save_pretrained of transformers wrote')
    elif name.count("/") > 1 or name.startswith((".", "/", "~")) or "\\" in name or name.endswith("/"):
        raise ModelError(f'"{name}" does not exist, expected a directory of transformers, an id, or module:factory')


def _hosted(name: str, dtype: str) -> Any:
    transformers = _transformers()
    _there(name)
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype=DTYPES[dtype] or "auto", trust_remote_code=False, output_loading_info=True
        )
    except Exception as problem:  # every kind: files that are broken in any way, a network that is not there
        raise ModelError(
            f"{name} cannot be loaded: {said(problem)}; expected a causal language model of transformers, or module:factory"
        ) from problem
    lacking = sorted(map(str, [*info.get("missing_keys", ()), *info.get("mismatched_keys", ())]))
    if lacking:  # transformers draws them at random and goes on
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ModelError(f"{name} lacks weights of a causal language model: {lacking[0]}{more} would be random numbers")
    return model
