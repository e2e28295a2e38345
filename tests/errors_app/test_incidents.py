"""Incidents: every error is counted once, what is resolved opens again, what works again closes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from errors_app.incidents import deciding, folding, lately, orphans, recovering, tending, trends
from errors_app.incidents.recovering import Success
from errors_app.models import ErrorRecord, Incident, IncidentBucket
from errors_app.taxonomy import ErrorClass
from executions_app import clock, ids, lifecycle
from executions_app.audit import SYSTEM, Actor
from executions_app.models import AuditEntry, Event, Execution
from executions_app.states import ExecutionStatus, IllegalMove, LostRace
from tests.errors_app.failures import fail

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _looked_for_orphans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedules here were never there; whoever looks for such incidents did so just now."""
    monkeypatch.setattr(orphans._Seldom, "again_at", math.inf)


def told() -> list[str]:
    types = Event.objects.filter(type__startswith="incident:").order_by("id")
    return list(types.values_list("type", flat=True))


def the_incident() -> Incident:
    return Incident.objects.get()


def test_errors_that_differ_in_numbers_are_one_incident_and_others_are_not() -> None:
    schedule_id = uuid4()
    first = fail("row 17 of 90 is wrong", schedule_id=schedule_id)
    last = fail("row 4711 of 5000 is wrong", schedule_id=schedule_id, at=first.ended_at + SECOND)
    fail("no answer", schedule_id=schedule_id)
    fail("row 17 of 90 is wrong", schedule_id=uuid4())
    fail("row 17 of 90 is wrong", schedule_id=schedule_id, owner_id=2)

    folded = folding.fold()

    incident = Incident.objects.get(schedule_id=schedule_id, count=2)
    assert (folded, Incident.objects.count()) == (5, 4)
    assert incident.title == "row <n> of <n> is wrong"
    assert (incident.first_seen_at, incident.last_seen_at) == (first.ended_at, last.ended_at)
    assert (incident.last_error_id, incident.name) == (last.id, "a job")
    assert (incident.status, incident.reopened_count) == ("open", 0)
    in_it = ErrorRecord.objects.filter(incident_id=incident.id)
    assert {one.id for one in in_it} == {first.id, last.id}
    assert told() == ["incident:opened"] * 4


def test_errors_of_nobody_and_of_no_schedule_are_one_incident_too() -> None:
    for _ in range(2):
        fail(owner_id=None)
        folding.fold()

    assert the_incident().count == 2


def test_an_incident_has_the_highest_severity_and_the_newest_error() -> None:
    now = clock.now()
    fail(severity="medium", at=now)
    folding.fold()
    fail(severity="critical", at=now - HOUR)
    fail(severity="low", at=now - 2 * HOUR)
    folding.fold()

    incident = the_incident()

    assert (incident.severity, incident.count) == ("critical", 3)
    assert (incident.first_seen_at, incident.last_seen_at) == (now - 2 * HOUR, now)
    assert incident.last_error_id == ErrorRecord.objects.get(ended_at=now).id


def test_the_errors_of_each_hour_are_counted() -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    for at in (hour - SECOND, hour, hour + 30 * MINUTE, hour + HOUR - SECOND):
        fail(at=at)
    folding.fold()
    fail(at=hour)
    folding.fold()

    counted = IncidentBucket.objects.order_by("hour").values_list("hour", "count")

    assert list(counted) == [(hour - HOUR, 1), (hour, 4)]


