"""One host of every kind of tokenizer, and which characters of a text its tokens own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

from evaluate_tokenizers import KINDS, TEXTS, raw, tokenizer
from losskit.demos.tokens import learn
from losskit.evaluate.text.tokens import Tokenizer

__all__ = ["HOSTS", "TANGLED", "adapted", "ends", "pieces"]

# of every kind at once: blanks at both ends, accents composed and not, ligatures, signs outside the BMP, special strings
TANGLED = " Héllo  <s>e\u0301\u00a0ﬁ½ 龘🙃.\n\n x </s>\t[UNK] İ\u2028  "
HOSTS: dict[str, Callable[[], object]] = {
    **{f"fast-{kind}": (lambda kind=kind: tokenizer(kind, bos=False)) for kind in KINDS},
    **{f"fast-{kind}-bos": (lambda kind=kind: tokenizer(kind, bos=True, eos=True, padding_side="left")) for kind in KINDS},
    **{f"rust-{kind}": (lambda kind=kind: raw(kind, bos=True)) for kind in KINDS},
    "fast-bpe-trim": lambda: tokenizer("bpe", bos=True, trim=True),
    "demos": lambda: learn([text.encode() for text in TEXTS], 400),
}


@cache
def adapted(name: str) -> Tokenizer:
    """One of HOSTS behind our face."""
    return Tokenizer(HOSTS[name]())


def ends(name: str, text: str) -> list[int]:
    found = adapted(name).encode(text).ends
    assert found is not None
    return found


def pieces(name: str, text: str) -> list[str]:
    """The characters that each token owns."""
    found = ends(name, text)
    return [text[start:stop] for start, stop in pairwise([0, *found])]
