from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from agents_app.clients import llm, llm_form, llm_rows
from agents_app.models_cycles import Phase
from errors_app.taxonomy import ErrorClass
from tests.agents_app.asking import KEY, MODEL, SCHEMA, calls, failure, provider_of, question
from tests.fakes.model_script import Asked, Reply, empty, fails, hangs, says, says_json
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as server:
        server.key = KEY
        yield server


# What is asked, and what comes back


def test_an_answer_has_its_text_tokens_cost_and_row(server: ModelServer) -> None:
    server.on("plan", says("do it", prompt_tokens=1_000, completion_tokens=500))
    of = llm.Of(
        execution_id=uuid4(), cycle_id=uuid4(), schedule_id=uuid4(), owner_id=7, agent_id=uuid4()
    )
    asked = question(provider_of(server), of=of, template="plan", template_hash="ab", attempt=2)

    answer = llm.ask(asked)

    (row,) = calls()
    assert (answer.text, answer.finish_reason) == ("do it", "stop")
    assert (answer.prompt_tokens, answer.completion_tokens) == (1_000, 500)
    assert answer.cost_usd == row.cost_usd == Decimal("0.006")  # 1000 * 2 $ + 500 * 8 $ a million
    assert answer.call_id == row.id
    assert not row.is_estimated
    assert (row.execution_id, row.cycle_id, row.schedule_id) == (
        of.execution_id,
        of.cycle_id,
        of.schedule_id,
    )
    assert (row.owner_id, row.agent_id, row.status) == (7, of.agent_id, "ok")
    assert (row.template, row.template_hash, row.attempt, row.phase) == ("plan", "ab", 2, "plan")
    assert row.request == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What now?"},
    ]
    assert row.response == "do it"
    assert row.latency_ms >= (row.first_token_ms or 0) >= 0
    assert row.first_token_ms is not None


def test_the_server_sees_the_phase_the_model_and_nothing_of_the_environment(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: of the environment")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    llm.ask(question(provider_of(server), temperature=0.7, max_tokens=77))

    (asked,) = server.asked()
    assert (asked.phase, asked.body["model"]) == ("plan", MODEL)
    assert (asked.body["temperature"], asked.body["max_tokens"]) == (0.7, 77)
    assert set(asked.headers) == {
        *("host", "user-agent", "accept", "accept-encoding", "content-type", "content-length"),
        *("authorization", "x-cadenza-phase"),
    }


def test_a_model_without_a_price_costs_nothing_and_is_still_counted(server: ModelServer) -> None:
    answer = llm.ask(question(provider_of(server), model="unlisted"))

    assert answer.cost_usd == 0
    assert answer.prompt_tokens > 0


@pytest.mark.parametrize(
    ("entry", "expected"),
    [("2.5", "2.5"), (3, "3"), (None, "0"), ("NaN", "0"), (-1, "0"), ("free", "0"), ([], "0")],
)
def test_what_is_no_price_costs_nothing(entry: object, expected: str) -> None:
    assert llm_rows.price(entry) == Decimal(expected)


def test_tokens_are_estimated_and_marked_when_the_provider_reports_none(
    server: ModelServer,
) -> None:
    server.on("plan", says("x" * 41, has_usage=False))
    asked = question(provider_of(server), "y" * 401)

    answer = llm.ask(asked)

    (row,) = calls()
    assert answer.is_estimated
    assert row.is_estimated
    assert answer.completion_tokens == row.completion_tokens == 11  # 41 / 4, rounded up
    assert row.prompt_tokens >= 101
    assert row.cost_usd > 0


@pytest.mark.parametrize("usage", [-1, 10**12])
def test_a_count_that_cannot_be_is_replaced_by_an_estimate(server: ModelServer, usage: int) -> None:
    server.on("plan", says("fine", prompt_tokens=usage, completion_tokens=usage))

    answer = llm.ask(question(provider_of(server)))

    assert answer.is_estimated
    assert 0 < answer.prompt_tokens < 1_000


def test_a_provider_that_streams_nothing_is_heard_as_a_whole(server: ModelServer) -> None:
    server.on("plan", says("all at once", is_plain=True))

    answer = llm.ask(question(provider_of(server)))

    assert answer.text == "all at once"
    assert answer.prompt_tokens > 0


def test_a_cut_answer_says_that_it_is_cut(server: ModelServer) -> None:
    server.on("plan", says("half of", finish_reason="length"))

    assert llm.ask(question(provider_of(server))).finish_reason == "length"


def test_an_own_server_without_a_credential_is_asked_without_a_key(server: ModelServer) -> None:
    server.key = ""

    llm.ask(question(provider_of(server, key="")))

    assert "authorization" not in server.asked()[0].headers


# What is kept of an answer that was of no use


def test_an_empty_answer_is_malformed_and_its_tokens_count(server: ModelServer) -> None:
    server.on("plan", empty())

    error = failure(question(provider_of(server)))

    (row,) = calls()
    assert (error.error_class, error.malformed_class) == (ErrorClass.MALFORMED, "empty_response")
    assert error.call_id == row.id
    assert (row.status, row.malformed_class) == ("malformed", "empty_response")
    assert row.prompt_tokens > 0
    assert error.spent_tokens == row.prompt_tokens + row.completion_tokens


def test_an_answer_is_marked_malformed_once(server: ModelServer) -> None:
    answer = llm.ask(question(provider_of(server)))

    problems = ["steps[0]: unknown endpoint 'x'", "token=abcdefgh12345678"]
    first = llm.mark_malformed(answer.call_id, "semantic_violation", problems)
    again = llm.mark_malformed(answer.call_id, "schema_parse_error", [])

    (row,) = calls()
    assert (first, again) == (True, False)
    assert (row.status, row.malformed_class) == ("malformed", "semantic_violation")
    assert row.problems == [problems[0], "token=[scrubbed]"]


def test_a_long_answer_and_a_long_prompt_are_kept_in_part(server: ModelServer) -> None:
    server.on("plan", says("a" * 200_000))
    asked = question(provider_of(server), "p" * 200_000, max_tokens=50_000)

    answer = llm.ask(asked)

    (row,) = calls()
    assert len(answer.text) == 200_000
    assert 60_000 < len(row.response) <= llm_rows.MOST_KEPT
    assert len(str(row.request)) <= llm_rows.MOST_KEPT + 200


# Preflight


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"enabled": False}, "disabled"),
        ({"base_url": "", "credential": None}, "has no key"),
        ({"base_url": "https://api.anthropic.com/v1", "credential": None}, "has no key"),
        ({"base_url": "ftp://somewhere"}, "http"),
        ({"is_from_environment": True}, "OPENAI_API_KEY"),
    ],
)
def test_what_is_not_configured_is_said_without_any_request(
    server: ModelServer, change: dict[str, Any], said: str
) -> None:
    provider = provider_of(server)
    for name, value in change.items():
        setattr(provider, name, value)

    with pytest.raises(llm.ModelNotConfigured, match=said) as caught:
        llm.ask(question(provider))
    with pytest.raises(llm.ModelNotConfigured):
        llm.preflight(provider, model=MODEL)

    assert (caught.value.code, caught.value.spent_tokens) == ("blocked_config", 0)
    assert caught.value.error_class is ErrorClass.PERMANENT
    assert (server.count(), calls()) == (0, [])


