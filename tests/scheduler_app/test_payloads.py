"""Bodies that webhooks bring: what is no JSON object, and what would break what comes after."""

from __future__ import annotations

import json

import pytest

from scheduler_app.sources import payloads
from scheduler_app.sources.payloads import UnusablePayload

DEEPEST = payloads.MOST_DEPTH


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"a":1} x',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":9223372036854775808}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":"\\u0000"}',
        b'{"\\u0000":1}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        nested(DEEPEST),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 40_000,
        b"[" * 200_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_cannot_be_kept_is_refused(body: bytes) -> None:
    with pytest.raises(UnusablePayload):
        payloads.parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b' {"a": [1, 2.5, true, null, "\\u00e4"]}\n',
        b'{"a":9223372036854775807}',
        b'{"a":{"b":1},"b":{"b":2}}',
        nested(DEEPEST - 1),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_object_is_read_as_it_was_written(body: bytes) -> None:
    assert payloads.parse(body) == json.loads(body)


def test_what_looks_like_a_secret_is_not_kept() -> None:
    kept = payloads.kept({"user": "ada", "password": "hunter2", "text": "Bearer abcdefgh12345678"})

    assert kept == {"user": "ada", "password": "[scrubbed]", "text": "Bearer [scrubbed]"}


def test_a_payload_of_the_largest_size_is_kept_whole() -> None:
    event = {"a": ["\N{SNOWMAN}" * 10] * 5_000}

    assert len(json.dumps(event, ensure_ascii=False).encode()) <= payloads.MOST_BYTES
    assert payloads.kept(event) == event
