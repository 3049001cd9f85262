"""perplexity: one call from a model and documents to a report, alone or on many ranks, interrupted or not."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from .. import __version__
from ..core.call import whole_number
from ..core.check import at_least, between, choice
from .model import Head, LanguageModel, ModelError
from .plan import Plan, contexts
from .prepare import Ready, few_of, prepare
from .records import FEW, UNITS, DocumentScore
from .reference import Reference
from .report import PerplexityReport, Protocol
from .running.parallel import ranks
from .running.work import Work
from .score import Prepared, Scorer, packs
from .text.documents import DataError, data_fingerprint, groups_fingerprint, read_documents
from .text.tokens import Tokenizer, prefix

__all__ = ["Stride", "batch_size", "look", "perplexity", "planned"]

Stride = int | Literal["half", "quarter", "disjoint"]
_DEFAULT_WINDOW = 2048  # of a model that names no limit
_BATCH = {"cpu": 4096}
_BATCH_ELSEWHERE = 32768


def perplexity(
    model: Callable[..., Any],
    tokenizer: object | None,
    docs: object,
    *,
    head: nn.Module | Head | None = None,
    window: int | None = None,
    stride: Stride = "half",
    bos: str | int = "auto",
    truncate: int | None = None,
    units: Sequence[str] = UNITS,
    text_field: str = "text",
    doc_id: str | None = None,
    group_by: str | None = None,
    units_from: str | None = None,
    format: str = "auto",
    limit: int | None = None,
    reference: Callable[..., Any] | str | Path | None = None,
    save_hidden: str | Path | None = None,
    precision: Literal["float32", "float64"] = "float32",
    batch_tokens: int | None = None,
    interval: Literal["cluster", "bootstrap", "none"] = "cluster",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    nonfinite: Literal["error", "report"] = "error",
    resume: str | Path | None = None,
    progress: bool = False,
) -> PerplexityReport:
    r"""How many equally likely tokens a causal language model is confused between, on documents, with honest error bars.

    Every token of every document is scored once, in float64 sums, with a context that the report states; nothing is dropped.

    Formula:    \mathrm{perplexity} = \exp(-\frac{1}{n} \sum_d \sum_t \log p(x_{d,t} \mid \mathrm{context}_{d,t}))
    Args:
        model: of transformers (``AutoModelForCausalLM``), a module, or a callable from ids (B, L) to scores (B, L, V). It is put
            into eval mode and back. Where the last layer is known its scores are never kept.
        tokenizer: of transformers, ``tokenizers.Tokenizer``, or anything with ``encode(text)``; None for documents of token ids.
        docs: a text, a list of texts, mappings or token ids, a data set, or a ``Path`` (or several) of files; see
            :func:`losskit.evaluate.read_documents`.
        head: the last linear layer of a module that is not transformers', or a ``Head`` to apply to what the model returns.
        window: positions that the model reads at once, the prefix token included; None: as many as it was made for, or 2048.
        stride: tokens that each further window scores: 1 to ``window``, ``"half"`` of it, ``"quarter"``, or ``"disjoint"`` (the
            cheapest, with as little context as one token). A smaller stride gives more context and costs window / stride passes.
        bos: the token that stands before the text: ``"auto"`` (BOS in every window if the tokenizer has one, else none),
            ``"every"``, ``"first"`` (of a document's windows), ``"none"`` (the first token is then not scored), ``"eos"``, or
            an id. Never two.
        truncate: tokens of a document, the rest is cut and reported; None for all.
        units: of ``token``, ``byte``, ``character`` and ``word``, those that are reported; always of the scored text.
        text_field: of a record, its text.
        doc_id: of a record, its id; None for its place (``file:line``).
        group_by: of a record, its group; each gets figures of its own.
        units_from: of a record, another text whose bytes, characters and words are counted; the protocol names it.
        format: what files hold, ``"auto"`` by their names; see :func:`losskit.evaluate.read_documents`.
        limit: so many documents and no more.
        reference: a model to compare with (KL divergence, same top token), or a folder that ``save_hidden`` wrote.
        save_hidden: a folder for the hidden states of the scored positions, to serve as ``reference`` later.
        precision: of the log-sum-exp of the scores.
        batch_tokens: positions in one pass of the model; None: 4096 on CPU, 32768 elsewhere. Part of what must agree to resume.
        interval: ``"cluster"`` (documents are the clusters), ``"bootstrap"`` over documents, or ``"none"``. Fewer than ten
            documents get a bootstrap over contiguous blocks.
        level, resamples, seed: of the interval.
        nonfinite: ``"error"`` raises at a token whose -log p is not finite; ``"report"`` keeps it: the perplexity is inf or NaN.
        resume: a journal: every finished document is kept there, and a run with the same arguments goes on from it.
        progress: whether to tell on stderr how far it is.
    Returns:    PerplexityReport; with torch.distributed the same on every rank.
    Raises:     ValueError for an option; ``DataError`` for documents; ``ModelError`` for a model that is not causal;
                ``NonFiniteError``; ``JournalError`` for a journal of other arguments; RuntimeError if another rank ended.
    Reference:  Jelinek et al. 1977, doi:10.1121/1.2016299
    Example:
        >>> uniform = lambda ids: torch.zeros(*ids.shape, 50)
        >>> found = losskit.evaluate.perplexity(uniform, None, [[1, 2, 3, 4], [5, 6]], window=8)
        >>> round(found.perplexity, 6), found.overall.amounts["token"]
        (50.0, 4)
    """
    _check(precision, interval, nonfinite, level, units)
    for name, value, least in (("truncate", truncate, 1), ("resamples", resamples, 2), ("seed", seed, None)):
        if value is not None:
            whole_number(name, value)
        if value is not None and least is not None:
            at_least(name, value, least)
    began = time.monotonic()
    found = read_documents(
        docs, format=format, text_field=text_field, id_field=doc_id, group_field=group_by, units_from=units_from, limit=limit
    )
    reader = LanguageModel(model, head=head, precision=precision)
    words = None if tokenizer is None else Tokenizer(tokenizer)
    token, where = prefix(bos, words)
    plan = planned(reader, window, stride, where)
    ready = prepare(found, words, prefix=token, truncate=truncate)
    size = batch_size(batch_tokens, plan, reader)
    text = "" if token is None or words is None else words.text_of([token])
    named = "none" if token is None else f"{where} {text!r}" if text else f"{where} {token}"
    protocol = Protocol(plan.window, plan.stride, named, truncate, precision, units_from)
    data = data_fingerprint(found)
    facts = {"data": data, "tokenizer": None if words is None else words.fingerprint, **vars(protocol)}
    facts["batch_tokens"] = size
    other = _reference(reference, reader, facts, precision)
    with reader.evaluating(), nullcontext() if other is None else other.model.evaluating():
        look(reader, ready.documents, token)
        if other is not None:
            _meet(other, reader, plan, ready.documents, token)
        keep = None if save_hidden is None else Reference.saving(reader, Path(save_hidden), facts)
        scorer = Scorer(
            reader, plan, ready.documents, prefix=token, batch_tokens=size, reference=other, save=keep,
            few=few_of(plan, ready.documents), nonfinite=nonfinite,
        )  # fmt: skip
        work = packs(plan, [len(d.ids) for d in ready.documents], size)
        about = {**facts, "model": [reader.name, reader.fingerprint], "groups": groups_fingerprint(found), "nonfinite": nonfinite}
        about["reference"] = None if other is None else other.fingerprint
        task = Work(scorer, work, about, resume, progress, level)
        records = task.run()
    spent = (time.monotonic() - began, task.resumed)
    return _report(reader, words, data, ready, protocol, plan, records, units, interval, level, resamples, seed, spent)


def _check(precision: str, interval: str, nonfinite: str, level: float, units: Sequence[str]) -> None:
    choice("precision", precision, ("float32", "float64"))
    choice("interval", interval, ("cluster", "bootstrap", "none"))
    choice("nonfinite", nonfinite, ("error", "report"))
    between("level", level, 0, 1, strict=True)
    for unit in units:
        choice("units", unit, UNITS)


def _strided(stride: Stride, window: int, where: str) -> int:
    """Tokens of a stride that may be named."""
    slots = window - (where == "every")
    if isinstance(stride, str):
        choice("stride", stride, ("half", "quarter", "disjoint"))
        return max(1, {"half": window // 2, "quarter": window // 4, "disjoint": slots}[stride])
    whole_number("stride", stride)
    return stride


def planned(reader: LanguageModel, window: int | None, stride: Stride, where: str) -> Plan:
    """The window plan of the options, checked against the model.

    Raises:     ValueError for a window beyond the model's positions, or a stride beyond the window.
    """
    limit = reader.positions
    if window is not None:
        whole_number("window", window)
        at_least("window", window, 1)
    if window is not None and limit is not None and window > limit:
        raise ValueError(f'"window" is {window}, expected at most {limit}, the positions that {reader.name} was made for')
    window = window if window is not None else limit or _DEFAULT_WINDOW
    plan = Plan(window, _strided(stride, window, where), where)
    plan.check()
    return plan


def batch_size(batch_tokens: int | None, plan: Plan, reader: LanguageModel) -> int:
    """Positions in one pass of the model.

    Raises:     ValueError for less than one.
    """
    if batch_tokens is None:
        return max(plan.window, _BATCH.get(reader.device.type, _BATCH_ELSEWHERE))
    whole_number("batch_tokens", batch_tokens)
    at_least("batch_tokens", batch_tokens, 1)
    return batch_tokens


def _in_vocabulary(reader: LanguageModel, ready: Sequence[Prepared], token: int | None) -> None:
    size = reader.vocabulary
    if size is None:
        return
    if token is not None and token >= size:
        raise DataError(
            f'"bos" is token {token}, but {reader.name} has {size} tokens: tokenizer and model do not belong together'
        )
    for one in ready:
        if one.ids and not 0 <= min(one.ids) <= max(one.ids) < size:
            at, bad = next((i, t) for i, t in enumerate(one.ids) if not 0 <= t < size)
            raise DataError(
                f"document {one.id!r}, token {at} has id {bad}, but {reader.name} has {size} tokens: "
                "tokenizer and model do not belong together"
            )


def look(reader: LanguageModel, ready: Sequence[Prepared], prefix: int | None) -> None:
    """See that the ids are the model's, and try it on the first of them.

    Raises:     DataError for an id that the model does not have; ModelError for a model that is not causal.
    """
    _in_vocabulary(reader, ready, prefix)
    ids = [*([] if prefix is None else [prefix]), *max((d.ids for d in ready), key=len)[:8]]
    if len(ids) > 1:
        reader.check(torch.tensor(ids))


def _meet(other: Reference, reader: LanguageModel, plan: Plan, ready: Sequence[Prepared], token: int | None) -> None:
    """See that the reference can read what the model reads, and speaks of the same tokens.

    Raises:     ModelError.
    """
    theirs, size = other.model, other.model.vocabulary
    if size is not None and reader.vocabulary is not None and size != reader.vocabulary:
        raise ModelError(
            f"{reader.name} has {reader.vocabulary} tokens and the reference {theirs.name} {size}: "
            "their distributions cannot be compared"
        )
    if other.folder is not None:
        return
    if theirs.positions is not None and plan.window > theirs.positions:
        raise ModelError(
            f"the reference {theirs.name} was made for {theirs.positions} positions: expected {plan.window}, the window"
        )
    look(theirs, ready, token)


def _reference(given: Any, reader: LanguageModel, facts: dict[str, Any], precision: str) -> Reference | None:
    if given is None:
        return None
    if isinstance(given, str | Path):
        return Reference.saved(Path(given), facts, reader.device, precision)
    return Reference(LanguageModel(given, precision=precision))


def _report(
    reader: LanguageModel, words: Tokenizer | None, data: str, ready: Ready, protocol: Protocol, plan: Plan,
    records: list[DocumentScore], units: Sequence[str], interval: str, level: float, resamples: int, seed: int,
    spent: tuple[float, int],
) -> PerplexityReport:  # fmt: skip
    (seconds, resumed), lengths = spent, [len(d.ids) for d in ready.documents]
    scored = sum(r.tokens for r in records)
    if not scored:
        raise DataError(
            f"nothing can be scored in {len(lengths)} documents of {sum(lengths)} tokens: expected a token with a context"
        )
    warnings = [*ready.warnings]
    warnings += [said] if (said := reader.warning()) else []
    if plan.prefix == "none":
        warnings.append(
            f"without a prefix token the first token of each document is not scored: {sum(map(bool, lengths))} tokens"
        )
    if (empty := sum(not r.tokens for r in records)) > 0:
        warnings.append(f"{empty} {'document has' if empty == 1 else 'documents have'} nothing to score")
    if sum(bool(r.tokens) for r in records) < FEW and interval != "none":
        warnings.append(f"fewer than {FEW} documents: the interval is over blocks of them, and says nothing of other documents")
    small = Counter(r.group for r in records if r.tokens and r.group is not None)
    if (few := sum(n < FEW for n in small.values())) and interval != "none":
        warnings.append(f"{few} groups have fewer than {FEW} documents: their intervals are over blocks of them")
    if any(r.nonfinite for r in records):
        warnings.append(f"{sum(r.nonfinite for r in records)} tokens have a -log p that is not finite, and count")
    words_facts = {} if words is None else {"name": words.name, "fingerprint": words.fingerprint, "vocabulary": words.vocabulary}
    me = ranks()
    return PerplexityReport(
        protocol, reader.facts(), words_facts, {"fingerprint": data, "documents": len(lengths)},
        tuple(records), sum(lengths) + sum(d.cut for d in ready.documents), contexts(plan, lengths),
        sum(plan.cost(n)[1] for n in lengths), tuple(units), interval, level, resamples, seed, tuple(warnings),
        {
            "seconds": seconds, "tokens_per_second": (scored - resumed) / max(seconds, 1e-9), "tokens_resumed": resumed,
            "date": datetime.date.today().isoformat(), "losskit": __version__, "torch": torch.__version__,
            "device": str(reader.device), "ranks": me.world,
        },
    )  # fmt: skip
