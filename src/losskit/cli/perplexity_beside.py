"""``losskit perplexity compare`` and ``plan``: two results side by side, and what an evaluation will cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .perplexity_exit import guarded, print_json, writable
from .perplexity_run import given_documents

if TYPE_CHECKING:
    from ..evaluate.plan import Plan

__all__ = ["run_compare", "run_plan"]

_WINDOW = 2048


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare two results, and return the exit code."""
    return guarded(lambda: _compare(arguments))


def _compare(arguments: argparse.Namespace) -> int:
    from ..evaluate.files import write_whole
    from ..evaluate.paired import compare

    writable(arguments.json, arguments.html)
    found = compare(arguments.a, arguments.b, unit=arguments.unit, level=arguments.level)
    text = json.dumps(found.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    if arguments.json not in (None, "-"):
        write_whole(Path(arguments.json), text + "\n")
    if arguments.html is not None:
        found.to_html(arguments.html)
    if arguments.json == "-":
        print_json(text)
    else:
        from .perplexity_print import print_comparison

        print_comparison(found)
    return 0


def run_plan(arguments: argparse.Namespace) -> int:
    """Tell what strides cost, and return the exit code."""
    return guarded(lambda: _plan(arguments))


def _plan(arguments: argparse.Namespace) -> int:
    from ..evaluate.files import write_whole
    from ..evaluate.report import spelled

    writable(arguments.json)
    lengths, where = _lengths(arguments)
    window = arguments.window or _WINDOW
    rows = [_row(plan, lengths) for plan in _plans(arguments.stride, window, where)]
    text = json.dumps(spelled({"window": window, "bos": where, "tokens": sum(lengths), "plans": rows}), indent=1)
    if arguments.json not in (None, "-"):
        write_whole(Path(arguments.json), text + "\n")
    if arguments.json == "-":
        print_json(text)
        return 0
    from .perplexity_print import print_plans

    many = "1 document" if len(lengths) == 1 else f"{len(lengths):,} documents"
    print_plans(f"{many} of {sum(lengths):,} tokens, window {window}, bos {where}", rows)
    return 0


def _lengths(arguments: argparse.Namespace) -> tuple[list[int], str]:
    """Tokens of each document without the prefix token, and where that stands."""
    from ..evaluate.prepare import prepare
    from ..evaluate.text.tokens import Tokenizer, prefix
    from .perplexity_load import load_tokenizer

    if (arguments.tokens is None) == (not arguments.data):
        raise ValueError('either "--tokens N" or DATA is needed, and not both')
    words = None if arguments.tokenizer is None else Tokenizer(load_tokenizer(arguments.tokenizer))
    if arguments.tokens is not None:
        if words is None and arguments.bos in ("auto", "every", "first", "eos"):  # nobody says that there is none
            return [arguments.tokens], "first" if arguments.bos == "first" else "every"
        return [arguments.tokens], prefix(arguments.bos, words)[1]
    found = given_documents(arguments)
    if words is None and any(one.text is not None for one in found):
        raise ValueError('"--tokenizer" is needed: texts are counted in its tokens')
    token, where = prefix(arguments.bos, words)
    return [len(one.ids) for one in prepare(found, words, prefix=token, truncate=None).documents], where


def _plans(given: Sequence[int | str] | None, window: int, where: str) -> list[Plan]:
    from ..evaluate.model import LanguageModel
    from ..evaluate.run import planned

    reader = LanguageModel(Any)  # never called: one without a limit to its positions
    wanted: Any = ["disjoint", "half", "quarter", max(1, window // 8)] if given is None else given
    found = {plan.stride: plan for plan in (planned(reader, window, stride, where) for stride in wanted)}
    return [found[stride] for stride in sorted(found, reverse=True)]


def _row(plan: Plan, lengths: Sequence[int]) -> dict[str, Any]:
    from ..evaluate.plan import contexts
    from ..evaluate.text.documents import DataError

    known = contexts(plan, lengths)
    if known is None:
        raise DataError(f"nothing can be scored in {len(lengths)} documents: expected a token with a context")
    costs = [plan.cost(tokens) for tokens in lengths]
    read, scored = sum(cost[1] for cost in costs), sum(map(plan.scored, lengths))
    return {
        "stride": plan.stride,
        "windows": sum(cost[0] for cost in costs),
        "positions": read,
        "multiplier": read / scored,
        **known._asdict(),
    }