def test_one_round_folds_no_more_than_its_limit_and_the_next_goes_on() -> None:
    for _ in range(5):
        fail()

    assert [folding.fold(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert the_incident().count == 5


def test_what_breaks_off_in_the_middle_loses_nothing_and_doubles_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail()
    monkeypatch.setattr(folding, "_tell", crash)

    with pytest.raises(Crashed):
        folding.fold()

    assert (Incident.objects.count(), IncidentBucket.objects.count()) == (0, 0)
    monkeypatch.undo()
    folding.fold()
    assert (the_incident().count, folding.fold()) == (1, 0)


class Crashed(Exception):
    pass


def crash(*_: object) -> None:
    raise Crashed


@pytest.mark.django_db(transaction=True)
def test_many_who_fold_at_once_count_every_error_once() -> None:
    schedules = [uuid4() for _ in range(5)]
    for number in range(120):
        fail(schedule_id=schedules[number % 5])
    problems: list[BaseException] = []

    def beat() -> None:
        try:
            while folding.fold(limit=7):
                pass
        except BaseException as error:  # noqa: BLE001  told to the test
            problems.append(error)
        finally:
            connection.close()

    beats = [threading.Thread(target=beat) for _ in range(4)]
    for one in beats:
        one.start()
    for one in beats:
        one.join()
    folding.fold()

    assert problems == []
    assert sorted(Incident.objects.values_list("count", flat=True)) == [24] * 5
    assert IncidentBucket.objects.aggregate(Sum("count"))["count__sum"] == 120
    assert not ErrorRecord.objects.filter(incident_id__isnull=True).exists()
    assert told() == ["incident:opened"] * 5


@pytest.fixture
def incident() -> Incident:
    """An incident whose one error was two minutes ago."""
    fail(schedule_id=uuid4(), at=clock.now() - 2 * MINUTE)
    folding.fold()
    return the_incident()


def fail_again(incident: Incident, *, at: datetime | None = None) -> None:
    fail(schedule_id=incident.schedule_id, at=at)
    folding.fold()
    incident.refresh_from_db()


def test_a_resolved_incident_opens_again_with_the_next_error(incident: Incident) -> None:
    deciding.resolve(incident, actor=SYSTEM)

    fail_again(incident, at=clock.now() + SECOND)

    assert (incident.status, incident.reopened_count, incident.count) == ("open", 1, 2)
    assert (incident.resolved_at, incident.reopened_at is None) == (None, False)
    assert told() == ["incident:opened", "incident:resolved", "incident:reopened"]


def test_an_error_from_before_the_resolution_opens_nothing(incident: Incident) -> None:
    deciding.resolve(incident, actor=SYSTEM)

    fail_again(incident, at=clock.now() - MINUTE)

    assert (incident.status, incident.count) == ("resolved", 2)


@pytest.mark.parametrize(
    ("decide", "status"), [(deciding.ignore, "ignored"), (deciding.acknowledge, "acknowledged")]
)
def test_what_is_ignored_or_acknowledged_stays_so_and_counts_on(
    incident: Incident, decide: Callable[..., Incident], status: str
) -> None:
    decide(incident, actor=SYSTEM)

    fail_again(incident)

    assert (incident.status, incident.count) == (status, 2)
    assert told() == ["incident:opened", f"incident:{status}"]


def test_a_decision_is_kept_with_who_and_why(incident: Incident) -> None:
    user = User.objects.create_user("operator")

    deciding.acknowledge(incident, actor=Actor.of(user), note="I am at it")

    assert (incident.handled_by_id, incident.note) == (user.pk, "I am at it")
    assert incident.handled_at is not None
    entry = AuditEntry.objects.get(action="incident.acknowledged")
    assert (entry.actor, entry.before, entry.after, entry.note) == (
        "operator", {"status": "open"}, {"status": "acknowledged"}, "I am at it",
    )  # fmt: skip


def test_of_two_people_the_first_decides(incident: Incident) -> None:
    seen_by_both = Incident.objects.get()
    deciding.ignore(incident, actor=SYSTEM)

    with pytest.raises(LostRace):
        deciding.acknowledge(seen_by_both, actor=SYSTEM)
    with pytest.raises(IllegalMove, match="from 'ignored' to 'ignored'"):
        deciding.ignore(incident, actor=SYSTEM)


def succeed(incident: Incident, *, began_at: datetime, took: timedelta = SECOND) -> None:
    assert incident.schedule_id is not None
    with transaction.atomic():
        recovering.note_successes([Success(incident.schedule_id, began_at, began_at + took)])
    incident.refresh_from_db()


def test_a_success_and_quiet_resolve_an_incident_with_one_notice(incident: Incident) -> None:
    began = clock.now() - MINUTE
    succeed(incident, began_at=began)

    tending.tend_incidents()
    tending.tend_incidents()

    incident.refresh_from_db()
    assert (incident.status, incident.resolved_at) == ("resolved", began + SECOND)
    assert told() == ["incident:opened", "incident:recovered"]


def test_a_success_right_after_the_error_resolves_only_once_it_has_stayed_quiet() -> None:
    fail(schedule_id=uuid4())
    folding.fold()
    incident = the_incident()
    succeed(incident, began_at=clock.now() + SECOND)

    tending.tend_incidents()

    incident.refresh_from_db()
    assert incident.status == "open"
    assert incident.recovers_at == incident.last_seen_at + MINUTE


def test_an_error_in_the_quiet_time_takes_the_success_back(incident: Incident) -> None:
    succeed(incident, began_at=clock.now() - MINUTE)
    fail(schedule_id=incident.schedule_id)

    tending.tend_incidents()

    incident.refresh_from_db()
    assert (incident.status, incident.count) == ("open", 2)
    assert (incident.succeeded_at, incident.recovers_at) == (None, None)


def test_an_execution_that_began_before_the_error_proves_nothing(incident: Incident) -> None:
    succeed(incident, began_at=incident.last_seen_at - SECOND, took=MINUTE)

    assert incident.recovers_at is None


def test_each_reopening_doubles_the_quiet_time_up_to_an_hour(incident: Incident) -> None:
    waits = []
    for reopened in (0, 1, 2, 6, 2_000_000):
        rows = Incident.objects.filter(id=incident.id)
        rows.update(reopened_count=reopened, recovers_at=None)
        succeed(incident, began_at=clock.now())
        assert incident.recovers_at is not None
        waits.append(incident.recovers_at - incident.last_seen_at)

    assert waits == [MINUTE, 2 * MINUTE, 4 * MINUTE, HOUR, HOUR]


def test_an_error_that_comes_after_the_success_opens_what_has_recovered(
    incident: Incident,
) -> None:
    succeed(incident, began_at=clock.now() - MINUTE)
    recovering.recover_quiet()

    fail_again(incident, at=clock.now() - 30 * SECOND)  # it was written late

    assert (incident.status, incident.reopened_count) == ("open", 1)


def test_what_a_person_ignores_does_not_recover(incident: Incident) -> None:
    succeed(incident, began_at=clock.now() - MINUTE)
    deciding.ignore(incident, actor=SYSTEM)

    tending.tend_incidents()
    succeed(incident, began_at=clock.now())

    assert (incident.status, incident.recovers_at) == ("ignored", None)


def test_while_errors_wait_to_be_folded_nothing_recovers(
    incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed(incident, began_at=clock.now() - MINUTE)
    fail("something else", error_class=ErrorClass.PERMANENT)
    monkeypatch.setattr(folding, "MOST_AT_ONCE", 1)

    tending.tend_incidents()

    incident.refresh_from_db()
    assert incident.status == "open"


def test_with_nothing_to_do_it_is_one_look(incident: Incident) -> None:
    with CaptureQueriesContext(connection) as captured:
        tending.tend_incidents()

    assert (incident.status, len(captured)) == ("open", 1)


def test_without_an_incident_that_waits_a_success_is_one_look(incident: Incident) -> None:
    deciding.resolve(incident, actor=SYSTEM)

    with CaptureQueriesContext(connection) as captured:
        succeed(incident, began_at=clock.now())

    assert sum("incidents" in one["sql"] for one in captured) == 2  # and the row read again


# Too many, too old


def kinds(first: int, last: int) -> list[str]:
    """Messages that are no likes of each other."""
    letters = str.maketrans("0123456789", "ghijklmnop")
    return [f"error {str(n).translate(letters)} happened" for n in range(first, last)]


@pytest.mark.parametrize("at_once", [1, 1_000])
def test_from_the_fiftieth_open_incident_of_a_class_on_further_kinds_are_one(
    at_once: int,
) -> None:
    schedule_id = uuid4()
    for message in kinds(0, 60):
        fail(message, schedule_id=schedule_id)
    while folding.fold(limit=at_once):
        pass

    others = Incident.objects.get(fingerprint="others")
    assert (Incident.objects.count(), others.count) == (51, 10)
    assert (others.schedule_id, others.error_class) == (schedule_id, "transient")
    assert others.title == "Other errors of class transient: 50 incidents of it are open"
    assert told() == ["incident:opened"] * 51


def test_a_full_class_hides_no_other_class_and_no_other_schedule() -> None:
    schedule_id = uuid4()
    for message in kinds(0, 51):
        fail(message, schedule_id=schedule_id)
    folding.fold()

    fail("another", schedule_id=schedule_id, error_class=ErrorClass.TIMEOUT)
    fail("another", schedule_id=uuid4())
    fail(kinds(0, 1)[0], schedule_id=schedule_id)  # known: counted where it was
    folding.fold()

    assert Incident.objects.exclude(fingerprint="others").count() == 52
    assert Incident.objects.get(fingerprint="others").count == 1


def test_incidents_that_are_resolved_make_room(incident: Incident) -> None:
    for message in kinds(0, 49):
        fail(message, schedule_id=incident.schedule_id)
    folding.fold()
    deciding.resolve(incident, actor=SYSTEM)

    fail("yet another", schedule_id=incident.schedule_id)
    folding.fold()

    assert not Incident.objects.filter(fingerprint="others").exists()


def test_what_was_over_for_a_day_when_it_is_folded_is_resolved_and_nobody_hears() -> None:
    old = clock.now() - 30 * HOUR
    for at in (old - HOUR, old):
        fail(at=at)
        folding.fold()

    incident = the_incident()

    assert (incident.status, incident.resolved_at, incident.count) == ("resolved", old, 2)
    assert told() == []


def test_an_old_incident_opens_again_with_a_new_error() -> None:
    fail(at=clock.now() - 30 * HOUR)
    folding.fold()

    fail()
    folding.fold()

    assert (the_incident().status, the_incident().reopened_count) == ("open", 1)
    assert told() == ["incident:reopened"]


# Successes that were there first


def complete(schedule_id: UUID, *, after: datetime) -> None:
    """An execution of the schedule that began after an instant has completed and was counted."""
    owner = User.objects.create_user(f"owner-{uuid4()}")
    now = clock.now()
    one = lifecycle.NewExecution(
        id=ids.new(now), schedule_id=schedule_id, owner_id=owner.pk, snapshot={"name": "a job"},
        trigger="time", due_at=now, priority="normal", max_attempts=1,
        status=ExecutionStatus.QUEUED,
    )  # fmt: skip
    with transaction.atomic():
        lifecycle.create([one])
    Execution.objects.filter(id=one.id).update(
        status="completed", started_at=after + SECOND, completed_at=after + 2 * SECOND
    )


def test_a_success_of_another_execution_that_was_counted_first_is_seen_at_folding() -> None:
    record = fail(schedule_id=uuid4(), at=clock.now() - 2 * MINUTE)
    assert record.schedule_id is not None
    complete(record.schedule_id, after=record.ended_at)

    tending.tend_incidents()
    tending.tend_incidents()

    assert told() == ["incident:opened", "incident:recovered"]


def test_an_execution_that_began_before_the_error_is_no_success_at_folding() -> None:
    record = fail(schedule_id=uuid4(), at=clock.now() - 2 * MINUTE)
    assert record.schedule_id is not None
    complete(record.schedule_id, after=record.ended_at - 5 * SECOND)

    folding.fold()

    assert the_incident().recovers_at is None


def test_a_success_is_noted_with_the_fold_whatever_ends_the_beat_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = fail(schedule_id=uuid4(), at=clock.now() - 2 * MINUTE)
    assert record.schedule_id is not None
    complete(record.schedule_id, after=record.ended_at)
    monkeypatch.setattr(folding.events, "announce", crash)  # type: ignore[attr-defined]

    with pytest.raises(Crashed):
        folding.fold()

    assert the_incident().recovers_at is not None


# What was folded is not walked past again


@pytest.fixture
def first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a beat that has just started."""
    for name, value in (("since", UUID(int=0)), ("folded_until", UUID(int=0)), ("again_at", 0.0)):
        monkeypatch.setattr(lately._Look, name, value)


@pytest.mark.usefixtures("first_look")
def test_a_beat_looks_from_where_everything_was_folded_on_with_a_margin() -> None:
    first = lately.begin()
    fail()
    tending.tend_incidents()
    while_some_were_found = lately.begin()
    tending.tend_incidents()

    since = ids.instant(lately.begin())

    assert first == while_some_were_found == UUID(int=0)
    assert 9 * MINUTE < clock.now() - since < 11 * MINUTE


@pytest.mark.usefixtures("first_look")
def test_now_and_then_a_beat_looks_from_the_beginning_and_folds_what_it_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail()
    for _ in range(2):
        tending.tend_incidents()
    late = fail("it was committed very late")
    ErrorRecord.objects.filter(id=late.id).update(id=ids.new(clock.now() - HOUR))
    tending.tend_incidents()
    counted_at_first = Incident.objects.count()
    monkeypatch.setattr(lately._Look, "again_at", 0.0)

    tending.tend_incidents()

    assert (counted_at_first, Incident.objects.count()) == (1, 2)


@pytest.mark.parametrize(
    ("hours", "direction"),
    [
        ([0] * 24, "steady"),
        ([0] * 23 + [1], "rising"),
        ([5] * 23 + [2], "steady"),
        ([0] * 16 + [2, 2, 2, 2, 4, 4, 4, 2], "rising"),
        ([0] * 16 + [9, 9, 9, 9, 4, 1, 0, 0], "falling"),
        ([9] * 16 + [0] * 8, "steady"),
    ],
)
def test_the_last_hours_are_held_against_those_before(hours: list[int], direction: str) -> None:
    assert trends.direction(hours, part=0.5) == direction


def test_a_trend_ends_with_the_hour_that_runs() -> None:
    now = clock.now()
    for at in (now, now, now - HOUR, now - 23 * HOUR, now - 24 * HOUR):
        fail(at=at)
    folding.fold()
    incident_id: UUID = the_incident().id

    found = trends.of([incident_id, uuid4()], now=now)

    expected: dict[UUID, Any] = {incident_id: [1] + [0] * 21 + [1, 2]}
    assert {one: trend.hours for one, trend in found.items()} == expected
