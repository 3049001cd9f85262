"""Nothing is added to the tokens of a text, whatever the tokenizer does by itself, and the tokenizer is left as it was."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable

import pytest
from tokenizers import ByteLevelBPETokenizer, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from evaluate_helpers_hosts import TANGLED, adapted, pieces
from evaluate_tokenizers import KINDS, MULTIBYTE, TEXTS, Kind, raw, tokenizer
from losskit.demos.tokens import learn
from losskit.evaluate.text.tokens import Encoded, Tokenizer, prefix

# nothing added, nothing cut, nothing changed


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_never_added(kind: Kind) -> None:
    plain = Tokenizer(tokenizer(kind, bos=True, eos=True, adds=False))
    adding = Tokenizer(tokenizer(kind, bos=True, eos=True))
    ids = plain.encode("for a").ids
    assert adding.encode("for a").ids == ids
    assert adding.encode_default("for a") == [adding.bos, *ids, adding.eos]
    assert plain.encode_default("for a") == ids
    assert (adding.adds_special(), plain.adds_special()) == (True, False)


def test_a_special_string_in_a_text_is_the_token_that_it_names() -> None:
    tokens = adapted("fast-bpe-bos")
    assert tokens.encode("a<s>").ids[-1] == tokens.bos
    assert pieces("fast-bpe-bos", "a<s>b") == ["a", "<s>", "b"]


def test_a_host_that_splits_special_strings_still_does() -> None:
    host = copy.deepcopy(tokenizer("bpe", bos=True))
    host.split_special_tokens = True
    tokens = Tokenizer(host)
    host.backend_tokenizer.encode_special_tokens = False  # as someone else may have left it
    assert tokens.bos not in tokens.encode("a<s>").ids
    assert not host.backend_tokenizer.encode_special_tokens
    assert tokens.fingerprint != Tokenizer(tokenizer("bpe", bos=True)).fingerprint


@pytest.mark.parametrize("wrap", [lambda host: host, lambda host: PreTrainedTokenizerFast(tokenizer_object=host)])
def test_truncation_padding_and_template_of_the_host_have_no_effect_and_stay(wrap: Callable[[RustTokenizer], object]) -> None:
    rust = raw("bpe", bos=True, trim=True)
    expected = Tokenizer(copy.deepcopy(rust))
    host = wrap(rust)
    backend = getattr(host, "backend_tokenizer", host)
    backend.enable_truncation(3, stride=1, strategy="only_first", direction="left")
    backend.enable_padding(length=50, pad_id=7, pad_token="x", direction="left", pad_to_multiple_of=8)
    before = backend.to_str()
    tokens = Tokenizer(host)
    text = MULTIBYTE * 3
    assert tokens.encode(text) == expected.encode(text)
    assert tokens.encode_default(text) == expected.encode_default(text)
    assert tokens.fingerprint == expected.fingerprint
    assert backend.to_str() == before


def test_the_host_is_put_back_after_an_error() -> None:
    host = raw("bpe", bos=True)
    host.enable_truncation(3)
    tokens, before = Tokenizer(host), host.to_str()
    with pytest.raises(TypeError):
        tokens._host.encode(b"bytes")  # what the host itself refuses
    assert host.to_str() == before


def test_sampling_is_off_and_put_back() -> None:
    host = RustTokenizer(models.BPE(dropout=0.5))
    host.pre_tokenizer = pre_tokenizers.Whitespace()
    host.train_from_iterator(["hello hello"] * 9, trainers.BpeTrainer(vocab_size=60, show_progress=False))
    tokens = Tokenizer(host)
    assert len(tokens.encode("hello hello").ids) == 2
    assert host.model.dropout == 0.5


def test_a_text_longer_than_the_model_gives_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    host = tokenizer("bpe", bos=True, model_max_length=4)
    logging.getLogger("transformers").propagate = True
    try:
        tokens = Tokenizer(host)
        assert len(tokens.encode("for a " * 20).ids) > 4
        assert len(tokens.encode_default("for a " * 20)) > 4
        assert not caplog.records
    finally:
        logging.getLogger("transformers").propagate = False


def test_padding_side_and_a_missing_pad_token_do_not_matter() -> None:
    left, right = (Tokenizer(tokenizer("bpe", bos=True, padding_side=side)) for side in ("left", "right"))
    assert left.encode(TANGLED) == right.encode(TANGLED)


# hosts


def test_a_slow_tokenizer_has_ids_without_ends() -> None:
    tokens = Tokenizer(ByT5Tokenizer())
    ids, found = tokens.encode("é a")
    assert (len(ids), found) == (len("é a".encode()), None)
    assert tokens.encode_default("é a") == [*ids, tokens.eos]
    assert tokens.adds_special()
    assert tokens.text_of(ids) == "é a"
    assert tokens.vocabulary == len(ByT5Tokenizer())


def test_implementations_of_the_tokenizers_library_are_unwrapped() -> None:
    host = ByteLevelBPETokenizer()
    host.train_from_iterator(TEXTS, vocab_size=300, show_progress=False)
    tokens = Tokenizer(host)
    assert tokens.encode("for").ends == [*range(1, len(tokens.encode("for").ids)), 3]
    assert tokens.text_of(tokens.encode(TANGLED).ids) == TANGLED


def test_the_tokenizer_of_the_demos_has_exact_ends_and_its_start_is_bos() -> None:
    host = learn([text.encode() for text in TEXTS], 400)
    tokens = Tokenizer(host)
    assert (tokens.bos, tokens.vocabulary) == (host.start, len(host.pieces))
    assert tokens.lossy(TANGLED) is None
    assert "".join(pieces("demos", TANGLED)) == TANGLED


class Characters:
    """A table of characters, as tutorials have it, that puts BOS before a text by itself."""

    bos_id = 0

    def encode(self, text: str) -> list[int]:
        return [0, *(" ab".index(each) + 1 for each in text)]

    def decode(self, ids: list[int]) -> str:
        return "".join(" ab"[each - 1] for each in ids if each)


def test_any_object_that_encodes_is_a_tokenizer() -> None:
    tokens = Tokenizer(Characters())
    assert tokens.encode("ab a") == Encoded([2, 3, 1, 2], None)
    assert tokens.encode_default("ab") == [0, 2, 3]
    assert (tokens.bos, tokens.eos, tokens.vocabulary, tokens.adds_special(), tokens.name) == (0, None, None, True, "Characters")
    assert tokens.lossy("ab") is None
    assert re.fullmatch("[0-9a-f]{64}", tokens.fingerprint)


class Encoding:
    """The surface of tiktoken, over bytes."""

    name, n_vocab, eot_token = "bytes", 257, 256

    def encode_ordinary(self, text: str) -> list[int]:
        return list(text.encode())

    def encode(self, text: str, *, allowed_special: str = "") -> list[int]:
        if "<|endoftext|>" in text and allowed_special != "all":
            raise ValueError("disallowed special token")
        first, *rest = text.split("<|endoftext|>")
        return [*first.encode(), *(each for part in rest for each in (256, *part.encode()))]

    def decode_tokens_bytes(self, ids: list[int]) -> list[bytes]:
        return [bytes([each]) if each < 256 else b"<|endoftext|>" for each in ids]

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.decode_tokens_bytes(ids)).decode()


def test_tiktoken_has_exact_ends_and_special_strings() -> None:
    tokens = Tokenizer(Encoding())
    assert tokens.encode("é<|endoftext|>") == Encoded([0xC3, 0xA9, 256], [0, 1, 14])
    assert (tokens.bos, tokens.eos, tokens.vocabulary, tokens.name) == (None, 256, 257, "bytes")


@pytest.mark.parametrize("host", ["gpt2", object(), None])
def test_what_is_no_tokenizer_is_named(host: object) -> None:
    with pytest.raises(TypeError, match=rf'"tokenizer" is a {type(host).__name__}, expected a tokenizer'):
        Tokenizer(host)


def test_a_host_that_gives_no_ids_is_named() -> None:
    class Words:
        def encode(self, text: str) -> list[str]:
            return text.split()

    with pytest.raises(TypeError, match="encodes text as str, expected token ids"):
        Tokenizer(Words()).encode("a b")


# names and numbers


def test_names_of_special_tokens_come_from_the_host_or_else_from_its_template() -> None:
    for host in (tokenizer("unigram", bos=True, eos=True), raw("unigram", bos=True, eos=True)):
        tokens = Tokenizer(host)
        assert [tokens.unknown, tokens.bos, tokens.eos] == [0, 1, 2]
        assert tokens.vocabulary == 600
    for host in (tokenizer("bpe", bos=False), raw("bpe")):
        tokens = Tokenizer(host)
        assert [tokens.unknown, tokens.bos, tokens.eos] == [None, None, None]
    assert Tokenizer(raw("wordpiece")).unknown == 0


def test_a_fingerprint_is_of_the_ids_that_texts_get_and_of_nothing_else() -> None:
    same = {Tokenizer(host).fingerprint for host in (tokenizer("bpe", bos=True), raw("bpe", bos=True, adds=False, trim=True))}
    others = {Tokenizer(tokenizer(kind, bos=bos)).fingerprint for kind in KINDS for bos in (False, True)}
    assert len(same) == 1
    assert len(others) == 2 * len(KINDS)
    assert same < others
    assert Tokenizer(ByT5Tokenizer()).fingerprint == Tokenizer(ByT5Tokenizer()).fingerprint


def test_lost_text_is_said_in_one_sentence() -> None:
    words = adapted("fast-wordpiece")
    assert words.lossy("for a") is None
    assert words.lossy("for 龘") == "1 of 2 tokens are unknown to the tokenizer, so bits per byte are flattered"
    lost = "the tokenizer does not give the text back ('É' at character 4 became 'e'), so bits per byte may be flattered"
    assert words.lossy("for É") == lost
    assert adapted("fast-unigram").lossy("½ is") is not None
    assert adapted("fast-unigram").lossy("for 龘 🙃") is None
    assert all(adapted(name).lossy(TANGLED) is None for name in ("fast-bpe", "fast-byte", "fast-bpe-bos", "rust-byte", "demos"))


def test_a_lone_surrogate_is_named() -> None:
    with pytest.raises(ValueError, match=r"\"text\" has '\\ud83d' at character 2, half of a surrogate pair"):
        adapted("fast-bpe").encode("ab\ud83d")


# the token before the text


def test_auto_takes_bos_in_every_window_and_none_where_there_is_none() -> None:
    assert prefix("auto", adapted("fast-unigram-bos")) == (1, "every")
    assert prefix("auto", adapted("fast-bpe")) == (None, "none")
    assert prefix("auto", None) == (None, "none")


def test_policies_are_what_they_say() -> None:
    tokens = adapted("fast-unigram-bos")
    assert prefix("every", tokens) == (1, "every")
    assert prefix("first", tokens) == (1, "first")
    assert prefix("eos", tokens) == (2, "every")
    assert prefix("none", tokens) == (None, "none")
    assert prefix(5, tokens) == prefix("5", tokens) == prefix(5, None) == (5, "every")


@pytest.mark.parametrize(
    ("bos", "message"),
    [
        ("every", '"bos" is "every", but the tokenizer "TokenizersBackend" has no such token'),
        ("first", "has no such token"),
        ("eos", "has no such token"),
        ("always", "\"bos\" is 'always', expected 'auto', 'every', 'first', 'none', 'eos' or a token id"),
        (-1, r'"bos" is -1, expected a token id in \[0, 400\)'),
        (400, "expected a token id"),
        (True, '"bos" is True'),
    ],
)
def test_a_policy_without_its_token_is_refused(bos: str | int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prefix(bos, adapted("fast-bpe"))


def test_a_policy_needs_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="there is no tokenizer: pass the id"):
        prefix("every", None)
