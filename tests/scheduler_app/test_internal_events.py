"""Internal events start executions: each once, for those who may hear it, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from pytest_django import DjangoAssertNumQueries

from errors_app.models import ErrorRecord
from executions_app import events, lifecycle
from executions_app.audit import SYSTEM
from executions_app.events import Cursor, NewEvent
from executions_app.models import Event, Execution
from executions_app.states import ExecutionStatus
from scheduler_app import consequences, outlook, schedules
from scheduler_app.models import EventCursor, EventListener, FireRecord, Schedule
from scheduler_app.sources import hearing, internal
from tests import verbs
from tests.factories import ExecutionFactory, ScheduleFactory, UserFactory
from tests.verbs import complete

pytestmark = pytest.mark.django_db(transaction=True)

FAILED = "execution:failed"


def on_event(owner: User, event: str = FAILED, **words: Any) -> Schedule:
    conditions = words.pop("filter", {})
    return ScheduleFactory.create(
        owner=owner,
        trigger_type="event_driven",
        trigger_config={"source": "internal", "event": event, "filter": conditions},
        schedule_type="",
        schedule_config={},
        **{"overlap_policy": "allow", **words},
    )


def tell(owner: User | None, type_: str = FAILED, **changes: Any) -> None:
    data = changes.pop("data", {"name": "nightly", "number": 7})
    with transaction.atomic():
        events.emit(
            [NewEvent(type_, "execution:x", data, owner_id=owner.pk if owner else None, **changes)]
        )


def started(schedule: Schedule) -> list[Execution]:
    return list(Execution.objects.filter(schedule_id=schedule.id).order_by("number"))


@contextmanager
def another_session() -> Iterator[Any]:
    """A second connection, whose transactions this one's do not see."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


@pytest.fixture
def owner(owner: User) -> User:
    """Whose events are heard; the events of before are none of this test's."""
    return owner


def test_an_event_that_matches_is_one_execution_with_the_event(owner: User) -> None:
    listener = on_event(owner, filter={"data.name": {"eq": "nightly"}})
    tell(owner)
    tell(owner, data={"name": "hourly"})
    tell(owner, "execution:cancelled")

    assert internal.hear() == 1
    assert internal.hear() == 0

    (execution,) = started(listener)
    event = execution.parameters["event"]
    assert (execution.trigger, execution.status, execution.nominal_at) == ("event", "pending", None)
    assert (event["type"], event["data"]["name"]) == (FAILED, "nightly")
    assert event["ts"].endswith("Z")


def test_every_listener_hears_every_event_in_its_order(owner: User) -> None:
    both = [on_event(owner), on_event(owner)]
    for number in range(5):
        tell(owner, data={"number": number})

    internal.hear()

    for one in both:
        assert [row.parameters["event"]["data"]["number"] for row in started(one)] == [
            0,
            1,
            2,
            3,
            4,
        ]


def test_more_events_than_go_into_one_transaction_are_all_heard(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "AT_ONCE", 3)
    listener = on_event(owner)
    for number in range(10):
        tell(owner, FAILED if number % 2 else "execution:queued", data={"number": number})

    internal.hear()

    heard = [row.parameters["event"]["data"]["number"] for row in started(listener)]
    assert heard == [1, 3, 5, 7, 9]


def test_what_happened_before_a_schedule_listened_is_not_heard(owner: User) -> None:
    tell(owner)
    first = on_event(owner)
    tell(owner)
    second = on_event(owner)
    tell(owner)

    internal.hear()

    assert (len(started(first)), len(started(second))) == (2, 1)


def test_what_happens_while_a_schedule_is_disabled_is_not_heard_later(owner: User) -> None:
    listener = on_event(owner)
    schedules.disable(listener.id, actor=SYSTEM)
    tell(owner)
    schedules.enable(listener.id, actor=SYSTEM)
    tell(owner)

    internal.hear()

    assert len(started(listener)) == 1


def test_what_happens_in_a_pause_is_not_heard_after_it(owner: User) -> None:
    listener = on_event(owner)
    later = datetime.now(UTC) + timedelta(hours=1)
    schedules.pause(listener.id, reason="", until=later, actor=SYSTEM)
    tell(owner)

    internal.hear()
    schedules.resume(listener.id, actor=SYSTEM)
    tell(owner)
    internal.hear()

    assert len(started(listener)) == 1


