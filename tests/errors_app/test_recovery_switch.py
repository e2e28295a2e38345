"""Recovery held back as a whole: over HTTP, by operators, and what it holds back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from errors_app import handling, recovery, rescuer
from errors_app.models import ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.audit import Actor
from executions_app.ledger import Claimed
from executions_app.models import AuditEntry, SystemState
from executions_app.permissions import OPERATOR
from tests import verbs
from tests.errors_app.conftest import RNG
from tests.rest import signed_in

Held = Callable[..., Claimed]
pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(operator: User) -> APIClient:
    SystemState.objects.get_or_create(id=1)
    operator.groups.add(Group.objects.get_or_create(name=OPERATOR)[0])
    return signed_in(operator)


def test_recovery_is_stopped_and_started_and_says_so(caller: APIClient) -> None:
    stopped = caller.post("/api/errors/recovery/stop")
    seen = caller.get("/api/errors/status").json()["running"]
    started = caller.post("/api/errors/recovery/start")

    assert (stopped.status_code, stopped.json()["running"], seen) == (200, False, False)
    assert (started.status_code, started.json()["running"]) == (200, True)
    actions = AuditEntry.objects.filter(action__startswith="recovery.").values_list(
        "action", "actor"
    )
    assert set(actions) == {("recovery.stopped", "operator"), ("recovery.started", "operator")}


def test_the_status_says_when_recovery_has_looked_last(caller: APIClient) -> None:
    before = caller.get("/api/errors/status").json()["last_run_at"]

    rescuer.rescue_lost(rng=RNG)

    assert before is None
    assert caller.get("/api/errors/status").json()["last_run_at"] is not None


def test_who_is_no_operator_stops_nothing() -> None:
    SystemState.objects.get_or_create(id=1)
    stranger = signed_in(User.objects.create_user("stranger"))

    answer = stranger.post("/api/errors/recovery/stop")

    assert (answer.status_code, answer.json()["code"]) == (403, "operator_needed")
    assert SystemState.objects.get().error_recovery_running


def test_while_it_is_stopped_a_retry_by_hand_waits_as_well(
    caller: APIClient, held: Held, operator: User
) -> None:
    claimed = held(max_retries=0)
    error = HandlerError("no answer", error_class=ErrorClass.TRANSIENT)
    recovery.recover(claimed, error, rng=RNG)
    caller.post("/api/errors/recovery/stop")

    handling.retry(ErrorRecord.objects.get(), actor=Actor.of(operator))
    while_stopped = verbs.queue_due(limit=10)
    caller.post("/api/errors/recovery/start")
    afterwards = verbs.queue_due(limit=10)

    assert while_stopped == []
    assert [message.execution_id for message, _ in afterwards] == [claimed.id]
