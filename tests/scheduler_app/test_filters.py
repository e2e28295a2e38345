"""Which events a filter admits: a table of every comparison, and what no filter may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from scheduler_app.sources import filters
from scheduler_app.sources.filters import Filter

ORDER = {
    "kind": "order",
    "amount": 120,
    "paid": True,
    "note": None,
    "rate": 1.5,
    "customer": {"name": "Ada", "tags": ["new", "vip"]},
    "items": [{"sku": "A-1", "count": 2}, {"sku": "B-2", "count": 0}],
    "7": "a name of digits",
}
adapter: TypeAdapter[Any] = TypeAdapter(Filter)


def admits(words: dict[str, Any], event: dict[str, Any] = ORDER) -> bool:
    return filters.matches(adapter.validate_python(words), event)


@pytest.mark.parametrize(
    ("path", "condition", "admitted"),
    [
        ("kind", {"eq": "order"}, True),
        ("kind", {"eq": "Order"}, False),
        ("kind", {"ne": "refund"}, True),
        ("kind", {"ne": "order"}, False),
        ("kind", {"in": ["refund", "order"]}, True),
        ("kind", {"in": ["refund"]}, False),
        ("amount", {"eq": 120.0}, True),
        ("amount", {"eq": "120"}, False),
        ("amount", {"gt": 119}, True),
        ("amount", {"gt": 120}, False),
        ("amount", {"gte": 120}, True),
        ("amount", {"lt": 120.5}, True),
        ("amount", {"lt": 120}, False),
        ("amount", {"lte": 120}, True),
        ("amount", {"gte": 100, "lt": 200}, True),
        ("amount", {"gte": 100, "lt": 110}, False),
        ("amount", {"gt": "1"}, False),
        ("kind", {"gt": 1}, False),
        ("kind", {"gte": "o", "lt": "p"}, True),
        ("paid", {"eq": True}, True),
        ("paid", {"eq": 1}, False),
        ("paid", {"gte": 0}, False),
        ("amount", {"in": [True, 120]}, True),
        ("note", {"eq": None}, True),
        ("note", {"exists": True}, True),
        ("note", {"gt": 0}, False),
        ("missing", {"exists": False}, True),
        ("missing", {"exists": True}, False),
        ("missing", {"eq": None}, False),
        ("missing", {"ne": 1}, False),
        ("missing", {"exists": False, "ne": 1}, False),
        ("kind", {"exists": False}, False),
        ("customer.name", {"eq": "Ada"}, True),
        ("customer.name.first", {"exists": False}, True),
        ("customer", {"eq": {"tags": ["new", "vip"], "name": "Ada"}}, True),
        ("customer.tags.1", {"eq": "vip"}, True),
        ("customer.tags.2", {"exists": True}, False),
        ("customer.tags.-1", {"exists": True}, False),
        ("customer.tags.99999999999999999999", {"exists": True}, False),
        ("customer.tags", {"eq": ["new", "vip"]}, True),
        ("items.0.count", {"gte": 1}, True),
        ("items.1.count", {"gte": 1}, False),
        ("7", {"eq": "a name of digits"}, True),
        ("kind", {"matches": "order"}, True),
        ("kind", {"matches": "or*"}, True),
        ("kind", {"matches": "*der"}, True),
        ("kind", {"matches": "o*e*"}, True),
        ("kind", {"matches": "o*d*d*"}, False),
        ("kind", {"matches": "rd"}, False),
        ("kind", {"matches": "*"}, True),
        ("kind", {"matches": "order*order"}, False),
        ("kind", {"matches": "o.*"}, False),
        ("amount", {"matches": "*"}, False),
    ],
)
def test_a_condition_holds_as_the_table_says(
    path: str, condition: dict[str, Any], admitted: bool
) -> None:
    assert admits({path: condition}) is admitted


def test_every_condition_has_to_hold() -> None:
    assert admits({"kind": {"eq": "order"}, "paid": {"eq": True}})
    assert not admits({"kind": {"eq": "order"}, "paid": {"eq": False}})


def test_an_empty_filter_admits_everything() -> None:
    assert admits({}, {})


@pytest.mark.parametrize(
    "words",
    [
        {"": {"eq": 1}},
        {"a..b": {"eq": 1}},
        {".a": {"eq": 1}},
        {"a.": {"eq": 1}},
        {"a\x00": {"eq": 1}},
        {".".join("a" * 17): {"eq": 1}},
        {"x" * 101: {"eq": 1}},
        {"a": {}},
        {"a": 1},
        {"a": {"regex": "(a+)+$"}},
        {"a": {"in": []}},
        {"a": {"in": list(range(101))}},
        {"a": {"in": 1}},
        {"a": {"gt": True}},
        {"a": {"gt": None}},
        {"a": {"gt": float("nan")}},
        {"a": {"exists": 1}},
        {"a": {"exists": "true"}},
        {"a": {"matches": 1}},
        {"a": {"matches": "x" * 201}},
        {f"p{number}": {"eq": 1} for number in range(51)},
    ],
)
def test_a_filter_that_is_none_is_refused(words: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        adapter.validate_python(words)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=json_values)
def test_every_value_is_itself_and_nothing_else(value: Any) -> None:
    assert admits({"a": {"eq": value}}, {"a": value})
    assert not admits({"a": {"ne": value}}, {"a": value})
    assert not admits({"a": {"eq": value}}, {"a": [value]})


@given(text=st.text("ab*", max_size=12), pattern=st.text("ab*", max_size=8))
def test_stars_match_as_a_slow_oracle_says(text: str, pattern: str) -> None:
    def oracle(text: str, pattern: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(oracle(text[place:], pattern[1:]) for place in range(len(text) + 1))
        return text[:1] == pattern[0] and oracle(text[1:], pattern[1:])

    assert admits({"a": {"matches": pattern}}, {"a": text}) is oracle(text, pattern)