def test_an_edit_loses_no_event(owner: User) -> None:
    listener = on_event(owner, name="before")
    tell(owner)
    renamed = schedules.current(listener).model_copy(update={"name": "after"})
    schedules.update(listener.id, renamed, actor=SYSTEM)
    tell(owner)

    internal.hear()

    assert len(started(listener)) == 2


def test_an_event_of_a_transaction_that_commits_late_is_heard_and_none_is_heard_twice(
    owner: User,
) -> None:
    listener = on_event(owner)
    with another_session() as other:
        other.execute("BEGIN")
        other.execute(
            "INSERT INTO events (id, type, topic, owner_id, severity, data) "
            "VALUES (cadenza_uuid7(), %s, 'x', %s, '', '{\"number\": 1}')",
            [FAILED, owner.pk],
        )
        tell(owner, data={"number": 2})

        before = internal.hear()
        other.execute("COMMIT")
        after = internal.hear()

    heard = [row.parameters["event"]["data"]["number"] for row in started(listener)]
    assert (before, after) == (0, 2)
    assert heard == [1, 2]


def test_while_one_beat_hears_another_does_not(owner: User) -> None:
    listener = on_event(owner)
    internal.hear()
    tell(owner)
    internal.hear()
    tell(owner)
    with another_session() as other:
        other.execute("BEGIN")
        other.execute("SELECT FROM event_cursor FOR UPDATE")

        assert internal.hear() == 0

        other.execute("ROLLBACK")
    assert internal.hear() == 1
    assert len(started(listener)) == 2


def test_one_hears_ones_own_events_and_those_of_the_system(owner: User) -> None:
    other = UserFactory.create()
    failures, status = on_event(owner), on_event(owner, "scheduler:status")
    tell(other)
    tell(None)
    tell(None, "scheduler:status")

    internal.hear()

    assert (len(started(failures)), len(started(status))) == (0, 1)


def test_a_superuser_hears_everybodys(owner: User) -> None:
    listener = on_event(UserFactory.create(is_superuser=True))
    tell(owner)

    internal.hear()

    assert len(started(listener)) == 1


def corrupt(schedule: Schedule, **columns: Any) -> None:
    Schedule.objects.filter(id=schedule.id).update(**columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"trigger_config": {"source": "internal", "event": FAILED, "filter": {"a": 1}}},
        {"retry_policy": {"max_retries": "many"}},
        {"timezone": "Mars/Olympus", "execution_window": {"hours": ["09:00-17:00"]}},
    ],
    ids=["filter", "policy", "zone"],
)
def test_a_corrupt_schedule_disables_itself_and_keeps_nobody_from_hearing(
    owner: User, columns: dict[str, Any]
) -> None:
    broken, sound = on_event(owner), on_event(owner)
    corrupt(broken, **columns)
    tell(owner)
    tell(owner)

    internal.hear()

    broken.refresh_from_db()
    assert not broken.enabled
    assert broken.pause_reason.startswith("cannot be dispatched")
    assert ErrorRecord.objects.filter(schedule_id=broken.id).count() == 1
    assert (len(started(broken)), len(started(sound))) == (0, 2)


def test_an_event_without_what_a_key_needs_is_recorded_and_disables_nobody(owner: User) -> None:
    keyed = on_event(owner, limit_key="{event.data.tenant}")
    tell(owner, data={})
    tell(owner, data={"tenant": "acme"})

    internal.hear()

    keyed.refresh_from_db()
    assert keyed.enabled
    assert [one.limit_key for one in started(keyed)] == ["acme"]
    assert ErrorRecord.objects.filter(schedule_id=keyed.id).count() == 1


def run_to_the_end(execution: Execution) -> None:
    with transaction.atomic():
        verbs.queue_due(limit=10, ids=[execution.id])
    (claimed,) = lifecycle.claim([execution.id], worker_id="w")
    complete(claimed, output=None)


def refusals(schedule: Schedule) -> list[dict[str, Any]]:
    told = Event.objects.filter(type="schedule:start_refused", schedule_id=schedule.id)
    return [one.data for one in told.order_by("xid", "id")]


def test_a_schedule_is_not_started_by_its_own_end(owner: User) -> None:
    endless = on_event(owner, "execution:completed")
    run_to_the_end(Execution.objects.get(id=schedules.trigger(endless, actor=SYSTEM)))

    internal.hear()

    assert len(started(endless)) == 1
    assert [one["reason"] for one in refusals(endless)] == [
        "the schedule has itself led to the event"
    ]


