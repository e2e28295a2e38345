"""Dead letters: what was given up stays with all that is known of it, and is chosen by filters."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from rest_framework.test import APIClient

from errors_app import handling, history, many, recovery
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, ids, lifecycle
from executions_app.audit import Actor
from executions_app.ledger import Claimed
from executions_app.models import Execution, SystemState
from tests import verbs
from tests.errors_app.conftest import RNG
from tests.factories import UserFactory
from tests.rest import ids_of, signed_in
from tests.scale import plans
from tests.terminal import run

LETTERS = "/api/errors/dead-letters"
Held = Callable[..., Claimed]
pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(operator: User) -> APIClient:
    SystemState.objects.get_or_create(id=1)
    return signed_in(operator)


def fail(claimed: Claimed, error_class: ErrorClass = ErrorClass.TRANSIENT) -> Execution:
    """One attempt that breaks with a stack."""
    try:
        break_down(claimed, error_class)
    except HandlerError as error:
        recovery.recover(claimed, error, rng=RNG)
    return Execution.objects.get(id=claimed.id)


def break_down(claimed: Claimed, error_class: ErrorClass) -> None:
    raise HandlerError(f"attempt {claimed.attempt} broke", error_class=error_class)


def give_up(held: Held, error_class: ErrorClass = ErrorClass.PERMANENT) -> DeadLetter:
    execution = fail(held(max_retries=0), error_class)
    return DeadLetter.objects.get(execution_id=execution.id, handling="")


def try_again(execution: Execution) -> Claimed:
    Execution.objects.filter(id=execution.id).update(due_at=clock.now())
    verbs.queue_due(limit=1, ids=[execution.id])
    (claimed,) = lifecycle.claim([execution.id], worker_id="worker-2")
    return claimed


def test_a_dead_letter_alone_tells_every_attempt_and_the_last_error(
    caller: APIClient, held: Held
) -> None:
    fail(try_again(fail(held(max_retries=1))))
    letter = DeadLetter.objects.get()

    row = caller.get(f"{LETTERS}/{letter.id}").json()

    assert (row["attempts"], row["execution_status"], row["handling"]) == (2, "failed", "")
    assert [one["message"] for one in row["failed_attempts"]] == [
        "attempt 1 broke", "attempt 2 broke",
    ]  # fmt: skip
    assert [one["worker_id"] for one in row["failed_attempts"]] == ["worker-1", "worker-2"]
    assert row["last_error"]["id"] == row["last_error_id"]
    assert "HandlerError" in row["last_error"]["stack"]
    assert row["last_error"]["context"]["given_up"] == "all 2 attempts are used up"
    assert row["payload"]["snapshot"]["task_type"] == "noop"
    assert row["payload"]["parameters"] == {}


def test_a_dead_letter_whose_history_is_gone_is_still_told(caller: APIClient, held: Held) -> None:
    letter = give_up(held)
    ErrorRecord.objects.all().delete()

    row = caller.get(f"{LETTERS}/{letter.id}").json()

    assert (row["last_error"], row["failed_attempts"]) == (None, [])
    assert row["message"] == "attempt 1 broke"


def test_a_dead_letter_of_somebody_else_is_not_there(held: Held) -> None:
    letter = give_up(held)
    stranger = signed_in(UserFactory.create())

    assert stranger.get(f"{LETTERS}/{letter.id}").status_code == 404
    assert ids_of(stranger.get(f"{LETTERS}?handling=all").json()) == []


def test_dead_letters_are_found_by_class_time_schedule_and_what_was_decided(
    caller: APIClient, held: Held, operator: User
) -> None:
    old, new = give_up(held), give_up(held, ErrorClass.TIMEOUT)
    discarded, schedule_id = give_up(held), ids.new(clock.now())
    long_ago = clock.now() - timedelta(days=2)
    DeadLetter.objects.filter(id=old.id).update(id=(old_id := ids.new(long_ago)))
    DeadLetter.objects.filter(id=new.id).update(schedule_id=schedule_id)
    many.discard([discarded.id], actor=Actor.of(operator), note="", facts={})
    yesterday = f"{clock.now() - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"

    def found(query: str) -> set[str]:
        return set(ids_of(caller.get(f"{LETTERS}?{query}").json()))

    assert found("") == {str(old_id), str(new.id)}
    assert found("errorClass=timeout,lost") == {str(new.id)}
    assert found(f"createdAfter={yesterday}") == {str(new.id)}
    assert found(f"created_before={yesterday}") == {str(old_id)}
    assert found(f"schedule_id={schedule_id}") == {str(new.id)}
    assert found("handling=discarded") == {str(discarded.id)}
    assert len(found("handling=all")) == 3
    assert caller.get(f"{LETTERS}?created_after=soon").status_code == 400


def test_a_requeue_makes_the_execution_run_again_and_a_new_failure_a_new_letter(
    caller: APIClient, held: Held
) -> None:
    letter = give_up(held)

    caller.post(f"{LETTERS}/{letter.id}/requeue", {"note": "fixed"})
    again = fail(try_again(Execution.objects.get()), ErrorClass.PERMANENT)

    assert (again.status, again.attempt) == ("failed", 2)
    assert set(DeadLetter.objects.values_list("handling", "attempts")) == {("requeued", 1), ("", 2)}


def give_up_twice(held: Held) -> Execution:
    """Two failed attempts, and both are escalated."""
    execution = fail(try_again(fail(held(max_retries=1))))
    recovery.settle({execution.id: "failed"})
    assert recoveries() == ["escalated", "escalated"]
    return execution


def recoveries() -> list[str]:
    return list(ErrorRecord.objects.order_by("id").values_list("recovery_status", flat=True))


def requeue_it(actor: Actor) -> None:
    handling.requeue(DeadLetter.objects.get(), actor=actor)


def requeue_all(actor: Actor) -> None:
    chosen = list(DeadLetter.objects.values_list("id", flat=True))
    assert many.requeue(chosen, actor=actor, note="", facts={}) == {}


def requeue_the_execution(actor: Actor) -> None:
    handling.requeue_execution(Execution.objects.get(), actor=actor)


def requeue_executions(actor: Actor) -> None:
    chosen = list(Execution.objects.values_list("id", flat=True))
    assert many.requeue_executions(chosen, actor=actor, note="", facts={}) == {}


def retry_the_first(actor: Actor) -> None:
    handling.retry(ErrorRecord.objects.earliest("id"), actor=actor)


def retry_the_last(actor: Actor) -> None:
    handling.retry(ErrorRecord.objects.latest("id"), actor=actor)


@pytest.mark.parametrize(
    "requeue",
    [
        requeue_it,
        requeue_all,
        requeue_the_execution,
        requeue_executions,
        retry_the_first,
        retry_the_last,
    ],
)
def test_all_errors_of_what_is_requeued_follow_it_to_its_end(
    held: Held, operator: User, requeue: Callable[[Actor], None]
) -> None:
    execution = give_up_twice(held)

    requeue(Actor.of(operator))
    on_its_way = recoveries()
    lifecycle.leave_now(lifecycle.completion(try_again(execution), output=None))
    recovery.settle({execution.id: "completed"})

    assert on_its_way == ["retrying", "retrying"]
    assert recoveries() == ["resolved", "resolved"]


def test_all_errors_of_what_fails_again_are_escalated_again(held: Held, operator: User) -> None:
    execution = give_up_twice(held)

    requeue_it(Actor.of(operator))
    fail(try_again(execution), ErrorClass.PERMANENT)
    recovery.settle({execution.id: "failed"})

    assert recoveries() == ["escalated", "escalated", "escalated"]


def test_what_a_person_closed_stays_closed_after_a_requeue(held: Held, operator: User) -> None:
    give_up_twice(held)
    handling.ignore(ErrorRecord.objects.earliest("id"), actor=Actor.of(operator))

    requeue_it(Actor.of(operator))

    assert recoveries() == ["ignored", "retrying"]


@pytest.mark.parametrize("verb", ["resolve", "ignore"])
def test_the_terminal_says_what_is_still_tried_after_its_error_was_closed(
    held: Held, verb: str
) -> None:
    User.objects.create_superuser("root")
    waiting, dead = fail(held(max_retries=1)), fail(held(max_retries=0))
    chosen = [str(one) for one in ErrorRecord.objects.order_by("id").values_list("id", flat=True)]

    said = run("errors", verb, *chosen).stdout

    assert f"#{waiting.number} is still to be tried" in said
    assert f"#{dead.number} " not in said


@pytest.mark.django_db(transaction=True)
def test_a_requeue_beside_the_settling_of_the_failure_is_not_undone_by_it(
    held: Held, operator: User
) -> None:
    execution = fail(try_again(fail(held(max_retries=1))))
    with transaction.atomic():
        recovery.mark_retrying([execution.id])
    assert recoveries() == ["retrying", "escalated"]

    with ThreadPoolExecutor(1) as beside:
        with transaction.atomic():
            requeue_it(Actor.of(operator))
            settling = beside.submit(settle_alone, execution)
            until_somebody_waits_for_a_row()
        settling.result(timeout=30)

    assert recoveries() == ["retrying", "retrying"]


def settle_alone(execution: Execution) -> None:
    try:
        with transaction.atomic():
            recovery.settle({execution.id: "failed"})
    finally:
        connection.close()


def until_somebody_waits_for_a_row() -> None:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
    raise AssertionError("nobody waits for a lock")


def test_the_terminal_shows_one_and_lists_by_the_same_filters(held: Held) -> None:
    User.objects.create_superuser("root")
    letter, other = give_up(held), give_up(held, ErrorClass.TIMEOUT)

    shown = run("dead_letters", "show", str(letter.id))
    document = run("dead_letters", "show", str(letter.id), "--json").document
    listed = run("dead_letters", "list", "--class", "timeout", "--json").document
    none = run("dead_letters", "list", "--before", "2020-01-01T00:00:00Z", "--json").document
    wrong = run("dead_letters", "list", "--before", "nonsense")

    assert "attempt 1 broke" in shown.stdout
    assert "Traceback" in shown.stdout
    assert len(document["failed_attempts"]) == 1
    assert [one["id"] for one in listed] == [str(other.id)]
    assert (none, wrong.exit_code) == ([], 2)


def test_the_terminal_lists_by_the_name_or_the_id_of_a_schedule(held: Held, operator: User) -> None:
    User.objects.create_superuser("root")
    letter = give_up(held)
    other = give_up(held)
    other.payload["snapshot"]["name"] = "nightly report"
    other.schedule_id = ids.new(clock.now())
    other.save(update_fields=["payload", "schedule_id"])

    def listed(schedule: str) -> list[str]:
        return [
            one["id"]
            for one in run("dead_letters", "list", "--schedule", schedule, "--json").document
        ]

    assert listed("nightly report") == listed(str(other.schedule_id)) == [str(other.id)]
    assert listed("a job") == [str(letter.id)]
    assert listed("nothing") == []


def test_letters_of_a_name_are_found_along_an_index(held: Held) -> None:
    for name in ("nightly report", "another", "another"):
        letter = give_up(held)
        letter.payload["snapshot"]["name"] = name
        letter.save(update_fields=["payload"])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")

    with plans.watched() as seen:
        assert len(history.letters_of("another").order_by("-id")[:50]) == 2

    (plan,) = seen.plans
    (read,) = (node for node in plan.nodes if node.get("Index Name"))
    assert (read["Index Name"], read["Actual Rows"]) == ("dead_letter_of_name", 2)
    assert plan.most_scanned() == plan.most_sorted() == 0


def test_the_terminal_requeues_with_other_parameters(held: Held, operator: User) -> None:
    User.objects.create_superuser("root")
    letter = give_up(held)
    asked = ("dead_letters", "requeue", str(letter.id))

    wrong = run(*asked, "--parameters", "[1]", "--json")
    done = run(*asked, "--parameters", '{"rows": 100}', "--json")

    assert (wrong.exit_code, list(wrong.document["error"]["fields"])) == (2, ["parameters"])
    assert [one["handling"] for one in done.document] == ["requeued"]
    execution = Execution.objects.get(id=letter.execution_id)
    assert (execution.status, execution.parameters) == ("pending", {"rows": 100})
