"""What a batch writes and how it finds it: the same snapshot, the right index, no more than due."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from executions_app import clock, ids, prepared
from executions_app.audit import Actor
from executions_app.models import Event, Execution
from scheduler_app import dispatcher, due, fires, outlook, schedules
from scheduler_app.ahead import Ahead
from scheduler_app.models import FireRecord, Schedule

MakeSchedule = Callable[..., Schedule]
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.mark.django_db
def test_a_fire_has_the_snapshot_that_a_trigger_by_hand_has(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule("quoted \" ' \\ {} % é", late_by=SECOND, timeout_ms=1234)

    dispatcher.dispatch_due()

    execution = Execution.objects.get()
    assert execution.snapshot == fires.snapshot(schedule)
    assert execution.max_attempts == schedule.retry_policy["max_retries"] + 1
    assert execution.correlation_id == str(execution.id)
    assert (execution.trigger, execution.parameters) == ("time", {})


@pytest.mark.django_db
def test_a_fire_leaves_one_event_and_its_lateness(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule("late", late_by=2 * SECOND)
    Event.objects.all().delete()

    dispatcher.dispatch_due()

    execution = Execution.objects.get()
    event = Event.objects.get()
    assert (event.type, event.execution_id) == ("execution:queued", execution.id)
    assert (event.schedule_id, event.topic) == (schedule.id, f"execution:{execution.id}")
    assert event.data == {"status": "queued", "number": execution.number, "name": "late"}
    assert 1_000 < FireRecord.objects.get().lateness_ms < 2_500


@pytest.mark.django_db
def test_schedules_that_differ_only_in_name_are_decided_alike(make_schedule: MakeSchedule) -> None:
    first = make_schedule("first", late_by=5 * 60 * SECOND + SECOND)
    Schedule.objects.create(
        **{
            field.attname: getattr(first, field.attname)
            for field in Schedule._meta.concrete_fields
            if field.attname not in {"id", "name"}
        },
        id=ids.new(clock.now()),
        name="second",
    )

    dispatcher.dispatch_due()

    assert Execution.objects.count() == 2
    assert FireRecord.objects.filter(reason="missed_coalesced").count() == 10
    assert set(Schedule.objects.values_list("missed_count", flat=True)) == {5}


@pytest.mark.django_db(transaction=True)
def test_an_edit_moves_updated_at_and_a_fire_does_not(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=SECOND)
    before = schedule.updated_at

    dispatcher.dispatch_due()
    schedule.refresh_from_db()
    after_fire = schedule.updated_at
    schedules.disable(schedule.id, actor=Actor.of(schedule.owner))
    schedule.refresh_from_db()

    assert after_fire == before
    assert schedule.updated_at > before


def plan_of(sql: str, parameters: list[Any]) -> list[dict[str, Any]]:
    """Every node of the plan that is run, made as a prepared statement makes it."""
    row = prepared.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql, parameters).fetchone()
    assert row is not None
    plan = row[0] if isinstance(row[0], list) else json.loads(row[0])
    nodes, todo = [], [plan[0]["Plan"]]
    while todo:
        node = todo.pop()
        nodes.append(node)
        todo.extend(node.get("Plans", []))
    return nodes


@pytest.mark.django_db
def test_due_schedules_are_read_from_their_index_in_order(make_schedule: MakeSchedule) -> None:
    one = make_schedule(late_by=SECOND)
    assert one.next_run_at is not None
    columns = {
        field.attname: getattr(one, field.attname) for field in Schedule._meta.concrete_fields
    }
    Schedule.objects.bulk_create(
        Schedule(
            **{
                **columns,
                "id": ids.new(clock.now()),
                "name": f"job {number}",
                "next_run_at": one.next_run_at + (DAY if number > 100 else timedelta()),
            }
        )
        for number in range(3_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE task_schedules")

    with transaction.atomic():
        nodes = plan_of(due._statement(20, 0.25), [])

    scans = [node for node in nodes if node.get("Relation Name") == "task_schedules"]
    assert [node["Index Name"] for node in scans] == ["schedule_due"]
    assert not [node for node in nodes if node["Node Type"] == "Sort"]
    read = max(node["Actual Rows"] * node["Actual Loops"] for node in scans)
    assert round(read) == 20


@pytest.mark.django_db
def test_an_outlook_reads_no_table_as_a_whole(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=SECOND)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # tiny tables are scanned whole otherwise

    nodes = plan_of(outlook.LOOK, [])

    scanned = {n.get("Relation Name") for n in nodes if n["Node Type"] == "Seq Scan"}
    assert scanned <= {"system_state"}


@pytest.mark.django_db
def test_an_outlook_tells_what_there_is_to_do(make_schedule: MakeSchedule) -> None:
    nothing = outlook.look()
    make_schedule("later")
    later = outlook.look()
    make_schedule("due", late_by=SECOND)
    overdue = outlook.look()

    assert nothing.until_due(Ahead()) is None
    assert 0 < (later.until_due(Ahead()) or 0) <= 60
    assert (overdue.until_due(Ahead()), overdue.has_outcomes) == (0.0, False)
