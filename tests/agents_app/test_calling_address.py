from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_app import calling_address
from agents_app.clients.outgoing import target
from errors_app.taxonomy import ErrorClass, HandlerError

URL = "https://example.com:8443/a/{region}/b?fixed=1"


def test_parameters_stand_encoded_in_the_path_and_the_others_are_left() -> None:
    url, left = calling_address.filled(URL, {"region": "é u?#&%", "size": 3})

    assert url == "https://example.com:8443/a/%C3%A9%20u%3F%23%26%25/b?fixed=1"
    assert left == {"size": 3}


@pytest.mark.parametrize(
    "value",
    ["..", ".", "", "a/b", "../../admin", "a\\b", "a\nHost: evil", None, [], {}, "x" * 2_000],
)
def test_a_value_that_would_lead_elsewhere_is_refused(value: Any) -> None:
    with pytest.raises(HandlerError, match="cannot be called with these parameters") as caught:
        calling_address.filled("https://example.com/a/{region}/b", {"region": value})

    assert caught.value.error_class is ErrorClass.PERMANENT


def test_two_values_do_not_make_a_step_up_together() -> None:
    with pytest.raises(HandlerError, match="would become"):
        calling_address.filled("https://example.com/{a}{b}/c", {"a": ".", "b": "."})


def test_a_parameter_of_the_path_that_is_missing_is_named() -> None:
    with pytest.raises(HandlerError, match="'region' must be a text or a number"):
        calling_address.filled(URL, {})


@given(st.text(max_size=40) | st.integers() | st.booleans() | st.floats(allow_nan=False))
def test_no_value_changes_where_a_call_goes(value: Any) -> None:
    try:
        url, _ = calling_address.filled(URL, {"region": value})
    except HandlerError:
        return

    at = target(url)
    assert at.origin == ("https", "example.com", 8443)
    assert urlsplit(at.url).query == "fixed=1"
    segments = urlsplit(at.url).path.split("/")
    assert (len(segments), segments[1], segments[3]) == (4, "a", "b")


@pytest.mark.parametrize(
    "url",
    [
        "https://{host}/a",
        "https://example.com/?q={q}",
        "https://example.com/{a b}",
        "https://example.com/{a",
        "https://{a}/{a}",
        "https://user:word@example.com/",
        "https://example.com/#x",
        "ftp://example.com/",
        "/a",
    ],
)
def test_an_address_that_a_parameter_could_move_is_not_registered(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        calling_address.checked(url)


def test_the_parameters_of_a_url_are_known_once_each() -> None:
    assert calling_address.names("https://example.com/{b}/{a}/{b}") == ("b", "a")


def test_a_breaker_belongs_to_the_address_and_not_to_the_values() -> None:
    key = calling_address.breaker_key("https://Example.com/a/{region}?x=1")

    assert key == "https://example.com:443/a/{region}"
