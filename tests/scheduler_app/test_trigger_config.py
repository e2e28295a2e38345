"""The words of event-driven and dependent schedules: what is taken, and what is named as wrong."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler_app.next_run import InvalidTriggerConfigError
from scheduler_app.sources.config import (
    DependentConfig,
    InternalConfig,
    WebhookConfig,
    parse_trigger_config,
    problems,
)


def test_each_kind_is_read_with_its_defaults() -> None:
    webhook = parse_trigger_config("event_driven", {"source": "webhook"})
    internal = parse_trigger_config(
        "event_driven", {"source": "internal", "event": "execution:failed"}
    )
    dependent = parse_trigger_config("dependent", {"upstreams": ["a"]})

    assert isinstance(webhook, WebhookConfig)
    assert isinstance(internal, InternalConfig)
    assert isinstance(dependent, DependentConfig)
    assert (dependent.on, dependent.mode) == ("success", "any")
    assert parse_trigger_config("manual", {}) is None


@pytest.mark.parametrize(
    ("trigger_type", "words", "paths"),
    [
        ("event_driven", {}, [("source",)]),
        ("event_driven", {"source": "mail"}, [("source",)]),
        ("event_driven", {"source": "webhook", "secret": "x"}, [("secret",)]),
        ("event_driven", {"source": "webhook", "event": "execution:failed"}, [("event",)]),
        ("event_driven", {"source": "webhook", "filter": {"a": {}}}, [("filter", "a")]),
        ("event_driven", {"source": "webhook", "filter": {"a.": {"eq": 1}}}, [("filter", "a.")]),
        ("event_driven", {"source": "internal"}, [("event",)]),
        ("event_driven", {"source": "internal", "event": "nonsense"}, [("event",)]),
        ("event_driven", {"source": "internal", "event": "schedule:start_refused"}, [("event",)]),
        ("dependent", {}, [("upstreams",)]),
        ("dependent", {"upstreams": []}, [("upstreams",)]),
        ("dependent", {"upstreams": ["a", "a"]}, [("upstreams",)]),
        ("dependent", {"upstreams": ["a"], "on": "x", "mode": "y"}, [("on",), ("mode",)]),
        ("manual", {"source": "webhook"}, [()]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_path(
    trigger_type: str, words: dict[str, Any], paths: list[tuple[str, ...]]
) -> None:
    assert [path for path, _ in problems(trigger_type, words)] == paths


def test_settings_that_cannot_be_used_are_an_error_with_field_and_reason() -> None:
    with pytest.raises(InvalidTriggerConfigError) as caught:
        parse_trigger_config("event_driven", {"source": "internal", "event": "x"})

    assert caught.value.field == "event"
    assert "execution:failed" in caught.value.reason