def test_without_a_model_nothing_is_asked(server: ModelServer) -> None:
    with pytest.raises(llm.ModelNotConfigured, match="LLM_MODEL"):
        llm.ask(question(provider_of(server), model=""))

    assert server.count() == 0


def test_a_key_that_no_header_may_hold_is_refused_before_anything_is_sent(
    server: ModelServer,
) -> None:
    with pytest.raises(llm.ModelNotConfigured) as caught:
        llm.ask(question(provider_of(server, key="two\r\nlines")))

    assert "lines" not in str(caught.value).partition("holds")[0]
    assert server.count() == 0


# Modes


def test_the_strictest_form_that_a_provider_takes_is_found_and_remembered(
    server: ModelServer,
) -> None:
    server.refuses = {"json_schema"}
    server.on("plan", says_json({"ok": True}))
    provider = provider_of(server)

    first = llm.ask(question(provider, schema=SCHEMA, schema_name="plan"))
    provider.refresh_from_db()
    second = llm.ask(question(provider, schema=SCHEMA))

    assert [one.mode for one in server.asked()] == ["json_schema", "json_object", "json_object"]
    assert (first.mode, second.mode, provider.mode) == ("json_object",) * 3
    assert provider.probed_at is not None
    refused, *answered = calls()
    assert (refused.status, refused.failure_class, refused.prompt_tokens) == (
        *("failed", "permanent"),
        0,
    )
    assert {one.status for one in answered} == {"ok"}
    assert '"additionalProperties": false' in server.asked()[1].prompt  # the schema, in words


def test_a_provider_that_takes_no_form_is_asked_in_words(server: ModelServer) -> None:
    server.refuses = {"json_schema", "json_object"}
    provider = provider_of(server)

    answer = llm.ask(question(provider, schema=SCHEMA))

    assert answer.mode == "text"
    assert server.asked()[-1].mode == ""
    assert "JSON Schema" in server.asked()[-1].prompt


