from __future__ import annotations

import errno
import json

import pytest

from errors_app import taxonomy
from errors_app.taxonomy import (
    Cancelled,
    Classified,
    DeadlineExceeded,
    ErrorClass,
    HandlerError,
    JobExecutionError,
    LeaseLost,
    Severity,
    classify,
)
from executions_app.states import SchedulerException


class _WithoutMessage(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def _caught(error: BaseException) -> Classified:
    with pytest.raises(type(error)) as caught:
        raise error
    return classify(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (HandlerError("no", error_class=ErrorClass.MALFORMED), ErrorClass.MALFORMED),
        (DeadlineExceeded("late"), ErrorClass.TIMEOUT),
        (LeaseLost("gone"), ErrorClass.LOST),
        (MemoryError(), ErrorClass.RESOURCE),
        (RecursionError(), ErrorClass.RESOURCE),
        (OSError(errno.ENOSPC, "No space left on device"), ErrorClass.RESOURCE),
        (SystemExit(0), ErrorClass.PERMANENT),
        (TimeoutError(), ErrorClass.TIMEOUT),
        (ConnectionResetError(), ErrorClass.TRANSIENT),
        (OSError("disk"), ErrorClass.TRANSIENT),
        (json.JSONDecodeError("bad", "{", 0), ErrorClass.MALFORMED),
        (ZeroDivisionError(), ErrorClass.UNKNOWN),
        (_WithoutMessage(), ErrorClass.UNKNOWN),
    ],
)
def test_every_error_has_a_class_of_the_closed_list(
    error: BaseException, expected: ErrorClass
) -> None:
    assert _caught(error).error_class is expected


def test_every_class_has_a_severity_and_permanent_ones_are_not_retried() -> None:
    assert set(taxonomy.SEVERITY) == set(ErrorClass)
    assert set(taxonomy.RETRYABLE) == {ErrorClass.TRANSIENT, ErrorClass.TIMEOUT, ErrorClass.LOST}
    assert _caught(HandlerError("x", error_class=ErrorClass.PERMANENT)).severity is Severity.HIGH


def test_one_base_class_catches_what_is_raised_on_purpose() -> None:
    for raised in (HandlerError, DeadlineExceeded, LeaseLost, JobExecutionError, Cancelled):
        assert issubclass(raised, SchedulerException)


def test_sys_exit_says_what_to_do_instead() -> None:
    assert "sys.exit()" in _caught(SystemExit("bye")).message


def test_what_a_raiser_knows_is_kept_without_its_secrets() -> None:
    error = HandlerError(
        "Calling https://me:hunter2@host/ failed, token=abc123",
        error_class=ErrorClass.TRANSIENT,
        retry_after=12.5,
        status=503,
        api_key="abc123",
        nothing="a\x00b",
    )

    found = _caught(error)

    assert found.retry_after == 12.5
    assert found.context == {"status": 503, "api_key": "[scrubbed]", "nothing": "a\ufffdb"}
    assert "hunter2" not in found.message + found.stack
    assert "abc123" not in found.message + found.stack


def test_message_and_stack_are_bounded_and_storable() -> None:
    error = ValueError("\x00\udcff" + "long " * 100_000)

    found = _caught(error)

    assert len(found.message) <= taxonomy.MOST_MESSAGE
    assert len(found.stack.encode()) <= taxonomy.MOST_STACK
    assert "\x00" not in found.message + found.stack
    assert found.stack.startswith("Traceback")


def test_a_recursion_without_end_leaves_a_short_stack() -> None:
    def endless(depth: int) -> int:
        return endless(depth + 1) + 1

    with pytest.raises(RecursionError) as caught:
        endless(0)

    assert 0 < len(classify(caught.value).stack) <= taxonomy.MOST_STACK


def _refuse(message: str) -> None:
    raise HandlerError(message, error_class=ErrorClass.TRANSIENT)


def _fingerprint(message: str) -> str:
    with pytest.raises(HandlerError) as caught:
        _refuse(message)
    return classify(caught.value).fingerprint


def test_errors_that_differ_only_in_numbers_and_ids_share_a_fingerprint() -> None:
    first = _fingerprint(
        "Order 17 of 3b241101-e2bb-4255-8caf-4136c566a962 at 0x7f3a took 1.5 s (deadbeef01)"
    )
    second = _fingerprint(
        "Order 4 of 9c5b94b1-35ad-49bb-b118-8e8fc24abf80 at 0xbeef took 20 s (cafe012345)"
    )

    assert first == second
    assert first != _fingerprint("Order 17 was refused")


def test_errors_of_another_place_have_another_fingerprint() -> None:
    here = _caught(HandlerError("same", error_class=ErrorClass.TRANSIENT)).fingerprint

    assert here != _fingerprint("same")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no order 'order-abcxyz' here", "no order 'order-qwerty' here"),
        ('no order "abc" here', 'no order "xyz" here'),
        ("no column `a`", "no column `b`"),
        ("unknown mail ann@example.com", "unknown mail bob.b+x@mail.example.org"),
        ("cannot read /srv/in/a.csv", "cannot read /srv/in/2026/b.csv"),
        ("token q8Fh2kLm9PzX expired", "token Zt5RbN71wQaa expired"),
        ("locked by 3MtwBwLkdIwHu7ix28a3tqPa", "locked by 1AbcBwLkdIwHu7ix28a3tqPa"),
    ],
)
def test_errors_that_differ_only_in_what_they_are_about_share_a_fingerprint(
    one: str, other: str
) -> None:
    assert _fingerprint(one) == _fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it doesn't open, it can't", "it doesn't close, it can't"),
        ("http://host/orders is gone", "http://host/items is gone"),
        ("read or write", "read and write"),
        ("ConnectionResetByPeerError", "ConnectionRefusedByPeerError"),
    ],
)
def test_errors_that_differ_in_plain_words_do_not(one: str, other: str) -> None:
    assert _fingerprint(one) != _fingerprint(other)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_space_needs_a_person_at_once(number: int) -> None:
    found = _caught(OSError(number, "No space left"))

    assert (found.error_class, found.severity) == (ErrorClass.RESOURCE, Severity.CRITICAL)


def test_nothing_else_is_critical_by_itself() -> None:
    others = [MemoryError(), OSError(errno.EMFILE, "too many"), SystemExit(1), ValueError("x")]

    assert Severity.CRITICAL not in {_caught(one).severity for one in others}
    assert Severity.CRITICAL not in taxonomy.SEVERITY.values()
