"""The page of a replay, and the button that tries an execution again from the failed step."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from agents_app.clients import llm_form
from agents_app.models import Cycle, Endpoint, ModelCall
from agents_app.models_cycles import Phase
from agents_app.objects import endpoints
from errors_app import recovery
from errors_app.models import DeadLetter
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, ids, lifecycle
from executions_app.audit import SYSTEM
from executions_app.models import AuditEntry, Execution
from executions_app.states import ExecutionStatus
from tests.agents_app.asking import KEY
from tests.factories import UserFactory
from tests.fakes.model_script import says_json
from tests.fakes.model_server import ModelServer, model_server
from tests.scheduler_app.cycles import a_cycle, an_agents_execution
from tests.scheduler_app.planned import (
    ADVICE,
    a_decided_cycle,
    a_schedule,
    an_agent,
    everything,
    plan,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[ModelServer]:
    llm_form.manners.forget()
    with model_server() as server:
        server.key = KEY
        server.on("plan", says_json(plan(reason="<script>alert(1)</script>")))
        server.on("schedule", says_json(ADVICE))
        yield server


@pytest.fixture
def cycle(owner: User, server: ModelServer) -> Cycle:
    return a_decided_cycle(a_schedule(owner, autonomy="propose"), an_agent(server))


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def replay_of(execution_id: UUID) -> str:
    return f"/executions/{execution_id}/replay"


def test_the_owner_reads_that_the_same_would_be_decided(
    cycle: Cycle, owner: User, server: ModelServer
) -> None:
    before, asked = everything(), server.count()

    shown = browser_of(owner).get(replay_of(cycle.execution_id))

    assert shown.status_code == 200
    text = shown.content.decode()
    assert "Today the same would be decided." in text
    assert "plan, answer 1 of small (scripted): then accepted" in text
    assert (server.count(), everything()) == (asked, before)


def test_what_differs_stands_first(cycle: Cycle, owner: User) -> None:
    found = Endpoint.objects.get(name="warm-us")
    endpoints.change(found.id, {"enabled": False}, actor=SYSTEM)

    text = browser_of(owner).get(replay_of(cycle.execution_id)).content.decode()

    assert "Today it would be decided differently" in text
    assert "endpoint &#x27;warm-us&#x27; is not called" in text


def test_words_of_a_model_are_no_markup(cycle: Cycle, owner: User) -> None:
    ModelCall.objects.filter(phase="plan").update(response="<script>alert(1)</script>")

    text = browser_of(owner).get(replay_of(cycle.execution_id)).content.decode()

    assert "<script>alert" not in text


def test_it_is_there_for_the_owner_and_for_reading_only(cycle: Cycle, owner: User) -> None:
    path = replay_of(cycle.execution_id)

    assert browser_of(UserFactory.create()).get(path).status_code == 404
    assert browser_of(UserFactory.create(is_superuser=True)).get(path).status_code == 200
    assert browser_of(owner).post(path).status_code == 405
    assert Client().get(path).status_code == 302
    without = an_agents_execution(owner)
    assert browser_of(owner).get(replay_of(without.id)).status_code == 404


def test_a_cycle_that_has_decided_nothing_yet_says_so(cycle: Cycle, owner: User) -> None:
    Cycle.objects.filter(id=cycle.id).update(context={})

    shown = browser_of(owner).get(replay_of(cycle.execution_id))

    assert shown.status_code == 200
    assert "Nothing was planned in this cycle, or not yet" in shown.content.decode()


def test_it_costs_the_same_however_many_answers_there_are(
    cycle: Cycle, owner: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    known = ModelCall.objects.get(phase="plan")
    for attempt in range(2, 12):
        known.id, known.attempt = ids.new(clock.now()), attempt
        known.save(force_insert=True)
    client = browser_of(owner)

    with django_assert_max_num_queries(30):
        assert client.get(replay_of(cycle.execution_id)).status_code == 200


def test_the_page_of_the_cycle_leads_there_and_shows_no_calls_of_replays(
    cycle: Cycle, owner: User
) -> None:
    ModelCall.objects.filter(phase="schedule").update(phase=Phase.REPLAY, model="another-one")

    text = browser_of(owner).get(f"/executions/{cycle.execution_id}/cycle").content.decode()

    assert f'href="{replay_of(cycle.execution_id)}"' in text
    assert "another-one" not in text


# --- retry from the failed step ---------------------------------------------------------


@pytest.fixture
def dead(owner: User) -> Execution:
    """Given up, with one step that ended well and one that failed."""
    execution = an_agents_execution(owner, max_attempts=1)
    a_cycle(execution, status="failed")
    (held,) = lifecycle.claim([execution.id], worker_id="worker-host:1:a")
    recovery.recover(held, HandlerError("no", error_class=ErrorClass.PERMANENT), rng=Random(1))
    found = Execution.objects.get(id=execution.id)
    assert DeadLetter.objects.filter(execution_id=found.id, handling="").exists()
    return found


def retry_of(execution_id: UUID) -> str:
    return f"/executions/{execution_id}/retry"


def test_what_was_given_up_is_tried_again_from_the_failed_step(
    dead: Execution, owner: User
) -> None:
    client = browser_of(owner)
    before = client.get(f"/executions/{dead.id}/cycle").content.decode()

    answer = client.post(retry_of(dead.id), follow=True)

    assert "Retry from the failed step" in before
    assert "1 step ended well and is not called again" in before
    assert answer.redirect_chain == [(f"/executions/{dead.id}/cycle", 302)]
    after = answer.content.decode()
    assert "It is tried again, from the steps that did not end well" in after
    assert "Retry from the failed step" not in after
    dead.refresh_from_db()
    assert dead.status == ExecutionStatus.PENDING
    entry = AuditEntry.objects.get(action="dead_letter.requeued")
    assert entry.actor_id == owner.pk


def test_a_second_click_says_that_it_was_done(dead: Execution, owner: User) -> None:
    client = browser_of(owner)
    client.post(retry_of(dead.id))

    answer = client.post(retry_of(dead.id), follow=True)

    assert "only what was given up can be retried" in answer.content.decode()
    assert AuditEntry.objects.filter(action="dead_letter.requeued").count() == 1


def test_executions_of_others_are_not_tried_again(dead: Execution, owner: User) -> None:
    assert browser_of(UserFactory.create()).post(retry_of(dead.id)).status_code == 404
    assert browser_of(owner).get(retry_of(dead.id)).status_code == 405
    assert Client().post(retry_of(dead.id)).status_code == 302
    dead.refresh_from_db()
    assert dead.status == ExecutionStatus.FAILED
