"""Formulas without scripts or fonts from elsewhere: LaTeX becomes MathML, which browsers draw themselves."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

__all__ = ["mathml", "pieces", "setup"]

_SPACE = "http://www.w3.org/1998/Math/MathML"
_WORD = re.compile(r"""[("']?(?:(?!d[a-z]\b)[A-Za-z]{2,}(?:['/-][A-Za-z]+)*|e\.g|i\.e|[a-z]-th)[.,:;)"'?]*""")
_NAME = re.compile(r"""[("']?[A-Za-z][A-Za-z0-9]+(?:_[A-Za-z0-9]+)+.*""")
_STRONG = re.compile(r"\\[A-Za-z,;{|]|\^|_\{|(?<![A-Za-z0-9])[A-Za-z]_[A-Za-z0-9](?![A-Za-z0-9])")
_UPRIGHT = {
    *"\N{GREEK CAPITAL LETTER GAMMA}\N{GREEK CAPITAL LETTER DELTA}\N{GREEK CAPITAL LETTER PHI}\N{GREEK CAPITAL LETTER SIGMA}"
}
_TIGHT = {"|": "0", "\N{DOUBLE VERTICAL LINE}": "0", "/": "0.1em"}  # where a browser would put a relation's space
_SPACED = re.compile(r"\\[;,]")
_CAPITALS = re.compile(r"[A-Z]{2,3}[,;.]?")
_RELATION = re.compile(r"[=<>]")
_BARE = re.compile(r"(\\(?:text|math[a-z]+|operatorname)\{[^{}]*\}|\\[A-Za-z]+|[_^]\{[^{}]*\})|(?!d[a-z]\b(?!\w))([A-Za-z]{2,})")
_GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "nu", "pi", "rho", "sigma", "tau", "phi"}


def mathml(latex: str) -> str:
    """LaTeX as MathML; function names are set apart from what follows.

    Raises:     ExtensionError for a command that the converter does not know.
    """
    markup = convert(latex)
    if "\\" in markup:
        raise ExtensionError(f"a LaTeX command that cannot be drawn, in: {latex}")
    ElementTree.register_namespace("", _SPACE)
    root = ElementTree.fromstring(markup)
    for parent in [*root.iter()]:
        if parent.tag in _tags("mrow", "math", "mstyle"):
            _join_letters(parent)
            _space_functions(parent)
    for symbol in root.iter():
        if symbol.text in _UPRIGHT:
            symbol.set("mathvariant", "normal")  # as TeX sets them
        elif symbol.text in _TIGHT:
            symbol.attrib |= dict.fromkeys(("lspace", "rspace"), _TIGHT[symbol.text])
    return ElementTree.tostring(root, encoding="unicode")


def _tags(*names: str) -> set[str]:
    return {f"{{{_SPACE}}}{name}" for name in names}


def _join_letters(parent: ElementTree.Element) -> None:
    """\\mathrm{Var} comes as three letters: one name, upright."""
    previous: ElementTree.Element | None = None
    for child in [*parent]:
        upright = child.tag in _tags("mi") and child.get("mathvariant") == "normal"
        if upright and previous is not None:
            previous.text = (previous.text or "") + (child.text or "")
            parent.remove(child)
        else:
            previous = child if upright else None


def _space_functions(parent: ElementTree.Element) -> None:
    """A thin space around a function's name, where no bracket stands: log p, 2 log x."""
    for left, right in reversed([*pairwise([*parent])]):
        after = _function(left) and right.tag not in _tags("mo", "mspace") and not _opens(right)
        before = _function(right) and left.tag not in _tags("mo", "mspace")
        closed = _function(right) and (left.text or "") in (")", "]")
        if after or before or closed:
            parent.insert([*parent].index(right), ElementTree.Element(f"{{{_SPACE}}}mspace", width="0.167em"))


def _function(node: ElementTree.Element) -> bool:
    if node.tag in _tags("msub", "msup", "msubsup", "mrow") and len(node):
        return _function(node[0]) if node.tag not in _tags("mrow") or len(node) == 1 else False
    return node.tag in _tags("mi") and len(node.text or "") > 1


def _opens(node: ElementTree.Element) -> bool:
    return node.tag in _tags("mrow") and len(node) > 0 and node[0].tag in _tags("mo")


def pieces(text: str, *, formula: bool = False) -> list[tuple[bool, str]]:
    """Cut a docstring's line into (is mathematics, text): authors write "2 (\\hat y - y): grows with the error".

    A ``formula`` begins with mathematics, which ends at the first English word; anything else begins with words, and
    mathematics is what holds a LaTeX command, with the symbols around it.
    """
    tokens = _tokens(text)
    kinds = [_kind(token) for token in tokens]
    math, run, is_math = formula, [], []  # ``run``: undecided tokens since the last word
    for i, kind in enumerate(kinds):
        if tokens[i].lower() == "a" and kinds[i + 1 : i + 2] == ["word"]:
            kind = "word"
        if kind == "neutral" and not math:
            run.append(i)
            continue
        if kind == "math":
            run = _reach_back(run, tokens, is_math)
        _decide(run, tokens, is_math, formula)
        run, math = [], kind == "math" or (math and kind == "neutral")
        if math:
            is_math.append(i)
            math = tokens[i][-1] not in ":;"
    _decide(run, tokens, is_math, formula)
    return _joined(tokens, set(is_math))


def _tokens(text: str) -> list[str]:
    """Split at spaces that are not inside braces."""
    tokens, depth = [""], 0
    for character in " ".join(text.split()):
        depth += (character == "{") - (character == "}")
        if character == " " and not depth:
            tokens.append("")
        else:
            tokens[-1] += character
    return tokens


def _kind(token: str) -> str:
    if _NAME.fullmatch(token):
        return "word"
    if _STRONG.search(_SPACED.sub("", token)):
        return "math"
    return "word" if _WORD.fullmatch(token) and not _CAPITALS.fullmatch(token) else "neutral"


def _decide(run: list[int], tokens: list[str], is_math: list[int], formula: bool) -> None:
    """Symbols between words: "p = 1" in a formula's remark is mathematics, a lone number is not."""
    related = any(_RELATION.search(tokens[i]) for i in run[1:])
    if formula and related and not _RELATION.match(tokens[run[0]]):
        is_math += run


def _reach_back(run: list[int], tokens: list[str], is_math: list[int]) -> list[int]:
    """Take the symbols directly before mathematics: "|z| =" of "beyond |z| = \\sqrt\\nu"; what is before a comma is left."""
    start = next((k + 1 for k in reversed(range(len(run))) if tokens[run[k]][-1:] in ",:;."), 0)
    is_math += run[start:]
    return run[:start]


def _joined(tokens: list[str], is_math: set[int]) -> list[tuple[bool, str]]:
    joined: list[tuple[bool, str]] = []
    for i, token in enumerate(tokens):
        kind = i in is_math
        if joined and joined[-1][0] == kind and not (kind and _ended(joined[-1][1])):
            joined[-1] = (kind, f"{joined[-1][1]} {token}")
        else:
            joined.append((kind, token))
    return [part for kind, text in joined for part in (_trimmed(text) if kind else [(False, _SPACED.sub("", text))])]


def _ended(latex: str) -> bool:
    """Whether a line may break here: after a comma or the like that is not inside brackets."""
    depth = sum(latex.count(c) for c in "([") - sum(latex.count(c) for c in ")]")
    return _SPACED.sub("", latex)[-1:] in (":", ";") or (_SPACED.sub("", latex)[-1:] == "," and depth <= 0)


def _trimmed(latex: str) -> list[tuple[bool, str]]:
    """Mathematics, and the punctuation after it as text, so that a line may break there."""
    found = re.fullmatch(r"(.*?)([,;:.]*)((?:\\;|\\,|\\quad|\s)*)", latex)
    assert found is not None
    latex = _BARE.sub(_word, found[1])
    return [(True, latex.replace("%", "\\%")), *([(False, found[2])] if found[2] else [])]


def _word(found: re.Match[str]) -> str:
    """A word typed without LaTeX: mu is the letter, logsumexp a function."""
    if found[1]:
        return found[1]
    return f"\\{found[2]} " if found[2] in _GREEK else rf"\mathrm{{{found[2]}}}"


def _visit(self: Any, node: nodes.math) -> None:
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _visit_block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula container"><p>{mathml(node.astext())}</p></div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name "mathml"."""
    app.add_html_math_renderer("mathml", (_visit, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
