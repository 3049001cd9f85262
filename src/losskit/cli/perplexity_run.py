"""``losskit perplexity``: data, model, evaluation, files, table, gates, in this order."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .perplexity_exit import guarded, resume_line, together, unbroken, writable

__all__ = ["given_documents", "run_perplexity"]


def run_perplexity(arguments: argparse.Namespace) -> int:
    """Evaluate, and return the exit code."""
    return guarded(lambda: _evaluate(arguments), lambda: resume_line(arguments.resume))


def _evaluate(arguments: argparse.Namespace) -> int:
    from ..evaluate.run import perplexity
    from ..evaluate.running.parallel import ranks, start_from_environment
    from .perplexity_output import other_protocols, write

    start_from_environment()
    first = ranks().rank == 0
    with together():
        ready = _Prepared(arguments)
    with together():
        report = perplexity(ready.model, ready.tokenizer, ready.documents, **ready.options, progress=not arguments.quiet)
        readings = other_protocols(arguments, ready)
    with together():  # torchrun ends all ranks when one leaves with a code
        if first:
            write(arguments, ready, report, readings)
        return _gates(arguments, ready, report, first)


def _gates(arguments: argparse.Namespace, ready: _Prepared, report: Any, first: bool) -> int:
    from ..evaluate.paired import compare
    from . import perplexity_gates as gates

    failed = [said for one in ready.gates if (said := gates.broken(one, report)) is not None]
    if ready.baseline is not None and report.protocol != ready.baseline.protocol:
        raise ValueError(
            f'"--baseline" {arguments.baseline} was read with {ready.baseline.protocol.line()}, this run with '
            f"{report.protocol.line()}: a gate needs the same"
        )
    if ready.baseline is not None:
        found, said = compare(report, ready.baseline, level=arguments.level), None
        if ready.allowed is not None:
            _, said = gates.worse(report, ready.baseline, ready.allowed, arguments.level)
        failed += [said] if said else []
        if first and arguments.json != "-":
            from .perplexity_print import print_comparison

            unbroken(lambda: print_comparison(found))
    for line in failed if first else ():
        print(f"losskit: gate failed: {line}", file=sys.stderr)
    return 1 if failed else 0


class _Prepared:
    """All that can be refused before the model reads a token: what is cheap first."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from ..evaluate.report import read_report
        from . import perplexity_gates as gates

        self.arguments = arguments
        writable(arguments.json, arguments.html, arguments.tokens, arguments.resume)
        if isinstance(arguments.window, int) and isinstance(arguments.stride, int):
            from ..evaluate.plan import Plan

            Plan(arguments.window, arguments.stride, "none").check()
        self.gates = [gates.gate(text, arguments.units) for text in arguments.fail_if]
        self.allowed = None if arguments.fail_if_worse is None else gates.share(arguments.fail_if_worse)
        if self.allowed is not None:
            gates.one_sided(arguments.level)
            if arguments.baseline is None:
                raise ValueError('"--fail-if-worse" needs "--baseline", the result to compare with')
        self.baseline = None if arguments.baseline is None else read_report(arguments.baseline)
        if arguments.html is not None:
            from ..evaluate.page.html import need

            for module in ("plotly", "jinja2"):
                need(module)
        self.documents = given_documents(arguments)
        for name in ("tokens", "compat", "explain"):
            if getattr(arguments, name) and any(d.text is None for d in self.documents):
                raise ValueError(f'"--{name}" needs texts, but the data is token ids: leave it out')
        if self.baseline is not None:
            from ..evaluate.text.documents import data_fingerprint

            if self.baseline.data.get("fingerprint") != data_fingerprint(self.documents):
                raise ValueError(f'"--baseline" {arguments.baseline} is of other documents: evaluate both on the same')
        self._load()

    def _load(self) -> None:
        from .perplexity_load import load

        given = self.arguments
        texts = any(d.text is not None for d in self.documents)
        one = load(given.model, dtype=given.dtype, device=given.device, tokenizer=given.tokenizer, texts=texts)
        self.model, self.tokenizer = one.model, one.tokenizer
        self.options: dict[str, Any] = {
            name: getattr(given, name)
            for name in (
                "window", "stride", "bos", "truncate", "units", "units_from", "save_hidden", "precision",
                "batch_tokens", "interval", "level", "resamples", "seed", "nonfinite", "resume",
            )
        }  # fmt: skip
        self.options |= {"reference": self._reference()}
        if not texts:
            self.options["format"] = "tokens"

    def _reference(self) -> Any:
        from .perplexity_load import load

        given = self.arguments
        if given.reference is None:
            return None
        folder = Path(given.reference)
        if (folder / "reference.json").is_file():
            return folder
        other = load(given.reference, device=given.device, texts=False)  # as saved: what a smaller dtype costs can be seen
        self._same_tokens(other)
        return other.model

    def _same_tokens(self, other: Any) -> None:
        """Scores of the same number may still be of other tokens."""
        from ..evaluate import ModelError
        from ..evaluate.text.tokens import Tokenizer

        if self.tokenizer is None or other.tokenizer is None:
            return
        mine, theirs = Tokenizer(self.tokenizer), Tokenizer(other.tokenizer)
        for one in [d for d in self.documents if d.text][:20]:
            if mine.encode(one.text[:10000]).ids != theirs.encode(one.text[:10000]).ids:
                raise ModelError(
                    f"the tokenizers of {self.arguments.model} and of the reference {other.name} read document {one.id!r} "
                    "as other tokens: their distributions cannot be compared"
                )


def given_documents(arguments: argparse.Namespace) -> Sequence[Any]:
    """The documents of the arguments; standard input can be read only once."""
    from ..evaluate.text.documents import read_documents

    return read_documents(
        arguments.data,
        format=arguments.format,
        text_field=arguments.text_field,
        id_field=arguments.id_field,
        group_field=arguments.group_field,
        units_from=arguments.units_from,
        limit=arguments.limit,
    )
