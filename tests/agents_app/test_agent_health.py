"""Who fails three times in a row is left out for a while, then tried once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from agents_app import health
from agents_app.clients.llm import ModelError, ModelNotConfigured
from agents_app.models import Agent, CycleStatus, Provider, Tier
from agents_app.models_cycles import Phase
from agents_app.planning.malformed import MalformedResponseError
from agents_app.planning.problems import MalformedClass
from errors_app.taxonomy import ErrorClass
from executions_app import clock
from executions_app.models import Event
from tests.agents_app.agents import make_agent, make_busy, make_cycle, make_provider

pytestmark = pytest.mark.django_db
Subject = Agent | Provider


def fail(subject: Subject, *, times: int) -> None:
    for _ in range(times):
        health.noted(subject.id, ok=False, error="it said 500")
    subject.refresh_from_db()


def seconds_out(subject: Subject) -> float | None:
    subject.refresh_from_db()
    if subject.unhealthy_until is None:
        return None
    return (subject.unhealthy_until - clock.now()).total_seconds()


def end_the_pause(subject: Subject) -> None:
    type(subject).objects.filter(pk=subject.pk).update(
        unhealthy_until=clock.now() - timedelta(seconds=1)
    )


def told() -> list[str]:
    return list(Event.objects.order_by("id").values_list("type", flat=True))


@pytest.fixture(params=["agent", "provider"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return make_agent("one") if request.param == "agent" else make_provider("one")


def test_two_failures_leave_nobody_out(subject: Subject) -> None:
    fail(subject, times=2)

    assert (subject.failures_in_row, subject.unhealthy_until) == (2, None)
    assert (subject.last_error, told()) == ("it said 500", [])


def test_the_third_failure_in_a_row_does_and_is_told_of_once(subject: Subject) -> None:
    fail(subject, times=5)

    assert seconds_out(subject) == 60
    assert subject.failures_in_row == 3
    (event,) = Event.objects.all()
    kind = "agent" if isinstance(subject, Agent) else "provider"
    assert (event.type, event.topic) == ("agent:unhealthy", f"{kind}:{subject.id}")
    assert event.data[kind] == "one"
    assert event.data["error"] == "it said 500"


def test_a_success_in_between_begins_the_count_anew(subject: Subject) -> None:
    fail(subject, times=2)
    health.noted(subject.id, ok=True)
    fail(subject, times=2)

    assert (subject.failures_in_row, subject.unhealthy_until) == (2, None)


def test_the_pause_doubles_with_each_failure_after_it_up_to_ten_minutes(subject: Subject) -> None:
    fail(subject, times=3)

    pauses = []
    for _ in range(6):
        pauses.append(seconds_out(subject))
        end_the_pause(subject)
        fail(subject, times=1)

    assert pauses == [60, 120, 240, 480, 600, 600]


def test_a_success_ends_it_and_is_told_of(subject: Subject) -> None:
    fail(subject, times=3)
    health.noted(subject.id, ok=True)
    health.noted(subject.id, ok=True)

    subject.refresh_from_db()
    assert (subject.failures_in_row, subject.unhealthy_until) == (0, None)
    assert subject.last_success_at is not None
    assert told() == ["agent:unhealthy", "agent:recovered"]


def test_once_the_pause_is_over_one_may_try(subject: Subject) -> None:
    fail(subject, times=3)
    before = health.probe(type(subject), subject.id)
    end_the_pause(subject)

    tries = [health.probe(type(subject), subject.id) for _ in range(3)]

    assert (before, tries) == (False, [True, False, False])
    assert seconds_out(subject) == 120


def test_a_success_that_is_nothing_new_is_not_written_every_time(subject: Subject) -> None:
    lately = clock.now() - timedelta(seconds=5)
    type(subject).objects.filter(pk=subject.pk).update(last_success_at=lately)

    health.noted(subject.id, ok=True)

    subject.refresh_from_db()
    assert subject.last_success_at == lately


def test_an_error_is_kept_without_its_secrets_and_cut(subject: Subject) -> None:
    health.noted(subject.id, ok=False, error="Authorization: Bearer abcdefghijkl\n" + "x" * 5000)

    subject.refresh_from_db()
    assert "abcdefghijkl" not in subject.last_error
    assert len(subject.last_error) == health.MOST_ERROR


MALFORMED = MalformedResponseError(
    MalformedClass.EMPTY_RESPONSE, phase=Phase.PLAN, attempts=1, problems=()
)


@pytest.mark.parametrize(
    ("error", "of_agent", "of_provider"),
    [
        (ModelError("503", error_class=ErrorClass.TRANSIENT), 0, 1),
        (ModelError("no answer", error_class=ErrorClass.TIMEOUT), 0, 1),
        (ModelError("no such model", error_class=ErrorClass.PERMANENT), 1, 0),
        (MALFORMED, 1, 0),
        (ModelNotConfigured("no key"), 0, 0),
        (ValueError("a bug of ours"), 0, 0),
        (None, 0, 0),
    ],
    ids=lambda one: type(one).__name__,
)
def test_who_is_to_blame_depends_on_what_happened(
    error: Exception | None, of_agent: int, of_provider: int
) -> None:
    agent = make_agent("one")

    health.asked(agent, agent.provider, error=error)

    agent.refresh_from_db()
    assert agent.failures_in_row == of_agent
    assert Provider.objects.get().failures_in_row == of_provider


def test_providers_are_asked_in_the_order_in_which_they_stand_in_for_each_other() -> None:
    last = make_provider("last")
    off = make_provider("off", enabled=False, fallback_provider=last)
    first = make_provider("first", fallback_provider=off)

    assert [one.name for one in health.to_ask(first)] == ["first", "last"]

    fail(first, times=3)
    assert [one.name for one in health.to_ask(first)] == ["last"]


def test_a_provider_whose_pause_is_over_is_asked_by_one_and_by_nobody_needlessly() -> None:
    last = make_provider("last")
    first = make_provider("first", fallback_provider=last)
    for one in (first, last):
        fail(one, times=3)
        end_the_pause(one)

    assert [one.name for one in health.to_ask(first)] == ["first"]
    assert [one.name for one in health.to_ask(first)] == ["last"]
    assert health.to_ask(first) == []


def test_how_agents_are_doing_is_read_in_one_statement(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    busy, new = make_agent("busy"), make_agent("new")
    make_busy(busy, places=2)
    for status, tier in (
        (CycleStatus.COMPLETED, Tier.MODEL),
        (CycleStatus.COMPLETED, Tier.OTHER_PROVIDER),
        (CycleStatus.COMPLETED, Tier.DETERMINISTIC),
        (CycleStatus.FAILED, Tier.MODEL),
    ):
        make_cycle(agent_id=busy.id, status=status, tier=tier, stage="done")

    with django_assert_max_num_queries(1):
        figures = health.figures([busy, new])

    assert (figures[busy.id].used, figures[busy.id].cycles) == (2, 4)
    assert figures[busy.id].success_rate == 0.5
    assert (figures[new.id].used, figures[new.id].success_rate) == (0, None)


@pytest.mark.django_db(transaction=True)
def test_failures_at_the_same_time_are_all_counted_and_told_of_once() -> None:
    agent = make_agent("one")

    def one_failure(_: int) -> None:
        try:
            health.noted(agent.id, ok=False, error="down")
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as crowd:
        list(crowd.map(one_failure, range(12)))

    agent.refresh_from_db()
    assert agent.failures_in_row == 3
    assert told() == ["agent:unhealthy"]
