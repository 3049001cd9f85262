"""Small tokenizers of every family, trained on the spot, as transformers has them."""

from __future__ import annotations

import json
from functools import cache
from pydoc_data.topics import topics
from typing import Literal

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

__all__ = ["KINDS", "MULTIBYTE", "TEXTS", "Kind", "raw", "tokenizer"]

Kind = Literal["bpe", "unigram", "wordpiece", "byte"]
KINDS: tuple[Kind, ...] = ("bpe", "unigram", "wordpiece", "byte")
MULTIBYTE = "Grüße aus Köln, «déjà vu» naïve façade; 日本語の文章 世界; Привет мир; 🙂🙃 ½ ﬁne\n"
TEXTS = (*(topics[name][:2000] for name in ("for", "while", "assert")), MULTIBYTE * 8)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _bpe(special: list[str], size: int) -> Tokenizer:
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=sorted(alphabet), show_progress=False)
    found.train_from_iterator(TEXTS, trainer)
    return found


def _unigram(special: list[str]) -> Tokenizer:
    """As SentencePiece makes them: NFKC, a blank before the first word, and bytes for what is in no piece."""
    found = Tokenizer(models.Unigram())
    found.normalizer = normalizers.NFKC()
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    found.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=["<unk>", *special, *BYTES], unk_token="<unk>", show_progress=False
    )
    found.train_from_iterator(TEXTS, trainer)
    whole = json.loads(found.to_str())
    whole["model"]["byte_fallback"] = True  # the trainer has no such option
    whole["added_tokens"] = [each for each in whole["added_tokens"] if each["content"] not in BYTES]  # pieces, not special tokens
    return Tokenizer.from_str(json.dumps(whole))


def _wordpiece(special: list[str]) -> Tokenizer:
    """Lossy: lower case, no accents, no blanks, [UNK]."""
    found = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", *special], show_progress=False)
    found.train_from_iterator(TEXTS[:-1], trainer)
    return found


def raw(kind: Kind, *, bos: bool = False, eos: bool = False, adds: bool | None = None, trim: bool = False) -> Tokenizer:
    """A fresh ``tokenizers.Tokenizer``; ``adds``: a post-processor puts those tokens around a text (by default those it has).

    ``trim``: it also trims blanks off the offsets, as that of byte-level tokenizers does by default.
    """
    special = ["<s>"] * bos + ["</s>"] * eos
    if kind in ("bpe", "byte"):
        found = _bpe(special, 400 if kind == "bpe" else 256 + len(special))
    else:
        found = _unigram(special) if kind == "unigram" else _wordpiece(special)
    steps: list[object] = [processors.ByteLevel(trim_offsets=True)] if trim else []
    if special and adds is not False:
        template = " ".join(["<s>"] * bos + ["$A"] + ["</s>"] * eos)
        steps.append(
            processors.TemplateProcessing(single=template, special_tokens=[(each, found.token_to_id(each)) for each in special])
        )
    if steps:
        found.post_processor = processors.Sequence(steps)
    return found


@cache
def tokenizer(
    kind: Kind,
    *,
    bos: bool,
    eos: bool = False,
    adds: bool | None = None,
    trim: bool = False,
    padding_side: Literal["left", "right"] = "right",
    model_max_length: int | None = None,
) -> PreTrainedTokenizerFast:
    """As transformers wraps it, without a padding token; shared, so leave it as it is (``copy.deepcopy`` one to change)."""
    named = {"bos_token": "<s>"} if bos else {}
    named |= {"eos_token": "</s>"} if eos else {}
    named |= {"unk_token": "<unk>"} if kind == "unigram" else {"unk_token": "[UNK]"} if kind == "wordpiece" else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=raw(kind, bos=bos, eos=eos, adds=adds, trim=trim),
        padding_side=padding_side,
        **({} if model_max_length is None else {"model_max_length": model_max_length}),
        **named,
    )
