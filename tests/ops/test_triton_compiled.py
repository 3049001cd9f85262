"""The row kernels of CUDA as a compiler sees them, which takes no GPU: the interpreter takes Python that it does not."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import interpreted
import pytest

import losskit

Compile = Callable[[str, str, dict[str, Any]], str]
BARE = dict.fromkeys(("bias", "softcap", "tilt"))


@pytest.fixture(scope="module")
def ptx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compile]:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not made for this platform")
    cache = str(tmp_path_factory.mktemp("triton"))
    with interpreted.process(TRITON_INTERPRET="0", TRITON_CACHE_DIR=cache) as call:
        yield lambda *given: call(interpreted.ptx, *given)


@pytest.mark.parametrize("features", [BARE | {"best": None}, {}], ids=["plain", "everything"])
@pytest.mark.parametrize("entropy", [False, True])
def test_the_statistics_compile_for_hopper(ptx: Compile, features: dict[str, Any], entropy: bool) -> None:
    text = ptx("_statistics", "fp32", {"tile": 4096, "entropy": entropy} | features)
    # one exponential a score; the tanh of a softcap takes one more
    assert text.count("ex2.approx") == 16 * (2 if features else 3)


@pytest.mark.parametrize("features", [BARE, {}], ids=["plain", "everything"])
@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("result", ["fp32", "bf16", "fp16"])
def test_every_score_of_a_tile_is_read_before_its_gradient_is_written(
    ptx: Compile, features: dict[str, Any], spread: bool, result: str
) -> None:
    """The two may share their bytes: all warps meet after the last load and before the first store."""
    text = ptx("_gradient", result, {"tile": 4096, "spread": spread} | features)
    steps = re.findall(r"ld\.global|bar\.sync|st\.global", text)
    assert steps.count("bar.sync") == 1
    meeting = steps.index("bar.sync")
    assert set(steps[:meeting]) == {"ld.global"}
    assert set(steps[meeting + 1 :]) == {"st.global"}
    if result != "fp32":
        assert f"cvt.rn.{result.replace('fp', 'f')}" in text  # to nearest


def test_losskit_leaves_triton_alone_on_cpu() -> None:
    code = """
import sys, torch, losskit
losskit.linear_cross_entropy
print([m for m in sys.modules if m.startswith("triton")])
losskit.linear_cross_entropy(torch.ones(2, 3), torch.ones(4, 3), torch.tensor([0, 1]))
print([m for m in sys.modules if m.startswith("losskit.ops.triton")])
"""
    source = str(Path(losskit.__file__).parent.parent)
    run = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True)
    assert run.stdout == "[]\n[]\n", run.stderr