def test_a_form_is_asked_for_again_after_a_day(server: ModelServer) -> None:
    provider = provider_of(server)
    llm.ask(question(provider, schema=SCHEMA))
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE providers SET mode = 'text', probed_at = now() - interval '25 hours'"
        )
    provider.refresh_from_db()

    llm.ask(question(provider, schema=SCHEMA))

    assert server.asked()[-1].mode == "json_schema"
    provider.refresh_from_db()
    assert provider.mode == "json_schema"


def test_a_question_without_a_form_leaves_what_is_known_alone(server: ModelServer) -> None:
    provider = provider_of(server)

    llm.ask(question(provider))

    provider.refresh_from_db()
    assert (provider.mode, provider.probed_at) == ("", None)
    assert server.asked()[0].mode == ""


def test_any_json_is_asked_for_without_a_schema(server: ModelServer) -> None:
    llm.ask(question(provider_of(server), wants_json=True))

    assert server.asked()[0].mode == "json_object"


@pytest.mark.parametrize("refused", ["stream", "stream_options", "temperature", "max_tokens"])
def test_a_parameter_that_is_refused_is_left_out_and_not_tried_again(
    server: ModelServer, refused: str
) -> None:
    server.refuses = {refused}
    provider = provider_of(server)

    first, second = llm.ask(question(provider)), llm.ask(question(provider))

    assert (first.text, second.text) == ("ok", "ok")
    assert server.count() == 3
    assert refused not in server.asked()[-1].body
    if refused == "max_tokens":
        assert server.asked()[-1].body["max_completion_tokens"] == 2000


@pytest.mark.parametrize(
    "complaint",
    [
        "max_tokens is too large: 6400. This model supports at most 4096 completion tokens",
        "'max_tokens' or 'max_completion_tokens' is too large: 6400. Its context length is 8192",
        "You requested 9400 tokens (3000 in the messages, 6400 in the completion)",
        "`max_tokens` must be less than or equal to `4096`",
        "max_tokens: 6400 > 4096, which is the maximum allowed number of output tokens",
    ],
)
def test_a_model_that_cannot_say_so_much_is_asked_for_the_usual_length_this_time(
    server: ModelServer, complaint: str
) -> None:
    server.on("plan", fails(400, complaint), says("ok"))
    provider = provider_of(server)

    for _ in range(2):  # another prompt may leave room for more
        assert llm.ask(question(provider, max_tokens=6_400)).text == "ok"

    assert [one.body["max_tokens"] for one in server.asked()] == [6_400, 2_000, 6_400]


def test_everything_refused_ends_after_each_was_left_out_once(server: ModelServer) -> None:
    def refuse_anything(asked: Asked) -> Reply:
        named = [name for name in ("stream_options", "temperature", "stream") if name in asked.body]
        return fails(400, f"'{named[0] if named else 'max_tokens'}' is not supported")

    server.on("plan", refuse_anything)

    error = failure(question(provider_of(server), schema=SCHEMA))

    assert error.error_class is ErrorClass.PERMANENT
    assert server.count() <= 8


def test_a_probe_finds_the_form_at_the_price_of_a_few_tokens(server: ModelServer) -> None:
    server.on("probe", says_json({"ok": True}))
    provider = provider_of(server)

    llm.probe(provider, model=MODEL)

    (row,) = calls()
    provider.refresh_from_db()
    assert (row.phase, provider.mode) == (Phase.PROBE, "json_schema")
    assert row.prompt_tokens + row.completion_tokens < 100


# Many at once


@pytest.mark.django_db(transaction=True)
def test_calls_in_many_threads_each_get_their_own_answer(server: ModelServer) -> None:
    server.on(
        "plan", lambda asked: says(f"echo {asked.body['messages'][1]['content']}", delay_ms=20)
    )
    provider = provider_of(server)
    said: dict[int, str] = {}

    def work(number: int) -> None:
        said[number] = llm.ask(question(provider, str(number))).text
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert said == {number: f"echo {number}" for number in range(16)}
    assert len(calls()) == 16
    assert server.most_at_once > 1


def test_a_hung_call_is_not_what_the_next_one_waits_for(server: ModelServer) -> None:
    server.on("plan", hangs("token"), says("after it"))
    provider = provider_of(server)
    stopped = {"is": False}

    def check() -> None:
        if server.count() and server.asked()[0].hangs.is_set():
            stopped["is"] = True
            raise InterruptedError

    with pytest.raises(InterruptedError):
        llm.ask(question(provider, check=check))

    assert stopped["is"]
    assert llm.ask(question(provider)).text == "after it"
