from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions_app import scrub

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=200)
    | st.binary(max_size=200),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(max_size=100) | st.integers(), inner, max_size=20)
    ),
    max_leaves=100,
)


def stored(value: object, *, max_bytes: int) -> tuple[object, bool]:
    """The value as it is read back, and whether it was cut."""
    text, is_truncated = scrub.storable_json(value, max_bytes=max_bytes)
    return json.loads(text), is_truncated


@given(ANYTHING, st.integers(64, 2_000))
def test_whatever_is_stored_is_plain_json_within_its_bound(value: object, max_bytes: int) -> None:
    kept, _ = stored(value, max_bytes=max_bytes)

    text = json.dumps(kept, ensure_ascii=False, allow_nan=False)

    assert len(text.encode()) <= max_bytes
    assert "\\u0000" not in text


def test_what_fits_is_kept_as_it_is() -> None:
    value = {"a": [1, 2.5, True, None, "é 😀"], "b": {"c": ""}, "big": 10**30}

    assert stored(value, max_bytes=1_000) == (value, False)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("a\x00b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        ({2, 1}, [1, 2]),
        ((1, 2), [1, 2]),
        ({1: "one"}, {"1": "one"}),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (object(), "[object]"),
        pytest.param(10**5000, "[integer of 16610 bits]", id="a huge integer"),
    ],
)
def test_what_json_or_postgresql_refuses_becomes_what_they_take(
    value: object, kept: object
) -> None:
    assert stored(value, max_bytes=1_000) == (kept, False)


def test_a_long_text_keeps_its_beginning_and_is_marked() -> None:
    kept, is_truncated = stored({"status": 200, "body": "x" * 10_000}, max_bytes=500)

    assert is_truncated
    assert isinstance(kept, dict)
    assert kept["status"] == 200
    assert str(kept["body"]).startswith("xxx")


def test_a_long_list_loses_its_end_and_is_marked() -> None:
    kept, is_truncated = stored(list(range(100_000)), max_bytes=500)

    assert is_truncated
    assert isinstance(kept, list)
    assert kept == list(range(len(kept)))


def test_a_value_that_contains_itself_comes_to_an_end() -> None:
    value: list[object] = []
    value += [value, value]

    _, is_truncated = stored(value, max_bytes=10_000)

    assert is_truncated


def test_a_deeply_nested_value_is_cut() -> None:
    value: object = "bottom"
    for _ in range(10_000):
        value = [value]

    kept, is_truncated = stored(value, max_bytes=10_000)

    assert is_truncated
    assert json.dumps(kept).count("[") < 100


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer HIDDEN",
        "{'Authorization': 'Basic HIDDEN'}",
        '"authorization": "HIDDEN"',
        "Cookie: session=HIDDEN; other=HIDDEN",
        "postgresql://cadenza:HIDDEN@db/cadenza",
        "https://HIDDEN@host/path",
        "GET /?api_key=HIDDEN&x=1",
        "GET /?access_token=HIDDEN",
        'my_password = "HIDDEN"',
        '{\\"client_secret\\": \\"HIDDEN\\"}',
        "OPENAI_API_KEY=HIDDEN",
        "bearer HIDDENHIDDEN",
        "-----BEGIN RSA PRIVATE KEY-----\nHIDDEN\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_secrets_are_scrubbed_from_texts(text: str) -> None:
    assert "HIDDEN" not in scrub.scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "password authentication failed for user 'cadenza'",
        "max_tokens: 4096",
        "see https://example.com/a?b=c",
        "the cookie jar is empty",
    ],
)
def test_ordinary_texts_stay_as_they_are(text: str) -> None:
    assert scrub.scrub(text) == text


@pytest.mark.parametrize("piece", ["a", "a-", "=", "secret", "://a", '"', " ", "cookie: "])
def test_scrubbing_takes_time_in_proportion_to_the_text(piece: str) -> None:
    # A pattern that backtracks would need minutes for this.
    text = piece * (64 * 1024 // len(piece))

    assert len(scrub.scrub(text)) <= 16 * len(text)


def test_secrets_under_telling_keys_are_scrubbed_and_the_rest_is_kept() -> None:
    value = {"headers": {"X-Api-Key": "abc", "Accept": "x"}, "url": "http://u:p@h/"}

    kept, _ = scrub.storable_without_secrets(value, max_bytes=1_000)

    assert kept == {
        "headers": {"X-Api-Key": "[scrubbed]", "Accept": "x"},
        "url": "http://[scrubbed]@h/",
    }
