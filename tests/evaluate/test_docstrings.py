"""Every example in a docstring of the evaluator runs."""

from __future__ import annotations

import doctest
import math
import pkgutil
import types
from importlib import import_module

import pytest
import torch

import losskit
import losskit.evaluate

MODULES = [one.name for one in pkgutil.walk_packages(losskit.evaluate.__path__, "losskit.evaluate.")]


@pytest.mark.parametrize("name", MODULES)
def test_every_example_runs(name: str) -> None:
    module = import_module(name)
    known = {**vars(module), "torch": torch, "math": math, "types": types, "losskit": losskit}
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs=known):
        runner.run(test)
    assert runner.failures == 0


def test_every_public_name_is_reached_whatever_was_loaded_before() -> None:
    for name in MODULES:
        import_module(name)
    for name in losskit.evaluate.__all__:
        assert not isinstance(getattr(losskit.evaluate, name), types.ModuleType), name
    assert "perplexity" in dir(losskit.evaluate)
    with pytest.raises(AttributeError, match="perplexty"):
        losskit.evaluate.perplexty  # noqa: B018  # the access is the test
