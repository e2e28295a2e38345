"""What went wrong, in the admin: decisions on errors, dead letters and leases, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from errors_app import recovery
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.ledger import Claimed
from executions_app.models import AuditEntry, Execution
from tests.errors_app.conftest import RNG

Held = Callable[..., Claimed]
pytestmark = pytest.mark.django_db

ERRORS = "admin:errors_app_errorrecord_changelist"
LETTERS = "admin:errors_app_deadletter_changelist"
EXECUTIONS = "admin:executions_app_execution_changelist"


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def fail(claimed: Claimed) -> ErrorRecord:
    error = HandlerError("no answer", error_class=ErrorClass.TRANSIENT)
    recovery.recover(claimed, error, rng=RNG)
    return ErrorRecord.objects.get(execution_id=claimed.id)


def act(client: Client, page: str, action: str, *rows: Any) -> str:
    chosen = {"action": action, "_selected_action": [str(one.pk) for one in rows]}
    return client.post(reverse(page), chosen, follow=True).content.decode()


def execution_of(record: ErrorRecord) -> Execution:
    assert record.execution_id is not None
    return Execution.objects.get(id=record.execution_id)


def letter_of(record: ErrorRecord) -> DeadLetter:
    return DeadLetter.objects.get(execution_id=execution_of(record).id)


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("retry", "retrying"),
        ("resolve", "resolved"),
        ("ignore", "ignored"),
        ("escalate", "escalated"),
    ],
)
def test_an_error_is_decided_with_the_person_noted(
    root: Client, held: Held, action: str, status: str
) -> None:
    record = fail(held())

    act(root, ERRORS, action, record)

    record.refresh_from_db()
    assert record.recovery_status == status
    assert record.handled_by is not None
    assert record.handled_by.get_username() == "root"


def test_one_refused_decision_does_not_stop_the_others(root: Client, held: Held) -> None:
    decided, waiting = fail(held()), fail(held())
    act(root, ERRORS, "resolve", decided)

    page = act(root, ERRORS, "ignore", decided, waiting)

    waiting.refresh_from_db()
    assert "1 ignored" in page
    assert "cannot move from" in page
    assert waiting.recovery_status == "ignored"


def test_dead_letters_are_requeued_and_discarded(root: Client, held: Held) -> None:
    requeued, discarded = fail(held(max_retries=0)), fail(held(max_retries=0))

    act(root, LETTERS, "requeue", letter_of(requeued))
    act(root, LETTERS, "discard", letter_of(discarded))

    assert execution_of(requeued).status == "pending"
    assert execution_of(discarded).discarded_at is not None
    assert {one.handling for one in DeadLetter.objects.all()} == {"requeued", "discarded"}


def test_what_was_given_up_is_retried_from_the_list_of_executions(root: Client, held: Held) -> None:
    given_up, retried = fail(held(max_retries=0)), fail(held())

    page = act(root, EXECUTIONS, "retry", execution_of(given_up), execution_of(retried))

    assert "1 requeued" in page
    assert "only what was given up can be retried" in page
    assert execution_of(given_up).status == "pending"


def test_a_lease_is_released_and_audited(root: Client, held: Held) -> None:
    running = Execution.objects.get(id=held().id)

    page = act(root, EXECUTIONS, "release_lease", running)

    running.refresh_from_db()
    assert "1 released" in page
    assert (running.status, running.lease_token) == ("pending", None)
    assert AuditEntry.objects.get(action="lease.released").actor == "root"


def test_errors_are_filtered_and_searched(root: Client, held: Held) -> None:
    retried, given_up = fail(held()), fail(held(max_retries=0))

    def found(**query: str) -> set[Any]:
        page = root.get(reverse(ERRORS), query)
        return {one.id for one in page.context["cl"].result_list}

    assert found(recovery_status="escalated") == {given_up.id}
    assert found(error_class="transient", since="day") == {retried.id, given_up.id}
    assert found(severity="critical") == set()
    assert found(q="no answer") == {retried.id, given_up.id}


def test_others_do_not_see_or_decide_foreign_errors(client: Client, held: Held) -> None:
    record = fail(held(max_retries=0))
    user = User.objects.create_user("visitor", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="errors_app"))
    client.force_login(user)

    act(client, ERRORS, "resolve", record)
    page = client.get(reverse(LETTERS))

    record.refresh_from_db()
    assert record.recovery_status == "escalated"
    assert list(page.context["cl"].result_list) == []
