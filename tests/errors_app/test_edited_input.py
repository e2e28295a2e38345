"""Another try with other input: the execution takes it, the dead letter keeps what failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from errors_app import handling, recovery
from errors_app.edited_input import MOST_BYTES, UnusableParameters
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, lifecycle
from executions_app.audit import Actor
from executions_app.ledger import Claimed
from executions_app.models import AuditEntry, Execution, SystemState
from tests import verbs
from tests.errors_app.conftest import RNG
from tests.rest import signed_in
from tests.terminal import run

Held = Callable[..., Claimed]
EDITED = {"rows": [1, 2], "name": "käse"}
pytestmark = pytest.mark.django_db


def fail(held: Held, error_class: ErrorClass = ErrorClass.PERMANENT) -> ErrorRecord:
    claimed = held()
    Execution.objects.filter(id=claimed.id).update(parameters={"rows": 0})
    error = HandlerError("no such row", error_class=error_class)
    recovery.recover(claimed, error, rng=RNG)
    return ErrorRecord.objects.get(execution_id=claimed.id)


def given_to_the_next_attempt() -> dict[str, Any]:
    SystemState.objects.get_or_create(id=1)
    execution = Execution.objects.get()
    Execution.objects.update(due_at=clock.now())
    verbs.queue_due(limit=10)
    (claimed,) = lifecycle.claim([execution.id], worker_id="worker-2")
    return claimed.parameters


@pytest.fixture
def caller(operator: User) -> APIClient:
    return signed_in(operator)


def test_a_retry_of_an_error_takes_other_parameters(caller: APIClient, held: Held) -> None:
    record = fail(held)

    answer = caller.post(
        f"/api/errors/errors/{record.id}/retry", {"parameters": EDITED, "note": "typo"}
    )

    assert answer.status_code == 202
    assert given_to_the_next_attempt() == EDITED
    entry = AuditEntry.objects.get(action="execution.edited")
    assert (entry.before, entry.after) == ({"parameters": {"rows": 0}}, {"parameters": EDITED})
    assert (entry.object_id, entry.actor) == (str(record.execution_id), "operator")


def test_a_retry_that_is_already_due_later_takes_them_too(caller: APIClient, held: Held) -> None:
    record = fail(held, ErrorClass.TRANSIENT)

    answer = caller.post(f"/api/errors/errors/{record.id}/retry", {"parameters": EDITED})

    assert answer.status_code == 202
    assert given_to_the_next_attempt() == EDITED


def test_a_requeue_takes_them_and_the_dead_letter_keeps_those_that_failed(
    caller: APIClient, held: Held
) -> None:
    fail(held)
    letter = DeadLetter.objects.get()
    payload = letter.payload

    answer = caller.post(f"/api/errors/dead-letters/{letter.id}/requeue", {"parameters": EDITED})

    assert answer.status_code == 202
    letter.refresh_from_db()
    assert letter.payload == payload
    assert given_to_the_next_attempt() == EDITED


def test_without_parameters_the_execution_keeps_its_own(caller: APIClient, held: Held) -> None:
    record = fail(held)

    caller.post(f"/api/errors/errors/{record.id}/retry", {})

    assert given_to_the_next_attempt() == {"rows": 0}
    assert not AuditEntry.objects.filter(action="execution.edited").exists()


@pytest.mark.parametrize(
    "wrong", [[1], "text", None, {"text": "x" * MOST_BYTES}], ids=["list", "text", "null", "long"]
)
def test_parameters_that_no_execution_can_have_change_nothing(
    caller: APIClient, held: Held, wrong: object
) -> None:
    record = fail(held)

    answer = caller.post(f"/api/errors/errors/{record.id}/retry", {"parameters": wrong})

    assert answer.status_code == 400
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/parameters"]
    record.refresh_from_db()
    assert record.recovery_status == "escalated"
    assert Execution.objects.get().status == "failed"


def test_a_refused_requeue_leaves_the_letter_open(held: Held, operator: User) -> None:
    fail(held)
    letter = DeadLetter.objects.get()

    with pytest.raises(UnusableParameters, match="longer"):
        handling.requeue(letter, actor=Actor.of(operator), parameters={"text": "x" * MOST_BYTES})

    letter.refresh_from_db()
    assert (letter.handling, Execution.objects.get().status) == ("", "failed")


@pytest.mark.parametrize("verb", ["errors", "execution"])
def test_they_are_given_at_a_terminal(held: Held, verb: str) -> None:
    User.objects.create_superuser("root")
    record = fail(held)
    named = {"errors": str(record.id), "execution": str(record.execution_id)}[verb]

    wrong = run(verb, "retry", named, "--parameters", "[1]")
    done = run(verb, "retry", named, "--parameters", json.dumps(EDITED))

    assert (wrong.exit_code, done.exit_code) == (2, 0)
    assert "no JSON object" in wrong.stderr
    assert given_to_the_next_attempt() == EDITED
