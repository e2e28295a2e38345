"""Errors and dead letters over HTTP: who sees them, and what people decide about them."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from errors_app import overview, recovery
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock
from executions_app.ledger import Claimed
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from tests.errors_app.conftest import RNG
from tests.factories import UserFactory
from tests.rest import ids_of, signed_in

ERRORS = "/api/errors/errors"
LETTERS = "/api/errors/dead-letters"
Held = Callable[..., Claimed]


@pytest.fixture
def caller(operator: User) -> APIClient:
    """Signed in as the owner of what `held` makes."""
    return signed_in(operator)


def fail(claimed: Claimed, error_class: ErrorClass = ErrorClass.PERMANENT) -> ErrorRecord:
    recovery.recover(claimed, HandlerError("it broke", error_class=error_class), rng=RNG)
    return ErrorRecord.objects.get(execution_id=claimed.id)


def test_an_error_is_shown_with_what_is_known_of_it(caller: APIClient, held: Held) -> None:
    record = fail(held())

    row = caller.get(f"{ERRORS}/{record.id}").json()

    assert row["execution_id"] == str(record.execution_id)
    assert (row["error_class"], row["severity"]) == ("permanent", "high")
    assert (row["message"], row["recovery_status"]) == ("it broke", "escalated")
    assert (row["attempt"], row["worker_id"]) == (1, "worker-1")
    assert row["ended_at"].endswith("Z")


@pytest.mark.parametrize(
    "query",
    ["recoveryStatus=escalated", "recovery_status=escalated,ignored", "severity=high,critical",
     "errorClass=permanent"],
)  # fmt: skip
def test_a_list_holds_what_its_filters_name(caller: APIClient, held: Held, query: str) -> None:
    given_up = fail(held())
    fail(held(), ErrorClass.TRANSIENT)

    page = caller.get(f"{ERRORS}?{query}").json()

    assert ids_of(page) == [str(given_up.id)]


def test_errors_of_one_execution_and_of_one_schedule(
    caller: APIClient, held: Held, operator: User
) -> None:
    schedule_id = uuid4()
    of_schedule = ErrorRecord.objects.get(id=_schedule_error(schedule_id, operator))
    of_execution = fail(held())

    by_schedule = caller.get(f"{ERRORS}?scheduleId={schedule_id}").json()
    by_execution = caller.get(f"{ERRORS}?executionId={of_execution.execution_id}").json()

    assert ids_of(by_schedule) == [str(of_schedule.id)]
    assert ids_of(by_execution) == [str(of_execution.id)]


def _schedule_error(schedule_id: UUID, owner: User) -> UUID:
    recovery.record_schedule_failure(
        schedule_id=schedule_id,
        owner_id=owner.pk,
        error=ValueError("no such rule"),
        now=clock.now(),
        note="",
    )
    return ErrorRecord.objects.get(schedule_id=schedule_id).id


@pytest.mark.parametrize("query", ["recoveryStatus=lost", "severity=7", "scheduleId=7"])
def test_a_query_that_means_nothing_is_refused(caller: APIClient, query: str) -> None:
    assert caller.get(f"{ERRORS}?{query}").status_code == 400


def test_what_belongs_to_others_is_not_there(held: Held) -> None:
    record = fail(held())
    letter = DeadLetter.objects.get()
    stranger = signed_in(UserFactory.create())

    acts = ["retry", "resolve", "ignore", "escalate"]
    answers = [
        stranger.get(f"{ERRORS}/{record.id}"),
        *(stranger.post(f"{ERRORS}/{record.id}/{act}") for act in acts),
        *(stranger.post(f"{LETTERS}/{letter.id}/{act}") for act in ("requeue", "discard")),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert ids_of(stranger.get(ERRORS).json()) == ids_of(stranger.get(LETTERS).json()) == []


def test_a_retry_gives_the_execution_a_new_budget(caller: APIClient, held: Held) -> None:
    record = fail(held())

    answer = caller.post(f"{ERRORS}/{record.id}/retry", {"note": "fixed the server"})

    assert (answer.status_code, answer.json()["recovery_status"]) == (202, "retrying")
    assert answer["Location"] == f"/api/execution/executions/{record.execution_id}"
    assert answer.json()["note"] == "fixed the server"
    execution = Execution.objects.get()
    assert (execution.status, execution.max_attempts) == (ExecutionStatus.PENDING, 5)


def test_an_error_of_no_execution_cannot_be_retried(caller: APIClient, operator: User) -> None:
    error_id = _schedule_error(uuid4(), operator)

    assert caller.post(f"{ERRORS}/{error_id}/retry").status_code == 409


@pytest.mark.parametrize(
    ("act", "status"), [("resolve", "resolved"), ("ignore", "ignored"), ("escalate", "escalated")]
)
def test_a_decision_is_kept_with_who_and_why(
    caller: APIClient, operator: User, held: Held, act: str, status: str
) -> None:
    record = fail(held(), ErrorClass.TRANSIENT)

    row = caller.post(f"{ERRORS}/{record.id}/{act}", {"note": "seen"}).json()

    assert (row["recovery_status"], row["note"]) == (status, "seen")
    assert row["handled_by"] == operator.pk
    assert row["handled_at"] is not None


@pytest.mark.parametrize("act", ["resolve", "ignore", "escalate"])
def test_a_decision_says_what_happens_to_the_execution(
    caller: APIClient, held: Held, act: str
) -> None:
    waiting = fail(held(), ErrorClass.TRANSIENT)

    row = caller.post(f"{ERRORS}/{waiting.id}/{act}").json()

    assert row["execution_status"] == "pending"
    assert row["execution_due_at"] == row["retry_at"] is not None


def test_a_decision_about_what_was_given_up_says_that_it_is_not_tried_again(
    caller: APIClient, held: Held
) -> None:
    row = caller.post(f"{ERRORS}/{fail(held()).id}/resolve").json()

    assert (row["execution_status"], row["execution_due_at"]) == ("failed", None)


def test_an_illegal_decision_is_a_conflict_and_changes_nothing(
    caller: APIClient, held: Held
) -> None:
    record = fail(held())
    caller.post(f"{ERRORS}/{record.id}/resolve")

    answers = [
        caller.post(f"{ERRORS}/{record.id}/{act}")
        for act in ("retry", "resolve", "ignore", "escalate")
    ]

    assert {answer.status_code for answer in answers} == {409}
    assert ErrorRecord.objects.get().recovery_status == "resolved"


def test_an_unknown_word_in_a_decision_is_refused(caller: APIClient, held: Held) -> None:
    record = fail(held())

    answer = caller.post(f"{ERRORS}/{record.id}/ignore", {"reason": "seen"})

    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/reason"]


def test_the_status_counts_by_state_and_severity(caller: APIClient, held: Held) -> None:
    fail(held())
    waiting = fail(held(), ErrorClass.TRANSIENT)

    status = caller.get("/api/errors/status").json()

    assert status["running"] is True
    assert status["by_status"] == {
        "pending": 0,
        "retry_scheduled": 1,
        "retrying": 0,
        "resolved": 0,
        "ignored": 0,
        "escalated": 1,
    }
    assert status["by_severity"] == {"low": 1, "medium": 0, "high": 1, "critical": 0}
    assert status["open_dead_letters"] == 1
    assert waiting.retry_at is not None
    assert status["next_retry_at"] == waiting.retry_at.isoformat().replace("+00:00", "Z")
    assert status["is_partial"] is False


@pytest.mark.django_db(transaction=True)
def test_what_is_open_is_counted_however_old_and_of_the_rest_the_newest(
    caller: APIClient, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "COUNTED", 2)
    fail(held(), ErrorClass.TRANSIENT)
    for _ in range(4):
        fail(held())

    status = caller.get("/api/errors/status").json()

    assert status["by_status"]["retry_scheduled"] == 1
    assert status["by_status"]["escalated"] == 2
    assert status["next_retry_at"] is not None
    assert status["is_partial"] is True


def test_a_dead_letter_stands_in_the_list_until_it_is_requeued(
    caller: APIClient, held: Held
) -> None:
    fail(held())

    (letter,) = caller.get(LETTERS).json()["results"]
    answer = caller.post(f"{LETTERS}/{letter['id']}/requeue")

    assert letter["payload"]["snapshot"]["name"] == "a job"
    assert (answer.status_code, answer.json()["handling"]) == (202, "requeued")
    assert Execution.objects.get().status == ExecutionStatus.PENDING
    assert ids_of(caller.get(LETTERS).json()) == []
    assert ids_of(caller.get(f"{LETTERS}?handling=requeued").json()) == [letter["id"]]


def test_a_discarded_letter_is_never_requeued(caller: APIClient, held: Held) -> None:
    fail(held())
    letter = DeadLetter.objects.get()

    discarded = caller.post(f"{LETTERS}/{letter.id}/discard", {"note": "obsolete"})
    again = caller.post(f"{LETTERS}/{letter.id}/requeue")

    assert (discarded.status_code, discarded.json()["handling"]) == (200, "discarded")
    assert again.status_code == 409
    assert Execution.objects.get().status == ExecutionStatus.FAILED


@pytest.mark.parametrize("path", [ERRORS, LETTERS])
def test_a_longer_page_costs_no_more_statements(
    caller: APIClient, held: Held, django_assert_num_queries: DjangoAssertNumQueries, path: str
) -> None:
    caller.get(path)  # the token's use is noted once a minute
    for _ in range(4):
        fail(held())

    with django_assert_num_queries(2):  # token, rows
        caller.get(f"{path}?page_size=1")
    with django_assert_num_queries(2):
        page = caller.get(f"{path}?page_size=4").json()

    assert len(page["results"]) == 4
