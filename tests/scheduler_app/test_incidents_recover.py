"""From a failing schedule to an incident, and from its next success to the end of it."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from errors_app import recovery
from errors_app.incidents import deciding, folding, orphans, recovering, tending
from errors_app.models import ErrorRecord, Incident
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import lifecycle
from executions_app.audit import SYSTEM, Actor
from executions_app.ledger import Claimed
from executions_app.models import AuditEntry, Event, Execution
from scheduler_app import consequences, schedules
from scheduler_app.beat import Metronome
from scheduler_app.models import Schedule
from tests import verbs
from tests.factories import ScheduleFactory

pytestmark = pytest.mark.django_db(transaction=True)

RNG = random.Random(7)
AGO = timedelta(minutes=5)


@pytest.fixture
def schedule(owner: User) -> Schedule:
    by_hand: dict[str, Any] = {
        "trigger_type": "manual", "schedule_type": "", "schedule_config": {},
        "overlap_policy": "allow",
    }  # fmt: skip
    return ScheduleFactory.create(owner=owner, pause_after_failures=1, **by_hand)


def begin(schedule: Schedule) -> Claimed:
    (one,) = lifecycle.claim([schedules.trigger(schedule, actor=SYSTEM)], worker_id="w")
    return one


def fail(claimed: Claimed, error_class: ErrorClass = ErrorClass.PERMANENT) -> None:
    recovery.recover(claimed, HandlerError("no such page", error_class=error_class), rng=RNG)


def make_it_long_ago() -> None:
    """The error, and the incident that it became."""
    ErrorRecord.objects.update(ended_at=F("ended_at") - AGO)
    rows = Incident.objects.all()
    rows.update(last_seen_at=F("last_seen_at") - AGO, first_seen_at=F("first_seen_at") - AGO)


def test_a_beat_folds_what_failed_and_resolves_what_works_again(schedule: Schedule) -> None:
    fail(begin(schedule))
    Metronome().beat()
    opened = Incident.objects.get()
    make_it_long_ago()

    verbs.complete(begin(schedule), output=None)
    Metronome().beat()  # draws the success
    Metronome().beat()  # and looks at incidents

    closed = Incident.objects.get()
    assert (opened.status, opened.schedule_id, opened.count) == ("open", schedule.id, 1)
    assert opened.name == schedule.name
    assert closed.status == "resolved"
    types = Event.objects.filter(topic=f"incident:{opened.id}").order_by("id")
    assert [one.type for one in types] == ["incident:opened", "incident:recovered"]


def test_a_retry_that_succeeds_opens_once_and_closes_nothing_at_once(schedule: Schedule) -> None:
    claimed = begin(schedule)
    fail(claimed, ErrorClass.TRANSIENT)
    folding.fold()
    Execution.objects.update(due_at=F("created_at"))
    verbs.queue_due(limit=10)
    (again,) = lifecycle.claim([claimed.id], worker_id="w")
    verbs.complete(again, output=None)

    consequences.draw()
    recovering.recover_quiet()

    incident = Incident.objects.get()
    assert (incident.status, incident.severity) == ("open", "low")
    assert incident.recovers_at == incident.last_seen_at + timedelta(minutes=1)


def test_a_success_that_was_drawn_before_its_error_was_folded_counts(schedule: Schedule) -> None:
    claimed = begin(schedule)
    fail(claimed, ErrorClass.TRANSIENT)
    Execution.objects.update(due_at=F("created_at"))
    verbs.queue_due(limit=10)
    (again,) = lifecycle.claim([claimed.id], worker_id="w")
    verbs.complete(again, output=None)
    consequences.draw()

    folding.fold()

    assert Incident.objects.get().recovers_at is not None


def test_the_success_of_another_schedule_says_nothing(schedule: Schedule, owner: User) -> None:
    fail(begin(schedule))
    folding.fold()
    make_it_long_ago()
    other = ScheduleFactory.create(owner=owner)

    verbs.complete(begin(other), output=None)
    consequences.draw()

    assert Incident.objects.get().recovers_at is None


def test_without_unresolved_incidents_a_draw_asks_nothing_of_them(schedule: Schedule) -> None:
    verbs.complete(begin(schedule), output=None)

    with CaptureQueriesContext(connection) as captured:
        consequences.draw()

    about = [one["sql"] for one in captured if "incidents" in one["sql"]]
    assert len(about) == 1  # the statement that takes the outcomes looks whether there is one
    assert "DELETE FROM outcome_inbox" in about[0]


def test_a_schedule_that_pauses_itself_says_what_failed_last(schedule: Schedule) -> None:
    fail(begin(schedule))

    consequences.draw()

    schedule.refresh_from_db()
    assert schedule.pause_reason == (
        "paused by itself after 1 failures in a row; the last: permanent: no such page"
    )


# A schedule that is gone


def changed(incident: Incident) -> tuple[str, str, str]:
    incident.refresh_from_db()
    entry = AuditEntry.objects.get(action="incident.resolved", object_id=str(incident.id))
    return incident.status, incident.note, entry.actor


@pytest.mark.parametrize("decide", [None, deciding.acknowledge])
def test_who_deletes_a_schedule_resolves_what_waited_for_its_success(
    schedule: Schedule, owner: User, decide: Any
) -> None:
    fail(begin(schedule))
    folding.fold()
    incident = Incident.objects.get()
    if decide:
        decide(incident, actor=SYSTEM)

    schedules.delete(schedule.id, actor=Actor.of(owner))

    assert changed(incident) == ("resolved", "its schedule was deleted", owner.username)
    assert incident.handled_by_id == owner.pk
    assert incident.resolved_at is not None
    event = Event.objects.get(type="incident:resolved")
    assert (event.topic, event.data["status"]) == (f"incident:{incident.id}", "resolved")
    assert event.data["note"] == "its schedule was deleted"


def test_what_a_person_ignores_or_belongs_to_another_schedule_stays_as_it_is(
    schedule: Schedule, owner: User
) -> None:
    fail(begin(schedule))
    folding.fold()
    ignored = deciding.ignore(Incident.objects.get(), actor=SYSTEM)
    other = ScheduleFactory.create(owner=owner)
    fail(begin(other))
    folding.fold()

    schedules.delete(schedule.id, actor=SYSTEM)

    ignored.refresh_from_db()
    assert ignored.status == "ignored"
    assert Incident.objects.get(schedule_id=other.id).status == "open"


def test_a_schedule_that_is_not_deleted_keeps_its_incidents(
    schedule: Schedule, owner: User
) -> None:
    fail(begin(schedule))
    folding.fold()
    upstreams = {"upstreams": [str(schedule.id)], "mode": "any", "on": "end"}
    words: dict[str, Any] = {"schedule_type": "", "schedule_config": {}}
    ScheduleFactory.create(owner=owner, trigger_type="dependent", trigger_config=upstreams, **words)

    with pytest.raises(schedules.Needed):
        schedules.delete(schedule.id, actor=SYSTEM)

    assert Incident.objects.get().status == "open"


def test_many_schedules_that_are_deleted_at_once_leave_no_incident_open(
    schedule: Schedule, owner: User, client: Client
) -> None:
    chosen = [schedule, ScheduleFactory.create(owner=owner)]
    for one in chosen:
        fail(begin(one))
    folding.fold()
    client.force_login(User.objects.create_superuser("root"))

    client.post(
        reverse("admin:scheduler_app_schedule_changelist"),
        {
            "action": "delete_selected",
            "_selected_action": [str(one.id) for one in chosen],
            "post": "yes",
        },
    )

    assert not Schedule.objects.exists()
    resolved = [changed(one) for one in Incident.objects.all()]
    assert resolved == [("resolved", "its schedule was deleted", "root")] * 2


@pytest.fixture
def orphan(schedule: Schedule) -> Incident:
    """What was running when its schedule was deleted failed afterwards, and is tried again."""
    running = begin(schedule)
    schedules.delete(schedule.id, actor=SYSTEM)
    fail(running, ErrorClass.TRANSIENT)
    folding.fold()
    return Incident.objects.get()


@pytest.fixture
def first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a beat that has just started."""
    monkeypatch.setattr(orphans._Seldom, "again_at", 0.0)


@pytest.mark.usefixtures("first_look")
def test_what_fails_after_its_schedule_was_deleted_is_over_once_nothing_of_it_is_under_way(
    orphan: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    tending.tend_incidents()
    orphan.refresh_from_db()
    while_it_is_tried = orphan.status

    Execution.objects.update(status="cancelled", completed_at=F("created_at"))
    tending.tend_incidents()
    orphan.refresh_from_db()
    too_early = orphan.status
    monkeypatch.setattr(orphans._Seldom, "again_at", 0.0)
    tending.tend_incidents()

    assert (while_it_is_tried, too_early) == ("open", "open")
    assert changed(orphan) == ("resolved", orphans.NOTE, "system")


@pytest.mark.usefixtures("first_look")
def test_an_incident_whose_schedule_is_there_is_no_orphan(schedule: Schedule) -> None:
    fail(begin(schedule))

    tending.tend_incidents()

    assert Incident.objects.get().status == "open"
