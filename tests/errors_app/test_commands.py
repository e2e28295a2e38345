"""`errors`, `dead_letters` and `locks`: what a person decides about failures at a terminal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from errors_app import history, recovery
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.ledger import Claimed
from executions_app.models import AuditEntry, Execution
from executions_app.states import LostRace
from tests import verbs
from tests.errors_app.conftest import RNG
from tests.terminal import run

Held = Callable[..., Claimed]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def root(operator: User) -> User:
    return User.objects.create_superuser("root")


def fail(claimed: Claimed, error_class: ErrorClass = ErrorClass.TRANSIENT) -> ErrorRecord:
    recovery.recover(claimed, HandlerError("no answer", error_class=error_class), rng=RNG)
    return ErrorRecord.objects.get(execution_id=claimed.id)


def execution_of(record: ErrorRecord) -> Execution:
    assert record.execution_id is not None
    return Execution.objects.get(id=record.execution_id)


def test_errors_are_listed_by_status_class_schedule_and_execution(held: Held) -> None:
    retried, given_up = fail(held()), fail(held(max_retries=0))
    execution = execution_of(given_up)

    def listed(*arguments: str) -> set[str]:
        return {one["id"] for one in run("errors", "list", *arguments, "--json").document}

    assert listed() == {str(retried.id), str(given_up.id)}
    assert listed("--status", "escalated") == {str(given_up.id)}
    assert listed("--class", "lost") == set()
    assert listed("--schedule", "a job") == {str(retried.id), str(given_up.id)}
    assert listed("--execution", str(execution.number)) == {str(given_up.id)}


def test_the_numbers_of_each_kind_are_told(held: Held) -> None:
    fail(held())
    fail(held(max_retries=0))

    told = run("errors", "status", "--json").document

    assert told["recovery_status"] == {"retry_scheduled": 1, "escalated": 1}
    assert told["error_class"] == {"transient": 2}
    assert told["open_dead_letters"] == 1


def test_an_error_is_shown_with_its_stack(held: Held) -> None:
    record = fail(held())

    shown = run("errors", "show", str(record.id), "--json")

    assert shown.document["message"] == "no answer"
    assert "HandlerError" in shown.document["stack"]
    assert run("errors", "show", "nothing").exit_code == 4


@pytest.mark.parametrize(
    ("verb", "status"), [("resolve", "resolved"), ("ignore", "ignored"), ("escalate", "escalated")]
)
def test_a_decision_is_stored_with_its_note_and_person(
    held: Held, operator: User, verb: str, status: str
) -> None:
    record = fail(held())

    ended = run("errors", verb, str(record.id), "--note", "seen", "--user", "operator", "--json")

    record.refresh_from_db()
    assert ended.exit_code == 0
    assert (record.recovery_status, record.note) == (status, "seen")
    assert record.handled_by == operator


def test_a_decided_error_refuses_another_decision(held: Held) -> None:
    record = fail(held())
    run("errors", "resolve", str(record.id))

    ended = run("errors", "retry", str(record.id), "--json")

    assert ended.exit_code == 5
    assert ended.document["error"]["code"] == "refused"


def test_a_dead_letter_is_requeued_by_the_number_of_its_execution(held: Held) -> None:
    execution = execution_of(fail(held(max_retries=0)))

    ended = run("dead_letters", "requeue", str(execution.number), "--json")

    execution.refresh_from_db()
    assert [one["handling"] for one in ended.document] == ["requeued"]
    assert (execution.status, execution.max_attempts) == ("pending", 2)
    assert run("dead_letters", "list", "--json").document == []


def test_a_dead_letter_is_discarded_only_when_confirmed(held: Held) -> None:
    fail(held(max_retries=0))
    letter = DeadLetter.objects.get()

    refused = run("dead_letters", "discard", str(letter.id))
    letter.refresh_from_db()
    handling = letter.handling
    discarded = run("dead_letters", "discard", str(letter.id), "--yes")
    letter.refresh_from_db()

    assert (refused.exit_code, handling) == (5, "")
    assert (discarded.exit_code, letter.handling) == (0, "discarded")


def test_held_leases_are_listed_with_their_owner(held: Held) -> None:
    claimed = held()

    listed = run("locks", "list", "--json").document

    (lease,) = listed["leases"]
    assert (listed["held"], listed["expired"]) == (1, 0)
    assert (lease["execution_id"], lease["owner"]) == (str(claimed.id), "worker-1")
    assert lease["expires_at"] > lease["acquired_at"]


def test_a_released_lease_is_lost_to_its_worker_and_tried_again(held: Held) -> None:
    claimed = held()

    ended = run("locks", "release", str(claimed.number), "--note", "it hangs", "--json")

    record = ErrorRecord.objects.get(execution_id=claimed.id)
    entry = AuditEntry.objects.get(action="lease.released")
    assert (ended.exit_code, ended.document["status"]) == (0, "pending")
    assert (record.error_class, record.recovery_status) == ("lost", "retry_scheduled")
    assert (entry.actor, entry.note, entry.object_id) == ("root", "it hangs", str(claimed.id))
    with pytest.raises(LostRace):
        verbs.complete(claimed, output=None)


def test_a_lease_that_nobody_holds_cannot_be_released(held: Held) -> None:
    claimed = held()
    verbs.complete(claimed, output=None)

    ended = run("locks", "release", str(claimed.number))

    assert ended.exit_code == 5
    assert not AuditEntry.objects.filter(action="lease.released").exists()


def test_the_history_of_an_execution_has_its_errors_with_their_stacks(held: Held) -> None:
    claimed = held()
    fail(claimed)

    lines = history.lines(claimed.id)

    assert {one.type for one in lines} == {
        "execution:queued", "execution:started", "execution:retry_scheduled", "error:recorded",
    }  # fmt: skip
    (told,) = (one for one in lines if one.type == "error:recorded")
    assert told.data["message"] == "no answer"
    assert "HandlerError" in told.detail
    assert history.lines(claimed.id, seen={one.id for one in lines}) == []


def test_people_read_lists_as_plain_text(held: Held) -> None:
    fail(held(max_retries=0))
    held()

    texts = [run(command, "list").stdout for command in ("errors", "dead_letters", "locks")]

    assert all("a job" in text and "\x1b" not in text for text in texts)
