"""Text, token by token."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from ..advice import Advice, Answer, Candidate, Fact, Question
from ..candidates import candidate
from ..class_count import fitting
from ..columns import Column
from ..kinds_pairs import text_of
from ..seen import Seen

__all__ = ["advise"]

SHIFTED = "logits (B, T, V): scores before any softmax; tokens (B, T): each position predicts the next token, -100 counts nothing"


def advise(seen: Seen) -> Advice:
    """Cross-entropy of each next token."""
    warnings = ["Evaluate by exp(sum of losses / number of tokens), never by a mean over batches: losskit.Perplexity does so."]
    if seen.columns is None:
        return seen.advice(_of_vocabulary(seen), [_fused(_told(seen)), _teacher()], [], warnings=warnings)
    column = text_of(seen.columns)
    if column is None:
        return seen.refused("No column holds text or lists of tokens.")
    if seen.shape == "tokens" or column.kind in ("list", "vector"):
        return _tokens(seen, column, warnings)
    lengths = [len(level) for level in column.levels]
    counts = column.values[column.values >= 0].bincount(minlength=len(lengths)).tolist()
    total = sum(n * c for n, c in zip(lengths, counts, strict=True))
    facts = [
        Fact("texts", seen.columns.rows, f"{seen.columns.rows:,} texts in {column.name!r}, {total:,} characters"),
        Fact("repeated texts", seen.columns.rows - len(lengths), f"{len(lengths):,} of them are different"),
    ]
    question = Question(
        "Which tokenizer? Without one the vocabulary, and with it the loss to expect at the start, are unknown.",
        (Answer("one of 50,257 tokens, for example", "the loss to expect at the start is ln 50,257", {"num_classes": 50257}),),
    )
    questions = [question] if seen.num_classes is None else []
    return seen.advice(_of_vocabulary(seen), [_fused(_told(seen))], [], facts, warnings, questions)


def _told(seen: Seen) -> dict[str, object]:
    return {} if seen.num_classes is None else {"num_classes": seen.num_classes}


def _of_vocabulary(seen: Seen) -> Candidate:
    said = "a vocabulary" if seen.num_classes is None else f"a vocabulary of {seen.num_classes:,}"
    return _plain(f"Each next token is one of {said}.", _told(seen))


def _tokens(seen: Seen, column: Column, warnings: list[str]) -> Advice:
    rows = column.lists if column.kind == "list" else [tuple(int(v) for v in row) for row in column.values.tolist()]
    counts = Counter(token for row in rows for token in row)
    total = sum(counts.values())
    if len(counts) < 2:
        return seen.refused(f"All {total} tokens are the same: there is nothing to learn.")
    prior = [count / total for count in counts.values()]
    first = _plain(f"{total:,} tokens, {len(counts):,} different ones.", {"prior": prior})
    numbered = all(isinstance(token, (int, float)) for token in counts)
    seen_most = f", the highest is {max(counts):g}" if numbered else ""
    if seen.num_classes is not None:
        fitting(seen.num_classes, len(counts), f"column {column.name!r} has {len(counts):,} different tokens")
        if numbered:
            fitting(seen.num_classes, int(max(counts)) + 1, f"the highest token of column {column.name!r} is {max(counts):g}")
        first = replace(first, start=math.log(seen.num_classes))
    facts = [
        Fact("tokens", total, f"{total:,} tokens in {len(rows):,} rows"),
        Fact("vocabulary", len(counts), f"{len(counts):,} different tokens occur{seen_most}"),
    ]
    if first.constant is not None:
        facts.append(
            Fact(
                "unigram",
                first.constant,
                f"answering by frequency alone costs {first.constant:.4g}, a perplexity of {math.exp(first.constant):.4g}",
            )
        )
    return seen.advice(first, [_fused(_told(seen))], [], facts, warnings)


def _plain(reason: str, facts: dict[str, object]) -> Candidate:
    return candidate("cross_entropy", reason, shapes=SHIFTED, arguments=["logits[:, :-1]", "tokens[:, 1:]"], facts=facts)


def _fused(told: dict[str, object]) -> Candidate:
    return candidate(
        "linear_cross_entropy",
        "The same value from the hidden states and the head: first, where you have them.",
        shapes="hidden (B, T, D): what goes into the head; head (V, D): its weight; tokens (B, T)",
        arguments=["hidden[:, :-1]", "head", "tokens[:, 1:]"],
        facts=told,
    )


def _teacher() -> Candidate:
    return candidate(
        "kl_div_loss",
        "Where a teacher's scores are there as well.",
        shapes="logits and teacher (B, T, V): scores before any softmax, of the same positions",
        arguments=["logits", "teacher"],
        facts={},
    )
