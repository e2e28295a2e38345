from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from agents_app import budget
from agents_app.clients import llm, llm_form
from agents_app.handlers import llm_prompt, registry
from agents_app.handlers.llm import Llm, LlmConfig
from agents_app.models import Provider
from agents_app.tasks import run_executions
from config.env import env
from errors_app.taxonomy import Cancelled, ErrorClass, HandlerError, JobExecutionError
from executions_app.states import ExecutionStatus
from tests.agents_app.asking import MODEL, calls, provider_of
from tests.agents_app.context import TestContext
from tests.agents_app.scripted import Queue, stored
from tests.fakes.model_script import hangs, says, says_json
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as server:
        yield server


@pytest.fixture
def provider(server: ModelServer) -> Provider:
    return provider_of(server, name="mine")


def _run(parameters: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    given = LlmConfig.model_validate({"provider": "mine", **config})
    output = Llm().run(TestContext(given, parameters=parameters)).output
    assert isinstance(output, dict)
    return output


# One question


def test_an_answer_is_stored_with_its_tokens_and_cost(
    server: ModelServer, provider: Provider
) -> None:
    server.on("llm", says("Bonjour", prompt_tokens=1_000, completion_tokens=100))

    output = _run({"word": "hello"}, prompt="Translate {{ word }}", system="You translate")

    assert output == {
        "text": "Bonjour",
        "model": MODEL,
        "tokens": {"prompt": 1_000, "completion": 100, "total": 1_100, "is_estimated": False},
        "cost_usd": "0.002800",
        "finish_reason": "stop",
    }
    (asked,) = server.asked()
    assert asked.body["messages"] == [
        {"role": "system", "content": "You translate"},
        {"role": "user", "content": "Translate hello"},
    ]
    execution_id = asked.headers["x-request-id"]  # nobody gave another
    assert str(UUID(execution_id)) == execution_id


def test_an_execution_keeps_the_text_and_tokens(
    server: ModelServer, provider: Provider, queue: Queue
) -> None:
    server.on("llm", says("an answer"))
    config = {"prompt": "Say something", "provider": "mine", "model": "large"}
    execution_id = queue(task_type="llm", task_config=config)

    run_executions(execution_ids=[str(execution_id)])

    execution = stored(execution_id)
    (row,) = calls()
    assert execution.status == ExecutionStatus.COMPLETED
    result = execution.result
    assert result is not None
    assert result["text"] == "an answer"
    assert result["tokens"]["total"] == row.prompt_tokens + row.completion_tokens
    assert (row.execution_id, row.owner_id, row.model) == (
        execution_id,
        execution.owner_id,
        "large",
    )


def test_json_is_parsed_and_kept_beside_the_text(server: ModelServer, provider: Provider) -> None:
    server.on("llm", says_json({"colour": "red"}))

    output = _run(prompt="A colour, as JSON", json=True)

    assert output["json"] == {"colour": "red"}
    assert json.loads(output["text"]) == {"colour": "red"}
    assert server.asked()[0].mode == "json_object"


def test_what_was_to_be_json_and_is_none_is_malformed(
    server: ModelServer, provider: Provider
) -> None:
    server.on("llm", says("I would rather not"))

    with pytest.raises(HandlerError) as caught:
        _run(prompt="A colour, as JSON", json=True)

    (row,) = calls()
    assert caught.value.error_class is ErrorClass.MALFORMED
    assert (row.status, row.malformed_class) == ("malformed", "schema_parse_error")


def test_an_execution_that_is_cancelled_leaves_a_model_that_hangs(
    server: ModelServer, provider: Provider
) -> None:
    server.on("llm", hangs("headers"))
    context = TestContext(LlmConfig(prompt="Wait", provider="mine"))
    context.check = lambda: _stop_once(server)  # type: ignore[method-assign]

    with pytest.raises(Cancelled):
        Llm().run(context)

    assert server.asked()[0].left.wait(10)


def _stop_once(server: ModelServer) -> None:
    if server.count() and server.asked()[0].hangs.is_set():
        raise Cancelled("asked to stop")


def test_the_time_limit_of_the_execution_is_the_calls(
    server: ModelServer, provider: Provider
) -> None:
    server.on("llm", hangs("headers"))
    context = TestContext(LlmConfig(prompt="Wait", provider="mine"), seconds=0.6)

    with pytest.raises(JobExecutionError) as caught:
        Llm().run(context)

    assert caught.value.error_class is ErrorClass.TIMEOUT
    assert server.asked()[0].left.wait(10)


# Which provider


def test_the_only_provider_is_the_default(server: ModelServer, provider: Provider) -> None:
    assert _run(prompt="Hello", provider="")["text"] == "ok"


def test_without_any_provider_nothing_is_asked() -> None:
    with pytest.raises(llm.ModelNotConfigured, match="OPENAI_API_KEY"):
        _run(prompt="Hello", provider="")


def test_a_provider_that_is_not_there_is_named(provider: Provider) -> None:
    with pytest.raises(llm.ModelNotConfigured, match="'nobody'"):
        _run(prompt="Hello", provider="nobody")


def test_the_budget_of_the_system_holds_for_it_too(
    server: ModelServer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = env.model_copy(update={"llm_tokens_per_day": 100, "llm_usd_per_day": Decimal(0)})
    monkeypatch.setattr(budget, "env", few)

    with pytest.raises(budget.BudgetSpent, match="LLM_TOKENS_PER_DAY"):
        _run(prompt="Hello")

    assert server.count() == 0


# Prompts


@pytest.mark.parametrize(
    ("template", "parameters", "expected"),
    [
        ("{{ a }} and {{ b.c[0] }}", {"a": 1, "b": {"c": ["x"]}}, "1 and x"),
        ("{{ items|join(', ') }}", {"items": ["a", "b", 3]}, "a, b, 3"),
        ("{{ data|tojson }}", {"data": {"b": 1, "a": [None]}}, '{"a": [null], "b": 1}'),
        ("{% if urgent %}now{% else %}later{% endif %}", {"urgent": False}, "later"),
        ("{{ name|default('you') }}", {}, "you"),
        ("{{ 'yes' if a is defined else 'no' }}", {}, "no"),
        ("{{ text }}", {"text": "{{ text }}"}, "{{ text }}"),
        ("<b>{{ text }}</b>", {"text": "<i>"}, "<b><i></b>"),
    ],
)
def test_a_prompt_is_filled_with_the_parameters(
    template: str, parameters: dict[str, Any], expected: str
) -> None:
    assert llm_prompt.filled(template, parameters) == expected


def test_a_value_that_is_missing_is_a_failure_and_not_a_gap() -> None:
    with pytest.raises(HandlerError, match="city") as caught:
        llm_prompt.filled("Weather in {{ city }}", {})

    assert caught.value.error_class is ErrorClass.PERMANENT


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(9) %}x{% endfor %}",
        "{{ 'a' * 10000000000 }}",
        "{{ 10 ** 10000000 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ text.format(1) }}",
        "{{ x|attr('__class__') }}",
        "{% include 'a' %}",
        "{% set a = 1 %}{{ a }}",
        "{% macro a() %}{% endmacro %}",
        "{{ a ~ a }}",
        "{{ unclosed",
        "{{ a|center(100000000) }}",
    ],
)
def test_what_a_prompt_may_not_do_is_refused_when_the_schedule_is_saved(template: str) -> None:
    with pytest.raises(registry.InvalidTaskConfig) as caught:
        registry.validate("llm", {"prompt": template})

    assert [one.field for one in caught.value.problems] == ["prompt"]


def test_a_prompt_that_grows_too_long_is_refused() -> None:
    with pytest.raises(HandlerError, match="characters"):
        llm_prompt.filled("{{ a }}{{ a }}", {"a": "x" * llm_prompt.MOST_CHARACTERS})


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"prompt": ""},
        {"prompt": "a", "temperature": 3},
        {"prompt": "a", "max_tokens": 0},
        {"prompt": "a", "unknown": 1},
    ],
)
def test_a_config_that_cannot_work_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(registry.InvalidTaskConfig):
        registry.validate("llm", config)
