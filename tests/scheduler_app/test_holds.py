"""Work under limits: admitted while there is room, held otherwise, never more than allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from executions_app import clock, ids, lifecycle, wording
from executions_app.ledger import Claimed
from executions_app.models import Event, Execution
from executions_app.states import ExecutionStatus
from scheduler_app import holds
from scheduler_app.limiting import held_words, limits_in_force
from scheduler_app.models import Limit, Schedule
from tests import terminal
from tests.factories import ExecutionFactory
from tests.scheduler_app.conftest import in_two_days, midnight_in

MakeSchedule = Callable[..., Schedule]
MANY = 1_000
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def limits_are_read_again() -> Iterator[None]:
    limits_in_force.forget()
    holds.served.served_at.clear()
    yield
    limits_in_force.forget()


def limit(key: str, most: int | None = None, *, rate: tuple[int, int] | None = None) -> None:
    count, period_ms = rate or (None, None)
    Limit.objects.update_or_create(
        key=key,
        defaults={"max_concurrent": most, "rate_count": count, "rate_period_ms": period_ms},
        create_defaults={
            "id": ids.new(clock.now()),
            "key": key,
            "max_concurrent": most,
            "rate_count": count,
            "rate_period_ms": period_ms,
        },
    )
    limits_in_force.forget()


def due(owner: User, number: int = 1, **changes: Any) -> list[Execution]:
    values = {"owner": owner, "status": ExecutionStatus.PENDING, **changes}
    return [ExecutionFactory.create(**values) for _ in range(number)]


def release() -> holds.Released:
    with transaction.atomic():
        return holds.release(limit=MANY)


def release_held(held: holds.Held | None = None) -> holds.Released:
    with transaction.atomic():
        return (held or holds.Held()).release(limit=MANY)


def states() -> Counter[tuple[str, str]]:
    return Counter(Execution.objects.values_list("status", "held_by"))


def run_and_end(number: int) -> None:
    """Let so many of the queued executions end well."""
    queued = Execution.objects.filter(status="queued").order_by("queued_at", "id")
    chosen = list(queued.values_list("id", flat=True)[:number])
    claimed = lifecycle.claim(chosen, worker_id="w:1:x")
    complete(claimed)


def complete(claimed: list[Claimed]) -> None:
    moves = [lifecycle.completion(one, output=None) for one in claimed]
    assert lifecycle.leave_all(moves) == [None] * len(moves)


def queued_ids(released: holds.Released) -> list[UUID]:
    return [message.execution_id for message, _ in released.queued]


@pytest.mark.django_db
def test_without_a_limit_everything_due_is_queued_in_one_statement(owner: User) -> None:
    due(owner, 3)
    limits_in_force.now()

    with CaptureQueriesContext(
        connection,
    ) as queries:
        released = release()

    statements = [one["sql"] for one in queries if "SAVEPOINT" not in one["sql"]]
    assert len(statements) == 1
    assert (len(released.queued), released.held) == (3, 0)
    assert states() == {("queued", ""): 3}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("system", {}),
        ("queue:low", {"priority": "low"}),
        ("task:noop", {}),
        ("agent:writer", {"snapshot": {"task_type": "agent", "task_config": {"agent": "writer"}}}),
        ("key:tenant:acme", {"limit_key": "tenant:acme"}),
        ("key:tenant:*", {"limit_key": "tenant:acme"}),
    ],
)
def test_no_more_are_admitted_than_the_limit_of_each_kind_allows(
    owner: User, key: str, changes: dict[str, Any]
) -> None:
    limit(key, 2)
    due(owner, 5, **changes)
    place = "limit:" + key.replace("*", "acme")

    first = release()
    run_and_end(1)
    then = release_held()

    assert (len(first.queued), first.held) == (2, 3)
    assert len(then.queued) == 1
    assert states() == {("queued", ""): 2, ("pending", place): 2, ("completed", ""): 1}


@pytest.mark.django_db
def test_what_runs_and_what_was_handed_back_keep_their_slots(owner: User) -> None:
    limit("task:noop", 1)
    due(owner, 2)
    release()
    (claimed,) = lifecycle.claim([Execution.objects.get(status="queued").id], worker_id="w:1:x")

    while_running = release_held()
    lifecycle.leave_all([lifecycle.return_unstarted(claimed)])
    handed_back = release_held()

    assert (while_running.queued, handed_back.queued) == ([], [])


@pytest.mark.django_db
def test_a_schedules_own_limit_counts_only_its_executions(
    owner: User, make_schedule: MakeSchedule
) -> None:
    limited, free = make_schedule("limited"), make_schedule("free")
    Schedule.objects.filter(id=limited.id).update(max_concurrent=1)
    due(owner, 3, schedule_id=limited.id)
    due(owner, 3, schedule_id=free.id)

    release()

    assert states() == {("queued", ""): 4, ("pending", f"limit:schedule:{limited.id}"): 2}


@pytest.mark.django_db
def test_agents_are_limited_without_a_row_by_the_setting(owner: User) -> None:
    due(owner, 7, snapshot={"name": "an agent", "task_type": "agent", "task_config": {}})

    release()

    assert states() == {("queued", ""): 5, ("pending", "limit:task:agent"): 2}


@pytest.mark.django_db
def test_a_change_of_a_limit_holds_from_the_next_release_on(owner: User) -> None:
    limit("task:noop", 1)
    due(owner, 5)
    release()

    limit("task:noop", 3)
    raised = release_held()
    limit("task:noop", 2)
    lowered = release_held()
    Limit.objects.all().delete()
    limits_in_force.forget()
    removed = release_held()

    assert [len(one.queued) for one in (raised, lowered, removed)] == [2, 0, 2]


@pytest.mark.django_db
def test_nothing_new_passes_what_waits_for_the_same_room(owner: User) -> None:
    limit("task:noop", 1)
    first, second = due(owner, 2)
    release()
    run_and_end(1)
    (late,) = due(owner)

    entered = release()
    then = release_held()

    assert entered.queued == []
    assert queued_ids(then) == [second.id]
    assert Execution.objects.get(id=late.id).held_by == "limit:task:noop"
    assert first.id not in queued_ids(then)


@pytest.mark.django_db
def test_a_key_may_contain_the_words_of_other_places(owner: User) -> None:
    limit("key:team:*", 1)
    limit("key:ours:*", rate=(1, 1))
    for key in ("team:schedule:7", "ours:schedule:7"):
        due(owner, 2, limit_key=key)
    release()
    run_and_end(2)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE rate_buckets SET refreshed_at = refreshed_at - interval '1 s'")

    then = release_held()

    assert len(then.queued) == 2


@pytest.mark.django_db
@pytest.mark.parametrize(("trigger", "starts"), [("time", False), ("manual", True)])
def test_who_waited_for_room_until_its_window_closed_waits_for_it_to_open(
    owner: User, make_schedule: MakeSchedule, trigger: str, *, starts: bool
) -> None:
    limit("task:noop", 1)
    schedule = make_schedule(execution_window=in_two_days())
    due(owner)
    release()
    expires_at = clock.now() + HOUR
    (late,) = due(owner, schedule_id=schedule.id, trigger=trigger, expires_at=expires_at)
    release()
    run_and_end(1)

    then = release_held()

    held = Execution.objects.get(id=late.id)
    moved = timedelta(0) if starts else midnight_in(2) - late.due_at
    assert queued_ids(then) == ([late.id] if starts else [])
    assert (held.held_by, held.due_at) == ("", late.due_at + moved)
    assert held.expires_at == expires_at + moved


@pytest.mark.django_db
def test_each_key_gets_its_turn_however_many_another_holds(owner: User) -> None:
    limit("system", 1)
    due(owner, 20, limit_key="tenant:loud")
    due(owner, 2, limit_key="tenant:quiet")
    release()

    order = []
    for _ in range(4):
        run_and_end(1)
        ((message, _attempts),) = release_held().queued
        order.append(Execution.objects.get(id=message.execution_id).limit_key)

    assert order.count("tenant:quiet") == 2


@pytest.mark.django_db
def test_the_more_urgent_comes_first_and_low_that_waited_too_long_before_normal(
    owner: User,
) -> None:
    limit("task:noop", 1)
    due(owner)
    release()
    long_ago = clock.now() - holds.served.low_waits_at_most
    names = ["normal", "low", "critical"]
    by_name = {name: due(owner, priority=name)[0].id for name in names}
    (by_name["aged low"],) = (one.id for one in due(owner, priority="low", due_at=long_ago))
    release()

    order = []
    for _ in by_name:
        run_and_end(1)
        order += queued_ids(release_held())

    expected = ["critical", "aged low", "normal", "low"]
    assert order == [by_name[name] for name in expected]


@pytest.mark.django_db
def test_a_rate_lets_through_its_count_and_then_holds(owner: User) -> None:
    limit("task:noop", rate=(3, 3_600_000))
    due(owner, 5)

    release()
    run_and_end(3)
    then = release_held()

    assert then.queued == []
    assert states() == {("completed", ""): 3, ("pending", "rate:task:noop"): 2}


@pytest.mark.django_db
def test_a_rate_refills_evenly(owner: User) -> None:
    limit("task:noop", rate=(4, 4_000))
    due(owner, 8)
    release()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE rate_buckets SET refreshed_at = refreshed_at - interval '2 s'")

    then = release_held()

    assert len(then.queued) == 2


@pytest.mark.django_db
def test_being_held_is_told(owner: User) -> None:
    limit("task:noop", 0)
    (held,) = due(owner)

    release()

    event = Event.objects.get(execution_id=held.id, type="execution:held")
    assert event.data["held_by"] == "limit:task:noop"


@pytest.mark.django_db
def test_what_is_held_says_which_limit_is_used_up_and_by_how_many(owner: User) -> None:
    limit("key:tenant:*", 1)
    limit("task:noop", 2)
    due(owner, 3, limit_key="tenant:acme")
    release()
    held = Execution.objects.filter(held_by="limit:key:tenant:acme")[0]

    said = held_words.why(held, now=clock.now())
    limit("key:tenant:acme", 3)
    then = held_words.why(held, now=clock.now())
    limit("task:noop", rate=(1, 60_000))
    Limit.objects.filter(key="key:tenant:acme").delete()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO rate_buckets VALUES ('task:noop', 0.5, now())")
    rated = held_words.why(held, now=clock.now())

    assert said == "Waits: limit tenant:acme is 1, 1 is queued or running."
    assert then == "Waits: there is room for it by now, and the next round may take it."
    assert "task:noop may start 1 in 1 min, the next is due in 30 s" in rated


@pytest.mark.django_db
def test_the_command_says_why_an_execution_waits(owner: User) -> None:
    limit("task:noop", 0)
    (held,) = due(owner)
    release()

    said = terminal.run("execution", "show", str(held.number)).stdout

    assert "Waits: limit task:noop is 0, 0 are queued or running." in said
    assert wording.why(Execution.objects.get(id=held.id), now=clock.now()) == (
        "Waits for room under the limit 'task:noop'; it is looked at again every round."
    )