def test_a_chain_of_executions_ends_after_five(owner: User) -> None:
    name = "{0}"
    links = [
        on_event(
            owner,
            "execution:completed",
            name=name.format(number),
            filter={"data.name": {"eq": name.format(number - 1)}},
        )
        for number in range(1, 8)
    ]
    first = ScheduleFactory.create(
        owner=owner, name="0", trigger_type="manual", schedule_type="", schedule_config={}
    )
    execution = Execution.objects.get(id=schedules.trigger(first, actor=SYSTEM))
    correlation_id = execution.correlation_id

    for _ in range(8):
        run_to_the_end(execution)
        if not internal.hear():
            break
        execution = Execution.objects.filter(status="pending").get()

    assert [len(started(one)) for one in links] == [1, 1, 1, 1, 1, 0, 0]
    assert len(refusals(links[5])) == 1
    assert {row.correlation_id for one in links[:5] for row in started(one)} == {correlation_id}


def test_parameters_cannot_pretend_a_shorter_chain(owner: User) -> None:
    endless = on_event(owner, "execution:completed")
    parameters = {"event": {"chain": []}, "event_chain": []}
    by_hand = schedules.trigger(endless, actor=SYSTEM, parameters=parameters)
    run_to_the_end(Execution.objects.get(id=by_hand))

    internal.hear()

    assert len(started(endless)) == 1


def after(upstream: Schedule) -> Schedule:
    return ScheduleFactory.create(
        owner=upstream.owner,
        overlap_policy="allow",
        trigger_type="dependent",
        trigger_config={"upstreams": [upstream.name]},
        schedule_type="",
        schedule_config={},
    )


def run_all() -> int:
    """Run what stands due to its end, with all that follows of it at once; answers how much."""
    waiting = list(Execution.objects.filter(status__in=["pending", "queued"]))
    for execution in waiting:
        run_to_the_end(execution)
    consequences.draw()
    internal.hear()
    return len(waiting)


@pytest.mark.parametrize(("begins", "by"), [("endless", "outcome"), ("listener", "event")])
def test_a_schedule_does_not_start_itself_by_a_dependent_and_an_event(
    owner: User, begins: str, by: str
) -> None:
    listener = on_event(owner, "execution:completed", filter={"data.name": {"eq": "endless"}})
    endless = ScheduleFactory.create(
        owner=owner,
        name="endless",
        overlap_policy="allow",
        trigger_type="dependent",
        trigger_config={"upstreams": [listener.name]},
        schedule_type="",
        schedule_config={},
    )
    first = {"endless": endless, "listener": listener}[begins]
    schedules.trigger(first, actor=SYSTEM)

    rounds = sum(run_all() > 0 for _ in range(8))

    assert rounds == 2
    assert (len(started(endless)), len(started(listener))) == (1, 1)
    assert [one["reason"] for one in refusals(first)] == [
        f"the schedule has itself led to the {by}"
    ]


def test_an_event_at_the_end_of_many_dependents_is_heard(owner: User) -> None:
    link = ScheduleFactory.create(
        owner=owner, trigger_type="manual", schedule_type="", schedule_config={}
    )
    schedules.trigger(link, actor=SYSTEM)
    for _ in range(7):
        link = after(link)
    listener = on_event(owner, "execution:completed", filter={"data.name": {"eq": link.name}})

    while run_all():
        pass

    assert (len(started(link)), len(started(listener))) == (1, 1)
    assert not Event.objects.filter(type="schedule:start_refused").exists()


def records(schedule: Schedule) -> list[tuple[str, str]]:
    fires = FireRecord.objects.filter(schedule_id=schedule.id).order_by("cause")
    return [(one.cause.partition(":")[0], one.reason) for one in fires]


def test_an_event_that_a_policy_refuses_is_recorded_with_its_instant(owner: User) -> None:
    listener = on_event(owner, overlap_policy="skip", filter={"data.number": {"gt": 0}})
    for number in range(3):
        tell(owner, data={"number": number})

    internal.hear()

    second = Event.objects.filter(type=FAILED).order_by("xid", "id").last()
    fire = FireRecord.objects.get(schedule_id=listener.id)
    assert second is not None
    assert len(started(listener)) == 1
    assert (fire.reason, fire.execution_id) == ("skipped_overlap", None)
    assert fire.nominal_at == second.created_at
    assert fire.cause == f"event:{Cursor(second.xid, second.id)}"


