"""A curve in the terminal: braille dots, two panels, any width."""

from __future__ import annotations

import re

from torch import Tensor

from .curves import Curve

__all__ = ["plain", "plot"]

# the eight dots of a braille cell, by row and column of the cell
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

_LETTERS = """
alpha:α beta:β gamma:γ delta:δ epsilon:ε varepsilon:ε eta:η lambda:λ mu:μ pi:π rho:ρ sigma:σ tau:τ phi:φ varphi:φ
nu:ν xi:ξ chi:χ psi:ψ omega:ω zeta:ζ kappa:κ
theta:θ Phi:Φ Gamma:Γ Delta:Δ ell:ℓ partial:∂ sum:Σ prod:∏ int:∫ infty:∞ sqrt:√ ne:≠ neq:≠ le:≤ leq:≤ ge:≥ geq:≥ in:∈
to:→ times:× cdot:· pm:± approx:≈ cup:∪ cap:∩ setminus:∖ propto:∝ mid:| circ:∘ cdots:... ldots:... dots:... left: right:
lVert:‖ rVert:‖ lvert:| rvert:| big: Big: bigl: bigr: quad: qquad:
"""
_SYMBOLS: dict[str, str] = {name: letter for name, _, letter in (pair.partition(":") for pair in _LETTERS.split())}


def _matched(depth: int) -> str:
    """Text whose parentheses match."""
    return rf"[^()]*(?:\({_matched(depth - 1)}\)[^()]*)*" if depth else r"[^()]*"


# of a formula in Unicode: what may be between parentheses, and one number or letter with what hangs on it
_GROUPED = _matched(5)
_SYMBOL = rf"\[[^]()]*\]|√?\|?(?:\d+(?:\.\d+)?|[A-Z]+|[^\W\d_])(?:['²\u0300-\u036f]|[_^](?:[\w+*-]|\({_GROUPED}\)))*\|?²?"


def plain(latex: str) -> str:
    """A formula's LaTeX as a line of Unicode that a terminal can show: \\frac{a}{b} is (a/b), \\hat y is ŷ."""
    text = re.sub(r"\\hat\s*(?:\{(\w)\}|(\w))", "\\1\\2\u0302", latex)
    text = re.sub(r"\\bar\s*(?:\{(\w)\}|(\w))", "\\1\\2\u0304", text)
    text = re.sub(r"\\(?:mathrm|operatorname|text|mathbf|mathcal)\*?\{([^{}]*)\}", r"\1", text)
    for _ in range(3):  # fractions in fractions
        text = re.sub(r"\\sqrt\{([^{}]*)\}", r"√(\1)", text)
        text = re.sub(r"\\[td]?frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)
        text = re.sub(r"\\[td]?frac\s*(\w)\s*(\w)", r"\1/\2", text)
        text = re.sub(r"\^\{([^{}]*)\}", r"^(\1)", text)
        text = re.sub(r"_\{([^{}]*)\}", r"_(\1)", text)
    text = re.sub(r"\\([A-Za-z]+)", lambda m: _SYMBOLS.get(m[1], m[1]), text)
    return _lighter(
        re.sub(r"\\[,;:! ]", " ", text)
        .replace("{", "")
        .replace("}", "")
        .replace("\\|", "‖")
        .replace("^(2)", "²")
        .replace("^2", "²")
    )


def _lighter(formula: str) -> str:
    """Without parentheses that group nothing: ((1)/(n)) is (1/n), e^((x)) is e^(x), but x_((k)) means something else."""
    for _ in range(4):  # parentheses in parentheses
        formula = re.sub(rf"(?<!_)\(\(({_GROUPED})\)\)", r"(\1)", formula)
        formula = re.sub(rf"\(\(({_SYMBOL})\)/", r"(\1/", formula)
        formula = re.sub(rf"/\(({_SYMBOL})\)\)", r"/\1)", formula)
    return formula


def plot(curve: Curve, *, width: int = 72, height: int = 8) -> str:
    """The value above, the gradient below, with the lowest and highest number beside each and x underneath."""
    panels = [_panel(title, y, width, height) for title, y in (("value", curve.value), ("gradient", curve.gradient))]
    low, high = float(curve.x[0]), float(curve.x[-1])
    gap = " " * max(1, width - 12 - len(f"{low:g}{high:g}"))
    return "\n".join([*panels, f"{'':>11}{low:g}{gap}{high:g}", f"{'':>11}{curve.axis}"])


def _panel(title: str, y: Tensor, width: int, height: int) -> str:
    columns, rows = 2 * (width - 12), 4 * height
    finite = y[y.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 1.0)
    span = high - low or 1.0
    cells = [[0x2800] * (width - 12) for _ in range(height)]
    previous = None
    for column in range(columns):
        at = float(y[round(column * (len(y) - 1) / max(columns - 1, 1))])
        row = rows - 1 - round((min(max(at, low), high) - low) / span * (rows - 1)) if at == at else None
        if row is not None:
            for r in _between(previous, row):
                cells[r // 4][column // 2] |= _DOTS[r % 4][column % 2]
        previous = row
    labels = [f"{high:10.4g} ", *[" " * 11] * (height - 2), f"{low:10.4g} "]
    return "\n".join([f"{'':>11}{title}", *(label + "".join(map(chr, line)) for label, line in zip(labels, cells, strict=True))])


def _between(previous: int | None, row: int) -> range:
    """The rows from the last dot to this one, so that a steep curve stays a line."""
    if previous is None or previous == row:
        return range(row, row + 1)
    return range(row, previous) if row < previous else range(previous + 1, row + 1)
