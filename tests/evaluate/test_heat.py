"""Heat text says of each token what is known, and is the text; numbers and foreign text as people read them."""

from __future__ import annotations

import math

import pytest

from evaluate_helpers_html import TEXT, token, tokens
from losskit.evaluate.page.heat import heat
from losskit.evaluate.page.wording import figure, percent, visible


def test_a_token_is_shaded_by_its_nats() -> None:
    nats = [0.0, 0.99, 1.0, 11.5, 12.0, 400.0, math.inf, math.nan, None]
    names = [shade.name for shade in heat("d", [token("a", n, 1, 1.0, "a") for n in nats]).shades]
    assert names == ["h0", "h0", "h1", "h11", "h12", "h12", "hx", "hx", "u"]


def test_the_heat_text_is_the_text() -> None:
    shown = heat("d", tokens())
    assert "".join(piece for shade in shown.shades for _, piece in shade.pieces) == TEXT
    scored = [one.nats for one in tokens() if one.nats is not None]
    assert f"perplexity {figure(math.exp(math.fsum(scored) / len(scored)))}" in shown.summary


def test_newlines_tabs_and_stray_blanks_carry_a_sign() -> None:
    (shade,) = heat("d", [token(" a b  c\t\n ", 1.0, 1, 1.0, "")]).shades
    assert shade.pieces == [("", " a b"), ("s", " "), ("s", " "), ("", "c"), ("t", "\t"), ("n", "\n"), ("s", " ")]


def test_a_title_tells_what_is_known_of_a_token() -> None:
    shades = heat(
        "d",
        [token("\n", 7.3124, 214, 3.1, " the"), token("a", 0.1, 1, None, "a"), token("", None, None, None, "")],
    )
    first, second, third = shades.shades
    assert first.title == "“↵”: 7.312 nats, rank 214, entropy 3.10 nats; likeliest “ the”"
    assert second.title == "“a”: 0.100 nats, rank 1"
    assert third.title == "“”: not scored, nothing comes before it"
    assert third.name == "u e"


def test_a_long_document_is_cut_and_says_so() -> None:
    shown = heat("d", [token("a", 1.0, 1, 1.0, "a")] * 5000)
    assert len(shown.shades) == 4000
    assert shown.summary.startswith("5,000 tokens, 5,000 scored")
    assert shown.summary.endswith("the first 4,000 are shown")


def test_what_cannot_be_seen_or_would_turn_other_text_is_spelled() -> None:
    assert visible("a\x00\x1b\r\n\tb") == "a␀␛␍\n\tb"
    assert visible("\u202eabc\u200b\ud800\x85") == "⟨202E⟩abc⟨200B⟩\ufffd⟨0085⟩"
    assert visible("नम\u200dस् 👩\u200d💻\u00a0\u3000猫") == "नम\u200dस् 👩\u200d💻\u00a0\u3000猫"


@pytest.mark.parametrize(
    ("value", "text"),
    [(8.7114, "8.711"), (16.444, "16.44"), (12345.67, "12,345.7"), (0.0025034, "0.002503"), (3.5e12, "3.500 × 10¹²"),
     (2e-7, "2.000 × 10⁻⁷"), (0.0, "0.000"), (math.inf, "inf"), (math.nan, "not a number"), (None, "–")],
)  # fmt: skip
def test_a_figure_has_four_digits_at_any_size(value: float | None, text: str) -> None:
    assert figure(value) == text


def test_a_share_is_not_rounded_up_to_the_whole() -> None:
    assert [percent(x) for x in (1.0, 0.999999, 0.5, 1e-9, 0.0)] == [f"{t}\u00a0%" for t in ("100", "99.99", "50", "0.01", "0")]
