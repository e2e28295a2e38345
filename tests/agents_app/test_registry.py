from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from agents_app.handlers import registry
from agents_app.handlers.base import Context, Handler, Outcome
from agents_app.handlers.registry import InvalidTaskConfig, UnknownTaskType
from errors_app.taxonomy import ErrorClass, classify
from tests.agents_app.context import TestContext


class GreetingConfig(BaseModel):
    name: str


class Greeting(Handler[GreetingConfig]):
    config_model = GreetingConfig
    nature = "cpu"

    def run(self, context: Context[GreetingConfig]) -> Outcome:
        return Outcome(output=f"hello {context.config.name}")


def test_a_registered_handler_runs_without_touching_the_engine() -> None:
    registry.register("test_greeting")(Greeting)

    handler = registry.resolve("test_greeting")
    config = registry.validate("test_greeting", {"name": "Ada"})

    outcome = handler.run(TestContext(config))
    assert isinstance(outcome, Outcome)
    assert outcome.output == "hello Ada"
    assert registry.nature("test_greeting") == "cpu"
    assert "test_greeting" in registry.task_types()
    assert registry.resolve("test_greeting") is handler


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="'http_request' has a handler already"):
        registry.register("http_request")(Greeting)


@pytest.mark.parametrize(
    ("task_type", "nature"), [("http_request", "io"), ("shell_command", "process")]
)
def test_every_entry_of_the_table_is_a_handler(task_type: str, nature: str) -> None:
    assert isinstance(registry.resolve(task_type), Handler)
    assert registry.nature(task_type) == nature


def test_an_unknown_task_type_names_those_that_exist() -> None:
    with pytest.raises(UnknownTaskType, match=r"'teleport'.*http_request") as caught:
        registry.validate("teleport", {})

    assert classify(caught.value).error_class is ErrorClass.PERMANENT


@pytest.mark.parametrize(
    ("task_type", "task_config", "fields"),
    [
        ("http_request", {}, {"url"}),
        ("http_request", {"url": "ftp://host/"}, {"url"}),
        ("http_request", {"url": "http://"}, {"url"}),
        ("http_request", {"url": "http://host:99999/"}, {"url"}),
        ("http_request", {"url": "http://host/a b\r\nX: y"}, {"url"}),
        ("http_request", {"url": "http://h/", "headers": {"A": "b\r\nC: d"}}, {"headers"}),
        ("http_request", {"url": "http://h/", "headers": {"Host": "other"}}, {"headers"}),
        (
            "http_request",
            {"url": "http://h/", "timeout_ms": 0, "colour": 1},
            {"timeout_ms", "colour"},
        ),
        ("http_request", {"url": "http://h/", "json": {}, "body": "x"}, {""}),
        ("shell_command", {}, {"command"}),
        ("shell_command", {"command": "echo 'unclosed"}, {""}),
        ("shell_command", {"command": "   "}, {""}),
        ("shell_command", {"command": "echo $HOME", "shell": True}, {""}),
        ("shell_command", {"command": ["true"], "env": {"A=B": "c"}}, {"env.A=B"}),
    ],
)
def test_a_wrong_task_config_is_refused_with_the_fields_that_are_wrong(
    task_type: str, task_config: dict[str, Any], fields: set[str]
) -> None:
    with pytest.raises(InvalidTaskConfig) as caught:
        registry.validate(task_type, task_config)

    assert {one.field for one in caught.value.problems} == fields
    assert all(one.message for one in caught.value.problems)


def test_a_refusal_does_not_repeat_what_it_refused() -> None:
    with pytest.raises(InvalidTaskConfig) as caught:
        registry.validate("http_request", {"url": 5, "headers": {"A": "hunter2\r\n"}})

    assert "hunter2" not in str(caught.value)


def test_a_shell_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(InvalidTaskConfig, match="ALLOW_SHELL"):
        registry.validate("shell_command", {"command": "ls | wc", "shell": True})


def test_handlers_named_in_the_settings_are_a_table() -> None:
    entries = ["greeting = pkg.mod.Greeting", "other=pkg.Other"]

    assert registry.extra_handlers(entries) == {
        "greeting": "pkg.mod.Greeting",
        "other": "pkg.Other",
    }


@pytest.mark.parametrize("entry", ["greeting", "=pkg.mod.Class", "greeting=Class"])
def test_an_unreadable_entry_of_the_settings_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="EXTRA_HANDLERS"):
        registry.extra_handlers([entry])
