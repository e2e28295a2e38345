"""Executions over HTTP: found by number and id, filtered, followed and cancelled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from executions_app import clock, ids, lifecycle
from executions_app.api import pagination
from executions_app.models import AuditEntry, Execution
from executions_app.states import ExecutionStatus
from tests import verbs
from tests.factories import ExecutionFactory, UserFactory
from tests.rest import ids_of, signed_in

EXECUTIONS = "/api/execution/executions"
EXECUTION_KEYS = {
    "id", "number", "schedule", "trigger", "status", "outcome", "task_type", "priority",
    "parameters", "nominal_at", "due_at", "queued_at", "started_at", "completed_at",
    "duration_ms", "attempt", "max_attempts", "worker", "progress", "cancel_requested", "held_by",
    "limit_key", "unique_key", "expires_at", "result", "result_truncated", "usage", "last_error_id",
    "dead_letter_at", "tier",
}  # fmt: skip


@pytest.fixture
def person(db: None) -> User:
    return UserFactory.create()


@pytest.fixture
def caller(person: User) -> APIClient:
    return signed_in(person)


def test_an_execution_is_found_by_its_id_and_by_its_number(caller: APIClient, person: User) -> None:
    execution = ExecutionFactory.create(owner=person, status=ExecutionStatus.RUNNING)

    by_id = caller.get(f"{EXECUTIONS}/{execution.id}").json()
    by_number = caller.get(f"{EXECUTIONS}/{execution.number}").json()
    (listed,) = caller.get(EXECUTIONS).json()["results"]

    assert "Attempt 1 of 4 runs on worker" in by_id.pop("why")  # since when differs in the second
    assert "Attempt 1 of 4 runs on worker" in by_number.pop("why")
    assert by_id == by_number == listed
    assert set(by_id) == EXECUTION_KEYS
    assert by_id["worker"] == {
        "id": "worker-host:4711:9f1c2d3e",
        "host": "worker-host",
        "pid": 4711,
    }
    assert by_id["schedule"] == {"id": None, "name": "a job"}
    assert by_id["started_at"].endswith("Z")


@pytest.mark.parametrize(
    "reference", ["0", "9" * 40, "nonsense", "0199a5c0-0000-7000-8000-000000000000", "%00", "٣"]
)
@pytest.mark.parametrize("more", ["", "/progress"])
def test_what_is_not_there_is_not_found(caller: APIClient, reference: str, more: str) -> None:
    answer = caller.get(f"{EXECUTIONS}/{reference}{more}")

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("more", ["", "/progress", "/cancel", "/abort"])
def test_what_belongs_to_others_is_not_there(caller: APIClient, more: str) -> None:
    execution = ExecutionFactory.create()
    act = caller.post if more in {"/cancel", "/abort"} else caller.get

    assert act(f"{EXECUTIONS}/{execution.id}{more}").status_code == 404
    assert act(f"{EXECUTIONS}/{execution.number}{more}").status_code == 404
    assert ids_of(caller.get(EXECUTIONS).json()) == []


@pytest.mark.usefixtures("db")
def test_a_superuser_sees_everybodys() -> None:
    execution = ExecutionFactory.create()
    superuser = signed_in(UserFactory.create(is_superuser=True))

    assert superuser.get(f"{EXECUTIONS}/{execution.number}").status_code == 200


@pytest.mark.parametrize("name", ["scheduleId", "schedule_id"])
def test_the_executions_of_a_schedule_in_some_states(
    caller: APIClient, person: User, name: str
) -> None:
    schedule_id = uuid4()
    of_schedule = {"owner": person, "schedule_id": schedule_id}
    queued = ExecutionFactory.create(**of_schedule)
    pending = ExecutionFactory.create(**of_schedule, status=ExecutionStatus.PENDING)
    ExecutionFactory.create(**of_schedule, status=ExecutionStatus.RUNNING)
    ExecutionFactory.create(owner=person)

    page = caller.get(f"{EXECUTIONS}?{name}={schedule_id}&status=queued,pending").json()

    assert set(ids_of(page)) == {str(queued.id), str(pending.id)}


@pytest.mark.parametrize(
    "query",
    ["trigger=manual", "worker=worker-host:4711:9f1c2d3e", "search=LION", "taskType=noop",
     "priority=high"],
)  # fmt: skip
def test_each_filter_chooses(caller: APIClient, person: User, query: str) -> None:
    chosen = ExecutionFactory.create(
        owner=person, name="the lion", priority="high", status=ExecutionStatus.RUNNING
    )
    other = {"name": "a mouse", "task_type": "other", "timeout_ms": 1000}
    ExecutionFactory.create(owner=person, snapshot=other, trigger="time")

    page = caller.get(f"{EXECUTIONS}?{query}").json()

    assert ids_of(page) == [str(chosen.id)]


def test_an_execution_is_searched_by_its_number(caller: APIClient, person: User) -> None:
    chosen, _ = ExecutionFactory.create(owner=person), ExecutionFactory.create(owner=person)

    page = caller.get(f"{EXECUTIONS}?search=%23{chosen.number}").json()

    assert ids_of(page) == [str(chosen.id)]


def test_executions_of_a_time(caller: APIClient, person: User) -> None:
    execution = ExecutionFactory.create(owner=person)
    hour, now = timedelta(hours=1), clock.now()
    earlier, later = (now - hour).isoformat(), (now + hour).isoformat()

    def found(**query: str) -> list[str]:
        return ids_of(caller.get(EXECUTIONS, query).json())

    assert found(created_after=earlier, created_before=later) == [str(execution.id)]
    assert found(created_after=later) == found(created_before=earlier) == []
    assert found(created_after="0001-01-01T00:00:00Z") == [str(execution.id)]


@pytest.mark.parametrize(
    "query",
    ["status=lost", "schedule_id=7", "created_after=yesterday", "cursor=nonsense",
     "cursor=WzEsIDJd", "ordering=result", "count=all", "page_size=0", "search=%00"],
)  # fmt: skip
def test_a_query_that_means_nothing_is_refused(caller: APIClient, query: str) -> None:
    answer = caller.get(f"{EXECUTIONS}?{query}")

    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == [
        f"/{query.partition('=')[0]}"
    ]


def test_pages_hold_every_execution_once_the_newest_first(caller: APIClient, person: User) -> None:
    made = [ExecutionFactory.create(owner=person).id for _ in range(5)]

    first = caller.get(f"{EXECUTIONS}?pageSize=2").json()
    second = caller.get(first["next"]).json()
    third = caller.get(second["next"]).json()

    assert first["previous"] is third["next"] is None
    assert ids_of(first) + ids_of(second) + ids_of(third) == [
        str(one) for one in sorted(made, reverse=True)
    ]
    assert ids_of(caller.get(third["previous"]).json()) == ids_of(second)


def test_rows_are_counted_on_request_and_not_beyond_the_cap(
    caller: APIClient, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    ExecutionFactory.create_batch(3, owner=person)

    plain = caller.get(EXECUTIONS).json()
    counted = caller.get(f"{EXECUTIONS}?count=capped&page_size=1").json()
    monkeypatch.setattr(pagination, "COUNTED_UP_TO", 2)
    capped = caller.get(f"{EXECUTIONS}?count=capped").json()

    assert "count" not in plain
    assert (counted["count"], counted["count_capped"]) == (3, False)
    assert (capped["count"], capped["count_capped"]) == (2, True)


def test_a_page_is_never_larger_than_200(caller: APIClient, person: User) -> None:
    ExecutionFactory.create_batch(201, owner=person)

    assert len(caller.get(f"{EXECUTIONS}?page_size=5000").json()["results"]) == 200


def test_a_longer_page_costs_no_more_statements(
    caller: APIClient, person: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    caller.get(EXECUTIONS)  # the token's use is noted once a minute
    ExecutionFactory.create_batch(12, owner=person)

    with django_assert_num_queries(2):  # token, rows
        caller.get(f"{EXECUTIONS}?page_size=2")
    with django_assert_num_queries(2):
        page = caller.get(f"{EXECUTIONS}?page_size=12").json()

    assert len(page["results"]) == 12


def test_progress_is_zero_until_it_is_told(caller: APIClient, person: User) -> None:
    execution = ExecutionFactory.create(owner=person)
    (claimed,) = lifecycle.claim([execution.id], worker_id="worker-1")

    before = caller.get(f"{EXECUTIONS}/{execution.id}/progress").json()
    told = {"done": 1, "total": 4, "failed": 0, "percent": 25, "current_step": "half-way"}
    lifecycle.report_progress(claimed, told)
    after = caller.get(f"{EXECUTIONS}/{execution.id}/progress").json()

    nothing = {"done": 0, "total": 0, "failed": 0, "percent": 0, "current_step": ""}
    assert before["progress"] == nothing
    assert (after["progress"], after["status"], after["number"]) == (
        told,
        "running",
        execution.number,
    )


@pytest.mark.parametrize("verb", ["cancel", "abort"])
def test_what_has_not_started_is_cancelled_at_once(
    caller: APIClient, person: User, verb: str
) -> None:
    execution = ExecutionFactory.create(owner=person)

    answer = caller.post(f"{EXECUTIONS}/{execution.number}/{verb}")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert AuditEntry.objects.get(action="execution.cancelled").actor_id == person.pk


def test_what_runs_is_asked_to_stop(caller: APIClient, person: User) -> None:
    execution = ExecutionFactory.create(owner=person, status=ExecutionStatus.RUNNING)

    answer = caller.post(f"{EXECUTIONS}/{execution.id}/cancel")

    row: dict[str, Any] = answer.json()
    assert (answer.status_code, row["status"], row["cancel_requested"]) == (202, "running", True)
    assert answer["Location"] == f"{EXECUTIONS}/{execution.id}"


def test_what_has_ended_cannot_be_cancelled(caller: APIClient, person: User) -> None:
    execution = ExecutionFactory.create(owner=person)
    (claimed,) = lifecycle.claim([execution.id], worker_id="worker-1")
    verbs.complete(claimed, output={"said": "hello"})

    answer = caller.post(f"{EXECUTIONS}/{execution.id}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert Execution.objects.get().status == ExecutionStatus.COMPLETED


def test_a_filter_without_an_index_looks_through_few_rows_and_goes_on(
    caller: APIClient, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "LOOKED_THROUGH", 4)
    now = clock.now()
    needles = [
        ExecutionFactory.create(
            id=ids.new(now + timedelta(milliseconds=one)),
            owner=person,
            name="needle" if one in {1, 8} else "hay",
        )
        for one in range(10)
    ]
    wanted = [str(needles[8].id), str(needles[1].id)]

    pages = [caller.get(f"{EXECUTIONS}?search=needle").json()]
    while pages[-1]["next"]:
        pages.append(caller.get(pages[-1]["next"]).json())

    assert [ids_of(one) for one in pages] == [wanted[:1], [], wanted[1:]]
    back = caller.get(pages[-1]["previous"]).json()
    assert ids_of(back) == []
    assert ids_of(caller.get(back["next"]).json()) == wanted[1:]
    assert ids_of(caller.get(back["previous"]).json()) == wanted[:1]


def test_what_was_not_looked_through_is_not_counted(
    caller: APIClient, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "LOOKED_THROUGH", 2)
    for _ in range(3):
        ExecutionFactory.create(owner=person)

    page = caller.get(f"{EXECUTIONS}?trigger=manual&count=capped").json()

    assert (page["count"], page["count_capped"]) == (2, True)


@pytest.mark.parametrize("chosen", ["status=queued", "scheduleId={schedule}", "search=%23{number}"])
def test_what_an_index_finds_is_found_however_old(
    caller: APIClient, person: User, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    monkeypatch.setattr(pagination, "LOOKED_THROUGH", 1)
    before = ids.new(clock.now() - timedelta(seconds=1))
    old = ExecutionFactory.create(id=before, owner=person, schedule_id=uuid4())
    for _ in range(3):
        lifecycle.cancel(ExecutionFactory.create(owner=person))

    query = chosen.format(schedule=old.schedule_id, number=old.number)
    page = caller.get(f"{EXECUTIONS}?{query}").json()

    assert (ids_of(page), page["next"]) == ([str(old.id)], None)
