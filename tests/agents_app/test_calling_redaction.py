from __future__ import annotations

import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_app.calling_redaction import SHORTEST, Redaction

SECRET = 's3cr3t/w+rd "of" <some> & body_é'


@pytest.mark.parametrize(
    "spell",
    [
        str,
        quote,
        quote_plus,
        lambda text: quote(text, safe="").lower(),
        html.escape,
        lambda text: json.dumps(text)[1:-1],
        lambda text: text.replace("/", "\\/"),
    ],
)
def test_a_secret_is_found_however_it_is_spelled(spell: Callable[[str], str]) -> None:
    assert Redaction([SECRET]).text(f"a {spell(SECRET)} b") == "a [scrubbed] b"


def test_a_secret_is_found_in_names_texts_and_numbers() -> None:
    redaction = Redaction(["12345678", "word-of-mine"])

    found = redaction.value({"word-of-mine": [12345678, {"a": "x word-of-mine"}, 1234, None]})

    assert found == {"[scrubbed]": ["[scrubbed]", {"a": "x [scrubbed]"}, 1234, None]}


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60),
    st.integers(0, 80),
)
def test_no_beginning_of_a_secret_is_left_at_a_cut(secret: str, cut: int) -> None:
    text = ("\N{WHITE SQUARE}" * 40 + quote(secret) * 2)[: 40 + cut]

    kept = Redaction([secret]).cut_text(text)

    assert secret[:SHORTEST] not in kept.replace("[scrubbed]", "")
    assert quote(secret)[: 3 * SHORTEST] not in kept.replace("[scrubbed]", "")


def test_what_is_too_short_is_left_alone() -> None:
    assert Redaction(["abc", ""]).text("abcabc") == "abcabc"
