"""A template of a key and the values of one execution make its key."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler_app.limiting import key_templates


@pytest.mark.parametrize(
    ("template", "parameters", "config", "key"),
    [
        ("", {}, {}, ""),
        ("all", {}, {}, "all"),
        ("tenant:{tenant}", {"tenant": "acme"}, {}, "tenant:acme"),
        ("tenant:{tenant}", {"tenant": "acme"}, {"tenant": "other"}, "tenant:acme"),
        ("host:{url}", {}, {"url": "http://a/"}, "host:http://a/"),
        ("{order.id}/{order.lines.1}", {"order": {"id": 7, "lines": [1, 2.5]}}, {}, "7/2.5"),
        ("{flag}", {"flag": True}, {}, "true"),
        ("{name}", {"name": "a\nb"}, {}, "a?b"),
        ("{name}", {"name": "{other}"}, {}, "{other}"),
    ],
)
def test_names_in_braces_are_replaced_by_values(
    template: str, parameters: dict[str, Any], config: dict[str, Any], key: str
) -> None:
    assert key_templates.render(template, parameters, config) == key


@pytest.mark.parametrize("value", [None, [], {}, {"deeper": 1}])
def test_what_is_no_single_value_is_missing(value: Any) -> None:
    with pytest.raises(key_templates.MissingValue, match="'tenant' in the parameters"):
        key_templates.render("tenant:{tenant}", {"tenant": value})


def test_a_path_through_a_text_leads_nowhere() -> None:
    with pytest.raises(key_templates.MissingValue):
        key_templates.render("{a.b}", {"a": "text"})


def test_a_fire_by_time_has_a_question_mark_where_there_is_no_value() -> None:
    assert key_templates.render_known("t:{tenant}:{kind}", {"kind": "x"}) == "t:?:x"


def test_a_long_key_is_shortened_and_stays_its_own() -> None:
    one, other = (key_templates.render("{x}", {"x": "y" * 500 + end}) for end in "ab")

    assert len(one) <= key_templates.LONGEST
    assert one != other
    assert one.startswith("yyy")