def test_an_event_of_a_pause_is_recorded_and_one_that_started_something_is_not(
    owner: User,
) -> None:
    listener = on_event(owner)
    tell(owner)
    internal.hear()
    before = records(listener)
    later = datetime.now(UTC) + timedelta(hours=1)
    schedules.pause(listener.id, reason="", until=later, actor=SYSTEM)
    tell(owner)

    internal.hear()

    assert (before, records(listener)) == ([], [("event", "skipped_paused")])


def test_a_duplicate_event_is_recorded(owner: User) -> None:
    listener = on_event(owner, unique_key="{event.data.name}")
    tell(owner)
    tell(owner)

    internal.hear()

    assert len(started(listener)) == 1
    assert records(listener) == [("event", "skipped_duplicate")]


def test_one_that_disabled_itself_hears_nothing_of_the_time_when_it_was_off(owner: User) -> None:
    listener = on_event(owner)
    corrupt(listener, retry_policy={"max_retries": "many"})
    tell(owner)
    internal.hear()
    corrupt(listener, retry_policy={})
    tell(owner)
    schedules.enable(listener.id, actor=SYSTEM)
    tell(owner, data={"number": "last"})

    internal.hear()

    heard = [row.parameters["event"]["data"] for row in started(listener)]
    assert heard == [{"number": "last"}]


def test_one_that_had_made_all_its_runs_hears_nothing_of_the_time_until_it_may_make_more(
    owner: User,
) -> None:
    listener = on_event(owner, max_runs=1)
    tell(owner, data={"number": 1})
    internal.hear()
    tell(owner, data={"number": 2})
    listener.refresh_from_db()
    more = schedules.current(listener).model_copy(update={"max_runs": 2, "enabled": True})
    schedules.update(listener.id, more, actor=SYSTEM)
    tell(owner, data={"number": 3})

    internal.hear()

    assert [row.parameters["event"]["data"]["number"] for row in started(listener)] == [1, 3]


def test_while_nobody_listens_a_beat_is_not_told_to(owner: User) -> None:
    tell(owner)
    silent = outlook.look().has_listeners

    listener = on_event(owner)
    heard = outlook.look().has_listeners
    schedules.delete(listener.id, actor=SYSTEM)

    assert (silent, heard, outlook.look().has_listeners) == (False, True, False)
    assert not EventListener.objects.exists()


def test_an_idle_look_writes_nothing(
    owner: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    on_event(owner)
    internal.hear()
    cursor = EventCursor.objects.get()

    with django_assert_num_queries(5):  # begin, cursor, listeners, events, commit
        internal.hear()

    assert EventCursor.objects.get().xid == cursor.xid


class Killed(BaseException):
    """What a beat that is killed does not catch."""


def test_a_beat_killed_at_any_statement_leaves_one_execution_for_each_event(owner: User) -> None:
    listener = on_event(owner)
    internal.hear()
    kills = 0
    for fatal in range(1, 40):
        tell(owner, data={"number": fatal})
        count = 0

        def kill(
            execute: Any, sql: str, parameters: Any, many: bool, context: Any, *, at: int = fatal
        ) -> Any:
            nonlocal count
            count += 1
            if count == at:
                raise Killed
            return execute(sql, parameters, many, context)

        try:
            with connection.execute_wrapper(kill):
                internal.hear()
        except Killed:
            kills += 1
            internal.hear()
        else:
            break

    heard = [row.parameters["event"]["data"]["number"] for row in started(listener)]
    assert kills >= 8
    assert heard == list(range(1, kills + 2))


def test_ids_of_executions_and_schedules_are_told(owner: User) -> None:
    listener = on_event(owner, filter={"execution_id": {"exists": True}})
    cause = ExecutionFactory.create(
        owner=owner, status=ExecutionStatus.QUEUED, correlation_id="a request"
    )
    tell(owner, execution_id=cause.id, schedule_id=UUID(int=1))

    internal.hear()

    (execution,) = started(listener)
    event = execution.parameters["event"]
    assert (event["execution_id"], event["schedule_id"]) == (str(cause.id), str(UUID(int=1)))
    assert execution.correlation_id == "a request"
