"""How often answers were of no use is counted from the rows of the calls, by phase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app.clients import llm, llm_form
from agents_app.models import ModelCall
from agents_app.planning.asking import Patience, Product, ask_for
from agents_app.planning.contracts import Plan
from agents_app.planning.malformed import MalformedResponseError, counts
from executions_app import clock, ids
from tests.agents_app.asking import KEY, MODEL, provider_of
from tests.agents_app.planning.asked import plan, plan_contract, question, step, text
from tests.fakes.model_script import says
from tests.fakes.model_server import ModelServer, model_server

pytestmark = pytest.mark.django_db

GOOD = text(plan())
GHOST = text(plan(step(name="ghost")))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as server:
        server.key = KEY
        yield server


def call(
    now: datetime, *, phase: str = "plan", status: str = "ok", is_repair: bool = False
) -> None:
    ModelCall.objects.create(
        id=ids.new(now), provider="p", model="m", phase=phase, status=status, is_repair=is_repair
    )


def test_each_phase_has_its_four_counters() -> None:
    now = clock.now()
    call(now, status="malformed")
    call(now, status="malformed", is_repair=True)
    call(now, is_repair=True)
    call(now, status="failed", is_repair=True)
    call(now, phase="schedule")

    found = counts(now - timedelta(minutes=1))

    assert found["plan"].as_json() == {
        "malformedResponses": 2,
        "repairAttempts": 2,
        "repairSuccesses": 1,
        "repairFailures": 1,
    }
    assert set(found["schedule"].as_json().values()) == {0}


def test_what_was_earlier_is_not_counted() -> None:
    now = clock.now()
    call(now, status="malformed")

    assert counts(now + timedelta(seconds=1)) == {}


def test_the_counters_take_one_query() -> None:
    now = clock.now()

    with CaptureQueriesContext(connection) as queries:
        counts(now)

    assert len(queries) == 1


def asked_at(server: ModelServer) -> Product[Plan]:
    return ask_for(
        plan_contract(),
        question=question(
            provider=provider_of(server), model=MODEL, deadline=time.monotonic() + 30
        ),
        ask=llm.ask,
        mark=llm.mark_malformed,
        patience=Patience(most_repairs=2, is_strict=True),
    )


def test_a_repair_over_the_wire_leaves_a_row_for_each_answer(server: ModelServer) -> None:
    server.on("plan", says(GHOST), says(GOOD))

    product = asked_at(server)

    first, second = ModelCall.objects.filter(id__in=product.call_ids).order_by("attempt")
    assert (first.status, first.malformed_class, first.is_repair) == (
        "malformed",
        "semantic_violation",
        False,
    )
    assert first.problems == ["steps[0].name: there is no endpoint 'ghost' (semantic_violation)"]
    assert (second.status, second.is_repair, second.attempt) == ("ok", True, 2)
    repair = server.asked("plan")[-1].body
    assert repair["temperature"] == 0
    assert {"role": "assistant", "content": GHOST} in repair["messages"]
    assert counts(clock.now() - timedelta(minutes=5))["plan"].repair_successes == 1


def test_repairs_that_fail_over_the_wire_are_rows_with_their_classes(server: ModelServer) -> None:
    server.on("plan", says(""), says("no"), says(GHOST), says(GOOD))

    with pytest.raises(MalformedResponseError) as caught:
        asked_at(server)

    assert caught.value.attempts == 3
    answered = ModelCall.objects.exclude(status="failed").order_by("attempt")
    assert [one.malformed_class for one in answered] == [
        "empty_response",
        "schema_parse_error",
        "repair_failed",
    ]
    assert all(one.prompt_tokens > 0 for one in answered)
    counted = counts(clock.now() - timedelta(minutes=5))["plan"]
    assert (counted.malformed_responses, counted.repair_failures) == (3, 2)
